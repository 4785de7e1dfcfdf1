/* worker_core.h: the contents of a worker, and how other threads reach it.
 *
 * A connection stays on one worker, so its callbacks never overlap and its state needs no lock. The
 * acceptor thread, where the engine wants one, is a worker too: one that owns accept pools and no
 * connections. worker.h starts, runs and ends it.
 *
 * Owner: the server. Threads: the worker's own, unless a function says [any] or [control]. */
#ifndef BERTH_HOST_NET_CONN_WORKER_CORE_H
#define BERTH_HOST_NET_CONN_WORKER_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "net/conn/connection_parts.h"
#include "net/lib/local_address.h"
#include "net/lib/send_queue.h"
#include "net/lib/timers.h"
#include "os/os.h"

struct accept_pool;
struct buffer_pool;
struct connection;
struct datagram_receiver;
struct latch;
struct latch_note;
struct outbound;
struct server;

/* Runs the workers and the blocking work in place of threads. It is one thread, which is [control]
 * too. It calls server_turn() and server_work() in an order of its own, so that everything above
 * the engine can be run step by step, and repeated identically. */
struct server_driver {
    /* The control thread waits for `what`, which may be NULL: runs at least one turn. Not called
     * from a turn. */
    void (*step)(void *context, const char *what);
    void *context;
};

/* What a worker does when memory is short: see shortage.h. */
struct shortage {
    unsigned long process_failures; /* allocations of the process that have failed, as last seen */
    unsigned long thread_failures;  /* those of this thread */
    unsigned long failures;         /* those of the episode; 0: this worker has none */
    unsigned long lost;             /* clients of the episode that were reset */
    bool active;                    /* an episode of the process: little memory is retained */
    bool due;                       /* an allocation has failed since memory was last given back */
    uint64_t since_ms;
    uint64_t last_ms;
    struct timer tick;
};

#define WORKER_NO_SLOT UINT32_MAX

/* A connection, whose id has the slot's generation. In a free slot, with the lowest bit set: the
 * next free slot and the generation of the next connection in it. */
struct worker_slot {
    uint64_t word;
};

struct worker {
    struct server *server;
    const struct server_driver *driver; /* its server's; NULL: it has a thread */
    struct latch_note *waits;           /* its server's: what the control thread waits for */
    const atomic_uint *calls; /* of its thread: incremented as a callback begins, and as it ends */
    unsigned index;           /* among the workers; the acceptor's is the count of them */
    struct engine_port *port;
    struct buffer_pool *buffers;
    struct send_nodes nodes;
    struct conn_io_pool io_pool;
    struct local_addresses local_addresses;
    struct timers timers;
    struct shortage shortage;
    struct accept_pool *pools;           /* utlist */
    struct datagram_receiver *receivers; /* utlist */
    struct outbound *outbounds;          /* utlist: attempts that do not belong to a connection */
    struct connection *waiting; /* utlist: until a limit leaves capacity; first come first served */
    struct worker_slot *slots;  /* the connections, by their ids */
    uint64_t now_ms;            /* see worker_now_ms(); 0: not read in this turn */
    unsigned now_calls;         /* `*calls` when it was */
    uint32_t connection_count;
    uint32_t slot_count;  /* allocated slots */
    uint32_t slot_used;   /* slots used so far; those from here on are empty */
    uint32_t slot_free;   /* the first free one of the used slots */
    uint32_t dirty_first; /* slots, or WORKER_NO_SLOT */
    uint32_t dirty_last;
    uint32_t postponed_first; /* connections to run in the next turn, likewise */
    uint32_t postponed_last;

    /* Carries out what callbacks have requested: worker_run_pending(), which is in a higher
     * layer. */
    void (*run_pending)(struct worker *worker);
#define GAUGE(name, label, meaning) atomic_uint name;
#define COUNTERS_WORKER
#include "base/counters.def"
    atomic_bool wake_posted;
    atomic_bool stalled; /* in a callback that was reported: others accept its clients */
    unsigned stalls;     /* of the server, when this worker last checked which to cover */
    struct engine_op wake_waiters_op; /* checks again what waits for capacity */
    struct engine_op stop_op;
    struct engine_op ask_op; /* whether it answers: see server_answers() */
    bool is_asked;           /* under the server's lock */
    bool stopping;
    struct os_thread thread;
};

/* Runs function(worker, argument) on the worker's thread and waits for it. [control] */
void worker_call(struct worker *worker, void (*function)(struct worker *worker, void *argument),
                 void *argument);

/* Waits for the latch, which the driver's steps count down if there is a driver. [control] */
void worker_await(const struct server_driver *driver, struct latch_note *waits, struct latch *latch,
                  const char *what);

/* The worker whose thread this is, or NULL. [any] */
struct worker *worker_current(void);

/* This thread is the worker's from now on; NULL: no worker's. */
void worker_set_current(struct worker *worker);

/* The engine's time. It is read once a turn, on the first call after the wait, and again after a
 * callback of a plugin has run, which may have taken long. So no timer is early. */
uint64_t worker_now_ms(struct worker *worker);

/* The same for code that needs it in each turn. */
static inline uint64_t worker_read_ms(struct worker *worker) {
    unsigned calls = atomic_load_explicit(worker->calls, memory_order_relaxed);
    bool in_call = (calls & 1) != 0;
    if (worker->now_ms == 0 || worker->now_calls != calls || in_call) {
        worker->now_ms = engine_now_ms();
        worker->now_calls = calls;
    }
    return worker->now_ms;
}

/* Checks again what waits for capacity under a limit: connections and pools. [any] */
void worker_wake_waiters(struct worker *worker);

#endif
