#include "host_in_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "control/change.h"
#include "control/instance.h"
#include "module/module.h"
#include "net/listener.h"
#include "net/plugin_account.h"
#include "net/server.h"
#include "replaced.h"
#include "rule.h"
#include "world.h"

enum { TEXT_BYTES = 4096, STOP_US = 300000000, ALLOCATIONS_AHEAD = 200, CUT_MS = 15000 };

static struct instance instance;
static struct {
    const struct server_driver *driver;
    bool load_fails; /* of the next generation; or its listener_open */
    bool open_fails;
    unsigned generations; /* that are loaded and not unloaded */
    unsigned config;      /* of the listener; another number is another generation */
    unsigned workers;
    uint64_t changed_ms; /* when time limits may have changed last */
} life;

static uint32_t between(uint32_t least, uint32_t most) {
    return least + (uint32_t)sim_random(most - least + 1ULL);
}

static uint32_t one_of(uint32_t one, uint32_t other) {
    return sim_random(2) == 0 ? one : other;
}

/* -- the plugin's part ----------------------------------------------------- */

int32_t BERTH_CALL host_on_load(const struct berth_host *host, void **state,
                                struct berth_error *error) {
    struct generation *generation;
    callback_begin("load");
    callback_end();
    if (life.load_fails) {
        return berth_error_set(error, BERTH_E_FAILED, "a broken generation");
    }
    generation = calloc(1, sizeof(*generation));
    RULE(generation, "there is memory for the model");
    generation->host = host;
    *state = generation;
    life.generations++;
    return BERTH_OK;
}

void BERTH_CALL host_on_unload(void *state) {
    struct generation *generation = state;
    callback_begin("unload");
    RULE(generation->listeners == 0, "unload comes after listener_close: %u are open",
         generation->listeners);
    const struct module *module = CONTAINER_OF(generation->host, const struct module, host);
    struct plugin_held held = plugin_account_held(module->account);
    RULE(held.buffers == 0 && held.files == 0 && held.timers == 0 && held.works == 0,
         "references balance: %lld buffers, %lld files, %lld timers, %lld works", held.buffers,
         held.files, held.timers, held.works);
    life.generations--;
    free(generation);
    callback_end();
}

int32_t BERTH_CALL host_on_listener_open(const struct berth_listener *listener, void **state,
                                         struct berth_error *error) {
    struct open_listener *open;
    callback_begin("listener_open");
    callback_end();
    if (life.open_fails && sim_random(2) == 0) {
        return berth_error_set(error, BERTH_E_FAILED, "a broken listener");
    }
    open = calloc(1, sizeof(*open));
    RULE(open, "there is memory for the model");
    open->generation = listener->plugin_state;
    open->generation->listeners++;
    *state = open;
    return BERTH_OK;
}

void BERTH_CALL host_on_listener_close(const struct berth_listener *listener) {
    struct open_listener *open = listener->state;
    callback_begin("listener_close");
    RULE(open->connections == 0, "listener_close comes after closed: %u are open",
         open->connections);
    RULE(open->answers == 0, "listener_close comes after every answer: %u are left", open->answers);
    open->generation->listeners--;
    free(open);
    callback_end();
}

/* -- manifests ------------------------------------------------------------- */

static const char host_text[] =
    "{\"manifest\": 1, \"host\": {\"name\": \"simulated\", \"control\": false, \"workers\": %u,"
    " \"stall_warning_ms\": 0, \"hang_timeout_ms\": 0, \"generation_drain_timeout_ms\": %u,"
    " \"limits\": {\"connections\": %u, \"posts\": %u},"
    " \"work\": {\"threads_min\": 1, \"threads_max\": 1, \"queue_max\": %u},"
    " \"buffers\": {\"bytes\": %u, \"retained_max\": %u}}, \"listeners\": {%s}}";

static const char main_text[] =
    "\"main\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"checking\","
    " \"config\": {\"number\": %u}, \"accept\": {\"when\": \"%s\", \"backlog\": 1000,"
    "  \"first_data_timeout_ms\": %u, \"pending_max\": %u, \"at_limit\": \"%s\","
    "  \"reuse_sockets\": %s, \"pool\": {\"initial\": %u, \"low\": 1, \"high\": %u}},"
    " \"limits\": {\"connections\": %u, \"refusing\": %u, \"message_bytes\": 4096,"
    "  \"active_io\": %u, \"timers\": %u, \"works\": %u, \"works_per_client\": %u, \"outbound\": "
    "%u,"
    "  \"send_queue_bytes\": %u, \"send_queue_pieces\": %u, \"send_queue_full\": \"%s\","
    "  \"linger_bytes\": %u, \"per_client\": %u},"
    " \"receive\": \"%s\", \"idle_timeout_ms\": %u, \"close_timeout_ms\": %u%s}%s";

