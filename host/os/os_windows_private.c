/* os_windows_private.c: private folders, and the copies of libraries in them.
 *
 * A folder is made with an access list for this process's user alone, and a handle to it is held
 * that does not share deletion. A process that cleans asks for the right to delete the folder: the
 * system refuses it while the handle is open, and the handle closes when its process ends, however
 * that ends. The cleaning process checks the owner by its own handle, does not follow a reparse
 * point, and holds the folder while it removes the files, so that no other user can redirect the
 * deletion.
 *
 * A copy has the bytes of the file and nothing else of it: neither attributes nor streams. */
#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os_private.h"
#include "os/os_windows.h"
#include "os/os_windows_private.h"

enum {
    CHUNK_BYTES = 65536,
    LIST_BYTES = 16384,
    CREATE_TRIES = 100,
    FLAGS_BACKUP = FILE_FLAG_BACKUP_SEMANTICS
};

static const char prefix[] = "berth-";

/* For SYSTEM the newer function returns a folder that other users cannot write; Windows 11 and
 * Server 2022 have it. */
static bool find_temporary_place(char *path, size_t size, struct error *error) {
    typedef DWORD(WINAPI * get_temp_path)(DWORD, LPWSTR);
    wchar_t wide[MAX_PATH + 1];
    FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "GetTempPath2W");
    get_temp_path get = GetTempPathW;
    if (found) {
        memcpy(&get, &found, sizeof(get));
    }
    DWORD length = get(ARRAY_COUNT(wide), wide);
    if (length == 0 || length >= ARRAY_COUNT(wide) || !windows_text(wide, path, size)) {
        return error_set(error, "there is no folder for temporary files: set TMP to one");
    }
    return true;
}

static bool find_place(char *path, size_t size, const char *place, struct error *error) {
    if (!place) {
        return find_temporary_place(path, size, error);
    }
    int length = snprintf(path, size, "%s", place);
    return (length >= 0 && (size_t)length < size) || error_set(error, "the path is too long");
}

/* -- folders --------------------------------------------------------------- */

struct os_private {
    HANDLE handle; /* holds the lock */
    wchar_t wide[WINDOWS_PATH_MAX];
    char path[OS_PATH_MAX];
};

/* A security descriptor that grants access to this process's user and to no other, inherited by all
 * that is made inside. Free it with LocalFree(). It names the user and not "the owner" because of
 * administrators: what they make is owned by their whole group. */
static PSECURITY_DESCRIPTOR descriptor_for_user(struct error *error) {
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t *sid = NULL;
    union windows_user user;
    if (windows_user_read(&user) && ConvertSidToStringSidW(user.user.User.Sid, &sid)) {
        wchar_t text[512];
        _snwprintf(text, ARRAY_COUNT(text), L"O:%lsD:P(A;OICI;FA;;;%ls)", sid, sid);
        text[ARRAY_COUNT(text) - 1] = L'\0';
        ConvertStringSecurityDescriptorToSecurityDescriptorW(text, SDDL_REVISION_1, &descriptor,
                                                             NULL);
    }
    if (!descriptor) {
        windows_error_set(error, GetLastError());
    }
    LocalFree(sid);
    return descriptor;
}

static bool remove_file_in(void *context, const char *name) {
    char path[OS_PATH_MAX];
    if (os_path_join(path, sizeof(path), context, name)) {
        os_file_remove(path);
    }
    return true;
}

/* A file, or a folder with the files in it; a reparse point to another folder is not followed. */
static bool windows_private_remove_entry(const char *path) {
    wchar_t wide[WINDOWS_PATH_MAX];
    char folder[OS_PATH_MAX];
    if (os_file_remove(path)) {
        return true;
    }
    DWORD attributes = windows_path(path, wide, ARRAY_COUNT(wide), NULL) ? GetFileAttributesW(wide)
                                                                         : INVALID_FILE_ATTRIBUTES;
    if (attributes == INVALID_FILE_ATTRIBUTES || (attributes & FILE_ATTRIBUTE_DIRECTORY) == 0) {
        return false;
    }
    if ((attributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0) {
        snprintf(folder, sizeof(folder), "%s", path);
        os_folder_visit(folder, remove_file_in, folder, NULL);
    }
    return RemoveDirectoryW(wide);
}

static bool remove_entry_in(void *context, const char *name) {
    char path[OS_PATH_MAX];
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
        os_path_join(path, sizeof(path), context, name)) {
        windows_private_remove_entry(path);
    }
    return true;
}

/* Makes the folder and holds it: a Win32 code. The name need not be secret, only new: the folder is
 * made with its access list. */
