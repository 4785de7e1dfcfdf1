/* Names are opened one at a time, relative to an open folder and without following reparse points,
 * as only the native calls can. Windows requires write access to a file for a hard link to it, so
 * owners are not compared. */
#include "files.h"

#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <stddef.h>
#include <winternl.h>

#include "common/wide_path.h"

enum {
    SHARED = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
    NAME_UNITS_MAX = 256,
    LIST_BYTES = 16384,
    /* The options of NtCreateFile(), which are named in the driver's kit alone. */
    OPTION_FOLDER = 0x00000001,
    OPTION_SYNCHRONOUS = 0x00000020,
    OPTION_FILE = 0x00000040,
    OPTION_LINK_ITSELF = 0x00200000,
    OPEN_ONLY = 1,
    OPEN_OR_MAKE = 3,
};

char files_info_separator(void) {
    return ';';
}

bool files_is_separator(char c) {
    return c == '/' || c == '\\';
}

bool files_is_absolute(const char *path) {
    bool drive = (path[0] >= 'A' && path[0] <= 'Z') || (path[0] >= 'a' && path[0] <= 'z');
    return files_is_separator(path[0]) || (drive && path[1] == ':' && files_is_separator(path[2]));
}

static enum files_status files_status_of(DWORD code) {
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
        return FILES_MISSING;
    case ERROR_SHARING_VIOLATION:
        return FILES_IN_USE;
    case ERROR_DIRECTORY: /* a file where a folder should be */
        return FILES_FOREIGN;
    default:
        return FILES_FAILED;
    }
}

static bool files_is_plain(HANDLE handle, bool is_folder) {
    BY_HANDLE_FILE_INFORMATION found;
    return GetFileType(handle) == FILE_TYPE_DISK && GetFileInformationByHandle(handle, &found) &&
           (found.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) == 0 &&
           ((found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) == is_folder;
}

static FILE *files_reading(HANDLE handle, enum files_status *status) {
    *status = FILES_FAILED;
    int descriptor = _open_osfhandle((intptr_t)handle, _O_RDONLY | _O_BINARY);
    if (descriptor < 0) {
        CloseHandle(handle);
        return NULL;
    }
    FILE *file = _fdopen(descriptor, "rb");
    if (!file) {
        _close(descriptor);
        return NULL;
    }
    *status = FILES_OK;
    return file;
}

FILE *files_open(const char *path, enum files_status *status) {
    wchar_t wide[WIDE_PATH_MAX];
    *status = FILES_FAILED;
    if (!wide_path(path, wide)) {
        return NULL;
    }
    HANDLE handle =
        CreateFileW(wide, GENERIC_READ, SHARED, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        *status = files_status_of(GetLastError());
        return NULL;
    }
    if (GetFileType(handle) != FILE_TYPE_DISK) {
        CloseHandle(handle);
        *status = FILES_FOREIGN;
        return NULL;
    }
    return files_reading(handle, status);
}

/* -- folders --------------------------------------------------------------- */

enum files_status files_folder_open(const char *path, struct files_folder *folder) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        return FILES_FAILED;
    }
    HANDLE handle = CreateFileW(wide, GENERIC_READ, SHARED, NULL, OPEN_EXISTING,
                                FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        return files_status_of(GetLastError());
    }
    if (!files_is_plain(handle, true)) {
        CloseHandle(handle);
        return FILES_FOREIGN;
    }
    *folder = (struct files_folder){.handle = (intptr_t)handle};
    return FILES_OK;
}

/* One name in the folder. */
static enum files_status files_open_in(const struct files_folder *folder, const char *name,
                                       ACCESS_MASK access, ULONG shared, ULONG disposition,
                                       ULONG options, HANDLE *opened) {
    wchar_t wide[NAME_UNITS_MAX];
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, wide, NAME_UNITS_MAX);
    if (units == 0) {
        return FILES_FAILED;
    }
    UNICODE_STRING text = {(USHORT)((units - 1) * (int)sizeof(wchar_t)),
                           (USHORT)(units * (int)sizeof(wchar_t)), wide};
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK done;
    InitializeObjectAttributes(&attributes, &text, OBJ_CASE_INSENSITIVE, (HANDLE)folder->handle,
                               NULL);
    NTSTATUS status = NtCreateFile(opened, access | SYNCHRONIZE | FILE_READ_ATTRIBUTES, &attributes,
                                   &done, NULL, FILE_ATTRIBUTE_NORMAL, shared, disposition,
                                   options | OPTION_SYNCHRONOUS | OPTION_LINK_ITSELF, NULL, 0);
    if (!NT_SUCCESS(status)) {
        return files_status_of(RtlNtStatusToDosError(status));
    }
    if (!files_is_plain(*opened, (options & OPTION_FOLDER) != 0)) {
        CloseHandle(*opened);
        return FILES_FOREIGN;
    }
    return FILES_OK;
}

