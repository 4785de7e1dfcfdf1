/* latch.h: counts down to zero once, and lets the control thread wait for that.
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
void latch_wait(struct latch *latch); /* and ends the latch's life */

#endif
