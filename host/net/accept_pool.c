#include "net/accept_pool.h"

#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/buffer.h"
#include "net/connection.h"
#include "net/latch.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/worker.h"

enum {
    TICK_MS = 1000,
    BACKOFF_FIRST_MS = 20, /* after a failure for want of resources; doubled up to the tick */
};

/* One accept, from its post until its connection is handed over. */
struct accept_slot {
    struct engine_accept accept;
    struct accept_pool *pool;
    struct listener *listener;
    struct worker *target; /* who will own the connection */
    struct accept_slot *prev;
    struct accept_slot *next;
    uint32_t first_data_size;
    bool timed_out; /* cut by the sweep */
};

struct accept_pool {
    struct worker *worker;
    struct listener *listener;
    struct engine_acceptor *acceptor;
    struct accept_pool *prev; /* in worker->pools */
    struct accept_pool *next;
    struct accept_slot *posted;
    struct accept_slot *held; /* accepted; no room for them under a limit */
    uint32_t posted_count;
    uint32_t backoff_ms; /* 0: no shortage */
    struct timer tick;
    struct latch *stopped; /* not NULL: stopping */
    bool blocked;          /* posts nothing for want of room; counted in server->waiting */
};

static void maintain(struct accept_pool *pool);
static void on_accepted(struct engine_op *op, int64_t result);

/* -- posting -------------------------------------------------------------------------------------
 */

static void set_blocked(struct accept_pool *pool, bool blocked) {
    if (pool->blocked != blocked) {
        pool->blocked = blocked;
        if (blocked) {
            atomic_fetch_add(&pool->worker->server->waiting, 1);
        } else {
            atomic_fetch_sub(&pool->worker->server->waiting, 1);
        }
    }
}

/* Resources ran out: nothing is posted for a while that doubles up to a second. Said once until
 * accepting works again; meanwhile clients wait in the backlog. */
static void back_off(struct accept_pool *pool, const char *what) {
    if (pool->backoff_ms == 0) {
        log_warn(&pool->listener->subject,
                 "accepting slows down: %s; clients wait in the backlog until it passes", what);
        pool->backoff_ms = BACKOFF_FIRST_MS;
    } else if (pool->backoff_ms < TICK_MS) {
        pool->backoff_ms = pool->backoff_ms * 2 < TICK_MS ? pool->backoff_ms * 2 : TICK_MS;
    }
    timers_start(&pool->worker->timers, &pool->tick, os_now_ms(), pool->backoff_ms);
}

static bool post_one(struct accept_pool *pool) {
    struct accept_slot *slot = alloc_zeroed(sizeof(*slot));
    if (!slot) {
        back_off(pool, "out of memory");
        return false;
    }
    slot->pool = pool;
    slot->listener = pool->listener;
    slot->accept.op.complete = on_accepted;
    slot->accept.with_data = pool->listener->options.accept_on_data;
    DL_APPEND(pool->posted, slot);
    pool->posted_count++;
    engine_accept(pool->acceptor, &slot->accept);
    return true;
}

/* Whether more may be posted now. */
static bool may_post(struct accept_pool *pool) {
    if (pool->stopped || pool->backoff_ms > 0) {
        return false;
    }
    /* Said before it is asked: who makes room between the two sees that somebody waits. */
    set_blocked(pool, true);
    bool room = !pool->held && listener_has_room(pool->listener);
    set_blocked(pool, !room);
    return room;
}

static void post_up_to(struct accept_pool *pool, uint32_t target) {
    while (pool->posted_count < target && post_one(pool)) {
    }
}

/* -- what becomes of an accepted connection -------------------------------------------------------
 */

static void slot_drop(struct accept_slot *slot, bool reset) {
    buffer_release(slot->accept.data.owner);
    engine_close(slot->listener->server->engine, slot->accept.socket, reset);
    alloc_free(slot);
}

static void on_arrived(struct engine_op *op, int64_t result) {
    struct accept_slot *slot = CONTAINER_OF(op, struct accept_slot, accept.op);
    (void)result;
    connection_adopt(slot->target, slot->listener, &slot->accept, slot->first_data_size);
    alloc_free(slot);
}

