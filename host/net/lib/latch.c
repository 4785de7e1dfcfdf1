#include "net/lib/latch.h"

#include <stdatomic.h>
#include <stddef.h>

#include "base/assert.h"

void latch_init(struct latch *latch, unsigned count) {
    os_mutex_init(&latch->mutex);
    os_condition_init(&latch->condition);
    latch->count = count;
}

/* Signalled under the lock: the waiter can return, and the latch be freed, only after the
 * unlock. */
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

void latch_note_begin(struct latch_note *note, const char *what) {
    atomic_fetch_add(&note->number, 1);
    atomic_store(&note->what, what);
}

void latch_note_end(struct latch_note *note) {
    atomic_store(&note->what, NULL);
}

void latch_wait_noted(struct latch *latch, struct latch_note *note, const char *what) {
    if (!note) {
        latch_wait(latch);
        return;
    }
    atomic_fetch_add(&note->number, 1);
    atomic_store(&note->what, what);
    latch_wait(latch);
    atomic_store(&note->what, NULL);
}

unsigned latch_note_read(const struct latch_note *note, const char **what) {
    unsigned number = atomic_load(&note->number);
    *what = atomic_load(&note->what);
    return number;
}
