/* os_windows.h: what the Windows side of os/ and engine/ share with each other, and with no other
 * code.
 *
 * Threads: any. Nothing here holds state. */
#ifndef BERTH_HOST_OS_OS_WINDOWS_H
#define BERTH_HOST_OS_OS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <wchar.h>

struct error;

/* Room for every wide path that windows_path() makes: a path of OS_PATH_MAX and a prefix. */
#define WINDOWS_PATH_MAX 4112

/* Sets the error to the system's message for a Win32 or Winsock code, in English if the system has
 * it, with the code: "Access is denied (Windows error 5)". Returns false. */
bool windows_error_set(struct error *error, unsigned long code);

/* The error of a library that the system does not load: the meaning of the code, and the remedy. */
void windows_library_error(struct error *error, const char *path, unsigned long code);

/* The message alone, terminated and cut to fit. */
void windows_error_text(unsigned long code, char *text, size_t size);

/* A UTF-8 path as the W functions take it, terminated: absolute, with backslashes, and with the
 * prefix that lifts the limit of 260 characters where it is needed. */
bool windows_path(const char *path, wchar_t *wide, size_t capacity, struct error *error);

/* The event that os_signals_wait() waits for, which ends one wait; whether there is a request to
 * stop that has not been taken; and such a request, as if by Ctrl-C. [any] */
void *windows_signals_event(void);
bool windows_signals_asked(void);
void windows_signals_ask(void);

/* From now on console events are ignored in this process: the parent gets them too, and passes them
 * on. */
void windows_signals_by_parent(void);

/* Neither the loader nor the error reporting opens a dialog. */
void windows_show_no_dialogs(void);

/* Handles a console event: a key, or the close of the console or the end of the session. Called on
 * a thread of the system's. For a close or an end of the session the system ends the process when
 * this returns. [any] */
void windows_console_event(unsigned long event);

/* Restores the input mode of the console; for an end of the process that runs no atexit(). */
void windows_console_restore_mode(void);

/* Starts a process that inherits these handles and no others; NULL: none. False with
 * GetLastError(). */
struct windows_standard {
    void *input;
    void *output;
    void *error;
    void *more[2]; /* inherited handles whose values are passed to the process */
    void *job;     /* the job of the process; not inherited */
};
struct windows_process {
    void *handle;
    unsigned long id;
};
bool windows_process_start(const wchar_t *program, wchar_t *command, unsigned long flags,
                           const struct windows_standard *standard, struct windows_process *made);

/* The filter of unhandled exceptions, of which there is one a process: set now, and again by
 * os_crash_start_again(). */
struct _EXCEPTION_POINTERS;
void windows_filter_set(long(__stdcall *function)(struct _EXCEPTION_POINTERS *pointers));

/* Who may use what a host shares, as SDDL. Protected: nothing is inherited. Full access for the
 * owner, Administrators and the system; none for others. */
#define WINDOWS_PRIVATE L"D:P(A;;GA;;;OW)(A;;GA;;;BA)(A;;GA;;;SY)"

/* UTF-16 to UTF-8, terminated; half a surrogate pair becomes U+FFFD. False when it does not fit. */
bool windows_text(const wchar_t *wide, char *text, size_t size);

/* -- libraries in the folder of a library ---------------------------------- */

/* Of a library that os_copy_join() has joined to others: until windows_libraries_leave() the loader
 * resolves their names to these files. INVALID_HANDLE_VALUE where there are none. */
struct windows_libraries {
    void *context;
    uintptr_t cookie;
};
bool windows_libraries_enter(struct windows_libraries *libraries, const char *path,
                             struct error *error);
void windows_libraries_leave(const struct windows_libraries *libraries);

/* The name of a library that the one at `path` needs, directly or indirectly, and that is neither
 * in its folder nor the system's. False: none is missing, as far as can be determined. */
bool windows_missing_library(const char *path, char *name, size_t size);

#endif
