/* iocp_receive.c: receiving.
 *
 * An armed receive is a small state machine. Its steps run in receive_advance(), whatever triggers
 * them (a packet of the port, a synchronous success, memory that is available again):
 *
 *     POST     WSARecv, of no bytes or into a buffer; pending, it waits for its packet
 *     READ     recv into a buffer, without blocking
 *     DELIVER  the bytes to the owner
 *     END      the last completion
 *
 * A step that needs a buffer and gets none puts the receive into the port's queue of receives that
 * wait for a buffer, and so does a system that is out of memory; the queue is served in order at
 * every pass.  */
#include "engine/iocp/iocp.h"

#include <utlist.h>

#include "base/assert.h"

static struct iocp_receive *iocp_receive_of(struct iocp_op *op) {
    return CONTAINER_OF(op, struct iocp_receive, op);
}

const struct engine_buffer *engine_received(const struct engine_port *port) {
    return &port->received;
}

/* -- memory ---------------------------------------------------------------- */

static bool buffer_have(struct engine_port *port, struct iocp_op *op) {
    struct iocp_receive *receive = iocp_receive_of(op);
    struct engine_buffer buffer;
    if (receive->owner) {
        return true;
    }
    if (!port->buffers.take(port->buffers.context, &buffer)) {
        return false;
    }
    receive->owner = buffer.owner;
    return true;
}

static void iocp_receive_buffer_give(struct engine_port *port, struct iocp_op *op) {
    struct iocp_receive *receive = iocp_receive_of(op);
    if (receive->owner) {
        port->buffers.give(port->buffers.context, receive->owner);
        receive->owner = NULL;
    }
}

static enum iocp_step iocp_receive_wait_for_buffer(struct engine_port *port, struct iocp_op *op,
                                                   enum iocp_step step) {
    op->where = IOCP_WAITING_FOR_BUFFER;
    op->step = (uint8_t)step;
    DL_APPEND2(port->waiting_for_buffer, op, queued.prev, queued.next);
    port->waiting_for_buffer_count++;
    return IOCP_STEP_NONE;
}

static void iocp_receive_stop_waiting(struct engine_port *port, struct iocp_op *op) {
    DL_DELETE2(port->waiting_for_buffer, op, queued.prev, queued.next);
    port->waiting_for_buffer_count--;
}

/* -- the steps of a receive ------------------------------------------------ */

static void receive_defer(struct engine_port *port, struct iocp_op *op, enum iocp_step step,
                          int64_t result) {
    op->where = IOCP_READY;
    op->step = (uint8_t)step;
    iocp_defer(port, op, result);
}

/* The system has no memory for a receive. A posted buffer has to be pinned, so a receive with a
 * buffer tries again without one; a receive without a buffer waits. */
static enum iocp_step receive_without_memory(struct engine_port *port, struct iocp_op *op) {
    iocp_receive_buffer_give(port, op);
    if (op->zero_now) {
        return iocp_receive_wait_for_buffer(port, op, IOCP_STEP_POST);
    }
    op->zero_now = true;
    op->cold = true;
    return IOCP_STEP_POST;
}

/* A receive of zero-byte mode may get a buffer for a limited time, when one is available. */
static void iocp_receive_take_armed_buffer(struct engine_port *port, struct iocp_op *op) {
    if (op->zero_mode && op->zero_now && iocp_armed_buffer_take(port, op)) {
        op->zero_now = !buffer_have(port, op);
        if (op->zero_now) {
            iocp_armed_buffer_give(port, op);
        }
    }
}

/* The next step after a WSARecv that is not pending. */
static enum iocp_step receive_posted(struct engine_port *port, struct iocp_op *op, bool fine,
                                     int64_t *result) {
    iocp_armed_buffer_give(port, op);
    op->where = IOCP_RUNNING;
    if (!fine) {
        return *result == ENGINE_E_NO_RESOURCES ? receive_without_memory(port, op) : IOCP_STEP_END;
    }
    if (op->zero_now) {
        return IOCP_STEP_READ;
    }
    return *result > 0 ? IOCP_STEP_DELIVER : IOCP_STEP_END;
}

