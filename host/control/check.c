/* The verb `check`: all that can be said about a manifest without running it. */
#include <stdio.h>

#include "base/error.h"
#include "control/control.h"
#include "control/instance.h"
#include "control/paths.h"
#include "control/report.h"
#include "manifest/manifest.h"
#include "os/os.h"

/* The plugins are opened as `run` would open them, but nothing of theirs is called. */
static int check_plugins(const struct manifest *manifest, const char *given) {
    struct instance instance = {0};
    struct instance_problems problems = {0};
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    if (!paths_plugins(plugins, sizeof(plugins), given, manifest->host.plugins, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    instance_open_plugins(&instance, manifest, plugins, &problems);
    int code = report_problems(&problems, manifest->path);
    instance_destroy(&instance);
    instance_problems_fini(&problems);
    return code;
}

int control_check(const struct control_options *options) {
    struct manifest *manifest = NULL;
    int code = report_load(options->manifest, &manifest);
    if (code == EXIT_FINE) {
        code = check_plugins(manifest, options->plugins);
    }
    if (code == EXIT_FINE) {
        printf("%s: ok\n", manifest->path);
    }
    manifest_destroy(manifest);
    return code;
}
