#include "control/service.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "control/control.h"
#include "control/guard.h"
#include "control/identity.h"
#include "control/kept.h"
#include "control/names.h"
#include "control/report.h"
#include "control/supervise.h"
#include "net/plugin_call.h"
#include "os/log_writer.h"

/* The ready file says where the host listens now. */
static void tell_ready(struct service *service) {
    struct error error = {0};
    if (!ready_file_write(&service->ready_file, &service->instance, &error)) {
        log_warn(NULL, "%s", error.message);
    }
}

struct identity service_identity(const struct service *service) {
    struct identity identity = {
        .pid = os_process_id(),
        .stopping = service->stopping,
    };
    snprintf(identity.name, sizeof(identity.name), "%s", service->instance.name);
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

int service_reload(struct service *service, bool dry_run, struct change_counts *counts,
                   struct change_problems *problems) {
    struct change_options options = {.dry_run = dry_run};
    *counts = (struct change_counts){0};
    struct manifest *manifest = manifest_load(service->manifest_path, &problems->manifest);
    if (!manifest) {
        return EXIT_MANIFEST;
    }
    struct edition *edition = edition_create(manifest);
    if (!edition) {
        manifest_errors_add(&problems->failures, "out of memory");
        return EXIT_FAILED;
    }
    bool done = change_apply(&service->instance, edition, &options, counts, problems);
    if (done && !dry_run) {
        service_configure_log(manifest);
        tell_ready(service);
        guard_configure(&service->instance.guard, manifest->host.drain_timeout_ms,
                        manifest->host.hang_timeout_ms);
        plugin_watch_configure(manifest->host.stall_warning_ms, manifest->host.hang_timeout_ms);
        supervised_ready(service->instance.supervised, manifest);
        kept_write(service->options->kept, &service->instance);
    }
    edition_release(edition);
    return done ? EXIT_FINE : report_code(problems);
}

int service_restart(struct service *service, const char *const *names, size_t count, bool all,
                    struct change_counts *counts, struct change_problems *problems) {
    struct change_options options = {.restart = names, .restart_count = count, .restart_all = all};
    struct edition *edition = service->instance.edition;
    edition->users++;
    bool done = change_apply(&service->instance, edition, &options, counts, problems);
    edition_release(edition);
    if (done) {
        tell_ready(service);
        kept_write(service->options->kept, &service->instance);
    }
    return done ? EXIT_FINE : report_code(problems);
}

/* Each listener that is left out because of its plugin, and is meant. */
static unsigned for_each_left_out(struct service *service, const char *const *names, size_t count,
                                  bool all,
                                  bool (*function)(struct supervised *parent, const char *plugin)) {
    const struct manifest *manifest = service->instance.edition->manifest;
    unsigned done = 0;
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *listener = &manifest->listeners[i];
        bool meant = all;
        for (size_t k = 0; k < count && !meant; k++) {
            meant = names_mean(names[k], listener->name, listener->plugin);
        }
        done += meant && function(service->instance.supervised, listener->plugin);
    }
    return done;
}

static bool quarantine_again(struct supervised *parent, const char *plugin) {
    supervised_quarantine_again(parent, plugin);
    return true;
}

static bool released(struct supervised *parent, const char *plugin) {
    supervised_released(parent, plugin);
    return true;
}

int service_release(struct service *service, const char *const *names, size_t count, bool all,
                    struct change_counts *counts, struct change_problems *problems) {
    char ambiguous[512];
    *counts = (struct change_counts){0};
    for (size_t i = 0; i < count; i++) {
        if (names_are_ambiguous(service->instance.edition->manifest, names[i], ambiguous,
                                sizeof(ambiguous))) {
            manifest_errors_add(&problems->failures, ambiguous);
            return EXIT_FAILED;
        }
    }
    if (for_each_left_out(service, names, count, all, supervised_release) == 0) {
        char text[256] = "no plugin is in quarantine";
        if (!all) {
            snprintf(text, sizeof(text),
                     "\"%.100s\" is no plugin in quarantine, and no listener of one", names[0]);
        }
        manifest_errors_add(&problems->failures, text);
        return EXIT_FAILED;
    }
    int code = service_restart(service, NULL, 0, false, counts, problems);
    for_each_left_out(service, names, count, all, code == EXIT_FINE ? released : quarantine_again);
    if (code == EXIT_FINE) {
        supervised_ready(service->instance.supervised, service->instance.edition->manifest);
    }
    return code;
}

void service_log_outcome(const struct service *service, int code, const char *what, const char *why,
                         const struct change_counts *counts,
                         const struct change_problems *problems) {
    if (code == EXIT_FINE) {
        char text[256] = "";
        size_t used = 0;
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, sizeof(text), &used, "%s%u " label, used > 0 ? ", " : "", counts->name);
#define COUNTERS_CHANGE
#include "base/counters.def"
        log_info(NULL, "%s (%s): %s%s", what, why, text, counts->names);
    } else {
        report_log_problems(problems, service->manifest_path);
        log_error(NULL, "%s (%s) failed: all goes on as before", what, why);
    }
}

int service_reload_and_log(struct service *service, const char *why) {
    struct change_counts counts;
    struct change_problems problems = {0};
    int code = service_reload(service, false, &counts, &problems);
    service_log_outcome(service, code, "reload", why, &counts, &problems);
    change_problems_fini(&problems);
    return code;
}

int service_restart_and_log(struct service *service, const char *const *names, size_t count,
                            const char *why) {
    struct change_counts counts;
    struct change_problems problems = {0};
    int code = service_restart(service, names, count, false, &counts, &problems);
    service_log_outcome(service, code, "restart", why, &counts, &problems);
    change_problems_fini(&problems);
    return code;
}
