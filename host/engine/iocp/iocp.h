/* iocp.h: what the files of the IOCP engine share. The comment at the top of iocp.c explains the
 * design.
 *
 * iocp.c the engine, its ports and the loop that runs completions iocp_listen.c listening sockets,
 * addresses iocp_accept.c AcceptEx, FD_ACCEPT iocp_reuse.c reuse of sockets reuse_selftest.c
 * whether reuse works on this system iocp_receive.c receiving iocp_armed_buffer.c receives of
 * zero-byte mode that have a buffer for a while iocp_send.c sending memory and files iocp_connect.c
 * ConnectEx iocp_cancel.c cancelled operations that do not complete iocp_datagram.c WSARecvMsg,
 * WSASendMsg */
#ifndef BERTH_HOST_ENGINE_IOCP_IOCP_H
#define BERTH_HOST_ENGINE_IOCP_IOCP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "engine/engine.h"
#include "engine/iocp/winsock_table.h"
#include "os/os.h"
#include "os/os_windows_address.h"

struct error;

/* AcceptEx requires 16 bytes more than the largest address of the transport, for each of the two.
 */
#define IOCP_ADDRESS_ROOM (sizeof(SOCKADDR_STORAGE) + 16)
#define IOCP_ADDRESSES_ROOM (2 * IOCP_ADDRESS_ROOM)

/* How a socket is made ready for reuse. */
enum iocp_reuse { IOCP_REUSE_OFF, IOCP_REUSE_DISCONNECT, IOCP_REUSE_TRANSMIT };

#define IOCP_REUSE_TEXT_MAX 160
#define IOCP_REUSABLE_MAX 256 /* sockets kept for a listener */

#define IOCP_ARMED_BUFFERS_MAX 1024 /* receives of a port that have a buffer for a limited time */

enum { IOCP_V4, IOCP_V6, IOCP_FAMILIES };

struct engine {
    const struct winsock_table *winsock;
    const struct inherited_sockets *inherited_sockets; /* of listening sockets, or NULL */
    struct engine_traits traits;
    bool skip_success; /* an operation that succeeds at once leaves no packet in the port */
    enum iocp_reuse reuse;
    char reuse_text[IOCP_REUSE_TEXT_MAX]; /* traits.socket_reuse */

    DWORD receive_bytes; /* SO_RCVBUF and SO_SNDBUF of a new socket; 0: unknown */
    DWORD send_bytes;

    LPFN_CONNECTEX connect_ex[IOCP_FAMILIES]; /* NULL: the provider or the family lacks it */
    LPFN_TRANSMITFILE transmit_file;          /* NULL: not available for all sockets */
    LPFN_TRANSMITPACKETS transmit_packets;    /* the same */
    unsigned transmits_max;                   /* maximum of both in flight at once; 0: none */
    atomic_uint transmits;                    /* in flight, counted when there is a maximum */

    /* How long a cancelled operation has to complete before its socket is closed, and how long
     * after that before it is abandoned. */
    uint32_t cancel_close_ms;
    uint32_t cancel_abandon_ms;

    struct os_mutex reuse_lock;
    struct engine_listener *listeners; /* utlist; under reuse_lock */
    uint32_t origins;                  /* the last number given to a listener; under reuse_lock */
};

struct engine_listener {
    struct engine *engine;
    struct engine_listener *prev; /* in engine->listeners */
    struct engine_listener *next;
    uint32_t origin; /* its number, in the sockets accepted on it; 0: not in the list */
    SOCKET socket;
    int family; /* AF_INET, AF_INET6 */
    bool dual_stack;
    bool reuse_sockets;
    bool inherited;                                    /* opened by an earlier process */
    const struct inherited_sockets *inherited_sockets; /* NULL: it ends with this process */
    char *name;                                        /* for inherited_sockets */
    struct engine_socket_options options;              /* of accepted sockets */
    int backlog;
    struct berth_address address;
    struct winsock_extensions extensions;
    struct iocp_disconnect *reusable; /* utlist: sockets for reuse; under engine->reuse_lock */
    unsigned reusable_count;
    struct iocp_datagrams *datagrams; /* NULL: TCP */
};

/* An engine on another Winsock: for tests. engine_create() is this with winsock_system. */
struct engine *engine_iocp_create(const struct winsock_table *winsock, struct error *error);

