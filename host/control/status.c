#include "control/status.h"

#include <cjson/cJSON.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "control/control.h"
#include "control/listener_generation_table.h"
#include "control/service.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "net/lib/admission.h"
#include "net/lib/describe.h"
#include "net/lib/work_pool.h"
#include "net/listen/listen_socket.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "os/log_writer.h"
#include "plugin/callback_guard.h"
#include "plugin/module.h"
#include "plugin/plugin_stats.h"

enum { STALLED_MS = 1000, STALLED_MAX = 64 };

static void add_count(cJSON *object, const char *key, unsigned long long count) {
    cJSON_AddNumberToObject(object, key, (double)count);
}

/* -- listeners ------------------------------------------------------------- */

/* The counters are the same in all rows of a listener: its generations are counted together. */
static void add_counters(cJSON *object, const struct listener *listener) {
    cJSON *list = cJSON_AddObjectToObject(object, "counters");
    struct listener_counters total;
    listener_total(listener, &total);
    for (size_t i = 0; i < listener_counter_count(); i++) {
        const struct listener_counter *counter = listener_counter_at(i);
        add_count(list, counter->name, listener_counter_read(counter, &total));
    }
}

static const char *state_of(const struct service *service,
                            const struct listener_generation *generation) {
    return generation->retired_ms != 0 || service->stopping ? "draining"
           : atomic_load(&generation->listener->paused)     ? "paused"
                                                            : "serving";
}

static void status_add_generation(const struct service *service, cJSON *list,
                                  const struct listener_generation *generation) {
    struct listener *listener = generation->listener;
    cJSON *object = cJSON_CreateObject();
    uint64_t now_ms = engine_now_ms();
    cJSON_AddStringToObject(object, "name", listener->name);
    cJSON_AddStringToObject(object, "plugin", generation->module->id);
    cJSON_AddStringToObject(object, "version", generation->module->plugin.version);
    add_count(object, "generation", generation->number);
    add_count(object, "plugin_generation", generation->module->generation);
    cJSON_AddStringToObject(object, "transport", listener->options.datagrams ? "udp" : "tcp");
    cJSON_AddStringToObject(object, "state", state_of(service, generation));
    if (generation->retired_ms != 0) {
        uint64_t for_ms = now_ms - generation->retired_ms;
        add_count(object, "draining_for_ms", for_ms);
        cJSON_AddStringToObject(object, "draining_because",
                                generation->retired_why == BERTH_DRAINING_REMOVED ? "removed"
                                                                                  : "replaced");
        if (generation->drain_ms > 0) { /* else it drains without a limit */
            add_count(object, "drain_left_ms",
                      generation->drain_ms > for_ms ? generation->drain_ms - for_ms : 0);
        }
    }
    cJSON *addresses = cJSON_AddArrayToObject(object, "addresses");
    for (size_t i = 0; i < listener_address_count(listener); i++) {
        char text[BERTH_ADDRESS_TEXT_MAX];
        struct berth_address address = listener_address(listener, i);
        address_format(&address, text, sizeof(text));
        json_append(addresses, cJSON_CreateString(text));
    }
    add_count(object, "connections_max", listener->options.connections_max);
#define GAUGE(name, label, meaning) add_count(object, #name, atomic_load(&listener->name));
#define COUNTERS_GENERATION
#include "base/counters.def"
    add_count(object, "works_waiting",
              work_lane_waiting(service->runtime.server->work, &listener->work_lane));
    add_counters(object, listener);
    status_add_metrics(object, listener);
    json_append(list, object);
}

/* Whether the listener is left out because its plugin is in quarantine. */
static bool is_left_out(const struct runtime *runtime, const struct manifest_listener *listener) {
    return supervisor_client_is_quarantined(runtime->supervised, listener->plugin) &&
           !runtime_generation(runtime, listener->name);
}

static void add_left_out(cJSON *list, const struct manifest_listener *listener) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "name", listener->name);
    cJSON_AddStringToObject(object, "plugin", listener->plugin);
    cJSON_AddStringToObject(object, "state", "quarantine");
    cJSON *addresses = cJSON_AddArrayToObject(object, "addresses");
    for (size_t i = 0; i < listener->address_count; i++) {
        char text[BERTH_ADDRESS_TEXT_MAX];
        address_format(&listener->addresses[i], text, sizeof(text));
        json_append(addresses, cJSON_CreateString(text));
    }
    add_count(object, "connections", 0);
    json_append(list, object);
}

void status_describe_listeners(const struct service *service, struct cJSON *status) {
    const struct runtime *runtime = &service->runtime;
    const struct manifest *manifest = runtime->config_snapshot->manifest;
    const struct listener_generation *generation;
    cJSON *listeners = cJSON_AddArrayToObject(status, "listeners");
    DL_FOREACH(runtime->serving, generation) {
        status_add_generation(service, listeners, generation);
    }
    DL_FOREACH(runtime->retired, generation) {
        status_add_generation(service, listeners, generation);
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        if (is_left_out(runtime, &manifest->listeners[i])) {
            add_left_out(listeners, &manifest->listeners[i]);
        }
    }
}

