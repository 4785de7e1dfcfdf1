#include "linux_faults.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "base/assert.h"

enum {
    OPERATIONS_MAX = 64, /* more than there are kinds of */
    RINGS_MAX = 8,
    SPOILED_MAX = 1024,
    HELD_MAX = 4096,
};

struct linux_call_table linux_calls;
struct uring_call_table uring_calls;

/* What was asked of one call, or of one kind of operation. */
struct plan {
    unsigned calls;
    unsigned injected;
    unsigned pass; /* then fail `fail` calls */
    unsigned fail;
    int code;
    unsigned shorten; /* calls to be cut to so many bytes */
    size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct plan plans[FAULT_CALLS];

/* Counts the call; true when it is to fail, with the code set. */
static bool plan_fails(struct plan *plan) {
    pthread_mutex_lock(&lock);
    plan->calls++;
    bool fail = plan->pass == 0 && plan->fail > 0;
    if (fail) {
        plan->fail -= plan->fail != FAULT_ALWAYS;
        plan->injected++;
    } else if (plan->pass > 0) {
        plan->pass--;
    }
    int code = plan->code;
    pthread_mutex_unlock(&lock);
    if (fail) {
        errno = code;
    }
    return fail;
}

static bool fails(enum fault_call call) {
    return plan_fails(&plans[call]);
}

static void plan_set(struct plan *plan, unsigned pass, unsigned count, int code) {
    pthread_mutex_lock(&lock);
    plan->pass = pass;
    plan->fail = count;
    plan->code = code;
    pthread_mutex_unlock(&lock);
}

void faults_fail(enum fault_call call, unsigned pass, unsigned count, int code) {
    plan_set(&plans[call], pass, count, code);
}

void faults_shorten(enum fault_call call, unsigned count, size_t bytes) {
    plans[call].shorten = count;
    plans[call].bytes = bytes;
}

static size_t shortened(enum fault_call call, size_t size) {
    struct plan *plan = &plans[call];
    pthread_mutex_lock(&lock);
    if (plan->shorten > 0 && size > plan->bytes) {
        plan->shorten -= plan->shorten != FAULT_ALWAYS;
        plan->injected++;
        size = plan->bytes;
    }
    pthread_mutex_unlock(&lock);
    return size;
}

unsigned faults_calls(enum fault_call call) {
    return plans[call].calls;
}

unsigned faults_injected(enum fault_call call) {
    return plans[call].injected;
}

/* -- system calls ---------------------------------------------------------- */

static int fault_socket(int family, int type, int protocol) {
    return fails(FAULT_SOCKET) ? -1 : linux_system.socket(family, type, protocol);
}

static int fault_socketpair(int family, int type, int protocol, int fds[2]) {
    return fails(FAULT_SOCKETPAIR) ? -1 : linux_system.socketpair(family, type, protocol, fds);
}

static int fault_bind(int fd, const struct sockaddr *address, socklen_t size) {
    return fails(FAULT_BIND) ? -1 : linux_system.bind(fd, address, size);
}

static int fault_listen(int fd, int backlog) {
    return fails(FAULT_LISTEN) ? -1 : linux_system.listen(fd, backlog);
}

static int fault_connect(int fd, const struct sockaddr *address, socklen_t size) {
    return fails(FAULT_CONNECT) ? -1 : linux_system.connect(fd, address, size);
}

static int fault_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
    return fails(FAULT_ACCEPT) ? -1 : linux_system.accept4(fd, address, size, flags);
}

static int fault_shutdown(int fd, int how) {
    return fails(FAULT_SHUTDOWN) ? -1 : linux_system.shutdown(fd, how);
}

static int fault_close(int fd) {
    fails(FAULT_CLOSE);
    return linux_system.close(fd);
}

static int fault_getsockname(int fd, struct sockaddr *address, socklen_t *size) {
    return fails(FAULT_GETSOCKNAME) ? -1 : linux_system.getsockname(fd, address, size);
}

