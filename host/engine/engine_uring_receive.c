/* engine_uring_receive.c: multishot receives out of one ring of provided buffers a port.
 *
 * Idle connections own no memory: the kernel picks a buffer when bytes come. The ring starts small,
 * so that its buffers stay in the cache (64 of 16 KiB: one mebibyte), and doubles when receives
 * find it empty (ENOBUFS). Those that did go on in the order they came, as buffers come back.
 *
 * One that brings much at a time ends after a few buffers and is armed again behind the others. So
 * a flood takes neither the turns of others nor more memory than that once its owner has stopped
 * it.
 *
 * A slot is filled again right after its delivery: the source hands out the buffer that was given
 * back last, which is the one the callback has just let go. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/engine_uring.h"

/* -- the ring of buffers ----------------------------------------------------------------------- */

static size_t ring_bytes(const struct engine_port *port) {
    return port->buffer_entries * sizeof(struct io_uring_buf);
}

static bool register_ring(struct engine_port *port, struct error *error) {
    void *memory =
        mmap(NULL, ring_bytes(port), PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) {
        return error_set(error, "a ring of buffers: %s", strerror(errno));
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)memory,
        .ring_entries = port->buffer_entries,
        .bgid = URING_BUFFER_GROUP,
    };
    int code = io_uring_register_buf_ring(&port->ring, &registration, 0);
    if (code != 0) {
        munmap(memory, ring_bytes(port));
        return error_set(error, "registering a ring of buffers: %s (Linux 5.19 or later has them)",
                         strerror(-code));
    }
    port->buffer_ring = memory;
    io_uring_buf_ring_init(port->buffer_ring);
    return true;
}

bool uring_buffers_init(struct engine_port *port, const struct engine_port_options *options,
                        struct error *error) {
    port->buffer_entries = options->receive_buffers_max;
    port->buffer_target = options->receive_buffers;
    ASSERT((port->buffer_entries & (port->buffer_entries - 1)) == 0);
    ASSERT(port->buffer_target <= port->buffer_entries);
    port->slots = alloc_array(port->buffer_entries, sizeof(*port->slots));
    port->empty_slots = alloc_array(port->buffer_entries, sizeof(*port->empty_slots));
    if (!port->slots || !port->empty_slots) {
        error_set(error, "out of memory");
        goto fail;
    }
    if (!register_ring(port, error)) {
        goto fail;
    }
    for (unsigned i = port->buffer_entries; i-- > 0;) {
        port->empty_slots[port->empty_count++] = (uint16_t)i;
    }
    uring_buffers_refill(port);
    return true;

fail:
    alloc_free(port->slots);
    alloc_free(port->empty_slots);
    return false;
}

void uring_buffers_fini(struct engine_port *port) {
    io_uring_unregister_buf_ring(&port->ring, URING_BUFFER_GROUP);
    munmap(port->buffer_ring, ring_bytes(port));
    for (unsigned i = 0; i < port->buffer_entries; i++) {
        if (port->slots[i].owner) {
            port->source.give(port->source.context, port->slots[i].owner);
        }
    }
    alloc_free(port->slots);
    alloc_free(port->empty_slots);
}

static void put(struct engine_port *port, uint16_t slot) {
    const struct engine_buffer *buffer = &port->slots[slot];
    io_uring_buf_ring_add(port->buffer_ring, buffer->bytes, buffer->size, slot,
                          (int)port->buffer_entries - 1, 0);
    io_uring_buf_ring_advance(port->buffer_ring, 1);
    port->buffer_count++;
}

void uring_buffers_refill(struct engine_port *port) {
    while (port->buffer_count < port->buffer_target) {
        uint16_t slot = port->empty_slots[port->empty_count - 1];
        if (!port->source.take(port->source.context, &port->slots[slot])) {
            return; /* no memory now: tried again at the next turn */
        }
        port->empty_count--;
        put(port, slot);
    }
}

struct engine_buffer uring_buffer_taken(struct engine_port *port, uint32_t flags) {
    ASSERT((flags & IORING_CQE_F_BUFFER) != 0);
    uint16_t slot = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
    struct engine_buffer buffer = port->slots[slot];
    ASSERT(buffer.owner);
    port->slots[slot].owner = NULL;
    port->empty_slots[port->empty_count++] = slot;
    port->buffer_count--;
    return buffer;
}

