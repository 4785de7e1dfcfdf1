/* engine.h: the one completion interface, over I/O completion ports on Windows and io_uring or
 * epoll on Linux.
 *
 * A *port* (an IOCP, a ring) belongs to one thread, which creates it, runs it with
 * engine_port_run() and destroys it. All functions that take a port, or something that belongs to
 * one, are called on its thread; only engine_port_post() may be called from any. Completions run
 * from engine_port_run() and from nowhere else, so that no call into the engine ever calls back
 * before it returns.
 *
 * An *operation* is embedded in its owner, which sets `complete` and does not touch the opaque
 * part. A started operation belongs to the engine until its (last) completion begins; only then may
 * it be started again or its memory be freed. Every started operation completes, also when it is
 * cancelled; one that the system does not end completes with ENGINE_E_ABANDONED.
 *
 * Results are byte counts (>= 0) or one of the negative ENGINE_E_*; the engines translate the codes
 * of their system in one place. The conformance suite in tests/engine/ is the exact form of this
 * text and runs unchanged on every engine.  */
#ifndef BERTH_HOST_ENGINE_ENGINE_H
#define BERTH_HOST_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

struct error;
struct engine;          /* one a process: what was probed, the Winsock table */
struct engine_port;     /* a completion port and the engine's data of its thread */
struct engine_listener; /* one address, bound; its listening sockets */
struct engine_acceptor; /* one listening socket of a listener at work on one port */

#define ENGINE_PENDING INT64_C(-1)        /* engine_send: the result comes with the completion */
#define ENGINE_E_CANCELLED INT64_C(-2)    /* by engine_cancel and its kin */
#define ENGINE_E_RESET INT64_C(-3)        /* the peer or the network ended the connection */
#define ENGINE_E_TIMED_OUT INT64_C(-4)    /* the system gave up (keep-alive, retransmission) */
#define ENGINE_E_REFUSED INT64_C(-5)      /* connect: nothing listens there */
#define ENGINE_E_UNREACHABLE INT64_C(-6)  /* no route */
#define ENGINE_E_NO_RESOURCES INT64_C(-7) /* descriptors, socket buffers, memory: try later */
#define ENGINE_E_OTHER INT64_C(-8)        /* logged by the engine with the system's code */
#define ENGINE_E_FILE_SHORT INT64_C(-9)   /* a file ended before the bytes that were to be sent */
/* The operation was cancelled, its socket was closed, and the system has not ended it. The system
 * may write to the operation and to its buffers at any later time: their memory is never freed or
 * used again. */
#define ENGINE_E_ABANDONED INT64_C(-10)
#define ENGINE_ERRORS 11 /* how many there are, for arrays by their negative */

/* "reset by peer", …: for logs. */
const char *engine_error_text(int64_t result);

/* -- the clock ------------------------------------------------------------- */

/* Monotonic milliseconds, of the system or of a simulated world. Nothing above the engine has
 * another clock; a worker's code calls worker_now_ms(). [any] */
uint64_t engine_now_ms(void);

/* -- the engine ------------------------------------------------------------ */

struct engine_traits {
    const char *name; /* "iocp", "io_uring", "epoll" */
    /* How sockets are reused: "DisconnectEx", "TransmitFile", or "off: …" with the reason. */
    const char *socket_reuse;
    /* True: every worker accepts on its own port, from a listening socket of its own. False: one
     * acceptor thread accepts on a port of its own and hands the sockets to the workers. */
    bool accept_on_workers;
    /* The backlog of a listening socket cannot be changed. */
    bool backlog_is_fixed;
    /* The engine to create instead when a port of this one cannot be created: this one was chosen
     * automatically, and a simpler one exists. Else NULL. */
    const char *fallback;
};

/* Something that holds duplicates of listening sockets, so that they outlive this process. */
struct inherited_sockets {
    /* A socket that an earlier process has bound; the caller owns it from now on. -1: none. */
    intptr_t (*take)(void *context, const char *name, unsigned index);
    void (*keep)(void *context, const char *name, unsigned index, intptr_t socket);
    void (*drop)(void *context, const char *name,
                 unsigned index); /* it is closed and not needed again */
    void *context;
};

