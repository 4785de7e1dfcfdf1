/* Checks the manifests that standard input names, a path a line, as `berth check` does before it
 * looks at plugins. Each file's errors follow the line "= PATH"; a good file has none. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "manifest/json.h"
#include "manifest/manifest.h"

static bool print_error(const struct manifest_error *error, const char *path) {
    int length = manifest_error_format(error, path, NULL, 0);
    char *text = length >= 0 ? alloc_zeroed((size_t)length + 1) : NULL;
    if (!text) {
        return false;
    }
    manifest_error_format(error, path, text, (size_t)length + 1);
    log_plain(text);
    alloc_free(text);
    return true;
}

static bool check_file(const char *path) {
    struct manifest_errors errors = {0};
    struct manifest *manifest = manifest_load(path, &errors);
    bool consistent = manifest ? errors.count == 0 : errors.count > 0;
    char heading[4200];
    snprintf(heading, sizeof(heading), "= %s", path);
    log_plain(heading);
    for (size_t i = 0; i < errors.count && consistent; i++) {
        consistent = print_error(&errors.items[i], path);
    }
    manifest_destroy(manifest);
    manifest_errors_fini(&errors);
    return consistent;
}

int main(void) {
    char path[4096];
    bool consistent = true;
    json_setup();
    while (consistent && fgets(path, sizeof(path), stdin)) {
        path[strcspn(path, "\r\n")] = '\0';
        consistent = check_file(path);
    }
    return consistent ? 0 : 1;
}
