/* engine_uring.c: the completion interface over io_uring (Linux 6.1 and later).
 *
 * One ring a port, never shared, made for one thread that submits and reaps: SINGLE_ISSUER with
 * DEFER_TASKRUN lets the kernel do its part only when that thread asks for completions, and not by
 * interrupting it. What older kernels refuse is left out, with the loss said at debug level.
 *
 * Sends are tried at once, without the ring: the socket's buffer nearly always has room, and a
 * system call that succeeds is cheaper than a submission and its completion. Only when it is full
 * does the ring wait until the socket can be written.
 *
 * Closing a descriptor with a receive armed sends no FIN, because the ring holds the file: by the
 * contract of engine.h nothing is in flight when a socket is closed. */
#include "engine/engine_uring.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"

enum {
    SUBMISSIONS = 512,      /* entries; a full queue is submitted and goes on */
    COMPLETIONS = 8192,     /* entries; the kernel keeps what does not fit */
    BATCH_MAX = 256,        /* completions a turn: timers and posts get theirs in between */
    DESCRIPTORS_LEAST = 16, /* without so many there is nothing to serve with */
    PORT_DESCRIPTORS = 2,   /* the ring and the eventfd */
    HUNGRY_MS = 10,         /* between two looks for memory to receive into */
    BURST_BUFFERS = 4,      /* that one connection fills before others get their turn */
};

int64_t uring_translate(int code) {
    switch (code) {
    case 0:
        return 0;
    case ECANCELED:
        return ENGINE_E_CANCELLED;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPROTO:
        return ENGINE_E_RESET;
    case ETIMEDOUT:
        return ENGINE_E_TIMED_OUT;
    case ECONNREFUSED:
        return ENGINE_E_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return ENGINE_E_UNREACHABLE;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return ENGINE_E_NO_RESOURCES;
    default:
        log_debug(NULL, "io_uring: error %d (%s)", code, strerror(code));
        return ENGINE_E_OTHER;
    }
}

/* -- lists of operations ----------------------------------------------------------------------- */

void list_append(struct op_list *list, struct engine_op *op) {
    part_of(op)->next = NULL;
    if (list->last) {
        part_of(list->last)->next = op;
    } else {
        list->first = op;
    }
    list->last = op;
}

void list_prepend(struct op_list *list, struct engine_op *op) {
    part_of(op)->next = list->first;
    list->first = op;
    if (!list->last) {
        list->last = op;
    }
}

struct engine_op *list_take(struct op_list *list) {
    struct engine_op *op = list->first;
    if (op) {
        list->first = part_of(op)->next;
        if (!list->first) {
            list->last = NULL;
        }
    }
    return op;
}

void list_remove(struct op_list *list, struct engine_op *op) {
    struct engine_op *before = NULL;
    struct engine_op *at = list->first;
    while (at != op) {
        before = at;
        at = part_of(at)->next;
    }
    if (before) {
        part_of(before)->next = part_of(op)->next;
    } else {
        list->first = part_of(op)->next;
    }
    if (list->last == op) {
        list->last = before;
    }
}

/* -- submissions ------------------------------------------------------------------------------- */

struct io_uring_sqe *uring_sqe(struct engine_port *port) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&port->ring);
    while (!sqe) {
        int code = io_uring_submit(&port->ring);
        ASSERT(code >= 0 || code == -EAGAIN || code == -EBUSY || code == -EINTR);
        sqe = io_uring_get_sqe(&port->ring);
    }
    return sqe;
}

void uring_mark(struct io_uring_sqe *sqe, void *pointer, enum tag tag) {
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)pointer | (uint64_t)tag);
}

void uring_cancel(struct engine_port *port, void *pointer, enum tag tag) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)pointer | (uint64_t)tag, 0);
    uring_mark(sqe, NULL, TAG_IGNORED);
}

void uring_complete(struct engine_port *port, struct engine_op *op, int64_t result) {
    port->pending--;
    port->ran++;
    op->complete(op, result);
}

void uring_defer(struct engine_port *port, struct engine_op *op, int64_t result) {
    part_of(op)->result = result;
    list_append(&port->deferred, op);
}

/* -- the engine -------------------------------------------------------------------------------- */

/* What each flag is for, from the least missed to the most. */
static const struct {
    unsigned flag;
    const char *name;
} optional_flags[] = {
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
};