struct engine_options {
    /* The name of the engine, where the system has several. NULL or "auto": the best one that the
     * system permits; a log line says when that is not the first choice. A named engine that is not
     * available is an error. */
    const char *engine;
    /* Descriptors of the process that accepting does not use, for files, libraries and operator
     * connections; only where the system limits descriptors. */
    unsigned descriptors_reserved;
    /* Sockets that each port keeps without a descriptor of the process, in a table of its ring
     * (direct descriptors); further sockets have one. 0: all sockets have one. Not every engine has
     * such a table. */
    unsigned direct_descriptors;
    const struct inherited_sockets *inherited_sockets; /* NULL: none */
};

struct engine *engine_create(const struct engine_options *options,
                             struct error *error); /* [control] */
void engine_destroy(struct engine *engine);        /* [control]; NULL is legal */

/* A descriptor of the process for a file that a plugin opens. False: files already use half of the
 * descriptors that connections may use, or files and connections together use all of those and half
 * of the reserve. [any] */
bool engine_file_take(struct engine *engine);
void engine_file_give(struct engine *engine);
const struct engine_traits *engine_traits(const struct engine *engine);

/* -- buffers: owned by the layer above ------------------------------------- */

struct engine_buffer {
    void *owner; /* the layer above's handle of the buffer */
    uint8_t *bytes;
    uint32_t size; /* capacity when taken; bytes received when delivered */
};

/* Where a port gets the memory it receives into. Both run on the port's thread. All buffers of a
 * source have the same capacity. take() may fail: the receives that wait for memory are served, in
 * the order they came, when memory is available again. */
struct engine_buffer_source {
    void *context;
    uint32_t capacity;
    bool (*take)(void *context, struct engine_buffer *buffer);
    void (*give)(void *context, void *owner);
    uint8_t *(*bytes)(void *owner); /* where the buffer begins, the same as from take() */
};

/* -- ports ----------------------------------------------------------------- */

struct engine_port_options {
    struct engine_buffer_source buffers;
    uint32_t receive_buffers;     /* posted for all connections together at first (io_uring: 64) */
    uint32_t receive_buffers_max; /* what that may grow to when they run out; a power of two */
    /* The most buffers that one receive delivers in a turn, however much its peer sends; 0 means 1.
     * An engine may stop earlier. The first burst of a connection may be longer. */
    uint32_t burst_buffers;
};

/* How many words of an operation, and of a receive, belong to the engine. These suffice on every
 * system; the build sets smaller values where fewer suffice, since every connection has a receive
 * (meson.build). */
#ifndef ENGINE_OP_WORDS
#define ENGINE_OP_WORDS 5
#define ENGINE_RECEIVE_WORDS 6
#endif

/* An operation, as its owner embeds it; see the top of this file. */
struct engine_op {
    void (*complete)(struct engine_op *op, int64_t result);
    uint64_t opaque[ENGINE_OP_WORDS];
};

/* On the thread that will run it. NULL with the error set on failure. */
struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error);

/* Every operation has completed and every acceptor is destroyed: asserted. NULL is legal. */
void engine_port_destroy(struct engine_port *port);

/* Waits until something completes, at most timeout_ms (0: not at all; negative: without end), then
 * runs a bounded batch of completions. Returns how many ran. */
unsigned engine_port_run(struct engine_port *port, int timeout_ms);

/* Completes op with result 0 on the port's thread, in the order of the posts of one thread. [any]
 */
void engine_port_post(struct engine_port *port, struct engine_op *op);

/* For when memory is short: gives back the buffers that the port holds for receives beyond its
 * initial number. Call it between two runs. */
void engine_port_trim(struct engine_port *port);

/* Operations started and not yet completed, posts included. */
unsigned engine_port_pending(const struct engine_port *port);

/* -- sockets --------------------------------------------------------------- */

/* A connected socket. Copy it freely; exactly one owner closes it. Windows handles have 32
 * significant bits, too, and are sign-extended. */
struct engine_socket {
    int32_t handle;
    uint32_t
        origin; /* for the engine: the listener it was accepted on, or the port it is attached to */
};
#define ENGINE_NO_SOCKET ((struct engine_socket){.handle = -1})

