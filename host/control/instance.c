#include "control/instance.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "module/module.h"
#include "module/services.h"
#include "net/listener.h"
#include "net/server.h"
#include "os/os.h"

void instance_problems_fini(struct instance_problems *problems) {
    manifest_errors_fini(&problems->manifest);
    manifest_errors_fini(&problems->plugins);
}

static struct module *find_module(const struct instance *instance, const char *id) {
    for (size_t i = 0; i < instance->module_count; i++) {
        if (strcmp(instance->modules[i]->id, id) == 0) {
            return instance->modules[i];
        }
    }
    return NULL;
}

/* -- plugins -------------------------------------------------------------------------------------
 */

/* JSON pointer of a member of a listener. */
static void pointer_to(char *pointer, size_t size, const struct manifest_listener *listener,
                       const char *member) {
    snprintf(pointer, size, "/listeners/%s/%s", listener->name, member);
}

/* A name in the folder that is spelt nearly so, as " (did you mean …)", or "". */
static void suggest(char *text, size_t size, const char *folder, const char *id) {
    struct module_list list;
    text[0] = '\0';
    if (!module_list_init(&list, folder, NULL)) {
        return;
    }
    const char **ids = alloc_array(list.count + 1, sizeof(*ids));
    if (ids) {
        for (size_t i = 0; i < list.count; i++) {
            ids[i] = list.items[i].id;
        }
        const char *nearest = manifest_nearest(id, ids, list.count);
        if (nearest && strcmp(nearest, id) != 0) {
            snprintf(text, size, " (did you mean \"%s\"?)", nearest);
        }
        alloc_free(ids);
    }
    module_list_fini(&list);
}

/* Opens the plugin of a listener unless another listener has it already. Every listener that needs
 * a plugin which cannot be had gets its own line. */
static bool open_plugin(struct instance *instance, const struct manifest_listener *listener,
                        const char *folder, struct manifest_errors *errors) {
    if (find_module(instance, listener->plugin)) {
        return true;
    }
    struct error error = {0};
    struct module *module = module_open(folder, listener->plugin, &instance->services, &error);
    if (module) {
        instance->modules[instance->module_count++] = module;
        return true;
    }
    char pointer[256];
    char suggestion[128];
    pointer_to(pointer, sizeof(pointer), listener, "plugin");
    suggest(suggestion, sizeof(suggestion), folder, listener->plugin);
    manifest_errors_add_at(errors, instance->manifest->path, pointer, "%s%s", error.message,
                           suggestion);
    return false;
}

/* A plugin that speaks first and a listener that waits for the client to speak wait for ever. */
static void check_speaks_first(const struct instance *instance,
                               const struct manifest_listener *listener,
                               struct manifest_errors *errors) {
    const struct module *module = find_module(instance, listener->plugin);
    if (module && listener->accept.when == MANIFEST_ACCEPT_DATA &&
        (module->plugin.flags & BERTH_PLUGIN_SPEAKS_FIRST) != 0) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "accept/when");
        manifest_errors_add_at(
            errors, instance->manifest->path, pointer,
            "listener \"%s\" accepts on first data, but its plugin \"%s\" speaks "
            "first: both sides would wait; use \"connect\"",
            listener->name, listener->plugin);
    }
}

/* A plugin for connections cannot serve datagrams, nor the other way round. */
static void check_transport(const struct instance *instance,
                            const struct manifest_listener *listener,
                            struct manifest_errors *errors) {
    const struct module *module = find_module(instance, listener->plugin);
    bool datagrams = listener->transport == MANIFEST_TRANSPORT_UDP;
    if (module &&
        !(datagrams ? module->plugin.datagram != NULL : module->plugin.received != NULL)) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "plugin");
        manifest_errors_add_at(errors, instance->manifest->path, pointer,
                               "plugin \"%s\" serves %s only: set the listener's \"transport\" to "
                               "\"%s\"",
                               listener->plugin, datagrams ? "connections" : "datagrams",
                               datagrams ? "tcp" : "udp");
    }
}

