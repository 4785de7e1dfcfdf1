/* config.c: reads the config given to a verb. */
#include "devkit/tool.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/manifest.h"
#include "os/os.h"

enum { CONFIG_BYTES_MAX = 1024 * 1024 };

static bool config_read_config(const char *given, char **json, char *folder, size_t size,
                               struct error *error) {
    size_t length = 0;
    *json = NULL;
    snprintf(folder, size, ".");
    if (!given) {
        return true;
    }
    if (given[strspn(given, " \t\r\n")] == '{') {
        *json = alloc_string(given);
        return *json || error_set(error, "out of memory");
    }
    return (os_file_read(given, CONFIG_BYTES_MAX, json, &length, error) ||
            error_prefix(error, "reading the config %s: ", given)) &&
           (os_path_folder(folder, size, given) || error_set(error, "the path is too long"));
}

bool tool_config_read(const char *given, char **json, char *folder, size_t size,
                      struct error *error) {
    if (config_read_config(given, json, folder, size, error) &&
        (!*json || manifest_json_check(*json, error) ||
         error_prefix(error, "the config %.200s: ", given))) {
        return true;
    }
    alloc_free(*json);
    *json = NULL;
    return false;
}
