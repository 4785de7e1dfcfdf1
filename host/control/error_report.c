#include "control/error_report.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "control/paths.h"
#include "control/reconcile.h"
#include "control/runtime.h"
#include "manifest/manifest.h"
#include "os/os.h"

/* Each error of the manifest has a position; it stands in the text and as members of the JSON. */
static void log_errors(const struct manifest_errors *errors, const char *path) {
    for (size_t i = 0; i < errors->count; i++) {
        const struct manifest_error *error = &errors->items[i];
        struct log_place place = {.file = path,
                                  .pointer = error->pointer,
                                  .line = (unsigned)error->line,
                                  .column = (unsigned)error->column};
        struct log_subject subject = {.reason = "manifest",
                                      .place = error->line > 0 ? &place : NULL};
        log_error(&subject, "%s", error->message);
    }
}

/* For a command whose user waits for its end. */
static void print_errors(const struct manifest_errors *errors, const char *path) {
    if (log_current_format() == LOG_FORMAT_JSON) {
        log_errors(errors, path);
        return;
    }
    for (size_t i = 0; i < errors->count; i++) {
        int length = manifest_error_format(&errors->items[i], path, NULL, 0);
        char *text = length >= 0 ? alloc_zeroed((size_t)length + 1) : NULL;
        if (text) {
            manifest_error_format(&errors->items[i], path, text, (size_t)length + 1);
        }
        log_plain(text ? text : errors->items[i].message);
        alloc_free(text);
    }
}

static void print_failure(const char *text) {
    if (log_current_format() == LOG_FORMAT_JSON) {
        log_error(NULL, "%s", text);
    } else {
        log_plain(text);
    }
}

int error_report_load(const char *given, const struct manifest_look *look,
                      struct config_snapshot **config_snapshot) {
    char path[OS_PATH_MAX];
    char text[OS_PATH_MAX + ERROR_MESSAGE_MAX];
    struct error error = {0};
    if (!paths_manifest(path, sizeof(path), given, &error)) {
        snprintf(text, sizeof(text), "berth: %s", error.message);
        print_failure(text);
        return EXIT_FAILED;
    }
    struct manifest_errors errors = {0};
    struct manifest *manifest = manifest_load_with(path, look, &errors);
    *config_snapshot = manifest ? config_snapshot_create(manifest) : NULL;
    print_errors(&errors, path);
    if (!*config_snapshot && errors.count == 0) {
        snprintf(text, sizeof(text), "%s: out of memory", path);
        print_failure(text);
    }
    manifest_errors_fini(&errors);
    return *config_snapshot ? EXIT_FINE : EXIT_MANIFEST;
}

/* Whether errors were lost because there was no memory for them. */
static bool is_lost(const struct reconcile_problems *problems) {
    return problems->plugins.lost || problems->manifest.lost || problems->failures.lost;
}

static void log_failures(const struct reconcile_problems *problems) {
    for (size_t i = 0; i < problems->failures.count; i++) {
        log_error(NULL, "%s", problems->failures.items[i].message);
    }
    if (is_lost(problems)) {
        log_error(NULL, "out of memory, also for saying all that is wrong");
    }
}

int error_report_print(const struct reconcile_problems *problems, const char *path) {
    print_errors(&problems->plugins, path);
    print_errors(&problems->manifest, path);
    log_failures(problems);
    return error_report_code(problems);
}

void error_report_log(const struct reconcile_problems *problems, const char *path) {
    log_errors(&problems->plugins, path);
    log_errors(&problems->manifest, path);
    log_failures(problems);
}

int error_report_code(const struct reconcile_problems *problems) {
    bool failed = problems->plugins.count > 0 || problems->failures.count > 0 || is_lost(problems);
    return problems->manifest.count > 0 ? EXIT_MANIFEST : failed ? EXIT_FAILED : EXIT_FINE;
}
