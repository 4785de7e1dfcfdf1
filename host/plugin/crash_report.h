/* crash_report.h: what the host logs when it crashes: which code ran, and for which connection.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_CRASH_REPORT_H
#define BERTH_HOST_PLUGIN_CRASH_REPORT_H

#include <stdint.h>

struct call_info;
struct plugin_thread;

/* Crashes are reported from now on. `also`, if not NULL, gets the call that the crash is attributed
 * to (empty texts if no plugin was being called). It runs on the thread that crashed, and may
 * neither allocate nor take a lock. An exit() that the host did not call counts as a crash, and so
 * ends the process with the code 1. */
void crash_report_start(void (*also)(void *context, const struct call_info *call), void *context);
void crash_report_stop(void);   /* the process may end now */
void crash_report_forget(void); /* and `also` is not called any more */

/* The thread hangs in a callback: ends the process as a crash of that callback. For
 * stall_watchdog_options.hung. [any] */
_Noreturn void crash_report_hung_callback(const struct plugin_thread *thread, uint64_t for_ms);

/* The control thread waits for something that does not happen, and no plugin is the cause: ends the
 * process as a crash of the host itself. [any] */
_Noreturn void crash_report_hung_host(uintptr_t control_thread, const char *what, uint64_t for_ms);

#endif
