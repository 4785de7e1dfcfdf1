/* shortage.h: what a worker does when memory is short.
 *
 * An allocation that fails begins an episode. While it lasts, every worker gives back what it keeps
 * for later: free buffers, nodes of send queues, buffers that its ring holds for receives. A worker
 * whose own allocations fail logs that once, and logs once that it is over, with the number of lost
 * clients.
 *
 * Owner: the worker that embeds it. Threads: the worker's own. */
#ifndef BERTH_HOST_NET_RUN_SHORTAGE_H
#define BERTH_HOST_NET_RUN_SHORTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "net/conn/worker_core.h"

void shortage_init(struct worker *worker);
void shortage_fini(struct worker *worker);

/* For a worker that shares its thread with others: failures on the thread count as its own from now
 * on, until it leaves. */
void shortage_enter(struct worker *worker);
void shortage_leave(void);

void shortage_begin(struct worker *worker);

/* Called once a turn. */
static inline void shortage_check(struct worker *worker, struct shortage *shortage) {
    if (alloc_failures() != shortage->process_failures) {
        shortage_begin(worker);
    }
}

#endif