static int fault_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
    return fails(FAULT_GETSOCKOPT) ? -1 : linux_system.getsockopt(fd, level, name, value, size);
}

static int fault_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
    return fails(FAULT_SETSOCKOPT) ? -1 : linux_system.setsockopt(fd, level, name, value, size);
}

static int fault_ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fails(FAULT_IOCTL) ? -1 : linux_system.ioctl(fd, request, argument);
}

static ssize_t fault_recv(int fd, void *bytes, size_t size, int flags) {
    if (fails(FAULT_RECEIVE)) {
        return -1;
    }
    return linux_system.recv(fd, bytes, shortened(FAULT_RECEIVE, size), flags);
}

static ssize_t fault_send(int fd, const void *bytes, size_t size, int flags) {
    if (fails(FAULT_SEND)) {
        return -1;
    }
    return linux_system.send(fd, bytes, shortened(FAULT_SEND, size), flags);
}

/* Cut at the end of a vector, or in the midst of the first one. */
static ssize_t fault_sendmsg(int fd, const struct msghdr *message, int flags) {
    if (fails(FAULT_SENDMSG)) {
        return -1;
    }
    struct msghdr cut = *message;
    struct iovec first = message->msg_iov[0];
    size_t size = 0;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size += message->msg_iov[i].iov_len;
    }
    size_t room = shortened(FAULT_SENDMSG, size);
    if (room < size) {
        cut.msg_iovlen = 1;
        first.iov_len = room < first.iov_len ? room : first.iov_len;
        cut.msg_iov = &first;
    }
    return linux_system.sendmsg(fd, &cut, flags);
}

static ssize_t fault_sendfile(int fd, int file, off_t *offset, size_t size) {
    if (fails(FAULT_SENDFILE)) {
        return -1;
    }
    return linux_system.sendfile(fd, file, offset, shortened(FAULT_SENDFILE, size));
}

static int fault_recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags,
                          struct timespec *timeout) {
    return fails(FAULT_RECEIVE_FROM) ? -1
                                     : linux_system.recvmmsg(fd, messages, count, flags, timeout);
}

static int fault_sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    if (fails(FAULT_SEND_TO)) {
        return -1;
    }
    return linux_system.sendmmsg(fd, messages, (unsigned)shortened(FAULT_SEND_TO, count), flags);
}

static ssize_t fault_preadv2(int fd, const struct iovec *vectors, int count, off_t offset,
                             int flags) {
    return fails(FAULT_PREAD) ? -1 : linux_system.preadv2(fd, vectors, count, offset, flags);
}

static int fault_poll(struct pollfd *fds, nfds_t count, int timeout_ms) {
    return fails(FAULT_POLL) ? -1 : linux_system.poll(fds, count, timeout_ms);
}

static int fault_eventfd(unsigned value, int flags) {
    return fails(FAULT_EVENTFD) ? -1 : linux_system.eventfd(value, flags);
}

static ssize_t fault_read(int fd, void *bytes, size_t size) {
    return fails(FAULT_READ) ? -1 : linux_system.read(fd, bytes, size);
}

static ssize_t fault_write(int fd, const void *bytes, size_t size) {
    return fails(FAULT_WRITE) ? -1 : linux_system.write(fd, bytes, size);
}

static int fault_epoll_create1(int flags) {
    return fails(FAULT_EPOLL_CREATE) ? -1 : linux_system.epoll_create1(flags);
}

static int fault_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event) {
    enum fault_call call = command == EPOLL_CTL_ADD   ? FAULT_EPOLL_ADD
                           : command == EPOLL_CTL_MOD ? FAULT_EPOLL_MOD
                                                      : FAULT_EPOLL_DEL;
    return fails(call) ? -1 : linux_system.epoll_ctl(epoll, command, fd, event);
}

