#include "net/listen/listener.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/conn/connection.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/admission.h"
#include "net/lib/send_queue.h"
#include "net/listen/listen_socket.h"
#include "os/os.h"

/* -- listen sockets -------------------------------------------------------- */

static struct engine_listen_options listen_socket_options(const struct listener *listener,
                                                          const struct listener_options *options,
                                                          size_t index) {
    return (struct engine_listen_options){
        .address = options->addresses[index],
        .backlog = options->backlog,
        .acceptors = server_acceptor_count(listener->server),
        .v6_only = options->v6_only,
        .reuse_sockets = options->reuse_sockets,
        .datagrams = options->datagrams,
        .sockets = options->sockets,
    };
}

static struct listen_socket *find_listen_socket(const struct listener *listener,
                                                const struct engine_listen_options *wanted) {
    for (size_t i = 0; listener && i < listener->listen_socket_count; i++) {
        struct listen_socket *listen_socket = listener->listen_sockets[i];
        if (address_equal(&listen_socket->options.address, &wanted->address) &&
            listen_socket->options.address.port == wanted->address.port &&
            listen_socket->options.datagrams == wanted->datagrams) {
            return listen_socket;
        }
    }
    return NULL;
}

/* The options that cannot be changed on a socket that stays open. */
static bool listener_check_taken_socket(const struct listen_socket *listen_socket,
                                        const struct engine_listen_options *wanted,
                                        struct error *error) {
    const struct engine_socket_options *is = &listen_socket->options.sockets;
    if (listen_socket->options.v6_only != wanted->v6_only) {
        return error_set(error, "\"v6_only\" cannot change while its address stays open: give it "
                                "another address, or start the host anew");
    }
    bool back = (is->receive_bytes > 0 && wanted->sockets.receive_bytes == 0) ||
                (is->send_bytes > 0 && wanted->sockets.send_bytes == 0);
    return !back || error_set(error, "the \"socket\"'s buffer sizes cannot go back to the system's "
                                     "default while its address stays open: give them a number, "
                                     "or start the host anew");
}

static void release_listen_sockets(struct listen_socket **listen_sockets, size_t count) {
    for (size_t i = 0; listen_sockets && i < count; i++) {
        listen_socket_release(listen_sockets[i]);
    }
    alloc_free(listen_sockets);
}

/* If a socket of this host overlaps the address, the system would refuse the bind, late and without
 * a name. So that is checked first. The socket's own name, for a supervisor, is the address,
 * whichever listener uses it. Port 0 may occur many times. */
static struct listen_socket *open_door(const struct listener *listener,
                                       const struct listener_options *options,
                                       const struct engine_listen_options *wanted, size_t index,
                                       struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    char held[BERTH_ADDRESS_TEXT_MAX];
    char name[BERTH_ADDRESS_TEXT_MAX + 128];
    const struct address_holder *found =
        options->neighbours
            ? address_table_overlapping(&options->neighbours->held, wanted->datagrams,
                                        &wanted->address, wanted->v6_only)
            : NULL;
    address_format(&wanted->address, text, sizeof(text));
    if (found) {
        address_format(&found->address, held, sizeof(held));
        error_set(error,
                  "bind %s: %s is held by this host's listener \"%s\" until the change is done: "
                  "take that away by one reload, and come with this by the next",
                  text, held, (const char *)found->owner);
        return NULL;
    }
    if (wanted->address.port == 0) {
        snprintf(name, sizeof(name), "%s/%zu/%s", listener->name, index, text);
    } else {
        snprintf(name, sizeof(name), "%s/%s", wanted->datagrams ? "udp" : "tcp", text);
    }
    struct engine_listen_options named = *wanted;
    named.name = name;
    return listen_socket_open(listener->server, &named, error);
}

/* An open listen socket that fits, with one more reference, or a new one. The open one is the
 * previous generation's, or that of a listener that gives it up at exactly that address. */
