#include "control/status.h"

#include <cjson/cJSON.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "control/control.h"
#include "control/service.h"
#include "control/supervise.h"
#include "control/unit_table.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "module/module.h"
#include "net/describe.h"
#include "net/door.h"
#include "net/gate.h"
#include "net/listener.h"
#include "net/plugin_account.h"
#include "net/plugin_call.h"
#include "net/server.h"
#include "net/work_pool.h"
#include "os/log_writer.h"

enum { STALLED_MS = 1000, STALLED_MAX = 64 };

static void add_count(cJSON *object, const char *key, unsigned long long count) {
    cJSON_AddNumberToObject(object, key, (double)count);
}

/* -- listeners -----------------------------------------------------------------------------------
 */

/* The same in all rows of a listener: its generations are counted together. */
static void add_counters(cJSON *object, const struct listener *listener) {
    cJSON *list = cJSON_AddObjectToObject(object, "counters");
    struct listener_counters total;
    listener_total(listener, &total);
    for (size_t i = 0; i < listener_counter_count(); i++) {
        const struct listener_counter *counter = listener_counter_at(i);
        add_count(list, counter->name, listener_counter_read(counter, &total));
    }
}

static const char *state_of(const struct service *service, const struct unit *unit) {
    return unit->retired_ms != 0 || service->stopping ? "draining"
           : atomic_load(&unit->listener->paused)     ? "paused"
                                                      : "serving";
}

