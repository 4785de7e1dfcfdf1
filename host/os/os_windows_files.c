/* os_windows_files.c: files, folders and paths.
 *
 * Paths go to the system absolute and, where they are long, with the prefix \\?\ : it lifts the
 * limit of 260 characters on every Windows, without the registry key and the manifest entry that
 * the newer way asks for. The prefix also switches off the cleaning of paths, so GetFullPathNameW
 * cleans them first. */
#include <windows.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_windows.h"

enum {
    SHORT_PATH_MAX = 247, /* the limit for folders: 260 less an 8.3 name and the terminator */
    REPLACE_TRIES = 50,   /* a scanner or a reader holds the old file open for a moment */
    REPLACE_WAIT_MS = 10,
    READ_BLOCK_BYTES = 1 << 20,
};

#define UNIX_EPOCH_MS INT64_C(11644473600000) /* 1970, in milliseconds since 1601 */

static bool is_separator(char c) {
    return c == '\\' || c == '/';
}

/* -- paths ----------------------------------------------------------------- */

bool windows_path(const char *path, wchar_t *wide, size_t capacity, struct error *error) {
    wchar_t given[WINDOWS_PATH_MAX];
    wchar_t full[WINDOWS_PATH_MAX];
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, given, ARRAY_COUNT(given)) ==
        0) {
        return error_set(error, GetLastError() == ERROR_INSUFFICIENT_BUFFER
                                    ? "the path is too long"
                                    : "the path is not valid UTF-8");
    }
    DWORD length = GetFullPathNameW(given, ARRAY_COUNT(full), full, NULL);
    if (length == 0) {
        return windows_error_set(error, GetLastError());
    }
    const wchar_t *prefix = L"";
    const wchar_t *rest = full;
    if (length < ARRAY_COUNT(full) && length > SHORT_PATH_MAX) {
        if (full[0] != L'\\') {
            prefix = L"\\\\?\\";
        } else if (full[1] == L'\\' && full[2] != L'?' && full[2] != L'.') {
            prefix = L"\\\\?\\UNC\\";
            rest = full + 2;
        }
    }
    if (length >= ARRAY_COUNT(full) || wcslen(prefix) + wcslen(rest) >= capacity) {
        return error_set(error, "the path is too long");
    }
    wcscpy(wide, prefix);
    wcscat(wide, rest);
    return true;
}

bool os_path_is_absolute(const char *path) {
    /* A path from the root of the current drive counts too: it cannot be joined to a folder. */
    if (is_separator(path[0])) {
        return true;
    }
    bool drive = (path[0] >= 'A' && path[0] <= 'Z') || (path[0] >= 'a' && path[0] <= 'z');
    return drive && path[1] == ':' && is_separator(path[2]);
}

bool os_path_join(char *path, size_t size, const char *folder, const char *name) {
    size_t length = strlen(folder);
    int written;
    if (os_path_is_absolute(name) || length == 0) {
        written = snprintf(path, size, "%s", name);
    } else {
        const char *separator = is_separator(folder[length - 1]) ? "" : "\\";
        written = snprintf(path, size, "%s%s%s", folder, separator, name);
    }
    return written >= 0 && (size_t)written < size;
}

bool os_path_folder(char *folder, size_t size, const char *path) {
    size_t root = 0; /* what stays, however short the rest gets: "\", "C:\" or "C:" */
    if (path[0] && path[1] == ':') {
        root = is_separator(path[2]) ? 3 : 2;
    } else if (is_separator(path[0])) {
        root = 1;
    }
    size_t length = strlen(path);
    while (length > root && !is_separator(path[length - 1])) {
        length--;
    }
    while (length > root && is_separator(path[length - 1])) {
        length--;
    }
    /* "C:name" is in the current folder of drive C, which is written "C:." */
    const char *dot = length == 0 || (length == 2 && root == 2) ? "." : "";
    int written = snprintf(folder, size, "%.*s%s", (int)length, path, dot);
    return written >= 0 && (size_t)written < size;
}

static bool real_folder(char *real, size_t size, const char *folder) {
    wchar_t wide[WINDOWS_PATH_MAX];
    wchar_t final[WINDOWS_PATH_MAX];
    if (!windows_path(folder, wide, ARRAY_COUNT(wide), NULL)) {
        return false;
    }
    HANDLE handle = CreateFileW(wide, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        return false;
    }
    DWORD length = GetFinalPathNameByHandleW(handle, final, ARRAY_COUNT(final), 0);
    CloseHandle(handle);
    if (length == 0 || length >= ARRAY_COUNT(final)) {
        return false;
    }
    const wchar_t *from = final;
    if (wcsncmp(final, L"\\\\?\\UNC\\", 8) == 0) {
        final[6] = L'\\'; /* "\\?\UNC\server" is "\\server" */
        from = final + 6;
    } else if (wcsncmp(final, L"\\\\?\\", 4) == 0) {
        from = final + 4;
    }
    return windows_text(from, real, size);
}

