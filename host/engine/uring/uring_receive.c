/* uring_receive.c: multishot receives out of one ring of provided buffers a port.
 *
 * Idle connections own no memory: the kernel picks a buffer when bytes come. The ring starts small,
 * so that its buffers stay in the cache (64 of 16 KiB: one mebibyte), and doubles when receives
 * find it empty (ENOBUFS). Those receives go on in the order they came, as buffers come back.
 *
 * Bursts: a receive ends after a few buffers (engine_port_options.burst_buffers) and is armed again
 * after the others. So a connection that sends much delays the others by no more than a burst, and
 * takes no more memory than that once its owner has stopped the receive. A receive that finds a
 * whole burst as soon as it is armed is greedy: from then on it gets a single buffer at a time,
 * until one is not full. Where the kernel cannot limit a receive, it is cancelled after a burst.
 *
 * Early receives: while the port is saturated, a client's first receive is tried before it is
 * armed. Most clients have sent data by then, and the completion would otherwise wait until all
 * others have been served once more.
 *
 * A slot is filled again right after its delivery: the source returns the buffer that was given
 * back last, which is the one that the callback has just released and the cache still holds. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/uring/uring.h"

enum {
    END_READS_MAX = 4, /* reads of what comes before a FIN, at a time */
    BUFFERS_LEAST = 8, /* of a ring, however short memory is */
};

/* -- the ring of buffers --------------------------------------------------- */

static size_t ring_bytes(const struct uring_port *port) {
    return port->buffer_entries * sizeof(struct io_uring_buf);
}

/* The ring is empty at first. 0, or an errno. */
static int register_ring(struct uring_port *port) {
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)port->buffer_ring,
        .ring_entries = port->buffer_entries,
        .bgid = URING_BUFFER_GROUP,
    };
    int code = -uring_calls.register_buffers(&port->ring, &registration, 0);
    if (code == 0) {
        io_uring_buf_ring_init(port->buffer_ring);
    }
    return code;
}

static bool create_ring(struct uring_port *port, struct error *error) {
    void *memory = linux_calls.mmap(NULL, ring_bytes(port), PROT_READ | PROT_WRITE,
                                    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) {
        return error_set(error, "a ring of buffers: %s", linux_reason(errno));
    }
    port->buffer_ring = memory;
    int code = register_ring(port);
    if (code != 0) {
        linux_calls.munmap(memory, ring_bytes(port));
        return error_set(error, "registering a ring of buffers: %s", linux_reason(code));
    }
    return true;
}

static void uring_receive_put(struct uring_port *port, uint16_t slot) {
    const struct engine_buffer *buffer = &port->slots[slot];
    io_uring_buf_ring_add(port->buffer_ring, buffer->bytes, buffer->size, slot,
                          (int)port->buffer_entries - 1, 0);
    io_uring_buf_ring_advance(port->buffer_ring, 1);
    port->buffer_count++;
}

static void buffers_refill(struct uring_port *port) {
    while (!port->buffers_lost && port->buffer_count < port->buffer_target) {
        uint16_t slot = port->empty_slots[port->empty_count - 1];
        if (!port->common.source.take(port->common.source.context, &port->slots[slot])) {
            return; /* no memory now: tried again at the next turn */
        }
        port->empty_count--;
        uring_receive_put(port, slot);
    }
}

bool uring_buffers_init(struct uring_port *port, const struct engine_port_options *options,
                        struct error *error) {
    port->buffer_entries = options->receive_buffers_max;
    port->buffer_target = options->receive_buffers;
    port->buffer_first = options->receive_buffers;
    ASSERT((port->buffer_entries & (port->buffer_entries - 1)) == 0);
    ASSERT(port->buffer_target <= port->buffer_entries);
    port->slots = alloc_array(port->buffer_entries, sizeof(*port->slots));
    port->empty_slots = alloc_array(port->buffer_entries, sizeof(*port->empty_slots));
    if (!port->slots || !port->empty_slots) {
        error_set(error, "out of memory");
        goto fail;
    }
    if (!create_ring(port, error)) {
        goto fail;
    }
    for (unsigned i = port->buffer_entries; i-- > 0;) {
        port->empty_slots[port->empty_count++] = (uint16_t)i;
    }
    buffers_refill(port);
    return true;

fail:
    alloc_free(port->slots);
    alloc_free(port->empty_slots);
    return false;
}

