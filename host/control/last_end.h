/* last_end.h: how a supervised host has ended, and which plugin that is laid to.
 *
 * A host that crashes says itself in whose code it was. One that ends without a word (_exit(),
 * SIGKILL, __fastfail, TerminateProcess, …) has left its notes (net/call_page.h). They tell which
 * calls had not returned, and not which of them ended the process. So:
 *
 *  - All such calls are of one plugin: it is laid to that plugin.
 *  - They are of several: calls that only waited are set aside. If those that ran are of one
 * plugin, it is laid to that one; else all are named, and it is laid to nobody.
 *  - Another process may have ended the host (SIGKILL; on Windows any code but an exception's), and
 *    all calls only waited: they are named, and it is laid to nobody.
 *  - No plugin was being called: it is laid to nobody.
 *
 * A call waits when it had used less than a twentieth of a processor in the quarter of a second
 * before it was last looked at. Owner: the supervisor. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LAST_END_H
#define BERTH_HOST_CONTROL_LAST_END_H

#include <stdbool.h>
#include <stdint.h>

#include "net/call_page.h"

struct last_end {
    bool known;      /* there was one */
    bool reported;   /* by the host itself: the first call is all that is known */
    bool attributed; /* to the plugin of the first call */
    bool readable;   /* the notes, where it was not reported */
    char how[64];    /* "exit code 3" */
    uint64_t at_ms;  /* in engine_now_ms() */
    uint32_t total;  /* calls that had not returned */
    uint32_t count;  /* those of them that are told */
    struct call_info calls[CALLS_TOLD_MAX];
};

/* What the notes say. `foreign`: another process may have ended it. `slow`: it has not ended, but
 * does not get ready, so that it counts who is called, and not whether that call runs. */
void last_end_judge(struct last_end *end, const struct calls_seen *seen, bool foreign, bool slow);

/* What follows "the host has crashed (exit code 3)"; may be nothing. */
void last_end_describe(const struct last_end *end, char *text, size_t size);

#endif
