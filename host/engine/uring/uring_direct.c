/* uring_direct.c: sockets without a descriptor, for more of them than a process may open.
 *
 * A ring may have a table of files that only this ring can use: direct descriptors. They do not
 * count as descriptors of the process, so many workers hold many connections where the limit of
 * descriptors cannot be raised. (A table has no more slots than that limit, so it takes several
 * rings.)
 *
 * A client is accepted as usual, because its address and options need a descriptor. When its
 * connection is attached to its port, or its first data has to be waited for, the socket gets a
 * slot of the table and the descriptor is closed. A full table refuses no client: the socket keeps
 * its descriptor, and when those run out as well accepting slows down as without a table.
 *
 * From then on only the ring can use the socket. Sends go through it, always pending, with
 * a completion, as on Windows. Shutdown and setting an option still take effect before the function
 * returns, because it submits them and the kernel does them within the submission. The ring has no
 * operation for two things:
 *
 * sendfile(). FIXED_FD_INSTALL gives the socket a descriptor for the duration of the call, and
 * a poll linked before it waits until there is room. splice() would need a pipe for each
 * connection, and threads of the kernel.
 *
 * Closing with a reset. SO_LINGER is set by a command of the socket (IORING_OP_URING_CMD,
 * Linux 6.7). Then the slot is emptied by a registration, which has taken effect when it returns,
 * like close(). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/uring/uring.h"

enum {
    /* Numbers for which liburing 2.3 has no names. */
    OP_FIXED_FD_INSTALL = 54,
    COMMAND_SETSOCKOPT = 3,

    MESSAGES_MAX = 32, /* sends of several pieces between two submissions */
};

/* What a pending send waits for; op_private.wait. */
enum direct_wait {
    DIRECT_NOTHING, /* it is not of a socket in the table */
    DIRECT_SENT,    /* the ring has sent it */
    DIRECT_OPEN,    /* there is room, and a descriptor for sendfile() */
    DIRECT_PAUSE,   /* a pause has ended, after which the send is tried again */
};

struct direct_slot {
    unsigned next_free;
    int fd; /* of the same socket, for sendfile(); -1: none */
};

/* Memory that the kernel reads when the send is submitted. */
struct direct_message {
    struct msghdr header;
    struct iovec vectors[ENGINE_PIECES_MAX];
};

static unsigned uring_direct_slot_of(int fd) {
    return (unsigned)(fd & ~LINUX_REGISTERED);
}

/* -- the table ------------------------------------------------------------- */

static bool has_install(void) {
    struct io_uring_probe *probe = uring_calls.get_probe();
    bool has = probe && io_uring_opcode_supported(probe, OP_FIXED_FD_INSTALL);
    io_uring_free_probe(probe);
    return has;
}

static bool direct_configure(struct engine *engine, unsigned count, struct error *error) {
    if (!has_install()) {
        return error_set(error,
                         "this kernel is without FIXED_FD_INSTALL, which Linux 6.8 and later have");
    }
    engine->registered_max = count;
    return true;
}

static bool register_table(struct uring_port *port, struct error *error) {
    int code = uring_calls.register_files_sparse(&port->ring, port->direct_count);
    return code == 0 || error_set(error, "host.direct_descriptors: a table of %u sockets: %s",
                                  port->direct_count, strerror(-code));
}

/* The port's number, by which a function that has only the socket finds the port. */
static unsigned uring_direct_take_number(struct engine *engine, struct engine_port *port) {
    for (unsigned i = 0; i < LINUX_PORTS_MAX; i++) {
        struct engine_port *none = NULL;
        if (atomic_compare_exchange_strong(&engine->ports[i], &none, port)) {
            return i + 1;
        }
    }
    return 0;
}

