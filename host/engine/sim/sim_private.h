/* sim_private.h: what the parts of the simulated engine share.
 *
 * Three kinds of things happen. An *event* is in the world's heap and fires at its time: a segment
 * arrives, a pending send has found room. A *task* is work of a port in its own turn, that is in
 * engine_port_run(): a receive that has bytes, an acceptor that has clients. Ready tasks run in an
 * order that the generator chooses; completions run only from tasks. A *started operation* is in
 * the world's table from its start to its completion.
 *
 * Memory: the simulated system and network use sim_memory(), which does not fail and is not
 * counted; what a real engine allocates for its user comes from base/alloc.h, so that tests can
 * make it fail.
 *
 * Threads: all of it under the world's lock (sim_enter(), sim_leave()), which exists only where
 * sim_options.threads is set.  */
#ifndef BERTH_HOST_ENGINE_SIM_SIM_PRIVATE_H
#define BERTH_HOST_ENGINE_SIM_SIM_PRIVATE_H

#include <stdatomic.h>

#include "base/macros.h"
#include "engine/engine.h"
#include "engine/sim/sim.h"
#include "os/os.h"

struct sim_end;
struct sim_accept;
struct datagram;

/* -- sim_schedule.c: events and tasks -------------------------------------- */

struct sim_event {
    void (*fire)(struct sim_event *event);
    uint32_t place; /* in the heap, from 1; 0: it is not scheduled */
};

struct sim_due {
    uint64_t at_us;
    uint64_t order; /* random, among events of one time */
    struct sim_event *event;
};

struct sim_task {
    void (*run)(struct sim_task *task);
    struct engine_port *port; /* where it is ready */
    uint32_t place;           /* in the port's array, from 1; 0: it is not ready */
};

enum { SIM_CANCEL_US = 1000000 }; /* after a lost cancel, until the second way is taken */

void sim_event_at(struct sim_event *event, uint64_t at_us); /* moves one that is scheduled */
void sim_event_in(struct sim_event *event, uint64_t us);
void sim_event_cancel(struct sim_event *event);
/* If the next event is due by that time, advances the time to it and fires it. */
bool sim_fire_next(uint64_t until_us);

void sim_task_ready(struct sim_task *task, struct engine_port *port);
void sim_task_cancel(struct sim_task *task);

/* -- sim_world.c ----------------------------------------------------------- */

/* What the personalities differ in, apart from the probabilities. */
struct sim_traits {
    const char *name;
    const char *socket_reuse;
    bool accept_on_workers;
    bool backlog_is_fixed;
    bool loses_cancels;
    bool reuses_sockets;     /* engine_recycle() */
    bool accept_owns_memory; /* AcceptEx: an accept has a socket and a buffer from the post on */
    bool receive_ahead;      /* a buffer is posted with ENGINE_RECEIVE_BUFFERED */
    bool buffer_ring;        /* a port holds buffers for all its receives */
    bool send_whole;         /* a pending send completes when all of it is taken */
    bool send_again;         /* a pending send may complete with 0: try again */
    bool connect_sends;      /* first data goes along with the connect */
    bool refuses_full;       /* a full backlog refuses a client; else the client tries again */
    bool reset_drops;        /* a reset discards bytes that are not yet received */
    bool tells_unsent;       /* engine_unacked_bytes() */
    bool datagram_waits;     /* without memory a datagram waits; else it is lost */
};
extern const struct sim_traits sim_traits[SIM_PERSONALITIES];

/* Freed objects of one size, for reuse. */
struct sim_pool {
    void *free; /* the first, each points to the next */
};

struct sim_name {
    struct sim_name *next;
    char *host;
    struct berth_address address;
};

struct sim_failing {
    struct sim_failing *next;
    struct berth_address address;
    int64_t error;
};

/* What is bound to an address: a listener, a server or a datagram socket. */
struct sim_bound {
    struct sim_bound *prev;
    struct sim_bound *next;
    struct berth_address address;
    bool datagrams;
    bool v6_only;
    struct engine_listener *listener;
    struct sim_server *server;
    struct sim_datagrams *socket;
    uint64_t last_us; /* when its last datagram arrives */
};

struct sim_slot {
    struct sim_end *end; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct sim_op;

struct sim_abandoned {
    struct sim_abandoned *next;
    struct engine_op *op;
};

struct sim_world {
    struct sim_options options;
    uint64_t random;
    _Atomic uint64_t now_us;
    uint64_t trace_hash;
    sim_trace_fn *trace;
    void *trace_context;
    sim_violation_fn *violation;
    void *violation_context;

    struct sim_due *heap;
    uint32_t heap_count;
    uint32_t heap_room;

    struct engine_port *ports;
    struct engine *engines;
    bool is_engines; /* made by engine_create() */
    uint32_t port_number;
    uint32_t ephemeral; /* the last port number that was given */

    struct sim_op **ops; /* hashed by the address of the operation */
    uint32_t ops_count;
    uint32_t ops_room;
    uint64_t op_serial;
    struct sim_abandoned *abandoned;

