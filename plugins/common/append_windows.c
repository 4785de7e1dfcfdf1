/* The C library's fopen() takes paths in the system's code page, and keeps others from renaming the
 * file. */
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <stdbool.h>
#include <stdint.h>
#include <windows.h>

#include "common/append.h"
#include "common/wide_path.h"

static void append_set_errno(DWORD error) {
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

/* Rejects links, which could lead out of the folder, and files with a second hard link, which are
 * also in another folder. */
static bool append_is_one_file(HANDLE handle) {
    BY_HANDLE_FILE_INFORMATION found;
    if (GetFileType(handle) != FILE_TYPE_DISK || !GetFileInformationByHandle(handle, &found)) {
        errno = ENXIO;
        return false;
    }
    if ((found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0) {
        errno = ELOOP;
        return false;
    }
    errno = EMLINK;
    return found.nNumberOfLinks <= 1;
}

static HANDLE open_handle(const char *path) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        errno = ENOENT;
        return INVALID_HANDLE_VALUE;
    }
    HANDLE handle = CreateFileW(wide, FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                OPEN_ALWAYS, FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        append_set_errno(GetLastError());
        return handle;
    }
    if (!append_is_one_file(handle)) {
        CloseHandle(handle);
        return INVALID_HANDLE_VALUE;
    }
    return handle;
}

const char *append_reason(int error) {
    switch (error) {
    case ELOOP:
        return "it is a link; write the path that it leads to";
    case ENXIO:
        return "it is a device or a pipe, and no file";
    case EMLINK:
        return "it has a second name (a hard link); remove one of them";
    default:
        return NULL;
    }
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