bool os_path_real(char *real, size_t size, const char *path) {
    char folder[OS_PATH_MAX];
    char full[OS_PATH_MAX];
    const char *name = path + strlen(path);
    while (name > path && !is_separator(name[-1]) && name[-1] != ':') {
        name--;
    }
    return os_path_folder(folder, sizeof(folder), path) &&
           real_folder(full, sizeof(full), folder) && os_path_join(real, size, full, name);
}

/* Names are case-insensitive, as they are for the system. */
bool os_path_same(const char *one, const char *other) {
    wchar_t first[WINDOWS_PATH_MAX];
    wchar_t second[WINDOWS_PATH_MAX];
    return windows_path(one, first, ARRAY_COUNT(first), NULL) &&
           windows_path(other, second, ARRAY_COUNT(second), NULL) &&
           CompareStringOrdinal(first, -1, second, -1, TRUE) == CSTR_EQUAL;
}

/* -- reading and writing --------------------------------------------------- */

static bool windows_files_is_folder(const wchar_t *wide) {
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/* The regular file open for reading, and its size; or INVALID_HANDLE_VALUE. */
static HANDLE file_open_regular(const char *path, uint64_t *size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error)) {
        return INVALID_HANDLE_VALUE;
    }
    /* Others may go on writing, renaming and deleting it: the host must not block an editor. It is
     * read or sent from front to back (TransmitFile's documentation asks for the flag). */
    HANDLE file =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_FLAG_SEQUENTIAL_SCAN, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        if (windows_files_is_folder(wide)) { /* the system only reports "access denied" */
            error_set_kind(error, ERROR_KIND_NOT_REGULAR, "is a folder");
        } else {
            windows_error_set(error, code);
        }
        return INVALID_HANDLE_VALUE;
    }
    LARGE_INTEGER length;
    if (GetFileType(file) != FILE_TYPE_DISK) {
        error_set_kind(error, ERROR_KIND_NOT_REGULAR, "is not a regular file");
    } else if (!GetFileSizeEx(file, &length)) {
        windows_error_set(error, GetLastError());
    } else {
        *size = (uint64_t)length.QuadPart;
        return file;
    }
    CloseHandle(file);
    return INVALID_HANDLE_VALUE;
}

bool os_file_open(struct os_file *file, const char *path, struct error *error) {
    uint64_t size;
    HANDLE handle = file_open_regular(path, &size, error);
    file->handle = (intptr_t)handle;
    return handle != INVALID_HANDLE_VALUE;
}

/* The system counts steps of 100 ns since 1601. Wraps only for times that no clock shows. */
static int64_t unix_ns(int64_t steps) {
    return (int64_t)(((uint64_t)steps - (uint64_t)UNIX_EPOCH_MS * 10000) * 100);
}

bool os_file_status(const struct os_file *file, struct os_file_status *status,
                    struct error *error) {
    HANDLE handle = (HANDLE)file->handle;
    BY_HANDLE_FILE_INFORMATION information;
    FILE_BASIC_INFO basic;
    if (!GetFileInformationByHandle(handle, &information) ||
        !GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof(basic))) {
        return windows_error_set(error, GetLastError());
    }
    *status = (struct os_file_status){
        .size = (uint64_t)information.nFileSizeHigh << 32 | information.nFileSizeLow,
        .modified_unix_ms = basic.LastWriteTime.QuadPart / 10000 - UNIX_EPOCH_MS,
        .modified_unix_ns = unix_ns(basic.LastWriteTime.QuadPart),
        .changed_unix_ns = unix_ns(basic.ChangeTime.QuadPart),
        .volume = information.dwVolumeSerialNumber,
        .id = {(uint64_t)information.nFileIndexHigh << 32 | information.nFileIndexLow},
    };
    /* ReFS has ids of 128 bits, which the older call truncates. */
    FILE_ID_INFO id;
    if (GetFileInformationByHandleEx(handle, FileIdInfo, &id, sizeof(id))) {
        status->volume = id.VolumeSerialNumber;
        memcpy(status->id, id.FileId.Identifier, sizeof(status->id));
    }
    return true;
}

