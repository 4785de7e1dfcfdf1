/* last_end.h: how a supervised host has ended, and which plugin that is laid to.
 *
 * A host that crashes says itself in whose code it was. One that ends without a word (_exit(),
 * SIGKILL, __fastfail, TerminateProcess, …) has left its notes (net/call_page.h). They tell which
 * calls had not returned, and not which of them ended the process. So:
 *
 *  - No plugin was being called: it is nobody's.
 *  - All such calls are of one plugin: it is that plugin's.
 *  - They are of several: all are named, and it is nobody's. One that waits may be about to end the
 *    process, and one that runs may have nothing to do with it.
 *  - By SIGKILL, calls that only waited are not held to be the cause: whoever has taken all memory
 *    was running. Only those that ran count, as above.
 *  - On Windows TerminateProcess() sets any code, also from outside. Where the code is not an
 *    exception's, and all calls only waited, it is nobody's.
 *
 * A call waits when it had used less than a twentieth of a processor in the quarter of a second
 * before it was last looked at. Owner: the supervisor. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LAST_END_H
#define BERTH_HOST_CONTROL_LAST_END_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os_child.h"
#include "plugin/call_page.h"

struct last_end {
    bool known;      /* there was one */
    bool reported;   /* by the host itself: the first call is all that is known */
    bool attributed; /* to the plugin of the first call */
    bool readable;   /* the notes, where it was not reported */
    char how[64];    /* "exit code 3" */
    uint64_t at_ms;  /* in engine_now_ms() */
    uint32_t total;  /* calls that had not returned */
    uint32_t count;  /* those of them that are told */
    struct call_info calls[CALLS_REPORTED_MAX];
};

/* What the notes say of an end of that kind. */
void last_end_judge(struct last_end *end, const struct calls_seen *seen, enum os_end_by by);

/* What follows "the host has crashed (exit code 3)"; may be nothing. */
void last_end_describe(const struct last_end *end, char *text, size_t size);

#endif