enum files_status files_folder_enter(const struct files_folder *parent, const char *name,
                                     struct files_folder *folder) {
    HANDLE handle = NULL;
    enum files_status status = files_open_in(parent, name, FILE_LIST_DIRECTORY, SHARED,
                                             OPEN_OR_MAKE, OPTION_FOLDER, &handle);
    *folder = (struct files_folder){.handle = (intptr_t)handle};
    return status;
}

void files_folder_close(struct files_folder *folder) {
    CloseHandle((HANDLE)folder->handle);
}

/* -- what is in them ------------------------------------------------------- */

/* False: `each` wants no more. */
static bool tell_of(const FILE_ID_BOTH_DIR_INFO *found,
                    bool (*each)(void *argument, const char *name), void *argument) {
    char name[NAME_UNITS_MAX * 3 + 1];
    DWORD not_ordinary = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT;
    int size = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, found->FileName,
                                   (int)(found->FileNameLength / sizeof(wchar_t)), name,
                                   sizeof(name) - 1, NULL, NULL);
    if ((found->FileAttributes & not_ordinary) != 0 || size == 0) {
        return true; /* a name that is no Unicode text cannot be opened again by it */
    }
    name[size] = '\0';
    return each(argument, name);
}

enum files_status files_list(const struct files_folder *folder,
                             bool (*each)(void *argument, const char *name), void *argument) {
    _Alignas(FILE_ID_BOTH_DIR_INFO) uint8_t bytes[LIST_BYTES];
    FILE_INFO_BY_HANDLE_CLASS kind = FileIdBothDirectoryRestartInfo;
    while (
        GetFileInformationByHandleEx((HANDLE)folder->handle, kind, bytes, (DWORD)sizeof(bytes))) {
        const uint8_t *at = bytes;
        const FILE_ID_BOTH_DIR_INFO *found;
        do {
            found = (const FILE_ID_BOTH_DIR_INFO *)at;
            if (!tell_of(found, each, argument)) {
                return FILES_OK;
            }
            at += found->NextEntryOffset;
        } while (found->NextEntryOffset > 0);
        kind = FileIdBothDirectoryInfo;
    }
    return GetLastError() == ERROR_NO_MORE_FILES ? FILES_OK : FILES_FAILED;
}

FILE *files_read(const struct files_folder *folder, const char *name, enum files_status *status) {
    HANDLE handle = NULL;
    *status = files_open_in(folder, name, GENERIC_READ, SHARED, OPEN_ONLY, OPTION_FILE, &handle);
    return *status == FILES_OK ? files_reading(handle, status) : NULL;
}

enum files_status files_remove(const struct files_folder *folder, const char *name) {
    FILE_DISPOSITION_INFO removed = {.DeleteFile = TRUE};
    HANDLE handle = NULL;
    enum files_status status =
        files_open_in(folder, name, DELETE, SHARED, OPEN_ONLY, OPTION_FILE, &handle);
    if (status == FILES_OK) {
        if (!SetFileInformationByHandle(handle, FileDispositionInfo, &removed, sizeof(removed))) {
            status = FILES_FAILED;
        }
        CloseHandle(handle);
    }
    return status;
}

enum files_status files_lock(const struct files_folder *folder, const char *name, intptr_t *lock) {
    HANDLE handle = NULL;
    enum files_status status = files_open_in(folder, name, GENERIC_READ | GENERIC_WRITE, 0,
                                             OPEN_OR_MAKE, OPTION_FILE, &handle);
    *lock = (intptr_t)handle;
    return status;
}

void files_unlock(intptr_t lock) {
    CloseHandle((HANDLE)lock);
}
