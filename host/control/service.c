#include "control/service.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "control/control.h"
#include "control/error_report.h"
#include "control/guard.h"
#include "control/identity.h"
#include "control/last_good_config.h"
#include "control/names.h"
#include "control/supervise.h"
#include "os/log_writer.h"
#include "plugin/callback_guard.h"

/* Writes the addresses of the host to the ready file. */
static void tell_ready(struct service *service) {
    struct error error = {0};
    if (!ready_file_write(&service->ready_file, &service->runtime, &error)) {
        log_warn(NULL, "%s", error.message);
    }
}

struct identity service_identity(const struct service *service) {
    struct identity identity = {
        .pid = os_process_id(),
        .stopping = service->stopping,
    };
    snprintf(identity.name, sizeof(identity.name), "%s", service->runtime.name);
    snprintf(identity.manifest, sizeof(identity.manifest), "%s", service->manifest_real);
    return identity;
}

void service_configure_log(const struct manifest *manifest) {
    struct log_writer_options options = {
        .queue_bytes = manifest->host.log.queue_bytes,
        .limit_lines = manifest->host.log.limit_lines,
        .limit_window_ms = manifest->host.log.limit_window_ms,
        .flush_timeout_ms = manifest->host.log.flush_timeout_ms,
    };
    log_setup(manifest->host.log.level, manifest->host.log.format);
    log_writer_configure(&options);
}

int service_reload(struct service *service, bool dry_run, struct reconcile_counts *counts,
                   struct reconcile_problems *problems) {
    struct reconcile_options options = {.dry_run = dry_run};
    *counts = (struct reconcile_counts){0};
    struct manifest *manifest = manifest_load(service->manifest_path, &problems->manifest);
    if (!manifest) {
        return EXIT_MANIFEST;
    }
    struct config_snapshot *config_snapshot = config_snapshot_create(manifest);
    if (!config_snapshot) {
        manifest_errors_add(&problems->failures, "out of memory");
        return EXIT_FAILED;
    }
    bool done = reconcile_apply(&service->runtime, config_snapshot, &options, counts, problems);
    if (done && !dry_run) {
        service_configure_log(manifest);
        tell_ready(service);
        guard_configure(&service->runtime.guard, manifest->host.drain_timeout_ms,
                        manifest->host.hang_timeout_ms);
        stall_watchdog_configure(manifest->host.stall_warning_ms, manifest->host.hang_timeout_ms);
        supervisor_client_ready(service->runtime.supervised, manifest);
        last_good_config_write(service->options->kept, &service->runtime);
    }
    config_snapshot_release(config_snapshot);
    return done ? EXIT_FINE : error_report_code(problems);
}

int service_restart(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems) {
    struct reconcile_options options = {
        .restart = names, .restart_count = count, .restart_all = all};
    struct config_snapshot *config_snapshot = service->runtime.config_snapshot;
    config_snapshot->users++;
    bool done = reconcile_apply(&service->runtime, config_snapshot, &options, counts, problems);
    config_snapshot_release(config_snapshot);
    if (done) {
        tell_ready(service);
        last_good_config_write(service->options->kept, &service->runtime);
    }
    return done ? EXIT_FINE : error_report_code(problems);
}

/* Calls the function for each listener that is left out because its plugin is in quarantine, and
 * that the names mean. */
static unsigned for_each_left_out(struct service *service, const char *const *names, size_t count,
                                  bool all,
                                  bool (*function)(struct supervised *parent, const char *plugin)) {
    const struct manifest *manifest = service->runtime.config_snapshot->manifest;
    unsigned done = 0;
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *listener = &manifest->listeners[i];
        bool meant = all;
        for (size_t k = 0; k < count && !meant; k++) {
            meant = names_mean(names[k], listener->name, listener->plugin);
        }
        done += meant && function(service->runtime.supervised, listener->plugin);
    }
    return done;
}

static bool quarantine_again(struct supervised *parent, const char *plugin) {
    supervisor_client_quarantine_again(parent, plugin);
    return true;
}

static bool service_released(struct supervised *parent, const char *plugin) {
    supervisor_client_released(parent, plugin);
    return true;
}

int service_release(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems) {
    char ambiguous[512];
    *counts = (struct reconcile_counts){0};
    for (size_t i = 0; i < count; i++) {
        if (names_are_ambiguous(service->runtime.config_snapshot->manifest, names[i], ambiguous,
                                sizeof(ambiguous))) {
            manifest_errors_add(&problems->failures, ambiguous);
            return EXIT_FAILED;
        }
    }
    if (for_each_left_out(service, names, count, all, supervisor_client_release) == 0) {
        char text[256] = "no plugin is in quarantine";
        if (!all) {
            snprintf(text, sizeof(text),
                     "\"%.100s\" is no plugin in quarantine, and no listener of one", names[0]);
        }
        manifest_errors_add(&problems->failures, text);
        return EXIT_FAILED;
    }
    int code = service_restart(service, NULL, 0, false, counts, problems);
    for_each_left_out(service, names, count, all,
                      code == EXIT_FINE ? service_released : quarantine_again);
    if (code == EXIT_FINE) {
        supervisor_client_ready(service->runtime.supervised,
                                service->runtime.config_snapshot->manifest);
    }
    return code;
}

void service_log_outcome(const struct service *service, int code, const char *what, const char *why,
                         const struct reconcile_counts *counts,
                         const struct reconcile_problems *problems) {
    if (code == EXIT_FINE) {
        char text[256] = "";
        size_t used = 0;
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, sizeof(text), &used, "%s%u " label, used > 0 ? ", " : "", counts->name);
#define COUNTERS_CHANGE
#include "base/counters.def"
        log_info(NULL, "%s (%s): %s%s", what, why, text, counts->names);
    } else {
        error_report_log(problems, service->manifest_path);
        log_error(NULL, "%s (%s) failed: all goes on as before", what, why);
    }
}

int service_reload_and_log(struct service *service, const char *why) {
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    int code = service_reload(service, false, &counts, &problems);
    service_log_outcome(service, code, "reload", why, &counts, &problems);
    reconcile_problems_fini(&problems);
    return code;
}

int service_restart_and_log(struct service *service, const char *const *names, size_t count,
                            const char *why) {
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    int code = service_restart(service, names, count, false, &counts, &problems);
    service_log_outcome(service, code, "restart", why, &counts, &problems);
    reconcile_problems_fini(&problems);
    return code;
}
