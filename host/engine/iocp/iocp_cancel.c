/* iocp_cancel.c: cancelled operations that do not complete.
 *
 * CancelIoEx asks the driver that has the operation, and some drivers below Winsock (filters,
 * layered providers) lose or ignore the request. An operation in flight keeps its owner alive, and
 * the owner delays the end of a connection, of a listener and of the host. So every cancel has a
 * second way, and every wait a deadline:
 *
 *     CancelIoEx        completes the operation at once, as a rule
 *     closing, reset    after engine->cancel_close_ms: linger 0 and closesocket, which ends
 *                       whatever is under way on a socket
 *     abandoning        after another engine->cancel_abandon_ms: the owner gets
 *                       ENGINE_E_ABANDONED and goes on; the memory that the system may still write
 *                       to is never freed
 *
 * The engine closes the sockets that it owns: those of accepts, connects and disconnects, and those
 * of datagram listeners. A connection's socket is closed by engine_close_in_flight(), since only
 * its owner knows that the socket is not needed any more. A cancel that nothing waits for (a pause,
 * a receive of iocp_armed_buffer.c that is to give back its buffer) needs no second way.
 *
 * Wine 8 needs some of this: there a close with a send pending neither cancels nor completes it.
 * Windows completes each of these operations on closesocket(), by its documentation. Only a test on
 * a real Windows shows which of them CancelIoEx alone does not end. */
#include "engine/iocp/iocp.h"

#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"

enum { CHECK_MS = 250 }; /* between two checks, or less where the time to close is shorter */

/* A connection's socket that was closed with its operations in flight. */
struct iocp_closed {
    struct iocp_closed *prev; /* in port->closed */
    struct iocp_closed *next;
    struct iocp_op *receive; /* NULL: it has completed */
    struct iocp_op *send;
    uint64_t since_ms;
};

/* -- log messages ---------------------------------------------------------- */

void iocp_cancel_tell_closed(const char *what) {
    log_limited(LOG_KIND_NETWORK, LOG_LEVEL_WARN, NULL,
                "network: cancelling did not end the %s: its socket is closed. A driver beneath "
                "Winsock (a filter, a layered provider) may be at fault: netsh winsock show "
                "catalog",
                what);
}

void iocp_cancel_tell_abandoned(const char *what) {
    log_limited(LOG_KIND_NETWORK, LOG_LEVEL_ERROR, NULL,
                "network: neither cancelling nor closing its socket ended the %s: it is not waited "
                "for any longer, and its memory is not used again",
                what);
}

void iocp_abandon(struct engine_port *port, struct iocp_op *op, const char *what) {
    struct engine_op *owner = CONTAINER_OF(op, struct engine_op, opaque);
    iocp_unstart(port, op);
    op->kind = IOCP_ABANDONED;
    port->ran++;
    iocp_cancel_tell_abandoned(what);
    owner->complete(owner, ENGINE_E_ABANDONED);
}

enum iocp_cancel_step iocp_cancel_step(const struct engine_port *port, uint64_t since_ms,
                                       bool is_closed, uint64_t now_ms) {
    uint64_t passed_ms = now_ms - since_ms;
    uint64_t close_ms = port->engine->cancel_close_ms;
    if (!is_closed) {
        return passed_ms >= close_ms ? IOCP_CANCEL_CLOSE : IOCP_CANCEL_WAIT;
    }
    return passed_ms >= close_ms + port->engine->cancel_abandon_ms ? IOCP_CANCEL_ABANDON
                                                                   : IOCP_CANCEL_WAIT;
}

/* Whether all completions that have come are run. After many cancels at once, or after the thread
 * was stalled, the completion of a cancel may only be waiting in the port. A port that is saturated
 * for very long counts as done. */