/* The ring is no longer registered with the kernel. */
static void buffers_give_back(struct uring_port *port) {
    for (unsigned i = 0; i < port->buffer_entries; i++) {
        if (port->slots[i].owner) {
            port->common.source.give(port->common.source.context, port->slots[i].owner);
            port->slots[i].owner = NULL;
            port->empty_slots[port->empty_count++] = (uint16_t)i;
        }
    }
    port->buffer_count = 0;
}

/* As many buffers as at the start. Where there was no memory for as many, half of what the ring
 * has: it would otherwise take all the memory, and leave none for sends. It grows again as receives
 * find it empty. */
static unsigned target_in_shortage(const struct uring_port *port) {
    if (port->buffer_count >= port->buffer_target || port->buffer_count > port->buffer_first) {
        return port->buffer_target < port->buffer_first ? port->buffer_target : port->buffer_first;
    }
    unsigned least = port->buffer_first < BUFFERS_LEAST ? port->buffer_first : BUFFERS_LEAST;
    return port->buffer_count / 2 > least ? port->buffer_count / 2 : least;
}

/* The kernel returns single buffers by receives only, so the whole ring is unregistered and
 * registered anew. That is safe only while the kernel has used no buffer that is not accounted for
 * here: no completion is ready, and none comes before it is asked for (DEFER_TASKRUN). A receive
 * that finds no ring ends with ENOBUFS, like one that finds it empty. */
void uring_buffers_trim(struct engine_port *common) {
    struct uring_port *port = uring_of(common);
    port->buffer_target = target_in_shortage(port);
    bool is_larger = port->buffer_count > port->buffer_target;
    if (!is_larger || (port->common.engine->uring_flags & IORING_SETUP_DEFER_TASKRUN) == 0 ||
        uring_calls.ready(&port->ring) > 0 || uring_calls.has_overflow(&port->ring) ||
        uring_calls.unregister_buffers(&port->ring, URING_BUFFER_GROUP) != 0) {
        return; /* buffers that are used from now on are not replaced: the ring shrinks */
    }
    buffers_give_back(port);
    port->buffers_lost = register_ring(port) != 0;
    buffers_refill(port);
}

/* The kernel had no memory to register the ring again: this tries once more. */
static void buffers_restore(struct uring_port *port) {
    if (port->buffers_lost && register_ring(port) == 0) {
        port->buffers_lost = false;
    }
}

void uring_buffers_fini(struct uring_port *port) {
    uring_calls.unregister_buffers(&port->ring, URING_BUFFER_GROUP);
    linux_calls.munmap(port->buffer_ring, ring_bytes(port));
    buffers_give_back(port);
    alloc_free(port->slots);
    alloc_free(port->empty_slots);
}

static struct engine_buffer buffer_taken(struct uring_port *port, uint32_t flags) {
    ASSERT((flags & IORING_CQE_F_BUFFER) != 0);
    uint16_t slot = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
    struct engine_buffer buffer = port->slots[slot];
    ASSERT(buffer.owner);
    port->slots[slot].owner = NULL;
    port->empty_slots[port->empty_count++] = slot;
    port->buffer_count--;
    return buffer;
}

static void buffer_unused(struct uring_port *port, uint32_t flags) {
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        port->common.source.give(port->common.source.context, buffer_taken(port, flags).owner);
    }
}

/* -- receives -------------------------------------------------------------- */

static void uring_receive_wait_for_buffer(struct uring_port *port, struct engine_receive *receive) {
    op_private_of(&receive->op)->waiting_for_buffer = true;
    list_append(&port->common.waiting_for_buffer, &receive->op);
}

/* 0 is the peer's FIN. Without memory, the system's or the host's, the receive waits with the
 * others that wait for a buffer. It is not tried again at once, because it would fail again. */