bool instance_open_plugins(struct instance *instance, const struct manifest *manifest,
                           const char *plugins_folder, struct instance_problems *problems) {
    instance->manifest = manifest;
    instance->services = services_table(manifest->host.name, BERTH_VERSION);
    instance->modules = alloc_array(manifest->listener_count, sizeof(struct module *));
    if (!os_path_folder(instance->config_folder, sizeof(instance->config_folder), manifest->path)) {
        manifest_errors_add_at(&problems->plugins, manifest->path, "", "the path is too long");
        return false;
    }
    if (!instance->modules) {
        manifest_errors_add_at(&problems->plugins, manifest->path, "", "out of memory");
        return false;
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *listener = &manifest->listeners[i];
        if (open_plugin(instance, listener, plugins_folder, &problems->plugins)) {
            check_speaks_first(instance, listener, &problems->manifest);
            check_transport(instance, listener, &problems->manifest);
        }
    }
    return problems->plugins.count == 0 && problems->manifest.count == 0;
}

static bool load_plugins(struct instance *instance, struct error *error) {
    for (size_t i = 0; i < instance->module_count; i++) {
        instance->modules[i]->server = instance->server;
        instance->modules[i]->config_folder = instance->config_folder;
        instance->modules[i]->host.workers = instance->server->options.workers;
        if (!module_load(instance->modules[i], error)) {
            return false;
        }
    }
    return true;
}

/* -- listeners -----------------------------------------------------------------------------------
 */

static struct listener_options listener_options(const struct manifest_listener *listener,
                                                const struct module *module) {
    return (struct listener_options){
        .name = listener->name,
        .config_json = listener->config_json,
        .plugin = &module->plugin,
        .host = &module->host,
        .plugin_state = module->state,
        .addresses = listener->addresses,
        .address_count = listener->address_count,
        .v6_only = listener->v6_only,
        .sockets =
            {
                .no_delay = listener->no_delay,
                .reset_on_close = listener->socket.linger == MANIFEST_LINGER_RESET,
                .keepalive_idle_s = listener->socket.keepalive.idle_s,
                .keepalive_interval_s = listener->socket.keepalive.interval_s,
                .keepalive_probes = listener->socket.keepalive.probes,
                .receive_bytes = listener->socket.receive_buffer_bytes,
                .send_bytes = listener->socket.send_buffer_bytes,
            },
        .datagrams = listener->transport == MANIFEST_TRANSPORT_UDP,
        .accept_on_data = listener->accept.when == MANIFEST_ACCEPT_DATA,
        .pool_initial = listener->accept.pool.initial,
        .pool_low = listener->accept.pool.low,
        .pool_high = listener->accept.pool.high,
        .backlog = listener->accept.backlog,
        .first_data_timeout_ms = listener->accept.first_data_timeout_ms,
        .pending_max = listener->accept.pending_max,
        .refuse_at_limit = listener->accept.at_limit == MANIFEST_LIMIT_REFUSE,
        .refusing_max = listener->limits.refusing,
        .reuse_sockets = listener->accept.reuse_sockets,
        .connections_max = listener->limits.connections,
        .access = {listener->allow, listener->allow_count, listener->deny, listener->deny_count},
        .proxies = {.allow = listener->proxy_protocol.from,
                    .allow_count = listener->proxy_protocol.from_count},
        .proxy_timeout_ms = listener->proxy_protocol.timeout_ms,
        .per_client = {.connections_max = listener->limits.per_client,
                       .rate_per_second = listener->limits.accept_rate_per_client.per_second,
                       .rate_burst = listener->limits.accept_rate_per_client.burst,
                       .idle_max = listener->limits.clients_remembered},
        .message_bytes = listener->limits.message_bytes,
        .send_queue_bytes = listener->limits.send_queue_bytes,
        .send_queue_pieces = listener->limits.send_queue_pieces,
        .close_full_queues = listener->limits.send_queue_full == MANIFEST_QUEUE_CLOSE,
        .active_io_max = listener->limits.active_io,
        .outbound_max = listener->limits.outbound,
        .timers_max = listener->limits.timers,
        .idle_timeout_ms = listener->idle_timeout_ms,
        .close_timeout_ms = listener->close_timeout_ms,
        .receive_mode = listener->receive == MANIFEST_RECEIVE_BUFFERED ? ENGINE_RECEIVE_BUFFERED
                                                                       : ENGINE_RECEIVE_ZERO_BYTE,
    };
}

