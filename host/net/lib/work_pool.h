/* work_pool.h: threads for what blocks: the work of plugins, and the resolving of names.
 *
 * Elastic between a minimum and a maximum: a thread is started when work comes and none is free,
 * and ends when it has had nothing to do for a while.
 *
 * Fair: the next work is that of the next listener that has any, and of its next client; what one
 * client asks for is done in order. So however much one of them submits, another waits for no more
 * than one work of each. Clients are told apart by a hash of their address, into WORK_CLIENTS
 * queues a listener: that costs no memory for each, and two clients seldom share one. The queues
 * are bounded, and no share can be taken: where all is full, a listener that has less waiting than
 * its part of the whole still gets in, and so does a client of its listener.
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
    void (*thread_ended)(void); /* told on a thread of it that ends; or NULL */
};

enum { WORK_CLIENTS = 64 };

struct work_queue {
    struct work *first;
    struct work *last;
    uint32_t waiting;
};

/* What waits of one listener, which it is embedded in. Zero at first; the pool's lock is over it.
 */
struct work_lane {
    struct work_lane *prev; /* utlist: in the pool, while something waits */
    struct work_lane *next;
    struct work_queue clients[WORK_CLIENTS];
    uint64_t busy;   /* a bit for each that has something */
    unsigned turn;   /* the client to look at first */
    unsigned queues; /* bits of `busy` that are set */
    uint32_t waiting;
};

/* Whose a work is. */
struct work_source {
    struct work_lane *lane;
    uint64_t client;     /* its address, or its network: any number that tells it from others */
    uint32_t lane_max;   /* that wait of the listener */
    uint32_t client_max; /* of them, of one client */
};

/* Embedded in what is to be done. The pool's from submit() on, until run() or skip() is called. */
struct work {
    struct work *next;
    void (*run)(struct work *work);  /* may block; the work may be freed in it */
    void (*skip)(struct work *work); /* in place of run(): the work was called off */
    atomic_bool called_off;
};

/* `driven`: it has no threads, and work_pool_run_one() takes their place. */
struct work_pool *work_pool_create(const struct work_pool_options *options, bool driven,
                                   struct error *error);

/* Of a driven pool: runs or skips the next work on this thread. False: none waits. */
bool work_pool_run_one(struct work_pool *pool);

/* What waits is skipped, what runs is waited for. NULL is legal. [control] */
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
