/* The verb `run`: from the manifest to serving, and from the signal to a clean stop. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "control/error_report.h"
#include "control/guard.h"
#include "control/host_channel.h"
#include "control/last_good_config.h"
#include "control/paths.h"
#include "control/service.h"
#include "control/startup_report.h"
#include "control/supervise.h"
#include "control/watch.h"
#include "engine/engine.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "os/log_writer.h"
#include "os/os_private.h"
#include "os/os_process.h"
#include "plugin/callback_guard.h"
#include "plugin/crash_report.h"

enum { END_S = 5, FLUSH_MS = 500 };

/* -- stopping -------------------------------------------------------------- */

static void begin_stop(struct service *service) {
    struct runtime *runtime = &service->runtime;
    uint32_t timeout_ms = runtime->config_snapshot->manifest->host.drain_timeout_ms;
    supervisor_client_stopping(runtime->supervised);
    guard_stop(&runtime->guard, service->stop_now);
    runtime_stop(runtime);
    service->stopping = true;
    service->stop_deadline_ms = engine_now_ms() + timeout_ms;
    log_info(NULL, "stopping: no new connections; %u open ones may finish within %u ms",
             runtime_connections(runtime), timeout_ms);
}

/* Whether it is time to abort the connections that have not finished. */
static bool run_is_over(const struct service *service) {
    return service->stop_now || guard_is_asked_now(&service->runtime.guard) ||
           engine_now_ms() >= service->stop_deadline_ms;
}

static void end_stop(struct service *service) {
    struct runtime *runtime = &service->runtime;
    runtime_describe_left(runtime);
    uint32_t cut = runtime_abort_all(runtime);
    while (runtime_connections(runtime) > 0) {
        guard_await_wake(&runtime->guard); /* what is in flight is cancelled; this takes no time */
    }
    if (cut > 0) {
        log_warn(NULL, "stopped: %u connections had not finished and were cut", cut);
    } else {
        log_info(NULL, "stopped: every connection has finished");
    }
}

/* -- serving --------------------------------------------------------------- */

static void on_signal(struct service *service, enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP && service->stopping) {
        log_warn(NULL, "asked again to stop: not waiting any longer");
        service->stop_now = true;
        guard_stop(&service->runtime.guard, true);
    } else if (signal == OS_SIGNAL_STOP) {
        service->stop_wanted = true;
    } else if (signal == OS_SIGNAL_RELOAD && !service->stopping) {
        service_reload_and_log(service, "SIGHUP");
    }
}

static int run_sooner(int one_ms, int64_t other_ms) {
    int other = other_ms < 0 ? 0 : (int)other_ms;
    return one_ms < 0 || other < one_ms ? other : one_ms;
}

static int next_ms(struct service *service, const struct watch *watch) {
    int timeout_ms = runtime_look_after(&service->runtime);
    if (watch) {
        timeout_ms = run_sooner(timeout_ms, WATCH_MS);
    }
    if (service->ready_file.unread) {
        timeout_ms = run_sooner(timeout_ms, READY_FILE_RETRY_MS);
    }
    if (service->stopping) {
        timeout_ms = run_sooner(timeout_ms, (int64_t)(service->stop_deadline_ms - engine_now_ms()));
    }
    return timeout_ms;
}

