/* errand.h: plugin code on a thread of its own, which the control thread waits for with a deadline.
 *
 * For `load` and `listener_open` at a reload or restart: one that does not return must neither end
 * the host nor hold up its verbs, as the old generation serves. While it is waited for it is
 * the control thread's work in all but the thread: nothing else of [control] runs. What has not
 * returned by the deadline is abandoned: its thread goes on, and all that it may touch (the
 * argument, the listener, the library) stays until the process ends.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_NET_ERRAND_H
#define BERTH_HOST_NET_ERRAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum errand_result {
    ERRAND_DONE,
    ERRAND_NOT_STARTED, /* there is no thread for it: the error says why */
    ERRAND_ABANDONED,
};

#define ERRAND_NO_LIMIT UINT32_MAX

/* How long an errand is waited for. */
struct errand_limit {
    uint32_t timeout_ms; /* or ERRAND_NO_LIMIT */
    /* Whether the host is to stop: then nothing is waited for any longer. It is asked a few times a
     * second. NULL: it is not. */
    bool (*interrupted)(const void *context);
    const void *context;
};

/* Runs function(argument). */
enum errand_result errand_run(void (*function)(void *argument), void *argument,
                              const struct errand_limit *limit, struct error *error);

/* What ended the wait for one that was abandoned: "within 500 ms (host.hang_timeout_ms)". */
void errand_describe_limit(const struct errand_limit *limit, char *text, size_t size);

#endif
