#include <windows.h>

#include "common/path_kind.h"
#include "common/wide_path.h"

enum path_kind path_kind(const char *path) {
    wchar_t wide[WIDE_PATH_MAX];
    DWORD attributes = wide_path(path, wide) ? GetFileAttributesW(wide) : INVALID_FILE_ATTRIBUTES;
    if (attributes == INVALID_FILE_ATTRIBUTES) {
        return PATH_NOTHING;
    }
    return (attributes & FILE_ATTRIBUTE_DIRECTORY) != 0 ? PATH_FOLDER : PATH_FILE;
}
