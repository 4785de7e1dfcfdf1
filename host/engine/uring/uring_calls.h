/* uring_calls.h: every function of liburing that uses a ring and that the io_uring engine calls, as
 * a table; see linux_calls.h.
 *
 * Results are liburing's: 0 or a count, or a negative errno. Threads: the ring's. */
#ifndef BERTH_HOST_ENGINE_URING_URING_CALLS_H
#define BERTH_HOST_ENGINE_URING_URING_CALLS_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

/* The contents of a completion. */
struct uring_completion {
    uint64_t data;
    int32_t result;
    uint32_t flags;
};

/* Takes the next completion off the ring. False: there is none. */
static inline bool uring_take(struct io_uring *ring, struct uring_completion *completion) {
    struct io_uring_cqe *cqe;
    if (io_uring_peek_cqe(ring, &cqe) != 0) {
        return false;
    }
    *completion = (struct uring_completion){cqe->user_data, cqe->res, cqe->flags};
    io_uring_cqe_seen(ring, cqe);
    return true;
}

struct uring_call_table {
    int (*create)(unsigned entries, struct io_uring *ring, struct io_uring_params *parameters);
    void (*destroy)(struct io_uring *ring);
    struct io_uring_probe *(*get_probe)(void); /* of a ring of its own */
    int (*probe)(struct io_uring *ring, struct io_uring_probe *probe, unsigned count);

    /* NULL: the queue is full. */
    struct io_uring_sqe *(*sqe)(struct io_uring *ring);
    int (*submit)(struct io_uring *ring);
    int (*submit_and_get_events)(struct io_uring *ring);
    int (*submit_and_wait)(struct io_uring *ring, unsigned count);
    int (*submit_and_wait_timeout)(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned count,
                                   struct __kernel_timespec *time, sigset_t *mask);

    bool (*take)(struct io_uring *ring, struct uring_completion *completion);
    unsigned (*ready)(const struct io_uring *ring); /* how many take() has at least */
    bool (*has_overflow)(const struct io_uring *ring);

    int (*register_buffers)(struct io_uring *ring, struct io_uring_buf_reg *buffers,
                            unsigned flags);
    int (*unregister_buffers)(struct io_uring *ring, int group);
    int (*register_files_sparse)(struct io_uring *ring, unsigned count);
    int (*register_files_update)(struct io_uring *ring, unsigned from, const int *files,
                                 unsigned count);
};

static const struct uring_call_table uring_system = {
    .create = io_uring_queue_init_params,
    .destroy = io_uring_queue_exit,
    .get_probe = io_uring_get_probe,
    .probe = io_uring_register_probe,
    .sqe = io_uring_get_sqe,
    .submit = io_uring_submit,
    .submit_and_get_events = io_uring_submit_and_get_events,
    .submit_and_wait = io_uring_submit_and_wait,
    .submit_and_wait_timeout = io_uring_submit_and_wait_timeout,
    .take = uring_take,
    .ready = io_uring_cq_ready,
    .has_overflow = io_uring_cq_has_overflow,
    .register_buffers = io_uring_register_buf_ring,
    .unregister_buffers = io_uring_unregister_buf_ring,
    .register_files_sparse = io_uring_register_files_sparse,
    .register_files_update = io_uring_register_files_update,
};

#ifdef BERTH_CALL_TABLE
extern struct uring_call_table uring_calls;
#else
#define uring_calls uring_system
#endif

#endif
