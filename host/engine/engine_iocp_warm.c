/* engine_iocp_warm.c: receives of zero-byte mode that have a buffer for a while.
 *
 * A receive of no bytes pins no memory, but what it announces must be fetched by a second call.
 * Where more is about to come that call is waste: a client that has just come, or has just sent
 * something, mostly goes on soon. So a port lends such receives a buffer each, as one of buffered
 * mode has it, to so many of them that it is little memory whatever happens, and not for long:
 * those for which nothing has come in a while are cancelled and go on with no bytes. The cancelling
 * of a receive takes nothing from the stream: what came first is delivered, as after any
 * engine_receive_stop(). Should memory be short, all of them are given back at once.
 *
 * A client that goes on, but not soon, would cost a post, a cancel and another post each time, and
 * of many such clients all the buffers. So who took long has none for what comes next, until
 * something comes soon after the last. The time of that is kept in few bits, which an hour fills as
 * well as a second: now and then one that took very long gets a buffer it does not need. */
#include "engine/engine_iocp.h"

#include "base/assert.h"

enum {
    WARM_MS = 1000, /* nothing came for so long: the buffer goes back */
    WARM_CHECK_MS = 250,
    BEAT_SHIFT = 8, /* a beat is 256 ms, of which op->beat counts */
    BEATS = 32,
    BEATS_SOON = 2, /* beats of which at most so many have begun since: at least half a second */
};

bool iocp_warm_take(struct engine_port *port, struct iocp_op *op) {
    if (op->cold || port->starving || port->warm_count == IOCP_WARM_MAX) {
        return false;
    }
    ASSERT(op->warm == 0);
    port->warm[port->warm_count++] = (struct iocp_warm){op, os_now_ms()};
    op->warm = (uint16_t)port->warm_count;
    return true;
}

void iocp_warm_give(struct engine_port *port, struct iocp_op *op) {
    if (op->warm == 0) {
        return;
    }
    struct iocp_warm *place = &port->warm[op->warm - 1];
    ASSERT(place->op == op);
    *place = port->warm[--port->warm_count]; /* the last one fills the gap */
    place->op->warm = op->warm;
    op->warm = 0;
}

static unsigned beat_now(void) {
    return (unsigned)(os_now_ms() >> BEAT_SHIFT) % BEATS;
}

bool iocp_warm_is_soon(const struct iocp_op *op) {
    return (beat_now() + BEATS - op->beat) % BEATS <= BEATS_SOON;
}

void iocp_warm_note(struct iocp_op *op) {
    op->beat = beat_now() & (BEATS - 1);
}

/* Finding nothing to cancel means that something has come. */
static void cool(struct engine_port *port, struct iocp_op *op) {
    iocp_warm_give(port, op);
    op->cooling = true;
    port->engine->winsock->cancel((HANDLE)(SOCKET)op->socket, &op->overlapped);
}

void engine_port_trim(struct engine_port *port) {
    while (port->warm_count > 0) {
        cool(port, port->warm[port->warm_count - 1].op);
    }
}

void iocp_warm_check(struct engine_port *port) {
    if (port->warm_count == 0) {
        return;
    }
    uint64_t now_ms = os_now_ms();
    if (!port->starving && now_ms - port->warm_checked_ms < WARM_CHECK_MS) {
        return;
    }
    port->warm_checked_ms = now_ms;
    for (unsigned i = port->warm_count; i > 0; i--) { /* backwards: the last one may move to i */
        struct iocp_op *op = port->warm[i - 1].op;
        if (port->starving || now_ms - port->warm[i - 1].since_ms >= WARM_MS) {
            cool(port, op);
        }
    }
}
