/* os_crash.h: the handling of a crash of this process: the crash report.
 *
 * On Linux signals (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) on an alternate stack. On Windows the
 * filter of unhandled exceptions (a vectored handler where a destroyed stack keeps the system from
 * calling the filter), and abort(). The process then ends as it would without the report: with the
 * same signal or exception, and with the system's dump of it. Under a sanitizer the sanitizer
 * reports, and this report is left out. Threads: [control] for the set-up. */
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
    bool elsewhere;       /* the report is written on another thread than the one it is about */
    unsigned frame_count; /* of the stack, the innermost first */
    void *frames[OS_CRASH_FRAMES_MAX];
};

/* A stack that was overwritten cannot be walked, and the attempt may crash again. So the report has
 * two steps, and the first one must be complete without the second. */
struct os_crash_words {
    /* Before the stack is walked: frame_count is 0. */
    void (*first)(const struct os_crash *crash);
    /* When it has been walked, or could not be. */
    void (*frames)(const struct os_crash *crash);
};

/* They run in the thread that crashed, at most once a process, and may neither allocate nor take a
 * lock. */
void os_crash_start(const struct os_crash_words *words);

/* For Windows: a library has been loaded, and it or its C run-time may have replaced the filter of
 * unhandled exceptions, of which there is one a process. os_library_open() calls this, too.
 * [control] */
void os_crash_start_again(void);

/* Another thread (os_thread_id()) hangs: the process ends as if that thread had crashed, with
 * `what` as the reason. The report is made on that thread, so that its stack is walked; on the
 * caller's if that thread cannot be reached. [any], one */
_Noreturn void os_crash_hung(uintptr_t thread, const char *what);

/* The stack of the caller, which has not crashed; returns how many frames. */
unsigned os_crash_stack(void **frames, unsigned max);

/* For the report: the library and the offset of a code address, that library's file without its
 * folder ("": none), and a line for standard error. */
void os_crash_describe(const void *frame, char *text, size_t size);
void os_crash_file(const void *frame, char *text, size_t size);
/* Waits for the reader, but in all calls together no longer than OS_CRASH_WRITE_MS. */
void os_crash_write(const char *text, size_t size);

/* Prepares a thread for a crash; called for every thread that os_thread_start() makes. */
void *os_crash_thread_begin(void);
void os_crash_thread_end(void *prepared);

#endif
