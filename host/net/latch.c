#include "net/latch.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/assert.h"

static _Atomic(const char *) control_waits_for;
static atomic_uint control_waits;

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

void latch_control_begin(const char *what) {
    atomic_fetch_add(&control_waits, 1);
    atomic_store(&control_waits_for, what);
}

void latch_control_end(void) {
    atomic_store(&control_waits_for, NULL);
}

void latch_wait_on_control(struct latch *latch, const char *what) {
    latch_control_begin(what);
    latch_wait(latch);
    latch_control_end();
}

unsigned latch_control_wait(const char **what) {
    unsigned number = atomic_load(&control_waits);
    *what = atomic_load(&control_waits_for);
    return number;
}
