#include "net/conn/io_permits.h"

#include <stdatomic.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/macros.h"
#include "net/conn/worker_core.h"

/* A permit that has moved no byte for this long passes on, if others wait. */
enum { STALLED_MS = 1000 };

enum io_permit_state { IO_PERMIT_NONE, IO_PERMIT_WAITING, IO_PERMIT_HELD };

struct io_permit {
    struct io_permit *prev; /* in holders or waiting */
    struct io_permit *next;
    struct io_permits *io_permits;
    struct worker *worker;
    void *owner;                /* NULL once the owner is freed, with the post still in flight */
    enum io_permit_state state; /* under the lock */
    bool posted;                /* under the lock: the post of `comes` is in flight */
    struct engine_op comes;     /* notifies the worker */
    struct timer look;          /* while it waits: checks whether a holder is stalled */
    _Atomic uint64_t progress_ms;
};

void io_permits_init(struct io_permits *io_permits, uint32_t max,
                     void (*comes)(struct worker *worker, void *owner),
                     void (*over)(struct io_permits *io_permits)) {
    io_permits->max = max;
    io_permits->comes = comes;
    io_permits->over = over;
    os_mutex_init(&io_permits->mutex);
}

void io_permits_fini(struct io_permits *io_permits) {
    ASSERT(!io_permits->holders && !io_permits->waiting);
    os_mutex_fini(&io_permits->mutex);
}

/* -- under the lock -------------------------------------------------------- */

static void io_permit_hold(struct io_permit *io_permit) {
    io_permit->state = IO_PERMIT_HELD;
    atomic_store(&io_permit->progress_ms, engine_now_ms()); /* of any thread */
    DL_APPEND(io_permit->io_permits->holders, io_permit);
    io_permit->io_permits->taken++;
}

/* Gives free permits to the owners that wait. */
static void hand_out(struct io_permits *io_permits) {
    while (io_permits->waiting && (io_permits->max == 0 || io_permits->taken < io_permits->max)) {
        struct io_permit *io_permit = io_permits->waiting;
        DL_DELETE(io_permits->waiting, io_permit);
        io_permit_hold(io_permit);
        if (!io_permit->posted) {
            io_permit->posted = true;
            engine_port_post(io_permit->worker->port, &io_permit->comes);
        }
    }
}

static void io_permit_drop(struct io_permit *io_permit) {
    struct io_permits *io_permits = io_permit->io_permits;
    if (io_permit->state == IO_PERMIT_HELD) {
        DL_DELETE(io_permits->holders, io_permit);
        io_permits->taken--;
    } else if (io_permit->state == IO_PERMIT_WAITING) {
        DL_DELETE(io_permits->waiting, io_permit);
    }
    io_permit->state = IO_PERMIT_NONE;
}

void io_permits_configure(struct io_permits *io_permits, uint32_t max) {
    os_mutex_lock(&io_permits->mutex);
    io_permits->max = max;
    hand_out(io_permits);
    os_mutex_unlock(&io_permits->mutex);
}

/* -- on the connections' workers ------------------------------------------- */

static void on_comes(struct engine_op *op, int64_t result) {
    struct io_permit *io_permit = CONTAINER_OF(op, struct io_permit, comes);
    struct io_permits *io_permits = io_permit->io_permits;
    struct worker *worker = io_permit->worker;
    void *owner = io_permit->owner;
    (void)result;
    os_mutex_lock(&io_permits->mutex);
    io_permit->posted = false;
    bool held = io_permit->state == IO_PERMIT_HELD;
    os_mutex_unlock(&io_permits->mutex);
    if (!owner) {
        alloc_free(io_permit);
        io_permits->over(io_permits);
    } else if (held) {
        timers_stop(&worker->timers, &io_permit->look);
        io_permits->comes(worker, owner);
    }
}

static void on_look(struct timer *timer) {
    struct io_permit *io_permit = CONTAINER_OF(timer, struct io_permit, look);
    struct io_permits *io_permits = io_permit->io_permits;
    uint64_t now_ms = worker_now_ms(io_permit->worker);
    struct io_permit *holder;
    struct io_permit *next;
    os_mutex_lock(&io_permits->mutex);
    DL_FOREACH_SAFE(io_permits->holders, holder, next) {
        if (now_ms - atomic_load(&holder->progress_ms) >= STALLED_MS) {
            io_permit_drop(holder);
        }
    }
    hand_out(io_permits);
    bool waits = io_permit->state == IO_PERMIT_WAITING;
    os_mutex_unlock(&io_permits->mutex);
    if (waits) {
        timers_start(&io_permit->worker->timers, &io_permit->look, now_ms, STALLED_MS);
    }
}

static struct io_permit *turn_create(struct io_permits *io_permits, struct worker *worker,
                                     void *owner) {
    struct io_permit *io_permit = alloc_zeroed(sizeof(*io_permit));
    if (io_permit) {
        io_permit->io_permits = io_permits;
        io_permit->worker = worker;
        io_permit->owner = owner;
        io_permit->comes.complete = on_comes;
        io_permit->look.fire = on_look;
    }
    return io_permit;
}

bool io_permits_ask(struct io_permits *io_permits, struct io_permit **of_owner,
                    struct worker *worker, void *owner) {
    struct io_permit *io_permit = *of_owner ? *of_owner : turn_create(io_permits, worker, owner);
    if (!io_permit) {
        return true; /* no memory to wait with: it is granted instead */
    }
    *of_owner = io_permit;
    os_mutex_lock(&io_permits->mutex);
    bool begins_to_wait = false;
    if (io_permit->state == IO_PERMIT_NONE && !io_permits->waiting &&
        io_permits->taken < io_permits->max) {
        io_permit_hold(io_permit);
    } else if (io_permit->state == IO_PERMIT_NONE) {
        io_permit->state = IO_PERMIT_WAITING;
        DL_APPEND(io_permits->waiting, io_permit);
        begins_to_wait = true;
    }
    bool held = io_permit->state == IO_PERMIT_HELD;
    os_mutex_unlock(&io_permits->mutex);
    if (begins_to_wait) {
        timers_start(&io_permit->worker->timers, &io_permit->look, worker_now_ms(io_permit->worker),
                     STALLED_MS);
    }
    return held;
}

void io_permits_progress(struct io_permit *io_permit) {
    if (io_permit) {
        atomic_store(&io_permit->progress_ms, worker_now_ms(io_permit->worker));
    }
}

void io_permits_end(struct io_permit *io_permit) {
    if (io_permit) {
        os_mutex_lock(&io_permit->io_permits->mutex);
        io_permit_drop(io_permit);
        hand_out(io_permit->io_permits);
        os_mutex_unlock(&io_permit->io_permits->mutex);
        timers_stop(&io_permit->worker->timers, &io_permit->look);
    }
}

bool io_permits_leave(struct io_permit *io_permit) {
    if (!io_permit) {
        return false;
    }
    io_permits_end(io_permit);
    os_mutex_lock(&io_permit->io_permits->mutex);
    bool posted = io_permit->posted;
    os_mutex_unlock(&io_permit->io_permits->mutex);
    if (posted) {
        io_permit->owner = NULL; /* freed later, on this thread, when the post has arrived */
    } else {
        alloc_free(io_permit);
    }
    return posted;
}
