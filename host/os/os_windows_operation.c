#include "os/os_windows_operation.h"

#include "base/alloc.h"
#include "base/log.h"

enum { CANCEL_MS = 2000 };

DWORD windows_operation_cancel_ms = CANCEL_MS;

struct windows_operation *windows_operation_create(size_t size) {
    struct windows_operation *operation = alloc_zeroed(sizeof(*operation) + size);
    if (!operation) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    operation->size = size;
    operation->overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!operation->overlapped.hEvent) {
        DWORD code = GetLastError();
        alloc_free(operation);
        SetLastError(code);
        return NULL;
    }
    return operation;
}

void windows_operation_destroy(struct windows_operation *operation) {
    if (operation) {
        CloseHandle(operation->overlapped.hEvent);
        alloc_free(operation);
    }
}

OVERLAPPED *windows_operation_prepare(struct windows_operation *operation) {
    HANDLE event = operation->overlapped.hEvent;
    ResetEvent(event);
    operation->overlapped = (OVERLAPPED){.hEvent = event};
    return &operation->overlapped;
}

bool windows_operation_begun(BOOL result) {
    DWORD code = result ? ERROR_SUCCESS : GetLastError();
    return code == ERROR_SUCCESS || code == ERROR_IO_PENDING || code == ERROR_MORE_DATA;
}

bool windows_operation_end(struct windows_operation **operation, HANDLE file, HANDLE until,
                           DWORD timeout_ms, DWORD *count, const char *what) {
    OVERLAPPED *overlapped = &(*operation)->overlapped;
    HANDLE waits[] = {overlapped->hEvent, until};
    *count = 0;
    if (WaitForMultipleObjects(until ? 2 : 1, waits, FALSE, timeout_ms) != WAIT_OBJECT_0) {
        CancelIoEx(file, overlapped);
        if (WaitForSingleObject(overlapped->hEvent, windows_operation_cancel_ms) != WAIT_OBJECT_0) {
            *operation = NULL;
            log_write(LOG_LEVEL_ERROR, NULL,
                      "%s: an operation does not end although it was cancelled %lu ms ago: what "
                      "drives it is at fault; its memory is not used again",
                      what, (unsigned long)windows_operation_cancel_ms);
            SetLastError(ERROR_OPERATION_ABORTED);
            return false;
        }
    }
    return GetOverlappedResult(file, overlapped, count, FALSE) != 0;
}
