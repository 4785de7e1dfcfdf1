#include "net/listen/accept_pool.h"

#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "net/lib/latch.h"

enum {
    TICK_MS = 1000,          /* at most; short time limits are checked more often */
    TICK_MIN_MS = 50,        /* at least */
    TICKS_A_TIMEOUT = 4,     /* so that a silent client is reset less than a quarter late */
    BACKOFF_FIRST_MS = 20,   /* after a failure for lack of resources; doubled up to the tick */
    EPISODE_QUIET_MS = 5000, /* a shortage is over when nothing has failed for this long */
    HARD_FAILURES_MAX = 32,  /* in a row, before the listener falls back to plain accepts */
    RUSH_QUIET_MS = 5000,    /* a rush is over when no clients have queued for this long */
    PLAIN_SHARE = 8,         /* of `high`: one in this many is reserved for accepts without data */
};

/* One accept, from its post until its connection is handed over. */
struct accept_slot {
    struct engine_accept accept;
    struct accept_pool *pool;
    struct listener *listener;
    struct worker *target; /* the worker that will own the connection */
    struct accept_slot *prev;
    struct accept_slot *next;
    uint32_t first_data_size;
    bool with_data; /* as it was posted */
    bool timed_out; /* cancelled by the sweep */
    bool refused;   /* the client is to be informed that there is no capacity */
};

struct accept_pool {
    struct worker *worker;
    struct listener *listener;
    struct engine_acceptor *acceptor;
    struct engine_listener *socket;
    unsigned index;            /* of the socket's acceptors */
    struct accept_pool *owner; /* not NULL: it covers a stalled worker; the pool of this worker */
    unsigned covers;           /* pools that it owns, which cover */
    struct accept_pool *prev;  /* in worker->pools */
    struct accept_pool *next;
    struct accept_slot *posted;
    uint32_t posted_count;
    uint32_t posted_with_data;
    uint32_t hard_failures; /* in a row */
    uint32_t backoff_ms;    /* how long the last pause was; 0: an accept has succeeded since */
    bool backing_off;       /* accepting pauses until the tick */
    uint64_t shortage_since_ms;
    uint64_t shortage_last_ms;
    unsigned long long shortage_failures; /* 0: no episode */
    struct timer tick;
    struct latch *stopped;    /* not NULL: stopping */
    uint64_t starved_last_ms; /* when clients last queued */
    bool rush;    /* clients queued lately: keeps up to `high`, lest all are taken again */
    bool blocked; /* posts nothing for lack of capacity; counted in server->waiting */
    bool starved; /* clients queue, and nothing could be posted for them */
    bool plain;   /* has fallen back to plain accepts */
};

static struct latch nobody; /* for pools that cover: no thread waits for their end */

static void accept_pool_maintain(struct accept_pool *pool);
static void on_accepted(struct engine_op *op, int64_t result);

/* -- shortage -------------------------------------------------------------- */

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

static void back_off(struct accept_pool *pool, const char *what) {
    struct listener *listener = pool->listener;
    uint64_t now_ms = worker_now_ms(pool->worker);
    if (pool->shortage_failures++ == 0) {
        pool->shortage_since_ms = now_ms;
        listener_count(&listener->counters.shortages);
        log_limited(LOG_KIND_SHORTAGE, LOG_LEVEL_WARN, &listener->subject,
                    "accepting slows down: %s; clients wait in the backlog until it passes", what);
    }
    pool->shortage_last_ms = now_ms;
    if (pool->backing_off) {
        return; /* another accept of the same attempt */
    }
    pool->backing_off = true;
    if (pool->backoff_ms == 0) {
        pool->backoff_ms = BACKOFF_FIRST_MS;
    } else if (pool->backoff_ms < TICK_MS) {
        pool->backoff_ms = pool->backoff_ms * 2 < TICK_MS ? pool->backoff_ms * 2 : TICK_MS;
    }
    set_blocked(pool, true); /* a connection that ends may end the shortage */
    timers_start(&pool->worker->timers, &pool->tick, now_ms, pool->backoff_ms);
}

static void accept_pool_end_episode(struct accept_pool *pool, uint64_t now_ms) {
    if (pool->shortage_failures > 0 && now_ms - pool->shortage_last_ms >= EPISODE_QUIET_MS) {
        log_limited(LOG_KIND_SHORTAGE, LOG_LEVEL_INFO, &pool->listener->subject,
                    "accepting goes on as usual: %llu accepts failed in %llu ms",
                    pool->shortage_failures,
                    (unsigned long long)(pool->shortage_last_ms - pool->shortage_since_ms));
        pool->shortage_failures = 0;
    }
}