static int try_ring(unsigned flags) {
    struct io_uring ring;
    struct io_uring_params parameters = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = 64};
    int code = io_uring_queue_init_params(32, &ring, &parameters);
    if (code == 0) {
        io_uring_queue_exit(&ring);
    }
    return -code;
}

/* Whether a multishot receive can be told after how many bytes to end (Linux 6.17). An older kernel
 * refuses the member before it looks at the descriptor, and then gives one connection up to 32
 * buffers at a time. */
static bool bursts_can_be_limited(unsigned flags) {
    struct io_uring ring;
    struct io_uring_cqe *cqe;
    bool limited = false;
    if (io_uring_queue_init(2, &ring, flags) != 0) {
        return false;
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    io_uring_prep_recv_multishot(sqe, -1, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    uring_limit_receive(sqe, 1);
    if (io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &cqe) == 0) {
        limited = cqe->res == -EBADF;
    }
    io_uring_queue_exit(&ring);
    if (!limited) {
        log_debug(NULL,
                  "io_uring: this kernel cannot limit what one connection receives at a time");
    }
    return limited;
}

static bool probe(struct engine *engine, struct error *error) {
    for (size_t i = 0; i < ARRAY_COUNT(optional_flags); i++) {
        engine->setup_flags |= optional_flags[i].flag;
    }
    int code = try_ring(engine->setup_flags);
    for (size_t i = 0; code == EINVAL && i < ARRAY_COUNT(optional_flags); i++) {
        log_debug(NULL, "io_uring: this kernel is without %s, which costs speed",
                  optional_flags[i].name);
        engine->setup_flags &= ~optional_flags[i].flag;
        code = try_ring(engine->setup_flags);
    }
    if (code == EPERM || code == ENOSYS) {
        return error_set(error,
                         "io_uring is refused by this system (%s): a container's profile or the "
                         "sysctl kernel.io_uring_disabled forbids it, or the kernel is too old",
                         strerror(code));
    }
    if (code != 0) {
        return error_set(error, "io_uring: %s", strerror(code));
    }
    engine->limits_bursts = bursts_can_be_limited(engine->setup_flags);
    return true;
}

/* How many descriptors the engine may have open before accepting leaves the rest alone: the limit
 * of the process without those that are open already and those that are reserved. */
static unsigned descriptors_max(const struct engine_options *options) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT_MAX) {
        return UINT_MAX;
    }
    unsigned taken = options->descriptors_reserved;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        taken++;
    }
    if (folder) {
        closedir(folder);
    }
    return limit.rlim_cur > taken ? (unsigned)limit.rlim_cur - taken : 0;
}

static bool check_descriptors(const struct engine *engine, const struct engine_options *options,
                              struct error *error) {
    if (engine->descriptors_max >= DESCRIPTORS_LEAST) {
        return true;
    }
    return error_set(
        error,
        "the process may open too few descriptors (ulimit -n, LimitNOFILE=) beside the "
        "%u that host.limits.descriptors_reserved sets apart",
        options->descriptors_reserved);
}

struct engine *engine_create(const struct engine_options *options, struct error *error) {
    struct engine *engine = alloc_zeroed(sizeof(*engine));
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    engine->traits = (struct engine_traits){
        .name = "io_uring",
        .socket_reuse = "off: a new socket costs no more on Linux",
        .accept_on_workers = true,
    };
    engine->descriptors_max = descriptors_max(options);
    if (!check_descriptors(engine, options, error) || !probe(engine, error)) {
        alloc_free(engine);
        return NULL;
    }
    return engine;
}

void engine_destroy(struct engine *engine) {
    alloc_free(engine);
}

const struct engine_traits *engine_traits(const struct engine *engine) {
    return &engine->traits;
}

/* -- ports: posts from other threads ----------------------------------------------------------- */

static void arm_wake(struct engine_port *port) {
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_read(sqe, port->wake_fd, &port->wake_value, sizeof(port->wake_value), 0);
    uring_mark(sqe, NULL, TAG_WAKE);
}

