#include "net/worker.h"

#include <stdio.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/accept_pool.h"
#include "net/buffer.h"
#include "net/connection.h"
#include "net/datagrams.h"
#include "net/latch.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "net/server.h"

enum {
    SEND_NODES_FREE_MAX = 4096, /* nodes of send queues kept for the next sends */
    TRAFFIC_FREE_MAX = 1024,    /* parts of connections in traffic, likewise */
    RECEIVE_BUFFERS = 64,       /* stays hot in the cache: about a mebibyte */
    RECEIVE_BUFFERS_MAX = 1024, /* what it may grow to under load */
    SETTLE_ROUNDS_MAX = 16,     /* callbacks that keep each other busy leave room for others */
    SLOT_BITS = 24,             /* connections of a worker, as a power of two */
    GENERATION_BITS = 32,
};

/* An id, from the top: the worker, the generation (never 0), the slot. */
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

#define SLOT_IS_FREE UINT64_C(1)

/* Where a list of free slots ends: no table is as long. */
#define SLOT_NONE ((uint32_t)SLOT_MASK)

static _Thread_local struct worker *current;

struct worker *worker_current(void) {
    return current;
}

unsigned worker_of_id(uint64_t id) {
    return (unsigned)(id >> (SLOT_BITS + GENERATION_BITS));
}

/* Also for the loop below, which asks twice in each turn. */
static inline uint64_t worker_read_ms(struct worker *worker) {
    unsigned calls = plugin_thread_sequence(&plugin_thread);
    bool in_call = (calls & 1) != 0;
    if (worker->now_ms == 0 || worker->now_calls != calls || in_call) {
        worker->now_ms = engine_now_ms();
        worker->now_calls = calls;
    }
    return worker->now_ms;
}

uint64_t worker_now_ms(struct worker *worker) {
    return worker_read_ms(worker);
}

/* -- the table of connections --------------------------------------------------------------------
 */

static struct worker_slot slot_free(uint32_t generation, uint32_t next) {
    return (struct worker_slot){(uint64_t)generation << 32 | (uint64_t)next << 1 | SLOT_IS_FREE};
}

static bool table_grow(struct worker *worker) {
    uint32_t count = worker->slot_count == 0 ? 64 : worker->slot_count * 2;
    if (count > SLOT_MASK) {
        return false;
    }
    struct worker_slot *slots = alloc_resize(worker->slots, count * sizeof(*slots));
    if (!slots) {
        return false;
    }
    worker->slots = slots;
    worker->slot_count = count;
    return true;
}

/* One that has been used, or else the first of those that have not: their memory is not touched
 * before, and so costs nothing. SLOT_NONE: no memory. */
static uint32_t slot_take(struct worker *worker) {
    uint32_t index = worker->slot_free;
    if (index != SLOT_NONE) {
        worker->slot_free = (uint32_t)worker->slots[index].word >> 1;
        return index;
    }
    if (worker->slot_used == worker->slot_count && !table_grow(worker)) {
        return SLOT_NONE;
    }
    index = worker->slot_used++;
    worker->slots[index] = slot_free(1, SLOT_NONE);
    return index;
}

bool worker_register(struct worker *worker, struct connection *connection) {
    uint32_t index = slot_take(worker);
    if (index == SLOT_NONE) {
        return false;
    }
    struct worker_slot *slot = &worker->slots[index];
    connection->public.id = (uint64_t)worker->index << (SLOT_BITS + GENERATION_BITS) |
                            (slot->word >> 32) << SLOT_BITS | index;
    slot->word = (uintptr_t)connection;
    worker->connection_count++;
    return true;
}

static struct connection *connection_in(const struct worker *worker, uint32_t index) {
    uint64_t word = worker->slots[index].word;
    return (word & SLOT_IS_FREE) == 0 ? (struct connection *)(uintptr_t)word : NULL;
}

static uint32_t slot_of(const struct connection *connection) {
    return (uint32_t)(connection->public.id & SLOT_MASK);
}

void worker_unregister(struct worker *worker, struct connection *connection) {
    uint32_t index = slot_of(connection);
    uint32_t generation = (uint32_t)(connection->public.id >> SLOT_BITS);
    ASSERT(connection_in(worker, index) == connection);
    worker->slots[index] =
        slot_free(generation == UINT32_MAX ? 1 : generation + 1, worker->slot_free);
    worker->slot_free = index;
    worker->connection_count--;
}