static enum iocp_step receive_post(struct engine_port *port, struct iocp_op *op, int64_t *result) {
    const struct winsock_table *winsock = port->engine->winsock;
    struct iocp_receive *receive = iocp_receive_of(op);
    iocp_receive_take_armed_buffer(port, op);
    if (!op->zero_now && !buffer_have(port, op)) {
        return iocp_receive_wait_for_buffer(port, op, IOCP_STEP_POST);
    }
    WSABUF buffer = {0, NULL};
    if (!op->zero_now) {
        buffer = (WSABUF){port->buffers.capacity, (char *)port->buffers.bytes(receive->owner)};
    }
    op->where = IOCP_POSTED;
    op->overlapped = (OVERLAPPED){0};
    DWORD received = 0;
    DWORD flags = 0;
    if (winsock->wsa_recv((SOCKET)op->socket, &buffer, 1, &received, &flags, &op->overlapped,
                          NULL) == 0) {
        if (!port->engine->skip_success) {
            return IOCP_STEP_NONE; /* its packet completes it */
        }
        *result = received;
        return receive_posted(port, op, true, result);
    }
    unsigned long code = (unsigned long)winsock->last_error();
    if (code == WSA_IO_PENDING) {
        return IOCP_STEP_NONE;
    }
    *result = iocp_error(code);
    return receive_posted(port, op, false, result);
}

static enum iocp_step receive_read(struct engine_port *port, struct iocp_op *op, int64_t *result) {
    const struct winsock_table *winsock = port->engine->winsock;
    struct iocp_receive *receive = iocp_receive_of(op);
    if (!buffer_have(port, op)) {
        return iocp_receive_wait_for_buffer(port, op, IOCP_STEP_READ);
    }
    op->zero_now = op->zero_mode;
    int size = (int)port->buffers.capacity;
    int received =
        winsock->recv((SOCKET)op->socket, (char *)port->buffers.bytes(receive->owner), size, 0);
    if (received > 0) {
        /* A full buffer means that there is probably more data; after one that is not full the next
         * read is skipped. */
        op->more = received == size;
        *result = received;
        return IOCP_STEP_DELIVER;
    }
    *result = 0;
    if (received == 0) {
        return IOCP_STEP_END;
    }
    unsigned long code = (unsigned long)winsock->last_error();
    iocp_receive_buffer_give(port, op);
    if (code == WSAEWOULDBLOCK) {
        return IOCP_STEP_POST;
    }
    *result = iocp_error(code);
    return *result == ENGINE_E_NO_RESOURCES ? iocp_receive_wait_for_buffer(port, op, IOCP_STEP_READ)
                                            : IOCP_STEP_END;
}

static enum iocp_step iocp_receive_deliver(struct engine_port *port, struct iocp_op *op,
                                           int64_t result) {
    struct iocp_receive *receive = iocp_receive_of(op);
    struct engine_op *owner = CONTAINER_OF(op, struct engine_op, opaque);
    port->received = (struct engine_buffer){receive->owner, port->buffers.bytes(receive->owner),
                                            (uint32_t)result};
    receive->owner = NULL;
    port->ran++;
    op->cold = !iocp_armed_buffer_is_soon(op);
    iocp_armed_buffer_note(op);
    owner->complete(owner, result);
    op->zero_now = op->zero_mode;
    bool more = op->more;
    op->more = false;
    return more ? IOCP_STEP_READ : IOCP_STEP_POST;
}

