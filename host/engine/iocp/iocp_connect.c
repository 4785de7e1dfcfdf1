/* iocp_connect.c: connecting, by ConnectEx, which sends the first data with the connect.
 *
 * The engine owns the socket until the connect has succeeded: after a failure or a cancel it is
 * closed here, before the completion. An attempt that fails when it is started completes from the
 * loop like any other. */
#include "engine/iocp/iocp.h"

#include <utlist.h>

#include "base/address.h"
#include "base/assert.h"
#include "base/log.h"

enum {
    /* Not in mingw-w64's headers. ConnectEx needs a bound socket, and a plain bind reserves a port
     * for all destinations, which limits the host to a few ten thousand connections. With this
     * option (Windows 10) the system chooses the port when the destination is known. */
    REUSE_UNICAST_PORT = 0x3007, /* SO_REUSE_UNICASTPORT */
};

/* From mstcpip.h, also missing there. */
#ifndef SIO_TCP_INITIAL_RTO
#define SIO_TCP_INITIAL_RTO _WSAIOW(IOC_VENDOR, 17)
#endif
struct initial_rto { /* TCP_INITIAL_RTO_PARAMETERS */
    USHORT rtt;
    UCHAR retransmissions;
};
#define RTT_UNSPECIFIED ((USHORT)-1) /* the system's default */
#define NO_RETRANSMISSIONS ((UCHAR)-2)

/* The engine's part of a connect, in engine_connect.opaque. */
struct BERTH_MAY_ALIAS iocp_connect {
    struct iocp_connect *prev; /* in port->cancelled, while it is there */
    struct iocp_connect *next;
    uint64_t cancelled_ms; /* 0: it was not */
};
_Static_assert(sizeof(struct iocp_connect) <= sizeof(((struct engine_connect *)0)->opaque),
               "engine_connect.opaque is too small");

static struct iocp_connect *iocp_connect_private_of(struct engine_connect *connect) {
    return (struct iocp_connect *)connect->opaque;
}

static struct engine_connect *iocp_connect_of(struct iocp_op *op) {
    return CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct engine_connect, op);
}

static bool bind_anywhere(const struct winsock_table *winsock, SOCKET socket, int family) {
    struct berth_address any = {
        .family = family == AF_INET6 ? BERTH_FAMILY_IPV6 : BERTH_FAMILY_IPV4,
    };
    SOCKADDR_STORAGE storage;
    int size = windows_address_to_system(&any, &storage);
    iocp_socket_option(winsock, socket, SOL_SOCKET, REUSE_UNICAST_PORT,
                       1); /* fails before Windows 10 */
    return winsock->bind(socket, (struct sockaddr *)&storage, size) == 0;
}

/* On loopback an RST is final: repeating the SYN after it, as Windows does, only makes a refusal
 * take two seconds. Older systems lack this request. */
static void refuse_at_once(const struct winsock_table *winsock, SOCKET socket) {
    struct initial_rto rto = {RTT_UNSPECIFIED, NO_RETRANSMISSIONS};
    DWORD returned = 0;
    winsock->ioctl(socket, SIO_TCP_INITIAL_RTO, &rto, sizeof(rto), NULL, 0, &returned, NULL, NULL);
}

/* The operation has failed: it completes with the result in the next pass. */
static void iocp_connect_fail(struct engine_port *port, struct iocp_op *op, int64_t result) {
    if (op->socket != ENGINE_NO_SOCKET.handle) {
        iocp_socket_close(port->engine, (SOCKET)op->socket, true);
        op->socket = ENGINE_NO_SOCKET.handle;
    }
    op->where = IOCP_READY;
    iocp_defer(port, op, result);
}

static void iocp_connect_start(struct engine_port *port, struct iocp_op *op,
                               LPFN_CONNECTEX connect_ex) {
    const struct engine_connect *connect = iocp_connect_of(op);
    SOCKADDR_STORAGE storage;
    int size = windows_address_to_system(&connect->remote, &storage);
    DWORD first = (DWORD)connect->first_data.size;
    void *bytes = first > 0 ? (void *)(uintptr_t)connect->first_data.bytes : NULL; /* only read */
    DWORD sent = 0;
    op->where = IOCP_POSTED;
    if (connect_ex((SOCKET)op->socket, (struct sockaddr *)&storage, size, bytes, first, &sent,
                   &op->overlapped)) {
        if (port->engine->skip_success) { /* else its packet completes it */
            op->where = IOCP_READY;
            iocp_defer(port, op, sent);
        }
        return;
    }
    unsigned long code = (unsigned long)port->engine->winsock->last_error();
    if (code != WSA_IO_PENDING) {
        iocp_connect_fail(port, op, iocp_error(code));
    }
}