static void fall_back(struct accept_pool *pool, const char *what) {
    pool->plain = true;
    bool plainer = engine_acceptor_fall_back(pool->acceptor);
    log_warn(&pool->listener->subject,
             "%u accepts failed in a row (%s): from now on clients are taken %s",
             (unsigned)pool->hard_failures, what,
             plainer ? "one by one as they come, by plain accepts"
                     : "without their first data, which is awaited afterwards");
}

/* -- posting --------------------------------------------------------------- */

/* How many of the accepts may be posted with data. */
static uint32_t with_data_max(const struct accept_pool *pool) {
    const struct listener_options *options = &pool->listener->options;
    if (!options->accept_on_data || pool->plain) {
        return 0;
    }
    uint32_t kept = options->pool_high / PLAIN_SHARE;
    return options->pool_high - (kept > 0 ? kept : 1);
}

/* The accepts as the marks count them. Accepts with data beyond the present marks were posted
 * before a reload. Silent clients hold them, and they must not keep out other clients. */
static uint32_t accept_pool_counted(const struct accept_pool *pool) {
    uint32_t most = with_data_max(pool);
    uint32_t extra = pool->posted_with_data > most ? pool->posted_with_data - most : 0;
    return pool->posted_count - extra;
}

static bool post_one(struct accept_pool *pool) {
    struct accept_slot *slot = alloc_zeroed(sizeof(*slot));
    if (!slot) {
        back_off(pool, "out of memory");
        return false;
    }
    struct server *server = pool->worker->server;
    slot->pool = pool;
    slot->listener = pool->listener;
    slot->accept.op.complete = on_accepted;
    slot->with_data = pool->posted_with_data < with_data_max(pool);
    slot->accept.with_data = slot->with_data;
    slot->accept.home = server->acceptor ? server_least_loaded(server)->port : NULL;
    pool->starved = false; /* as far as is known */
    DL_APPEND(pool->posted, slot);
    pool->posted_count++;
    pool->posted_with_data += slot->with_data;
    engine_accept(pool->acceptor, &slot->accept);
    return true;
}

static bool accept_pool_has_room(const struct accept_pool *pool) {
    struct listener *listener = pool->listener;
    return listener_has_room(listener) && atomic_load(&listener->waiting) == 0 &&
           atomic_load(&listener->pending) < listener->options.pending_max;
}

/* Whether more may be posted now. */
static bool may_post(struct accept_pool *pool) {
    if (pool->stopped || pool->backing_off) {
        return false;
    }
    /* Set before the check: a thread that frees capacity between the two sees that a pool waits. */
    set_blocked(pool, true);
    bool room = accept_pool_has_room(pool);
    set_blocked(pool, !room);
    return room;
}

static void post_up_to(struct accept_pool *pool, uint32_t target) {
    while (accept_pool_counted(pool) < target && post_one(pool)) {
    }
}

/* -- an accepted connection ------------------------------------------------ */

static void slot_drop(struct accept_slot *slot, bool reset) {
    buffer_release(slot->accept.data.owner);
    engine_close(slot->listener->server->engine, slot->accept.socket, reset);
    alloc_free(slot);
}

static void on_arrived(struct engine_op *op, int64_t result) {
    struct accept_slot *slot = CONTAINER_OF(op, struct accept_slot, accept.op);
    (void)result;
    connection_adopt(slot->target, slot->listener, &slot->accept, slot->first_data_size,
                     slot->refused);
    alloc_free(slot);
}

static void hand_over(struct accept_pool *pool, struct accept_slot *slot) {
    struct server *server = pool->worker->server;
    if (slot->accept.home) {
        slot->target = server_worker_of(server, slot->accept.home);
        if (server->acceptor) { /* else it is only bound to its worker */
            listener_count(&slot->listener->counters.reused);
        }
    } else {
        slot->target = server_choose_worker(server, pool->worker);
    }
    listener_ref(slot->listener);
    atomic_fetch_add(&slot->target->load, 1);
    if (slot->target == pool->worker) {
        on_arrived(&slot->accept.op, 0);
        return;
    }
    slot->accept.op.complete = on_arrived;
    engine_port_post(slot->target->port, &slot->accept.op);
}

