/* sim.h: an implementation of engine.h in memory, and the simulated system around it.
 *
 * The library `engine_sim` is linked in place of a real engine; everything above engine.h runs on
 * it unchanged. A *world* is the simulated system and network: a virtual clock, listening sockets,
 * connections, datagrams, names. One world is current in the process at a time. A random generator,
 * seeded with sim_options.seed, decides everything that happens in it: the same seed, the same
 * options and the same calls give the same trace, whose hash is sim_trace_hash().
 *
 * The tests control the other side of the connections: *peers* (clients, and the connections that
 * an upstream server accepts), upstream servers, datagram peers, timers.
 *
 * How it is driven. There are no threads. A driver creates a world, the engine and its ports, and
 * then repeats:
 *
 *     struct engine_port *port;
 *     switch (sim_step(until_ms, &port)) {
 *     case SIM_RUN_PORT: one turn of the worker that has this port (engine_port_run(port, 0), its
 *                        timers, ...); break;
 *     case SIM_EVENT:    something arrived somewhere, or a function of a peer or timer ran; break;
 *     case SIM_IDLE:     nothing more happens before until_ms, which it is now; break;
 *     }
 *
 * with until_ms the earliest timer of all workers. sim_step() chooses by the seed which port runs
 * next and whether an event comes before it, so that several workers interleave.
 *
 * A test without a driver may call engine_port_run() with a time-out: while nothing has completed,
 * virtual time passes and events fire, until something completes or the time-out is over.
 *
 * Files are real: a send reads them by os_file_read_at() when it takes their bytes.
 *
 * The engine checks the contract of engine.h meanwhile: each operation completes once and its
 * memory does not change before, one send a socket, no operation in flight at engine_close(), no
 * use of a socket after it, the bytes of a pending send unchanged. A breach is a *violation*, which
 * ends the process with a message unless sim_on_violation() sets another function.
 *
 * Threads: one, unless sim_options.threads is set: then any function may be called from any thread,
 * each call takes a lock, a port waits in real time, and nothing is deterministic. */
#ifndef BERTH_HOST_ENGINE_SIM_SIM_H
#define BERTH_HOST_ENGINE_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/address.h"
#include "engine/engine.h"

/* Which real engine a simulated one imitates: which sends are done at once, which thread accepts,
 * when memory is taken, what a reset does to bytes that are not yet received, ... */
enum sim_personality { SIM_IOCP, SIM_URING, SIM_EPOLL };
enum { SIM_PERSONALITIES = 3 };

/* Kinds of operations, for the probabilities of their failures. */
enum sim_operation {
    SIM_PORT,     /* engine_port_create: any error fails it */
    SIM_LISTEN,   /* engine_listener_open, engine_listener_start */
    SIM_ACCEPTOR, /* engine_acceptor_create, engine_receiver_create */
    SIM_ACCEPT,
    SIM_ATTACH,
    SIM_RECEIVE, /* RESET and TIMED_OUT end the connection for both */
    SIM_SEND,    /* likewise; FILE_SHORT only where it begins with a file */
    SIM_SHUTDOWN,
    SIM_CONNECT,
    SIM_DATAGRAM, /* engine_receiver_send, engine_datagram_send */
    SIM_RESOLVE,
    SIM_FILE, /* engine_file_take */
    SIM_OPERATIONS
};

struct sim_options {
    uint64_t seed;
    enum sim_personality personality; /* of engines that are created without a name */
    bool threads;

    uint32_t latency_min_us; /* of a segment, from one end to the other */
    uint32_t latency_max_us;
    uint32_t completion_max_us; /* from the end of an operation until its completion can run */
    uint32_t window_min;  /* maximum of bytes in flight to one end or not yet received there: */
    uint32_t window_max;  /* each connection has a random value between the two */
    uint32_t sockets_max; /* of the engine at once; beyond that NO_RESOURCES */
    uint32_t files_max;   /* engine_file_take() */

