#include "net/listen/listen_socket.h"

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/latch.h"
#include "net/listen/accept_pool.h"
#include "net/listen/datagrams.h"

static void count_udp_listen_socket(struct listen_socket *listen_socket, bool open) {
    if (listen_socket->options.datagrams) {
        atomic_ushort *count =
            &listen_socket->server->udp_listen_sockets[listen_socket_address(listen_socket).port];
        atomic_store(count, (unsigned short)(atomic_load(count) + (open ? 1 : -1)));
    }
}

struct listen_socket *listen_socket_open(struct server *server,
                                         const struct engine_listen_options *options,
                                         struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    struct listen_socket *listen_socket = alloc_zeroed(sizeof(*listen_socket));
    if (!listen_socket) {
        error_set(error, "out of memory");
        return NULL;
    }
    listen_socket->server = server;
    listen_socket->options = *options;
    listen_socket->references = 1;
    listen_socket->socket = engine_listener_open(server->engine, options, error);
    listen_socket->options.name = NULL; /* the caller's, and not needed any more */
    if (!listen_socket->socket) {
        alloc_free(listen_socket);
        address_format(&options->address, text, sizeof(text));
        error_prefix(error, "bind %s: ", text);
        return NULL;
    }
    count_udp_listen_socket(listen_socket, true);
    return listen_socket;
}

struct create_pool {
    struct listen_socket *listen_socket;
    struct listener *listener;
    unsigned index;
    struct error *error;
};

static void create_pool_here(struct worker *worker, void *argument) {
    struct create_pool *create = argument;
    create->listen_socket->pools[create->index] = accept_pool_create(
        worker, create->listener, create->listen_socket->socket, create->index, create->error);
}

static bool start_pools(struct listen_socket *listen_socket, struct listener *listener,
                        struct error *error) {
    unsigned count = server_acceptor_count(listen_socket->server);
    listen_socket->pools = alloc_array(count, sizeof(struct accept_pool *));
    if (!listen_socket->pools) {
        return error_set(error, "out of memory");
    }
    if (!engine_listener_start(listen_socket->socket, error)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct create_pool create = {listen_socket, listener, i, error};
        worker_call(server_acceptor(listen_socket->server, i), create_pool_here, &create);
        if (!listen_socket->pools[i]) {
            return false;
        }
    }
    return true;
}

bool listen_socket_start(struct listen_socket *listen_socket, struct listener *listener,
                         struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    bool started =
        listen_socket->options.datagrams
            ? datagrams_start(listen_socket->socket, listener, &listen_socket->receivers, error)
            : start_pools(listen_socket, listener, error);
    if (!started) {
        struct berth_address address = listen_socket_address(listen_socket);
        address_format(&address, text, sizeof(text));
        error_prefix(error, "listen on %s: ", text);
    }
    return started;
}

struct switch_pool {
    struct accept_pool *pool;
    struct listener *listener;
    struct listen_socket *listen_socket; /* to be configured; or NULL */
};

static bool same_sockets(const struct engine_socket_options *one,
                         const struct engine_socket_options *other) {
    return one->no_delay == other->no_delay && one->reset_on_close == other->reset_on_close &&
           one->keepalive_idle_s == other->keepalive_idle_s &&
           one->keepalive_interval_s == other->keepalive_interval_s &&
           one->keepalive_probes == other->keepalive_probes &&
           one->receive_bytes == other->receive_bytes && one->send_bytes == other->send_bytes;
}

/* Takes over the options that differ. True: at least one did. */
static bool note_options(struct listen_socket *listen_socket,
                         const struct engine_listen_options *options) {
    struct engine_listen_options *is = &listen_socket->options;
    bool same = is->backlog == options->backlog && is->reuse_sockets == options->reuse_sockets &&
                same_sockets(&is->sockets, &options->sockets);
    is->backlog = options->backlog;
    is->reuse_sockets = options->reuse_sockets;
    is->sockets = options->sockets;
    return !same;
}

static void switch_pool_here(struct worker *worker, void *argument) {
    struct switch_pool *change = argument;
    (void)worker;
    if (change->listen_socket) {
        engine_listener_configure(change->listen_socket->socket, &change->listen_socket->options);
    }
    accept_pool_serve(change->pool, change->listener);
}

void listen_socket_switch_generation(struct listen_socket *listen_socket, struct listener *listener,
                                     const struct engine_listen_options *options) {
    unsigned count = listen_socket->pools ? server_acceptor_count(listen_socket->server) : 0;
    if (listen_socket->options.backlog != options->backlog && !options->datagrams &&
        server_traits(listen_socket->server)->backlog_is_fixed) {
        log_warn(&listener->subject,
                 "accept.backlog: a socket that listens keeps the backlog it was opened with; the "
                 "new one takes effect when the host is started again");
    }
    bool changed = note_options(listen_socket, options);
    if (changed && count == 0) {
        engine_listener_configure(listen_socket->socket, &listen_socket->options);
    }
    for (unsigned i = 0; i < count; i++) {
        struct switch_pool change = {listen_socket->pools[i], listener,
                                     changed && i == 0 ? listen_socket : NULL};
        worker_call(server_acceptor(listen_socket->server, i), switch_pool_here, &change);
    }
    datagrams_switch_generation(listen_socket->receivers, listener);
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

static void stop_receiving(struct listen_socket *listen_socket) {
    datagrams_stop(listen_socket->server, listen_socket->receivers);
    listen_socket->receivers = NULL;
}

static void listen_socket_close(struct listen_socket *listen_socket) {
    unsigned count = listen_socket->pools ? server_acceptor_count(listen_socket->server) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (listen_socket->pools[i]) {
            struct stop_pool stop = {.pool = listen_socket->pools[i]};
            latch_init(&stop.stopped, 1);
            worker_call(server_acceptor(listen_socket->server, i), stop_pool_here, &stop);
            server_await(listen_socket->server, &stop.stopped, "the end of posted accepts");
        }
    }
    alloc_free(listen_socket->pools);
    stop_receiving(listen_socket);
    count_udp_listen_socket(listen_socket, false);
    engine_listener_close(listen_socket->socket);
    alloc_free(listen_socket);
}

void listen_socket_acquire(struct listen_socket *listen_socket) {
    listen_socket->references++;
}

void listen_socket_release(struct listen_socket *listen_socket) {
    if (listen_socket && --listen_socket->references == 0) {
        listen_socket_close(listen_socket);
    }
}

void listen_socket_stop_receiving(struct listen_socket *listen_socket,
                                  const struct listener *listener) {
    if (datagrams_come_to(listen_socket->receivers, listener)) {
        stop_receiving(listen_socket);
    }
}

struct berth_address listen_socket_address(const struct listen_socket *listen_socket) {
    return engine_listener_address(listen_socket->socket);
}
