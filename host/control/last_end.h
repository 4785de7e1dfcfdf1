/* last_end.h: how a supervised host has ended, and which plugin the end is attributed to.
 *
 * A host that crashes reports in whose code it crashed. A host that ends without a report
 * (_exit(), SIGKILL, __fastfail, TerminateProcess, …) leaves its notes (plugin/call_page.h). They
 * show which calls had not returned, and not which of them ended the process. So:
 *
 *   - No call to a plugin was open: the end is attributed to no plugin.
 *   - All open calls are of one plugin: it is attributed to that plugin.
 *   - They are of several plugins: all are named, and it is attributed to none. A waiting call may
 *     be about to end the process, and a running one may have nothing to do with it.
 *   - After SIGKILL, calls that only waited are not taken for the cause: a plugin that used up the
 *     memory was running. Only the calls that ran count, as above.
 *   - On Windows TerminateProcess() sets any code, also from outside. If the code is not that of an
 *     exception, and all calls only waited, the end is attributed to none.
 *
 * A call counts as waiting if it had used less than a twentieth of a processor in the quarter of
 * a second before it was last sampled. Owner: the supervisor. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LAST_END_H
#define BERTH_HOST_CONTROL_LAST_END_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os_child.h"
#include "plugin/call_page.h"

struct last_end {
    bool known;      /* a host has ended before */
    bool reported;   /* by the host itself: only the first call is known */
    bool attributed; /* to the plugin of the first call */
    bool readable;   /* the notes could be read; if the host did not report */
    char how[64];    /* "exit code 3" */
    uint64_t at_ms;  /* in engine_now_ms() */
    uint32_t total;  /* calls that had not returned */
    uint32_t count;  /* of those, the calls in `calls` */
    struct call_info calls[CALLS_REPORTED_MAX];
};

/* Sets the calls and the attribution from the notes, for that kind of end. */
void last_end_judge(struct last_end *end, const struct calls_seen *seen, enum os_end_by by);

/* The text after "the host has crashed (exit code 3)"; may be empty. */
void last_end_describe(const struct last_end *end, char *text, size_t size);

#endif