/* Binds the socket to the port it will complete on, once, before its first operation there. It may
 * have another handle from then on. */
bool engine_attach(struct engine_port *port, struct engine_socket *socket, struct error *error);

/* Sends a FIN after the data sent so far. 0 or ENGINE_E_*. */
int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket);

/* How many of the sent bytes the peer has not acknowledged yet (SIOCOUTQ); the FIN counts as one.
 * False: the system has no way to find out. */
bool engine_unacked_bytes(struct engine_port *port, struct engine_socket socket, uint64_t *bytes);

/* No operation may be in flight. `reset`: with linger 0. ENGINE_NO_SOCKET is legal. On the thread
 * of the port that the socket is attached to; a socket that is not attached: on any port's thread,
 * or [control]. */
void engine_close(struct engine *engine, struct engine_socket socket, bool reset);

/* Gives back a socket whose peer closed first (its FIN is received) and on which all data is sent.
 * The engine sends the FIN if it is not sent yet. Where the system permits reuse the engine keeps
 * the socket for a later accept, else it closes the socket. */
void engine_recycle(struct engine_port *port, struct engine_socket socket);

/* Options of connected sockets. Zero is the system's default. */
struct engine_socket_options {
    bool no_delay;                 /* TCP_NODELAY */
    bool reset_on_close;           /* SO_LINGER with 0 seconds: closing discards unsent data */
    uint32_t keepalive_idle_s;     /* SO_KEEPALIVE, TCP_KEEPIDLE; 0: no keep-alive */
    uint32_t keepalive_interval_s; /* TCP_KEEPINTVL */
    uint32_t keepalive_probes;     /* TCP_KEEPCNT */
    uint32_t receive_bytes;        /* SO_RCVBUF */
    uint32_t send_bytes;           /* SO_SNDBUF */
};

/* -- listening and accepting ----------------------------------------------- */

struct engine_listen_options {
    struct berth_address address; /* port 0: the system chooses one */
    unsigned backlog;             /* 0: the system's maximum */
    unsigned acceptors;           /* how many acceptors there will be: 1, or one a worker */
    bool v6_only;                 /* "[::]" without IPv4 clients */
    bool reuse_sockets;           /* sockets from engine_recycle() are used for later accepts */
    bool datagrams;   /* UDP: receivers take the place of acceptors, and none is started */
    const char *name; /* under which inherited_sockets keeps its sockets; NULL: they are not kept */
    struct engine_socket_options sockets; /* of accepted sockets */
};

/* Binds (SO_EXCLUSIVEADDRUSE on Windows; never shared with another process on Linux either). The
 * error names the reason only: "address in use". [control] */
struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error);
/* The address with the actual port. */
struct berth_address engine_listener_address(const struct engine_listener *listener);
/* Connections queue from now on. [control] */
bool engine_listener_start(struct engine_listener *listener, struct error *error);
/* Changes the backlog, reuse_sockets and `sockets`, the last for sockets accepted from now on. On
 * the thread of the first acceptor; of datagrams: [control]. */
void engine_listener_configure(struct engine_listener *listener,
                               const struct engine_listen_options *options);
/* All its acceptors are destroyed. NULL is legal. [control] */
void engine_listener_close(struct engine_listener *listener);

/* Called when connections queue and no accept is posted: FD_ACCEPT. At most once until another
 * accept is posted. Runs from engine_port_run(). */
typedef void engine_starved_fn(struct engine_acceptor *acceptor, void *context);

/* `index`: which of the listener's sockets. Once each socket has its acceptor, there may be further
 * acceptors on other ports, which accept from the same socket. */
struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error);
/* No accept is posted any more: asserted. NULL is legal. */
void engine_acceptor_destroy(struct engine_acceptor *acceptor);

/* One accept. Once posted it takes one connection; accepts take connections in the order of the
 * posts. */
struct engine_accept {
    struct engine_op op; /* completes with the size of the first data, 0 without, or ENGINE_E_* */
    bool with_data; /* in: complete only when the first bytes (or the FIN) are there; without it,
                       bytes may come along all the same. Out: false when the accept was cancelled
                       while a client was arriving: the first bytes are not received yet */

