#include "net/conn/server_core.h"

#include "base/assert.h"
#include "base/macros.h"
#include "engine/engine.h"
#include "net/lib/latch.h"

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
    struct worker *least = NULL;
    unsigned least_load = 0;
    bool least_stalls = false;
    for (unsigned i = 0; i < server->options.workers; i++) {
        struct worker *worker = &server->workers[i];
        unsigned load = atomic_load_explicit(&worker->load, memory_order_relaxed);
        bool stalls = atomic_load_explicit(&worker->stalled, memory_order_relaxed);
        if (!least || (stalls == least_stalls ? load < least_load : least_stalls)) {
            least = worker;
            least_load = load;
            least_stalls = stalls;
        }
    }
    return least;
}

bool server_covers(const struct server *server, const struct worker *worker,
                   const struct worker *other) {
    unsigned count = server->options.workers;
    if (worker == other || !atomic_load(&other->stalled)) {
        return false;
    }
    for (unsigned i = 1; i < count; i++) {
        const struct worker *next = &server->workers[(other->index + i) % count];
        if (!atomic_load(&next->stalled)) {
            return next == worker;
        }
    }
    return false;
}

/* Where workers accept for themselves, the system spreads the clients over them at random
 * (SO_REUSEPORT hashes their addresses), and long connections add up unevenly. So each connection
 * goes to the worker with the fewest, and stays where it was accepted if that worker has no more
 * than the others.
 *
 * Measured with 60,000 short connections, 64 at a time, on two cores (medians of five, processor
 * time of the host a connection): staying always 1, the fewest 1.04, one acceptor that hands all
 * over 1.29; host and client on a core each: 1, 0.98 and 1.06. */
struct worker *server_choose_worker(struct server *server, struct worker *own) {
    struct worker *least = server_least_loaded(server);
    if (own == server->acceptor) {
        return least;
    }
    return atomic_load_explicit(&own->load, memory_order_relaxed) >
                   atomic_load_explicit(&least->load, memory_order_relaxed)
               ? least
               : own;
}

struct worker *server_worker_of(struct server *server, const struct engine_port *port) {
    unsigned i = 0;
    while (server->workers[i].port != port) {
        i++;
        ASSERT(i < server->started);
    }
    return &server->workers[i];
}

void server_await(struct server *server, struct latch *latch, const char *what) {
    worker_await(server->options.driver, server->options.waits, latch, what);
}

struct rest {
    struct engine_op op;
    struct latch *resting;
    struct latch *left;
    struct latch go_on;
};

static void rest_here(struct engine_op *op, int64_t result) {
    struct rest *rest = CONTAINER_OF(op, struct rest, op);
    (void)result;
    latch_down(rest->resting);
    latch_wait(&rest->go_on);
    latch_down(rest->left); /* the last access: all of it is on the other thread's stack */
}

void server_stop_the_world(struct server *server, void (*function)(void *argument),
                           void *argument) {
    struct latch resting;
    struct latch left;
    struct rest rests[SERVER_WORKERS_MAX + 1];
    if (server->options.driver) {
        function(argument); /* no worker runs while this thread runs the function */
        return;
    }
    latch_init(&resting, server->started);
    latch_init(&left, server->started);
    for (unsigned i = 0; i < server->started; i++) {
        rests[i] = (struct rest){
            .op = {.complete = rest_here},
            .resting = &resting,
            .left = &left,
        };
        latch_init(&rests[i].go_on, 1);
        engine_port_post(server->workers[i].port, &rests[i].op);
    }
    server_await(server, &resting, "all workers to rest");
    function(argument);
    for (unsigned i = 0; i < server->started; i++) {
        latch_down(&rests[i].go_on);
    }
    server_await(server, &left, "all workers to go on");
}

static void server_core_do_nothing(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
}

void server_flush(struct server *server) {
    for (unsigned i = 0; i < server->started; i++) {
        worker_call(&server->workers[i], server_core_do_nothing, NULL);
    }
}

void server_wake_waiters(struct server *server) {
    os_mutex_lock(&server->running_mutex);
    for (unsigned i = 0; server->is_running && i < server->started; i++) {
        worker_wake_waiters(&server->workers[i]);
    }
    os_mutex_unlock(&server->running_mutex);
}

void server_capacity_freed(struct server *server) {
    if (atomic_load(&server->waiting) > 0) {
        server_wake_waiters(server);
    }
}

bool server_file_take(struct server *server) {
    bool room = atomic_fetch_add(&server->files, 1) < server->options.files_max &&
                engine_file_take(server->engine);
    if (!room) {
        atomic_fetch_sub(&server->files, 1);
    }
    return room;
}

void server_file_give(struct server *server) {
    engine_file_give(server->engine);
    atomic_fetch_sub(&server->files, 1);
}
