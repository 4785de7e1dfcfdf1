/* The verb `check`: everything that can be checked in a manifest without running it. */
#include <stdio.h>

#include "base/error.h"
#include "base/text.h"
#include "control/config_check.h"
#include "control/control.h"
#include "control/error_report.h"
#include "control/missing.h"
#include "control/paths.h"
#include "control/reconcile.h"
#include "control/runtime.h"
#include "manifest/manifest.h"
#include "os/os.h"

/* For a manifest that has errors already: a missing plugin is reported together with them. */
struct look {
    const char *given; /* --plugins */
    struct missing missing;
    struct config_checker configs;
    bool begun;
};

static bool explain_plugin(void *context, const struct manifest *manifest, const char *plugin,
                           char *text, size_t size) {
    struct look *look = context;
    char folder[OS_PATH_MAX];
    char suggestion[128];
    if (!look->begun) {
        look->begun = true;
        if (paths_plugins(folder, sizeof(folder), look->given, manifest->host.plugins, NULL)) {
            missing_init(&look->missing, folder);
            look->configs.folder = look->missing.folder;
        }
    }
    if (look->missing.folder[0] == '\0' || !missing_is(&look->missing, plugin)) {
        return false;
    }
    missing_suggest(&look->missing, plugin, suggestion, sizeof(suggestion));
    snprintf(text, size, "no plugin \"%.100s\": there is no %.100s%s in %.600s%s", plugin, plugin,
             os_library_suffix(), look->missing.folder, suggestion);
    return true;
}

static void check_config(void *context, const struct manifest *manifest,
                         const struct manifest_listener *listener, struct manifest_errors *errors) {
    struct look *look = context;
    if (look->configs.folder) {
        config_checker_check(&look->configs, manifest, listener, errors);
    }
}

/* All errors in one list, ordered by their position. A missing plugin is an error of the
 * manifest; one that cannot be loaded is not. */
static int check_report(struct reconcile_problems *problems, const char *path) {
    int code = problems->missing > 0 ? EXIT_MANIFEST : error_report_code(problems);
    manifest_errors_merge(&problems->manifest, &problems->plugins);
    error_report_print(problems, path);
    return code;
}

/* Opens the plugins as `run` would, but calls none of their functions. */
static int check_plugins(struct config_snapshot *config_snapshot, const char *given) {
    struct runtime runtime = {0};
    struct reconcile_problems problems = {0};
    struct reconcile_options options = {.dry_run = true};
    struct reconcile_counts counts;
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    const struct manifest *manifest = config_snapshot->manifest;
    if (!paths_plugins(plugins, sizeof(plugins), given, manifest->host.plugins, &error) ||
        !runtime_init(&runtime, manifest, plugins, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    reconcile_apply(&runtime, config_snapshot, &options, &counts, &problems);
    int code = check_report(&problems, manifest->path);
    runtime_destroy(&runtime);
    reconcile_problems_fini(&problems);
    return code;
}

static void check_print_option(void *context, const char *pointer, const char *value, bool given) {
    (void)context;
    printf("%s = ", pointer);
    text_print(stdout, value);
    puts(given ? "" : " (default)");
}

int control_check(const struct command *options) {
    struct config_snapshot *config_snapshot = NULL;
    struct look look = {.given = options->plugins};
    const struct manifest_look at_plugins = {explain_plugin, check_config, &look};
    int code = error_report_load(options->words[0], &at_plugins, &config_snapshot);
    config_checker_fini(&look.configs);
    missing_fini(&look.missing);
    if (code == EXIT_FINE) {
        code = check_plugins(config_snapshot, options->plugins);
    }
    if (code == EXIT_FINE && options->effective) {
        code = manifest_list_effective(config_snapshot->manifest, check_print_option, NULL)
                   ? EXIT_FINE
                   : EXIT_FAILED;
    } else if (code == EXIT_FINE) {
        printf("%s: ok\n", config_snapshot->manifest->path);
    }
    config_snapshot_release(config_snapshot);
    return code;
}
