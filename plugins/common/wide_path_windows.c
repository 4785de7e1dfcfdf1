#include "common/wide_path.h"

#include <windows.h>

enum {
    SHORT_PATH_MAX = 247, /* for folders: 260 less a name of 8.3 and the terminator */
    PREFIX_MAX = 8,
};

bool wide_path(const char *path, wchar_t wide[WIDE_PATH_MAX]) {
    wchar_t given[WIDE_PATH_MAX];
    wchar_t full[WIDE_PATH_MAX];
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, given, WIDE_PATH_MAX) == 0) {
        return false;
    }
    DWORD length = GetFullPathNameW(given, WIDE_PATH_MAX, full, NULL);
    if (length == 0 || length >= WIDE_PATH_MAX - PREFIX_MAX) {
        return false;
    }
    bool is_remote = full[0] == L'\\' && full[1] == L'\\';
    bool has_prefix = is_remote && (full[2] == L'?' || full[2] == L'.') && full[3] == L'\\';
    bool is_short = length <= SHORT_PATH_MAX || has_prefix;
    wcscpy(wide, is_short ? L"" : is_remote ? L"\\\\?\\UNC\\" : L"\\\\?\\");
    wcscat(wide, !is_short && is_remote ? full + 2 : full);
    return true;
}