bool uring_direct_init(struct uring_port *port, unsigned count, struct error *error) {
    port->direct_count = port->direct_late = count;
    if (!register_table(port, error)) {
        return false;
    }
    port->direct_slots = alloc_array(count, sizeof(*port->direct_slots));
    port->messages = alloc_array(MESSAGES_MAX, sizeof(*port->messages));
    if (!port->direct_slots || !port->messages) {
        alloc_free(port->direct_slots);
        alloc_free(port->messages);
        return error_set(error, "out of memory");
    }
    for (unsigned i = 0; i < count; i++) {
        port->direct_slots[i] = (struct direct_slot){.next_free = i + 1, .fd = -1};
    }
    port->common.number = uring_direct_take_number(port->common.engine, &port->common);
    return true;
}

void uring_direct_fini(struct uring_port *port) {
    ASSERT(port->direct_used == 0);
    if (port->common.number > 0) {
        atomic_store(&port->common.engine->ports[port->common.number - 1], NULL);
    }
    alloc_free(port->direct_slots);
    alloc_free(port->messages);
}

static bool direct_is_full(struct engine_port *common) {
    const struct uring_port *port = uring_of(common);
    return port->direct_free == port->direct_count;
}

static int empty_slot(struct uring_port *port, unsigned slot) {
    const int none = -1;
    int code = uring_calls.register_files_update(&port->ring, slot, (int *)(uintptr_t)&none, 1);
    if (code == 1) {
        port->direct_slots[slot].next_free = port->direct_free;
        port->direct_free = slot;
    }
    return code;
}

static void empty_late(struct uring_port *port) {
    while (port->direct_late != port->direct_count) {
        unsigned next = port->direct_slots[port->direct_late].next_free;
        if (empty_slot(port, port->direct_late) != 1) {
            return;
        }
        port->direct_late = next;
    }
}

static void direct_add(struct engine_port *common, struct engine_socket *socket) {
    struct uring_port *port = uring_of(common);
    unsigned slot = port->direct_free;
    int fd = (int)socket->handle;
    if (!linux_has_descriptor(*socket)) {
        ASSERT(socket->origin == common->number);
        return;
    }
    empty_late(port);
    if (direct_is_full(common) ||
        uring_calls.register_files_update(&port->ring, slot, &fd, 1) != 1) {
        return;
    }
    port->direct_free = port->direct_slots[slot].next_free;
    port->direct_used++;
    linux_calls.close(fd);
    linux_descriptor_give(common->engine);
    socket->handle = LINUX_REGISTERED | (int)slot;
    socket->origin = common->number;
}

/* -- the end of a socket --------------------------------------------------- */

/* setsockopt(SO_LINGER) with 0 seconds. */
static void make_reset(struct uring_port *port, int fd) {
    static struct linger linger = {.l_onoff = 1, .l_linger = 0};
    const uint32_t level_and_name[2] = {SOL_SOCKET, SO_LINGER};
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_nop(sqe);
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->off = COMMAND_SETSOCKOPT;
    memcpy(&sqe->addr, level_and_name, sizeof(level_and_name));
    sqe->file_index = sizeof(linger); /* `optlen`, in the same union */
    sqe->addr3 = (uint64_t)(uintptr_t)&linger;
    uring_aim(sqe, fd);
    uring_mark(sqe, NULL, TAG_IGNORED);
    uring_submit(port);
}

static void shut_down(struct uring_port *port, int fd, int how) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_shutdown(sqe, 0, how);
    uring_aim(sqe, fd);
    uring_mark(sqe, NULL, TAG_IGNORED);
    uring_submit(port);
}

/* The system has no memory for emptying a slot. The shutdown shows the peer the end all the same,
 * and the slot is emptied when there is memory again. */
static void end_late(struct uring_port *port, int fd, int code) {
    unsigned slot = uring_direct_slot_of(fd);
    shut_down(port, fd, SHUT_RDWR);
    port->direct_slots[slot].next_free = port->direct_late;
    port->direct_late = slot;
    if (!port->direct_late_notified) {
        port->direct_late_notified = true;
        log_error(
            NULL,
            "host.direct_descriptors: a closed socket keeps its place in the table: %s; it is "
            "tried again with every socket that comes or goes, and not told of again",
            code < 0 ? strerror(-code) : "the system has taken nothing out");
    }
}

