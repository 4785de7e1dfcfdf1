#include "net/latch.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/assert.h"

static _Atomic(const char *) control_waits_for;

void latch_init(struct latch *latch, unsigned count) {
    os_mutex_init(&latch->mutex);
    os_condition_init(&latch->condition);
    latch->count = count;
}

/* Signalled under the lock: the waiter can leave, and the latch be gone, only once it is free. */
void latch_down(struct latch *latch) {
    os_mutex_lock(&latch->mutex);
    ASSERT(latch->count > 0);
    if (--latch->count == 0) {
        os_condition_signal_all(&latch->condition);
    }
    os_mutex_unlock(&latch->mutex);
}

bool latch_is_down(struct latch *latch) {
    os_mutex_lock(&latch->mutex);
    bool is_down = latch->count == 0;
    os_mutex_unlock(&latch->mutex);
    return is_down;
}

void latch_wait(struct latch *latch) {
    os_mutex_lock(&latch->mutex);
    while (latch->count > 0) {
        os_condition_wait(&latch->condition, &latch->mutex, -1);
    }
    os_mutex_unlock(&latch->mutex);
    os_condition_fini(&latch->condition);
    os_mutex_fini(&latch->mutex);
}

void latch_wait_on_control(struct latch *latch, const char *what) {
    atomic_store(&control_waits_for, what);
    latch_wait(latch);
    atomic_store(&control_waits_for, NULL);
}

const char *latch_control_waits_for(void) {
    return atomic_load(&control_waits_for);
}
