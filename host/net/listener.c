#include "net/listener.h"

#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/accept_pool.h"
#include "net/datagrams.h"
#include "net/latch.h"
#include "net/plugin_timer.h"
#include "net/server.h"
#include "net/worker.h"
#include "os/os.h"

static bool open_plugin(struct listener *listener, struct error *error) {
    const struct berth_plugin *plugin = listener->plugin;
    if (plugin->listener_open) {
        char message[ERROR_MESSAGE_MAX / 2] = "";
        struct berth_error why = {sizeof(why), sizeof(message), message};
        int32_t status = plugin->listener_open(&listener->public, &listener->public.state, &why);
        if (status != BERTH_OK) {
            message[sizeof(message) - 1] = '\0';
            return error_set(error, "plugin \"%s\" refused to open: %s (status %d)", plugin->id,
                             message[0] ? message : "it gave no reason", (int)status);
        }
    }
    listener->opened = true;
    return true;
}

static bool bind_addresses(struct listener *listener, struct error *error) {
    const struct listener_options *options = &listener->options;
    for (size_t i = 0; i < options->address_count; i++) {
        struct engine_listen_options listen = {
            .address = options->addresses[i],
            .backlog = options->backlog,
            .acceptors = server_acceptor_count(listener->server),
            .v6_only = options->v6_only,
            .reuse_sockets = options->reuse_sockets,
            .datagrams = options->datagrams,
            .sockets = options->sockets,
        };
        listener->addresses[i].socket =
            engine_listener_open(listener->server->engine, &listen, error);
        if (!listener->addresses[i].socket) {
            char text[BERTH_ADDRESS_TEXT_MAX];
            address_format(&listen.address, text, sizeof(text));
            return error_prefix(error, "bind %s: ", text);
        }
    }
    return true;
}

struct listener *listener_create(struct server *server, const struct listener_options *options,
                                 struct error *error) {
    struct listener *listener = alloc_zeroed(sizeof(*listener));
    if (!listener) {
        error_set(error, "listener \"%s\": out of memory", options->name);
        return NULL;
    }
    listener->server = server;
    listener->options = *options;
    listener->plugin = options->plugin;
    listener->subject = (struct log_subject){options->plugin->id, options->name};
    listener->public = (struct berth_listener){
        .struct_size = sizeof(listener->public),
        .host = options->host,
        .name = options->name,
        .config_json = options->config_json,
        .plugin_state = options->plugin_state,
    };
    client_table_init(&listener->clients, &options->per_client);
    turns_init(&listener->turns, options->active_io_max);
    listener->addresses = alloc_array(options->address_count, sizeof(*listener->addresses));
    if (!listener->addresses) {
        error_set(error, "out of memory");
        goto fail;
    }
    if (!bind_addresses(listener, error) || !open_plugin(listener, error)) {
        goto fail;
    }
    return listener;

fail:
    error_prefix(error, "listener \"%s\": ", options->name);
    listener_destroy(listener);
    return NULL;
}

struct create_pool {
    struct listener *listener;
    struct listener_address *address;
    unsigned index;
    struct error *error;
    bool created;
};

static void create_pool_here(struct worker *worker, void *argument) {
    struct create_pool *create = argument;
    struct accept_pool *pool = accept_pool_create(worker, create->listener, create->address->socket,
                                                  create->index, create->error);
    create->address->pools[create->index] = pool;
    create->created = pool != NULL;
}

static bool start_address(struct listener *listener, struct listener_address *address,
                          struct error *error) {
    unsigned count = server_acceptor_count(listener->server);
    if (listener->options.datagrams) {
        return datagrams_start(listener, address, error);
    }
    address->pools = alloc_array(count, sizeof(struct accept_pool *));
    if (!address->pools) {
        return error_set(error, "out of memory");
    }
    if (!engine_listener_start(address->socket, error)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct create_pool create = {listener, address, i, error, false};
        worker_call(server_acceptor(listener->server, i), create_pool_here, &create);
        if (!create.created) {
            return false;
        }
    }
    return true;
}

bool listener_start(struct listener *listener, struct error *error) {
    listener->accepting = true;
    for (size_t i = 0; i < listener->options.address_count; i++) {
        if (!start_address(listener, &listener->addresses[i], error)) {
            char text[BERTH_ADDRESS_TEXT_MAX];
            struct berth_address address = listener_address(listener, i);
            address_format(&address, text, sizeof(text));
            return error_prefix(error, "listener \"%s\": listen on %s: ", listener->options.name,
                                text);
        }
    }
    return true;
}

struct stop_pool {
    struct accept_pool *pool;
    struct latch stopped;
};

static void stop_pool_here(struct worker *worker, void *argument) {
    struct stop_pool *stop = argument;
    (void)worker;
    accept_pool_stop(stop->pool, &stop->stopped);
}

static void stop_address(struct listener *listener, struct listener_address *address) {
    unsigned count = address->pools ? server_acceptor_count(listener->server) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (address->pools[i]) {
            struct stop_pool stop = {.pool = address->pools[i]};
            latch_init(&stop.stopped, 1);
            worker_call(server_acceptor(listener->server, i), stop_pool_here, &stop);
            latch_wait(&stop.stopped);
        }
    }
    alloc_free(address->pools);
    address->pools = NULL;
    datagrams_stop(listener, address);
    engine_listener_close(address->socket);
    address->socket = NULL;
}

void listener_stop_accepting(struct listener *listener) {
    listener->accepting = false;
    for (size_t i = 0; i < listener->options.address_count; i++) {
        stop_address(listener, &listener->addresses[i]);
    }
    for (unsigned i = 0; i < listener->server->started; i++) {
        worker_stop_listener(&listener->server->workers[i], listener);
    }
}

