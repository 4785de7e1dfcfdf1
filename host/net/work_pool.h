/* work_pool.h: threads for what blocks: the work of plugins, and the resolving of names.
 *
 * Elastic between a minimum and a maximum: a thread is started when work comes and none is free,
 * and ends when it has had nothing to do for a while. First come, first served; the queue is
 * bounded. Owner: the server. Threads: as each function says. */
#ifndef BERTH_HOST_NET_WORK_POOL_H
#define BERTH_HOST_NET_WORK_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct error;
struct work_pool;

struct work_pool_options {
    uint32_t threads_min;
    uint32_t threads_max; /* at least 1 */
    uint32_t queue_max;   /* works that wait */
    uint32_t idle_ms;     /* after which a thread above the minimum ends */
};

/* Embedded in what is to be done. The pool's from submit() on, until run() or skip() is called. */
struct work {
    struct work *next;
    void (*run)(struct work *work);  /* may block; the work may be freed in it */
    void (*skip)(struct work *work); /* in place of run(): the work was called off */
    atomic_bool called_off;
};

struct work_pool *work_pool_create(const struct work_pool_options *options, struct error *error);

/* What waits is skipped, what runs is waited for. NULL is legal. [control] */
void work_pool_destroy(struct work_pool *pool);

/* run() or skip() is called on a thread of the pool, exactly once. False: the queue is full, or
 * there is no thread and none can be started; nothing was accepted then. [any] */
bool work_pool_submit(struct work_pool *pool, struct work *work);

/* Has the work skipped, unless it runs already. [any], as long as the work exists */
void work_call_off(struct work *work);

struct work_pool_status {
    uint32_t threads;
    uint32_t running; /* works */
    uint32_t waiting;
};
struct work_pool_status work_pool_status(struct work_pool *pool); /* [any] */

#endif
