/* latch.h: counts down to zero once, and lets one thread wait for that.
 *
 * No latch has a deadline of its own: whoever counts it down may use what lies on the waiter's
 * stack. What bounds the wait is that a callback which keeps a worker busy is ended by
 * host.hang_timeout_ms (callback_guard.h), and a stop, and a wait that no callback is the reason
 * of, by control/guard.h.
 *
 * Owner: the waiter, usually on its stack: latch_wait() returns only when nobody touches the latch
 * any more. Threads: down() any, wait() one. */
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
bool latch_is_down(struct latch *latch); /* a wait would be none */
void latch_wait(struct latch *latch);    /* and ends the latch's life */

/* What a thread waits for, for others who ask. Zero at first. */
struct latch_note {
    _Atomic(const char *) what;
    atomic_uint number; /* of waits */
};

/* The same, noted meanwhile; NULL: nowhere. A server's code calls server_await() instead. */
void latch_wait_noted(struct latch *latch, struct latch_note *note, const char *what);

/* The thread waits, for something that is no latch, in between. */
void latch_note_begin(struct latch_note *note, const char *what);
void latch_note_end(struct latch_note *note);

/* What it waits for in this moment, or NULL; and which of its waits that is. [any] */
unsigned latch_note_read(const struct latch_note *note, const char **what);

#endif