void engine_port_post(struct engine_port *port, struct engine_op *op) {
    atomic_fetch_add_explicit(&port->posting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&port->post_count, 1, memory_order_relaxed);
    struct engine_op *top = atomic_load_explicit(&port->posts, memory_order_relaxed);
    do {
        part_of(op)->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&port->posts, &top, op, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (!top) { /* else whoever pushed the first one has woken the port */
        uint64_t one = 1;
        ssize_t written = write(port->wake_fd, &one, sizeof(one));
        ASSERT(written == (ssize_t)sizeof(one));
    }
    atomic_fetch_sub_explicit(&port->posting, 1, memory_order_release); /* the last touch */
}

static void run_posts(struct engine_port *port) {
    struct engine_op *top = atomic_exchange_explicit(&port->posts, NULL, memory_order_acquire);
    struct engine_op *oldest = NULL;
    while (top) { /* the stack has the newest on top */
        struct engine_op *below = part_of(top)->next;
        part_of(top)->next = oldest;
        oldest = top;
        top = below;
    }
    while (oldest) {
        struct engine_op *op = oldest;
        oldest = part_of(op)->next;
        atomic_fetch_sub_explicit(&port->post_count, 1, memory_order_relaxed);
        port->ran++;
        op->complete(op, 0);
    }
}

/* -- ports: life ------------------------------------------------------------------------------- */

static bool create_ring(struct engine_port *port, struct error *error) {
    struct io_uring_params parameters = {
        .flags = port->engine->setup_flags | IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    int code = io_uring_queue_init_params(SUBMISSIONS, &port->ring, &parameters);
    return code == 0 || error_set(error, "creating a ring: %s", strerror(-code));
}

struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error) {
    struct engine_port *port = alloc_zeroed(sizeof(*port));
    if (!port) {
        error_set(error, "out of memory");
        return NULL;
    }
    port->engine = engine;
    port->source = options->buffers;
    port->burst_bytes = engine->limits_bursts ? BURST_BUFFERS * options->buffers.capacity : 0;
    port->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (port->wake_fd < 0) {
        error_set(error, "eventfd: %s", strerror(errno));
        goto fail_port;
    }
    if (!create_ring(port, error)) {
        goto fail_wake;
    }
    if (!uring_buffers_init(port, options, error)) {
        goto fail_ring;
    }
    arm_wake(port);
    atomic_fetch_add(&engine->descriptors, PORT_DESCRIPTORS);
    return port;

fail_ring:
    io_uring_queue_exit(&port->ring);
fail_wake:
    close(port->wake_fd);
fail_port:
    alloc_free(port);
    return NULL;
}

void engine_port_destroy(struct engine_port *port) {
    if (!port) {
        return;
    }
    ASSERT(engine_port_pending(port) == 0);
    /* A post may have run before its poster is through: it still has to wake nobody. */
    while (atomic_load_explicit(&port->posting, memory_order_acquire) > 0) {
        sched_yield();
    }
    /* The read of wake_value is the last thing in the kernel; the ring's end waits for it. */
    uring_buffers_fini(port);
    uring_acceptors_fini(port);
    io_uring_queue_exit(&port->ring);
    close(port->wake_fd);
    atomic_fetch_sub(&port->engine->descriptors, PORT_DESCRIPTORS);
    alloc_free(port);
}

unsigned engine_port_pending(const struct engine_port *port) {
    return port->pending + atomic_load_explicit(&port->post_count, memory_order_relaxed);
}

/* -- ports: the loop --------------------------------------------------------------------------- */

static void run_deferred(struct engine_port *port) {
    struct op_list list = port->deferred;
    port->deferred = (struct op_list){0};
    for (struct engine_op *op = list_take(&list); op; op = list_take(&list)) {
        uring_complete(port, op, part_of(op)->result);
    }
}

static void send_completed(struct engine_port *port, struct engine_op *op, int32_t result) {
    part_of(op)->armed = false;
    /* Whatever the poll found, also an error of the socket, the next send tells. */
    uring_complete(port, op, result >= 0 ? 0 : uring_translate(-result));
}

static void handle(struct engine_port *port, uint64_t data, int32_t result, uint32_t flags) {
    void *pointer = (void *)(uintptr_t)(data & ~(uint64_t)TAG_MASK);
    switch ((enum tag)(data & TAG_MASK)) {
    case TAG_WAKE:
        arm_wake(port);
        run_posts(port);
        break;
    case TAG_RECEIVE:
        uring_receive_completed(port, pointer, result, flags);
        break;
    case TAG_SEND:
        send_completed(port, pointer, result);
        break;
    case TAG_ACCEPT:
        uring_accept_ready(pointer, flags);
        break;
    case TAG_FIRST_DATA:
        uring_first_data_completed(pointer, result, flags);
        break;
    case TAG_IGNORED:
    case TAG_MASK:
        break;
    }
}

/* Submits what there is and waits for the first completion. Errors (EINTR, EAGAIN, EBUSY) only mean
 * that there may be none: the caller comes again. */
static void submit_and_wait(struct engine_port *port, int timeout_ms) {
    struct io_uring_cqe *cqe;
    if (timeout_ms < 0) {
        io_uring_submit_and_wait(&port->ring, 1);
    } else if (timeout_ms == 0) {
        io_uring_submit_and_get_events(&port->ring);
    } else {
        struct __kernel_timespec time = {.tv_sec = timeout_ms / 1000,
                                         .tv_nsec = (long long)(timeout_ms % 1000) * 1000000};
        io_uring_submit_and_wait_timeout(&port->ring, &cqe, 1, &time, NULL);
    }
}

/* How long the port may sleep: not at all while there is work that needs no kernel, and not long
 * while it lacks buffers, which nobody tells it of when another thread gives them back. */
static int patience(const struct engine_port *port, int timeout_ms) {
    if (port->deferred.first || port->acceptors_due) {
        return 0;
    }
    if (port->hungry.first && (timeout_ms < 0 || timeout_ms > HUNGRY_MS)) {
        return HUNGRY_MS;
    }
    return timeout_ms;
}

unsigned engine_port_run(struct engine_port *port, int timeout_ms) {
    submit_and_wait(port, patience(port, timeout_ms));
    port->ran = 0;
    port->grown = false;
    run_deferred(port);
    struct io_uring_cqe *cqe;
    for (unsigned i = 0; i < BATCH_MAX && io_uring_peek_cqe(&port->ring, &cqe) == 0; i++) {
        uint64_t data = cqe->user_data;
        int32_t result = cqe->res;
        uint32_t flags = cqe->flags;
        io_uring_cqe_seen(&port->ring, cqe); /* before the callback, which may submit and wait */
        handle(port, data, result, flags);
    }
    uring_accept_check(port);
    uring_feed_hungry(port);
    return port->ran;
}

/* -- sockets ----------------------------------------------------------------------------------- */

bool engine_attach(struct engine_port *port, struct engine_socket socket, struct error *error) {
    (void)port;
    (void)socket;
    (void)error;
    return true; /* a descriptor belongs to no ring */
}

int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket) {
    (void)port;
    return shutdown((int)socket.handle, SHUT_WR) == 0 ? 0 : uring_translate(errno);
}

