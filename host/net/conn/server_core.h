/* server_core.h: the engine and its workers, which all listeners and plugins share.
 *
 * server.h creates and destroys it. Owner: the verb that runs the host. Threads: [control], unless
 * a function says otherwise. */
#ifndef BERTH_HOST_NET_CONN_SERVER_CORE_H
#define BERTH_HOST_NET_CONN_SERVER_CORE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/conn/worker_core.h"
#include "net/lib/work_pool.h"
#include "os/os.h"

struct engine;
struct inherited_sockets;
struct engine_port;
struct engine_traits;
struct latch;
struct latch_note;

enum { SERVER_WORKERS_MAX = 64 };

/* A worker begins to stall, or continues. Must not wait for another thread. [any] */
typedef void server_stall_fn(void *context, unsigned worker, bool stalled);

#define SERVER_NO_WORKER UINT_MAX

/* The server's notifications to the watchdog over calls of plugins. */
struct server_hooks {
    /* This thread is that worker's from now on; SERVER_NO_WORKER: no longer. Returns the counter of
     * its callbacks, which is incremented as each begins and as it ends. */
    const atomic_uint *(*thread_enter)(unsigned worker);
    /* A thread of the server or of its work pool ends. */
    void (*thread_leave)(void);
    /* Report workers that stall; NULL: no longer. [control] */
    void (*watch_stalls)(server_stall_fn *stalled, void *context);
};

struct server_options {
    const char *engine;                 /* which one; NULL: the best there is */
    const struct server_driver *driver; /* NULL: threads run it */
    unsigned workers;                   /* 1 to SERVER_WORKERS_MAX */
    uint32_t buffer_bytes;
    uint32_t buffers_retained_max; /* for each worker */
    uint32_t turn_receive_bytes;   /* that one connection may receive in a turn of its worker */
    uint32_t turn_send_bytes;      /* that may be sent to it */
    uint32_t connections_max;
    uint32_t posts_max; /* for each worker */
    uint32_t descriptors_reserved;
    uint32_t files_max;                                /* that plugins have open */
    uint32_t direct_descriptors;                       /* for each worker */
    const struct inherited_sockets *inherited_sockets; /* of listening sockets; or NULL */
    struct work_pool_options work;

    const struct server_hooks *hooks;
    struct latch_note *waits; /* records what the control thread waits for; or NULL */

    /* Runs when the last connection of a listener that accepts no more has ended. [worker] */
    void (*idle)(void);
};

struct server {
    struct server_options options;
    struct engine *engine;
    struct work_pool *work;
    struct worker *workers;  /* options.workers of them, followed by the acceptor if any */
    struct worker *acceptor; /* NULL when the workers accept for themselves */
    unsigned started;        /* workers that run */
    bool is_running;         /* from the start of the last worker to the stop of the first one */
    struct os_mutex running_mutex; /* of is_running: workers wake each other only while it is set */
#define GAUGE(name, label, meaning) atomic_uint name;
#define COUNTERS_SERVER
#include "base/counters.def"
    atomic_ushort udp_listen_sockets[65536]; /* open ones, by their port */
    struct os_mutex asked_mutex;             /* of worker.is_asked */
    struct os_condition answered;
};

const struct engine_traits *server_traits(const struct server *server); /* of its engine */

/* How many accept pools a listening address has, and the worker that runs pool `index`. */
unsigned server_acceptor_count(const struct server *server);
struct worker *server_acceptor(struct server *server, unsigned index);

/* The worker with the fewest connections, of those that do not stall. [any] */
struct worker *server_least_loaded(struct server *server);

/* Whether that worker accepts the clients of the other one, which stalls: it is the next worker
 * that does not stall. */
bool server_covers(const struct server *server, const struct worker *worker,
                   const struct worker *other);

/* The worker that is best for a connection accepted on `own`. [any] */
struct worker *server_choose_worker(struct server *server, struct worker *own);

/* Waits for the latch, and ends its lifetime. [control] */
void server_await(struct server *server, struct latch *latch, const char *what);

/* Runs function(argument) on this thread while all workers are stopped, so that it may change what
 * they read without a lock. [control] */
void server_stop_the_world(struct server *server, void (*function)(void *argument), void *argument);

/* Returns when all that was posted to the workers before has run. [control] */
void server_flush(struct server *server);

/* A connection has ended: what waits for capacity, if anything does, may go on. [any] */
void server_capacity_freed(struct server *server);

/* All threads check again what waits, whether anything is known to wait or not. [any] */
void server_wake_waiters(struct server *server);

/* The worker whose port it is. [any] */
struct worker *server_worker_of(struct server *server, const struct engine_port *port);

/* Reserves one more file that a plugin opens, of "host.limits.files" and of the descriptors that
 * the system allows the process. [any] */
bool server_file_take(struct server *server);
void server_file_give(struct server *server);

#endif