static int fault_epoll_wait(int epoll, struct epoll_event *events, int count, int timeout_ms) {
    return fails(FAULT_EPOLL_WAIT) ? -1 : linux_system.epoll_wait(epoll, events, count, timeout_ms);
}

static void *fault_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    return fails(FAULT_MMAP) ? MAP_FAILED
                             : linux_system.mmap(at, size, protection, flags, fd, offset);
}

/* -- operations of the ring ------------------------------------------------ */

/* One that the kernel does not see; it gets one that does nothing, with the address of this and its
 * highest bit set as what it is about. */
struct spoiled {
    bool is_used;
    uint64_t data;
    int32_t result;
};

enum { SPOILED_BIT = 63 };

/* A ring, and how far its submissions were looked at. */
struct known_ring {
    struct io_uring *ring;
    unsigned seen;
};

static struct plan operations[OPERATIONS_MAX];
static struct spoiled spoiled[SPOILED_MAX];
static struct known_ring rings[RINGS_MAX];
static struct uring_completion held[HELD_MAX]; /* of all rings: there is one under test */
static unsigned held_first;
static unsigned held_count;
static bool holding;
static unsigned submissions_max;
static unsigned completions_max;
static unsigned overflows;
static bool is_aged;
static enum fault_age age;

void faults_complete(int operation, unsigned pass, unsigned count, int code) {
    plan_set(&operations[operation], pass, count, code);
}

unsigned faults_completed(int operation) {
    return operations[operation].injected;
}