static const char proxies_text[] =
    ", \"proxy_protocol\": {\"from\": [\"127.0.0.2\"], \"timeout_ms\": 5000}";

static const char other_text[] = ", \"other\": {\"address\": \"127.0.0.1:0\", \"plugin\": "
                                 "\"checking\", \"config\": {\"number\": %u}}";

static void main_by_chance(char *text, size_t size) {
    char other[256] = "";
    uint32_t connections = one_of(between(2, 8), 1000);
    uint32_t timers = between(1, 8);
    uint32_t works = one_of(between(1, 4), 100);
    if (sim_random(2) == 0) {
        snprintf(other, sizeof(other), other_text, (unsigned)sim_random(2));
    }
    uint32_t first_data_ms = between(1500, 20000);
    world.first_data_min_ms = world.first_data_min_ms > 0 && world.first_data_min_ms < first_data_ms
                                  ? world.first_data_min_ms
                                  : first_data_ms;
    world.connections_max =
        connections > world.connections_max ? connections : world.connections_max;
    world.timers_max = timers > world.timers_max ? timers : world.timers_max;
    world.works_max = works > world.works_max ? works : world.works_max;
    int length = snprintf(
        text, size, main_text, life.config, one_of(0, 1) ? "data" : "connect", first_data_ms,
        between(2, 200), one_of(0, 1) ? "refuse" : "backlog", one_of(0, 1) ? "true" : "false",
        between(1, 16), between(16, 64), connections, between(1, 10),
        sim_random(3) == 0 ? between(1, 4) : 1000, timers, works, between(1, 4), between(1, 20),
        one_of(4096, 65536), one_of(16, 4096), sim_random(4) == 0 ? "close" : "pause",
        world.linger_max, one_of(1000, between(1, 4)), one_of(0, 1) ? "buffered" : "zero-byte",
        between(500, 10000), one_of(between(200, 5000), 20000),
        world.has_proxies ? proxies_text : "", other);
    RULE(length > 0 && (size_t)length < size, "there is room for the manifest");
}

static struct edition *edition_by_chance(void) {
    char listeners[TEXT_BYTES / 2];
    char text[TEXT_BYTES];
    struct manifest_errors errors = {0};
    main_by_chance(listeners, sizeof(listeners));
    int size = snprintf(text, sizeof(text), host_text, life.workers, one_of(0, between(100, 5000)),
                        1000U, 1000U, 100U, world.buffer_bytes, 1024U, listeners);
    struct manifest *manifest = manifest_parse("/simulated.json", text, (size_t)size, &errors);
    RULE(manifest, "the manifest is right: %s in %s",
         errors.count > 0 ? errors.items[0].message : "memory", text);
    manifest_errors_fini(&errors);
    struct edition *edition = edition_create(manifest);
    RULE(edition, "there is memory without a fault");
    return edition;
}

/* -- changes --------------------------------------------------------------- */

static const char *first_problem(const struct change_problems *problems) {
    const struct manifest_errors *all[] = {&problems->manifest, &problems->plugins,
                                           &problems->failures};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        if (all[i]->count > 0) {
            return all[i]->items[0].message;
        }
    }
    return "no reason is given";
}

/* All of it or nothing. `may_fail`: something is broken on purpose. */
static void apply(struct edition *edition, bool restart, bool may_fail) {
    struct change_options options = {.restart_all = restart};
    struct change_counts counts;
    struct change_problems problems = {0};
    const struct edition *before = instance.edition;
    const struct unit *serving = instance.serving;
    const struct listener *listener = serving ? serving->listener : NULL;
    unsigned generations = life.generations;
    if (world.is_faulty && world.allocations > 0 && serving && sim_random(2) == 0) {
        alloc_fail_after((long)sim_random(ALLOCATIONS_AHEAD), sim_random(4) == 0);
        world.memory_failed = true;
    }
    life.changed_ms = engine_now_ms();
    bool done = change_apply(&instance, edition, &options, &counts, &problems);
    alloc_fail_after(-1, false);
    RULE(done || may_fail || world.is_faulty, "a change succeeds without a fault: %s",
         first_problem(&problems));
    if (done) {
        RULE(instance.edition == edition, "a change is all: the manifest is in force");
    } else {
        RULE(instance.edition == before && instance.serving == serving &&
                 (!serving || serving->listener == listener),
             "a change that fails changes nothing");
        RULE(life.generations == generations, "a change that fails leaves no generation");
        RULE(problems.manifest.lost || problems.plugins.lost || problems.failures.lost ||
                 strcmp(first_problem(&problems), "no reason is given") != 0,
             "a change that fails says why");
    }
    change_problems_fini(&problems);
}

