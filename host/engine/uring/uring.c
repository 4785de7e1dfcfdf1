/* uring.c: waiting by io_uring (Linux 6.1 and later).
 *
 * One ring a port, never shared, made for one thread that submits and reaps: SINGLE_ISSUER with
 * DEFER_TASKRUN lets the kernel do its part only when that thread asks for completions, and not by
 * interrupting it. What older kernels refuse is left out, with the loss said at debug level.
 *
 * Closing a descriptor with a receive armed sends no FIN, because the ring holds the file: by the
 * contract of engine.h nothing is in flight when a socket is closed. */
#include "engine/uring/uring.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"

enum {
    BATCH_MAX = 256,       /* completions a turn: timers and posts get theirs in between */
    CROWD = 16,            /* completions a turn that tell of a line that has no end */
    LOOK_AFTER = 64,       /* of them without a look at new clients */
    NEW_SHARE = 16,        /* one in so many is a new client: they are no small part of the line */
    SHORTAGE_PAUSE_MS = 1, /* before what the kernel had no memory for is submitted again */
    REFUSED_PAUSE_MS = 20, /* before what it refused is */
};

/* -- submissions ----------------------------------------------------------- */

/* What the kernel does not take now is submitted again, after a pause: for want of memory, or
 * because a security module has changed its mind since the start. */
static void note_result(struct uring_port *port, int code) {
    if (code >= 0) {
        port->refused = false;
        return;
    }
    if (code == -EINTR || code == -ETIME) {
        return;
    }
    bool is_shortage = code == -EAGAIN || code == -EBUSY || code == -ENOMEM;
    if (!is_shortage && !port->refused) {
        port->refused = true;
        log_error(NULL,
                  "io_uring_enter: %s: this worker stands still until the system takes the call "
                  "again; a new start with host.engine \"epoll\" does without it",
                  strerror(-code));
    }
    if (uring_calls.ready(&port->ring) == 0) {
        linux_calls.poll(NULL, 0, is_shortage ? SHORTAGE_PAUSE_MS : REFUSED_PAUSE_MS);
    }
}

static void submit_some(struct uring_port *port) {
    note_result(port, uring_calls.submit(&port->ring));
}

struct io_uring_sqe *uring_sqe(struct uring_port *port) {
    struct io_uring_sqe *sqe = uring_calls.sqe(&port->ring);
    while (!sqe) {
        submit_some(port);
        sqe = uring_calls.sqe(&port->ring);
    }
    return sqe;
}

void uring_submit(struct uring_port *port) {
    while (io_uring_sq_ready(&port->ring) > 0) {
        submit_some(port);
    }
}

void uring_mark(struct io_uring_sqe *sqe, void *pointer, enum tag tag) {
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)pointer | (uint64_t)tag);
}

void uring_cancel(struct uring_port *port, void *pointer, enum tag tag) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)pointer | (uint64_t)tag, 0);
    uring_mark(sqe, NULL, TAG_IGNORED);
}

/* -- ports ----------------------------------------------------------------- */

static struct engine_port *uring_port_alloc(void) {
    return alloc_zeroed(sizeof(struct uring_port));
}

void uring_arm_wake(struct uring_port *port) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_read(sqe, port->common.wake_fd, &port->wake_value, sizeof(port->wake_value), 0);
    uring_mark(sqe, NULL, TAG_WAKE);
}

static void set_burst(struct uring_port *port, const struct engine_port_options *options) {
    uint32_t buffers = options->burst_buffers > 0 ? options->burst_buffers : 1;
    port->burst_max = (uint8_t)(buffers < LINUX_BURST_MAX ? buffers : LINUX_BURST_MAX);
    if (port->common.engine->uring_limits_bursts) {
        uint64_t bytes = (uint64_t)buffers * options->buffers.capacity;
        port->burst_bytes = bytes < INT32_MAX ? (uint32_t)bytes : INT32_MAX;
    }
}

static bool uring_port_init(struct engine_port *common, const struct engine_port_options *options,
                            struct error *error) {
    struct uring_port *port = uring_of(common);
    struct io_uring_params parameters = {
        .flags = common->engine->uring_flags | IORING_SETUP_CQSIZE,
        .cq_entries = URING_COMPLETIONS,
    };
    int code = uring_calls.create(URING_SUBMISSIONS, &port->ring, &parameters);
    if (code != 0) {
        return error_set(error, "creating a ring: %s", linux_reason(-code));
    }
    if (!uring_buffers_init(port, options, error)) {
        uring_calls.destroy(&port->ring);
        return false;
    }
    if (common->engine->registered_max > 0 &&
        !uring_direct_init(port, common->engine->registered_max, error)) {
        uring_buffers_fini(port);
        uring_calls.destroy(&port->ring);
        return false;
    }
    set_burst(port, options);
    uring_arm_wake(port);
    return true;
}

