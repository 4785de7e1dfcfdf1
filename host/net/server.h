/* server.h: the engine and its workers, shared by all listeners and plugins.
 *
 * Owner: the verb that runs the host. Threads: [control], unless a function says otherwise. */
#ifndef BERTH_HOST_NET_SERVER_H
#define BERTH_HOST_NET_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/host.h"
#include "net/work_pool.h"
#include "os/os.h"

struct accept_pool;
struct engine;
struct engine_keeper;
struct engine_port;
struct engine_traits;
struct error;
struct latch;
struct listener;
struct plugin_account;
struct worker;

enum { SERVER_WORKERS_MAX = 64 };

/* Who runs the workers and the blocking work in place of threads: one thread, which is [control]
 * too. It calls server_turn() and server_work() in an order of its own, so that everything above
 * the engine can be run step by step, and again in the same way. */
struct server_driver {
    /* The control thread waits for `what`, which may be NULL: lets something go on, at least one
     * turn. Not called from a turn. */
    void (*step)(void *context, const char *what);
    void *context;
};

struct server_options {
    const char *engine;                 /* which one; NULL: the best there is */
    const struct server_driver *driver; /* NULL: threads run it */
    unsigned workers;                   /* 1 to SERVER_WORKERS_MAX */
    uint32_t buffer_bytes;
    uint32_t buffers_retained_max; /* a worker */
    uint32_t turn_receive_bytes;   /* that one connection may receive in a turn of its worker */
    uint32_t turn_send_bytes;      /* that may be sent to it */
    uint32_t connections_max;
    uint32_t posts_max; /* a worker */
    uint32_t descriptors_reserved;
    uint32_t files_max;                 /* that plugins have open */
    uint32_t direct_descriptors;        /* a worker */
    const struct engine_keeper *keeper; /* of listening sockets; NULL: nobody */
    struct work_pool_options work;

    /* Runs when the last connection of a listener is gone that accepts no more. [worker] */
    void (*idle)(void);
};

struct server {
    struct server_options options;
    struct engine *engine;
    struct work_pool *work;
    struct worker *workers;  /* options.workers of them, and the acceptor behind them if any */
    struct worker *acceptor; /* NULL when the workers accept for themselves */
    unsigned started;        /* workers that run */
    bool is_running;         /* from the start of the last worker to the stop of the first one */
    struct os_mutex running_mutex; /* of is_running: workers wake each other only while it is so */
#define GAUGE(name, label, meaning) atomic_uint name;
#define COUNTERS_SERVER
#include "base/counters.def"
    atomic_ushort udp_doors[65536]; /* open ones, by their port */
    struct os_mutex asked_mutex;    /* of worker.is_asked */
    struct os_condition answered;
};

struct server *server_create(const struct server_options *options, struct error *error);
void server_destroy(struct server *server); /* no listener is left; NULL is legal */

const struct engine_traits *server_traits(const struct server *server); /* of its engine */

/* How many accept pools a listening address has, and the worker that runs pool `index`. */
unsigned server_acceptor_count(const struct server *server);
struct worker *server_acceptor(struct server *server, unsigned index);

/* The worker with the fewest connections, of those that do not stall. [any] */
struct worker *server_least_loaded(struct server *server);

/* Whether that worker accepts the clients of the other one, which stalls: the next that does not.
 */
bool server_covers(const struct server *server, const struct worker *worker,
                   const struct worker *other);

/* The worker that a connection accepted on `own` best lives on. [any] */
struct worker *server_choose_worker(struct server *server, struct worker *own);

/* Waits for the latch, and ends its life. [control] */
void server_await(struct server *server, struct latch *latch, const char *what);

/* Of a driven server, and of its driver: ---------------------------------------------------------
 * One turn of worker `index` (of server->started), without a wait. Whether anything ran. */
bool server_turn(struct server *server, unsigned index);
/* One piece of the blocking work that waits. False: none does. */
bool server_work(struct server *server);
/* How long it is to the first timer of any worker; 0 also when one has something to do in its next
 * turn; negative: there is none. */
int server_next_ms(struct server *server);
/* -------------------------------------------------------------------------------------------------
 */

/* Runs function(argument) on this thread while all workers rest, so that it may change what they
 * read without a lock. [control] */
void server_rest(struct server *server, void (*function)(void *argument), void *argument);

/* Whether all workers take part: each runs a function that is posted to it now within the time. One
 * that does not is in a callback that stalls. [control] */
bool server_answers(struct server *server, uint32_t timeout_ms);

/* Returns when all that was posted to the workers before has run. [control] */
void server_flush(struct server *server);

/* A connection is gone: what waits for room, if anything does, may go on. [any] */
void server_room_made(struct server *server);

/* All threads look again at what waits, whether it is known to or not. [any] */
void server_kick(struct server *server);

/* The worker whose port it is. [any] */
struct worker *server_worker_of(struct server *server, const struct engine_port *port);

/* Room for one more file that a plugin opens, of "host.limits.files" and of the descriptors that
 * the system lets the process have. [any] */
bool server_file_take(struct server *server);
void server_file_give(struct server *server);

/* berth_host.post(); the account counts those that are not delivered yet. [any] */
int32_t server_post(struct server *server, uint64_t id, berth_post_fn function, void *argument,
                    struct plugin_account *account);

/* One line on it. [any] */
void server_describe(const struct server *server, char *text, size_t size);

/* berth_host.post_worker() [any] */
int32_t server_post_worker(struct listener *listener, uint32_t worker, berth_worker_fn function,
                           void *argument);

#endif