struct connection *worker_next(const struct worker *worker, uint32_t *slot) {
    while (*slot < worker->slot_used) {
        struct connection *connection = connection_in(worker, (*slot)++);
        if (connection) {
            return connection;
        }
    }
    return NULL;
}

static struct connection *find(const struct worker *worker, uint64_t id) {
    uint32_t index = (uint32_t)(id & SLOT_MASK);
    struct connection *connection = index < worker->slot_used ? connection_in(worker, index) : NULL;
    return connection && connection->public.id == id ? connection : NULL;
}

/* -- settling -----------------------------------------------------------------------------------
 */

static void list_settling(struct worker *worker, struct connection *connection, uint32_t *first,
                          uint32_t *last) {
    if (connection->unsettled) {
        return;
    }
    connection->unsettled = true;
    connection->next_unsettled = WORKER_NO_SLOT;
    if (*last != WORKER_NO_SLOT) {
        connection_in(worker, *last)->next_unsettled = slot_of(connection);
    } else {
        *first = slot_of(connection);
    }
    *last = slot_of(connection);
}

void worker_unsettle(struct worker *worker, struct connection *connection) {
    list_settling(worker, connection, &worker->unsettled_first, &worker->unsettled_last);
}

void worker_postpone(struct worker *worker, struct connection *connection) {
    list_settling(worker, connection, &worker->postponed_first, &worker->postponed_last);
}

void worker_settle_never(struct connection *connection) {
    connection->unsettled = true;
}

/* Another turn: those that were postponed come behind the others. */
static void take_postponed(struct worker *worker) {
    if (worker->postponed_first == WORKER_NO_SLOT) {
        return;
    }
    if (worker->unsettled_last != WORKER_NO_SLOT) {
        connection_in(worker, worker->unsettled_last)->next_unsettled = worker->postponed_first;
    } else {
        worker->unsettled_first = worker->postponed_first;
    }
    worker->unsettled_last = worker->postponed_last;
    worker->postponed_first = WORKER_NO_SLOT;
    worker->postponed_last = WORKER_NO_SLOT;
}

void worker_settle(struct worker *worker) {
    for (int round = 0; worker->unsettled_first != WORKER_NO_SLOT && round < SETTLE_ROUNDS_MAX;
         round++) {
        uint32_t slot = worker->unsettled_first;
        worker->unsettled_first = WORKER_NO_SLOT;
        worker->unsettled_last = WORKER_NO_SLOT;
        while (slot != WORKER_NO_SLOT) {
            struct connection *connection = connection_in(worker, slot);
            slot = connection->next_unsettled;
            connection->unsettled = false;
            connection_settle(connection);
        }
    }
}

/* -- the thread ----------------------------------------------------------------------------------
 */

static bool take_buffer(void *context, struct engine_buffer *taken) {
    struct berth_buffer *buffer = buffer_take(context);
    if (!buffer) {
        return false;
    }
    *taken = (struct engine_buffer){buffer, buffer->bytes, buffer->capacity};
    return true;
}

static uint8_t *bytes_of_buffer(void *owner) {
    return ((const struct berth_buffer *)owner)->bytes;
}

static void give_buffer(void *context, void *owner) {
    (void)context;
    buffer_release(owner);
}

void worker_wait(struct worker *worker, struct connection *connection) {
    if (!worker->waiting) {
        atomic_fetch_add(&worker->server->waiting, 1);
    }
    ASSERT(!timer_is_running(&connection->deadline)); /* it has the same room */
    DL_APPEND2(worker->waiting, connection, wait.prev, wait.next);
}

void worker_unwait(struct worker *worker, struct connection *connection) {
    DL_DELETE2(worker->waiting, connection, wait.prev, wait.next);
    connection->wait.prev = NULL; /* as it must be for the deadline, which has the same room */
    connection->wait.next = NULL;
    if (!worker->waiting) {
        atomic_fetch_sub(&worker->server->waiting, 1);
    }
}