    /* In: the preferred port of the connection, or NULL. Out: the port that its socket is
     * permanently attached to (it is a reused socket, or a direct descriptor of a ring); NULL when
     * it can be attached to any port. */
    struct engine_port *home;

    /* Out, when the result is >= 0. The receiver owns the socket, attached to no port yet where
     * accept_on_workers is false and `home` is NULL, and the buffer when data.owner is not NULL. A
     * result of 0 with with_data: the peer sent a FIN and no byte. */
    struct engine_socket socket;
    struct berth_address local;
    struct berth_address remote;
    struct engine_buffer data;

    uint64_t opaque[8];
};

/* Posts an accept. A failure also comes as its completion. */
void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept);

/* How long the client of a posted accept has been connected without sending, in milliseconds;
 * negative when no client is connected (SO_CONNECT_TIME). */
int64_t engine_accept_connected_ms(const struct engine_accept *accept);

/* Ends a posted accept; its client, if it has one, is reset. Completes with ENGINE_E_CANCELLED,
 * unless a connection came first. */
void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept);

/* From now on the acceptor takes clients in the simplest way that the system has (accept() after
 * FD_ACCEPT), because the usual way (AcceptEx) fails again and again. Accepts posted after that are
 * without data. False: there is no simpler way. */
bool engine_acceptor_fall_back(struct engine_acceptor *acceptor);

/* Whether the acceptor does so from the beginning: on Windows, for a socket that an earlier process
 * has opened, which stays bound to the completion port of that process. */
bool engine_acceptor_is_plain(const struct engine_acceptor *acceptor);

/* Of one engine. More ports work, but some may lack features that an engine has for a limited
 * number. */
enum { ENGINE_PORTS_MAX = 65 };

/* -- receiving ------------------------------------------------------------- */

enum engine_receive_mode {
    ENGINE_RECEIVE_ZERO_BYTE, /* no memory is held while no data comes for long */
    ENGINE_RECEIVE_BUFFERED,  /* one buffer posted ahead, where the system takes one a socket */
};

/* Armed once, it completes for every arrival: result > 0 is the size of engine_received(), and it
 * stays armed; result 0 (the peer's FIN) or ENGINE_E_* is the last completion. */
struct engine_receive {
    union {
        struct engine_op op;
        uint64_t room[1 + ENGINE_RECEIVE_WORDS];
    };
};
_Static_assert(sizeof(struct engine_op) <= sizeof(struct engine_receive), "a receive is larger");

/* The data that has just come. Valid during the completion that reports it; the receiver of that
 * completion owns the buffer. */
const struct engine_buffer *engine_received(const struct engine_port *port);

/* `is_first`: nothing has been received from that peer so far; it may have sent data already. */
void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode,
                          bool is_first);

/* Waits for the peer's FIN, after ours is sent. Data before the FIN is not wanted. The engine may
 * discard it, which it reports as a delivery without a buffer; a buffer that it delivers belongs to
 * the receiver, as always. */
void engine_receive_drain(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive);

/* Asks for the last completion, with ENGINE_E_CANCELLED or with what came first; data may still
 * come before it. Legal at any time while armed, also from within its completion, and more than
 * once. */
void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive);

/* -- sending --------------------------------------------------------------- */

#define ENGINE_PIECES_MAX 16

/* Bytes in memory, or a run of a file. */
struct engine_piece {
    const uint8_t *bytes; /* NULL: of the file */
    uint64_t size;        /* memory: UINT32_MAX at the most */
    intptr_t file;        /* os_file_handle(), open for reading until the send is done */
    uint64_t offset;      /* where in the file */
};

/* Sends pieces of memory and of files, mixed, in order. Returns the number of bytes sent when the
 * send is done at once (no completion follows), an ENGINE_E_*, or ENGINE_PENDING: then the
 * completion has the number of bytes sent. It may be smaller than asked for (of a file, so that
 * other connections get their turn), or 0: try again. The caller may reuse the array after the
 * call, bytes and files only after the completion. One send in flight per socket. A file that ends
 * before its piece does: the bytes that it has may be sent; the attempt that finds none gives
 * ENGINE_E_FILE_SHORT. (TransmitFile, TransmitPackets; sendfile.) */