/* Completion keys of the packets in a port. */
enum {
    IOCP_KEY_WAKE = 0,    /* only wakes the port */
    IOCP_KEY_SOCKET = 1,  /* of an operation */
    IOCP_KEY_SETTLED = 2, /* see iocp_datagram.c */
};

enum iocp_kind {
    IOCP_IDLE,
    IOCP_POST,
    IOCP_ACCEPT,
    IOCP_RECEIVE,
    IOCP_SEND, /* of memory only */
    IOCP_DATAGRAM,
    IOCP_FILE_SEND, /* its iocp_transmit does the work */
    IOCP_TRANSMIT,  /* the operation of an iocp_transmit */
    IOCP_CONNECT,
    IOCP_DISCONNECT,
    IOCP_ABANDONED, /* completed for its owner; its memory is kept, as the system may still use it
                     */
};

_Static_assert(IOCP_ABANDONED < 1 << 4, "iocp_op.kind is too small");

/* The state of an armed receive, of a send of a file or of a connect. */
enum iocp_where {
    IOCP_POSTED,             /* the system has it */
    IOCP_WAITING_FOR_BUFFER, /* in the port's queue of receives that wait for memory, or of sends
                                that wait for a transmit */
    IOCP_READY,              /* in the port's queue of operations that continue in the next pass */
    IOCP_RUNNING,            /* in receive_advance(), perhaps inside its completion */
};

/* What an armed receive does next. */
enum iocp_step { IOCP_STEP_NONE, IOCP_STEP_POST, IOCP_STEP_READ, IOCP_STEP_DELIVER, IOCP_STEP_END };

/* The engine's part of an operation, in engine_op.opaque. The system writes into `overlapped` while
 * it has the operation, the port uses the same memory while the operation is in one of its queues:
 * never both. */
struct BERTH_MAY_ALIAS iocp_op {
    union {
        OVERLAPPED overlapped;
        struct {
            struct iocp_op *prev;
            struct iocp_op *next;
            int64_t result;
        } queued;
        struct iocp_transmit *transmit; /* sends of files */
    };
    int32_t socket; /* the one that the system call was made on; see struct engine_socket.
                     * ENGINE_NO_SOCKET's: it was closed, as cancelling did not end the call */
    uint16_t armed_buffer : 11; /* a receive's index in port->armed_buffers, plus 1; 0: none */
    uint16_t last_tick : 5;     /* when data came last; see iocp_armed_buffer.c */
    uint8_t kind : 4;           /* enum iocp_kind */
    uint8_t where : 3;          /* enum iocp_where; receives, sends of files, connects */
    bool stopping : 1;          /* a receive: engine_receive_stop() was called */
    uint8_t
        step : 3; /* enum iocp_step; of a receive in a queue. The following are of receives, too: */
    bool zero_mode : 1; /* ENGINE_RECEIVE_ZERO_BYTE */
    bool zero_now : 1;  /* the next or current WSARecv asks for no bytes */
    bool more : 1;      /* the last read filled its buffer */
    bool cold : 1;    /* zero-byte mode: gets no buffer until data comes soon after the last data */
    bool cooling : 1; /* cancelled, to be posted again with no bytes */
};
_Static_assert(IOCP_ARMED_BUFFERS_MAX < 1 << 11, "iocp_op.warm is too small");
_Static_assert(sizeof(struct iocp_op) <= sizeof(((struct engine_op *)0)->opaque),
               "engine_op.opaque is too small");

/* The engine's part of a receive, in engine_receive.room after `complete`. */
struct BERTH_MAY_ALIAS iocp_receive {
    struct iocp_op op;
    void *owner; /* of the buffer it has, or NULL */
};
_Static_assert(sizeof(struct iocp_receive) <= sizeof(struct engine_receive) - sizeof(uint64_t),
               "engine_receive.room is too small");

struct iocp_armed_buffer {
    struct iocp_op *op;
    uint64_t since_ms;
};

struct engine_port {
    struct engine *engine;
    HANDLE iocp;
    struct engine_buffer_source buffers;
    struct engine_buffer received; /* see engine_received() */
    atomic_uint pending;
    unsigned ran; /* completions run by the current engine_port_run() */
    bool refused; /* the last wait failed with an error of the system */

    /* Synchronous successes of one receive in a row, before the other operations get their turn. */
    uint32_t burst_max;