/* Those of a listener without room are passed by: another one may have some. */
static void admit_waiting(struct worker *worker) {
    const struct listener *full = NULL;
    struct connection *connection;
    struct connection *next;
    DL_FOREACH_SAFE2(worker->waiting, connection, next, wait.next) {
        if (connection_listener(connection) != full && !connection_try_again(connection)) {
            full = connection_listener(connection);
        }
    }
}

static void on_kick(struct engine_op *op, int64_t result) {
    struct worker *worker = CONTAINER_OF(op, struct worker, kick_op);
    (void)result;
    atomic_store(&worker->kicked, false);
    admit_waiting(worker);
    unsigned stalls = atomic_load(&worker->server->stalls);
    if (worker->stalls != stalls) {
        worker->stalls = stalls;
        accept_pools_cover(worker);
        datagrams_cover(worker);
    }
    accept_pools_room_made(worker);
    worker_settle(worker);
}

static void on_stop(struct engine_op *op, int64_t result) {
    (void)result;
    CONTAINER_OF(op, struct worker, stop_op)->stopping = true;
}

static bool worker_init(struct worker *worker, struct error *error) {
    const struct server_options *options = &worker->server->options;
    worker->buffers = buffer_pool_create(options->buffer_bytes, options->buffers_retained_max);
    if (!worker->buffers) {
        return error_set(error, "out of memory");
    }
    struct engine_port_options port = {
        .buffers = {worker->buffers, options->buffer_bytes, take_buffer, give_buffer,
                    bytes_of_buffer},
        .receive_buffers = RECEIVE_BUFFERS,
        .receive_buffers_max = RECEIVE_BUFFERS_MAX,
        .burst_buffers = options->turn_receive_bytes / options->buffer_bytes,
    };
    worker->port = engine_port_create(worker->server->engine, &port, error);
    if (!worker->port) {
        buffer_pool_close(worker->buffers);
        return false;
    }
    worker->nodes.free_max = SEND_NODES_FREE_MAX;
    worker->traffic.free_max = TRAFFIC_FREE_MAX;
    worker->slot_free = SLOT_NONE;
    worker->unsettled_first = WORKER_NO_SLOT;
    worker->unsettled_last = WORKER_NO_SLOT;
    worker->postponed_first = WORKER_NO_SLOT;
    worker->postponed_last = WORKER_NO_SLOT;
    worker->kick_op.complete = on_kick;
    worker->stop_op.complete = on_stop;
    timers_init(&worker->timers, engine_now_ms());
    shortage_init(worker);
    return true;
}

static void worker_fini(struct worker *worker) {
    ASSERT(worker->connection_count == 0);
    ASSERT(!worker->waiting);
    ASSERT(!worker->pools);
    ASSERT(!worker->receivers);
    ASSERT(atomic_load(&worker->load) == 0);
    ASSERT(atomic_load(&worker->posts) == 0);
    shortage_fini(worker);
    engine_port_destroy(worker->port);
    send_nodes_fini(&worker->nodes);
    traffic_pool_fini(&worker->traffic);
    local_addresses_fini(&worker->local_addresses);
    buffer_pool_close(worker->buffers);
    alloc_free(worker->slots);
}

static bool worker_has_more(const struct worker *worker) {
    return worker->unsettled_first != WORKER_NO_SLOT || worker->postponed_first != WORKER_NO_SLOT;
}

int worker_next_ms(struct worker *worker) {
    if (worker->server->options.driver) {
        worker->now_ms = 0; /* others had their turns since its own */
    }
    return worker_has_more(worker) ? 0 : timers_next_ms(&worker->timers, worker_read_ms(worker));
}

/* What has completed, the timers that are due, and what both left to be settled. Whether anything
 * ran. */
static inline bool worker_turn(struct worker *worker, int timeout_ms) {
    worker->now_ms = 0; /* the wait takes time */
    bool ran = engine_port_run(worker->port, timeout_ms) > 0;
    ran |= timers_run(&worker->timers, worker_read_ms(worker));
    ran |= worker_has_more(worker);
    take_postponed(worker);
    worker_settle(worker);
    shortage_check(worker, &worker->shortage);
    if (CHECKS) {
        accept_pools_check(worker);
    }
    return ran;
}

