/* os_crash.h: what is left to do when the process crashes: last words.
 *
 * On Linux signals (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) on a stack of their own, on Windows
 * the filter of unhandled exceptions (a vectored handler where a destroyed stack keeps the system
 * from getting there), and abort(). The process then ends as it would have: with the
 * same signal or exception, and with the system's dump of it. A sanitizer has its own say, and
 * ours is left out. Threads: [control] for the set-up. */
#ifndef BERTH_HOST_OS_OS_CRASH_H
#define BERTH_HOST_OS_OS_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OS_CRASH_FRAMES_MAX = 32, OS_CRASH_WRITE_MS = 2000 };

struct os_crash {
    const char *what; /* "SIGSEGV: …" */
    bool has_address; /* which was accessed */
    uintptr_t address;
    const void *code;     /* where it crashed, or NULL */
    bool elsewhere;       /* the words are said on another thread than the one they are about */
    unsigned frame_count; /* of the stack, the innermost first */
    void *frames[OS_CRASH_FRAMES_MAX];
};

/* A stack that was overwritten cannot be walked, and the attempt may crash once more. So there are
 * two steps, and the first one takes for granted that it may be the last. */
struct os_crash_words {
    /* Before the stack is walked: frame_count is 0. */
    void (*first)(const struct os_crash *crash);
    /* When it has been walked, or could not be. */
    void (*frames)(const struct os_crash *crash);
};

/* They run in the thread that crashed, at most once a process, and may neither allocate nor take a
 * lock. */
void os_crash_start(const struct os_crash_words *words);

/* A library has been loaded, and may have put a filter of unhandled exceptions of its own (or its C
 * run-time's) in the place of ours, of which there is one a process: Windows. os_library_open()
 * calls it, too. [control] */
void os_crash_start_again(void);

/* Another thread (os_thread_id()) hangs: the process ends as if that thread had crashed, with
 * `what` as the reason. The words are said on that thread, so that its stack is walked; on the
 * caller's where it cannot be reached. [any], one */
_Noreturn void os_crash_hung(uintptr_t thread, const char *what);

/* The stack of the caller, who has not crashed; returns how many frames. */
unsigned os_crash_stack(void **frames, unsigned max);

/* For the words: where in which library an address of code is, that library's file without its
 * folder ("": none), and a line for standard error. */
void os_crash_describe(const void *frame, char *text, size_t size);
void os_crash_file(const void *frame, char *text, size_t size);
/* Waits for whoever reads, but in all calls together no longer than OS_CRASH_WRITE_MS. */
void os_crash_write(const char *text, size_t size);

/* Every thread that os_thread_start() makes is prepared for a crash by it. */
void *os_crash_thread_begin(void);
void os_crash_thread_end(void *prepared);

#endif
