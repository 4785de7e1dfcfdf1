/* What holds of a port between two turns: its counts are those of its lists. */
#include <utlist.h>

#include "base/assert.h"
#include "engine/engine_iocp.h"

static void warm_check(const struct engine_port *port) {
    ASSERT(port->warm_count <= IOCP_WARM_MAX);
    for (unsigned i = 0; i < port->warm_count; i++) {
        ASSERT(port->warm[i].op->warm == i + 1);
    }
}

void iocp_port_check(const struct engine_port *port) {
    const struct iocp_op *op;
    unsigned starving = 0;
    unsigned ready = 0;
    DL_FOREACH2(port->starving, op, queued.next) {
        ASSERT(op->where == IOCP_STARVING);
        starving++;
    }
    DL_FOREACH2(port->ready, op, queued.next) {
        ready++;
    }
    ASSERT(starving == port->starving_count);
    ASSERT(starving + ready + port->transmits_waiting_count <= engine_port_pending(port));
    ASSERT(!port->transmits_waiting == (port->transmits_waiting_count == 0));
    ASSERT(!port->transmits_free == (port->transmits_free_count == 0));
    warm_check(port);
}
