/* last_words.h: what the host says when it crashes: whose code it was in, and for whom.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_NET_LAST_WORDS_H
#define BERTH_HOST_NET_LAST_WORDS_H

#include <stdint.h>

struct plugin_thread;

/* Who the crash is laid to. Empty texts where no plugin was being called. */
struct last_words {
    char plugin[64];
    char callback[32];
    char listener[64];
    unsigned generation;
};

/* From now on. `also`, where it is not NULL, is told too, in the thread that crashed: it may
 * neither allocate nor take a lock. An exit() of somebody else's than the host's counts as a crash,
 * and so ends the process with the code 1. */
void last_words_start(void (*also)(const struct last_words *words));
void last_words_stop(void); /* the process may end now */

/* The thread hangs in a callback: ends the process as a crash of that callback. For
 * plugin_watch_options.hung. [any] */
_Noreturn void last_words_of_hung(const struct plugin_thread *thread, uint64_t for_ms);

/* The control thread waits for what does not come, and no plugin is the reason: ends the process as
 * a crash of the host itself. [any] */
_Noreturn void last_words_of_hung_host(uintptr_t control_thread, const char *what, uint64_t for_ms);

#endif