int64_t os_file_read_at(const struct os_file *file, uint64_t offset, void *bytes, size_t size) {
    OVERLAPPED place = {.Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32)};
    DWORD got = size < READ_BLOCK_BYTES ? (DWORD)size : READ_BLOCK_BYTES;
    if (!ReadFile((HANDLE)file->handle, bytes, got, &got, &place)) {
        return GetLastError() == ERROR_HANDLE_EOF ? 0 : -1;
    }
    return got;
}

void os_file_close(struct os_file *file) {
    CloseHandle((HANDLE)file->handle);
    file->handle = -1;
}

bool os_file_read(const char *path, size_t max_bytes, char **text, size_t *size,
                  struct error *error) {
    uint64_t length = 0;
    HANDLE file = file_open_regular(path, &length, error);
    if (file == INVALID_HANDLE_VALUE) {
        return false;
    }
    if (length > max_bytes) {
        CloseHandle(file);
        return error_set(error, "has %llu bytes; at most %llu are read", (unsigned long long)length,
                         (unsigned long long)max_bytes);
    }
    size_t expected = (size_t)length;
    char *bytes = expected < SIZE_MAX ? alloc_zeroed(expected + 1) : NULL;
    if (!bytes) {
        CloseHandle(file);
        return error_set(error, "out of memory");
    }
    /* A file that shrinks meanwhile ends early; one that grows is taken at the size it had. */
    size_t got = 0;
    DWORD block = 1;
    bool ok = true;
    while (got < expected && block > 0 && ok) {
        size_t left = expected - got;
        ok = ReadFile(file, bytes + got, left < READ_BLOCK_BYTES ? (DWORD)left : READ_BLOCK_BYTES,
                      &block, NULL);
        got += ok ? block : 0;
    }
    if (!ok) {
        windows_error_set(error, GetLastError());
        CloseHandle(file);
        alloc_free(bytes);
        return false;
    }
    CloseHandle(file);
    *text = bytes;
    *size = got;
    return true;
}

static bool file_write_new(const wchar_t *wide, const char *text, size_t size, bool lasting,
                           struct error *error) {
    HANDLE file =
        CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) {
        return windows_error_set(error, GetLastError());
    }
    size_t done = 0;
    bool ok = true;
    while (done < size && ok) {
        size_t left = size - done;
        DWORD written = 0;
        ok = WriteFile(file, text + done, left < READ_BLOCK_BYTES ? (DWORD)left : READ_BLOCK_BYTES,
                       &written, NULL);
        done += written;
    }
    ok = ok && (!lasting || FlushFileBuffers(file));
    if (!ok) {
        windows_error_set(error, GetLastError());
    }
    CloseHandle(file);
    return ok;
}

/* As in POSIX: a file that another process holds open, and lets others delete, loses its name at
 * once. NTFS supports it since Windows 10; Wine 8 does not, and other file systems may not. */
static bool file_rename_posix(const wchar_t *from, const wchar_t *to) {
    enum { RENAME_INFO_EX = 22, REPLACE_IF_EXISTS = 1, POSIX_SEMANTICS = 2 };
    const DWORD flags = REPLACE_IF_EXISTS | POSIX_SEMANTICS;
    size_t length = wcslen(to) * sizeof(wchar_t);
    FILE_RENAME_INFO *info = alloc_zeroed(sizeof(*info) + length);
    HANDLE file = info ? CreateFileW(from, DELETE | SYNCHRONIZE,
                                     FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                     OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL)
                       : INVALID_HANDLE_VALUE;
    bool renamed = false;
    if (file != INVALID_HANDLE_VALUE) {
        memcpy(info, &flags, sizeof(flags)); /* a union with ReplaceIfExists, in newer headers */
        info->FileNameLength = (DWORD)length;
        memcpy(info->FileName, to, length);
        renamed = SetFileInformationByHandle(file, (FILE_INFO_BY_HANDLE_CLASS)RENAME_INFO_EX, info,
                                             (DWORD)(sizeof(*info) + length)) != 0;
        CloseHandle(file);
    }
    alloc_free(info);
    return renamed;
}

/* MoveFileEx and not ReplaceFile: the latter needs the old file to be there, and it may leave
 * neither under the name when it fails half way. */
static bool file_rename_over(const wchar_t *from, const wchar_t *to, struct error *error) {
    for (int attempt = 1;; attempt++) {
        if (MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)) {
            return true;
        }
        DWORD code = GetLastError();
        bool held = code == ERROR_SHARING_VIOLATION || code == ERROR_ACCESS_DENIED;
        if (held && !windows_files_is_folder(to) && file_rename_posix(from, to)) {
            return true;
        }
        if (!held || attempt == REPLACE_TRIES || windows_files_is_folder(to)) {
            return windows_error_set(error, code);
        }
        Sleep(REPLACE_WAIT_MS);
    }
}

