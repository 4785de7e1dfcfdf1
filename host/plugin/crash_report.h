/* crash_report.h: what the host says when it crashes: whose code it was in, and for whom.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_CRASH_REPORT_H
#define BERTH_HOST_PLUGIN_CRASH_REPORT_H

#include <stdint.h>

struct call_info;
struct plugin_thread;

/* From now on. `also`, where it is not NULL, is told too who the crash is laid to (empty texts
 * where no plugin was being called), in the thread that crashed: it may neither allocate nor take a
 * lock. An exit() of somebody else's than the host's counts as a crash, and so ends the process
 * with the code 1. */
void crash_report_start(void (*also)(void *context, const struct call_info *call), void *context);
void crash_report_stop(void);   /* the process may end now */
void crash_report_forget(void); /* and whoever is told too is gone */

/* The thread hangs in a callback: ends the process as a crash of that callback. For
 * stall_watchdog_options.hung. [any] */
_Noreturn void crash_report_hung_callback(const struct plugin_thread *thread, uint64_t for_ms);

/* The control thread waits for what does not come, and no plugin is the reason: ends the process as
 * a crash of the host itself. [any] */
_Noreturn void crash_report_hung_host(uintptr_t control_thread, const char *what, uint64_t for_ms);

#endif