static void hand_over(struct accept_pool *pool, struct accept_slot *slot) {
    struct server *server = pool->worker->server;
    slot->target = server->acceptor ? server_least_loaded(server) : pool->worker;
    atomic_fetch_add(&slot->target->load, 1);
    if (slot->target == pool->worker) {
        on_arrived(&slot->accept.op, 0);
        return;
    }
    slot->accept.op.complete = on_arrived;
    engine_port_post(slot->target->port, &slot->accept.op);
}

static void hold(struct accept_pool *pool, struct accept_slot *slot) {
    if (pool->stopped) {
        slot_drop(slot, true);
        return;
    }
    DL_APPEND(pool->held, slot);
    set_blocked(pool, true);
    log_debug(&pool->listener->subject, "a connection waits until a limit leaves room");
    if (listener_has_room(pool->listener)) {
        worker_kick(pool->worker); /* made before anybody could see that we wait */
    }
}

/* Admits the slot's connection, or tells that there is no room. */
static bool place(struct accept_pool *pool, struct accept_slot *slot) {
    struct listener *listener = pool->listener;
    switch (listener_admit(listener, &slot->accept.remote)) {
    case LISTENER_ADMITTED:
        hand_over(pool, slot);
        return true;
    case LISTENER_CLIENT_TOO_MANY:
        atomic_fetch_add_explicit(&listener->counters.refused_per_client, 1, memory_order_relaxed);
        slot_drop(slot, true);
        return true;
    case LISTENER_FULL:
        break;
    }
    return false;
}

static void accepted(struct accept_pool *pool, struct accept_slot *slot, int64_t result) {
    struct listener_counters *counters = &pool->listener->counters;
    atomic_fetch_add_explicit(&counters->accepted, 1, memory_order_relaxed);
    if (pool->backoff_ms > 0) {
        pool->backoff_ms = 0;
        log_info(&pool->listener->subject, "accepting goes on");
    }
    slot->first_data_size = (uint32_t)result;
    if (slot->accept.with_data && result == 0) {
        atomic_fetch_add_explicit(&counters->ended_silent, 1, memory_order_relaxed);
        slot_drop(slot, false);
        return;
    }
    /* Those that are held came before it. */
    if (pool->held || !place(pool, slot)) {
        hold(pool, slot);
    }
}

static void failed(struct accept_pool *pool, struct accept_slot *slot, int64_t result) {
    struct listener_counters *counters = &pool->listener->counters;
    if (slot->timed_out) {
        atomic_fetch_add_explicit(&counters->first_data_timeouts, 1, memory_order_relaxed);
    } else if (result != ENGINE_E_CANCELLED) {
        atomic_fetch_add_explicit(&counters->accept_failed, 1, memory_order_relaxed);
        log_debug(&pool->listener->subject, "accept: %s", engine_error_text(result));
    }
    if (result == ENGINE_E_NO_RESOURCES && !pool->stopped) {
        back_off(pool, engine_error_text(result));
    }
    alloc_free(slot);
}

static void on_accepted(struct engine_op *op, int64_t result) {
    struct accept_slot *slot = CONTAINER_OF(op, struct accept_slot, accept.op);
    struct accept_pool *pool = slot->pool;
    struct worker *worker = pool->worker;
    DL_DELETE(pool->posted, slot);
    pool->posted_count--;
    if (result >= 0) {
        accepted(pool, slot, result);
    } else {
        failed(pool, slot, result);
    }
    maintain(pool); /* may free the pool */
    worker_settle(worker);
}

/* -- watermarks, tick, silent clients -------------------------------------------------------------
 */

static void finish_stop(struct accept_pool *pool) {
    struct worker *worker = pool->worker;
    struct latch *stopped = pool->stopped;
    engine_acceptor_destroy(pool->acceptor);
    DL_DELETE(worker->pools, pool);
    alloc_free(pool);
    latch_down(stopped);
}