static void uring_receive_failed(struct uring_port *port, struct engine_receive *receive,
                                 int code) {
    int64_t result = linux_translate(code);
    if (result != ENGINE_E_NO_RESOURCES) {
        linux_complete(&port->common, &receive->op, result);
    } else if (op_private_of(&receive->op)->stopping) {
        linux_complete(&port->common, &receive->op, ENGINE_E_CANCELLED);
    } else {
        linux_make_late(&port->common);
        uring_receive_wait_for_buffer(port, receive);
    }
}

/* For the peer's FIN alone a poll costs less than a receive that finds nothing, and takes no
 * buffer. */
static void end_await(struct uring_port *port, struct engine_receive *receive) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_poll_add(sqe, op_private_of(&receive->op)->fd, POLLIN);
    uring_mark(sqe, receive, TAG_RECEIVE);
    op_private_of(&receive->op)->armed = true;
}

/* Bytes before the FIN are discarded in the kernel, by MSG_TRUNC without a buffer: tcp(7). */
static void end_polled(struct uring_port *port, struct engine_receive *receive, int32_t result) {
    struct op_private *private = op_private_of(&receive->op);
    private->armed = false;
    if (result < 0 || private->stopping) {
        uring_receive_failed(port, receive, private->stopping ? ECANCELED : -result);
        return;
    }
    ssize_t size = 1;
    uint64_t thrown_away = 0;
    for (unsigned i = 0; i < END_READS_MAX && size > 0; i++) {
        size = linux_calls.recv(private->fd, NULL, INT_MAX, MSG_DONTWAIT | MSG_TRUNC);
        thrown_away += size > 0 ? (uint64_t)size : 0;
    }
    int code = size < 0 ? errno : 0;
    if (thrown_away > 0) {
        struct engine_buffer none = {0};
        linux_deliver(&port->common, receive, none,
                      thrown_away < UINT32_MAX ? (uint32_t)thrown_away : UINT32_MAX);
    }
    if (private->stopping) {
        linux_defer(&port->common, &receive->op, ENGINE_E_CANCELLED);
    } else if (size > 0 || code == EAGAIN || code == EINTR) {
        end_await(port, receive);
    } else {
        uring_receive_failed(port, receive, code); /* 0: the FIN */
    }
}