/* Whether the connection goes on to a worker; slot->refused says whether the client is to be
 * informed that there is no capacity. */
static bool goes_on(struct accept_slot *slot) {
    struct listener *listener = slot->listener;
    enum listener_refusal why;
    if (listener_trusts_proxy(listener, &slot->accept.remote) || /* its client is checked later */
        listener_accepts_client(listener, &slot->accept.remote, worker_now_ms(slot->pool->worker),
                                &why)) {
        return true;
    }
    slot->refused = true;
    return why != LISTENER_REFUSED_ACCESS && listener_answers_busy(listener);
}

/* Also called while the pool stops: a client that arrives before the sockets are closed is served,
 * as the workers run until then. */
static void accept_pool_accepted(struct accept_pool *pool, struct accept_slot *slot,
                                 int64_t result) {
    struct listener *listener = pool->listener;
    listener_count(&listener->counters.accepted);
    pool->hard_failures = 0;
    pool->backoff_ms = 0;
    slot->first_data_size = (uint32_t)result;
    if (slot->accept.with_data && result == 0) {
        listener_count(&listener->counters.ended_silent);
        slot_drop(slot, false);
    } else if (goes_on(slot)) {
        hand_over(pool, slot);
    } else {
        slot_drop(slot, true);
    }
}

static void accept_pool_log_silent(const struct accept_slot *slot) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = slot->listener->subject;
    if (log_enabled(LOG_LEVEL_DEBUG)) {
        if (slot->accept.remote.family != BERTH_FAMILY_NONE) { /* Windows does not provide it yet */
            address_format(&slot->accept.remote, peer, sizeof(peer));
            subject.peer = peer;
        }
        subject.reason = "first_data_timeout_ms";
        log_limited(LOG_KIND_TIMEOUT, LOG_LEVEL_DEBUG, &subject,
                    "a silent client closed by first_data_timeout_ms");
    }
}

static void accept_pool_failed(struct accept_pool *pool, struct accept_slot *slot, int64_t result) {
    struct listener *listener = pool->listener;
    const char *what = engine_error_text(result);
    if (slot->timed_out) {
        listener_count(&listener->counters.first_data_timeouts);
        accept_pool_log_silent(slot);
    } else if (result != ENGINE_E_CANCELLED) {
        listener_count(&listener->counters.accept_failed[-result]);
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_DEBUG, &listener->subject, "accept: %s", what);
    }
    if (result == ENGINE_E_OTHER && ++pool->hard_failures == HARD_FAILURES_MAX && !pool->plain) {
        fall_back(pool, what);
    }
    if ((result == ENGINE_E_OTHER || result == ENGINE_E_NO_RESOURCES) && !pool->stopped) {
        back_off(pool, what);
    }
    if (result != ENGINE_E_ABANDONED) {
        alloc_free(slot);
    }
}

static void on_accepted(struct engine_op *op, int64_t result) {
    struct accept_slot *slot = CONTAINER_OF(op, struct accept_slot, accept.op);
    struct accept_pool *pool = slot->pool;
    struct worker *worker = pool->worker;
    DL_DELETE(pool->posted, slot);
    pool->posted_count--;
    pool->posted_with_data -= slot->with_data;
    if (result >= 0) {
        accept_pool_accepted(pool, slot, result);
    } else {
        accept_pool_failed(pool, slot, result);
    }
    accept_pool_maintain(pool); /* may free the pool */
    worker_run_pending(worker);
}

/* -- watermarks ------------------------------------------------------------ */

static void finish_stop(struct accept_pool *pool) {
    struct worker *worker = pool->worker;
    struct accept_pool *owner = pool->owner;
    struct latch *stopped = pool->stopped;
    engine_acceptor_destroy(pool->acceptor);
    DL_DELETE(worker->pools, pool);
    alloc_free(pool);
    if (!owner) {
        latch_down(stopped);
        return;
    }
    owner->covers--;
    if (owner->stopped) {
        accept_pool_maintain(owner);
    }
}

static uint32_t accept_pool_larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

/* How many accepts to have, once there are too few. */
static uint32_t target_of(const struct accept_pool *pool) {
    const struct listener_options *options = &pool->listener->options;
    uint32_t usual = accept_pool_larger(options->pool_initial, options->pool_low);
    return pool->rush ? accept_pool_larger(options->pool_high, usual) : usual;
}