/* Called when something has changed: posts what is missing, or ends the pool. */
static void maintain(struct accept_pool *pool) {
    if (pool->stopped) {
        if (pool->posted_count == 0) {
            finish_stop(pool);
        }
        return;
    }
    const struct listener_options *options = &pool->listener->options;
    if (pool->posted_count < options->pool_low && may_post(pool)) {
        atomic_fetch_add_explicit(&pool->listener->counters.pool_low, 1, memory_order_relaxed);
        post_up_to(pool, options->pool_initial > options->pool_low ? options->pool_initial
                                                                   : options->pool_low);
    }
}

/* Cuts the clients that have been connected too long without a word. */
static void sweep(struct accept_pool *pool) {
    int64_t limit_ms = pool->listener->options.first_data_timeout_ms;
    struct accept_slot *slot;
    DL_FOREACH(pool->posted, slot) {
        if (!slot->timed_out && engine_accept_connected_ms(&slot->accept) >= limit_ms) {
            slot->timed_out = true;
            engine_accept_cancel(pool->acceptor, &slot->accept);
        }
    }
}

static void start_tick(struct accept_pool *pool) {
    if (pool->listener->options.accept_on_data) {
        timers_start(&pool->worker->timers, &pool->tick, os_now_ms(), TICK_MS);
    }
}

static void on_tick(struct timer *timer) {
    struct accept_pool *pool = CONTAINER_OF(timer, struct accept_pool, tick);
    uint32_t backoff_ms = pool->backoff_ms;
    if (pool->listener->options.accept_on_data) {
        sweep(pool);
    }
    pool->backoff_ms = 0; /* one try, which may fail again */
    maintain(pool);
    if (backoff_ms > 0 && pool->backoff_ms == 0) {
        pool->backoff_ms = backoff_ms; /* over only when an accept succeeds */
    }
    if (!timer_is_running(&pool->tick)) {
        start_tick(pool);
    }
}

static void on_starved(struct engine_acceptor *acceptor, void *context) {
    struct accept_pool *pool = context;
    const struct listener_options *options = &pool->listener->options;
    (void)acceptor;
    if (pool->posted_count >= options->pool_high) {
        atomic_fetch_add_explicit(&pool->listener->counters.pool_high, 1, memory_order_relaxed);
        sweep(pool);
        return;
    }
    if (may_post(pool)) {
        uint32_t more = pool->posted_count + options->pool_initial;
        post_up_to(pool, more < options->pool_high ? more : options->pool_high);
    }
}

void accept_pools_room_made(struct worker *worker) {
    struct accept_pool *pool;
    struct accept_pool *next;
    DL_FOREACH_SAFE(worker->pools, pool, next) {
        while (pool->held) {
            struct accept_slot *slot = pool->held;
            DL_DELETE(pool->held, slot);
            if (!place(pool, slot)) {
                DL_PREPEND(pool->held, slot);
                break;
            }
        }
        maintain(pool);
    }
}

/* -- life ----------------------------------------------------------------------------------------
 */

struct accept_pool *accept_pool_create(struct worker *worker, struct listener *listener,
                                       struct engine_listener *socket, unsigned index,
                                       struct error *error) {
    struct accept_pool *pool = alloc_zeroed(sizeof(*pool));
    if (!pool) {
        error_set(error, "out of memory");
        return NULL;
    }
    pool->worker = worker;
    pool->listener = listener;
    pool->tick.fire = on_tick;
    pool->acceptor = engine_acceptor_create(worker->port, socket, index, on_starved, pool, error);
    if (!pool->acceptor) {
        alloc_free(pool);
        return NULL;
    }
    DL_APPEND(worker->pools, pool);
    start_tick(pool);
    post_up_to(pool, listener->options.pool_initial);
    return pool;
}

void accept_pool_stop(struct accept_pool *pool, struct latch *done) {
    struct accept_slot *slot;
    struct accept_slot *next;
    pool->stopped = done;
    set_blocked(pool, false);
    timers_stop(&pool->worker->timers, &pool->tick);
    DL_FOREACH_SAFE(pool->held, slot, next) {
        DL_DELETE(pool->held, slot);
        slot_drop(slot, true);
    }
    DL_FOREACH(pool->posted, slot) {
        engine_accept_cancel(pool->acceptor, &slot->accept);
    }
    maintain(pool);
}