    /* Probabilities, in millionths. */
    uint32_t fragment;          /* sent bytes are cut into segments of random sizes */
    uint32_t short_receive;     /* a delivery has fewer bytes than there are */
    uint32_t short_send;        /* a send takes fewer bytes than there is room for */
    uint32_t pending_send;      /* a send that could be done at once is pending */
    uint32_t full_buffer;       /* a send finds no room for a moment */
    uint32_t reset;             /* a segment resets its connection instead of arriving */
    uint32_t half_close;        /* a FIN follows what a peer sends */
    uint32_t reset_as_fin;      /* a reset while no receive is armed is read as a FIN later */
    uint32_t cancel_lost;       /* a cancel never ends the operation, but closing does; SIM_IOCP */
    uint32_t cancel_abandoned;  /* nor does closing then: ENGINE_E_ABANDONED */
    uint32_t cancel_late;       /* a cancelled operation completes normally, if it can */
    uint32_t data_with_accept;  /* bytes come along with an accept that did not wait for them */
    uint32_t connect_to_itself; /* a connect without a listener has its own port at both ends */
    uint32_t plain_acceptor;    /* an acceptor uses plain accepts from the beginning; SIM_IOCP */
    uint32_t reuse;             /* a socket of engine_recycle() is used for an accept; SIM_IOCP */
    uint32_t partial_turn;      /* a run of a port leaves some completions to the next run */
    uint32_t event_first;       /* sim_step(): an event fires although a port could run */
    uint32_t datagram_lost;
    uint32_t datagram_twice;
    uint32_t faults[SIM_OPERATIONS][ENGINE_ERRORS]; /* by the negative of the error */
};
enum { SIM_ALWAYS = 1000000 };

/* A calm world: small latencies, each personality's own differences, no failures. */
struct sim_options sim_options_calm(enum sim_personality personality, uint64_t seed);
/* Latencies, fragments, short transfers, full buffers and late cancels, each at random: most worlds
 * have some of them. Nothing fails that did not fail in a calm world. */
struct sim_options sim_options_rough(enum sim_personality personality, uint64_t seed);
/* The same, with resets and failures of every kind of operation. */
struct sim_options sim_options_hostile(enum sim_personality personality, uint64_t seed);

const char *
sim_personality_name(enum sim_personality personality); /* "iocp", "io_uring", "epoll" */

/* -- the world ------------------------------------------------------------- */

/* Creates a world and makes it the current one. Without a world engine_create() creates a calm one
 * with threads, which ends with the engine. */
void sim_world_create(const struct sim_options *options);
/* All engines must be destroyed. Remaining peers and servers are freed with the world. */
void sim_world_destroy(void);
/* Used instead when an engine cannot be destroyed because an operation on it never ends: the world
 * is not current any more and its memory is not freed. Nothing may use its objects from then on. */
void sim_world_abandon(void);
bool sim_world_exists(void);
/* The options, which may be changed while the world runs, for example to end all faults. */
struct sim_options *sim_world_options(void);
/* From now on nothing fails and there are no limits: operations that wait must continue. */
void sim_faults_end(void);

enum sim_next { SIM_RUN_PORT, SIM_EVENT, SIM_IDLE };
enum sim_next sim_step(uint64_t until_ms, struct engine_port **port);

/* Fires events, and lets time pass, until that time or the first event after which `done` is true
 * (NULL: none is). No port runs. False: the time is over. */
bool sim_advance(uint64_t until_ms, bool (*done)(void *context), void *context);

uint64_t sim_now_us(void);
/* When the next event comes; UINT64_MAX: no event is scheduled. */
uint64_t sim_next_event_us(void);

uint64_t sim_random(uint64_t below);  /* of the world's generator; 0 when `below` is 0 */
bool sim_chance(uint32_t millionths); /* draws nothing at 0 and at SIM_ALWAYS */

/* A hash over everything that happened so far. */
uint64_t sim_trace_hash(void);
/* Gets a line for each thing that happens, without a newline; NULL: none. */
typedef void sim_trace_fn(const char *line, void *context);
void sim_set_trace(sim_trace_fn *trace, void *context);

/* Called for a breach of the contract of engine.h. When the function returns, the offending call is
 * ignored. NULL, the initial value: the process ends. */
typedef void sim_violation_fn(const char *text, void *context);
void sim_on_violation(sim_violation_fn *violation, void *context);
/* Checks every operation in flight, and those that were abandoned: their memory must be unchanged.
 */
void sim_check(void);

/* Operations in flight, posts included; sockets that the engine's users own. */
unsigned sim_operations(void);
unsigned sim_sockets(void);
/* Whether clients may connect to that address. */
bool sim_listens(const struct berth_address *address);
/* The time of the oldest failure of an operation that ends a connection, on a socket that its user
 * has not closed yet. UINT64_MAX: there is none. */
uint64_t sim_failed_since_us(void);

/* -- timers of a test ------------------------------------------------------ */

/* Embedded; initially zeroed. `fire` runs from sim_step() or sim_advance(), or from
 * engine_port_run() where that lets time pass. */
struct sim_timer {
    void (*fire)(struct sim_timer *timer);
    uint64_t room[6];
};
void sim_timer_set(struct sim_timer *timer, uint64_t at_us);
void sim_timer_cancel(struct sim_timer *timer);

/* -- peers: the other ends of connections ---------------------------------- */

struct sim_peer;

