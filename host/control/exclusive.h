/* exclusive.h: replaces a listener whose two generations must never be open at the same time
 * (BERTH_PLUGIN_EXCLUSIVE).
 *
 * The new generation takes over the listen sockets and the admission of the old one, and the
 * connections that the plugin has not seen, which wait meanwhile. The old generation drains, its
 * connections are aborted when its time is over, and it closes. Then the new one opens. If that
 * fails, the old one is created and opened again in the same way.
 *
 * Owner: the reconcile that replaces. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_EXCLUSIVE_H
#define BERTH_HOST_CONTROL_EXCLUSIVE_H

#include <stdbool.h>

struct timed_call_limit;
struct error;
struct runtime;
struct listener;
struct listener_options;
struct listener_generation;

struct exclusive {
    struct runtime *runtime;
    struct listener_generation *old; /* its listener is replaced; `listener` is NULL afterwards */
    const struct timed_call_limit *limit; /* time limit of `listener_open` */
    bool *abandoned; /* set if the new generation has not returned from `listener_open` in time */
};

/* The new listener, open and serving. NULL: the error says why; the old one serves again, or, if
 * that fails too, old->listener is NULL and the log says why. */
struct listener *exclusive_replace(const struct exclusive *exclusive,
                                   const struct listener_options *options, struct error *error);

/* The reconcile fails after all: the old generation replaces `made` again, if it opens. */
void exclusive_restore(const struct exclusive *exclusive, struct listener *made);

#endif