static bool completions_are_run(struct engine_port *port, uint64_t now_ms) {
    enum { CLOSES = 10 };
    if (!port->is_saturated) {
        port->saturated_since_ms = 0;
        return true;
    }
    if (port->saturated_since_ms == 0) {
        port->saturated_since_ms = now_ms;
    }
    return now_ms - port->saturated_since_ms >= CLOSES * (uint64_t)port->engine->cancel_close_ms;
}

/* -- sockets of connections ------------------------------------------------ */

bool engine_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                            struct engine_receive *receive, struct engine_op *send) {
    uint64_t now_ms = os_now_ms();
    struct iocp_closed *closed =
        completions_are_run(port, now_ms) ? alloc_zeroed(sizeof(*closed)) : NULL;
    if (!closed) {
        return false;
    }
    closed->since_ms = now_ms;
    if (receive) {
        closed->receive = iocp_op_of(&receive->op);
        closed->receive->socket = ENGINE_NO_SOCKET.handle;
    }
    if (send) {
        closed->send = iocp_op_of(send);
        closed->send->socket = ENGINE_NO_SOCKET.handle;
        iocp_transmit_close(closed->send);
    }
    DL_APPEND(port->closed, closed);
    iocp_socket_close(port->engine, (SOCKET)socket->handle, true);
    *socket = ENGINE_NO_SOCKET;
    iocp_cancel_tell_closed(receive && send ? "receive and the send of a connection"
                            : receive       ? "receive of a connection"
                                            : "send of a connection");
    return true;
}

void iocp_closed_forget(struct engine_port *port, const struct iocp_op *op) {
    struct iocp_closed *one;
    struct iocp_closed *next;
    DL_FOREACH_SAFE(port->closed, one, next) {
        one->receive = one->receive == op ? NULL : one->receive;
        one->send = one->send == op ? NULL : one->send;
        if (!one->receive && !one->send) {
            DL_DELETE(port->closed, one);
            alloc_free(one);
        }
    }
}

/* An operation in the port's own queues completes without the system. */
static bool is_in_system(const struct iocp_op *op) {
    return op && (op->kind == IOCP_SEND || op->where == IOCP_POSTED);
}

/* Completions may change the list: each check finishes one socket only. */
static void closed_end(struct engine_port *port, uint64_t now_ms) {
    struct iocp_closed *one;
    DL_FOREACH(port->closed, one) {
        if (now_ms - one->since_ms >= port->engine->cancel_abandon_ms) {
            struct iocp_op *receive = is_in_system(one->receive) ? one->receive : NULL;
            struct iocp_op *send = is_in_system(one->send) ? one->send : NULL;
            one->receive = one->receive == receive ? NULL : one->receive;
            one->send = one->send == send ? NULL : one->send;
            if (!one->receive && !one->send) {
                DL_DELETE(port->closed, one);
                alloc_free(one);
            }
            if (receive) {
                iocp_armed_buffer_give(port, receive);
                iocp_abandon(port, receive, "receive of a connection");
            }
            if (send) {
                iocp_transmit_abandon(send);
                iocp_abandon(port, send, "send of a connection");
            }
            return;
        }
    }
}

/* -- all of a port --------------------------------------------------------- */

void iocp_cancels_check(struct engine_port *port) {
    if (!port->acceptors && !port->receivers && !port->disconnects && !port->cancelled &&
        !port->closed) {
        return;
    }
    uint64_t now_ms = os_now_ms();
    uint64_t pause_ms = port->engine->cancel_close_ms / 4;
    if (now_ms - port->cancels_checked_ms < (pause_ms < CHECK_MS ? pause_ms : CHECK_MS)) {
        return;
    }
    if (!completions_are_run(port, now_ms)) {
        return;
    }
    port->cancels_checked_ms = now_ms;
    iocp_accepts_end(port, now_ms);
    iocp_connects_end(port, now_ms);
    iocp_disconnects_end(port, now_ms);
    iocp_receivers_end(port, now_ms);
    closed_end(port, now_ms);
}