static struct known_ring *ring_find(const struct io_uring *ring) {
    struct known_ring *found = NULL;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < RINGS_MAX && !found; i++) {
        found = rings[i].ring == ring ? &rings[i] : NULL;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

/* Another one in its place; NULL: none. */
static void ring_replace(const struct io_uring *ring, struct io_uring *by) {
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < RINGS_MAX; i++) {
        if (rings[i].ring == ring) {
            rings[i] = (struct known_ring){by, by ? by->sq.sqe_tail : 0};
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

static struct spoiled *spoiled_take(void) {
    struct spoiled *one = spoiled;
    pthread_mutex_lock(&lock);
    while (one < spoiled + SPOILED_MAX && one->is_used) {
        one++;
    }
    ASSERT(one < spoiled + SPOILED_MAX);
    one->is_used = true;
    pthread_mutex_unlock(&lock);
    return one;
}

static void spoil(struct io_uring_sqe *sqe, int code) {
    struct spoiled *one = spoiled_take();
    one->data = sqe->user_data;
    one->result = -code;
    memset(sqe, 0, sizeof(*sqe)); /* IORING_OP_NOP is 0 */
    sqe->user_data = (uint64_t)(uintptr_t)one | UINT64_C(1) << SPOILED_BIT;
}

/* What an older kernel says of an operation, as an errno. */
static int refusal_of(const struct io_uring_sqe *sqe) {
    enum { FIXED_FD_INSTALL = 54, POLL_FIRST = 1 << 2 };
    if (!is_aged) {
        return 0;
    }
    bool is_limited = sqe->opcode == IORING_OP_RECV && sqe->file_index != 0;
    bool waits_first = sqe->opcode == IORING_OP_ACCEPT && (sqe->ioprio & POLL_FIRST) != 0;
    return is_limited || waits_first || sqe->opcode == FIXED_FD_INSTALL ? EINVAL : 0;
}

/* A chain ends with one that fails: what is linked to it is cancelled. */
static void spoil_planned(struct io_uring *ring) {
    struct known_ring *known = ring_find(ring);
    int chained = 0;
    for (; known && known->seen != ring->sq.sqe_tail; known->seen++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[known->seen & *ring->sq.kring_mask];
        bool is_linked = (sqe->flags & IOSQE_IO_LINK) != 0;
        int code = chained ? chained : refusal_of(sqe);
        if (code == 0 && sqe->opcode < OPERATIONS_MAX && plan_fails(&operations[sqe->opcode])) {
            code = errno;
        }
        if (code != 0) {
            spoil(sqe, code);
        }
        chained = code != 0 && is_linked ? ECANCELED : 0;
    }
}

/* The kernel's completion as the engine is to see it. */
static void undo_spoiling(struct uring_completion *completion) {
    const uint64_t bit = UINT64_C(1) << SPOILED_BIT;
    if ((completion->data & bit) != 0) {
        struct spoiled *one = (struct spoiled *)(uintptr_t)(completion->data & ~bit);
        *completion = (struct uring_completion){.data = one->data, .result = one->result};
        pthread_mutex_lock(&lock);
        one->is_used = false;
        pthread_mutex_unlock(&lock);
    }
}

/* -- calls of the ring ----------------------------------------------------- */

static int fault_create(unsigned entries, struct io_uring *ring,
                        struct io_uring_params *parameters) {
    const unsigned newer = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER;
    if (fails(FAULT_RING_CREATE)) {
        return -errno;
    }
    if (is_aged && age == FAULT_LINUX_5_19 && (parameters->flags & newer) != 0) {
        return -EINVAL;
    }
    if (submissions_max > 0 && entries > submissions_max) {
        entries = submissions_max;
    }
    if (completions_max > 0 && (parameters->flags & IORING_SETUP_CQSIZE) != 0) {
        parameters->cq_entries = completions_max;
    }
    int code = uring_system.create(entries, ring, parameters);
    if (code == 0) {
        ring_replace(NULL, ring);
    }
    return code;
}

static void fault_destroy(struct io_uring *ring) {
    ring_replace(ring, NULL);
    uring_system.destroy(ring);
}

static int fault_probe(struct io_uring *ring, struct io_uring_probe *probe, unsigned count) {
    return fails(FAULT_RING_PROBE) ? -errno : uring_system.probe(ring, probe, count);
}

static struct io_uring_probe *fault_get_probe(void) {
    return is_aged ? NULL : uring_system.get_probe();
}

static struct io_uring_sqe *fault_sqe(struct io_uring *ring) {
    bool may_be_full = io_uring_sq_ready(ring) > 0;
    return may_be_full && fails(FAULT_RING_SQE) ? NULL : uring_system.sqe(ring);
}

/* Whether a wait has to be for nothing, since there is something. */
static bool has_released(void) {
    return !holding && held_count > 0;
}

static bool submit_fails(struct io_uring *ring) {
    if (fails(FAULT_RING_SUBMIT)) {
        return true;
    }
    spoil_planned(ring);
    return false;
}

static int fault_submit(struct io_uring *ring) {
    return submit_fails(ring) ? -errno : uring_system.submit(ring);
}

static int fault_submit_and_get_events(struct io_uring *ring) {
    return submit_fails(ring) ? -errno : uring_system.submit_and_get_events(ring);
}

static int fault_submit_and_wait(struct io_uring *ring, unsigned count) {
    return submit_fails(ring) ? -errno : uring_system.submit_and_wait(ring, count);
}

static int fault_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                         unsigned count, struct __kernel_timespec *time,
                                         sigset_t *mask) {
    return submit_fails(ring) ? -errno
                              : uring_system.submit_and_wait_timeout(ring, cqe, count, time, mask);
}

static bool fault_has_overflow(const struct io_uring *ring) {
    return uring_system.has_overflow(ring);
}

static bool fault_take(struct io_uring *ring, struct uring_completion *completion) {
    if (has_released()) {
        *completion = held[held_first++];
        held_count--;
        return true;
    }
    if (uring_system.has_overflow(ring)) {
        overflows++;
    }
    while (uring_system.take(ring, completion)) {
        undo_spoiling(completion);
        if (!holding) {
            return true;
        }
        ASSERT(held_first + held_count < HELD_MAX);
        held[held_first + held_count++] = *completion;
    }
    return false;
}

static unsigned fault_ready(const struct io_uring *ring) {
    return uring_system.ready(ring) + (has_released() ? held_count : 0);
}

static int fault_register_buffers(struct io_uring *ring, struct io_uring_buf_reg *buffers,
                                  unsigned flags) {
    return fails(FAULT_REGISTER_BUFFERS) ? -errno
                                         : uring_system.register_buffers(ring, buffers, flags);
}

static int fault_unregister_buffers(struct io_uring *ring, int group) {
    return fails(FAULT_UNREGISTER_BUFFERS) ? -errno : uring_system.unregister_buffers(ring, group);
}

static int fault_register_files_sparse(struct io_uring *ring, unsigned count) {
    return fails(FAULT_REGISTER_TABLE) ? -errno : uring_system.register_files_sparse(ring, count);
}

static int fault_register_files_update(struct io_uring *ring, unsigned from, const int *files,
                                       unsigned count) {
    return fails(FAULT_UPDATE_TABLE) ? -errno
                                     : uring_system.register_files_update(ring, from, files, count);
}

/* -- control --------------------------------------------------------------- */

void faults_hold(void) {
    holding = true;
}

void faults_release(void) {
    holding = false;
}

unsigned faults_held(void) {
    return held_count;
}

void faults_limit_ring(unsigned submissions, unsigned completions) {
    submissions_max = submissions;
    completions_max = completions;
}

unsigned faults_overflows(void) {
    return overflows;
}

void faults_age(enum fault_age wanted) {
    is_aged = true;
    age = wanted;
}

static void reset_ring(void) {
    memset(operations, 0, sizeof(operations));
    memset(spoiled, 0, sizeof(spoiled));
    memset(rings, 0, sizeof(rings));
    held_first = held_count = 0;
    holding = false;
    submissions_max = completions_max = 0;
    overflows = 0;
    is_aged = false;
    uring_calls = (struct uring_call_table){
        .create = fault_create,
        .destroy = fault_destroy,
        .get_probe = fault_get_probe,
        .probe = fault_probe,
        .sqe = fault_sqe,
        .submit = fault_submit,
        .submit_and_get_events = fault_submit_and_get_events,
        .submit_and_wait = fault_submit_and_wait,
        .submit_and_wait_timeout = fault_submit_and_wait_timeout,
        .take = fault_take,
        .ready = fault_ready,
        .has_overflow = fault_has_overflow,
        .register_buffers = fault_register_buffers,
        .unregister_buffers = fault_unregister_buffers,
        .register_files_sparse = fault_register_files_sparse,
        .register_files_update = fault_register_files_update,
    };
}

void faults_reset(void) {
    memset(plans, 0, sizeof(plans));
    reset_ring();
    linux_calls = (struct linux_call_table){
        .socket = fault_socket,
        .socketpair = fault_socketpair,
        .bind = fault_bind,
        .listen = fault_listen,
        .connect = fault_connect,
        .accept4 = fault_accept4,
        .shutdown = fault_shutdown,
        .close = fault_close,
        .getsockname = fault_getsockname,
        .getsockopt = fault_getsockopt,
        .setsockopt = fault_setsockopt,
        .fcntl = linux_system.fcntl,
        .ioctl = fault_ioctl,
        .recv = fault_recv,
        .send = fault_send,
        .sendmsg = fault_sendmsg,
        .sendfile = fault_sendfile,
        .recvmmsg = fault_recvmmsg,
        .sendmmsg = fault_sendmmsg,
        .preadv2 = fault_preadv2,
        .poll = fault_poll,
        .eventfd = fault_eventfd,
        .read = fault_read,
        .write = fault_write,
        .epoll_create1 = fault_epoll_create1,
        .epoll_ctl = fault_epoll_ctl,
        .epoll_wait = fault_epoll_wait,
        .mmap = fault_mmap,
        .munmap = linux_system.munmap,
    };
}
