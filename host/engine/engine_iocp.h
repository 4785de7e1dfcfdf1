/* engine_iocp.h: what the files of the IOCP engine share. Read the essay in engine_iocp.c first.
 *
 * engine_iocp.c           the engine, its ports and the loop that runs completions
 * engine_iocp_accept.c    listeners, AcceptEx, FD_ACCEPT
 * engine_iocp_transfer.c  receiving and sending */
#ifndef BERTH_HOST_ENGINE_ENGINE_IOCP_H
#define BERTH_HOST_ENGINE_ENGINE_IOCP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "engine/engine.h"
#include "engine/winsock_table.h"
#include "os/os.h"

struct error;

/* Synchronous successes handled in a row before other work gets its turn. */
#define IOCP_INLINE_MAX 10

/* AcceptEx wants 16 bytes more than the largest address of the transport, for each of the two. */
#define IOCP_ADDRESS_ROOM (sizeof(SOCKADDR_STORAGE) + 16)
#define IOCP_ADDRESSES_ROOM (2 * IOCP_ADDRESS_ROOM)

struct engine {
    const struct winsock_table *winsock;
    struct engine_traits traits;
    bool skip_success; /* an operation that succeeds at once leaves no packet in the port */
};

/* An engine on another Winsock: for tests. engine_create() is this with winsock_system. */
struct engine *engine_iocp_create(const struct winsock_table *winsock, struct error *error);

enum iocp_kind { IOCP_IDLE, IOCP_POST, IOCP_ACCEPT, IOCP_RECEIVE, IOCP_SEND };

/* Where an armed receive is. */
enum iocp_where {
    IOCP_POSTED,   /* the system has it */
    IOCP_STARVING, /* in the port's queue of those that wait for memory */
    IOCP_READY,    /* in the port's queue of those that go on in the next pass */
    IOCP_RUNNING,  /* in receive_advance(), perhaps inside its completion */
};

/* What an armed receive does next. */
enum iocp_step { IOCP_STEP_NONE, IOCP_STEP_POST, IOCP_STEP_READ, IOCP_STEP_DELIVER, IOCP_STEP_END };

/* The engine's part of an operation, in engine_op.opaque. The system writes into `overlapped` while
 * it has the operation, the port uses the same room while it is in one of its queues: never both.
 */
struct __attribute__((__may_alias__)) iocp_op {
    union {
        OVERLAPPED overlapped;
        struct {
            struct iocp_op *prev;
            struct iocp_op *next;
            int64_t result;
        } queued;
    };
    SOCKET socket;  /* the one that the system call was made on */
    uint8_t kind;   /* enum iocp_kind */
    uint8_t where;  /* enum iocp_where; receives */
    uint8_t step;   /* enum iocp_step; receives in a queue */
    bool zero_mode; /* receives: ENGINE_RECEIVE_ZERO_BYTE */
    bool zero_now;  /* receives: the next or current WSARecv asks for no bytes */
    bool more;      /* receives: the last read filled its buffer */
    bool stopping;  /* receives: engine_receive_stop() was called */
};
_Static_assert(sizeof(struct iocp_op) <= sizeof(((struct engine_op *)0)->opaque),
               "engine_op.opaque is too small");

struct engine_port {
    struct engine *engine;
    HANDLE iocp;
    struct engine_buffer_source buffers;
    atomic_uint pending;
    unsigned ran; /* completions run by the present engine_port_run() */

    struct iocp_op *ready;    /* go on in the next pass */
    struct iocp_op *starving; /* wait for memory, first come first served */
    unsigned starving_count;
    struct engine_acceptor *acceptors;

    struct os_mutex posts_lock;
    struct iocp_op *posts; /* under posts_lock */
    bool posts_waking;     /* under posts_lock: a packet is on its way that makes the port look */
};

static inline struct iocp_op *iocp_op_of(struct engine_op *op) {
    return (struct iocp_op *)op->opaque;
}

/* -- for all the engine's files --------------------------------------------------------------- */

/* The one switch that translates codes of Win32 and Winsock to ENGINE_E_*. */
int64_t iocp_error(unsigned long code);

/* Makes the operation the engine's. */
void iocp_start(struct engine_port *port, struct iocp_op *op, enum iocp_kind kind, SOCKET socket);
/* Undoes iocp_start() for an operation that is done before its caller returns. */
void iocp_unstart(struct engine_port *port, struct iocp_op *op);
/* Makes it its owner's again and calls its completion. From the run loop only. */
void iocp_finish(struct engine_port *port, struct iocp_op *op, int64_t result);
/* Has the run loop take it up in its next pass. */
void iocp_defer(struct engine_port *port, struct iocp_op *op, int64_t result);
/* The code that a dequeued operation failed with, 0 when it succeeded. */
unsigned long iocp_op_error(struct engine_port *port, struct iocp_op *op);

void iocp_socket_close(struct engine *engine, SOCKET socket, bool reset);

/* -- engine_iocp_accept.c --------------------------------------------------------------------- */

void iocp_accept_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_accept_failed(struct engine_port *port, struct iocp_op *op, int64_t result);
void iocp_acceptors_check(struct engine_port *port); /* tells those starved of it */

/* -- engine_iocp_transfer.c ------------------------------------------------------------------- */

void iocp_receive_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes);
void iocp_receive_resume(struct engine_port *port, struct iocp_op *op, int64_t result);
void iocp_receives_feed(struct engine_port *port); /* serves those that wait for memory */

#endif