static void close_installed(struct uring_port *port, unsigned slot) {
    if (port->direct_slots[slot].fd >= 0) {
        linux_calls.close(port->direct_slots[slot].fd);
        port->direct_slots[slot].fd = -1;
    }
}

static void direct_close(struct engine *engine, struct engine_socket socket, bool reset) {
    struct uring_port *port = uring_of(atomic_load(&engine->ports[socket.origin - 1]));
    unsigned slot = uring_direct_slot_of((int)socket.handle);
    close_installed(port, slot);
    if (reset) {
        make_reset(port, (int)socket.handle);
    }
    port->direct_used--;
    empty_late(port);
    int code = empty_slot(port, slot);
    if (code != 1) {
        end_late(port, (int)socket.handle, code);
    }
}

/* A failure means that the peer is gone, which the receive reports. */
static int64_t direct_shutdown_send(struct engine_port *common, struct engine_socket socket) {
    shut_down(uring_of(common), (int)socket.handle, SHUT_WR);
    return 0;
}

/* -- sending --------------------------------------------------------------- */

static void uring_direct_begin(struct engine_port *port, struct engine_op *op,
                               enum direct_wait wait) {
    op_private_of(op)->wait = (uint8_t)wait;
    op_private_of(op)->armed = true;
    port->pending++;
}

static const struct msghdr *message_of(struct uring_port *port, const struct engine_piece *pieces,
                                       unsigned count) {
    if (port->message_next == MESSAGES_MAX) {
        uring_submit(port);
        port->message_next = 0;
    }
    struct direct_message *message = &port->messages[port->message_next++];
    for (unsigned i = 0; i < count; i++) {
        message->vectors[i].iov_base = (void *)(uintptr_t)pieces[i].bytes; /* only read */
        message->vectors[i].iov_len = pieces[i].size;
    }
    message->header = (struct msghdr){.msg_iov = message->vectors, .msg_iovlen = count};
    return &message->header;
}

static void uring_direct_send_memory(struct engine_port *common, struct engine_op *op,
                                     const struct engine_piece *pieces, unsigned count, bool more) {
    struct uring_port *port = uring_of(common);
    const int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    const struct msghdr *message = count > 1 ? message_of(port, pieces, count) : NULL;
    struct io_uring_sqe *sqe = uring_sqe(port);
    if (message) {
        io_uring_prep_sendmsg(sqe, 0, message, (unsigned)flags);
    } else {
        io_uring_prep_send(sqe, 0, pieces[0].bytes, pieces[0].size, flags);
    }
    uring_aim(sqe, op_private_of(op)->fd);
    uring_mark(sqe, op, TAG_SEND);
    uring_direct_begin(common, op, DIRECT_SENT);
}

/* sendfile() needs a descriptor: completes the send with 0 once the socket can be written and has
 * one. The two entries are linked and have to be in one submission, at whose end a chain ends. */
static void install_descriptor(struct engine_port *common, struct engine_op *op) {
    struct uring_port *port = uring_of(common);
    if (io_uring_sq_space_left(&port->ring) < 2) {
        uring_submit(port);
    }
    struct io_uring_sqe *poll = uring_sqe(port);
    io_uring_prep_poll_add(poll, 0, POLLOUT);
    uring_aim(poll, op_private_of(op)->fd);
    poll->flags |= IOSQE_IO_LINK;
    uring_mark(poll, op, TAG_IGNORED);

    struct io_uring_sqe *install = uring_sqe(port);
    io_uring_prep_nop(install);
    install->opcode = OP_FIXED_FD_INSTALL;
    uring_aim(install, op_private_of(op)->fd);
    uring_mark(install, op, TAG_SEND);
    uring_direct_begin(common, op, DIRECT_OPEN);
}

/* There is no descriptor left for the send now. Other sends, which have one for a moment, close it
 * soon. */
