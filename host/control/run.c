/* The verb `run`: from the manifest to serving, and from the signal to a clean stop. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/announce.h"
#include "control/control.h"
#include "control/guard.h"
#include "control/host_channel.h"
#include "control/kept.h"
#include "control/paths.h"
#include "control/report.h"
#include "control/service.h"
#include "control/supervise.h"
#include "control/watch.h"
#include "engine/engine.h"
#include "net/last_words.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "net/server.h"
#include "os/log_writer.h"
#include "os/os_private.h"
#include "os/os_process.h"

enum { END_S = 5, FLUSH_MS = 500 };

/* -- stopping -------------------------------------------------------------------------------------
 */

static void begin_stop(struct service *service) {
    struct instance *instance = &service->instance;
    uint32_t timeout_ms = instance->edition->manifest->host.drain_timeout_ms;
    supervised_stopping(instance->supervised);
    guard_stop(&instance->guard, service->stop_now);
    instance_stop(instance);
    service->stopping = true;
    service->stop_deadline_ms = engine_now_ms() + timeout_ms;
    log_info(NULL, "stopping: no new connections; %u open ones may finish within %u ms",
             instance_connections(instance), timeout_ms);
}

/* Whether it is time to cut what has not finished. */
static bool is_over(const struct service *service) {
    return service->stop_now || guard_is_asked_now(&service->instance.guard) ||
           engine_now_ms() >= service->stop_deadline_ms;
}

static void end_stop(struct service *service) {
    struct instance *instance = &service->instance;
    instance_describe_left(instance);
    uint32_t cut = instance_cut(instance);
    while (instance_connections(instance) > 0) {
        guard_await_wake(&instance->guard); /* what is in flight is cancelled; this takes no time */
    }
    if (cut > 0) {
        log_warn(NULL, "stopped: %u connections had not finished and were cut", cut);
    } else {
        log_info(NULL, "stopped: every connection has finished");
    }
}

/* -- serving --------------------------------------------------------------------------------------
 */

static void on_signal(struct service *service, enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP && service->stopping) {
        log_warn(NULL, "asked again to stop: not waiting any longer");
        service->stop_now = true;
        guard_stop(&service->instance.guard, true);
    } else if (signal == OS_SIGNAL_STOP) {
        service->stop_wanted = true;
    } else if (signal == OS_SIGNAL_RELOAD && !service->stopping) {
        service_reload_and_log(service, "SIGHUP");
    }
}

static int sooner(int one_ms, int64_t other_ms) {
    int other = other_ms < 0 ? 0 : (int)other_ms;
    return one_ms < 0 || other < one_ms ? other : one_ms;
}

static int next_ms(struct service *service, const struct watch *watch) {
    int timeout_ms = instance_look_after(&service->instance);
    if (watch) {
        timeout_ms = sooner(timeout_ms, WATCH_MS);
    }
    if (service->ready_file.unread) {
        timeout_ms = sooner(timeout_ms, READY_FILE_RETRY_MS);
    }
    if (service->stopping) {
        timeout_ms = sooner(timeout_ms, (int64_t)(service->stop_deadline_ms - engine_now_ms()));
    }
    return timeout_ms;
}

static void serve_until_stopped(struct service *service, struct host_channel *channel,
                                struct watch *watch) {
    while (!service->stopping ||
           (instance_connections(&service->instance) > 0 && !is_over(service))) {
        int wait_ms = next_ms(service, watch);
        wait_ms = channel->awaited ? sooner(wait_ms, HOST_CHANNEL_RETRY_MS) : wait_ms;
        on_signal(service, guard_wait(&service->instance.guard, wait_ms));
        host_channel_look(channel);
        service->stop_wanted = service->stop_wanted || guard_is_asked(&service->instance.guard);
        ready_file_look(&service->ready_file);
        if (!service->stopping) {
            watch_look(watch, service);
        }
        if (service->stop_wanted && !service->stopping) {
            begin_stop(service);
        }
    }
    end_stop(service);
}

static int start(struct service *service, struct edition *edition) {
    struct change_options change = {0};
    struct change_counts counts;
    struct change_problems problems = {0};
    change_apply(&service->instance, edition, &change, &counts, &problems);
    int code = report_problems(&problems, edition->manifest->path);
    change_problems_fini(&problems);
    return code;
}

/* What everybody asks first who reads a log. */
static void log_start(const struct service *service) {
    const struct instance *instance = &service->instance;
    log_info(NULL, "berth %s serves: process %llu, engine %s, %u workers, manifest %s",
             BERTH_VERSION, (unsigned long long)os_process_id(),
             server_traits(instance->server)->name, instance->server->options.workers,
             service->manifest_path);
}

static int serve(struct service *service, struct host_channel *channel) {
    const struct instance *instance = &service->instance;
    const struct command *options = service->options;
    struct watch *watch = options->watch ? watch_create(service) : NULL;
    struct error error = {0};
    int code = EXIT_FINE;
    kept_write(options->kept, instance);
    if (!ready_file_write(&service->ready_file, instance, &error)) {
        log_error(NULL, "%s", error.message);
        code = EXIT_FAILED;
    } else {
        supervised_ready(instance->supervised, instance->edition->manifest);
        announce_listeners(instance);
        log_start(service);
        log_info(NULL, "sockets used again: %s", server_traits(instance->server)->socket_reuse);
        serve_until_stopped(service, channel, watch);
    }
    ready_file_fini(&service->ready_file); /* it would say that something is served */
    watch_destroy(watch);
    host_channel_close(channel);
    return code;
}

/* What was accepted before a start failed ends with it. */
static void abandon(struct instance *instance) {
    struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        listener_stop_accepting(unit->listener);
        listener_cut(unit->listener);
        guard_await_cut(&instance->guard, unit->listener);
    }
    instance_destroy(instance);
}

