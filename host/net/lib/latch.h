/* latch.h: counts down to zero once, and lets one thread wait for that.
 *
 * No latch has a deadline of its own: the thread that counts it down may use what is on the
 * waiter's stack. The wait is bounded otherwise: host.hang_timeout_ms (callback_guard.h) ends a
 * callback that keeps a worker busy, and control/guard.h ends a stop, and a wait that no callback
 * causes.
 *
 * Owner: the waiter, usually on its stack: latch_wait() returns only when no thread accesses the
 * latch any more. Threads: down() any, wait() one. */
#ifndef BERTH_HOST_NET_LIB_LATCH_H
#define BERTH_HOST_NET_LIB_LATCH_H

#include <stdatomic.h>

#include "os/os.h"

struct latch {
    struct os_mutex mutex;
    struct os_condition condition;
    unsigned count;
};

void latch_init(struct latch *latch, unsigned count);
void latch_down(struct latch *latch);
bool latch_is_down(struct latch *latch); /* a wait would return at once */
void latch_wait(struct latch *latch);    /* and ends the latch's lifetime */

/* What a thread waits for, readable by other threads. Zero at first. */
struct latch_note {
    _Atomic(const char *) what;
    atomic_uint number; /* counts the waits */
};

/* The same, recorded in the note meanwhile; NULL: not recorded. A server's code calls
 * server_await() instead. */
void latch_wait_noted(struct latch *latch, struct latch_note *note, const char *what);

/* The thread waits for something that is not a latch, between the two calls. */
void latch_note_begin(struct latch_note *note, const char *what);
void latch_note_end(struct latch_note *note);

/* What it waits for at present, or NULL; and the number of that wait. [any] */
unsigned latch_note_read(const struct latch_note *note, const char **what);

#endif
