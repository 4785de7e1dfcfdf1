#include "net/lib/work_pool.h"

#include <stdio.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "os/os.h"

/* A slot for a thread. A thread that has ended is joined when its slot is used again, or at the
 * end. */
struct place {
    struct work_pool *pool;
    struct os_thread thread;
    enum { POSTED_ACCEPT_FREE, POSTED_ACCEPT_RUNS, POSTED_ACCEPT_ENDED } state;
};

struct work_pool {
    struct work_pool_options options;
    struct os_mutex mutex; /* of all that follows */
    struct os_condition changed;
    struct work_lane *lanes; /* utlist: the listener that is next comes first */
    unsigned lane_count;
    uint64_t seed;    /* so that a client cannot choose which queue it shares */
    uint32_t waiting; /* works in all queues */
    uint32_t running; /* works */
    uint32_t threads;
    uint32_t idle; /* threads that wait for work */
    bool driven;
    bool stopping;
    bool shortage_notified; /* a thread could not be started; until one can be */
    struct place places[];  /* options.threads_max of them */
};

static unsigned work_pool_client_of(const struct work_pool *pool, uint64_t client) {
    uint64_t hash = (client ^ pool->seed) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (unsigned)(hash >> 32) % WORK_CLIENTS;
}

/* -- the queues, with the mutex held --------------------------------------- */

static void work_pool_put(struct work_pool *pool, struct work_lane *lane, unsigned client,
                          struct work *work) {
    struct work_queue *queue = &lane->clients[client];
    work->next = NULL;
    if (queue->last) {
        queue->last->next = work;
    } else {
        queue->first = work;
        lane->busy |= UINT64_C(1) << client;
        lane->queues++;
    }
    queue->last = work;
    if (lane->waiting == 0) {
        DL_APPEND(pool->lanes, lane);
        pool->lane_count++;
    }
    queue->waiting++;
    lane->waiting++;
    pool->waiting++;
}

/* The next client with work, from `turn` on, cyclically. */
static unsigned work_pool_next_client(const struct work_lane *lane) {
    unsigned client = lane->turn;
    while ((lane->busy >> client & 1) == 0) {
        client = (client + 1) % WORK_CLIENTS;
    }
    return client;
}

static struct work *work_pool_take(struct work_pool *pool) {
    struct work_lane *lane = pool->lanes;
    unsigned client = work_pool_next_client(lane);
    struct work_queue *queue = &lane->clients[client];
    struct work *work = queue->first;
    queue->first = work->next;
    queue->waiting--;
    if (!queue->first) {
        queue->last = NULL;
        lane->busy &= ~(UINT64_C(1) << client);
        lane->queues--;
    }
    lane->turn = (client + 1) % WORK_CLIENTS;
    lane->waiting--;
    pool->waiting--;
    DL_DELETE(pool->lanes, lane); /* the other lanes are first now */
    if (lane->waiting > 0) {
        DL_APPEND(pool->lanes, lane);
    } else {
        pool->lane_count--;
    }
    return work;
}

/* Whether a source that has `has` works has less than its share of `max`, among the `count` that
 * have any and itself. */
static bool is_below_share(uint32_t has, uint32_t max, unsigned count) {
    unsigned sharing = count + (has == 0 ? 1 : 0);
    uint32_t share = max / sharing;
    return has < (share > 0 ? share : 1) && sharing > 1;
}

static bool work_pool_has_room(const struct work_pool *pool, const struct work_source *source,
                               unsigned client) {
    const struct work_lane *lane = source->lane;
    uint32_t of_client = lane->clients[client].waiting;
    if (of_client >= source->client_max) {
        return false;
    }
    if (lane->waiting >= source->lane_max &&
        !is_below_share(of_client, source->lane_max, lane->queues)) {
        return false;
    }
    /* The pool is full, so there is a lane. All sources that have less than their share cannot make
     * it twice as full. */
    return pool->waiting < pool->options.queue_max ||
           is_below_share(lane->waiting, pool->options.queue_max, pool->lane_count) ||
           is_below_share(of_client, pool->options.queue_max / pool->lane_count, lane->queues);
}

/* Waits, with the mutex held, until there is work. False: the thread may end. */
static bool work_pool_wait_for_work(struct work_pool *pool) {
    bool spare = false;
    while (!pool->lanes && !pool->stopping && !spare) {
        bool above_minimum = pool->threads > pool->options.threads_min;
        pool->idle++;
        bool in_time = os_condition_wait(&pool->changed, &pool->mutex,
                                         above_minimum ? (int)pool->options.idle_ms : -1);
        pool->idle--;
        spare = !in_time && pool->threads > pool->options.threads_min;
    }
    return pool->lanes != NULL;
}

/* With the mutex held, which is unlocked meanwhile. */
static void run_next(struct work_pool *pool) {
    struct work *work = work_pool_take(pool);
    bool skip = pool->stopping || atomic_load(&work->called_off);
    pool->running++;
    os_mutex_unlock(&pool->mutex);
    if (skip) {
        work->skip(work);
    } else {
        work->run(work);
    }
    os_mutex_lock(&pool->mutex);
    pool->running--;
}