void engine_connect(struct engine_port *port, struct engine_connect *connect) {
    struct engine *engine = port->engine;
    const struct winsock_table *winsock = engine->winsock;
    struct iocp_op *op = iocp_op_of(&connect->op);
    bool v6 = connect->remote.family == BERTH_FAMILY_IPV6;
    int family = v6 ? AF_INET6 : AF_INET;
    LPFN_CONNECTEX connect_ex = engine->connect_ex[v6 ? IOCP_V6 : IOCP_V4];
    ASSERT(connect->first_data.size == 0 || connect->first_data.bytes);
    ASSERT(connect->first_data.size <= UINT32_MAX);
    connect->socket = ENGINE_NO_SOCKET;
    connect->local = (struct berth_address){0};
    *iocp_connect_private_of(connect) = (struct iocp_connect){0};
    iocp_start(port, op, IOCP_CONNECT, iocp_socket_open(winsock, family));
    if (op->socket == ENGINE_NO_SOCKET.handle ||
        !iocp_set_options(winsock, (SOCKET)op->socket, &connect->options) ||
        !bind_anywhere(winsock, (SOCKET)op->socket, family) ||
        !iocp_attach(port, (SOCKET)op->socket, true)) {
        iocp_connect_fail(port, op, iocp_error((unsigned long)winsock->last_error()));
    } else if (!connect_ex) {
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_WARN, NULL,
                    "network: the provider has no ConnectEx");
        iocp_connect_fail(port, op, ENGINE_E_OTHER);
    } else {
        if (address_is_loopback(&connect->remote)) {
            refuse_at_once(winsock, (SOCKET)op->socket);
        }
        iocp_connect_start(port, op, connect_ex);
    }
}

/* Before this, getsockname() and shutdown() do not work on the socket. */
static bool iocp_connect_settle(const struct winsock_table *winsock, struct iocp_op *op) {
    struct engine_connect *connect = iocp_connect_of(op);
    SOCKADDR_STORAGE storage;
    int size = sizeof(storage);
    if (winsock->setsockopt((SOCKET)op->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0) !=
            0 ||
        winsock->getsockname((SOCKET)op->socket, (struct sockaddr *)&storage, &size) != 0) {
        return false;
    }
    connect->local = windows_address((struct sockaddr *)&storage);
    connect->socket.handle = op->socket;
    connect->socket.origin = 0;
    return true;
}

void iocp_connect_resume(struct engine_port *port, struct iocp_op *op, int64_t result) {
    const struct winsock_table *winsock = port->engine->winsock;
    if (result >= 0 && !iocp_connect_settle(winsock, op)) {
        result = iocp_error((unsigned long)winsock->last_error());
    }
    if (result < 0 && op->socket != ENGINE_NO_SOCKET.handle) {
        iocp_socket_close(port->engine, (SOCKET)op->socket, true);
    }
    iocp_finish(port, op, result);
}

/* The system does not have it any more. */
static void iocp_connect_uncancel(struct engine_port *port, struct iocp_connect *private) {
    if (private->cancelled_ms != 0) {
        private->cancelled_ms = 0;
        DL_DELETE(port->cancelled, private);
    }
}

void iocp_connect_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    /* A closed socket has no connection, whatever the status of the operation is. */
    unsigned long code =
        op->socket == ENGINE_NO_SOCKET.handle ? ERROR_OPERATION_ABORTED : iocp_op_error(port, op);
    iocp_connect_uncancel(port, iocp_connect_private_of(iocp_connect_of(op)));
    iocp_connect_resume(port, op, code ? iocp_error(code) : (int64_t)bytes);
}

void engine_connect_cancel(struct engine_port *port, struct engine_connect *connect) {
    struct iocp_op *op = iocp_op_of(&connect->op);
    if (op->kind == IOCP_CONNECT && op->where == IOCP_POSTED && !op->stopping) {
        struct iocp_connect *private = iocp_connect_private_of(connect);
        op->stopping = true;
        private->cancelled_ms = os_now_ms();
        DL_APPEND(port->cancelled, private);
        /* Finding nothing to cancel means that the packet is in the port already. */
        port->engine->winsock->cancel((HANDLE)(SOCKET)op->socket, &op->overlapped);
    }
}

void iocp_connects_end(struct engine_port *port, uint64_t now_ms) {
    struct iocp_connect *private;
    struct iocp_connect *next;
    DL_FOREACH_SAFE(port->cancelled, private, next) {
        struct iocp_op *op = iocp_op_of(&CONTAINER_OF(private, struct engine_connect, opaque)->op);
        bool is_closed = op->socket == ENGINE_NO_SOCKET.handle;
        enum iocp_cancel_step step =
            iocp_cancel_step(port, private->cancelled_ms, is_closed, now_ms);
        if (step == IOCP_CANCEL_CLOSE) {
            iocp_socket_close(port->engine, (SOCKET)op->socket, true);
            op->socket = ENGINE_NO_SOCKET.handle;
            iocp_cancel_tell_closed("connect");
        } else if (step == IOCP_CANCEL_ABANDON) {
            iocp_connect_uncancel(port, private);
            iocp_abandon(port, op, "connect");
            return; /* its completion may have changed the list: the next check continues */
        }
    }
}