/* Of hosts that were killed. */
static void clean_private_folders(const struct manifest *manifest) {
    char path[OS_PATH_MAX];
    const char *folder;
    os_private_clean(NULL);
    if (paths_copies(path, sizeof(path), manifest->host.plugin_files.copies, &folder, NULL) &&
        folder) {
        os_private_clean(folder);
    }
}

/* It has been logged. */
static void tell_failure(struct supervised *supervised, int code) {
    if (code != EXIT_FINE) {
        supervised_failed(supervised);
    }
}

/* A stop was not over in time. */
static void end_by_force(void *context) {
    struct service *service = context;
    supervised_ends_by_force(service->instance.supervised);
    ready_file_fini(&service->ready_file); /* it would say that something is served */
}

static int run_edition(struct edition *edition, const struct command *options,
                       const struct ready_file *ready_file, struct supervised *supervised) {
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    struct host_channel channel;
    const struct manifest *manifest = edition->manifest;
    struct service service = {.options = options, .ready_file = *ready_file};
    service_configure_log(manifest);
    supervised_starting(supervised, manifest);
    last_words_start(supervised_last_words, supervised);
    service.instance.supervised = supervised;
    service.instance.guard.by_force = end_by_force;
    service.instance.guard.context = &service;
    service.instance.kept_folder = options->kept;
    service.instance.use_kept = options->use_kept;
    snprintf(service.manifest_path, sizeof(service.manifest_path), "%s", manifest->path);
    if (!os_path_real(service.manifest_real, sizeof(service.manifest_real), manifest->path)) {
        snprintf(service.manifest_real, sizeof(service.manifest_real), "%s", manifest->path);
    }
    const struct plugin_watch_options watch = {
        .stall_ms = manifest->host.stall_warning_ms,
        .hang_ms = manifest->host.hang_timeout_ms,
        .hung = last_words_of_hung,
        .tick = guard_tick,
        .context = &service.instance.guard,
    };
    guard_configure(&service.instance.guard, manifest->host.drain_timeout_ms,
                    manifest->host.hang_timeout_ms);
    if (!os_signals_start(&error) || !plugin_watch_start(&watch, &error) ||
        !paths_plugins(plugins, sizeof(plugins), options->plugins, manifest->host.plugins,
                       &error) ||
        !instance_init(&service.instance, manifest, plugins, &error)) {
        log_error(NULL, "%s", error.message);
        plugin_watch_stop();
        last_words_stop();
        return EXIT_FAILED;
    }
    clean_private_folders(manifest);
    int code = EXIT_FAILED;
    if (host_channel_open(&channel, &service, manifest->host.control, &error)) {
        code = start(&service, edition);
    } else {
        log_error(NULL, "%s", error.message);
    }
    if (code == EXIT_FINE) {
        code = serve(&service, &channel);
    }
    guard_clear(&service.instance.guard);
    host_channel_close(&channel);
    abandon(&service.instance);
    bool with_stuck_thread = service.instance.abandoned != NULL;
    last_words_stop();
    os_signals_finished();
    if (with_stuck_thread) { /* which may run until the process is gone: nothing is cleared away */
        tell_failure(supervised, code);
        supervised_end(supervised);
        fflush(NULL);
        log_flush(FLUSH_MS);
        os_process_exit_now(code);
    }
    plugin_watch_stop();
    os_process_end_within(END_S); /* what plugins have left to run at the end may not return */
    return code;
}

/* What the last host served, where what is there now does not do. */
static int load(const struct command *options, const struct supervised *supervised,
                struct edition **edition) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    if (!options->use_kept || !paths_manifest(path, sizeof(path), options->manifest, &error)) {
        return report_load(options->manifest, NULL, edition);
    }
    *edition = kept_edition(options->kept, path);
    if (!*edition) {
        return report_load(options->manifest, NULL, edition);
    }
    log_warn(NULL, "%s: what was in force before the crash is served; %s, then \"berth reload\"",
             path,
             supervised_is_explained(supervised)
                 ? "mend what is said above"
                 : "the host did not get ready with what is there now and has not said why: see "
                   "what has changed since");
    return EXIT_FINE;
}

/* Even what is wrong with the manifest is told in its format. */
static void set_log_format(const struct command *options) {
    char path[OS_PATH_MAX];
    enum log_format format;
    if (paths_manifest(path, sizeof(path), options->manifest, NULL) &&
        manifest_log_format(path, &format)) {
        log_setup(LOG_LEVEL_INFO, format);
    }
}

int control_run(const struct command *options) {
    struct edition *edition = NULL;
    struct error error = {0};
    char path[OS_PATH_MAX];
    struct ready_file ready_file;
    struct supervised supervised = {0};
    set_log_format(options);
    if (!paths_manifest(path, sizeof(path), options->manifest, &error) ||
        !ready_file_init(&ready_file, options->ready_file, path, !options->supervised, &error)) {
        log_error(NULL, "%s", error.message);
        return EXIT_USAGE;
    }
    if (options->supervise) {
        return supervise(options);
    }
    if (!log_writer_start(&error)) {
        log_error(NULL, "%s", error.message);
        return EXIT_FAILED;
    }
    if (!supervised_begin(&supervised, options->supervised, &error)) {
        log_error(NULL, "%s", error.message);
        supervised_end(&supervised);
        return EXIT_FAILED;
    }
    int code = load(options, &supervised, &edition);
    if (code == EXIT_FINE) {
        code = run_edition(edition, options, &ready_file, &supervised);
    }
    tell_failure(&supervised, code);
    edition_release(edition);
    last_words_forget();
    supervised_end(&supervised);
    return code;
}