/* -- plugins --------------------------------------------------------------- */

/* The listeners of a plugin, and the totals of what they hold for it. */
struct users {
    unsigned count;
    unsigned connections;
    unsigned outbound;
};

/* Adds each name once, even if several generations of the listener use the plugin. */
static struct users add_users(const struct listener_generation_table *table, cJSON *list,
                              const struct listener_generation *generations,
                              const struct module *module) {
    struct users users = {0};
    const struct listener_generation *generation;
    DL_FOREACH(generations, generation) {
        if (generation->module == module) {
            struct listener_generations *names =
                listener_generation_table_find(table, generation->from->name);
            if (names->note != module) {
                json_append(list, cJSON_CreateString(generation->from->name));
            }
            names->note = module;
            users.count++;
            users.connections += atomic_load(&generation->listener->connections);
            users.outbound += atomic_load(&generation->listener->outbound);
        }
    }
    return users;
}

/* [[le_us, count], …]: how many calls took less than that time, and no less than the one before;
 * times that no call took are left out. */
static void add_histogram(cJSON *object, const struct plugin_stats *stats,
                          enum plugin_callback callback) {
    cJSON *list = cJSON_AddArrayToObject(object, "histogram");
    for (unsigned i = 0; i < PLUGIN_TIME_BUCKETS; i++) {
        double end_us;
        uint64_t count = plugin_stats_bucket(stats, callback, i, &end_us);
        if (count > 0) {
            const double pair[] = {end_us, (double)count};
            json_append(list, cJSON_CreateDoubleArray(pair, 2));
        }
    }
}

/* Adds the callbacks that were called at least once. */
static void add_callbacks(cJSON *object, const struct plugin_stats *stats) {
    cJSON *list = cJSON_AddObjectToObject(object, "callbacks");
    for (unsigned i = 0; i < PLUGIN_CALLBACKS; i++) {
        struct plugin_times times = plugin_stats_times(stats, (enum plugin_callback)i);
        if (times.count > 0) {
            cJSON *one =
                cJSON_AddObjectToObject(list, plugin_callback_name((enum plugin_callback)i));
            add_count(one, "count", times.count);
            cJSON_AddNumberToObject(one, "p50_us", times.p50_us);
            cJSON_AddNumberToObject(one, "p99_us", times.p99_us);
            cJSON_AddNumberToObject(one, "max_us", times.max_us);
            add_histogram(one, stats, (enum plugin_callback)i);
        }
    }
}

static void add_held(cJSON *object, const struct plugin_stats *stats, const struct users *serving,
                     const struct users *retired) {
    struct plugin_held held = plugin_stats_held(stats);
    cJSON *holds = cJSON_AddObjectToObject(object, "holds");
    add_count(holds, "connections", serving->connections + retired->connections);
    add_count(holds, "outbound", serving->outbound + retired->outbound);
#define GAUGE(name, label, meaning) cJSON_AddNumberToObject(holds, #name, (double)held.name);
#define COUNTERS_HOLDS
#include "base/counters.def"
}

/* `is_abandoned`: it stays mapped, because code of it has not returned. */
static void add_module(const struct runtime *runtime, const struct listener_generation_table *table,
                       cJSON *list, const struct module *module, bool is_abandoned) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "id", module->id);
    cJSON_AddStringToObject(object, "name", module->plugin.name);
    cJSON_AddStringToObject(object, "version", module->plugin.version);
    add_count(object, "generation", module->generation);
    cJSON_AddStringToObject(object, "file", module->file);
    cJSON *users = cJSON_AddArrayToObject(object, "listeners");
    struct users serving = add_users(table, users, runtime->serving, module);
    struct users retired = add_users(table, users, runtime->retired, module);
    cJSON_AddStringToObject(object, "state",
                            is_abandoned        ? "abandoned"
                            : serving.count > 0 ? "serving"
                                                : "draining");
    add_held(object, module->stats, &serving, &retired);
    add_callbacks(object, module->stats);
    json_append(list, object);
}

/* A plugin in quarantine. */
static void add_banned(const struct manifest *manifest, cJSON *list, const char *plugin) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "id", plugin);
    cJSON_AddStringToObject(object, "state", "quarantine");
    cJSON *names = cJSON_AddArrayToObject(object, "listeners");
    for (size_t i = 0; i < manifest->listener_count; i++) {
        if (strcmp(manifest->listeners[i].plugin, plugin) == 0) {
            json_append(names, cJSON_CreateString(manifest->listeners[i].name));
        }
    }
    json_append(list, object);
}

/* Whether this is the first listener that uses the plugin, so that it is added once. */
static bool is_first_of_plugin(const struct manifest *manifest, size_t index) {
    size_t i = 0;
    while (strcmp(manifest->listeners[i].plugin, manifest->listeners[index].plugin) != 0) {
        i++;
    }
    return i == index;
}