static void receive_advance(struct engine_port *port, struct iocp_op *op, enum iocp_step step,
                            int64_t result) {
    op->where = IOCP_RUNNING;
    unsigned turns = 0;
    while (step != IOCP_STEP_NONE) {
        if (op->stopping && (step == IOCP_STEP_POST || step == IOCP_STEP_READ)) {
            step = IOCP_STEP_END;
            result = ENGINE_E_CANCELLED;
        }
        if (step == IOCP_STEP_END) {
            iocp_receive_buffer_give(port, op);
            iocp_finish(port, op, result);
            return;
        }
        if (step == IOCP_STEP_DELIVER) {
            step = iocp_receive_deliver(port, op, result);
            continue;
        }
        /* Every turn begins with a POST or a READ. */
        if (turns++ == port->burst_max) {
            receive_defer(port, op, step, result);
            return;
        }
        step = step == IOCP_STEP_POST ? receive_post(port, op, &result)
                                      : receive_read(port, op, &result);
    }
}

void iocp_receive_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    enum iocp_step step = IOCP_STEP_END;
    int64_t result = bytes;
    unsigned long code = iocp_op_error(port, op);
    bool cooled = op->cooling;
    op->cooling = false;
    op->where = IOCP_RUNNING;
    iocp_armed_buffer_give(port, op);
    if (code != 0) {
        result = iocp_error(code);
        bool goes_on = result == ENGINE_E_NO_RESOURCES || (cooled && result == ENGINE_E_CANCELLED);
        if (goes_on && !op->stopping) {
            step = receive_without_memory(port, op);
        }
    } else if (op->zero_now) {
        step = IOCP_STEP_READ;
    } else if (bytes > 0) {
        step = IOCP_STEP_DELIVER;
    }
    if (step != IOCP_STEP_NONE) {
        receive_advance(port, op, step, result);
    }
}

void iocp_receive_resume(struct engine_port *port, struct iocp_op *op, int64_t result) {
    receive_advance(port, op, (enum iocp_step)op->step, result);
}

void iocp_receives_feed(struct engine_port *port) {
    /* Receives that wait again meanwhile are at the end of the queue and wait for the next pass. */
    for (unsigned left = port->waiting_for_buffer_count; left > 0 && port->waiting_for_buffer;
         left--) {
        struct iocp_op *op = port->waiting_for_buffer;
        bool needs_buffer = op->step == IOCP_STEP_READ || !op->zero_now;
        if (needs_buffer && !buffer_have(port, op)) {
            return; /* it stays first in the queue */
        }
        iocp_receive_stop_waiting(port, op);
        receive_advance(port, op, (enum iocp_step)op->step, 0);
    }
}

void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode,
                          bool is_first) {
    (void)is_first;
    struct iocp_op *op = iocp_op_of(&receive->op);
    iocp_receive_of(op)->owner = NULL;
    iocp_start(port, op, IOCP_RECEIVE, (SOCKET)socket.handle);
    op->zero_mode = mode == ENGINE_RECEIVE_ZERO_BYTE;
    op->zero_now = op->zero_mode;
    iocp_armed_buffer_note(op);
    op->where = IOCP_RUNNING;
    int64_t result = 0;
    enum iocp_step step = receive_post(port, op, &result);
    if (step != IOCP_STEP_NONE) {
        receive_defer(port, op, step, result); /* the caller is not called back from here */
    }
}

/* One receive is posted, which holds no memory: no other way is cheaper. */
void engine_receive_drain(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive) {
    engine_receive_start(port, socket, receive, ENGINE_RECEIVE_ZERO_BYTE, false);
}

void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive) {
    struct iocp_op *op = iocp_op_of(&receive->op);
    if (op->kind != IOCP_RECEIVE || op->stopping) {
        return;
    }
    op->stopping = true;
    if (op->where == IOCP_POSTED) {
        /* Finding nothing to cancel means that the packet is in the port already. */
        port->engine->winsock->cancel((HANDLE)(SOCKET)socket.handle, &op->overlapped);
    } else if (op->where == IOCP_WAITING_FOR_BUFFER) {
        iocp_receive_stop_waiting(port, op);
        receive_defer(port, op, IOCP_STEP_END, ENGINE_E_CANCELLED);
    }
    /* A receive that is ready or running soon gets to receive_advance(), which checks the flag. */
}