/* The number below which there are too few accepts. In a rush it is below the target by the same
 * difference as otherwise. */
static uint32_t low_of(const struct accept_pool *pool) {
    const struct listener_options *options = &pool->listener->options;
    uint32_t usual = accept_pool_larger(options->pool_initial, options->pool_low);
    return target_of(pool) - (usual - options->pool_low);
}

/* Clients queue and no accept is free for them. */
static void accept_pool_feed(struct accept_pool *pool) {
    const struct listener_options *options = &pool->listener->options;
    pool->starved_last_ms = worker_now_ms(pool->worker);
    if (accept_pool_counted(pool) >= options->pool_high) {
        listener_count(&pool->listener->counters.pool_high);
        pool->rush |= !pool->plain;
        return;
    }
    pool->starved = !may_post(pool);
    if (!pool->starved) {
        pool->rush = !pool->plain;
        uint32_t more = accept_pool_counted(pool) + options->pool_initial;
        post_up_to(pool, more < options->pool_high ? more : options->pool_high);
    }
}

/* Called when something has changed: posts what is missing, or ends the pool. */
static void accept_pool_maintain(struct accept_pool *pool) {
    if (pool->stopped) {
        if (pool->posted_count == 0 && pool->covers == 0) {
            finish_stop(pool);
        }
        return;
    }
    const struct listener_options *options = &pool->listener->options;
    uint32_t data_max = with_data_max(pool);
    if (accept_pool_counted(pool) < low_of(pool)) {
        if (may_post(pool)) {
            listener_count(&pool->listener->counters.pool_low);
            post_up_to(pool, target_of(pool));
        }
    } else if (data_max > 0 && pool->posted_with_data >= data_max &&
               accept_pool_counted(pool) < options->pool_high && may_post(pool)) {
        /* All accepts that silent clients may take are posted: those without data serve the
         * others. */
        post_up_to(pool, options->pool_high);
    }
}

/* -- tick, silent clients -------------------------------------------------- */

/* Resets the clients that have been connected too long without sending data. */
static void accept_pool_sweep(struct accept_pool *pool) {
    int64_t limit_ms = pool->listener->options.first_data_timeout_ms;
    struct accept_slot *slot;
    DL_FOREACH(pool->posted, slot) {
        if (slot->with_data && !slot->timed_out &&
            engine_accept_connected_ms(&slot->accept) >= limit_ms) {
            slot->timed_out = true;
            engine_accept_cancel(pool->acceptor, &slot->accept);
        }
    }
}

static void start_tick(struct accept_pool *pool) {
    const struct listener_options *options = &pool->listener->options;
    uint64_t delay_ms = TICK_MS;
    if (options->accept_on_data && options->first_data_timeout_ms < TICK_MS * TICKS_A_TIMEOUT) {
        delay_ms = options->first_data_timeout_ms / TICKS_A_TIMEOUT;
        delay_ms = delay_ms > TICK_MIN_MS ? delay_ms : TICK_MIN_MS;
    }
    timers_start(&pool->worker->timers, &pool->tick, worker_now_ms(pool->worker), delay_ms);
}

/* Ends a pause, if there is one: the next posts may fail again. */
static void try_again(struct accept_pool *pool) {
    pool->backing_off = false;
    accept_pool_maintain(pool);
    if (pool->starved) {
        accept_pool_feed(pool);
    }
}

static void accept_pool_on_tick(struct timer *timer) {
    struct accept_pool *pool = CONTAINER_OF(timer, struct accept_pool, tick);
    if (pool->posted_with_data > 0) {
        accept_pool_sweep(pool);
    }
    accept_pool_end_episode(pool, worker_now_ms(pool->worker));
    if (worker_now_ms(pool->worker) - pool->starved_last_ms >= RUSH_QUIET_MS) {
        pool->rush = false; /* posted accepts stay until they are taken */
    }
    try_again(pool);
    if (!timer_is_running(&pool->tick)) {
        start_tick(pool);
    }
}

static void on_starved(struct engine_acceptor *acceptor, void *context) {
    struct accept_pool *pool = context;
    (void)acceptor;
    if (pool->posted_with_data > 0) {
        accept_pool_sweep(pool);
    }
    accept_pool_feed(pool);
}

