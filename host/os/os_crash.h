/* os_crash.h: what is left to do when the process crashes: last words.
 *
 * On Linux signals (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) on a stack of their own, on Windows
 * the filter of unhandled exceptions, and abort(). The process then ends as it would have: with the
 * same signal or exception, and with the system's dump of it. A sanitizer has its own say, and
 * ours is left out. Threads: [control] for the set-up. */
#ifndef BERTH_HOST_OS_OS_CRASH_H
#define BERTH_HOST_OS_OS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OS_CRASH_FRAMES_MAX = 32 };

struct os_crash {
    const char *what; /* "SIGSEGV: …" */
    bool has_address; /* which was accessed */
    uintptr_t address;
    unsigned frame_count; /* of the stack, the innermost first */
    void *frames[OS_CRASH_FRAMES_MAX];
};

/* `last_words` runs in the thread that crashed, at most once a process. It may neither allocate nor
 * take a lock. */
void os_crash_start(void (*last_words)(const struct os_crash *crash));

/* For last_words: where in which library an address of code is, and a line for standard error. */
void os_crash_describe(const void *frame, char *text, size_t size);
void os_crash_write(const char *text, size_t size);

/* Every thread that os_thread_start() makes is prepared for a crash by it. */
void *os_crash_thread_begin(void);
void os_crash_thread_end(void *prepared);

#endif
