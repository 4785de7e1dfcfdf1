#include "net/server.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/engine.h"
#include "net/worker.h"

/* How many more connections than the least loaded a worker may keep: so many, or this share. */
enum { SPREAD_MIN = 8, SPREAD_SHARE = 16 };

struct server *server_create(const struct server_options *options, struct error *error) {
    struct server *server = alloc_zeroed(sizeof(*server));
    if (!server) {
        error_set(error, "out of memory");
        return NULL;
    }
    server->options = *options;
    server->engine = engine_create(
        &(struct engine_options){.descriptors_reserved = options->descriptors_reserved}, error);
    if (!server->engine) {
        goto fail;
    }
    bool with_acceptor = !engine_traits(server->engine)->accept_on_workers;
    unsigned count = options->workers + (with_acceptor ? 1 : 0);
    server->workers = alloc_array(count, sizeof(*server->workers));
    if (!server->workers) {
        error_set(error, "out of memory");
        goto fail;
    }
    server->acceptor = with_acceptor ? &server->workers[options->workers] : NULL;
    while (server->started < count) {
        unsigned index = server->started;
        if (!worker_start(&server->workers[index], server, index, error)) {
            goto fail;
        }
        server->started++;
    }
    return server;

fail:
    server_destroy(server);
    return NULL;
}

void server_destroy(struct server *server) {
    if (!server) {
        return;
    }
    while (server->started > 0) {
        worker_stop(&server->workers[--server->started]);
    }
    alloc_free(server->workers);
    engine_destroy(server->engine);
    alloc_free(server);
}

const struct engine_traits *server_traits(const struct server *server) {
    return engine_traits(server->engine);
}

unsigned server_acceptor_count(const struct server *server) {
    return server->acceptor ? 1 : server->options.workers;
}

struct worker *server_acceptor(struct server *server, unsigned index) {
    ASSERT(index < server_acceptor_count(server));
    return server->acceptor ? server->acceptor : &server->workers[index];
}

struct worker *server_least_loaded(struct server *server) {
    struct worker *least = &server->workers[0];
    unsigned least_load = atomic_load_explicit(&least->load, memory_order_relaxed);
    for (unsigned i = 1; i < server->options.workers; i++) {
        unsigned load = atomic_load_explicit(&server->workers[i].load, memory_order_relaxed);
        if (load < least_load) {
            least = &server->workers[i];
            least_load = load;
        }
    }
    return least;
}

/* Staying where it was accepted costs nothing, so a worker that accepts for itself keeps what comes
 * to it while it has about as many as the others; the system spreads short connections well enough.
 * Long ones add up: what is too many goes to the worker with the fewest. */
struct worker *server_choose_worker(struct server *server, struct worker *own) {
    struct worker *least = server_least_loaded(server);
    if (own == server->acceptor) {
        return least;
    }
    unsigned own_load = atomic_load_explicit(&own->load, memory_order_relaxed);
    unsigned least_load = atomic_load_explicit(&least->load, memory_order_relaxed);
    unsigned spread = least_load / SPREAD_SHARE;
    return own_load > least_load + (spread > SPREAD_MIN ? spread : SPREAD_MIN) ? least : own;
}

struct worker *server_worker_of(struct server *server, const struct engine_port *port) {
    unsigned i = 0;
    while (server->workers[i].port != port) {
        i++;
        ASSERT(i < server->started);
    }
    return &server->workers[i];
}

void server_kick(struct server *server) {
    for (unsigned i = 0; i < server->started; i++) {
        worker_kick(&server->workers[i]);
    }
}

void server_room_made(struct server *server) {
    if (atomic_load(&server->waiting) > 0) {
        server_kick(server);
    }
}

int32_t server_post(struct server *server, uint64_t id, berth_post_fn function, void *argument) {
    unsigned index = worker_of_id(id);
    if (id == 0 || index >= server->options.workers) {
        return BERTH_E_GONE;
    }
    return worker_post(&server->workers[index], id, function, argument);
}