bool work_pool_run_one(struct work_pool *pool) {
    ASSERT(pool->driven);
    os_mutex_lock(&pool->mutex);
    bool any = pool->lanes != NULL;
    if (any) {
        run_next(pool);
    }
    os_mutex_unlock(&pool->mutex);
    return any;
}

static void thread_run(void *argument) {
    struct place *place = argument;
    struct work_pool *pool = place->pool;
    os_thread_spread((unsigned)(place - pool->places));
    os_mutex_lock(&pool->mutex);
    while (work_pool_wait_for_work(pool)) {
        run_next(pool);
    }
    pool->threads--;
    place->state = POSTED_ACCEPT_ENDED;
    os_mutex_unlock(&pool->mutex);
    if (pool->options.thread_ended) {
        pool->options.thread_ended();
    }
}

/* With the mutex held. */
static bool work_pool_start_thread(struct work_pool *pool, struct error *error) {
    uint32_t index = 0;
    while (index < pool->options.threads_max && pool->places[index].state == POSTED_ACCEPT_RUNS) {
        index++;
    }
    ASSERT(index < pool->options.threads_max);
    struct place *place = &pool->places[index];
    if (place->state == POSTED_ACCEPT_ENDED) {
        os_thread_join(&place->thread); /* it is past its last lock: this returns at once */
        place->state = POSTED_ACCEPT_FREE;
    }
    char name[16];
    snprintf(name, sizeof(name), "work-%u", (unsigned)(index % 10000));
    place->pool = pool;
    if (!os_thread_start(&place->thread, name, thread_run, place, error)) {
        return error_prefix(error, "thread %s: ", name);
    }
    place->state = POSTED_ACCEPT_RUNS;
    pool->threads++;
    return true;
}

struct work_pool *work_pool_create(const struct work_pool_options *options, bool driven,
                                   struct error *error) {
    struct work_pool *pool =
        alloc_zeroed(sizeof(*pool) + options->threads_max * sizeof(pool->places[0]));
    if (!pool) {
        error_set(error, "out of memory");
        return NULL;
    }
    pool->options = *options;
    pool->driven = driven;
    os_random(&pool->seed, sizeof(pool->seed));
    os_mutex_init(&pool->mutex);
    os_condition_init(&pool->changed);
    os_mutex_lock(&pool->mutex);
    bool started = true;
    while (started && !driven && pool->threads < options->threads_min) {
        started = work_pool_start_thread(pool, error);
    }
    os_mutex_unlock(&pool->mutex);
    if (!started) {
        work_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

static bool work_pool_is_used(struct work_pool *pool, uint32_t index) {
    os_mutex_lock(&pool->mutex);
    bool used = pool->places[index].state != POSTED_ACCEPT_FREE;
    os_mutex_unlock(&pool->mutex);
    return used;
}

void work_pool_destroy(struct work_pool *pool) {
    if (!pool) {
        return;
    }
    os_mutex_lock(&pool->mutex);
    pool->stopping = true;
    os_condition_signal_all(&pool->changed);
    os_mutex_unlock(&pool->mutex);
    while (pool->driven && work_pool_run_one(pool)) {
    }
    for (uint32_t i = 0; i < pool->options.threads_max; i++) {
        if (work_pool_is_used(pool, i)) {
            os_thread_join(&pool->places[i].thread);
        }
    }
    ASSERT(!pool->lanes);
    os_condition_fini(&pool->changed);
    os_mutex_fini(&pool->mutex);
    alloc_free(pool);
}

/* With the mutex held: makes sure that a thread will take the work. */
static bool find_thread(struct work_pool *pool) {
    struct error error;
    if (pool->driven || pool->waiting < pool->idle || pool->threads == pool->options.threads_max) {
        return true;
    }
    if (work_pool_start_thread(pool, &error)) {
        pool->shortage_notified = false;
        return true;
    }
    if (!pool->shortage_notified) {
        log_warn(NULL, "blocking work: %s; %u threads have to do", error.message, pool->threads);
        pool->shortage_notified = true;
    }
    return pool->threads > 0;
}

bool work_pool_submit(struct work_pool *pool, const struct work_source *source, struct work *work) {
    os_mutex_lock(&pool->mutex);
    unsigned client = work_pool_client_of(pool, source->client);
    bool accepted =
        !pool->stopping && work_pool_has_room(pool, source, client) && find_thread(pool);
    if (accepted) {
        work_pool_put(pool, source->lane, client, work);
        os_condition_signal(&pool->changed);
    }
    os_mutex_unlock(&pool->mutex);
    return accepted;
}

void work_call_off(struct work *work) {
    atomic_store(&work->called_off, true);
}

struct work_pool_status work_pool_status(struct work_pool *pool) {
    os_mutex_lock(&pool->mutex);
    struct work_pool_status status = {pool->threads, pool->running, pool->waiting};
    os_mutex_unlock(&pool->mutex);
    return status;
}

uint32_t work_lane_waiting(struct work_pool *pool, const struct work_lane *lane) {
    os_mutex_lock(&pool->mutex);
    uint32_t waiting = lane->waiting;
    os_mutex_unlock(&pool->mutex);
    return waiting;
}