void uring_buffer_unused(struct engine_port *port, uint32_t flags) {
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        port->source.give(port->source.context, uring_buffer_taken(port, flags).owner);
    }
}

/* -- receives ---------------------------------------------------------------------------------- */

static void arm(struct engine_port *port, struct engine_receive *receive) {
    struct op_part *part = part_of(&receive->op);
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_recv_multishot(sqe, part->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    uring_limit_receive(sqe, port->burst_bytes);
    uring_mark(sqe, receive, TAG_RECEIVE);
    part->armed = true;
}

void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode) {
    (void)mode; /* no connection holds a buffer while nothing comes, whatever is asked for */
    *part_of(&receive->op) = (struct op_part){.fd = (int)socket.handle};
    port->pending++;
    arm(port, receive);
}

void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive) {
    struct op_part *part = part_of(&receive->op);
    (void)socket;
    if (part->stopping) {
        return;
    }
    part->stopping = true;
    if (part->armed) {
        uring_cancel(port, receive, TAG_RECEIVE);
    } else if (part->hungry) {
        list_remove(&port->hungry, &receive->op);
        part->hungry = false;
        uring_defer(port, &receive->op, ENGINE_E_CANCELLED);
    }
    /* Else it is being delivered, and its end follows the delivery. */
}

/* The receive is in nobody's hands: the kernel gets it again, or its owner for the last time. */
static void go_on(struct engine_port *port, struct engine_receive *receive) {
    if (part_of(&receive->op)->stopping) {
        uring_defer(port, &receive->op, ENGINE_E_CANCELLED);
    } else {
        arm(port, receive);
    }
}

static void deliver(struct engine_port *port, struct engine_receive *receive, int32_t result,
                    uint32_t flags) {
    struct engine_buffer buffer = uring_buffer_taken(port, flags);
    bool more = (flags & IORING_CQE_F_MORE) != 0;
    buffer.size = (uint32_t)result;
    receive->data = buffer;
    part_of(&receive->op)->armed = more;
    port->ran++;
    receive->op.complete(&receive->op, result); /* not its last: it stays ours */
    if (!more) {
        go_on(port, receive);
    }
    uring_buffers_refill(port);
}

void uring_receive_completed(struct engine_port *port, struct engine_receive *receive,
                             int32_t result, uint32_t flags) {
    struct op_part *part = part_of(&receive->op);
    if (result > 0) {
        deliver(port, receive, result, flags);
        return;
    }
    uring_buffer_unused(port, flags);
    part->armed = (flags & IORING_CQE_F_MORE) != 0;
    if (part->armed) {
        return;
    }
    switch (-result) {
    case ENOBUFS:
        if (part->stopping) {
            uring_defer(port, &receive->op, ENGINE_E_CANCELLED);
        } else {
            part->hungry = true;
            uring_starve(port, &receive->op);
        }
        break;
    case EINTR:
    case EAGAIN:
        go_on(port, receive);
        break;
    default: /* 0 is the peer's FIN */
        uring_complete(port, &receive->op, uring_translate(-result));
        break;
    }
}

/* -- what waits for a buffer ------------------------------------------------------------------- */

void uring_starve(struct engine_port *port, struct engine_op *op) {
    list_append(&port->hungry, op);
    if (!port->grown && port->buffer_target < port->buffer_entries) {
        port->grown = true; /* once a turn: many find the same ring empty */
        port->buffer_target *= 2;
        if (port->buffer_target > port->buffer_entries) {
            port->buffer_target = port->buffer_entries;
        }
    }
}

void uring_feed_hungry(struct engine_port *port) {
    if (port->buffer_count < port->buffer_target) {
        uring_buffers_refill(port);
    }
    for (unsigned i = 0; i < port->buffer_count && port->hungry.first; i++) {
        struct engine_op *op = list_take(&port->hungry);
        if (part_of(op)->is_accept) {
            uring_first_data_arm(CONTAINER_OF(op, struct engine_accept, op));
        } else {
            part_of(op)->hungry = false;
            arm(port, CONTAINER_OF(op, struct engine_receive, op));
        }
    }
}
