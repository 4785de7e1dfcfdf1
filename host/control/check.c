/* The verb `check`: all that can be said about a manifest without running it. */
#include <stdio.h>

#include "base/error.h"
#include "control/change.h"
#include "control/control.h"
#include "control/instance.h"
#include "control/paths.h"
#include "control/report.h"
#include "manifest/manifest.h"
#include "os/os.h"

/* The plugins are opened as `run` would open them, but nothing of theirs is called. */
static int check_plugins(struct edition *edition, const char *given) {
    struct instance instance = {0};
    struct change_problems problems = {0};
    struct change_options options = {.dry_run = true};
    struct change_counts counts;
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    const struct manifest *manifest = edition->manifest;
    if (!paths_plugins(plugins, sizeof(plugins), given, manifest->host.plugins, &error) ||
        !instance_init(&instance, manifest, plugins, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    change_apply(&instance, edition, &options, &counts, &problems);
    int code = report_problems(&problems, manifest->path);
    instance_destroy(&instance);
    change_problems_fini(&problems);
    return code;
}

int control_check(const struct control_options *options) {
    struct edition *edition = NULL;
    int code = report_load(options->manifest, &edition);
    if (code == EXIT_FINE) {
        code = check_plugins(edition, options->plugins);
    }
    if (code == EXIT_FINE) {
        printf("%s: ok\n", edition->manifest->path);
    }
    edition_release(edition);
    return code;
}