static void add_unit(const struct service *service, cJSON *list, const struct unit *unit) {
    struct listener *listener = unit->listener;
    cJSON *object = cJSON_CreateObject();
    uint64_t now_ms = engine_now_ms();
    cJSON_AddStringToObject(object, "name", listener->name);
    cJSON_AddStringToObject(object, "plugin", unit->module->id);
    cJSON_AddStringToObject(object, "version", unit->module->plugin.version);
    add_count(object, "generation", unit->generation);
    add_count(object, "plugin_generation", unit->module->generation);
    cJSON_AddStringToObject(object, "transport", listener->options.datagrams ? "udp" : "tcp");
    cJSON_AddStringToObject(object, "state", state_of(service, unit));
    if (unit->retired_ms != 0) {
        uint64_t for_ms = now_ms - unit->retired_ms;
        add_count(object, "draining_for_ms", for_ms);
        cJSON_AddStringToObject(object, "draining_because",
                                unit->retired_why == BERTH_DRAINING_REMOVED ? "removed"
                                                                            : "replaced");
        if (unit->drain_ms > 0) { /* else it drains without a limit */
            add_count(object, "drain_left_ms",
                      unit->drain_ms > for_ms ? unit->drain_ms - for_ms : 0);
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
              work_lane_waiting(service->instance.server->work, &listener->work_lane));
    add_counters(object, listener);
    status_add_metrics(object, listener);
    json_append(list, object);
}

/* One that is left out, as its plugin is in quarantine. */
static bool is_left_out(const struct instance *instance, const struct manifest_listener *listener) {
    return supervised_is_quarantined(instance->supervised, listener->plugin) &&
           !instance_unit(instance, listener->name);
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
    const struct instance *instance = &service->instance;
    const struct manifest *manifest = instance->edition->manifest;
    const struct unit *unit;
    cJSON *listeners = cJSON_AddArrayToObject(status, "listeners");
    DL_FOREACH(instance->serving, unit) {
        add_unit(service, listeners, unit);
    }
    DL_FOREACH(instance->retired, unit) {
        add_unit(service, listeners, unit);
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        if (is_left_out(instance, &manifest->listeners[i])) {
            add_left_out(listeners, &manifest->listeners[i]);
        }
    }
}

/* -- plugins -------------------------------------------------------------------------------------
 */

/* The listeners of a plugin, and what they hold for it. */
struct users {
    unsigned count;
    unsigned connections;
    unsigned outbound;
};

/* A name once, though several generations of the listener have the plugin. */
static struct users add_users(const struct unit_table *table, cJSON *list, const struct unit *units,
                              const struct module *module) {
    struct users users = {0};
    const struct unit *unit;
    DL_FOREACH(units, unit) {
        if (unit->module == module) {
            struct unit_names *names = unit_table_find(table, unit->from->name);
            if (names->note != module) {
                json_append(list, cJSON_CreateString(unit->from->name));
            }
            names->note = module;
            users.count++;
            users.connections += atomic_load(&unit->listener->connections);
            users.outbound += atomic_load(&unit->listener->outbound);
        }
    }
    return users;
}

/* [[le_us, count], …]: how many calls took less than so long, and no less than the one before;
 * times that nobody took are left out. */
static void add_histogram(cJSON *object, const struct plugin_account *account,
                          enum plugin_callback callback) {
    cJSON *list = cJSON_AddArrayToObject(object, "histogram");
    for (unsigned i = 0; i < PLUGIN_TIME_BUCKETS; i++) {
        double end_us;
        uint64_t count = plugin_account_bucket(account, callback, i, &end_us);
        if (count > 0) {
            const double pair[] = {end_us, (double)count};
            json_append(list, cJSON_CreateDoubleArray(pair, 2));
        }
    }
}

/* Those it was called for at all. */
static void add_callbacks(cJSON *object, const struct plugin_account *account) {
    cJSON *list = cJSON_AddObjectToObject(object, "callbacks");
    for (unsigned i = 0; i < PLUGIN_CALLBACKS; i++) {
        struct plugin_times times = plugin_account_times(account, (enum plugin_callback)i);
        if (times.count > 0) {
            cJSON *one =
                cJSON_AddObjectToObject(list, plugin_callback_name((enum plugin_callback)i));
            add_count(one, "count", times.count);
            cJSON_AddNumberToObject(one, "p50_us", times.p50_us);
            cJSON_AddNumberToObject(one, "p99_us", times.p99_us);
            cJSON_AddNumberToObject(one, "max_us", times.max_us);
            add_histogram(one, account, (enum plugin_callback)i);
        }
    }
}

static void add_held(cJSON *object, const struct plugin_account *account,
                     const struct users *serving, const struct users *retired) {
    struct plugin_held held = plugin_account_held(account);
    cJSON *holds = cJSON_AddObjectToObject(object, "holds");
    add_count(holds, "connections", serving->connections + retired->connections);
    add_count(holds, "outbound", serving->outbound + retired->outbound);
#define GAUGE(name, label, meaning) cJSON_AddNumberToObject(holds, #name, (double)held.name);
#define COUNTERS_HOLDS
#include "base/counters.def"
}

/* `is_abandoned`: it stays mapped, as code of it has not returned. */
static void add_module(const struct instance *instance, const struct unit_table *table, cJSON *list,
                       const struct module *module, bool is_abandoned) {
    cJSON *object = cJSON_CreateObject();
    cJSON_AddStringToObject(object, "id", module->id);
    cJSON_AddStringToObject(object, "name", module->plugin.name);
    cJSON_AddStringToObject(object, "version", module->plugin.version);
    add_count(object, "generation", module->generation);
    cJSON_AddStringToObject(object, "file", module->file);
    cJSON *users = cJSON_AddArrayToObject(object, "listeners");
    struct users serving = add_users(table, users, instance->serving, module);
    struct users retired = add_users(table, users, instance->retired, module);
    cJSON_AddStringToObject(object, "state",
                            is_abandoned        ? "abandoned"
                            : serving.count > 0 ? "serving"
                                                : "draining");
    add_held(object, module->account, &serving, &retired);
    add_callbacks(object, module->account);
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

/* Once, however many listeners want the plugin. */
static bool is_first_of_plugin(const struct manifest *manifest, size_t index) {
    size_t i = 0;
    while (strcmp(manifest->listeners[i].plugin, manifest->listeners[index].plugin) != 0) {
        i++;
    }
    return i == index;
}

void status_describe_plugins(const struct service *service, struct cJSON *status) {
    const struct instance *instance = &service->instance;
    const struct manifest *manifest = instance->edition->manifest;
    const struct module *module;
    cJSON *plugins = cJSON_AddArrayToObject(status, "plugins");
    struct unit_table table;
    if (!unit_table_init(&table, instance)) {
        json_refuse();
        unit_table_fini(&table);
        return;
    }
    DL_FOREACH(instance->modules, module) {
        add_module(instance, &table, plugins, module, false);
    }
    DL_FOREACH(instance->abandoned, module) {
        add_module(instance, &table, plugins, module, true);
    }
    unit_table_fini(&table);
    for (size_t i = 0; i < manifest->listener_count; i++) {
        if (is_left_out(instance, &manifest->listeners[i]) && is_first_of_plugin(manifest, i)) {
            add_banned(manifest, plugins, manifest->listeners[i].plugin);
        }
    }
}

/* -- the host ------------------------------------------------------------------------------------
 */

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

/* Lines that are missing in the log. */
static void describe_log(cJSON *status) {
    struct log_writer_counts counts = log_writer_counts();
    cJSON *log = cJSON_AddObjectToObject(status, "log");
#define COUNTER(name, meaning) add_count(log, #name, counts.name);
#define COUNTERS_LOG
#include "base/counters.def"
}

/* What is waited for, if anything is: callbacks that have not returned for long. */
static void add_stalled(cJSON *status) {
    struct plugin_running running[STALLED_MAX];
    size_t count = plugin_calls_running(STALLED_MS, false, running, STALLED_MAX);
    cJSON *list = cJSON_AddArrayToObject(status, "stalled");
    for (size_t i = 0; i < count; i++) {
        char text[512];
        plugin_running_describe(&running[i], text, sizeof(text));
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
}

static void add_object(void *context, const char *line) {
    json_append(context, cJSON_CreateString(line));
}

/* A line each, of those that any thread may look at. */
static void add_objects(const struct instance *instance, cJSON *status) {
    char line[DESCRIBE_BYTES];
    cJSON *list = cJSON_AddArrayToObject(status, "objects");
    const struct unit *unit;
    const struct module *module;
    server_describe_whole(instance->server, add_object, list);
    DL_FOREACH(instance->serving, unit) {
        listener_describe(unit->listener, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(instance->retired, unit) {
        listener_describe(unit->listener, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(instance->modules, module) {
        module_describe(module, line, sizeof(line));
        add_object(list, line);
    }
    DL_FOREACH(instance->abandoned, module) {
        module_describe(module, line, sizeof(line));
        add_object(list, line);
    }
}

void status_describe(const struct service *service, struct cJSON *status) {
    const struct instance *instance = &service->instance;
    const struct manifest *manifest = instance->edition->manifest;
    cJSON_AddStringToObject(status, "name", manifest->host.name);
    add_count(status, "pid", os_process_id());
    cJSON_AddStringToObject(status, "version", BERTH_VERSION);
    cJSON_AddStringToObject(status, "state", service->stopping ? "stopping" : "serving");
    cJSON_AddStringToObject(status, "manifest", service->manifest_real);
    cJSON_AddStringToObject(status, "plugins_folder", instance->plugins_folder);
    cJSON_AddStringToObject(status, "engine", server_traits(instance->server)->name);
    cJSON_AddStringToObject(status, "socket_reuse", server_traits(instance->server)->socket_reuse);
    add_count(status, "generation", instance->generation);
    add_count(status, "workers", instance->server->options.workers);
    add_count(status, "uptime_ms", engine_now_ms() - instance->started_ms);
    add_count(status, "connections", atomic_load(&instance->server->connections));
    add_count(status, "connections_max", instance->server->options.connections_max);
    supervised_describe(instance->supervised, status);
    add_stalled(status);
    describe_server_counts(instance->server, status);
    describe_log(status);
    status_describe_listeners(service, status);
    status_describe_plugins(service, status);
    add_objects(instance, status);
}