static bool worker_has_ended(const struct worker *worker) {
    return worker->stopping && engine_port_pending(worker->port) == 0;
}

static void worker_run(struct worker *worker) {
    while (!worker_has_ended(worker)) {
        worker_turn(worker, worker_next_ms(worker));
    }
}

/* This thread is the worker's, for good or for a turn. */
static void worker_enter(struct worker *worker) {
    ASSERT(!current);
    current = worker;
    plugin_thread_enter(worker->index);
}

static void worker_leave(void) {
    shortage_leave();
    plugin_thread_enter(PLUGIN_SHARE_OTHER);
    current = NULL;
}

bool worker_drive(struct worker *worker) {
    worker_enter(worker);
    shortage_enter(worker);
    bool ran = worker_turn(worker, 0);
    worker->now_ms = 0; /* the others' turns take time */
    worker_leave();
    return ran;
}

static bool worker_start_driven(struct worker *worker, struct error *error) {
    worker_enter(worker);
    bool started = worker_init(worker, error);
    worker_leave();
    return started;
}

static void worker_stop_driven(struct worker *worker) {
    const struct server_driver *driver = worker->server->options.driver;
    while (!worker_has_ended(worker)) {
        driver->step(driver->context, "the end of a worker");
    }
    worker_enter(worker);
    worker_fini(worker);
    worker_leave();
}

struct start {
    struct worker *worker;
    struct error *error;
    struct latch done;
    bool started;
};

static void worker_main(void *argument) {
    struct start *start = argument;
    struct worker *worker = start->worker;
    worker_enter(worker);
    os_thread_spread(worker->index);
    bool started = worker_init(worker, start->error);
    start->started = started;
    latch_down(&start->done);
    if (started) {
        worker_run(worker);
        worker_fini(worker);
    }
    plugin_thread_leave();
}

bool worker_start(struct worker *worker, struct server *server, unsigned index,
                  struct error *error) {
    worker->server = server;
    worker->index = index;
    if (server->options.driver) {
        return worker_start_driven(worker, error) || error_prefix(error, "worker %u: ", index);
    }
    char name[16];
    snprintf(name, sizeof(name), "%s-%u", worker == server->acceptor ? "acceptor" : "worker",
             index % 1000);
    struct start start = {.worker = worker, .error = error};
    latch_init(&start.done, 1);
    if (!os_thread_start(&worker->thread, name, worker_main, &start, error)) {
        latch_down(&start.done);
        latch_wait_on_control(&start.done, "the start of a worker");
        return error_prefix(error, "thread %s: ", name);
    }
    latch_wait_on_control(&start.done, "the start of a worker");
    if (!start.started) {
        os_thread_join(&worker->thread);
        return error_prefix(error, "thread %s: ", name);
    }
    return true;
}

void worker_stop(struct worker *worker) {
    engine_port_post(worker->port, &worker->stop_op);
    if (worker->server->options.driver) {
        worker_stop_driven(worker);
    } else {
        os_thread_join(&worker->thread);
    }
}

/* -- messages from elsewhere ---------------------------------------------------------------------
 */

struct call {
    struct engine_op op;
    struct worker *worker;
    void (*function)(struct worker *worker, void *argument);
    void *argument;
    struct latch done;
};

static void on_call(struct engine_op *op, int64_t result) {
    struct call *call = CONTAINER_OF(op, struct call, op);
    struct worker *worker = call->worker;
    (void)result;
    call->function(worker, call->argument);
    worker_settle(worker);
    latch_down(&call->done);
}

void worker_call(struct worker *worker, void (*function)(struct worker *worker, void *argument),
                 void *argument) {
    struct call call = {.worker = worker, .function = function, .argument = argument};
    call.op.complete = on_call;
    latch_init(&call.done, 1);
    engine_port_post(worker->port, &call.op);
    server_await(worker->server, &call.done, "a worker");
}

void worker_kick(struct worker *worker) {
    if (!atomic_exchange(&worker->kicked, true)) {
        engine_port_post(worker->port, &worker->kick_op);
    }
}

struct cut {
    const struct listener *listener; /* NULL: all */
    bool stopping;                   /* those that the plugin knows are left to it */
    uint32_t count;
};