enum {
    SIM_PEER_FIN = 0,
    SIM_PEER_RESET = -1,    /* the connection is reset, or was refused */
    SIM_PEER_NOTHING = -2,  /* no data, or no room, for now */
    SIM_PEER_FINISHED = -3, /* its FIN is sent: nothing more can be */
};

enum sim_peer_state { SIM_PEER_CONNECTING, SIM_PEER_CONNECTED, SIM_PEER_REFUSED };

/* Called when the state of the peer has changed: it is connected or refused, bytes, a FIN or a
 * reset have come, there is room for more. It may call every function, also sim_peer_close(). */
typedef void sim_peer_fn(struct sim_peer *peer, void *context);

struct sim_peer_options {
    struct berth_address from; /* family 0: loopback and a port of its own */
    uint32_t window;           /* of bytes to the peer; 0: as in sim_options */
    sim_peer_fn *changed;      /* NULL: none */
    void *context;
};

/* Begins to connect to a listener. "any" means loopback. NULL for options: none. */
struct sim_peer *sim_peer_connect(const struct berth_address *to,
                                  const struct sim_peer_options *options);
enum sim_peer_state sim_peer_state(const struct sim_peer *peer);
struct berth_address sim_peer_local(const struct sim_peer *peer);
struct berth_address sim_peer_remote(const struct sim_peer *peer);
void *sim_peer_context(const struct sim_peer *peer);
void sim_peer_on_change(struct sim_peer *peer, sim_peer_fn *changed, void *context);

/* How many of the bytes were taken, or SIM_PEER_NOTHING, SIM_PEER_RESET, SIM_PEER_FINISHED. */
int64_t sim_peer_send(struct sim_peer *peer, const void *bytes, size_t size);
/* How many bytes there were, at least one, or SIM_PEER_*. */
int64_t sim_peer_receive(struct sim_peer *peer, void *bytes, size_t size);
/* How many of the bytes that it sent the other end has received so far. */
uint64_t sim_peer_taken(const struct sim_peer *peer);
/* How many bytes have come and are not yet received; bytes in flight are not counted. */
size_t sim_peer_waiting(const struct sim_peer *peer);
void sim_peer_shutdown_send(struct sim_peer *peer);
/* The caller may not use the peer any more. Sends a reset instead of a FIN when bytes have come
 * that are not received. */
void sim_peer_close(struct sim_peer *peer);
void sim_peer_reset(struct sim_peer *peer);
/* The network between the two ends is cut without a FIN or a reset. The engine finds out by
 * keep-alive, where that is set, or some time after it has sent something (ENGINE_E_TIMED_OUT);
 * else never. Close the peer later. */
void sim_peer_vanish(struct sim_peer *peer);

/* -- upstream servers, for engine_connect() -------------------------------- */

struct sim_server;

/* A client has connected: the function owns the peer. */
typedef void sim_server_fn(struct sim_server *server, struct sim_peer *peer, void *context);

struct sim_server_options {
    struct berth_address address; /* port 0: the world chooses one */
    unsigned backlog; /* with `accepted` NULL: how many clients connect and wait for ever */
    bool is_silent;   /* it does not answer attempts to connect */
    uint32_t refuse;  /* probability that an attempt is refused, in millionths */
    sim_server_fn *accepted;
    void *context;
};

/* NULL: the address is in use, or not an address of this machine. */
struct sim_server *sim_server_open(const struct sim_server_options *options);
struct berth_address sim_server_address(const struct sim_server *server);
void sim_server_close(struct sim_server *server);

/* -- datagram peers -------------------------------------------------------- */

struct sim_datagrams;

typedef void sim_datagrams_fn(struct sim_datagrams *socket, void *context);

/* `changed`: a datagram has come. NULL: the address is in use. */
struct sim_datagrams *sim_datagrams_open(struct berth_address at, sim_datagrams_fn *changed,
                                         void *context);
struct berth_address sim_datagrams_address(const struct sim_datagrams *socket);
void sim_datagrams_send(struct sim_datagrams *socket, const struct berth_address *to,
                        const void *bytes, size_t size);
/* The size of the datagram, of which at most `size` bytes are copied, or SIM_PEER_NOTHING. */
int64_t sim_datagrams_receive(struct sim_datagrams *socket, struct berth_address *from, void *bytes,
                              size_t size);
void sim_datagrams_close(struct sim_datagrams *socket);

/* -- names, for engine_resolve() ------------------------------------------- */

/* Adds an address to a name; its port does not matter. "localhost" and literal addresses need no
 * entry. */
void sim_name_add(const char *host, const struct berth_address *address);
/* Attempts to connect to such an address fail with that error from now on: UNREACHABLE, TIMED_OUT.
 * 0: no longer. */
void sim_address_fails(const struct berth_address *address, int64_t error);

#endif