static struct listen_socket *make_listen_socket(const struct listener *listener,
                                                const struct listener_options *options,
                                                const struct listener *previous, size_t index,
                                                struct error *error) {
    struct engine_listen_options wanted = listen_socket_options(listener, options, index);
    struct listen_socket *listen_socket = find_listen_socket(previous, &wanted);
    if (!listen_socket && options->neighbours && wanted.address.port != 0) {
        const struct address_holder *found =
            address_table_equal(&options->neighbours->given_up, wanted.datagrams, &wanted.address);
        listen_socket = found ? (struct listen_socket *)(uintptr_t)found->owner : NULL;
    }
    if (!listen_socket) {
        return open_door(listener, options, &wanted, index, error);
    }
    if (!listener_check_taken_socket(listen_socket, &wanted, error)) {
        return NULL;
    }
    listen_socket_acquire(listen_socket);
    return listen_socket;
}

/* The listen sockets for these options, those of `previous` where they fit, each with a reference.
 */
static struct listen_socket **make_listen_sockets(const struct listener *listener,
                                                  const struct listener_options *options,
                                                  const struct listener *previous,
                                                  struct error *error) {
    struct listen_socket **listen_sockets =
        alloc_array(options->address_count, sizeof(struct listen_socket *));
    if (!listen_sockets) {
        error_set(error, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < options->address_count; i++) {
        listen_sockets[i] = make_listen_socket(listener, options, previous, i, error);
        if (!listen_sockets[i]) {
            release_listen_sockets(listen_sockets, i);
            return NULL;
        }
    }
    return listen_sockets;
}

/* All of them belong to this listener from now on, with its options. */
static void switch_listen_sockets(struct listener *listener) {
    for (size_t i = 0; i < listener->listen_socket_count; i++) {
        struct engine_listen_options options =
            listen_socket_options(listener, &listener->options, i);
        listen_socket_switch_generation(listener->listen_sockets[i], listener, &options);
    }
}

bool listener_has_listen_socket(const struct listener *listener,
                                const struct listen_socket *listen_socket) {
    for (size_t i = 0; i < listener->listen_socket_count; i++) {
        if (listener->listen_sockets[i] == listen_socket) {
            return true;
        }
    }
    return false;
}

static bool stays_open(const struct listener *listener, const struct listen_socket *listen_socket,
                       const struct listener_options *next) {
    for (size_t i = 0; next && i < next->address_count; i++) {
        struct engine_listen_options wanted = listen_socket_options(listener, next, i);
        if (find_listen_socket(listener, &wanted) == listen_socket) {
            return true;
        }
    }
    return false;
}

bool listener_neighbours_add(struct listener_neighbours *neighbours,
                             const struct listener *listener, const struct listener_options *next) {
    for (size_t i = 0; i < listener->listen_socket_count; i++) {
        const struct listen_socket *listen_socket = listener->listen_sockets[i];
        const struct engine_listen_options *options = &listen_socket->options;
        struct berth_address address = listen_socket_address(listen_socket);
        bool gives_up = options->address.port != 0 && !stays_open(listener, listen_socket, next);
        if (!address_table_add(&neighbours->held, options->datagrams, &address, options->v6_only,
                               listener->name) ||
            (gives_up && !address_table_add(&neighbours->given_up, options->datagrams,
                                            &options->address, options->v6_only, listen_socket))) {
            return false;
        }
    }
    return true;
}

void listener_neighbours_fini(struct listener_neighbours *neighbours) {
    address_table_fini(&neighbours->held);
    address_table_fini(&neighbours->given_up);
}

/* -- life ------------------------------------------------------------------ */

static char *make_label(const struct listener_options *options) {
    size_t size = strlen(options->name) + 1;
    struct listener_label *label = alloc_zeroed(sizeof(*label) + size);
    if (!label) {
        return NULL;
    }
    label->generation = options->generation;
    memcpy(label->name, options->name, size);
    return label->name;
}

static bool listener_share(struct listener *listener, const struct listener *previous,
                           struct error *error) {
    if (previous) {
        admission_acquire(previous->admission);
        listener->admission = previous->admission;
        atomic_init(&listener->paused, atomic_load(&previous->paused));
    } else {
        listener->admission = admission_create(&listener->options.per_client);
    }
    listener->name = make_label(&listener->options);
    listener->config_json = alloc_string(listener->options.config_json);
    listener->subject =
        (struct log_subject){.plugin = listener->plugin->id, .listener = listener->name};
    listener->traffic =
        alloc_array(listener->server->options.workers, sizeof(struct listener_traffic));
    if (listener->admission) {
        DL_APPEND(listener->admission->generations, listener);
    }
    return (listener->admission && listener->name && listener->config_json && listener->traffic) ||
           error_set(error, "out of memory");
}

/* The plugin still runs in it: nothing of it is freed, but its addresses are given up. */
static void listener_abandon_open(struct listener *listener) {
    struct listen_socket **listen_sockets = listener->listen_sockets;
    size_t count = listener->listen_socket_count;
    atomic_store(&listener->timers_closed, true);
    listener->options.datagrams = false; /* nothing is sent through them any more */
    listener->listen_socket_count = 0;
    listener->listen_sockets = NULL;
    release_listen_sockets(listen_sockets, count);
}

static void turn_comes(struct worker *worker, void *owner) {
    connection_io_permit_granted(owner);
    worker_run_pending(worker);
}

static void turn_is_over(struct io_permits *io_permits) {
    listener_unref(CONTAINER_OF(io_permits, struct listener, io_permits));
}

struct listener *listener_make(struct server *server, const struct listener_options *options,
                               const struct listener *previous, struct error *error) {
    struct listener *listener = alloc_zeroed(sizeof(*listener));
    if (!listener) {
        error_set(error, "listener \"%s\": out of memory", options->name);
        return NULL;
    }
    listener->server = server;
    listener->options = *options;
    listener->plugin = options->plugin;
    atomic_init(&listener->phase, LISTENER_NOT_OPEN);
    io_permits_init(&listener->io_permits, options->active_io_max, turn_comes, turn_is_over);
    if (!listener_share(listener, previous, error)) {
        goto fail;
    }
    listener->options.name = listener->name;
    listener->options.config_json = listener->config_json;
    listener->public = (struct berth_listener){
        .struct_size = sizeof(listener->public),
        .host = options->host,
        .name = listener->name,
        .config_json = listener->config_json,
        .plugin_state = options->plugin_state,
        .message_bytes = options->message_bytes,
        .send_queue_bytes = options->send_queue_bytes,
        .send_queue_pieces = options->send_queue_pieces,
    };
    listener->listen_sockets = make_listen_sockets(listener, options, previous, error);
    listener->options.neighbours = NULL;
    listener->options.open_abandoned = NULL;
    if (!listener->listen_sockets) {
        goto fail;
    }
    listener->listen_socket_count = options->address_count;
    return listener;

fail:
    error_prefix(error, "listener \"%s\": ", options->name);
    listener_destroy(listener);
    return NULL;
}

bool listener_open_plugin(struct listener *listener, bool *abandoned, struct error *error) {
    listener->opened = listener->options.hooks->open(listener, abandoned, error);
    listener->options.open_limit = NULL;
    return listener->opened || error_prefix(error, "listener \"%s\": ", listener->name);
}

void listener_drop(struct listener *listener, bool abandoned) {
    if (abandoned) {
        listener_abandon_open(listener);
    } else {
        listener_destroy(listener);
    }
}

struct listener *listener_create(struct server *server, const struct listener_options *options,
                                 const struct listener *previous, struct error *error) {
    struct listener *listener = listener_make(server, options, previous, error);
    bool abandoned = false;
    if (listener && !listener_open_plugin(listener, &abandoned, error)) {
        if (abandoned) {
            *options->open_abandoned = true;
        }
        listener_drop(listener, abandoned);
        listener = NULL;
    }
    return listener;
}

static bool start_listen_sockets(struct listener *listener, struct listen_socket **listen_sockets,
                                 size_t count, struct error *error) {
    for (size_t i = 0; i < count; i++) {
        bool started = listen_sockets[i]->pools || listen_sockets[i]->receivers;
        if (!started && !listen_socket_start(listen_sockets[i], listener, error)) {
            return error_prefix(error, "listener \"%s\": ", listener->name);
        }
    }
    return true;
}

bool listener_start(struct listener *listener, struct error *error) {
    listener->accepting = true;
    return start_listen_sockets(listener, listener->listen_sockets, listener->listen_socket_count,
                                error);
}

struct take_over {
    struct listener *from;
    struct listener *to;
};

static void take_over_here(struct worker *worker, void *argument) {
    const struct take_over *move = argument;
    uint32_t slot = 0;
    for (struct connection *one = worker_next(worker, &slot); one;
         one = worker_next(worker, &slot)) {
        if (connection_listener(one) == move->from && one->state.life == CONNECTION_ACCEPTED) {
            connection_change_listener(one, move->to);
        }
    }
}

void listener_take_over(struct listener *listener, struct listener *previous) {
    struct take_over move = {previous, listener};
    switch_listen_sockets(listener);
    /* Connections that an acceptor had handed to a worker arrive there before this call. */
    for (unsigned i = 0; previous && i < listener->server->options.workers; i++) {
        worker_call(&listener->server->workers[i], take_over_here, &move);
    }
    server_wake_waiters(listener->server);
}

/* -- other options --------------------------------------------------------- */

struct listener_change {
    struct listener *listener;
    struct listener_options options;
    struct listen_socket **listen_sockets; /* the new ones; the old ones afterwards */
    size_t listen_socket_count;
};

struct listener_change *listener_prepare(struct listener *listener,
                                         const struct listener_options *options,
                                         struct error *error) {
    struct listener_change *change = alloc_zeroed(sizeof(*change));
    if (!change) {
        error_set(error, "listener \"%s\": out of memory", listener->name);
        return NULL;
    }
    change->listener = listener;
    change->options = *options;
    change->options.name = listener->name;
    change->options.config_json = listener->config_json;
    change->options.generation = listener->options.generation;
    change->listen_socket_count = options->address_count;
    change->listen_sockets = make_listen_sockets(listener, options, listener, error);
    change->options.neighbours = NULL;
    change->options.open_limit = NULL;
    if (!change->listen_sockets) {
        error_prefix(error, "listener \"%s\": ", listener->name);
    } else if (start_listen_sockets(listener, change->listen_sockets, change->listen_socket_count,
                                    error)) {
        return change;
    }
    listener_abandon(change);
    return NULL;
}

void listener_abandon(struct listener_change *change) {
    if (change) {
        release_listen_sockets(change->listen_sockets,
                               change->listen_sockets ? change->listen_socket_count : 0);
        alloc_free(change);
    }
}

static void commit_at_rest(void *argument) {
    struct listener_change *change = argument;
    struct listener *listener = change->listener;
    struct listen_socket **listen_sockets = listener->listen_sockets;
    size_t count = listener->listen_socket_count;
    listener->options = change->options;
    listener->public.send_queue_bytes = change->options.send_queue_bytes;
    listener->public.send_queue_pieces = change->options.send_queue_pieces;
    io_permits_configure(&listener->io_permits, change->options.active_io_max);
    client_table_configure(&listener->admission->clients, &change->options.per_client);
    listener->listen_sockets = change->listen_sockets;
    listener->listen_socket_count = change->listen_socket_count;
    change->listen_sockets = listen_sockets;
    change->listen_socket_count = count;
}

void listener_commit(struct listener_change *change) {
    struct listener *listener = change->listener;
    server_stop_the_world(listener->server, commit_at_rest, change);
    switch_listen_sockets(listener); /* its pools check their marks again, too */
    server_wake_waiters(listener->server);
    listener_abandon(change); /* the old listen sockets, except those that are still in use */
}

/* -- the end --------------------------------------------------------------- */

static void note_addresses(struct listener *listener) {
    if (!listener->last_addresses && listener->listen_socket_count > 0) {
        listener->last_addresses =
            alloc_array(listener->listen_socket_count, sizeof(*listener->last_addresses));
        listener->last_address_count = listener->last_addresses ? listener->listen_socket_count : 0;
        for (size_t i = 0; i < listener->last_address_count; i++) {
            listener->last_addresses[i] = listen_socket_address(listener->listen_sockets[i]);
        }
    }
}

struct cut {
    struct listener *listener;
    bool stopping; /* connections that the plugin was called for are left to it */
    uint32_t count;
};

static void cut_one(struct connection *connection, struct cut *cut) {
    bool unseen = connection->state.life == CONNECTION_ACCEPTED;
    if (connection_listener(connection) != cut->listener || connection_is_ending(connection)) {
        return;
    }
    if (cut->stopping && !unseen) {
        connection_ask_to_close(connection);
    } else {
        /* A reset only if something is lost: an idle client sees a graceful close. */
        connection_end(connection, BERTH_CLOSED_STOPPING,
                       unseen || !send_queue_is_empty(&connection->io->queue));
        cut->count++;
    }
}

static void cut_here(struct worker *worker, void *argument) {
    struct cut *cut = argument;
    uint32_t slot = 0;
    for (struct connection *one = worker_next(worker, &slot); one;
         one = worker_next(worker, &slot)) {
        cut_one(one, cut);
    }
    cut->count += cut->listener->options.hooks->call_off(worker, cut->listener);
}

void listener_stop_accepting(struct listener *listener) {
    listener_drain(listener, BERTH_DRAINING_HOST_STOPS);
}

void listener_drain(struct listener *listener, uint32_t why) {
    uint32_t before = listener_draining(listener);
    atomic_store_explicit(&listener->draining, why, memory_order_release);
    if (before != why && listener->opened) {
        listener->options.hooks->draining(listener, why);
    }
    listener->accepting = false;
    note_addresses(listener);
    if (!listener->ending) { /* before any check whether connections are left */
        listener->ending = true;
        atomic_fetch_add(&listener->server->ending, 1);
    }
    for (size_t i = 0; i < listener->listen_socket_count; i++) {
        if (!listener->options.datagrams) {
            listen_socket_release(listener->listen_sockets[i]);
            listener->listen_sockets[i] = NULL;
        } else {
            listen_socket_stop_receiving(listener->listen_sockets[i],
                                         listener); /* what is still sent goes out through it */
        }
    }
    if (!listener->options.datagrams) {
        listener->listen_socket_count = 0;
    }
    for (unsigned i = 0; i < listener->server->started; i++) {
        struct cut cut = {.listener = listener, .stopping = true};
        worker_call(&listener->server->workers[i], cut_here, &cut);
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
        server_wake_waiters(listener->server);
    }
}

uint32_t listener_abort_all(struct listener *listener) {
    struct cut cut = {.listener = listener};
    for (unsigned i = 0; i < listener->server->options.workers; i++) {
        worker_call(&listener->server->workers[i], cut_here, &cut);
    }
    return cut.count;
}

static void add_counted(const struct listener *listener, struct listener_counters *total) {
    listener_counters_add(total, &listener->counters);
    if (listener->traffic) {
        listener_counters_add_traffic(total, listener->traffic, listener->server->options.workers);
    }
}

void listener_total(const struct listener *listener, struct listener_counters *total) {
    const struct listener *one;
    *total = (struct listener_counters){0};
    listener_counters_add(total, &listener->admission->gone);
    DL_FOREACH(listener->admission->generations, one) {
        add_counted(one, total);
    }
}

/* Its counters stay. */
static void listener_leave_admission(struct listener *listener) {
    struct admission *admission = listener->admission;
    if (admission) {
        add_counted(listener, &admission->gone);
        DL_DELETE(admission->generations, listener);
        admission_release(admission);
    }
}

void listener_destroy(struct listener *listener) {
    if (!listener) {
        return;
    }
    ASSERT(atomic_load(&listener->connections) == 0);
    ASSERT(atomic_load(&listener->pending) == 0);
    ASSERT(atomic_load(&listener->waiting) == 0);
    ASSERT(atomic_load(&listener->refusing) == 0);
    ASSERT(atomic_load(&listener->outbound) == 0);
    if (listener->accepting) {
        listener_stop_accepting(listener);
    }
    listener->options.hooks->close(listener);
    ASSERT(atomic_load(&listener->references) == 0);
    ASSERT(atomic_load(&listener->works) == 0);
    if (listener->ending) {
        atomic_fetch_sub(&listener->server->ending, 1);
    }
    release_listen_sockets(listener->listen_sockets, listener->listen_socket_count);
    listener_leave_admission(listener);
    io_permits_fini(&listener->io_permits);
    alloc_free(listener->last_addresses);
    alloc_free(listener->traffic);
    alloc_free(listener->name ? listener_label_of(listener->name) : NULL);
    alloc_free(listener->config_json);
    alloc_free(listener);
}

size_t listener_address_count(const struct listener *listener) {
    return listener->listen_socket_count > 0 ? listener->listen_socket_count
                                             : listener->last_address_count;
}

struct berth_address listener_address(const struct listener *listener, size_t index) {
    return listener->listen_socket_count > 0
               ? listen_socket_address(listener->listen_sockets[index])
               : listener->last_addresses[index];
}