void status_describe_plugins(const struct service *service, struct cJSON *status) {
    const struct runtime *runtime = &service->runtime;
    const struct manifest *manifest = runtime->config_snapshot->manifest;
    const struct module *module;
    cJSON *plugins = cJSON_AddArrayToObject(status, "plugins");
    struct listener_generation_table table;
    if (!listener_generation_table_init(&table, runtime)) {
        json_refuse();
        listener_generation_table_fini(&table);
        return;
    }
    DL_FOREACH(runtime->modules, module) {
        add_module(runtime, &table, plugins, module, false);
    }
    DL_FOREACH(runtime->abandoned, module) {
        add_module(runtime, &table, plugins, module, true);
    }
    listener_generation_table_fini(&table);
    for (size_t i = 0; i < manifest->listener_count; i++) {
        if (is_left_out(runtime, &manifest->listeners[i]) && is_first_of_plugin(manifest, i)) {
            add_banned(manifest, plugins, manifest->listeners[i].plugin);
        }
    }
}

/* -- the host -------------------------------------------------------------- */

static void describe_server_counts(const struct server *server, cJSON *status) {
    cJSON *object = cJSON_AddObjectToObject(status, "server");
#define GAUGE(name, label, meaning) add_count(object, #name, atomic_load(&server->name));
#define COUNTERS_SERVER
#include "base/counters.def"
    cJSON *workers = cJSON_AddArrayToObject(status, "per_worker");
    for (unsigned i = 0; i < server->options.workers; i++) { /* not the acceptor */
        cJSON *one = cJSON_CreateObject();
#define GAUGE(name, label, meaning) add_count(one, #name, atomic_load(&server->workers[i].name));
#define COUNTERS_WORKER
#include "base/counters.def"
        json_append(workers, one);
    }
    struct work_pool_status work = work_pool_status(server->work);
    cJSON *pool = cJSON_AddObjectToObject(status, "work");
#define GAUGE(name, label, meaning) add_count(pool, #name, work.name);
#define COUNTERS_WORK
#include "base/counters.def"
}

/* Adds the counts of lines that are missing in the log. */
static void describe_log(cJSON *status) {
    struct log_writer_counts counts = log_writer_counts();
    cJSON *log = cJSON_AddObjectToObject(status, "log");
#define COUNTER(name, meaning) add_count(log, #name, counts.name);
#define COUNTERS_LOG
#include "base/counters.def"
}

/* Adds the callbacks that have not returned for STALLED_MS. */
static void add_stalled(cJSON *status) {
    struct callback_running running[STALLED_MAX];
    size_t count = callback_guard_running(STALLED_MS, false, running, STALLED_MAX);
    cJSON *list = cJSON_AddArrayToObject(status, "stalled");
    for (size_t i = 0; i < count; i++) {
        char text[512];
        callback_running_describe(&running[i], text, sizeof(text));
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
}

static void add_object(void *context, const char *line) {
    json_append(context, cJSON_CreateString(line));
}

/* Adds a line for each object that any thread may read. */
static void add_objects(const struct runtime *runtime, cJSON *status) {
    char line[DESCRIBE_BYTES];
    cJSON *list = cJSON_AddArrayToObject(status, "objects");
    const struct listener_generation *generation;
    const struct module *module;
    server_describe_whole(runtime->server, add_object, list);
    DL_FOREACH(runtime->serving, generation) {
        listener_describe(generation->listener, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(runtime->retired, generation) {
        listener_describe(generation->listener, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(runtime->modules, module) {
        module_describe(module, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(runtime->abandoned, module) {
        module_describe(module, line, sizeof(line));
        add_object(list, line);
    }
}

void status_describe(const struct service *service, struct cJSON *status) {
    const struct runtime *runtime = &service->runtime;
    const struct manifest *manifest = runtime->config_snapshot->manifest;
    cJSON_AddStringToObject(status, "name", manifest->host.name);
    add_count(status, "pid", os_process_id());
    cJSON_AddStringToObject(status, "version", BERTH_VERSION);
    cJSON_AddStringToObject(status, "state", service->stopping ? "stopping" : "serving");
    cJSON_AddStringToObject(status, "manifest", service->manifest_real);
    cJSON_AddStringToObject(status, "plugins_folder", runtime->plugins_folder);
    cJSON_AddStringToObject(status, "engine", server_traits(runtime->server)->name);
    cJSON_AddStringToObject(status, "socket_reuse", server_traits(runtime->server)->socket_reuse);
    add_count(status, "generation", runtime->generation);
    add_count(status, "workers", runtime->server->options.workers);
    add_count(status, "uptime_ms", engine_now_ms() - runtime->started_ms);
    add_count(status, "connections", atomic_load(&runtime->server->connections));
    add_count(status, "connections_max", runtime->server->options.connections_max);
    supervisor_client_describe(runtime->supervised, status);
    add_stalled(status);
    describe_server_counts(runtime->server, status);
    describe_log(status);
    status_describe_listeners(service, status);
    status_describe_plugins(service, status);
    add_objects(runtime, status);
}
