/* timed_call.h: plugin code on a thread of its own, which the control thread waits for with a
 * deadline.
 *
 * For `load` and `listener_open` at a reload or restart: one that does not return must neither end
 * the host nor hold up its verbs, as the old generation serves. While it is waited for it is
 * the control thread's work in all but the thread: nothing else of [control] runs. What has not
 * returned by the deadline is abandoned: its thread goes on, and all that it may touch (the
 * argument, the listener, the library) stays until the process ends.
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
    TIMED_CALL_NOT_STARTED, /* there is no thread for it: the error says why */
    TIMED_CALL_ABANDONED,
};

#define TIMED_CALL_NO_LIMIT UINT32_MAX

/* How long a timed call is waited for. */
struct timed_call_limit {
    uint32_t timeout_ms; /* or TIMED_CALL_NO_LIMIT */
    /* Whether the host is to stop: then nothing is waited for any longer. It is asked a few times a
     * second. NULL: it is not. */
    bool (*interrupted)(const void *context);
    const void *context;
};

/* Runs function(argument). */
enum timed_call_result timed_call_run(void (*function)(void *argument), void *argument,
                                      const struct timed_call_limit *limit, struct error *error);

/* What ended the wait for one that was abandoned: "within 500 ms (host.hang_timeout_ms)". */
void timed_call_describe_limit(const struct timed_call_limit *limit, char *text, size_t size);

#endif