    struct iocp_op *ready;              /* continue in the next pass */
    struct iocp_op *waiting_for_buffer; /* wait for memory, first come first served */
    unsigned waiting_for_buffer_count;
    struct iocp_armed_buffer armed_buffers[IOCP_ARMED_BUFFERS_MAX]; /* posted, in no order */
    unsigned armed_buffer_count;
    uint64_t armed_buffers_checked_ms;
    struct engine_acceptor *acceptors;
    bool plain_due;     /* an acceptor that has fallen back is to be checked in the next pass */
    bool plain_doubted; /* is to be checked from time to time, as the event may not come */
    bool rearm_due;     /* an acceptor waits until it may re-enable its event */

    struct engine_receiver *receivers; /* utlist */
    bool receivers_waiting_for_buffer; /* one of them waits for memory */
    unsigned receivers_further;        /* number of them that poll sockets of other ports */

    struct iocp_disconnect *disconnects; /* utlist: in flight */
    struct iocp_connect *cancelled;      /* utlist: connects that were cancelled, in flight */
    struct iocp_closed *closed;          /* utlist: sockets closed with operations in flight */
    uint64_t cancels_checked_ms;
    uint64_t saturated_since_ms; /* checks of cancels are deferred since then; 0: they are not */
    bool is_saturated; /* the last wait returned its maximum of packets: there may be more */

    struct iocp_transmit *transmits_waiting; /* utlist: first come first served */
    unsigned transmits_waiting_count;
    struct iocp_transmit *transmits_free; /* utlist: memory for more */
    unsigned transmits_free_count;
    bool transmits_stalled; /* those in flight make no progress: the others are sent without a
                               transmit */

    struct os_mutex posts_lock;
    struct iocp_op *posts;    /* under posts_lock */
    atomic_bool posts_queued; /* changed under posts_lock: `posts` is not empty. A port reads this
                                 in every pass, and takes the lock only when it is set */
    bool posts_waking;        /* under posts_lock: a packet that wakes the port is queued */
};

/* Asserts the invariants of a port between two turns. */
void iocp_port_check(const struct engine_port *port);

static inline struct iocp_op *iocp_op_of(struct engine_op *op) {
    return (struct iocp_op *)op->opaque;
}

/* -- for all the engine's files -------------------------------------------- */

/* The one switch that translates codes of Win32 and Winsock to ENGINE_E_*. */
int64_t iocp_error(unsigned long code);

/* The engine owns the operation from now on. */
void iocp_start(struct engine_port *port, struct iocp_op *op, enum iocp_kind kind, SOCKET socket);
/* Undoes iocp_start() for an operation that is done before the starting call returns. */
void iocp_unstart(struct engine_port *port, struct iocp_op *op);
/* Gives the operation back to its owner and calls its completion. From the run loop only. */
void iocp_finish(struct engine_port *port, struct iocp_op *op, int64_t result);
/* The run loop continues the operation in its next pass. */
void iocp_defer(struct engine_port *port, struct iocp_op *op, int64_t result);
/* Completes an operation that the system does not end. Its memory and its buffers are kept. */
void iocp_abandon(struct engine_port *port, struct iocp_op *op, const char *what);
/* The code that a dequeued operation failed with, 0 when it succeeded. */
unsigned long iocp_op_error(struct engine_port *port, struct iocp_op *op);

void iocp_socket_close(struct engine *engine, SOCKET socket, bool reset);

/* Binds the socket to the port, for all operations on it to come. `skips_success`: an operation
 * that succeeds at once leaves no packet, where the engine supports that. */
bool iocp_attach(struct engine_port *port, SOCKET socket, bool skips_success);

/* -- iocp_listen.c --------------------------------------------------------- */

bool iocp_socket_option(const struct winsock_table *winsock, SOCKET socket, int level, int name,
                        DWORD value);
bool iocp_set_options(const struct winsock_table *winsock, SOCKET socket,
                      const struct engine_socket_options *options);
/* Sets the options of a used socket back to those of a new one. */
bool iocp_clear_options(const struct engine *engine, SOCKET socket);
SOCKET iocp_socket_open(const struct winsock_table *winsock, int family);

/* -- iocp_accept.c --------------------------------------------------------- */

void iocp_accept_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_accept_failed(struct engine_port *port, struct iocp_op *op, int64_t result);
/* Calls starved() of the acceptors that are. `idle`: the last wait of the port returned nothing. */
void iocp_acceptors_check(struct engine_port *port, bool idle);
void iocp_accepts_end(struct engine_port *port,
                      uint64_t now_ms); /* ends those that were cancelled */

