/* iocp_armed_buffer.c: receives of zero-byte mode that have a buffer for a while.
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
#include "engine/iocp/iocp.h"

#include "base/assert.h"

enum {
    ARMED_BUFFER_MS = 1000, /* nothing came for so long: the buffer goes back */
    ARMED_BUFFERS_CHECK_MS = 250,
    TICK_SHIFT = 8, /* a beat is 256 ms, of which op->beat counts */
    TICKS = 32,
    TICKS_SOON = 2, /* beats of which at most so many have begun since: at least half a second */
};

bool iocp_armed_buffer_take(struct engine_port *port, struct iocp_op *op) {
    if (op->cold || port->waiting_for_buffer ||
        port->armed_buffer_count == IOCP_ARMED_BUFFERS_MAX) {
        return false;
    }
    ASSERT(op->armed_buffer == 0);
    port->armed_buffers[port->armed_buffer_count++] = (struct iocp_armed_buffer){op, os_now_ms()};
    op->armed_buffer = (uint16_t)port->armed_buffer_count;
    return true;
}

void iocp_armed_buffer_give(struct engine_port *port, struct iocp_op *op) {
    if (op->armed_buffer == 0) {
        return;
    }
    struct iocp_armed_buffer *place = &port->armed_buffers[op->armed_buffer - 1];
    ASSERT(place->op == op);
    *place = port->armed_buffers[--port->armed_buffer_count]; /* the last one fills the gap */
    place->op->armed_buffer = op->armed_buffer;
    op->armed_buffer = 0;
}

static unsigned armed_buffer_tick_now(void) {
    return (unsigned)(os_now_ms() >> TICK_SHIFT) % TICKS;
}

bool iocp_armed_buffer_is_soon(const struct iocp_op *op) {
    return (armed_buffer_tick_now() + TICKS - op->last_tick) % TICKS <= TICKS_SOON;
}

void iocp_armed_buffer_note(struct iocp_op *op) {
    op->last_tick = armed_buffer_tick_now() & (TICKS - 1);
}

/* Finding nothing to cancel means that something has come. */
static void armed_buffer_cancel(struct engine_port *port, struct iocp_op *op) {
    iocp_armed_buffer_give(port, op);
    op->cooling = true;
    port->engine->winsock->cancel((HANDLE)(SOCKET)op->socket, &op->overlapped);
}

void engine_port_trim(struct engine_port *port) {
    while (port->armed_buffer_count > 0) {
        armed_buffer_cancel(port, port->armed_buffers[port->armed_buffer_count - 1].op);
    }
}

void iocp_armed_buffer_check(struct engine_port *port) {
    if (port->armed_buffer_count == 0) {
        return;
    }
    uint64_t now_ms = os_now_ms();
    if (!port->waiting_for_buffer &&
        now_ms - port->armed_buffers_checked_ms < ARMED_BUFFERS_CHECK_MS) {
        return;
    }
    port->armed_buffers_checked_ms = now_ms;
    for (unsigned i = port->armed_buffer_count; i > 0;
         i--) { /* backwards: the last one may move to i */
        struct iocp_op *op = port->armed_buffers[i - 1].op;
        if (port->waiting_for_buffer ||
            now_ms - port->armed_buffers[i - 1].since_ms >= ARMED_BUFFER_MS) {
            armed_buffer_cancel(port, op);
        }
    }
}