/* The read of wake_value is the last thing in the kernel; the ring's end waits for it. */
static void uring_port_fini(struct engine_port *common) {
    uring_direct_fini(uring_of(common));
    uring_buffers_fini(uring_of(common));
    uring_calls.destroy(&uring_of(common)->ring);
}

/* Submits what there is and waits for the first completion, or not at all while receives are to be
 * tried. Errors only mean that there may be none: the caller comes again.
 *
 * The kernel completes what it was waiting for only where it is asked for completions. The library
 * leaves that out of a wait with a time-out while there are some already: those whose receives find
 * bytes as soon as they are armed would keep it so, and all others would be left waiting. */
static void submit_and_wait(struct engine_port *common, int timeout_ms) {
    struct uring_port *port = uring_of(common);
    struct io_uring_cqe *cqe;
    port->turn++;
    if (timeout_ms == 0 || port->early.first || uring_calls.ready(&port->ring) > 0) {
        note_result(port, uring_calls.submit_and_get_events(&port->ring));
    } else if (timeout_ms < 0) {
        note_result(port, uring_calls.submit_and_wait(&port->ring, 1));
    } else {
        struct __kernel_timespec time = {.tv_sec = timeout_ms / 1000,
                                         .tv_nsec = (long long)(timeout_ms % 1000) * 1000000};
        note_result(port, uring_calls.submit_and_wait_timeout(&port->ring, &cqe, 1, &time, NULL));
    }
}

/* The kernel ends every poll of a socket whose peer has sent its FIN, room or no room. Asked again
 * at once it would do so without end: there is a pause before, each time a longer one. */
static bool send_await_again(struct engine_port *port, struct engine_op *op, int32_t result) {
    static struct __kernel_timespec pauses[] = {
        {.tv_nsec = 5 * 1000000LL}, {.tv_nsec = 20 * 1000000LL}, {.tv_nsec = 80 * 1000000LL}};
    struct op_private *private = op_private_of(op);
    bool was_pause = (private->burst & 1) != 0;
    if (private->stopping || private->warmed) {
        return false;
    }
    if (was_pause) {
        private->burst++;
        private->armed = true;
        port->engine->backend->send_arm(port, op);
        return true;
    }
    if (result <= 0 || ((uint32_t)result & (POLLOUT | POLLERR | POLLHUP)) != 0) {
        return false;
    }
    struct io_uring_sqe *sqe = uring_sqe(uring_of(port));
    unsigned index = private->burst / 2U;
    if (index >= ARRAY_COUNT(pauses)) {
        index = ARRAY_COUNT(pauses) - 1;
        private->burst = (uint8_t)(2U * index);
    }
    io_uring_prep_timeout(sqe, &pauses[index], 0, 0);
    uring_mark(sqe, op, TAG_SEND);
    private->burst++;
    private->armed = true;
    return true;
}

static void send_completed(struct engine_port *port, struct engine_op *op, int32_t result) {
    op_private_of(op)->armed = false;
    if (op_private_of(op)->wait) {
        uring_direct_sent(uring_of(port), op, result);
        return;
    }
    if (send_await_again(port, op, result)) {
        return;
    }
    if (result == -ETIME) {
        result = 0; /* a pause that was over before its cancel */
    }
    /* Whatever the poll found, also an error of the socket, the next send tells; and so it tells
     * what is wrong with a file. */
    bool tells = result >= 0 || (op_private_of(op)->warmed && result != -ECANCELED);
    linux_complete(port, op, tells ? 0 : linux_translate(-result));
}

static void wake_read(struct uring_port *port, int32_t result) {
    if (result >= 0) {
        linux_posts_woken(&port->common);
        uring_arm_wake(port);
        return;
    }
    port->wake_lost = true;
    linux_posts_unwoken(&port->common, "reading an eventfd", -result);
    linux_make_late(&port->common);
}

static void uring_handle_one(struct uring_port *port, uint64_t data, int32_t result,
                             uint32_t flags) {
    void *pointer = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
    switch ((enum tag)(data & TAG_MASK)) {
    case TAG_WAKE:
        wake_read(port, result);
        linux_run_posts(&port->common);
        break;
    case TAG_RECEIVE:
        uring_receive_completed(port, pointer, result, flags);
        break;
    case TAG_SEND:
        send_completed(&port->common, pointer, result);
        break;
    case TAG_ACCEPT:
        uring_clients_came(pointer, result, flags);
        break;
    case TAG_RING_ACCEPT:
        uring_ring_accept_completed(port, pointer, result);
        break;
    case TAG_FIRST_DATA:
        uring_first_data_completed(port, pointer, result, flags);
        break;
    case TAG_CONNECT:
        linux_connected(&port->common, pointer, -result);
        break;
    case TAG_IGNORED:
        break;
    }
}

