/* last_words.h: what the host says when it crashes: whose code it was in, and for whom.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_NET_LAST_WORDS_H
#define BERTH_HOST_NET_LAST_WORDS_H

#include <stdint.h>

struct call_info;
struct plugin_thread;

/* From now on. `also`, where it is not NULL, is told too who the crash is laid to (empty texts
 * where no plugin was being called), in the thread that crashed: it may neither allocate nor take a
 * lock. An exit() of somebody else's than the host's counts as a crash, and so ends the process
 * with the code 1. */
void last_words_start(void (*also)(void *context, const struct call_info *call), void *context);
void last_words_stop(void);   /* the process may end now */
void last_words_forget(void); /* and whoever is told too is gone */

/* The thread hangs in a callback: ends the process as a crash of that callback. For
 * plugin_watch_options.hung. [any] */
_Noreturn void last_words_of_hung(const struct plugin_thread *thread, uint64_t for_ms);

/* The control thread waits for what does not come, and no plugin is the reason: ends the process as
 * a crash of the host itself. [any] */
_Noreturn void last_words_of_hung_host(uintptr_t control_thread, const char *what, uint64_t for_ms);

#endif
