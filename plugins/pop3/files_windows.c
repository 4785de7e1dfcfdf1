#include "files.h"

#include <windows.h>

#include <fcntl.h>
#include <io.h>

#include "common/wide_path.h"

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

static enum files_status last_status(void) {
    DWORD code = GetLastError();
    return code == ERROR_FILE_NOT_FOUND || code == ERROR_PATH_NOT_FOUND ? FILES_MISSING
                                                                        : FILES_FAILED;
}

FILE *files_open(const char *path, enum files_status *status) {
    wchar_t wide[WIDE_PATH_MAX];
    *status = FILES_FAILED;
    if (!wide_path(path, wide)) {
        return NULL;
    }
    HANDLE handle =
        CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        *status = last_status();
        return NULL;
    }
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

enum files_status files_remove(const char *path) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        return FILES_FAILED;
    }
    return DeleteFileW(wide) ? FILES_OK : last_status();
}

enum files_status files_make_folder(const char *path) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        return FILES_FAILED;
    }
    if (CreateDirectoryW(wide, NULL) || GetLastError() == ERROR_ALREADY_EXISTS) {
        return FILES_OK;
    }
    return last_status();
}

static bool tell_of(const WIN32_FIND_DATAW *found, bool (*each)(void *argument, const char *name),
                    void *argument) {
    char name[MAX_PATH * 3 + 1];
    DWORD not_ordinary = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT;
    if ((found->dwFileAttributes & not_ordinary) != 0 ||
        WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, found->cFileName, -1, name, sizeof(name),
                            NULL, NULL) == 0) {
        return true; /* a name that is no Unicode text cannot be opened again by it */
    }
    return each(argument, name);
}

enum files_status files_list(const char *folder, bool (*each)(void *argument, const char *name),
                             void *argument) {
    char pattern[FILES_PATH_MAX];
    wchar_t wide[WIDE_PATH_MAX];
    WIN32_FIND_DATAW found;
    int size = snprintf(pattern, sizeof(pattern), "%s\\*", folder);
    if (size < 0 || size >= (int)sizeof(pattern) || !wide_path(pattern, wide)) {
        return FILES_FAILED;
    }
    HANDLE search = FindFirstFileW(wide, &found);
    if (search == INVALID_HANDLE_VALUE) {
        return last_status();
    }
    enum files_status status = FILES_OK;
    while (tell_of(&found, each, argument)) {
        if (!FindNextFileW(search, &found)) {
            status = GetLastError() == ERROR_NO_MORE_FILES ? FILES_OK : FILES_FAILED;
            break;
        }
    }
    FindClose(search);
    return status;
}

enum files_status files_lock(const char *path, intptr_t *lock) {
    wchar_t wide[WIDE_PATH_MAX];
    if (!wide_path(path, wide)) {
        return FILES_FAILED;
    }
    HANDLE handle = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_ALWAYS,
                                FILE_ATTRIBUTE_NORMAL, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        return GetLastError() == ERROR_SHARING_VIOLATION ? FILES_IN_USE : last_status();
    }
    *lock = (intptr_t)handle;
    return FILES_OK;
}

void files_unlock(intptr_t lock) {
    CloseHandle((HANDLE)lock);
}