/* Everything stands in one line, and newer kernels hand out only some twenty completions at a time:
 * a new client would wait until all that the others have asked for is done. So while the line does
 * not get shorter it is looked for now and then; unless the line is one of new clients. */
static void uring_poll_accepts(struct uring_port *port, unsigned handled) {
    port->saturated = handled >= CROWD;
    port->completions_since_poll += handled;
    if (port->saturated && port->completions_since_poll < LOOK_AFTER) {
        return;
    }
    if (port->saturated && port->new_clients < port->completions_since_poll / NEW_SHARE) {
        linux_accept_poll_now(&port->common);
    }
    port->completions_since_poll = 0;
    port->new_clients = 0;
}

static void begin_lap(struct uring_port *port) {
    if ((int32_t)(port->handled - port->lap_end) >= 0) {
        port->lap++;
        port->lap_end = port->handled + uring_calls.ready(&port->ring);
    }
}

static void uring_handle(struct engine_port *common) {
    struct uring_port *port = uring_of(common);
    struct uring_completion completion;
    unsigned i;
    port->grown = false;
    begin_lap(port);
    uring_receive_early(port);
    /* It is off the ring before the callback, which may submit and wait. */
    for (i = 0; i < BATCH_MAX && uring_calls.take(&port->ring, &completion); i++) {
        uring_handle_one(port, completion.data, completion.result, completion.flags);
    }
    port->handled += i;
    uring_poll_accepts(port, i);
    uring_ring_accepts_cancel_again(port);
}

static void file_await(struct engine_port *common, struct engine_op *op, int file,
                       uint64_t offset) {
    struct uring_port *port = uring_of(common);
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_read(sqe, file, &port->file_byte, 1, offset);
    uring_mark(sqe, op, TAG_SEND);
}

static void uring_send_arm(struct engine_port *port, struct engine_op *op) {
    struct io_uring_sqe *sqe = uring_sqe(uring_of(port));
    io_uring_prep_poll_add(sqe, op_private_of(op)->fd, POLLOUT);
    uring_mark(sqe, op, TAG_SEND);
}

static void uring_send_disarm(struct engine_port *port, struct engine_op *op) {
    if (op_private_of(op)->wait) {
        uring_direct_cancel(uring_of(port), op);
        return;
    }
    uring_cancel(uring_of(port), op, TAG_SEND);
}

/* The kernel reads the address when the entry is submitted, or when it gets to it: it lies with the
 * connect. */
_Static_assert(sizeof(struct sockaddr_in6) <= sizeof(((struct engine_connect *)0)->opaque),
               "engine_connect.opaque is too small");

static void uring_connect_start(struct engine_port *port, struct engine_connect *connect) {
    union system_address to;
    socklen_t size = linux_address_to_system(&connect->remote, &to);
    memcpy(connect->opaque, &to, size);
    struct io_uring_sqe *sqe = uring_sqe(uring_of(port));
    io_uring_prep_connect(sqe, (int)connect->socket.handle, (struct sockaddr *)connect->opaque,
                          size);
    uring_mark(sqe, connect, TAG_CONNECT);
}

static void uring_connect_cancel(struct engine_port *port, struct engine_connect *connect) {
    uring_cancel(uring_of(port), connect, TAG_CONNECT);
}

const struct linux_backend linux_uring = {
    .name = "io_uring",
    .acceptor_bytes = sizeof(struct uring_acceptor),
    .port_alloc = uring_port_alloc,
    .port_init = uring_port_init,
    .port_fini = uring_port_fini,
    .wait = submit_and_wait,
    .handle = uring_handle,
    .feed = uring_feed,
    .trim = uring_buffers_trim,
    .clients_await = uring_clients_await,
    .clients_forget = uring_clients_forget,
    .accepts_changed = uring_accepts_changed,
    .acceptor_check = uring_acceptor_check,
    .looks_at_once = uring_looks_at_once,
    .first_data_await = uring_first_data_await,
    .first_data_forget = uring_first_data_forget,
    .receive_arm = uring_receive_arm,
    .receive_disarm = uring_receive_disarm,
    .file_await = file_await,
    .connect_start = uring_connect_start,
    .connect_cancel = uring_connect_cancel,
    .send_arm = uring_send_arm,
    .send_disarm = uring_send_disarm,
    .registered = &uring_registered,
};
