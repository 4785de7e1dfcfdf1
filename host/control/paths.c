#include "control/paths.h"

#include <stdio.h>

#include "base/error.h"
#include "os/os.h"

static bool beside_executable(char *path, size_t size, const char *name, struct error *error) {
    char folder[OS_PATH_MAX];
    if (!os_executable_folder(folder, sizeof(folder), error)) {
        return error_prefix(error, "finding the executable's folder: ");
    }
    if (!os_path_join(path, size, folder, name)) {
        return error_set(error, "the path is too long: %s/%s", folder, name);
    }
    return true;
}

static bool paths_copy(char *path, size_t size, const char *given, struct error *error) {
    int length = snprintf(path, size, "%s", given);
    if (length < 0 || (size_t)length >= size) {
        return error_set(error, "the path is too long: %s", given);
    }
    return true;
}

bool paths_manifest(char *path, size_t size, const char *given, struct error *error) {
    return given ? paths_copy(path, size, given, error)
                 : beside_executable(path, size, "config/berth.json", error);
}

bool paths_plugins(char *path, size_t size, const char *given, const char *configured,
                   struct error *error) {
    return given ? paths_copy(path, size, given, error)
                 : beside_executable(path, size, configured, error);
}

bool paths_copies(char *path, size_t size, const char *configured, const char **folder,
                  struct error *error) {
    *folder = configured ? path : NULL;
    return !configured || beside_executable(path, size, configured, error);
}