void listener_pause(struct listener *listener) {
    if (!atomic_exchange(&listener->paused, true)) {
        log_info(&listener->subject, "paused: new clients wait, connections go on");
    }
}

void listener_resume(struct listener *listener) {
    if (atomic_exchange(&listener->paused, false)) {
        log_info(&listener->subject, "resumed");
        server_kick(listener->server);
    }
}

uint32_t listener_cut(struct listener *listener) {
    uint32_t count = 0;
    for (unsigned i = 0; i < listener->server->options.workers; i++) {
        count += worker_cut(&listener->server->workers[i], listener);
    }
    return count;
}

void listener_destroy(struct listener *listener) {
    if (!listener) {
        return;
    }
    ASSERT(atomic_load(&listener->references) == 0);
    ASSERT(atomic_load(&listener->connections) == 0);
    ASSERT(atomic_load(&listener->pending) == 0);
    ASSERT(atomic_load(&listener->waiting) == 0);
    ASSERT(atomic_load(&listener->refusing) == 0);
    ASSERT(atomic_load(&listener->outbound) == 0);
    ASSERT(atomic_load(&listener->works) == 0);
    if (listener->addresses) {
        listener_stop_accepting(listener);
        alloc_free(listener->addresses);
    }
    plugin_timers_stop_listener(listener);
    if (listener->opened && listener->plugin->listener_close) {
        listener->plugin->listener_close(&listener->public);
    }
    plugin_timers_free_listener(listener);
    client_table_fini(&listener->clients);
    turns_fini(&listener->turns);
    alloc_free(listener);
}

struct berth_address listener_address(const struct listener *listener, size_t index) {
    return engine_listener_address(listener->addresses[index].socket);
}

/* -- room under the limits ------------------------------------------------------------------------
 */

/* Counts one more where fewer than `max` are counted. */
static bool count_up(atomic_uint *count, uint32_t max) {
    unsigned now = atomic_load_explicit(count, memory_order_relaxed);
    while (now < max) {
        if (atomic_compare_exchange_weak(count, &now, now + 1)) {
            return true;
        }
    }
    return false;
}

void listener_count(atomic_ullong *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool refuse(struct listener *listener, enum listener_refusal *why,
                   enum listener_refusal reason) {
    listener_count(&listener->counters.refused[reason]);
    *why = reason;
    return false;
}

bool listener_welcomes(struct listener *listener, const struct berth_address *remote,
                       enum listener_refusal *why) {
    if (!access_list_allows(&listener->options.access, remote)) {
        return refuse(listener, why, LISTENER_REFUSED_ACCESS);
    }
    if (!client_table_arrive(&listener->clients, remote, os_now_ms())) {
        return refuse(listener, why, LISTENER_REFUSED_RATE);
    }
    return true;
}

bool listener_trusts_proxy(const struct listener *listener, const struct berth_address *remote) {
    const struct access_list *proxies = &listener->options.proxies;
    return proxies->allow_count > 0 && access_list_allows(proxies, remote);
}

bool listener_answers_busy(const struct listener *listener) {
    return listener->options.refuse_at_limit && listener->plugin->busy;
}

/* At a limit on all clients: the rest wait, or are refused, as the manifest says. */
static enum listener_verdict at_limit(struct listener *listener, enum listener_refusal *why,
                                      enum listener_refusal reason) {
    if (!listener->options.refuse_at_limit) {
        return LISTENER_WAIT;
    }
    refuse(listener, why, reason);
    return LISTENER_REFUSE;
}

enum listener_verdict listener_admit(struct listener *listener, const struct berth_address *remote,
                                     enum listener_refusal *why) {
    struct server *server = listener->server;
    if (atomic_load(&listener->paused)) {
        return LISTENER_WAIT;
    }
    if (!count_up(&server->connections, server->options.connections_max)) {
        return at_limit(listener, why, LISTENER_REFUSED_HOST);
    }
    if (!count_up(&listener->connections, listener->options.connections_max)) {
        atomic_fetch_sub(&server->connections, 1);
        return at_limit(listener, why, LISTENER_REFUSED_LISTENER);
    }
    if (!client_table_add(&listener->clients, remote)) {
        atomic_fetch_sub(&listener->connections, 1);
        atomic_fetch_sub(&server->connections, 1);
        refuse(listener, why, LISTENER_REFUSED_PER_CLIENT);
        return LISTENER_REFUSE;
    }
    return LISTENER_ADMITTED;
}

void listener_release(struct listener *listener, const struct berth_address *remote) {
    struct server *server = listener->server;
    client_table_remove(&listener->clients, remote, os_now_ms());
    atomic_fetch_sub(&listener->connections, 1);
    atomic_fetch_sub(&server->connections, 1);
    server_room_made(server);
}

bool listener_has_room(const struct listener *listener) {
    const struct server *server = listener->server;
    if (atomic_load(&listener->paused)) {
        return false;
    }
    return listener->options.refuse_at_limit ||
           (atomic_load(&listener->connections) < listener->options.connections_max &&
            atomic_load(&server->connections) < server->options.connections_max);
}

void listener_refer(struct listener *listener) {
    atomic_fetch_add(&listener->references, 1);
}

void listener_unrefer(struct listener *listener) {
    struct server *server = listener->server;
    /* The last touch: from zero on, the control thread may free the listener. */
    if (atomic_fetch_sub(&listener->references, 1) == 1) {
        server->options.idle();
    }
}