void accept_pools_capacity_freed(struct worker *worker) {
    struct accept_pool *pool;
    struct accept_pool *next;
    DL_FOREACH_SAFE(worker->pools, pool, next) {
        if (!pool->stopped) {
            try_again(pool);
        }
    }
}

/* -- life ------------------------------------------------------------------ */

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
    pool->socket = socket;
    pool->index = index;
    pool->tick.fire = accept_pool_on_tick;
    pool->acceptor = engine_acceptor_create(worker->port, socket, index, on_starved, pool, error);
    if (!pool->acceptor) {
        alloc_free(pool);
        return NULL;
    }
    pool->plain = engine_acceptor_is_plain(pool->acceptor);
    DL_APPEND(worker->pools, pool);
    start_tick(pool);
    post_up_to(pool, listener->options.pool_initial);
    return pool;
}

/* An accept that waits for first data would delay a client that the server greets. An accept that
 * has its client already stays: cancelling it would reset the client, which is served when it sends
 * data. */
static void cancel_with_data(struct accept_pool *pool) {
    struct accept_slot *slot;
    DL_FOREACH(pool->posted, slot) {
        if (slot->with_data && engine_accept_connected_ms(&slot->accept) < 0) {
            engine_accept_cancel(pool->acceptor, &slot->accept);
        }
    }
}

void accept_pool_serve(struct accept_pool *pool, struct listener *listener) {
    struct accept_slot *slot;
    pool->listener = listener;
    DL_FOREACH(pool->posted, slot) {
        slot->listener = listener;
    }
    if (pool->posted_with_data > with_data_max(pool)) {
        cancel_with_data(pool);
    }
    start_tick(pool);
    try_again(pool);
    struct accept_pool *cover;
    DL_FOREACH(pool->worker->pools, cover) {
        if (cover->owner == pool && !cover->stopped) {
            accept_pool_serve(cover, listener);
        }
    }
}

/* -- workers that stall ---------------------------------------------------- */

static struct accept_pool *accept_pool_cover_find(const struct accept_pool *owner, unsigned index) {
    struct accept_pool *cover;
    DL_FOREACH(owner->worker->pools, cover) {
        if (cover->owner == owner && cover->index == index && !cover->stopped) {
            return cover;
        }
    }
    return NULL;
}

static void accept_pool_cover_start(struct accept_pool *owner, unsigned index) {
    struct error error;
    struct accept_pool *cover = alloc_zeroed(sizeof(*cover));
    if (!cover) {
        return; /* retried at the next stall */
    }
    *cover = (struct accept_pool){
        .worker = owner->worker,
        .listener = owner->listener,
        .socket = owner->socket,
        .index = index,
        .owner = owner,
        .tick.fire = accept_pool_on_tick,
        .plain = true,
    };
    cover->acceptor = engine_acceptor_create(owner->worker->port, owner->socket, index, on_starved,
                                             cover, &error);
    if (!cover->acceptor) {
        log_warn(&owner->listener->subject, "the clients of worker %u, which stalls, wait: %s",
                 index, error.message);
        alloc_free(cover);
        return;
    }
    owner->covers++;
    DL_APPEND(owner->worker->pools, cover);
    start_tick(cover);
    try_again(cover);
}

/* The accepts that were posted for a worker before it stalled, and have no client. */
static void repost_stalled(struct accept_pool *pool) {
    struct server *server = pool->worker->server;
    struct accept_slot *slot;
    DL_FOREACH(pool->posted, slot) {
        if (slot->accept.home && engine_accept_connected_ms(&slot->accept) < 0 &&
            atomic_load(&server_worker_of(server, slot->accept.home)->stalled)) {
            engine_accept_cancel(pool->acceptor, &slot->accept);
        }
    }
}

static void accept_pool_cover_all(struct accept_pool *pool) {
    struct server *server = pool->worker->server;
    for (unsigned i = 0; i < server->options.workers; i++) {
        struct accept_pool *cover = accept_pool_cover_find(pool, i);
        bool wanted = server_covers(server, pool->worker, &server->workers[i]);
        if (wanted && !cover) {
            accept_pool_cover_start(pool, i);
        } else if (!wanted && cover) {
            accept_pool_stop(cover, &nobody);
        }
    }
}

