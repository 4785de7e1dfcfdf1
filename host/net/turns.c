#include "net/turns.h"

#include <stdatomic.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/macros.h"
#include "net/worker_core.h"

/* A turn without a byte for so long passes on, when others wait. */
enum { STALLED_MS = 1000 };

enum turn_state { TURN_NONE, TURN_WAITING, TURN_HELD };

struct turn {
    struct turn *prev; /* in holders or waiting */
    struct turn *next;
    struct turns *turns;
    struct worker *worker;
    void *owner;            /* NULL once it is gone, with the post still under way */
    enum turn_state state;  /* under the lock */
    bool posted;            /* under the lock: `comes` is on its way */
    struct engine_op comes; /* tells the worker */
    struct timer look;      /* while it waits: whether a holder is stalled */
    _Atomic uint64_t progress_ms;
};

void turns_init(struct turns *turns, uint32_t max,
                void (*comes)(struct worker *worker, void *owner),
                void (*over)(struct turns *turns)) {
    turns->max = max;
    turns->comes = comes;
    turns->over = over;
    os_mutex_init(&turns->mutex);
}

void turns_fini(struct turns *turns) {
    ASSERT(!turns->holders && !turns->waiting);
    os_mutex_fini(&turns->mutex);
}

/* -- under the lock ------------------------------------------------------------------------------
 */

static void hold(struct turn *turn) {
    turn->state = TURN_HELD;
    atomic_store(&turn->progress_ms, engine_now_ms()); /* of any thread */
    DL_APPEND(turn->turns->holders, turn);
    turn->turns->taken++;
}

/* Free turns go to those who wait. */
static void hand_out(struct turns *turns) {
    while (turns->waiting && (turns->max == 0 || turns->taken < turns->max)) {
        struct turn *turn = turns->waiting;
        DL_DELETE(turns->waiting, turn);
        hold(turn);
        if (!turn->posted) {
            turn->posted = true;
            engine_port_post(turn->worker->port, &turn->comes);
        }
    }
}

static void drop(struct turn *turn) {
    struct turns *turns = turn->turns;
    if (turn->state == TURN_HELD) {
        DL_DELETE(turns->holders, turn);
        turns->taken--;
    } else if (turn->state == TURN_WAITING) {
        DL_DELETE(turns->waiting, turn);
    }
    turn->state = TURN_NONE;
}

void turns_configure(struct turns *turns, uint32_t max) {
    os_mutex_lock(&turns->mutex);
    turns->max = max;
    hand_out(turns);
    os_mutex_unlock(&turns->mutex);
}

/* -- on the connections' workers -----------------------------------------------------------------
 */

static void on_comes(struct engine_op *op, int64_t result) {
    struct turn *turn = CONTAINER_OF(op, struct turn, comes);
    struct turns *turns = turn->turns;
    struct worker *worker = turn->worker;
    void *owner = turn->owner;
    (void)result;
    os_mutex_lock(&turns->mutex);
    turn->posted = false;
    bool held = turn->state == TURN_HELD;
    os_mutex_unlock(&turns->mutex);
    if (!owner) {
        alloc_free(turn);
        turns->over(turns);
    } else if (held) {
        timers_stop(&worker->timers, &turn->look);
        turns->comes(worker, owner);
    }
}

static void on_look(struct timer *timer) {
    struct turn *turn = CONTAINER_OF(timer, struct turn, look);
    struct turns *turns = turn->turns;
    uint64_t now_ms = worker_now_ms(turn->worker);
    struct turn *holder;
    struct turn *next;
    os_mutex_lock(&turns->mutex);
    DL_FOREACH_SAFE(turns->holders, holder, next) {
        if (now_ms - atomic_load(&holder->progress_ms) >= STALLED_MS) {
            drop(holder);
        }
    }
    hand_out(turns);
    bool waits = turn->state == TURN_WAITING;
    os_mutex_unlock(&turns->mutex);
    if (waits) {
        timers_start(&turn->worker->timers, &turn->look, now_ms, STALLED_MS);
    }
}

static struct turn *turn_create(struct turns *turns, struct worker *worker, void *owner) {
    struct turn *turn = alloc_zeroed(sizeof(*turn));
    if (turn) {
        turn->turns = turns;
        turn->worker = worker;
        turn->owner = owner;
        turn->comes.complete = on_comes;
        turn->look.fire = on_look;
    }
    return turn;
}

bool turns_ask(struct turns *turns, struct turn **of_owner, struct worker *worker, void *owner) {
    struct turn *turn = *of_owner ? *of_owner : turn_create(turns, worker, owner);
    if (!turn) {
        return true; /* no memory to make it wait with: it is better off served */
    }
    *of_owner = turn;
    os_mutex_lock(&turns->mutex);
    bool begins_to_wait = false;
    if (turn->state == TURN_NONE && !turns->waiting && turns->taken < turns->max) {
        hold(turn);
    } else if (turn->state == TURN_NONE) {
        turn->state = TURN_WAITING;
        DL_APPEND(turns->waiting, turn);
        begins_to_wait = true;
    }
    bool held = turn->state == TURN_HELD;
    os_mutex_unlock(&turns->mutex);
    if (begins_to_wait) {
        timers_start(&turn->worker->timers, &turn->look, worker_now_ms(turn->worker), STALLED_MS);
    }
    return held;
}

void turns_progress(struct turn *turn) {
    if (turn) {
        atomic_store(&turn->progress_ms, worker_now_ms(turn->worker));
    }
}

void turns_end(struct turn *turn) {
    if (turn) {
        os_mutex_lock(&turn->turns->mutex);
        drop(turn);
        hand_out(turn->turns);
        os_mutex_unlock(&turn->turns->mutex);
        timers_stop(&turn->worker->timers, &turn->look);
    }
}

bool turns_leave(struct turn *turn) {
    if (!turn) {
        return false;
    }
    turns_end(turn);
    os_mutex_lock(&turn->turns->mutex);
    bool posted = turn->posted;
    os_mutex_unlock(&turn->turns->mutex);
    if (posted) {
        turn->owner = NULL; /* freed when the post has come: on this thread, later */
    } else {
        alloc_free(turn);
    }
    return posted;
}
