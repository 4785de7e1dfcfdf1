/* latch.h: counts down to zero once, and lets one thread wait for that.
 *
 * No latch has a deadline of its own: whoever counts it down may use what lies on the waiter's
 * stack. What bounds the wait is that a callback which keeps a worker busy is ended by
 * host.hang_timeout_ms (plugin_call.h), and a stop, and a wait that no callback is the reason of,
 * by control/guard.h.
 *
 * Owner: the waiter, usually on its stack: latch_wait() returns only when nobody touches the latch
 * any more. Threads: down() any, wait() one. */
#ifndef BERTH_HOST_NET_LATCH_H
#define BERTH_HOST_NET_LATCH_H

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

/* The same for the control thread, which others may ask what it waits for. A server's code calls
 * server_await() instead. */
void latch_wait_on_control(struct latch *latch, const char *what);

/* The control thread waits, for something that is no latch, in between. */
void latch_control_begin(const char *what);
void latch_control_end(void);

/* What it waits for in this moment, or NULL; and which of its waits that is. [any] */
unsigned latch_control_wait(const char **what);

#endif