static void serve_until_stopped(struct service *service, struct host_channel *channel,
                                struct watch *watch) {
    while (!service->stopping ||
           (runtime_connections(&service->runtime) > 0 && !run_is_over(service))) {
        int wait_ms = next_ms(service, watch);
        wait_ms = channel->awaited ? run_sooner(wait_ms, HOST_CHANNEL_RETRY_MS) : wait_ms;
        on_signal(service, guard_wait(&service->runtime.guard, wait_ms));
        host_channel_look(channel);
        service->stop_wanted = service->stop_wanted || guard_is_asked(&service->runtime.guard);
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

static int run_start(struct service *service, struct config_snapshot *config_snapshot) {
    struct reconcile_options change = {0};
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    reconcile_apply(&service->runtime, config_snapshot, &change, &counts, &problems);
    int code = error_report_print(&problems, config_snapshot->manifest->path);
    reconcile_problems_fini(&problems);
    return code;
}

/* The facts that a reader of the log needs first. */
static void log_start(const struct service *service) {
    const struct runtime *runtime = &service->runtime;
    log_info(NULL, "berth %s serves: process %llu, engine %s, %u workers, manifest %s",
             BERTH_VERSION, (unsigned long long)os_process_id(),
             server_traits(runtime->server)->name, runtime->server->options.workers,
             service->manifest_path);
}

static int run_serve(struct service *service, struct host_channel *channel) {
    const struct runtime *runtime = &service->runtime;
    const struct command *options = service->options;
    struct watch *watch = options->watch ? watch_create(service) : NULL;
    struct error error = {0};
    int code = EXIT_FINE;
    last_good_config_write(options->kept, runtime);
    if (!ready_file_write(&service->ready_file, runtime, &error)) {
        log_error(NULL, "%s", error.message);
        code = EXIT_FAILED;
    } else {
        supervisor_client_ready(runtime->supervised, runtime->config_snapshot->manifest);
        startup_report_listeners(runtime);
        log_start(service);
        log_info(NULL, "sockets used again: %s", server_traits(runtime->server)->socket_reuse);
        serve_until_stopped(service, channel, watch);
    }
    ready_file_fini(&service->ready_file); /* the file would say that the host serves */
    watch_destroy(watch);
    host_channel_close(channel);
    return code;
}

/* Aborts the connections that were accepted before a start failed. */
static void run_abandon(struct runtime *runtime) {
    struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        listener_stop_accepting(generation->listener);
        listener_abort_all(generation->listener);
        guard_await_aborted(&runtime->guard, generation->listener);
    }
    runtime_destroy(runtime);
}

/* Removes the private folders of hosts that were killed. */
static void clean_private_folders(const struct manifest *manifest) {
    char path[OS_PATH_MAX];
    const char *folder;
    os_private_clean(NULL);
    if (paths_copies(path, sizeof(path), manifest->host.plugin_files.copies, &folder, NULL) &&
        folder) {
        os_private_clean(folder);
    }
}

/* Reports to the supervisor that the start failed, which has been logged. */
static void tell_failure(struct supervised *supervised, int code) {
    if (code != EXIT_FINE) {
        supervisor_client_failed(supervised);
    }
}

/* Called when a stop took too long. */
static void end_by_force(void *context) {
    struct service *service = context;
    supervisor_client_ends_by_force(service->runtime.supervised);
    ready_file_fini(&service->ready_file); /* the file would say that the host serves */
}

static int run_config_snapshot(struct config_snapshot *config_snapshot,
                               const struct command *options, const struct ready_file *ready_file,
                               struct supervised *supervised) {
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    struct host_channel channel;
    const struct manifest *manifest = config_snapshot->manifest;
    struct service service = {.options = options, .ready_file = *ready_file};
    service_configure_log(manifest);
    supervisor_client_starting(supervised, manifest);
    crash_report_start(supervisor_client_report_crash, supervised);
    service.runtime.supervised = supervised;
    service.runtime.guard.by_force = end_by_force;
    service.runtime.guard.context = &service;
    service.runtime.last_good_folder = options->kept;
    service.runtime.use_last_good = options->use_last_good;
    snprintf(service.manifest_path, sizeof(service.manifest_path), "%s", manifest->path);
    if (!os_path_real(service.manifest_real, sizeof(service.manifest_real), manifest->path)) {
        snprintf(service.manifest_real, sizeof(service.manifest_real), "%s", manifest->path);
    }
    const struct stall_watchdog_options watch = {
        .stall_ms = manifest->host.stall_warning_ms,
        .hang_ms = manifest->host.hang_timeout_ms,
        .hung = crash_report_hung_callback,
        .tick = guard_tick,
        .context = &service.runtime.guard,
    };
    guard_configure(&service.runtime.guard, manifest->host.drain_timeout_ms,
                    manifest->host.hang_timeout_ms);
    if (!os_signals_start(&error) || !stall_watchdog_start(&watch, &error) ||
        !paths_plugins(plugins, sizeof(plugins), options->plugins, manifest->host.plugins,
                       &error) ||
        !runtime_init(&service.runtime, manifest, plugins, &error)) {
        log_error(NULL, "%s", error.message);
        stall_watchdog_stop();
        crash_report_stop();
        return EXIT_FAILED;
    }
    clean_private_folders(manifest);
    int code = EXIT_FAILED;
    if (host_channel_open(&channel, &service, manifest->host.control, &error)) {
        code = run_start(&service, config_snapshot);
    } else {
        log_error(NULL, "%s", error.message);
    }
    if (code == EXIT_FINE) {
        code = run_serve(&service, &channel);
    }
    guard_clear(&service.runtime.guard);
    host_channel_close(&channel);
    run_abandon(&service.runtime);
    bool with_stuck_thread = service.runtime.abandoned != NULL;
    crash_report_stop();
    os_signals_finished();
    if (with_stuck_thread) { /* the thread may run until the process ends: nothing is freed */
        tell_failure(supervised, code);
        supervisor_client_end(supervised);
        fflush(NULL);
        log_flush(FLUSH_MS);
        os_process_exit_now(code);
    }
    stall_watchdog_stop();
    os_process_end_within(END_S); /* code that plugins have left to run at exit may not return */
    return code;
}

/* Loads the last good config, if the current one cannot be used. */
static int run_load(const struct command *options, const struct supervised *supervised,
                    struct config_snapshot **config_snapshot) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    if (!options->use_last_good || !paths_manifest(path, sizeof(path), options->manifest, &error)) {
        return error_report_load(options->manifest, NULL, config_snapshot);
    }
    *config_snapshot = last_good_config_load(options->kept, path);
    if (!*config_snapshot) {
        return error_report_load(options->manifest, NULL, config_snapshot);
    }
    log_warn(NULL, "%s: what was in force before the crash is served; %s, then \"berth reload\"",
             path,
             supervisor_client_is_explained(supervised)
                 ? "mend what is said above"
                 : "the host did not get ready with what is there now and has not said why: see "
                   "what has changed since");
    return EXIT_FINE;
}

/* Errors of the manifest are printed in its log format, too. */
static void set_log_format(const struct command *options) {
    char path[OS_PATH_MAX];
    enum log_format format;
    if (paths_manifest(path, sizeof(path), options->manifest, NULL) &&
        manifest_log_format(path, &format)) {
        log_setup(LOG_LEVEL_INFO, format);
    }
}

int control_run(const struct command *options) {
    struct config_snapshot *config_snapshot = NULL;
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
    if (!supervisor_client_begin(&supervised, options->supervised, &error)) {
        log_error(NULL, "%s", error.message);
        supervisor_client_end(&supervised);
        return EXIT_FAILED;
    }
    int code = run_load(options, &supervised, &config_snapshot);
    if (code == EXIT_FINE) {
        code = run_config_snapshot(config_snapshot, options, &ready_file, &supervised);
    }
    tell_failure(&supervised, code);
    config_snapshot_release(config_snapshot);
    crash_report_forget();
    supervisor_client_end(&supervised);
    return code;
}