static unsigned worker_count(const struct manifest *manifest) {
    unsigned count = manifest->host.workers > 0 ? manifest->host.workers : os_cpu_count();
    return count < SERVER_WORKERS_MAX ? count : SERVER_WORKERS_MAX;
}

static struct server_options server_options(const struct manifest *manifest) {
    return (struct server_options){
        .engine = manifest_engine_name(manifest->host.engine),
        .workers = worker_count(manifest),
        .buffer_bytes = manifest->host.buffers.bytes,
        .buffers_retained_max = manifest->host.buffers.retained_max,
        .connections_max = manifest->host.limits.connections,
        .posts_max = manifest->host.limits.posts,
        .descriptors_reserved = manifest->host.limits.descriptors_reserved,
        .work = {.threads_min = manifest->host.work.threads_min,
                 .threads_max = manifest->host.work.threads_max,
                 .queue_max = manifest->host.work.queue_max,
                 .idle_ms = manifest->host.work.idle_ms},
        .idle = os_signals_wake,
    };
}

bool instance_create(struct instance *instance, struct error *error) {
    const struct manifest *manifest = instance->manifest;
    struct server_options options = server_options(manifest);
    instance->server = server_create(&options, error);
    if (!instance->server || !load_plugins(instance, error)) {
        return false;
    }
    instance->listeners = alloc_array(manifest->listener_count, sizeof(struct listener *));
    if (!instance->listeners) {
        return error_set(error, "out of memory");
    }
    bool created = true;
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *from = &manifest->listeners[i];
        struct listener_options one = listener_options(from, find_module(instance, from->plugin));
        struct error why = {0};
        instance->listeners[i] = listener_create(instance->server, &one, NULL, &why);
        if (!instance->listeners[i]) {
            if (!created) {
                log_error(NULL, "%s", error->message); /* the last one is the caller's to say */
            }
            *error = why;
            created = false;
        }
    }
    return created;
}

bool instance_start(struct instance *instance, struct error *error) {
    for (size_t i = 0; i < instance->manifest->listener_count; i++) {
        if (!listener_start(instance->listeners[i], error)) {
            return false;
        }
    }
    return true;
}

void instance_stop_accepting(struct instance *instance) {
    for (size_t i = 0; i < instance->manifest->listener_count; i++) {
        listener_stop_accepting(instance->listeners[i]);
    }
}

uint32_t instance_connections(const struct instance *instance) {
    uint32_t count = 0;
    for (size_t i = 0; i < instance->manifest->listener_count; i++) {
        count += atomic_load(&instance->listeners[i]->references);
    }
    return count;
}

uint32_t instance_cut(struct instance *instance) {
    uint32_t count = 0;
    for (size_t i = 0; i < instance->manifest->listener_count; i++) {
        count += listener_cut(instance->listeners[i]);
    }
    return count;
}

void instance_destroy(struct instance *instance) {
    size_t listener_count = instance->listeners ? instance->manifest->listener_count : 0;
    for (size_t i = listener_count; i-- > 0;) {
        listener_destroy(instance->listeners[i]);
    }
    alloc_free(instance->listeners);
    /* A plugin may post until `unload` returns, and what it has posted runs before the workers end:
     * only then is its code unmapped. */
    for (size_t i = instance->module_count; i-- > 0;) {
        module_unload(instance->modules[i]);
    }
    server_destroy(instance->server);
    for (size_t i = instance->module_count; i-- > 0;) {
        module_close(instance->modules[i]);
    }
    alloc_free(instance->modules);
    *instance = (struct instance){0};
}
