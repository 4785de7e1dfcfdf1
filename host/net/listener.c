#include "net/listener.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/connection.h"
#include "net/door.h"
#include "net/gate.h"
#include "net/send_queue.h"
#include "net/server_core.h"
#include "net/worker_core.h"
#include "os/os.h"

/* -- doors --------------------------------------------------------------------------------------
 */

static struct engine_listen_options door_options(const struct listener *listener,
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

static struct door *find_door(const struct listener *listener,
                              const struct engine_listen_options *wanted) {
    for (size_t i = 0; listener && i < listener->door_count; i++) {
        struct door *door = listener->doors[i];
        if (address_equal(&door->options.address, &wanted->address) &&
            door->options.address.port == wanted->address.port &&
            door->options.datagrams == wanted->datagrams) {
            return door;
        }
    }
    return NULL;
}

/* What cannot be changed on a socket that stays open. */
static bool check_kept_door(const struct door *door, const struct engine_listen_options *wanted,
                            struct error *error) {
    const struct engine_socket_options *is = &door->options.sockets;
    if (door->options.v6_only != wanted->v6_only) {
        return error_set(error, "\"v6_only\" cannot change while its address stays open: give it "
                                "another address, or start the host anew");
    }
    bool back = (is->receive_bytes > 0 && wanted->sockets.receive_bytes == 0) ||
                (is->send_bytes > 0 && wanted->sockets.send_bytes == 0);
    return !back || error_set(error, "the \"socket\"'s buffer sizes cannot go back to the system's "
                                     "default while its address stays open: give them a number, "
                                     "or start the host anew");
}

static void release_doors(struct door **doors, size_t count) {
    for (size_t i = 0; doors && i < count; i++) {
        door_release(doors[i]);
    }
    alloc_free(doors);
}

/* A socket of this host in its way would have the system refuse it, late and without a name, so
 * that is looked at first. Its own name, for a supervisor, is the address, whoever listens there;
 * port 0 is many. */
static struct door *open_door(const struct listener *listener,
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
    return door_open(listener->server, &named, error);
}

/* One that is there and fits, with a reference more, or a new one: of the previous generation, of a
 * listener that gives it up at that very address, or opened. */
static struct door *make_door(const struct listener *listener,
                              const struct listener_options *options,
                              const struct listener *previous, size_t index, struct error *error) {
    struct engine_listen_options wanted = door_options(listener, options, index);
    struct door *door = find_door(previous, &wanted);
    if (!door && options->neighbours && wanted.address.port != 0) {
        const struct address_holder *found =
            address_table_equal(&options->neighbours->given_up, wanted.datagrams, &wanted.address);
        door = found ? (struct door *)(uintptr_t)found->owner : NULL;
    }
    if (!door) {
        return open_door(listener, options, &wanted, index, error);
    }
    if (!check_kept_door(door, &wanted, error)) {
        return NULL;
    }
    door_acquire(door);
    return door;
}

/* The doors for these options, those of `previous` where they fit, each with a reference. */
static struct door **make_doors(const struct listener *listener,
                                const struct listener_options *options,
                                const struct listener *previous, struct error *error) {
    struct door **doors = alloc_array(options->address_count, sizeof(struct door *));
    if (!doors) {
        error_set(error, "out of memory");
        return NULL;
    }
    for (size_t i = 0; i < options->address_count; i++) {
        doors[i] = make_door(listener, options, previous, i, error);
        if (!doors[i]) {
            release_doors(doors, i);
            return NULL;
        }
    }
    return doors;
}

/* All of them are its own from now on, as its options say. */
static void turn_doors(struct listener *listener) {
    for (size_t i = 0; i < listener->door_count; i++) {
        struct engine_listen_options options = door_options(listener, &listener->options, i);
        door_turn(listener->doors[i], listener, &options);
    }
}

bool listener_has_door(const struct listener *listener, const struct door *door) {
    for (size_t i = 0; i < listener->door_count; i++) {
        if (listener->doors[i] == door) {
            return true;
        }
    }
    return false;
}

static bool stays_open(const struct listener *listener, const struct door *door,
                       const struct listener_options *next) {
    for (size_t i = 0; next && i < next->address_count; i++) {
        struct engine_listen_options wanted = door_options(listener, next, i);
        if (find_door(listener, &wanted) == door) {
            return true;
        }
    }
    return false;
}

bool listener_neighbours_add(struct listener_neighbours *neighbours,
                             const struct listener *listener, const struct listener_options *next) {
    for (size_t i = 0; i < listener->door_count; i++) {
        const struct door *door = listener->doors[i];
        const struct engine_listen_options *options = &door->options;
        struct berth_address address = door_address(door);
        bool gives_up = options->address.port != 0 && !stays_open(listener, door, next);
        if (!address_table_add(&neighbours->held, options->datagrams, &address, options->v6_only,
                               listener->name) ||
            (gives_up && !address_table_add(&neighbours->given_up, options->datagrams,
                                            &options->address, options->v6_only, door))) {
            return false;
        }
    }
    return true;
}

void listener_neighbours_fini(struct listener_neighbours *neighbours) {
    address_table_fini(&neighbours->held);
    address_table_fini(&neighbours->given_up);
}

/* -- life ----------------------------------------------------------------------------------------
 */

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

static bool share(struct listener *listener, const struct listener *previous, struct error *error) {
    if (previous) {
        gate_acquire(previous->gate);
        listener->gate = previous->gate;
        atomic_init(&listener->paused, atomic_load(&previous->paused));
    } else {
        listener->gate = gate_create(&listener->options.per_client);
    }
    listener->name = make_label(&listener->options);
    listener->config_json = alloc_string(listener->options.config_json);
    listener->subject =
        (struct log_subject){.plugin = listener->plugin->id, .listener = listener->name};
    listener->traffic =
        alloc_array(listener->server->options.workers, sizeof(struct listener_traffic));
    if (listener->gate) {
        DL_APPEND(listener->gate->generations, listener);
    }
    return (listener->gate && listener->name && listener->config_json && listener->traffic) ||
           error_set(error, "out of memory");
}

/* Its plugin goes on with it: nothing of it is freed, but its addresses are given up. */
static void listener_abandon_open(struct listener *listener) {
    struct door **doors = listener->doors;
    size_t count = listener->door_count;
    atomic_store(&listener->timers_closed, true);
    listener->options.datagrams = false; /* nothing is sent by them any more */
    listener->door_count = 0;
    listener->doors = NULL;
    release_doors(doors, count);
}

static void turn_comes(struct worker *worker, void *owner) {
    connection_turn_comes(owner);
    worker_settle(worker);
}

static void turn_is_over(struct turns *turns) {
    listener_unrefer(CONTAINER_OF(turns, struct listener, turns));
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
    turns_init(&listener->turns, options->active_io_max, turn_comes, turn_is_over);
    if (!share(listener, previous, error)) {
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
    listener->doors = make_doors(listener, options, previous, error);
    listener->options.neighbours = NULL;
    listener->options.open_abandoned = NULL;
    if (!listener->doors) {
        goto fail;
    }
    listener->door_count = options->address_count;
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

static bool start_doors(struct listener *listener, struct door **doors, size_t count,
                        struct error *error) {
    for (size_t i = 0; i < count; i++) {
        bool started = doors[i]->pools || doors[i]->receivers;
        if (!started && !door_start(doors[i], listener, error)) {
            return error_prefix(error, "listener \"%s\": ", listener->name);
        }
    }
    return true;
}

bool listener_start(struct listener *listener, struct error *error) {
    listener->accepting = true;
    return start_doors(listener, listener->doors, listener->door_count, error);
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
    turn_doors(listener);
    /* What an acceptor had under way to a worker has got there before this. */
    for (unsigned i = 0; previous && i < listener->server->options.workers; i++) {
        worker_call(&listener->server->workers[i], take_over_here, &move);
    }
    server_kick(listener->server);
}

/* -- other options -------------------------------------------------------------------------------
 */

struct listener_change {
    struct listener *listener;
    struct listener_options options;
    struct door **doors; /* the new ones; the old ones afterwards */
    size_t door_count;
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
    change->door_count = options->address_count;
    change->doors = make_doors(listener, options, listener, error);
    change->options.neighbours = NULL;
    change->options.open_limit = NULL;
    if (!change->doors) {
        error_prefix(error, "listener \"%s\": ", listener->name);
    } else if (start_doors(listener, change->doors, change->door_count, error)) {
        return change;
    }
    listener_abandon(change);
    return NULL;
}

void listener_abandon(struct listener_change *change) {
    if (change) {
        release_doors(change->doors, change->doors ? change->door_count : 0);
        alloc_free(change);
    }
}

static void commit_at_rest(void *argument) {
    struct listener_change *change = argument;
    struct listener *listener = change->listener;
    struct door **doors = listener->doors;
    size_t count = listener->door_count;
    listener->options = change->options;
    listener->public.send_queue_bytes = change->options.send_queue_bytes;
    listener->public.send_queue_pieces = change->options.send_queue_pieces;
    turns_configure(&listener->turns, change->options.active_io_max);
    client_table_configure(&listener->gate->clients, &change->options.per_client);
    listener->doors = change->doors;
    listener->door_count = change->door_count;
    change->doors = doors;
    change->door_count = count;
}

void listener_commit(struct listener_change *change) {
    struct listener *listener = change->listener;
    server_rest(listener->server, commit_at_rest, change);
    turn_doors(listener); /* its pools look at their marks again, too */
    server_kick(listener->server);
    listener_abandon(change); /* the old doors, those that are kept apart */
}

/* -- the end -------------------------------------------------------------------------------------
 */

static void note_addresses(struct listener *listener) {
    if (!listener->last_addresses && listener->door_count > 0) {
        listener->last_addresses =
            alloc_array(listener->door_count, sizeof(*listener->last_addresses));
        listener->last_address_count = listener->last_addresses ? listener->door_count : 0;
        for (size_t i = 0; i < listener->last_address_count; i++) {
            listener->last_addresses[i] = door_address(listener->doors[i]);
        }
    }
}

struct cut {
    struct listener *listener;
    bool stopping; /* those that the plugin knows are left to it */
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
        /* A reset only where something is lost: an idle client sees an ordinary end. */
        connection_end(connection, BERTH_CLOSED_STOPPING,
                       unseen || !send_queue_is_empty(&connection->traffic->queue));
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
    if (!listener->ending) { /* before anybody looks whether connections are left */
        listener->ending = true;
        atomic_fetch_add(&listener->server->ending, 1);
    }
    for (size_t i = 0; i < listener->door_count; i++) {
        if (!listener->options.datagrams) {
            door_release(listener->doors[i]);
            listener->doors[i] = NULL;
        } else {
            door_stop_receiving(listener->doors[i],
                                listener); /* what is still sent goes out by it */
        }
    }
    if (!listener->options.datagrams) {
        listener->door_count = 0;
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
        server_kick(listener->server);
    }
}

uint32_t listener_cut(struct listener *listener) {
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
    listener_counters_add(total, &listener->gate->gone);
    DL_FOREACH(listener->gate->generations, one) {
        add_counted(one, total);
    }
}

/* What it has counted stays. */
static void leave_gate(struct listener *listener) {
    struct gate *gate = listener->gate;
    if (gate) {
        add_counted(listener, &gate->gone);
        DL_DELETE(gate->generations, listener);
        gate_release(gate);
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
    release_doors(listener->doors, listener->door_count);
    leave_gate(listener);
    turns_fini(&listener->turns);
    alloc_free(listener->last_addresses);
    alloc_free(listener->traffic);
    alloc_free(listener->name ? listener_label_of(listener->name) : NULL);
    alloc_free(listener->config_json);
    alloc_free(listener);
}

size_t listener_address_count(const struct listener *listener) {
    return listener->door_count > 0 ? listener->door_count : listener->last_address_count;
}

struct berth_address listener_address(const struct listener *listener, size_t index) {
    return listener->door_count > 0 ? door_address(listener->doors[index])
                                    : listener->last_addresses[index];
}
