/* The verb `run`: from the manifest to serving, and from the signal to a clean stop. */
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "control/instance.h"
#include "control/paths.h"
#include "control/report.h"
#include "manifest/manifest.h"
#include "manifest/ready.h"
#include "module/module.h"
#include "net/listener.h"
#include "net/server.h"
#include "os/os.h"

/* -- saying what is served ------------------------------------------------------------------------
 */

static const char *accept_name(const struct listener *listener) {
    return listener->options.datagrams        ? "datagrams"
           : listener->options.accept_on_data ? "data"
                                              : "connect";
}

static void print_listeners(const struct instance *instance) {
    for (size_t i = 0; i < instance->manifest->listener_count; i++) {
        const struct listener *listener = instance->listeners[i];
        printf("%s: listening on ", listener->options.name);
        for (size_t a = 0; a < listener->options.address_count; a++) {
            char text[BERTH_ADDRESS_TEXT_MAX];
            struct berth_address address = listener_address(listener, a);
            address_format(&address, text, sizeof(text));
            printf("%s%s", a > 0 ? ", " : "", text);
        }
        printf(" with %s %s, %s, engine %s\n", listener->plugin->id, listener->plugin->version,
               listener->options.datagrams        ? "takes datagrams"
               : listener->options.accept_on_data ? "accepts on first data"
                                                  : "accepts on connect",
               server_traits(instance->server)->name);
    }
    fflush(stdout);
}

static bool describe_listener(const struct listener *listener, struct ready_listener *ready) {
    *ready = (struct ready_listener){
        .name = listener->options.name,
        .plugin = listener->plugin->id,
        .version = listener->plugin->version,
        .accept = accept_name(listener),
        .addresses = alloc_array(listener->options.address_count, sizeof(char *)),
    };
    if (!ready->addresses) {
        return false;
    }
    for (; ready->address_count < listener->options.address_count; ready->address_count++) {
        char text[BERTH_ADDRESS_TEXT_MAX];
        struct berth_address address = listener_address(listener, ready->address_count);
        address_format(&address, text, sizeof(text));
        ready->addresses[ready->address_count] = alloc_string(text);
        if (!ready->addresses[ready->address_count]) {
            return false;
        }
    }
    return true;
}

/* The text of the ready file, or NULL without memory. */
static char *describe(const struct instance *instance) {
    size_t count = instance->manifest->listener_count;
    struct ready_listener *listeners = alloc_array(count, sizeof(*listeners));
    char *text = NULL;
    bool complete = listeners != NULL;
    for (size_t i = 0; complete && i < count; i++) {
        complete = describe_listener(instance->listeners[i], &listeners[i]);
    }
    if (complete) {
        struct ready ready = {
            .pid = os_process_id(),
            .name = instance->manifest->host.name,
            .version = BERTH_VERSION,
            .engine = server_traits(instance->server)->name,
            .socket_reuse = server_traits(instance->server)->socket_reuse,
            .listeners = listeners,
            .listener_count = count,
        };
        text = ready_format(&ready);
    }
    for (size_t i = 0; listeners && i < count; i++) {
        for (size_t a = 0; a < listeners[i].address_count; a++) {
            alloc_free(listeners[i].addresses[a]);
        }
        alloc_free(listeners[i].addresses);
    }
    alloc_free(listeners);
    return text;
}

static bool write_ready_file(const struct instance *instance, const char *path,
                             struct error *error) {
    char *text = describe(instance);
    if (!text) {
        return error_set(error, "ready file %s: out of memory", path);
    }
    bool written = os_file_write_atomic(path, text, strlen(text), error);
    alloc_free(text);
    return written || error_prefix(error, "ready file %s: ", path);
}

/* -- stopping -------------------------------------------------------------------------------------
 */

/* Waits until no connection is left, the time is over, or somebody asks a second time. */
static void wait_for_connections(const struct instance *instance, uint32_t timeout_ms) {
    uint64_t deadline_ms = os_now_ms() + timeout_ms;
    while (instance_connections(instance) > 0) {
        uint64_t now_ms = os_now_ms();
        if (now_ms >= deadline_ms) {
            return;
        }
        if (os_signals_wait((int)(deadline_ms - now_ms)) == OS_SIGNAL_STOP) {
            log_warn(NULL, "asked again to stop: not waiting any longer");
            return;
        }
    }
}

static void drain(struct instance *instance) {
    uint32_t timeout_ms = instance->manifest->host.drain_timeout_ms;
    instance_stop_accepting(instance);
    uint32_t open = instance_connections(instance);
    log_info(NULL, "stopping: no new connections; %u open ones may finish within %u ms", open,
             timeout_ms);
    wait_for_connections(instance, timeout_ms);
    uint32_t cut = instance_cut(instance);
    while (instance_connections(instance) > 0) {
        os_signals_wait(-1); /* what is in flight is cancelled; this takes no time */
    }
    if (cut > 0) {
        log_warn(NULL, "stopped: %u connections had not finished and were cut", cut);
    } else {
        log_info(NULL, "stopped: every connection has finished");
    }
}

/* -- the verb -------------------------------------------------------------------------------------
 */

static bool serve(struct instance *instance, const struct control_options *options,
                  struct error *error) {
    if (!instance_create(instance, error) || !instance_start(instance, error)) {
        return false;
    }
    if (options->ready_file && !write_ready_file(instance, options->ready_file, error)) {
        return false;
    }
    print_listeners(instance);
    log_info(NULL, "sockets used again: %s", server_traits(instance->server)->socket_reuse);
    while (os_signals_wait(-1) != OS_SIGNAL_STOP) {
    }
    drain(instance);
    if (options->ready_file) {
        os_file_remove(options->ready_file); /* it would say that something is served */
    }
    return true;
}

/* What was accepted before a start failed ends with it. */
static void abandon(struct instance *instance) {
    if (instance->listeners) {
        for (size_t i = 0; i < instance->manifest->listener_count; i++) {
            if (instance->listeners[i]) {
                listener_stop_accepting(instance->listeners[i]);
                listener_cut(instance->listeners[i]);
                while (atomic_load(&instance->listeners[i]->references) > 0) {
                    os_signals_wait(-1);
                }
            }
        }
    }
    instance_destroy(instance);
}

static int run_manifest(const struct manifest *manifest, const struct control_options *options) {
    struct instance instance = {0};
    struct instance_problems problems = {0};
    struct error error = {0};
    char plugins[OS_PATH_MAX];
    int code = EXIT_FINE;
    log_setup(manifest->host.log.level, manifest->host.log.format);
    if (!os_signals_start(&error) || !paths_plugins(plugins, sizeof(plugins), options->plugins,
                                                    manifest->host.plugins, &error)) {
        log_error(NULL, "%s", error.message);
        return EXIT_FAILED;
    }
    if (!instance_open_plugins(&instance, manifest, plugins, &problems)) {
        code = report_problems(&problems, manifest->path);
    } else if (!serve(&instance, options, &error)) {
        log_error(NULL, "%s", error.message);
        code = EXIT_FAILED;
    }
    abandon(&instance);
    instance_problems_fini(&problems);
    os_signals_finished();
    return code;
}

int control_run(const struct control_options *options) {
    struct manifest *manifest = NULL;
    int code = report_load(options->manifest, &manifest);
    if (code == EXIT_FINE) {
        code = run_manifest(manifest, options);
    }
    manifest_destroy(manifest);
    return code;
}