void accept_pools_cover(struct worker *worker) {
    struct accept_pool *pool;
    struct accept_pool *next;
    DL_FOREACH_SAFE(worker->pools, pool, next) {
        if (pool->stopped || pool->owner) {
            continue;
        }
        if (worker == worker->server->acceptor) {
            repost_stalled(pool);
        } else {
            accept_pool_cover_all(pool);
            next = pool->next; /* `next` may have been a covering pool that has ended */
        }
    }
}

void accept_pool_stop(struct accept_pool *pool, struct latch *done) {
    struct accept_slot *slot;
    struct accept_pool *cover;
    struct accept_pool *next;
    DL_FOREACH_SAFE(pool->worker->pools, cover, next) {
        if (cover->owner == pool && !cover->stopped) {
            accept_pool_stop(cover, &nobody);
        }
    }
    pool->stopped = done;
    set_blocked(pool, false);
    timers_stop(&pool->worker->timers, &pool->tick);
    DL_FOREACH(pool->posted, slot) {
        engine_accept_cancel(pool->acceptor, &slot->accept);
    }
    accept_pool_maintain(pool);
}

/* -- checks, descriptions -------------------------------------------------- */

static void accept_pool_expect(const struct accept_pool *pool, bool fact, const char *text) {
    char line[DESCRIBE_BYTES];
    char whole[DESCRIBE_BYTES * 2];
    size_t used = 0;
    if (!fact) {
        accept_pool_describe(pool, line, sizeof(line));
        text_append(whole, sizeof(whole), &used, "%s; %s", text, line);
        assert_failed(whole, __FILE__, __LINE__);
    }
}

void accept_pool_check(const struct accept_pool *pool) {
    const struct accept_slot *slot;
    uint32_t count = 0;
    uint32_t with_data = 0;
    DL_FOREACH(pool->posted, slot) {
        accept_pool_expect(pool, slot->pool == pool, "an accept is its pool's own");
        accept_pool_expect(pool, pool->stopped || slot->listener == pool->listener,
                           "an accept serves the listener that its pool serves");
        count++;
        with_data += slot->with_data;
    }
    accept_pool_expect(pool, pool->posted_count == count, "the posted accepts are counted");
    accept_pool_expect(pool, pool->posted_with_data == with_data, "those with data are counted");
    accept_pool_expect(pool, !pool->stopped == timer_is_running(&pool->tick),
                       "a pool ticks until it is stopped");
    accept_pool_expect(pool, !pool->stopped || !pool->blocked, "a stopped pool waits for no room");
    accept_pool_expect(pool, !pool->stopped || count > 0 || pool->covers > 0,
                       "a stopped pool without accepts is gone");
    accept_pool_expect(pool, !pool->blocked || atomic_load(&pool->worker->server->waiting) > 0,
                       "a pool that waits for room is counted");
    accept_pool_expect(pool, !pool->owner || pool->plain,
                       "a pool that covers a worker accepts without data");
}

void accept_pools_check(const struct worker *worker) {
    const struct accept_pool *pool;
    const struct accept_pool *cover;
    DL_FOREACH(worker->pools, pool) {
        unsigned covers = 0;
        DL_FOREACH(worker->pools, cover) {
            covers += cover->owner == pool;
        }
        accept_pool_expect(pool, pool->covers == covers, "the pools that cover for it are counted");
        accept_pool_check(pool);
    }
}

void accept_pool_describe(const struct accept_pool *pool, char *text, size_t size) {
    static const char *const no = "";
    size_t used = 0;
    text_append(text, size, &used,
                "accept pool of listener \"%s\", acceptor %u: %u accepts posted, %u of them with "
                "data",
                pool->listener->name, pool->index, pool->posted_count, pool->posted_with_data);
    text_append(text, size, &used, "%s%s%s%s%s%s%s", pool->owner ? ", covers a worker" : no,
                pool->plain ? ", plain" : no, pool->rush ? ", rush" : no,
                pool->blocked ? ", waits for room" : no, pool->backing_off ? ", backs off" : no,
                pool->starved ? ", starved" : no, pool->stopped ? ", stopping" : no);
}

void accept_pools_describe(const struct worker *worker, const struct listener *listener,
                           describe_fn *tell, void *context) {
    char line[DESCRIBE_BYTES];
    const struct accept_pool *pool;
    DL_FOREACH(worker->pools, pool) {
        if (pool->listener == listener) {
            accept_pool_describe(pool, line, sizeof(line));
            tell(context, line);
        }
    }
}