static void reload(void) {
    life.config += (unsigned)sim_random(2);
    struct edition *edition = edition_by_chance();
    apply(edition, sim_random(8) == 0, life.load_fails || life.open_fails);
    edition_release(edition);
}

void host_change(void) {
    life.load_fails = sim_random(4) == 0;
    life.open_fails = sim_random(6) == 0;
    switch (sim_random(4)) {
    case 0:
        reload();
        break;
    case 1:
        apply(instance.edition, true, life.load_fails || life.open_fails);
        break;
    case 2:
        listener_pause(host_main_listener());
        break;
    default:
        host_resume();
        break;
    }
    life.load_fails = life.open_fails = false;
    struct berth_address after = listener_address(host_main_listener(), 0);
    RULE(memcmp(&world.address, &after, sizeof(after)) == 0, "a listener keeps its port");
}

void host_resume(void) {
    listener_resume(host_main_listener());
}

struct listener *host_main_listener(void) {
    return instance_unit(&instance, "main")->listener;
}

/* A generation's connections are cut when its time is over; works that run may outlive that. */
static void check_drains(void) {
    const struct unit *unit;
    DL_FOREACH(instance.retired, unit) {
        uint64_t end_ms = unit->retired_ms + unit->drain_ms;
        end_ms = (end_ms > life.changed_ms ? end_ms : life.changed_ms) + CUT_MS;
        RULE(unit->drain_ms == 0 || engine_now_ms() < end_ms ||
                 atomic_load(&unit->listener->references) <= atomic_load(&unit->listener->works),
             "generation_drain_timeout_ms is not exceeded: generation %u has %u references",
             unit->generation, atomic_load(&unit->listener->references));
    }
}

static bool is_used(const struct module *module) {
    const struct unit *lists[] = {instance.serving, instance.retired};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        for (const struct unit *unit = lists[i]; unit; unit = unit->next) {
            if (unit->module == module) {
                return true;
            }
        }
    }
    return false;
}

static void check_modules(void) {
    const struct module *module;
    DL_FOREACH(instance.modules, module) {
        RULE(is_used(module), "a plugin without listeners is unloaded: generation %u",
             module->generation);
    }
}

void host_look_after(void) {
    if (instance.retired) {
        instance_look_after(&instance);
        check_drains();
    }
    check_modules();
}

/* -- the beginning and the end --------------------------------------------- */

void host_start(const struct server_driver *driver) {
    struct error error = {0};
    memset(&life, 0, sizeof(life));
    memset(&instance, 0, sizeof(instance));
    life.driver = driver;
    life.workers = between(1, 3);
    world.has_proxies = sim_random(3) == 0;
    world.linger_max = one_of(1000, 1048576);
    world.buffer_bytes = one_of(4096, 16384);
    replaced_begin(driver, &checking_plugin);
    struct edition *edition = edition_by_chance();
    RULE(instance_init(&instance, edition->manifest, "/plugins", &error), "%s", error.message);
    apply(edition, false, false);
    edition_release(edition);
    world.address = listener_address(host_main_listener(), 0);
}

void host_stop(void (*check)(void)) {
    uint64_t until_us = sim_now_us() + STOP_US;
    const struct unit *unit;
    instance_stop(&instance);
    for (unit = instance.serving; unit; unit = unit->next) {
        listener_stop_accepting(unit->listener);
    }
    instance_cut(&instance);
    while (instance_connections(&instance) > 0) {
        RULE(sim_now_us() < until_us, "a stop comes to its end: %u connections and works are left",
             instance_connections(&instance));
        life.driver->step(life.driver->context, NULL);
    }
    check();
    instance_destroy(&instance);
    RULE(life.generations == 0, "every generation is unloaded: %u are not", life.generations);
}
