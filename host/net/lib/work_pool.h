/* work_pool.h: threads for blocking operations: the work of plugins, and name resolution.
 *
 * Elastic between a minimum and a maximum: a thread is started when work is submitted and none is
 * free, and ends when it has been idle for a while.
 *
 * Fair: the next work is that of the next listener that has any, and of its next client; the works
 * of one client run in order. So however much one of them submits, another waits for at most one
 * work of each. Clients are told apart by a hash of their address, into WORK_CLIENTS queues a
 * listener: that needs no memory for each client, and two clients rarely share one. The queues are
 * bounded, and each keeps its share: if the pool is full, a listener that has less waiting than its
 * share of the pool may still submit, and so may a client that has less than its share of its
 * listener.
 *
 * Owner: the server. Threads: as each function says. */
#ifndef BERTH_HOST_NET_LIB_WORK_POOL_H
#define BERTH_HOST_NET_LIB_WORK_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct error;
struct work_pool;

struct work_pool_options {
    uint32_t threads_min;
    uint32_t threads_max;       /* at least 1 */
    uint32_t queue_max;         /* works that wait */
    uint32_t idle_ms;           /* after which a thread above the minimum ends */
    void (*thread_ended)(void); /* called on a thread of the pool that ends; or NULL */
};

enum { WORK_CLIENTS = 64 };

struct work_queue {
    struct work *first;
    struct work *last;
    uint32_t waiting;
};

/* The waiting works of one listener, which embeds it. Zero at first; protected by the pool's
 * lock. */
struct work_lane {
    struct work_lane *prev; /* utlist: in the pool, while works wait */
    struct work_lane *next;
    struct work_queue clients[WORK_CLIENTS];
    uint64_t busy;   /* one bit for each queue that has works */
    unsigned turn;   /* the client to check first */
    unsigned queues; /* bits of `busy` that are set */
    uint32_t waiting;
};

/* The source of a work. */
struct work_source {
    struct work_lane *lane;
    uint64_t client;     /* its address, or its network: a number that identifies it */
    uint32_t lane_max;   /* works of the listener that may wait */
    uint32_t client_max; /* of those, works of one client */
};

/* Embedded in an object with work to do. It belongs to the pool from submit() on, until run() or
 * skip() is called. */
struct work {
    struct work *next;
    void (*run)(struct work *work);  /* may block; the work may be freed in it */
    void (*skip)(struct work *work); /* in place of run(): the work was cancelled */
    atomic_bool called_off;
};

/* `driven`: it has no threads, and work_pool_run_one() takes their place. */
struct work_pool *work_pool_create(const struct work_pool_options *options, bool driven,
                                   struct error *error);

/* Of a driven pool: runs or skips the next work on this thread. False: none waits. */
bool work_pool_run_one(struct work_pool *pool);

/* Works that wait are skipped; works that run are waited for. NULL is legal. [control] */
void work_pool_destroy(struct work_pool *pool);

/* run() or skip() is called on a thread of the pool, exactly once. False: it is full for
 * that source, or there is no thread and none can be started; nothing was accepted then. [any] */
bool work_pool_submit(struct work_pool *pool, const struct work_source *source, struct work *work);

/* Has the work skipped, unless it runs already. [any], as long as the work exists */
void work_call_off(struct work *work);

struct work_pool_status {
#define GAUGE(name, label, meaning) uint32_t name;
#define COUNTERS_WORK
#include "base/counters.def"
};
struct work_pool_status work_pool_status(struct work_pool *pool); /* [any] */

/* Works of one listener that wait. [any] */
uint32_t work_lane_waiting(struct work_pool *pool, const struct work_lane *lane);

#endif