    struct sim_slot *slots;
    uint32_t slot_count;
    uint32_t slot_room;
    uint32_t slot_free; /* index + 1 */
    unsigned sockets;
    unsigned files;

    struct sim_connection *connections; /* all that exist */
    uint64_t connection_serial;
    struct sim_pool free_connections;
    struct sim_pool free_accepts;
    struct sim_pool free_connects;
    struct sim_pool free_posts;
    struct sim_pool free_sends;

    struct sim_bound *bound;
    struct sim_server *servers;
    struct sim_datagrams *datagrams;
    struct sim_name *names;
    struct sim_failing *failing;
    struct datagram *flying;

    struct os_mutex mutex;
    struct os_condition condition;
    _Atomic uintptr_t owner; /* the thread that has the lock */
    unsigned depth;
};

extern struct sim_world *sim; /* the current one */

void sim_enter(void);
void sim_leave(void);
/* Waits in real time for another thread to do something, at most timeout_ms. Only with threads. */
void sim_wait_really(int timeout_ms);

void *sim_memory(size_t size);                      /* zeroed */
void *sim_memory_resize(void *memory, size_t size); /* what is added is not zeroed */
void sim_memory_free(void *memory);
void *sim_pool_take(struct sim_pool *pool, size_t size); /* zeroed */
void sim_pool_give(struct sim_pool *pool, void *object);
void sim_pool_fini(struct sim_pool *pool);

uint64_t sim_next_random(uint64_t *state);           /* of any generator */
uint64_t sim_between(uint64_t least, uint64_t most); /* both included */
uint64_t sim_latency(void);
/* The failure of an operation that starts now: an ENGINE_E_*, or 0. */
int64_t sim_fault(enum sim_operation operation);

/* Kinds of entries in the trace. */
enum sim_note {
    SIM_NOTE_COMPLETE,
    SIM_NOTE_DELIVER,
    SIM_NOTE_START,
    SIM_NOTE_SENT,
    SIM_NOTE_ARRIVE,
    SIM_NOTE_FIN,
    SIM_NOTE_RESET,
    SIM_NOTE_CONNECT,
    SIM_NOTE_ACCEPT,
    SIM_NOTE_CLOSE,
    SIM_NOTE_STARVED,
    SIM_NOTE_DATAGRAM,
    SIM_NOTE_LOST,
    SIM_NOTE_PEER,
    SIM_NOTE_TIMER,
    SIM_NOTE_RUN,
    SIM_NOTES
};
void sim_note(enum sim_note note, uint64_t id, int64_t value);
void sim_broken(const char *format, ...) BERTH_PRINTF(1, 2);

/* -- sim_ops.c: started operations ----------------------------------------- */

enum sim_op_kind {
    SIM_OP_POST,
    SIM_OP_ACCEPT,
    SIM_OP_RECEIVE,
    SIM_OP_SEND,
    SIM_OP_CONNECT,
    SIM_OP_STOP,
};

struct sim_op {
    struct engine_op *op; /* NULL: not in flight */
    struct engine_port *port;
    void (*complete)(struct engine_op *op, int64_t result);
    uint64_t serial;
    struct sim_op *next; /* in the table */
    enum sim_op_kind kind;
};

/* False: it is in flight already, which is a violation. */
bool sim_op_start(struct sim_op *record, struct engine_op *op, struct engine_port *port,
                  enum sim_op_kind kind);
struct sim_op *sim_op_find(const struct engine_op *op); /* NULL: not in flight */
/* Its completion, the last one. `record` may be used again within. */
void sim_op_complete(struct sim_op *record, int64_t result);
/* Completes it with ENGINE_E_ABANDONED; its memory is checked until the world is destroyed. */
void sim_op_abandon(struct sim_op *record);
/* Whether a cancel of an operation on the port has no effect. */
bool sim_cancel_is_lost(const struct engine_port *port);
/* One of several completions: the operation stays in flight. */
void sim_op_deliver(struct sim_op *record, int64_t result);

/* -- sim_port.c, sim_buffers.c --------------------------------------------- */

/* A waiter for memory. */
struct sim_want {
    struct sim_want *prev;
    struct sim_want *next;
    bool is_waiting;
    bool has_buffer; /* it was given one */
    struct engine_buffer buffer;
    struct sim_task *task; /* made ready when there is memory */
};

struct engine {
    struct sim_traits const *sim;
    struct engine_traits traits;
    unsigned direct_descriptors;
    const struct inherited_sockets *inherited_sockets;
    struct engine *next;
};

struct engine_port {
    struct engine *engine;
    struct engine_port *next;
    uint32_t number;
    struct engine_buffer_source source;
    unsigned pending;
    unsigned ran;
    bool is_running;
    bool is_saturated; /* its last run left completions to the next one */

    struct sim_task **ready; /* the first `turn_left` are those of this turn */
    uint32_t ready_count;
    uint32_t ready_room;
    uint32_t turn_left;

