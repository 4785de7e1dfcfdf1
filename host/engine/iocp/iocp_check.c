/* The invariants of a port between two turns: its counts are the lengths of its lists. */
#include <utlist.h>

#include "base/assert.h"
#include "engine/iocp/iocp.h"

static void iocp_check_armed_buffers(const struct engine_port *port) {
    ASSERT(port->armed_buffer_count <= IOCP_ARMED_BUFFERS_MAX);
    for (unsigned i = 0; i < port->armed_buffer_count; i++) {
        ASSERT(port->armed_buffers[i].op->armed_buffer == i + 1);
    }
}

void iocp_port_check(const struct engine_port *port) {
    const struct iocp_op *op;
    unsigned waiting_for_buffer = 0;
    unsigned ready = 0;
    DL_FOREACH2(port->waiting_for_buffer, op, queued.next) {
        ASSERT(op->where == IOCP_WAITING_FOR_BUFFER);
        waiting_for_buffer++;
    }
    DL_FOREACH2(port->ready, op, queued.next) {
        ready++;
    }
    ASSERT(waiting_for_buffer == port->waiting_for_buffer_count);
    ASSERT(waiting_for_buffer + ready + port->transmits_waiting_count <= engine_port_pending(port));
    ASSERT(!port->transmits_waiting == (port->transmits_waiting_count == 0));
    ASSERT(!port->transmits_free == (port->transmits_free_count == 0));
    iocp_check_armed_buffers(port);
}