int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count);

/* The same; the caller promises to call engine_shutdown_send() or engine_close() as soon as all is
 * sent. Where the system can do that, the last bytes and the FIN share a packet. */
int64_t engine_send_and_fin(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, const struct engine_piece *pieces,
                            unsigned count);

/* Asks a pending send to complete soon. */
void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op);

/* The second way to end operations, for a socket whose receive and send (NULL: not in flight) have
 * been cancelled and have not completed within a second. Where only closing the socket ends them,
 * closes it with linger 0 and sets it to ENGINE_NO_SOCKET; else the owner keeps it. The completions
 * still come. False: no memory, or other completions wait to be run; nothing has happened. */
bool engine_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                            struct engine_receive *receive, struct engine_op *send);

/* -- datagrams ------------------------------------------------------------- */

struct engine_receiver; /* one socket of a listener for datagrams, at work on one port */

struct engine_datagram {
    struct berth_address local;  /* where it was sent to (IP_PKTINFO, IPV6_PKTINFO) */
    struct berth_address remote; /* the sender */
    struct engine_buffer data;   /* the receiver of this owns it; size 0 is a datagram too */
    bool truncated;              /* it was longer than the buffer: the remainder is lost */
};

/* Runs from engine_port_run(), a bounded number of times a turn. */
typedef void engine_datagram_fn(struct engine_receiver *receiver,
                                const struct engine_datagram *datagram, void *context);

/* Called when a datagram was discarded because there was no memory to receive it into. */
typedef void engine_datagram_lost_fn(struct engine_receiver *receiver, void *context);

/* `index`: which of the listener's sockets. Once each socket has its receiver, there may be further
 * receivers on other ports for a time, which take datagrams from the same socket. */
struct engine_receiver *engine_receiver_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_datagram_fn *received,
                                               engine_datagram_lost_fn *lost, void *context,
                                               struct error *error);

/* No function of it runs from now on; `stopped` completes when it is freed. A receive that the
 * system does not end otherwise is ended by closing the listener's socket. */
void engine_receiver_stop(struct engine_receiver *receiver, struct engine_op *stopped);

/* Sends one datagram from that local address (any, or none: the system chooses), at once or with
 * others that are sent soon. A datagram that cannot be sent then is dropped, as on any network. The
 * buffer goes back to the port's source, also on failure. 0, or ENGINE_E_* when the failure is
 * known at once. */
int64_t engine_receiver_send(struct engine_receiver *receiver, const struct berth_address *local,
                             const struct berth_address *remote, const struct engine_buffer *data);

/* The same from any thread, at once. */
int64_t engine_datagram_send(struct engine_listener *listener, const struct berth_address *local,
                             const struct berth_address *remote, const uint8_t *bytes,
                             uint32_t size);

/* -- names ----------------------------------------------------------------- */

/* The addresses of a host name, or of a literal address, in the order the system prefers; at least
 * one. Blocks, for seconds where a name server does not answer. [any] */
bool engine_resolve(const char *host, uint16_t port, struct berth_address *addresses,
                    unsigned capacity, unsigned *count, struct error *error);

/* -- connecting ------------------------------------------------------------ */

/* One connect. */
struct engine_connect {
    struct engine_op op; /* completes with the bytes of first_data that are sent, or ENGINE_E_* */

    /* In. */
    struct berth_address remote;
    struct engine_socket_options options;
    /* Sent with the connect where the system can (ConnectEx), else left to the caller, which sends
     * what the result says is not sent. In memory, which may be freed after the completion. Size 0:
     * none. */
    struct engine_piece first_data;

    /* Out, when the result is >= 0: the receiver owns the socket, which is attached to the port. */
    struct engine_socket socket;
    struct berth_address local;

    uint64_t opaque[4];
};

/* A failure, also of making the socket, comes as the completion. */
void engine_connect(struct engine_port *port, struct engine_connect *connect);

/* Ends an attempt: completes with ENGINE_E_CANCELLED, unless it has succeeded or failed before. */
void engine_connect_cancel(struct engine_port *port, struct engine_connect *connect);

#endif
