#include <sys/stat.h>

#include "common/path_kind.h"

enum path_kind path_kind(const char *path) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return PATH_NOTHING;
    }
    return S_ISDIR(status.st_mode) ? PATH_FOLDER : PATH_FILE;
}
