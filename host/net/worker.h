/* worker.h: an I/O thread: its completion port, its buffers, its timers, its connections.
 *
 * A connection lives its whole life on one worker, so its callbacks never overlap and its state
 * needs no lock. The acceptor thread, where the engine wants one, is a worker too: one that owns
 * accept pools and no connections.
 *
 * What a callback does to connections (send, close, pause, …) only marks them; worker_settle() then
 * carries it out, after the callback's frame is gone and still in the same turn. So nothing of the
 * host runs beneath a plugin's feet, and all that one callback sends leaves in one system call.
 *
 * Owner: the server. Threads: the worker's own, unless a function says [any] or [control]. */
#ifndef BERTH_HOST_NET_WORKER_H
#define BERTH_HOST_NET_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/host.h"
#include "engine/engine.h"
#include "net/connection_parts.h"
#include "net/local_address.h"
#include "net/send_queue.h"
#include "net/shortage.h"
#include "net/timers.h"
#include "os/os.h"

struct accept_pool;
struct buffer_pool;
struct connection;
struct datagram_receiver;
struct error;
struct listener;
struct plugin_account;
struct server;

#define WORKER_NO_SLOT UINT32_MAX

/* A connection, whose id has the slot's generation; or of a free slot, with the lowest bit set, the
 * next free one and the generation of the connection that will be in it. */
struct worker_slot {
    uint64_t word;
};

struct worker {
    struct server *server;
    unsigned index; /* among the workers; the acceptor's is the count of them */
    struct engine_port *port;
    struct buffer_pool *buffers;
    struct send_nodes nodes;
    struct traffic_pool traffic;
    struct local_addresses local_addresses;
    struct timers timers;
    struct shortage shortage;
    struct accept_pool *pools;           /* utlist */
    struct datagram_receiver *receivers; /* utlist */
    struct connection *waiting; /* utlist: until a limit leaves room; first come first served */
    struct worker_slot *slots;  /* the connections, by their ids */
    uint64_t now_ms;            /* see worker_now_ms(); 0: not read in this turn */
    unsigned now_calls;         /* plugin_thread_sequence() when it was */
    uint32_t connection_count;
    uint32_t slot_count;      /* there is room for */
    uint32_t slot_used;       /* have ever been; nothing is in those behind */
    uint32_t slot_free;       /* the first free one of those */
    uint32_t unsettled_first; /* slots, or WORKER_NO_SLOT */
    uint32_t unsettled_last;
    uint32_t postponed_first; /* those to be settled in the next turn, likewise */
    uint32_t postponed_last;

#define GAUGE(name, label, meaning) atomic_uint name;
#define COUNTERS_WORKER
#include "base/counters.def"
    atomic_bool kicked;
    atomic_bool stalled;      /* in a callback that was warned of: others accept its clients */
    unsigned stalls;          /* of the server, when it was last looked who covers whom */
    struct engine_op kick_op; /* looks again at what waits for room */
    struct engine_op stop_op;
    struct engine_op ask_op; /* whether it answers: see server_answers() */
    bool is_asked;           /* under the server's lock */
    bool stopping;
    struct os_thread thread;
};

/* Starts the thread and waits until its port stands. [control] */
bool worker_start(struct worker *worker, struct server *server, unsigned index,
                  struct error *error);

/* Ends the thread; it has no connections and no pools any more. [control] */
void worker_stop(struct worker *worker);

/* Of a driven server: one turn without a wait; whether anything ran. And how long it is to its next
 * timer, 0 when there is something to do, negative without either. */
bool worker_drive(struct worker *worker);
int worker_next_ms(struct worker *worker);

/* Runs function(worker, argument) on the worker's thread and waits for it. [control] */
void worker_call(struct worker *worker, void (*function)(struct worker *worker, void *argument),
                 void *argument);

/* The worker whose thread this is, or NULL. [any] */
struct worker *worker_current(void);

/* The time: the engine's, read once a turn when something first asks for it after the wait, and
 * again once a callback of a plugin has run, which may have taken long. So no timer is early. */
uint64_t worker_now_ms(struct worker *worker);

/* Notes that the connection needs settling, and settles all that do. */
void worker_unsettle(struct worker *worker, struct connection *connection);
void worker_settle(struct worker *worker);

/* The connection is closed: from now on nothing lists it. */
void worker_settle_never(struct connection *connection);

/* The same in the next turn, when others had theirs; unless it needs settling now for another
 * reason. */
void worker_postpone(struct worker *worker, struct connection *connection);

/* Gives the connection an id and a place in the table. False: no memory. */
bool worker_register(struct worker *worker, struct connection *connection);
void worker_unregister(struct worker *worker, struct connection *connection);

/* The connection in slot *slot or in the first one behind it that has one; *slot is then the slot
 * behind that. NULL: there are no more. Connections may come and go meanwhile. */
struct connection *worker_next(const struct worker *worker, uint32_t *slot);

/* A connection joins those that wait for room under a limit; or leaves them. */
void worker_wait(struct worker *worker, struct connection *connection);
void worker_unwait(struct worker *worker, struct connection *connection);

/* What waits for room under a limit, connections and pools, is looked at again. [any] */
void worker_kick(struct worker *worker);

/* The listener stops: resets its connections that the plugin has not heard of, and asks the plugin
 * what to do with the others. [control] */
void worker_stop_listener(struct worker *worker, const struct listener *listener);

/* Resets or closes every connection of the listener (all, when it is NULL); returns how many. */
uint32_t worker_cut(struct worker *worker, const struct listener *listener);

/* berth_host.post(): see there. The account's `posts` are counted up, and down when it is
 * delivered. [any] */
int32_t worker_post(struct worker *worker, uint64_t id, berth_post_fn function, void *argument,
                    struct plugin_account *account);

/* berth_host.post_worker(): see there. [any] */
int32_t worker_post_listener(struct worker *worker, struct listener *listener,
                             berth_worker_fn function, void *argument);

/* One line on it. [any] */
void worker_describe(const struct worker *worker, char *text, size_t size);

/* The number of the worker that an id belongs to. */
unsigned worker_of_id(uint64_t id);

#endif
