/* os_windows_output.c: files that a user has named, to be written. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_windows.h"
#include "os/os_windows_operation.h"

enum { READER_MS = 1000, PIECE_BYTES = 65536 }; /* for a reader to take something */

/* A cancelled write that a device has not ended: until it ends nothing more is written, so that
 * there is at most one of them. Used by the one thread that writes. */
static struct windows_operation *unended;

static bool is_unended(void) {
    if (unended && HasOverlappedIoCompleted(&unended->overlapped)) {
        windows_operation_destroy(unended);
        unended = NULL;
    }
    return unended != NULL;
}

/* NUL, CON, COM1 and named pipes: their full paths begin with \\.\ */
static bool windows_output_is_device(const wchar_t *wide) {
    return wcsncmp(wide, L"\\\\.\\", 4) == 0;
}

static bool is_link(const wchar_t *wide) {
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_REPARSE_POINT);
}

static HANDLE windows_output_open_into(const wchar_t *wide, struct error *error) {
    HANDLE file =
        CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                    windows_output_is_device(wide) ? OPEN_EXISTING : OPEN_ALWAYS,
                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        bool unread = windows_output_is_device(wide) &&
                      (code == ERROR_PIPE_BUSY || code == ERROR_FILE_NOT_FOUND);
        windows_error_set(error, code);
        if (unread && error) {
            error->kind = ERROR_KIND_NO_READER;
        }
    }
    return file;
}

/* One piece, at that offset of the file; false when it is not accepted in time. */
static bool windows_output_write_piece(struct windows_operation **operation, HANDLE file,
                                       uint64_t offset, const char *text, DWORD size,
                                       DWORD *count) {
    struct windows_operation *started = *operation;
    OVERLAPPED *overlapped = windows_operation_prepare(started);
    overlapped->Offset = (DWORD)offset;
    overlapped->OffsetHigh = (DWORD)(offset >> 32);
    memcpy(started->bytes, text, size);
    if (!windows_operation_begun(WriteFile(file, started->bytes, size, NULL, overlapped))) {
        return false;
    }
    bool written =
        windows_operation_end(operation, file, NULL, READER_MS, count, "the ready file") &&
        *count > 0;
    if (!*operation) {
        unended = started;
    }
    return written;
}

static bool windows_output_write_pieces(HANDLE file, const char *text, size_t size) {
    struct windows_operation *operation =
        windows_operation_create(size < PIECE_BYTES ? size : PIECE_BYTES);
    bool written = operation != NULL;
    for (size_t at = 0; written && at < size;) {
        DWORD count = 0;
        DWORD part = size - at < PIECE_BYTES ? (DWORD)(size - at) : PIECE_BYTES;
        written = windows_output_write_piece(&operation, file, at, text + at, part, &count);
        at += count;
    }
    DWORD code = GetLastError();
    windows_operation_destroy(operation);
    SetLastError(code);
    return written;
}

static bool windows_output_write_into(const wchar_t *wide, const char *text, size_t size,
                                      struct error *error) {
    if (is_unended()) {
        return error_set_kind(error, ERROR_KIND_NO_READER,
                              "a write of before has not ended, although it was cancelled");
    }
    HANDLE file = windows_output_open_into(wide, error);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    if (GetFileType(file) == FILE_TYPE_DISK) {
        SetEndOfFile(file); /* truncates the target of a link; the position is at the beginning */
    }
    bool written = windows_output_write_pieces(file, text, size);
    if (!written) {
        DWORD code = GetLastError();
        bool unread = code == ERROR_OPERATION_ABORTED;
        error_set_kind(error, unread ? ERROR_KIND_NO_READER : ERROR_KIND_OTHER,
                       unread ? "its reader has taken nothing for %d ms" : "writing into it failed",
                       READER_MS);
    }
    CloseHandle(file);
    return written;
}

bool os_output_write(const char *path, const char *text, size_t size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    return windows_output_is_device(wide) || is_link(wide)
               ? windows_output_write_into(wide, text, size, error)
               : os_file_write_atomic(path, text, size, error);
}

static bool windows_output_stop_at_once(void *context, const char *name) {
    (void)context;
    (void)name;
    return false;
}

/* A replacement is written to a temporary file in the same folder. */
static bool windows_output_try_beside(const char *path, struct error *error) {
    char beside[OS_PATH_MAX + 64];
    wchar_t wide[WINDOWS_PATH_MAX];
    snprintf(beside, sizeof(beside), "%s.%lu-try.tmp", path, GetCurrentProcessId());
    if (os_folder_visit(path, windows_output_stop_at_once, NULL, NULL)) {
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
    if (windows_output_is_device(wide)) {
        return true; /* a pipe instance takes one client, which must be the final write */
    }
    if (!is_link(wide)) {
        return windows_output_try_beside(path, error);
    }
    HANDLE file = windows_output_open_into(wide, error);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    CloseHandle(file);
    return true;
}

void os_output_clear(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), NULL) || windows_output_is_device(wide)) {
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
