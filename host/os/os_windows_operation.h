/* os_windows_operation.h: one overlapped operation of a pipe or a device, with the memory that it
 * uses. Every wait for it ends.
 *
 * An operation that has not ended in time is cancelled. If the driver of the device does not end it
 * a while after that, the operation is abandoned: its memory and its event are never freed, as the
 * driver may still write into them, the log says so, and the handle must not be used again. The
 * owner of the handle closes it, which is the last request that the driver gets.
 *
 * Threads: one at a time. */
#ifndef BERTH_HOST_OS_OS_WINDOWS_OPERATION_H
#define BERTH_HOST_OS_OS_WINDOWS_OPERATION_H

#include <windows.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct windows_operation {
    OVERLAPPED overlapped; /* with a manual-reset event of its own */
    size_t size;
    uint8_t bytes[];
};

/* How long a cancelled operation may take to end. Only tests change it. */
extern DWORD windows_operation_cancel_ms;

/* NULL: no memory or handles, with GetLastError(). */
struct windows_operation *windows_operation_create(size_t size);
/* Nothing is pending, or it was abandoned and has ended since; NULL is legal. */
void windows_operation_destroy(struct windows_operation *operation);

/* To be passed to the system's function, whose result goes to windows_operation_begun(). */
OVERLAPPED *windows_operation_prepare(struct windows_operation *operation);
/* True: it is pending, or has ended already. */
bool windows_operation_begun(BOOL result);

/* Waits for its end, for at most timeout_ms (INFINITE only with `until`, a handle whose signal ends
 * the wait, too; or NULL), and cancels it then. False with GetLastError(): it failed, or was
 * cancelled. *operation is NULL afterwards if it was abandoned; `what` names it in the log. */
bool windows_operation_end(struct windows_operation **operation, HANDLE file, HANDLE until,
                           DWORD timeout_ms, DWORD *count, const char *what);

#endif