static void uring_receive_submit(struct uring_port *port, struct engine_receive *receive) {
    struct op_private *private = op_private_of(&receive->op);
    if (private->is_end) {
        end_await(port, receive);
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(port);
    if (private->greedy) {
        io_uring_prep_recv(sqe, private->fd, NULL, 0, 0);
    } else {
        io_uring_prep_recv_multishot(sqe, private->fd, NULL, 0, 0);
        uring_limit_receive(sqe, port->burst_bytes);
    }
    uring_aim(sqe, private->fd);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    uring_mark(sqe, receive, TAG_RECEIVE);
    private->armed = true;
    private->lap = port->lap;
    private->burst = 0;
}

/* The receive has delivered all it may. It becomes greedy if all that was there at once. */
static void uring_receive_note_end(const struct uring_port *port, struct op_private *private,
                                   bool is_full) {
    bool at_once = (uint8_t)(port->lap - private->lap) <= 1;
    private->greedy = at_once && (is_full || !private->greedy);
}

/* A receive that the kernel does not limit has delivered once more. A cancel that comes while the
 * receive runs may not find it: it is repeated after the next burst. */
static void note_more(struct uring_port *port, struct engine_receive *receive) {
    struct op_private *private = op_private_of(&receive->op);
    if (private->lap != port->lap) {
        private->lap = port->lap;
        private->burst = 0;
    }
    private->burst = (private->burst + 1) & LINUX_BURST_MAX;
    if (private->burst == port->burst_max && !private->stopping) {
        private->greedy = true;
        uring_cancel(port, receive, TAG_RECEIVE);
    }
}

/* While the port is saturated a connection's first receive is tried at the next turn, and armed
 * when there is nothing yet; except on a socket that only the ring can receive from. */
void uring_receive_arm(struct engine_port *common, struct engine_receive *receive) {
    struct uring_port *port = uring_of(common);
    struct op_private *private = op_private_of(&receive->op);
    if (!port->saturated || !private->is_first || !linux_fd_is_descriptor(private->fd)) {
        uring_receive_submit(port, receive);
        return;
    }
    private->armed = true;
    private->early = true;
    list_append(&port->early, &receive->op);
}

/* An early receive ends when it would be tried. */
void uring_receive_disarm(struct engine_port *port, struct engine_receive *receive) {
    if (!op_private_of(&receive->op)->early) {
        uring_cancel(uring_of(port), receive, TAG_RECEIVE);
    }
}

/* The receive is neither armed nor waiting: it is armed again, or completes for the last time. */
static void uring_receive_go_on(struct uring_port *port, struct engine_receive *receive) {
    if (op_private_of(&receive->op)->stopping) {
        linux_defer(&port->common, &receive->op, ENGINE_E_CANCELLED);
    } else {
        uring_receive_submit(port, receive);
    }
}

static void uring_receive_deliver(struct uring_port *port, struct engine_receive *receive,
                                  int32_t result, uint32_t flags) {
    struct engine_buffer buffer = buffer_taken(port, flags);
    bool more = (flags & IORING_CQE_F_MORE) != 0;
    bool was_stopping = op_private_of(&receive->op)->stopping;
    op_private_of(&receive->op)->armed = more;
    if (!more) {
        uring_receive_note_end(port, op_private_of(&receive->op), (uint32_t)result == buffer.size);
    } else if (port->burst_bytes == 0) {
        note_more(port, receive);
    }
    linux_deliver(&port->common, receive, buffer, (uint32_t)result);
    if (!more) {
        uring_receive_go_on(port, receive);
    } else if (was_stopping) { /* it was running, and the cancel may not have found it: once more */
        uring_receive_disarm(&port->common, receive);
    }
    buffers_refill(port);
}

static void try_early(struct uring_port *port, struct engine_receive *receive) {
    const struct engine_buffer_source *source = &port->common.source;
    struct op_private *private = op_private_of(&receive->op);
    struct engine_buffer buffer;
    private->early = false;
    private->armed = false;
    if (private->stopping) {
        linux_complete(&port->common, &receive->op, ENGINE_E_CANCELLED);
        return;
    }
    if (!source->take(source->context, &buffer)) {
        uring_receive_wait_for_buffer(port, receive);
        return;
    }
    ssize_t size = linux_calls.recv(private->fd, buffer.bytes, buffer.size, MSG_DONTWAIT);
    int code = size < 0 ? errno : 0;
    if (size > 0) {
        linux_deliver(&port->common, receive, buffer, (uint32_t)size);
        uring_receive_go_on(port, receive);
        return;
    }
    source->give(source->context, buffer.owner);
    if (code == EAGAIN || code == EINTR) {
        uring_receive_submit(port, receive);
    } else {
        uring_receive_failed(port, receive, code);
    }
}

/* Receives that are added meanwhile are tried in the next turn. */
void uring_receive_early(struct uring_port *port) {
    struct op_list list = port->early;
    port->early = (struct op_list){0};
    for (struct engine_op *op = list_take(&list); op; op = list_take(&list)) {
        try_early(port, CONTAINER_OF(op, struct engine_receive, op));
    }
}

/* Many receives may find the same ring empty, so it grows at most once a turn. */
static void uring_receive_grow(struct uring_port *port) {
    if (!port->grown && port->buffer_target < port->buffer_entries) {
        port->grown = true;
        port->buffer_target *= 2;
        if (port->buffer_target > port->buffer_entries) {
            port->buffer_target = port->buffer_entries;
        }
    }
}

void uring_receive_completed(struct uring_port *port, struct engine_receive *receive,
                             int32_t result, uint32_t flags) {
    struct op_private *private = op_private_of(&receive->op);
    if (private->is_end) {
        end_polled(port, receive, result);
        return;
    }
    if (result > 0) {
        uring_receive_deliver(port, receive, result, flags);
        return;
    }
    buffer_unused(port, flags);
    private->armed = (flags & IORING_CQE_F_MORE) != 0;
    if (private->armed) {
        return;
    }
    switch (-result) {
    case ENOBUFS:
        if (private->stopping) {
            linux_defer(&port->common, &receive->op, ENGINE_E_CANCELLED);
        } else {
            uring_receive_grow(port);
            uring_receive_wait_for_buffer(port, receive);
        }
        break;
    case EAGAIN:
        if (linux_fd_is_descriptor(private->fd)) {
            linux_make_waitable(private->fd);
        }
        uring_receive_go_on(port, receive);
        break;
    case EINTR:
        uring_receive_go_on(port, receive);
        break;
    case ECANCELED:
        if (private->stopping) {
            linux_complete(&port->common, &receive->op, ENGINE_E_CANCELLED);
        } else {
            uring_receive_go_on(port, receive); /* cancelled at the end of its burst */
        }
        break;
    default:
        uring_receive_failed(port, receive, -result);
        break;
    }
}

/* -- what waits for a buffer ----------------------------------------------- */

void uring_feed(struct engine_port *common) {
    struct uring_port *port = uring_of(common);
    buffers_restore(port);
    if (port->buffer_count < port->buffer_target) {
        buffers_refill(port);
    }
    if (common->late_ms > 0) {
        return;
    }
    if (port->wake_lost) {
        port->wake_lost = false;
        uring_arm_wake(port);
    }
    struct engine_op *op = NULL;
    const struct engine_op *last =
        common->waiting_for_buffer.last; /* what is appended after it was tried in this loop */
    for (unsigned i = 0; i < port->buffer_count && common->waiting_for_buffer.first && op != last;
         i++) {
        op = list_take(&common->waiting_for_buffer);
        if (op_private_of(op)->is_accept) {
            linux_first_data_try(CONTAINER_OF(op, struct engine_accept, op));
        } else {
            op_private_of(op)->waiting_for_buffer = false;
            uring_receive_submit(port, CONTAINER_OF(op, struct engine_receive, op));
        }
    }
}

/* -- the first data of an accept ------------------------------------------- */

/* A receive in the ring finds what is there when it is submitted, without a system call of its own:
 * that takes 2 to 5 % less time for short-lived connections, and 7 % where the server closes
 * (tests/bench/PROFILE.md, Short-lived connections). But while the port is saturated its completion
 * waits in the queue. And where sockets are registered, a client that has sent its data would be
 * put into the table for nothing. */
bool uring_looks_at_once(const struct engine_port *common) {
    const struct uring_port *port = (const struct uring_port *)common;
    return port->saturated || port->direct_count > 0;
}

/* A client that sends nothing at once may stay silent for long, and there may be many such clients:
 * where sockets are registered, they need no descriptor. */
void uring_first_data_await(struct engine_port *port, struct engine_accept *accept) {
    engine_attach(port, &accept->socket, NULL);
    accept->home = !linux_has_descriptor(accept->socket) ? port : NULL;
    struct io_uring_sqe *sqe = uring_sqe(uring_of(port));
    io_uring_prep_recv(sqe, accept->socket.handle, NULL, 0, 0);
    uring_aim(sqe, accept->socket.handle);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    uring_mark(sqe, accept, TAG_FIRST_DATA);
}

void uring_first_data_forget(struct engine_port *port, struct engine_accept *accept) {
    uring_cancel(uring_of(port), accept, TAG_FIRST_DATA);
}

void uring_first_data_completed(struct uring_port *port, struct engine_accept *accept,
                                int32_t result, uint32_t flags) {
    if (result > 0) {
        accept->data = buffer_taken(port, flags);
        accept->data.size = (uint32_t)result;
        linux_first_data_end(accept, result);
        buffers_refill(port);
        return;
    }
    buffer_unused(port, flags);
    if (result != -ENOBUFS) {
        linux_first_data_end(accept, result);
        return;
    }
    uring_receive_grow(port);
    if (!linux_has_descriptor(accept->socket)) {
        linux_first_data_wait_for_buffer(accept);
    } else { /* the client has sent data, and the source may have a buffer all the same */
        linux_first_data_try(accept);
    }
}
