#include "net/door.h"

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "net/accept_pool.h"
#include "net/datagrams.h"
#include "net/latch.h"
#include "net/listener_core.h"
#include "net/server_core.h"
#include "net/worker_core.h"

static void count_udp_door(struct door *door, bool open) {
    if (door->options.datagrams) {
        atomic_ushort *count = &door->server->udp_doors[door_address(door).port];
        atomic_store(count, (unsigned short)(atomic_load(count) + (open ? 1 : -1)));
    }
}

struct door *door_open(struct server *server, const struct engine_listen_options *options,
                       struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    struct door *door = alloc_zeroed(sizeof(*door));
    if (!door) {
        error_set(error, "out of memory");
        return NULL;
    }
    door->server = server;
    door->options = *options;
    door->references = 1;
    door->socket = engine_listener_open(server->engine, options, error);
    door->options.name = NULL; /* the caller's, and needed no longer */
    if (!door->socket) {
        alloc_free(door);
        address_format(&options->address, text, sizeof(text));
        error_prefix(error, "bind %s: ", text);
        return NULL;
    }
    count_udp_door(door, true);
    return door;
}

struct create_pool {
    struct door *door;
    struct listener *listener;
    unsigned index;
    struct error *error;
};

static void create_pool_here(struct worker *worker, void *argument) {
    struct create_pool *create = argument;
    create->door->pools[create->index] = accept_pool_create(
        worker, create->listener, create->door->socket, create->index, create->error);
}

static bool start_pools(struct door *door, struct listener *listener, struct error *error) {
    unsigned count = server_acceptor_count(door->server);
    door->pools = alloc_array(count, sizeof(struct accept_pool *));
    if (!door->pools) {
        return error_set(error, "out of memory");
    }
    if (!engine_listener_start(door->socket, error)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct create_pool create = {door, listener, i, error};
        worker_call(server_acceptor(door->server, i), create_pool_here, &create);
        if (!door->pools[i]) {
            return false;
        }
    }
    return true;
}

bool door_start(struct door *door, struct listener *listener, struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    bool started = door->options.datagrams
                       ? datagrams_start(door->socket, listener, &door->receivers, error)
                       : start_pools(door, listener, error);
    if (!started) {
        struct berth_address address = door_address(door);
        address_format(&address, text, sizeof(text));
        error_prefix(error, "listen on %s: ", text);
    }
    return started;
}

struct turn_pool {
    struct accept_pool *pool;
    struct listener *listener;
    struct door *door; /* to be configured; or NULL */
};

static bool same_sockets(const struct engine_socket_options *one,
                         const struct engine_socket_options *other) {
    return one->no_delay == other->no_delay && one->reset_on_close == other->reset_on_close &&
           one->keepalive_idle_s == other->keepalive_idle_s &&
           one->keepalive_interval_s == other->keepalive_interval_s &&
           one->keepalive_probes == other->keepalive_probes &&
           one->receive_bytes == other->receive_bytes && one->send_bytes == other->send_bytes;
}

/* Takes over what differs; true: something did. */
static bool note_options(struct door *door, const struct engine_listen_options *options) {
    struct engine_listen_options *is = &door->options;
    bool same = is->backlog == options->backlog && is->reuse_sockets == options->reuse_sockets &&
                same_sockets(&is->sockets, &options->sockets);
    is->backlog = options->backlog;
    is->reuse_sockets = options->reuse_sockets;
    is->sockets = options->sockets;
    return !same;
}

static void turn_pool_here(struct worker *worker, void *argument) {
    struct turn_pool *turn = argument;
    (void)worker;
    if (turn->door) {
        engine_listener_configure(turn->door->socket, &turn->door->options);
    }
    accept_pool_serve(turn->pool, turn->listener);
}

void door_turn(struct door *door, struct listener *listener,
               const struct engine_listen_options *options) {
    unsigned count = door->pools ? server_acceptor_count(door->server) : 0;
    if (door->options.backlog != options->backlog && !options->datagrams &&
        server_traits(door->server)->backlog_is_fixed) {
        log_warn(&listener->subject,
                 "accept.backlog: a socket that listens keeps the backlog it was opened with; the "
                 "new one takes effect when the host is started again");
    }
    bool changed = note_options(door, options);
    if (changed && count == 0) {
        engine_listener_configure(door->socket, &door->options);
    }
    for (unsigned i = 0; i < count; i++) {
        struct turn_pool turn = {door->pools[i], listener, changed && i == 0 ? door : NULL};
        worker_call(server_acceptor(door->server, i), turn_pool_here, &turn);
    }
    datagrams_turn(door->receivers, listener);
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

static void stop_receiving(struct door *door) {
    datagrams_stop(door->server, door->receivers);
    door->receivers = NULL;
}

static void close(struct door *door) {
    unsigned count = door->pools ? server_acceptor_count(door->server) : 0;
    for (unsigned i = 0; i < count; i++) {
        if (door->pools[i]) {
            struct stop_pool stop = {.pool = door->pools[i]};
            latch_init(&stop.stopped, 1);
            worker_call(server_acceptor(door->server, i), stop_pool_here, &stop);
            server_await(door->server, &stop.stopped, "the end of posted accepts");
        }
    }
    alloc_free(door->pools);
    stop_receiving(door);
    count_udp_door(door, false);
    engine_listener_close(door->socket);
    alloc_free(door);
}

void door_acquire(struct door *door) {
    door->references++;
}

void door_release(struct door *door) {
    if (door && --door->references == 0) {
        close(door);
    }
}

void door_stop_receiving(struct door *door, const struct listener *listener) {
    if (datagrams_come_to(door->receivers, listener)) {
        stop_receiving(door);
    }
}

struct berth_address door_address(const struct door *door) {
    return engine_listener_address(door->socket);
}
