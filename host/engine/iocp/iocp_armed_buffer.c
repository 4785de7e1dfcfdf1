/* iocp_armed_buffer.c: receives of zero-byte mode that have a buffer for a limited time.
 *
 * A receive of no bytes pins no memory, but the data that it announces needs a second call. A
 * client that has just connected, or has just sent data, mostly sends more soon; then a posted
 * buffer saves that call. So a port posts such receives with a buffer each, as in buffered mode.
 * Their number is limited, so that they need little memory in any case, and so is their time: a
 * receive for which no data comes in a while is cancelled and posted again with no bytes.
 * Cancelling a receive loses no data: data that came first is delivered, as after any
 * engine_receive_stop(). When memory is short, all these buffers are given back at once.
 *
 * A client that sends more, but not soon, would cost a post, a cancel and another post each time,
 * and many such clients would use all the buffers. So after a long gap a receive gets no buffer
 * until data comes soon after the last data. The time of the last data is stored in a few bits that
 * wrap around, so that sometimes a receive gets a buffer after a very long gap, without need. */
#include "engine/iocp/iocp.h"

#include "base/assert.h"

enum {
    ARMED_BUFFER_MS = 1000, /* after so long without data the buffer goes back */
    ARMED_BUFFERS_CHECK_MS = 250,
    TICK_SHIFT = 8, /* a tick is 256 ms; op->last_tick counts ticks */
    TICKS = 32,
    TICKS_SOON = 2, /* "soon": at most so many ticks have begun since; covers at least 512 ms */
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

/* Finding nothing to cancel means that data has come. */
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
