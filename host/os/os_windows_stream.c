#include <windows.h>

#include "os/os_stream.h"

enum { QUOTA_EXCEEDED = 1295 }; /* ERROR_DISK_QUOTA_EXCEEDED, which some headers lack */

int64_t os_stream_write(enum os_stream stream, const void *bytes, size_t size) {
    HANDLE handle = GetStdHandle(stream == OS_STREAM_OUTPUT ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE);
    DWORD written = 0;
    if (WriteFile(handle, bytes, (DWORD)size, &written, NULL)) {
        return (int64_t)written;
    }
    DWORD code = GetLastError();
    /* A console refuses a write that is too large for its memory; a disk may get free space. */
    return code == ERROR_DISK_FULL || code == ERROR_HANDLE_DISK_FULL ||
                   code == ERROR_NOT_ENOUGH_MEMORY || code == QUOTA_EXCEEDED
               ? 0
               : -1;
}