    struct sim_post *posts;
    struct sim_post *posts_last;
    unsigned post_count;
    unsigned post_turn; /* how many of these remain to run in this turn */
    struct sim_task post_task;

    struct sim_want *wants; /* in the order they came */
    struct sim_task want_task;
    struct sim_event want_event;

    struct engine_buffer *ring; /* buffers that it holds for its receives */
    uint32_t ring_count;
    uint32_t ring_wanted;
    uint32_t ring_least;
    uint32_t ring_max;
    uint32_t burst;       /* buffers that one receive delivers in a turn */
    unsigned direct_free; /* free entries in the table of its ring */

    struct engine_buffer received; /* the result of engine_received() */
};

/* Gets a buffer for it. False: it waits in the queue. */
bool sim_want_buffer(struct engine_port *port, struct sim_want *want, struct engine_buffer *buffer);
/* It waits no longer; a buffer that it was given is given back. */
void sim_want_end(struct engine_port *port, struct sim_want *want);
/* Takes a buffer without waiting. */
bool sim_take_buffer(struct engine_port *port, struct engine_buffer *buffer);
void sim_give_buffer(struct engine_port *port, struct engine_buffer *buffer);
/* init() runs before the lock and may fail; begin() and end() run under it. */
bool sim_buffers_init(struct engine_port *port, const struct engine *engine,
                      const struct engine_port_options *options);
void sim_buffers_begin(struct engine_port *port);
void sim_buffers_end(struct engine_port *port);
bool sim_port_is_ready(const struct engine_port *port);

/* -- sim_socket.c ---------------------------------------------------------- */

struct engine_socket sim_socket_give(struct sim_end *end);
/* NULL, and a violation, when there is no such socket, or not on that port. */
struct sim_end *sim_socket_end(struct engine_socket socket, const struct engine_port *port,
                               const char *what);
bool sim_sockets_full(void);
void sim_socket_go_direct(struct sim_end *end, struct engine_port *port);

/* -- sim_listen.c ---------------------------------------------------------- */

/* The queues of one listening socket. */
struct sim_backlog {
    struct sim_end *first;
    struct sim_end *last;
    unsigned count;
    struct datagram *datagrams;
    unsigned datagram_count;
};

struct engine_listener {
    struct engine *engine;
    struct sim_bound bound;
    struct engine_listen_options options;
    bool is_started;
    struct engine_acceptor *acceptors;
    struct engine_receiver *receivers;
    struct engine_port *reuse[32]; /* ports of the sockets from engine_recycle() */
    unsigned reuse_count;
    unsigned kept;
    char name[256];
    struct sim_backlog backlogs[]; /* one a listening socket */
};

bool sim_bind(struct sim_bound *bound, struct error *error);
void sim_unbind(struct sim_bound *bound);
/* What an address leads to, or NULL. */
struct sim_bound *sim_bound_find(const struct berth_address *to, bool datagrams);
uint16_t sim_ephemeral_port(void);
/* "any" becomes loopback. */
struct berth_address sim_reachable(const struct berth_address *to);
/* The address a connection to `to` comes from. */
struct berth_address sim_source_of(const struct berth_address *to);

/* -- sim_accept.c ---------------------------------------------------------- */

/* The port is destroyed: forgets its sockets that wait for reuse. */
void sim_listeners_forget_port(const struct engine_port *port);

enum sim_arrival { SIM_ARRIVAL_QUEUED, SIM_ARRIVAL_FULL, SIM_ARRIVAL_REFUSED };
/* A client has come; `end` is the server's end. */
enum sim_arrival sim_listener_arrival(struct engine_listener *listener, struct sim_end *end);
void sim_backlog_forget(struct engine_listener *listener);
/* Data, a FIN or a reset has come from the client of an accept. */
void sim_accept_heard(struct sim_accept *accept);

/* -- sim_connect.c --------------------------------------------------------- */

enum sim_try { SIM_TRY_DONE, SIM_TRY_AGAIN, SIM_TRY_REFUSED, SIM_TRY_SILENT, SIM_TRY_FAILED };
/* One attempt to connect, at the moment its SYN arrives; `end` is ends[0] of its connection. */
enum sim_try sim_try_connect(struct sim_end *end, int64_t *error);

/* -- sim_send.c ------------------------------------------------------------ */

void sim_send_goes_on(struct sim_end *end);
void sim_send_abandon(struct sim_end *end);
void sim_send_fails(struct sim_end *end, int64_t error);

/* -- sim_receive.c --------------------------------------------------------- */

void sim_receive_run(struct sim_task *task); /* of an end that the engine owns */

/* -- sim_peer.c ------------------------------------------------------------ */

/* Makes `end` a peer of the server. */
void sim_server_arrival(struct sim_server *server, struct sim_end *end);
enum sim_arrival sim_server_admits(struct sim_server *server);
void sim_peer_heard(struct sim_end *end);
void sim_servers_fini(void);

/* -- sim_datagram.c -------------------------------------------------------- */

void sim_datagrams_forget(struct engine_listener *listener);
void sim_datagrams_fini(void);

#endif
