#include "net/work_pool.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "net/plugin_call.h"
#include "os/os.h"

/* A place for a thread. One that has ended is joined when its place is used again, or at last. */
struct place {
    struct work_pool *pool;
    struct os_thread thread;
    enum { PLACE_FREE, PLACE_RUNS, PLACE_ENDED } state;
};

struct work_pool {
    struct work_pool_options options;
    struct os_mutex mutex; /* of all that follows */
    struct os_condition changed;
    struct work *first;
    struct work *last;
    uint32_t waiting; /* works in the queue */
    uint32_t running; /* works */
    uint32_t threads;
    uint32_t idle; /* threads that wait for work */
    bool stopping;
    bool shortage_told;    /* that a thread could not be started, until one can */
    struct place places[]; /* options.threads_max of them */
};

static struct work *take(struct work_pool *pool) {
    struct work *work = pool->first;
    pool->first = work->next;
    pool->last = pool->first ? pool->last : NULL;
    pool->waiting--;
    return work;
}

/* Waits, with the mutex held, until there is work. False: the thread may end. */
static bool wait_for_work(struct work_pool *pool) {
    bool spare = false;
    while (!pool->first && !pool->stopping && !spare) {
        bool above_minimum = pool->threads > pool->options.threads_min;
        pool->idle++;
        bool in_time = os_condition_wait(&pool->changed, &pool->mutex,
                                         above_minimum ? (int)pool->options.idle_ms : -1);
        pool->idle--;
        spare = !in_time && pool->threads > pool->options.threads_min;
    }
    return pool->first != NULL;
}

static void thread_run(void *argument) {
    struct place *place = argument;
    struct work_pool *pool = place->pool;
    os_mutex_lock(&pool->mutex);
    while (wait_for_work(pool)) {
        struct work *work = take(pool);
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
    pool->threads--;
    place->state = PLACE_ENDED;
    os_mutex_unlock(&pool->mutex);
    plugin_thread_leave();
}

/* With the mutex held. */
static bool start_thread(struct work_pool *pool, struct error *error) {
    uint32_t index = 0;
    while (index < pool->options.threads_max && pool->places[index].state == PLACE_RUNS) {
        index++;
    }
    ASSERT(index < pool->options.threads_max);
    struct place *place = &pool->places[index];
    if (place->state == PLACE_ENDED) {
        os_thread_join(&place->thread); /* it is past its last lock: this takes no time */
        place->state = PLACE_FREE;
    }
    char name[16];
    snprintf(name, sizeof(name), "work-%u", (unsigned)(index % 10000));
    place->pool = pool;
    if (!os_thread_start(&place->thread, name, thread_run, place, error)) {
        return error_prefix(error, "thread %s: ", name);
    }
    place->state = PLACE_RUNS;
    pool->threads++;
    return true;
}

struct work_pool *work_pool_create(const struct work_pool_options *options, struct error *error) {
    struct work_pool *pool =
        alloc_zeroed(sizeof(*pool) + options->threads_max * sizeof(pool->places[0]));
    if (!pool) {
        error_set(error, "out of memory");
        return NULL;
    }
    pool->options = *options;
    os_mutex_init(&pool->mutex);
    os_condition_init(&pool->changed);
    os_mutex_lock(&pool->mutex);
    bool started = true;
    while (started && pool->threads < options->threads_min) {
        started = start_thread(pool, error);
    }
    os_mutex_unlock(&pool->mutex);
    if (!started) {
        work_pool_destroy(pool);
        return NULL;
    }
    return pool;
}

static bool is_used(struct work_pool *pool, uint32_t index) {
    os_mutex_lock(&pool->mutex);
    bool used = pool->places[index].state != PLACE_FREE;
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
    for (uint32_t i = 0; i < pool->options.threads_max; i++) {
        if (is_used(pool, i)) {
            os_thread_join(&pool->places[i].thread);
        }
    }
    ASSERT(!pool->first);
    os_condition_fini(&pool->changed);
    os_mutex_fini(&pool->mutex);
    alloc_free(pool);
}

/* With the mutex held: sees to it that somebody will come for the work. */
static bool find_thread(struct work_pool *pool) {
    struct error error;
    if (pool->waiting < pool->idle || pool->threads == pool->options.threads_max) {
        return true;
    }
    if (start_thread(pool, &error)) {
        pool->shortage_told = false;
        return true;
    }
    if (!pool->shortage_told) {
        log_warn(NULL, "blocking work: %s; %u threads have to do", error.message, pool->threads);
        pool->shortage_told = true;
    }
    return pool->threads > 0;
}

bool work_pool_submit(struct work_pool *pool, struct work *work) {
    os_mutex_lock(&pool->mutex);
    bool accepted = !pool->stopping && pool->waiting < pool->options.queue_max && find_thread(pool);
    if (accepted) {
        work->next = NULL;
        if (pool->last) {
            pool->last->next = work;
        } else {
            pool->first = work;
        }
        pool->last = work;
        pool->waiting++;
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