static void cut_one(struct connection *connection, struct cut *cut) {
    bool unseen = connection->state.life == CONNECTION_ACCEPTED;
    if ((cut->listener && connection_listener(connection) != cut->listener) ||
        connection_is_ending(connection)) {
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
    uint32_t slot = 0;
    for (struct connection *one = worker_next(worker, &slot); one;
         one = worker_next(worker, &slot)) {
        cut_one(one, argument);
    }
}

uint32_t worker_cut(struct worker *worker, const struct listener *listener) {
    struct cut cut = {.listener = listener};
    worker_call(worker, cut_here, &cut);
    return cut.count;
}

void worker_stop_listener(struct worker *worker, const struct listener *listener) {
    struct cut cut = {.listener = listener, .stopping = true};
    worker_call(worker, cut_here, &cut);
}

struct post {
    struct engine_op op;
    struct worker *worker;
    uint64_t id;               /* of the connection it is for; 0: the worker itself */
    struct listener *listener; /* then, whose connections it may touch */
    union {
        berth_post_fn to_connection;
        berth_worker_fn to_worker;
    } function;
    void *argument;
    struct plugin_account *account; /* of the plugin whose post to a connection it is */
};

static void post_to_connection(struct worker *worker, const struct post *post) {
    struct connection *connection = find(worker, post->id);
    if (connection && connection_is_ending(connection)) {
        connection = NULL;
    }
    struct plugin_thread *call = connection
                                     ? connection_call(connection, PLUGIN_POST)
                                     : plugin_call_begin(post->account, NULL, NULL, PLUGIN_POST);
    post->function.to_connection(connection ? &connection->public : NULL,
                                 connection ? BERTH_OK : BERTH_E_GONE, post->argument);
    plugin_call_end(call);
}

static void on_post(struct engine_op *op, int64_t result) {
    struct post *post = CONTAINER_OF(op, struct post, op);
    struct worker *worker = post->worker;
    (void)result;
    atomic_fetch_sub(&worker->posts, 1);
    if (post->listener) {
        struct plugin_thread *call = listener_call(post->listener, PLUGIN_POST_WORKER);
        post->function.to_worker(&post->listener->public, worker->index, post->argument);
        plugin_call_end(call);
        plugin_account_hold(post->listener->options.account, plugin_thread.share,
                            PLUGIN_WORKER_POSTS, -1);
        listener_unrefer(post->listener);
    } else {
        post_to_connection(worker, post);
        atomic_fetch_sub(&post->account->posts, 1);
    }
    alloc_free(post);
    worker_settle(worker);
}

/* Room for one more, counted; *status says why there is none. */
static struct post *post_create(struct worker *worker, int32_t *status) {
    *status = BERTH_E_LIMIT;
    if (atomic_fetch_add(&worker->posts, 1) >= worker->server->options.posts_max) {
        atomic_fetch_sub(&worker->posts, 1);
        return NULL;
    }
    struct post *post = alloc_zeroed(sizeof(*post));
    if (!post) {
        atomic_fetch_sub(&worker->posts, 1);
        *status = BERTH_E_NO_MEMORY;
        return NULL;
    }
    post->op.complete = on_post;
    post->worker = worker;
    *status = BERTH_OK;
    return post;
}

int32_t worker_post(struct worker *worker, uint64_t id, berth_post_fn function, void *argument,
                    struct plugin_account *account) {
    int32_t status;
    struct post *post = post_create(worker, &status);
    if (post) {
        atomic_fetch_add(&account->posts, 1);
        post->account = account;
        post->id = id;
        post->function.to_connection = function;
        post->argument = argument;
        engine_port_post(worker->port, &post->op);
    }
    return status;
}

int32_t worker_post_listener(struct worker *worker, struct listener *listener,
                             berth_worker_fn function, void *argument) {
    int32_t status;
    struct post *post = post_create(worker, &status);
    if (post) {
        listener_refer(listener); /* a connection of it, or a function like this one, holds it */
        plugin_account_hold(listener->options.account, plugin_thread.share, PLUGIN_WORKER_POSTS, 1);
        post->listener = listener;
        post->function.to_worker = function;
        post->argument = argument;
        engine_port_post(worker->port, &post->op);
    }
    return status;
}