bool os_file_write_atomic(const char *path, const char *text, size_t size, struct error *error) {
    static atomic_uint counter;
    wchar_t wide[WINDOWS_PATH_MAX];
    char beside[OS_PATH_MAX + 64];
    wchar_t wide_beside[WINDOWS_PATH_MAX];
    snprintf(beside, sizeof(beside), "%s.%lu-%u.tmp", path, GetCurrentProcessId(),
             atomic_fetch_add(&counter, 1));
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error) ||
        !windows_path(beside, wide_beside, ARRAY_COUNT(wide_beside), error)) {
        return false;
    }
    if (!file_write_new(wide_beside, text, size, true, error) ||
        !file_rename_over(wide_beside, wide, error)) {
        DeleteFileW(wide_beside);
        return false;
    }
    return true;
}

bool os_file_write_new(const char *path, const char *text, size_t size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    return windows_path(path, wide, ARRAY_COUNT(wide), error) &&
           file_write_new(wide, text, size, false, error);
}

bool os_file_exists(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), NULL)) {
        return false;
    }
    DWORD attributes = GetFileAttributesW(wide);
    return attributes != INVALID_FILE_ATTRIBUTES &&
           !(attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE));
}

bool os_file_remove(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    return windows_path(path, wide, ARRAY_COUNT(wide), NULL) && DeleteFileW(wide);
}

/* -- folders --------------------------------------------------------------- */

struct names {
    char **items;
    size_t count;
    size_t capacity;
};

static void names_free(struct names *names) {
    for (size_t i = 0; i < names->count; i++) {
        alloc_free(names->items[i]);
    }
    alloc_free(names->items);
}

static bool names_add(struct names *names, const wchar_t *wide) {
    char name[4 * MAX_PATH];
    if (!windows_text(wide, name, sizeof(name))) {
        return false;
    }
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 16;
        char **items = alloc_resize(names->items, capacity * sizeof(*items));
        if (!items) {
            return false;
        }
        names->items = items;
        names->capacity = capacity;
    }
    names->items[names->count] = alloc_string(name);
    return names->items[names->count] && ++names->count;
}

static int names_compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Takes all names before any visit, so that a visitor may change the folder. */
static bool names_read(struct names *names, const char *path, struct error *error) {
    char pattern[OS_PATH_MAX];
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!os_path_join(pattern, sizeof(pattern), path, "*")) {
        return error_set(error, "the path is too long");
    }
    if (!windows_path(pattern, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    WIN32_FIND_DATAW data;
    HANDLE find = FindFirstFileExW(wide, FindExInfoBasic, &data, FindExSearchNameMatch, NULL, 0);
    if (find == INVALID_HANDLE_VALUE) {
        DWORD code = GetLastError();
        /* The root of an empty drive has no entry "." */
        return code == ERROR_FILE_NOT_FOUND ? true : windows_error_set(error, code);
    }
    bool ok = true;
    do {
        bool dots = wcscmp(data.cFileName, L".") == 0 || wcscmp(data.cFileName, L"..") == 0;
        if (!dots && !names_add(names, data.cFileName)) {
            ok = error_set(error, "out of memory");
        }
    } while (ok && FindNextFileW(find, &data));
    DWORD code = GetLastError();
    FindClose(find);
    if (ok && code != ERROR_NO_MORE_FILES) {
        ok = windows_error_set(error, code);
    }
    return ok;
}

bool os_folder_visit(const char *path, bool (*visit)(void *context, const char *name),
                     void *context, struct error *error) {
    struct names names = {0};
    if (!names_read(&names, path, error)) {
        names_free(&names);
        return false;
    }
    if (names.count > 0) {
        qsort(names.items, names.count, sizeof(*names.items), names_compare);
    }
    for (size_t i = 0; i < names.count && visit(context, names.items[i]); i++) {
    }
    names_free(&names);
    return true;
}

bool os_folder_create(const char *path, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    return windows_path(path, wide, WINDOWS_PATH_MAX, error) &&
           (CreateDirectoryW(wide, NULL) || windows_error_set(error, GetLastError()));
}

bool os_folder_remove(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    return windows_path(path, wide, ARRAY_COUNT(wide), NULL) && RemoveDirectoryW(wide);
}
