/* uring_probe.c: whether this system allows io_uring, tried once at the start.
 *
 * Container profiles, security modules and old kernels refuse different parts of it: the ring, its
 * registrations, single operations, or the call that submits them. So everything that a port uses
 * is tried on a ring of the same size: the set-up, the operations by name, a ring of buffers, and
 * one multishot receive of one byte, submitted and waited for. The error names what is refused,
 * with the code and the remedy. Then another engine is chosen, or the start fails. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/uring/uring.h"

enum {
    PROBE_BUFFERS = 8,       /* entries of the ring of buffers */
    PROBE_RING_BYTES = 4096, /* of its memory: a page, as it has to begin on one */
    PROBE_BUFFER_BYTES = 64,
    PROBE_ROUNDS_MAX = 8, /* waits for one completion, which normally is there at once */
    PROBE_WAIT_S = 1,
    OPERATIONS_MAX = 256,
};

/* One ring that is tried, and the part of it that was tried last: the one that is refused. */
struct uring_attempt {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    int sockets[2];
    uint8_t bytes[PROBE_BUFFER_BYTES];
    const char *what;
};

/* Flags that a port can do without, in the order in which they are left out. */
static const struct {
    unsigned flag;
    const char *name;
} optional_flags[] = {
    {IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN"},
    {IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER"},
    {IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL"},
};

/* The operations of a port. */
static const struct {
    uint8_t code;
    const char *name;
} operations[] = {
    {IORING_OP_NOP, "the operation NOP"},
    {IORING_OP_READ, "the operation READ"},
    {IORING_OP_POLL_ADD, "the operation POLL_ADD"},
    {IORING_OP_ASYNC_CANCEL, "the operation ASYNC_CANCEL"},
    {IORING_OP_ACCEPT, "the operation ACCEPT"},
    {IORING_OP_CONNECT, "the operation CONNECT"},
    {IORING_OP_RECV, "the operation RECV"},
};

/* -- the ring -------------------------------------------------------------- */

static int ring_create(struct io_uring *ring, unsigned flags) {
    struct io_uring_params parameters = {.flags = flags | IORING_SETUP_CQSIZE,
                                         .cq_entries = URING_COMPLETIONS};
    return -uring_calls.create(URING_SUBMISSIONS, ring, &parameters);
}

/* With as many of the flags as this kernel takes. 0, or an errno. */
static int ring_create_best(struct engine *engine, struct uring_attempt *attempt) {
    attempt->what = "io_uring_setup";
    engine->uring_flags = 0;
    for (size_t i = 0; i < ARRAY_COUNT(optional_flags); i++) {
        engine->uring_flags |= optional_flags[i].flag;
    }
    int code = ring_create(&attempt->ring, engine->uring_flags);
    for (size_t i = 0; code == EINVAL && i < ARRAY_COUNT(optional_flags); i++) {
        log_debug(NULL, "io_uring: this kernel is without %s, which costs speed",
                  optional_flags[i].name);
        engine->uring_flags &= ~optional_flags[i].flag;
        code = ring_create(&attempt->ring, engine->uring_flags);
    }
    return code;
}

/* -- what a port uses of it ------------------------------------------------ */

static int check_operations(struct uring_attempt *attempt) {
    union {
        struct io_uring_probe probe;
        uint8_t
            room[sizeof(struct io_uring_probe) + OPERATIONS_MAX * sizeof(struct io_uring_probe_op)];
    } answer = {0};
    attempt->what = "io_uring_register (IORING_REGISTER_PROBE)";
    int code = -uring_calls.probe(&attempt->ring, &answer.probe, OPERATIONS_MAX);
    for (size_t i = 0; code == 0 && i < ARRAY_COUNT(operations); i++) {
        if (!io_uring_opcode_supported(&answer.probe, operations[i].code)) {
            attempt->what = operations[i].name;
            code = EOPNOTSUPP;
        }
    }
    return code;
}

static int check_buffer_ring(struct uring_attempt *attempt) {
    struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)(uintptr_t)attempt->buffers,
                                            .ring_entries = PROBE_BUFFERS,
                                            .bgid = URING_BUFFER_GROUP};
    attempt->what = "io_uring_register (a ring of buffers)";
    int code = -uring_calls.register_buffers(&attempt->ring, &registration, 0);
    if (code == 0) {
        io_uring_buf_ring_init(attempt->buffers);
        io_uring_buf_ring_add(attempt->buffers, attempt->bytes, sizeof(attempt->bytes), 0,
                              PROBE_BUFFERS - 1, 0);
        io_uring_buf_ring_advance(attempt->buffers, 1);
    }
    return code;
}

/* Submits one entry and waits for its completion. False: the code of the call is in *code. */
static bool submit_one(struct io_uring *ring, struct uring_completion *completion, int *code) {
    struct __kernel_timespec time = {.tv_sec = PROBE_WAIT_S};
    struct io_uring_cqe *cqe;
    for (int i = 0; i < PROBE_ROUNDS_MAX; i++) {
        *code = -uring_calls.submit_and_wait_timeout(ring, &cqe, 1, &time, NULL);
        if (uring_calls.take(ring, completion)) {
            return true;
        }
        if (*code > 0 && *code != EINTR && *code != EAGAIN) {
            return false;
        }
    }
    *code = *code > 0 ? *code : ETIME;
    return false;
}

static int uring_probe_check_receive(struct uring_attempt *attempt) {
    struct uring_completion completion;
    int code;
    attempt->what = "socketpair";
    if (linux_calls.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, attempt->sockets) != 0) {
        return errno;
    }
    if (linux_calls.write(attempt->sockets[1], "", 1) != 1) {
        return errno;
    }
    struct io_uring_sqe *sqe = uring_calls.sqe(&attempt->ring);
    io_uring_prep_recv_multishot(sqe, attempt->sockets[0], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    attempt->what = "io_uring_enter";
    if (!submit_one(&attempt->ring, &completion, &code)) {
        return code;
    }
    attempt->what = "a multishot receive";
    if (completion.result < 0) {
        return -completion.result;
    }
    return completion.result == 1 && (completion.flags & IORING_CQE_F_BUFFER) != 0 ? 0 : EOPNOTSUPP;
}

static int try_out(struct engine *engine, struct uring_attempt *attempt) {
    attempt->what = "mmap";
    void *memory = linux_calls.mmap(NULL, PROBE_RING_BYTES, PROT_READ | PROT_WRITE,
                                    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (memory == MAP_FAILED) {
        return errno;
    }
    attempt->buffers = memory;
    attempt->sockets[0] = attempt->sockets[1] = -1;
    int code = ring_create_best(engine, attempt);
    if (code == 0) {
        code = check_operations(attempt);
        code = code ? code : check_buffer_ring(attempt);
        code = code ? code : uring_probe_check_receive(attempt);
        uring_calls.destroy(&attempt->ring);
    }
    for (size_t i = 0; i < ARRAY_COUNT(attempt->sockets); i++) {
        if (attempt->sockets[i] >= 0) {
            linux_calls.close(attempt->sockets[i]);
        }
    }
    linux_calls.munmap(memory, PROBE_RING_BYTES);
    return code;
}

/* -- what it can do without ------------------------------------------------ */

/* Whether this kernel supports a prepared operation. One that does not refuses it before it looks
 * at the descriptor, which is invalid: so EBADF means that it does. */
static bool uring_probe_is_taken(unsigned flags, void (*prepare)(struct io_uring_sqe *sqe)) {
    struct io_uring ring;
    struct io_uring_params parameters = {.flags = flags};
    struct uring_completion completion;
    bool taken = false;
    int code;
    if (uring_calls.create(2, &ring, &parameters) != 0) {
        return false;
    }
    prepare(uring_calls.sqe(&ring));
    if (submit_one(&ring, &completion, &code)) {
        taken = completion.result == -EBADF;
    }
    uring_calls.destroy(&ring);
    return taken;
}

static void prepare_limited_receive(struct io_uring_sqe *sqe) {
    io_uring_prep_recv_multishot(sqe, -1, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    uring_limit_receive(sqe, 1);
}

static void prepare_waiting_accept(struct io_uring_sqe *sqe) {
    io_uring_prep_accept(sqe, -1, NULL, NULL, 0);
    uring_wait_first(sqe);
}

static void probe_operations(struct engine *engine) {
    /* Linux 6.17. Older ones give one connection up to 32 buffers at a time. */
    engine->uring_limits_bursts =
        uring_probe_is_taken(engine->uring_flags, prepare_limited_receive);
    if (!engine->uring_limits_bursts) {
        log_debug(NULL,
                  "io_uring: this kernel cannot limit what one connection receives at a time");
    }
    /* Linux 6.10. Older ones try first, and may fail for want of a descriptor although no client
     * has come. */
    engine->uring_accepts = uring_probe_is_taken(engine->uring_flags, prepare_waiting_accept);
    if (!engine->uring_accepts) {
        log_debug(NULL, "io_uring: this kernel's accepts cannot wait first: accept4() takes "
                        "the clients, which costs speed");
    }
}

/* -- the answer ------------------------------------------------------------ */

static const char *remedy_of(int code) {
    switch (code) {
    case EPERM:
    case EACCES:
        return "a container's profile, a security module or the sysctl kernel.io_uring_disabled "
               "forbids it, and would have to allow it";
    case ENOSYS:
        return "a container's profile forbids it, or the kernel is too old";
    case ENOMEM:
        return "memory is short, or the limit of locked memory is too low (ulimit -l, "
               "LimitMEMLOCK=)";
    case EMFILE:
    case ENFILE:
        return "descriptors are short (ulimit -n, LimitNOFILE=)";
    default:
        return "Linux 6.1 or later has all that is used of it";
    }
}

bool linux_uring_probe(struct engine *engine, struct error *error) {
    struct uring_attempt attempt = {0};
    int code = try_out(engine, &attempt);
    if (code != 0) {
        return error_set(error, "io_uring is refused by this system: %s: %s (%s)", attempt.what,
                         strerror(code), remedy_of(code));
    }
    probe_operations(engine);
    return true;
}
