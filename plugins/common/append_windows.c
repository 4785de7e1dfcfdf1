/* The C library's fopen() takes paths in the system's code page, and keeps others from renaming the
 * file. */
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <stdlib.h>
#include <windows.h>

#include "common/append.h"

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
    int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    wchar_t *wide = malloc((size_t)(length + 1) * sizeof(*wide));
    HANDLE handle = INVALID_HANDLE_VALUE;
    if (!wide || length <= 0) {
        errno = wide ? ENOENT : ENOMEM;
        free(wide);
        return handle;
    }
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, length);
    handle = CreateFileW(wide, FILE_APPEND_DATA | SYNCHRONIZE,
                         FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_ALWAYS,
                         FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        set_errno(GetLastError());
    }
    free(wide);
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