void engine_close(struct engine *engine, struct engine_socket socket, bool reset) {
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt((int)socket.handle, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close((int)socket.handle);
    atomic_fetch_sub_explicit(&engine->descriptors, 1, memory_order_relaxed);
}

/* A new descriptor costs Linux next to nothing: there is nothing to use again. */
void engine_recycle(struct engine_port *port, struct engine_socket socket) {
    engine_close(port->engine, socket, false);
}

/* -- sending ----------------------------------------------------------------------------------- */

static ssize_t send_now(int fd, const struct engine_piece *pieces, unsigned count) {
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (count == 1) {
        return send(fd, pieces[0].bytes, pieces[0].size, flags);
    }
    struct iovec vectors[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = (void *)(uintptr_t)pieces[i].bytes; /* sendmsg only reads them */
        vectors[i].iov_len = pieces[i].size;
    }
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    return sendmsg(fd, &message, flags);
}

int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count) {
    int fd = (int)socket.handle;
    ssize_t sent;
    ASSERT(count <= ENGINE_PIECES_MAX);
    do {
        sent = send_now(fd, pieces, count);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        return sent;
    }
    if (errno != EAGAIN) {
        return uring_translate(errno);
    }
    struct io_uring_sqe *sqe = uring_sqe(port);
    io_uring_prep_poll_add(sqe, fd, POLLOUT);
    uring_mark(sqe, op, TAG_SEND);
    part_of(op)->armed = true;
    port->pending++;
    return ENGINE_PENDING;
}

void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op) {
    (void)socket;
    if (part_of(op)->armed) {
        uring_cancel(port, op, TAG_SEND);
    }
}