static DWORD windows_private_make_folder(struct os_private *folder, const char *place,
                                         unsigned number, SECURITY_ATTRIBUTES *attributes) {
    snprintf(folder->path, sizeof(folder->path), "%s%s%s%lu-%08lx", place,
             place[strlen(place) - 1] == '\\' ? "" : "\\", prefix, GetCurrentProcessId(),
             (unsigned long)os_now_us() + number);
    if (!windows_path(folder->path, folder->wide, ARRAY_COUNT(folder->wide), NULL)) {
        return ERROR_FILENAME_EXCED_RANGE;
    }
    if (!CreateDirectoryW(folder->wide, attributes)) {
        return GetLastError();
    }
    folder->handle =
        CreateFileW(folder->wide, FILE_LIST_DIRECTORY, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                    OPEN_EXISTING, FLAGS_BACKUP | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (folder->handle != INVALID_HANDLE_VALUE) {
        return ERROR_SUCCESS;
    }
    DWORD code = GetLastError();
    RemoveDirectoryW(folder->wide);
    /* Another process took it for an abandoned one, before its handle was open. */
    bool taken = code == ERROR_FILE_NOT_FOUND || code == ERROR_SHARING_VIOLATION ||
                 code == ERROR_ACCESS_DENIED;
    return taken ? ERROR_ALREADY_EXISTS : code;
}

struct os_private *os_private_create(const char *place, struct error *error) {
    char base[OS_PATH_MAX];
    if (!find_place(base, sizeof(base), place, error)) {
        return NULL;
    }
    PSECURITY_DESCRIPTOR descriptor = descriptor_for_user(error);
    struct os_private *folder = descriptor ? alloc_zeroed(sizeof(*folder)) : NULL;
    if (!folder) {
        if (descriptor) {
            error_set(error, "out of memory");
        }
        LocalFree(descriptor);
        return NULL;
    }
    SECURITY_ATTRIBUTES attributes = {sizeof(attributes), descriptor, FALSE};
    DWORD code = ERROR_ALREADY_EXISTS;
    for (unsigned i = 0; i < CREATE_TRIES && code == ERROR_ALREADY_EXISTS; i++) {
        code = windows_private_make_folder(folder, base, i, &attributes);
    }
    LocalFree(descriptor);
    if (code != ERROR_SUCCESS) {
        windows_error_set(error, code);
        error_prefix(error, "%s: ", base);
        alloc_free(folder);
        return NULL;
    }
    return folder;
}

const char *os_private_path(const struct os_private *folder) {
    return folder->path;
}

void os_private_remove(struct os_private *folder) {
    if (folder) {
        os_folder_visit(folder->path, remove_entry_in, folder->path, NULL);
        CloseHandle(folder->handle);
        RemoveDirectoryW(folder->wide);
        alloc_free(folder);
    }
}

/* "berth-PROCESS-…" */
static bool windows_private_is_private_name(const char *name) {
    size_t length = sizeof(prefix) - 1;
    if (strncmp(name, prefix, length) != 0) {
        return false;
    }
    size_t digits = strspn(name + length, "0123456789");
    return digits > 0 && name[length + digits] == '-';
}

/* A folder, not a reparse point, that belongs to this process's user. */
static bool is_own_folder(HANDLE folder) {
    BY_HANDLE_FILE_INFORMATION information;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PSID owner = NULL;
    union windows_user user;
    if (!GetFileInformationByHandle(folder, &information) ||
        (information.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) == 0 ||
        (information.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) != 0) {
        return false;
    }
    bool own = GetSecurityInfo(folder, SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION, &owner, NULL,
                               NULL, NULL, &descriptor) == ERROR_SUCCESS &&
               windows_user_read(&user) && EqualSid(owner, user.user.User.Sid);
    LocalFree(descriptor);
    return own;
}

/* The names are read by the handle: opening the folder once more to list it would need a share mode
 * that the handle does not allow. True: something was removed. */
static bool remove_listed(FILE_ID_BOTH_DIR_INFO *entry, const char *path) {
    char name[4 * MAX_PATH];
    wchar_t wide[MAX_PATH];
    bool removed = false;
    for (;;) {
        size_t length = entry->FileNameLength / sizeof(wchar_t);
        if (length < ARRAY_COUNT(wide)) {
            memcpy(wide, entry->FileName, entry->FileNameLength);
            wide[length] = L'\0';
            char file[OS_PATH_MAX];
            removed = (wcscmp(wide, L".") != 0 && wcscmp(wide, L"..") != 0 &&
                       windows_text(wide, name, sizeof(name)) &&
                       os_path_join(file, sizeof(file), path, name) &&
                       windows_private_remove_entry(file)) ||
                      removed;
        }
        if (entry->NextEntryOffset == 0) {
            return removed;
        }
        entry = (FILE_ID_BOTH_DIR_INFO *)(void *)((uint8_t *)entry + entry->NextEntryOffset);
    }
}

static void windows_private_remove_files(HANDLE folder, const char *path) {
    void *entries = alloc_zeroed(LIST_BYTES);
    while (
        entries &&
        GetFileInformationByHandleEx(folder, FileIdBothDirectoryRestartInfo, entries, LIST_BYTES) &&
        remove_listed(entries, path)) {
    }
    alloc_free(entries);
}

static bool windows_private_clean_one(void *context, const char *name) {
    char path[OS_PATH_MAX];
    wchar_t wide[WINDOWS_PATH_MAX];
    FILE_DISPOSITION_INFO gone = {TRUE};
    if (!windows_private_is_private_name(name) ||
        !os_path_join(path, sizeof(path), context, name) ||
        !windows_path(path, wide, ARRAY_COUNT(wide), NULL)) {
        return true;
    }
    HANDLE folder =
        CreateFileW(wide, DELETE | READ_CONTROL | FILE_LIST_DIRECTORY, FILE_SHARE_READ, NULL,
                    OPEN_EXISTING, FLAGS_BACKUP | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (folder == INVALID_HANDLE_VALUE) {
        return true; /* its process lives, or it is another user's */
    }
    if (is_own_folder(folder)) {
        windows_private_remove_files(folder, path);
        SetFileInformationByHandle(folder, FileDispositionInfo, &gone, sizeof(gone));
    }
    CloseHandle(folder);
    return true;
}

void os_private_clean(const char *place) {
    char base[OS_PATH_MAX];
    if (find_place(base, sizeof(base), place, NULL)) {
        os_folder_visit(base, windows_private_clean_one, base, NULL);
    }
}

/* -- copies ---------------------------------------------------------------- */

struct os_copy {
    struct os_private *folder;
    char path[OS_PATH_MAX];
};

static bool windows_private_write_all(HANDLE to, const char *bytes, size_t size,
                                      struct error *error) {
    while (size > 0) {
        DWORD written = 0;
        if (!WriteFile(to, bytes, (DWORD)size, &written, NULL)) {
            return windows_error_set(error, GetLastError());
        }
        bytes += written;
        size -= written;
    }
    return true;
}

/* A file that grows meanwhile is bounded, too. */
static bool windows_private_copy_bytes(const struct os_file *file, HANDLE to, uint64_t bytes_max,
                                       struct error *error) {
    char *chunk = alloc_zeroed(CHUNK_BYTES);
    uint64_t offset = 0;
    int64_t count = 0;
    bool good = chunk || error_set(error, "out of memory");
    while (good && (count = os_file_read_at(file, offset, chunk, CHUNK_BYTES)) > 0) {
        offset += (uint64_t)count;
        good = offset <= bytes_max
                   ? windows_private_write_all(to, chunk, (size_t)count, error)
                   : error_set(error, "it grows while it is copied; at most %llu bytes are allowed",
                               (unsigned long long)bytes_max);
    }
    if (good && count < 0) {
        windows_error_set(error, GetLastError());
        good = error_prefix(error, "reading it: ");
    }
    alloc_free(chunk);
    return good;
}

static bool windows_private_write_copy(const struct os_file *file, const char *path,
                                       uint64_t bytes_max, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!windows_path(path, wide, ARRAY_COUNT(wide), NULL)) {
        return error_set(error, "the path is too long");
    }
    HANDLE to = CreateFileW(wide, GENERIC_WRITE, 0, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
    if (to == INVALID_HANDLE_VALUE) {
        return windows_error_set(error, GetLastError());
    }
    bool written = windows_private_copy_bytes(file, to, bytes_max, error);
    CloseHandle(to);
    return written;
}

struct os_copy *os_copy_create(const struct os_file *file, const char *name,
                               const struct os_copy_rules *rules, struct error *error) {
    struct os_copy *copy = alloc_zeroed(sizeof(*copy));
    if (!copy) {
        error_set(error, "out of memory");
        return NULL;
    }
    copy->folder = os_private_create(rules->place, error);
    if (!copy->folder) {
        alloc_free(copy);
        return NULL;
    }
    bool written = os_path_join(copy->path, sizeof(copy->path), copy->folder->path, name)
                       ? windows_private_write_copy(file, copy->path, rules->bytes_max, error)
                       : error_set(error, "the path is too long");
    if (!written) {
        error_prefix(error, "%s: ", copy->path);
        os_copy_remove(copy, false);
        return NULL;
    }
    return copy;
}

bool os_copy_add(struct os_copy *copy, const struct os_file *file, const char *name,
                 uint64_t bytes_max, struct error *error) {
    char path[OS_PATH_MAX];
    return (os_path_join(path, sizeof(path), copy->folder->path, name) ||
            error_set(error, "the path is too long")) &&
           (windows_private_write_copy(file, path, bytes_max, error) ||
            error_prefix(error, "%s: ", path));
}

const char *os_copy_path(const struct os_copy *copy) {
    return copy->path;
}

const char *os_copy_note(const struct os_copy *copy) {
    (void)copy; /* a library is loaded from a file or not at all */
    return "";
}

int os_copy_descriptor(const struct os_copy *copy) {
    (void)copy;
    return -1;
}

void os_copy_remove(struct os_copy *copy, bool mapped) {
    (void)mapped; /* then the system keeps the file, and the next start removes it */
    if (copy) {
        os_private_remove(copy->folder);
        alloc_free(copy);
    }
}
