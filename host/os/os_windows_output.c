/* os_windows_output.c: files that a user has named, to be written. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_windows.h"

enum { READER_MS = 1000 }; /* for a reader to take something */

/* NUL, CON, COM1 and named pipes: their full paths begin with \\.\ */
static bool is_device(const wchar_t *wide) {
    return wcsncmp(wide, L"\\\\.\\", 4) == 0;
}

static bool is_link(const wchar_t *wide) {
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT);
}

static HANDLE open_into(const wchar_t *wide, struct error *error) {
    HANDLE file =
        CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                    is_device(wide) ? OPEN_EXISTING : OPEN_ALWAYS,
                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        bool unread = is_device(wide) && (code == ERROR_PIPE_BUSY || code == ERROR_FILE_NOT_FOUND);
        windows_error_set(error, code);
        if (unread && error) {
            error->kind = ERROR_KIND_NO_READER;
        }
    }
    return file;
}

/* One piece, at that place of the file; false when nobody takes it in time. */
static bool write_piece(HANDLE file, HANDLE done, uint64_t offset, const char *text, DWORD size,
                        DWORD *count) {
    OVERLAPPED operation = {
        .hEvent = done, .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    if (!WriteFile(file, text, size, NULL, &operation) && GetLastError() != ERROR_IO_PENDING) {
        return false;
    }
    if (WaitForSingleObject(done, READER_MS) != WAIT_OBJECT_0) {
        CancelIoEx(file, &operation);
    }
    return GetOverlappedResult(file, &operation, count, TRUE) != 0 && *count > 0;
}

static bool write_into(const wchar_t *wide, const char *text, size_t size, struct error *error) {
    HANDLE file = open_into(wide, error);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    HANDLE done = CreateEventW(NULL, TRUE, FALSE, NULL);
    bool written = done != NULL;
    if (GetFileType(file) == FILE_TYPE_DISK) {
        SetEndOfFile(file); /* of what a link leads to; it stands at the beginning */
    }
    for (size_t at = 0; written && at < size;) {
        DWORD count = 0;
        DWORD part = size - at < 65536 ? (DWORD)(size - at) : 65536;
        written = write_piece(file, done, at, text + at, part, &count);
        at += count;
    }
    if (!written) {
        DWORD code = GetLastError();
        bool unread = code == ERROR_OPERATION_ABORTED;
        error_set_kind(error, unread ? ERROR_KIND_NO_READER : ERROR_KIND_OTHER,
                       unread ? "its reader has taken nothing for %d ms" : "writing into it failed",
                       READER_MS);
    }
    if (done) {
        CloseHandle(done);
    }
    CloseHandle(file);
    return written;
}

bool os_output_write(const char *path, const char *text, size_t size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    return is_device(wide) || is_link(wide) ? write_into(wide, text, size, error)
                                            : os_file_write_atomic(path, text, size, error);
}

static bool stop_at_once(void *context, const char *name) {
    (void)context;
    (void)name;
    return false;
}

/* What replaces a file is made beside it. */
static bool try_beside(const char *path, struct error *error) {
    char beside[OS_PATH_MAX + 64];
    wchar_t wide[WINDOWS_PATH_MAX];
    snprintf(beside, sizeof(beside), "%s.%lu-try.tmp", path, GetCurrentProcessId());
    if (os_folder_visit(path, stop_at_once, NULL, NULL)) {
        return error_set(error, "is a folder");
    }
    if (!windows_path(beside, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    HANDLE file = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW,
                              FILE_ATTRIBUTE_NORMAL | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        return windows_error_set(error, GetLastError());
    }
    CloseHandle(file);
    return true;
}

bool os_output_try(const char *path, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    if (is_device(wide)) {
        return true; /* a pipe takes one client: the one who writes in the end */
    }
    if (!is_link(wide)) {
        return try_beside(path, error);
    }
    HANDLE file = open_into(wide, error);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    CloseHandle(file);
    return true;
}

void os_output_clear(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), NULL) || is_device(wide)) {
        return;
    }
    if (!is_link(wide)) {
        DeleteFileW(wide);
        return;
    }
    HANDLE file = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              TRUNCATE_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file != INVALID_HANDLE_VALUE) {
        CloseHandle(file);
    }
}

static bool read_identity(const char *path, BY_HANDLE_FILE_INFORMATION *information) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), NULL)) {
        return false;
    }
    HANDLE file = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    bool read = GetFileInformationByHandle(file, information) != 0;
    CloseHandle(file);
    return read;
}

bool os_file_same(const char *one, const char *other) {
    BY_HANDLE_FILE_INFORMATION first;
    BY_HANDLE_FILE_INFORMATION second;
    return read_identity(one, &first) && read_identity(other, &second) &&
           first.dwVolumeSerialNumber == second.dwVolumeSerialNumber &&
           first.nFileIndexHigh == second.nFileIndexHigh &&
           first.nFileIndexLow == second.nFileIndexLow;
}
