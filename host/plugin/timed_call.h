/* timed_call.h: runs plugin code on a separate thread, for which the control thread waits with a
 * deadline.
 *
 * For `load` and `listener_open` at a reload or restart: one that does not return must neither end
 * the host nor block its verbs, as the old generation serves. During the wait the call counts as
 * [control]: nothing else of [control] runs. A call that has not returned by the deadline is
 * abandoned: its thread goes on, and everything that it may use (the argument, the listener, the
 * library) stays until the process ends.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_TIMED_CALL_H
#define BERTH_HOST_PLUGIN_TIMED_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum timed_call_result {
    TIMED_CALL_DONE,
    TIMED_CALL_NOT_STARTED, /* its thread could not be started: the error says why */
    TIMED_CALL_ABANDONED,
};

#define TIMED_CALL_NO_LIMIT UINT32_MAX

/* How long to wait for a timed call. */
struct timed_call_limit {
    uint32_t timeout_ms; /* or TIMED_CALL_NO_LIMIT */
    /* Whether the host is to stop: then the wait ends. It is called a few times a second. NULL: the
     * wait cannot be interrupted. */
    bool (*interrupted)(const void *context);
    const void *context;
};

/* Runs function(argument). */
enum timed_call_result timed_call_run(void (*function)(void *argument), void *argument,
                                      const struct timed_call_limit *limit, struct error *error);

/* What ended the wait for an abandoned call: "within 500 ms (host.hang_timeout_ms)". */
void timed_call_describe_limit(const struct timed_call_limit *limit, char *text, size_t size);

#endif
