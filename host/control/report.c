#include "control/report.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/change.h"
#include "control/control.h"
#include "control/instance.h"
#include "control/paths.h"
#include "manifest/manifest.h"
#include "os/os.h"

static void print_errors(const struct manifest_errors *errors, const char *path) {
    for (size_t i = 0; i < errors->count; i++) {
        int length = manifest_error_format(&errors->items[i], path, NULL, 0);
        char *text = length >= 0 ? alloc_zeroed((size_t)length + 1) : NULL;
        if (text) {
            manifest_error_format(&errors->items[i], path, text, (size_t)length + 1);
            fprintf(stderr, "%s\n", text);
            alloc_free(text);
        } else {
            fprintf(stderr, "%s: %s\n", path, errors->items[i].message);
        }
    }
    fflush(stderr);
}

int report_load(const char *given, const struct manifest_look *look, struct edition **edition) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    if (!paths_manifest(path, sizeof(path), given, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    struct manifest_errors errors = {0};
    struct manifest *manifest = manifest_load_with(path, look, &errors);
    *edition = manifest ? edition_create(manifest) : NULL;
    print_errors(&errors, path);
    if (!*edition && errors.count == 0) {
        fprintf(stderr, "%s: out of memory\n", path);
    }
    manifest_errors_fini(&errors);
    return *edition ? EXIT_FINE : EXIT_MANIFEST;
}

int report_problems(const struct change_problems *problems, const char *path) {
    print_errors(&problems->plugins, path);
    print_errors(&problems->manifest, path);
    for (size_t i = 0; i < problems->failures.count; i++) {
        log_error(NULL, "%s", problems->failures.items[i].message);
    }
    return report_code(problems);
}

int report_code(const struct change_problems *problems) {
    return problems->manifest.count > 0                                  ? EXIT_MANIFEST
           : problems->plugins.count > 0 || problems->failures.count > 0 ? EXIT_FAILED
                                                                         : EXIT_FINE;
}