static void pause_send(struct uring_port *port, struct engine_op *op) {
    static struct __kernel_timespec pause = {.tv_nsec = 10 * 1000000LL};
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_timeout(sqe, &pause, 0, 0);
    uring_mark(sqe, op, TAG_SEND);
    op_private_of(op)->wait = DIRECT_PAUSE;
    op_private_of(op)->armed = true;
}

/* A run of a file is sent by a descriptor that the socket has for a moment: until the run is sent,
 * or the send buffer is full. So even very many clients that read slowly hold none. */
static int64_t uring_direct_send_file(struct engine_port *common, struct engine_socket socket,
                                      struct engine_op *op, const struct engine_piece *piece) {
    struct uring_port *port = uring_of(common);
    unsigned slot = uring_direct_slot_of((int)socket.handle);
    int fd = port->direct_slots[slot].fd;
    if (fd >= 0 && linux_file_is_cold(common, op, piece)) {
        return linux_file_read_ahead(common, socket, op, piece);
    }
    ssize_t sent = -1;
    int code = EAGAIN;
    if (fd >= 0) {
        sent = linux_file_send(fd, piece);
        code = errno;
        linux_make_waitable(fd); /* the table has the same socket, and the ring waits for it */
        close_installed(port, slot);
    }
    if (sent > 0) {
        return sent;
    }
    if (sent == 0) {
        return ENGINE_E_FILE_SHORT;
    }
    if (code != EAGAIN) {
        return linux_translate(code);
    }
    *op_private_of(op) = (struct op_private){.fd = (int)socket.handle};
    if (fd >= 0) {
        pause_send(port, op); /* the poll has completed for the peer's FIN, and would again */
        common->pending++;
    } else {
        install_descriptor(common, op);
    }
    return ENGINE_PENDING;
}

static int64_t direct_send(struct engine_port *port, struct engine_socket socket,
                           struct engine_op *op, const struct engine_piece *pieces, unsigned count,
                           bool is_last) {
    unsigned taken = 0;
    if (!pieces[0].bytes) {
        return uring_direct_send_file(port, socket, op, pieces);
    }
    while (taken < count && pieces[taken].bytes) {
        taken++;
    }
    *op_private_of(op) = (struct op_private){.fd = (int)socket.handle};
    uring_direct_send_memory(port, op, pieces, taken, is_last || taken < count);
    return ENGINE_PENDING;
}

/* Codes that are no failure become 0: the owner tries again. */
static int64_t result_of(int code) {
    return code == EAGAIN || code == EINTR || code == ETIME ? 0 : linux_translate(code);
}

void uring_direct_sent(struct uring_port *port, struct engine_op *op, int32_t result) {
    struct op_private *private = op_private_of(op);
    int64_t sent = 0;
    bool is_refused = result == -EMFILE || result == -ENFILE;
    bool has_not_waited =
        result == -ECANCELED && !private->stopping; /* the poll before it has failed */
    if (private->wait == DIRECT_OPEN && (is_refused || has_not_waited)) {
        pause_send(port, op);
        return;
    }
    if (result < 0) {
        bool was_pause = private->wait == DIRECT_PAUSE && !private->stopping;
        sent = was_pause ? 0 : result_of(-result); /* a pause has no other result than its end */
    } else if (private->wait == DIRECT_OPEN) {
        port->direct_slots[uring_direct_slot_of(private->fd)].fd = result;
    } else {
        sent = result;
    }
    private->wait = DIRECT_NOTHING;
    linux_complete(&port->common, op, sent);
}

/* Of two linked entries the first is cancelled: the kernel does not find the second one. */
void uring_direct_cancel(struct uring_port *port, struct engine_op *op) {
    uring_cancel(port, op, op_private_of(op)->wait == DIRECT_OPEN ? TAG_IGNORED : TAG_SEND);
}

const struct linux_registered uring_registered = {
    .configure = direct_configure,
    .add = direct_add,
    .is_full = direct_is_full,
    .close = direct_close,
    .shutdown_send = direct_shutdown_send,
    .send = direct_send,
};
