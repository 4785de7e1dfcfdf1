/* exclusive.h: listeners of which two generations must never be open (BERTH_PLUGIN_EXCLUSIVE).
 *
 * The new generation gets listen sockets and gate of the old one, and the clients that the plugin
 * has not heard of, who wait meanwhile; the old one drains, is cut when its time is over, and
 * closes. Then the new one opens. When it does not, the old one is made and opened anew in the same
 * way.
 *
 * Owner: the change that replaces. Threads: [control]. */
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
    struct listener_generation
        *old; /* whose listener is replaced; its `listener` is NULL afterwards */
    const struct timed_call_limit *limit; /* of `listener_open` */
    bool *abandoned; /* set when the new generation has not returned from it in time */
};

/* The new listener, open and serving. NULL: the error says why; the old one serves again, or, as a
 * line of the log says then, old->listener is NULL. */
struct listener *exclusive_replace(const struct exclusive *exclusive,
                                   const struct listener_options *options, struct error *error);

/* The change fails after all: the old one takes the place of `made` again, if it opens. */
void exclusive_restore(const struct exclusive *exclusive, struct listener *made);

#endif
