/* linux_check.c: asserts what holds of a port between two turns: its counts match its lists. */
#include "base/assert.h"
#include "engine/linux/linux.h"

static unsigned list_count(const struct op_list *list) {
    unsigned count = 0;
    const struct engine_op *last = NULL;
    for (struct engine_op *op = list->first; op; op = op_private_of(op)->next) {
        last = op;
        count++;
    }
    ASSERT(!list->first || list->last == last);
    return count;
}

static void acceptor_check(const struct engine_acceptor *acceptor) {
    ASSERT(acceptor->posted_count == list_count(&acceptor->posted));
    ASSERT(acceptor->leaving_count == list_count(&acceptor->leaving));
    ASSERT(acceptor->posted_count + acceptor->leaving_count <= acceptor->started);
    ASSERT(acceptor->life != LINUX_ACCEPTOR_SERVING);
    if (acceptor->receiver) {
        return;
    }
    ASSERT(acceptor->life == LINUX_ACCEPTOR_OPEN || acceptor->started == 0);
    if (acceptor->port->engine->backend->acceptor_check) {
        acceptor->port->engine->backend->acceptor_check(acceptor);
    }
}

void linux_port_check(const struct engine_port *port) {
    unsigned started = 0;
    for (const struct engine_acceptor *one = port->acceptors; one; one = one->next) {
        ASSERT(one->port == port);
        acceptor_check(one);
        started += one->receiver ? 0 : one->started;
    }
    ASSERT(started + list_count(&port->deferred) <= port->pending);
    ASSERT(list_count(&port->waiting_for_buffer) <= port->pending);
}