/* -- iocp_reuse.c ---------------------------------------------------------- */

void iocp_reuse_init(struct engine *engine);
void iocp_reuse_fini(struct engine *engine);
void iocp_reuse_listener_add(struct engine_listener *listener);
/* `renewed`: its sockets have other options from now on; sockets accepted before are not reused. */
void iocp_reuse_listener_allow(struct engine_listener *listener, bool allowed, bool renewed);
void iocp_reuse_listener_remove(
    struct engine_listener *listener); /* one that was not added is legal */
void iocp_reuse_port_remove(struct engine_port *port);

/* A socket of the listener, attached to `home`, that is ready for an accept; or INVALID_SOCKET. */
SOCKET iocp_reuse_take(struct engine_listener *listener, const struct engine_port *home);

void iocp_disconnect_completed(struct engine_port *port, struct iocp_op *op);
void iocp_disconnects_end(struct engine_port *port,
                          uint64_t now_ms); /* ends those that take too long */

/* -- iocp_datagram.c ------------------------------------------------------- */

SOCKET iocp_datagram_open(const struct winsock_table *winsock, int family);
bool iocp_datagrams_init(struct engine_listener *listener); /* false: see last_error() */
bool iocp_datagrams_need_sockets(struct engine_listener *listener, bool any_address);
void iocp_datagrams_fini(struct engine_listener *listener);
void iocp_datagram_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_datagram_settled(struct engine_port *port, struct iocp_op *op);
void iocp_receivers_check(struct engine_port *port); /* continues those that wait for memory */
void iocp_receivers_end(struct engine_port *port,
                        uint64_t now_ms); /* ends those that are stopping */

/* -- reuse_selftest.c ------------------------------------------------------ */

/* Tests on the loopback interface which way of reusing a socket works. `text` gets its name, or
 * "off: " and the reasons. */
enum iocp_reuse reuse_selftest(const struct winsock_table *winsock, char *text, size_t size);

/* -- iocp_receive.c -------------------------------------------------------- */

void iocp_receive_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_receive_resume(struct engine_port *port, struct iocp_op *op, int64_t result);
void iocp_receives_feed(struct engine_port *port); /* continues those that wait for memory */

/* -- iocp_armed_buffer.c --------------------------------------------------- */

/* For a receive of zero-byte mode that is about to be posted. True: it may have a buffer. */
bool iocp_armed_buffer_take(struct engine_port *port, struct iocp_op *op);
/* The receive is not posted any more, or not with that buffer. A receive without one is legal. */
void iocp_armed_buffer_give(struct engine_port *port, struct iocp_op *op);
void iocp_armed_buffer_check(struct engine_port *port); /* cancels those for which no data comes */
/* Called when data has come, or when the receive starts. The first function: whether that was soon
 * after the last time. */
bool iocp_armed_buffer_is_soon(const struct iocp_op *op);
void iocp_armed_buffer_note(struct iocp_op *op);

/* -- iocp_send.c ----------------------------------------------------------- */

void iocp_send_init(struct engine *engine);
void iocp_send_port_remove(struct engine_port *port);
void iocp_transmit_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_transmits_feed(struct engine_port *port); /* starts those that wait and may start now */

/* -- iocp_connect.c -------------------------------------------------------- */

void iocp_connect_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_connect_resume(struct engine_port *port, struct iocp_op *op, int64_t result);
void iocp_connects_end(struct engine_port *port,
                       uint64_t now_ms); /* ends those that were cancelled */

/* -- iocp_cancel.c --------------------------------------------------------- */

/* What to do now about an operation that was cancelled at `since_ms`. */
enum iocp_cancel_step { IOCP_CANCEL_WAIT, IOCP_CANCEL_CLOSE, IOCP_CANCEL_ABANDON };
enum iocp_cancel_step iocp_cancel_step(const struct engine_port *port, uint64_t since_ms,
                                       bool is_closed, uint64_t now_ms);
void iocp_cancel_tell_closed(const char *what); /* "accept" */
void iocp_cancel_tell_abandoned(const char *what);
void iocp_cancels_check(struct engine_port *port); /* a few times a second */
/* The operation completes: its entry in port->closed is not needed any more. */
void iocp_closed_forget(struct engine_port *port, const struct iocp_op *op);
/* For a send of files that the system has. */
void iocp_transmit_close(struct iocp_op *send);
void iocp_transmit_abandon(struct iocp_op *send);

#endif
