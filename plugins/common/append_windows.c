/* The C library's fopen() takes paths in the system's code page, and keeps others from renaming the
 * file. */
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <windows.h>

#include "common/append.h"
#include "common/wide_path.h"

static void set_errno(DWORD error) {
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
        errno = ENOENT;
        break;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
        errno = EACCES;
        break;
    default:
        errno = EIO;
        break;
    }
}

static HANDLE open_handle(const char *path) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        errno = ENOENT;
        return INVALID_HANDLE_VALUE;
    }
    HANDLE handle = CreateFileW(wide, FILE_APPEND_DATA | SYNCHRONIZE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        set_errno(GetLastError());
    }
    return handle;
}

FILE *append_open(const char *path) {
    HANDLE handle = open_handle(path);
    if (handle == INVALID_HANDLE_VALUE) {
        return NULL;
    }
    int descriptor = _open_osfhandle((intptr_t)handle, _O_APPEND | _O_BINARY);
    if (descriptor < 0) {
        CloseHandle(handle);
        return NULL;
    }
    FILE *file = _fdopen(descriptor, "ab");
    if (!file) {
        _close(descriptor);
    }
    return file;
}
