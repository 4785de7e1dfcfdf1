/* uring.c: waiting by io_uring (Linux 6.1 and later).
 *
 * One ring a port, never shared, made for one thread that submits and reaps: SINGLE_ISSUER with
 * DEFER_TASKRUN lets the kernel do its part only when that thread asks for completions, and not by
 * interrupting it. What older kernels refuse is left out, and a line at debug level says so.
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
    /* Completions handled in one turn. Timers and posts run between two turns. */
    BATCH_MAX = 256,
    /* The saturation threshold: a port is saturated while a turn handles at least so many
     * completions. Newer kernels return some twenty with each io_uring_enter (PROFILE.md, Echo), so
     * a turn with nearly as many means that more are queued. */
    CROWD = 16,
    /* The accept poll interval: so many completions of a saturated port are handled without a look
     * for new clients. A look costs a system call. */
    LOOK_AFTER = 64,
    /* The share of new clients, one in so many completions, from which on a saturated port does not
     * look for more: they are served from the completion queue already. */
    NEW_SHARE = 16,
    SHORTAGE_PAUSE_MS = 1, /* before a submission that failed for want of memory is repeated */
    REFUSED_PAUSE_MS = 20, /* before a submission that the kernel refused is repeated */
};

/* -- submissions ----------------------------------------------------------- */

/* Entries that the kernel does not take now are submitted again, after a pause. It refuses them for
 * want of memory, or because the rules of a security module have changed since the start. */
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

/* The read into wake_value is the last operation in the kernel; destroying the ring waits for it.
 */
static void uring_port_fini(struct engine_port *common) {
    uring_direct_fini(uring_of(common));
    uring_buffers_fini(uring_of(common));
    uring_calls.destroy(&uring_of(common)->ring);
}

/* Submits all entries and waits for the first completion; it does not wait while receives are to be
 * tried. After an error there may be no completion: the caller calls again.
 *
 * With DEFER_TASKRUN the kernel completes an operation only when it is asked for completions. A
 * wait with a time-out does not ask while completions are ready: liburing returns them at once.
 * Receives that find bytes as soon as they are armed would always keep some ready, and all other
 * operations would never complete. So then
 * io_uring_submit_and_get_events() asks for them. */
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

/* The kernel completes every poll of a socket whose peer has sent its FIN, whether there is room or
 * not. A poll that is armed again at once would complete again at once, without end. So there is a
 * pause before, each time a longer one. */
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
    /* The next send reports what the poll has found, an error of the socket included. It also
     * reports what is wrong with a file. */
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

/* Polls for new clients while the port is saturated. All completions come in one queue, and newer
 * kernels return only some twenty at a time (PROFILE.md, Echo): a new client would wait until all
 * the requests of the others that are queued before it are served. So accept4() looks for clients
 * at the accept poll interval, unless enough of the completions are new clients. */
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
    /* A completion leaves the ring before its callback runs, which may submit and wait. */
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

/* The kernel reads the address at the submission or later, so it is stored in the connect. */
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
