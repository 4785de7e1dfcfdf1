#include "net/latch.h"

#include "base/assert.h"

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

void latch_wait(struct latch *latch) {
    os_mutex_lock(&latch->mutex);
    while (latch->count > 0) {
        os_condition_wait(&latch->condition, &latch->mutex, -1);
    }
    os_mutex_unlock(&latch->mutex);
    os_condition_fini(&latch->condition);
    os_mutex_fini(&latch->mutex);
}
