#include "host_in_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "berth/file.h"
#include "control/reconcile.h"
#include "control/runtime.h"
#include "net/lib/work_pool.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/module.h"
#include "plugin/plugin_stats.h"
#include "replaced.h"
#include "rule.h"
#include "world.h"

enum { STOP_US = 300000000, ALLOCATIONS_AHEAD = 200, CUT_MS = 15000 };

static struct runtime runtime;
static struct {
    const struct server_driver *driver;
    bool load_fails; /* of the next generation; or its listener_open */
    bool open_fails;
    unsigned generations; /* that are loaded and not unloaded */
    unsigned config;      /* of the listener; another number is another generation */
    unsigned workers;
    unsigned files;             /* that generations have open */
    struct open_listener *open; /* all that there ever were */
    uint64_t changed_ms;        /* when time limits may have changed last */
} life;

/* -- the plugin's part ----------------------------------------------------- */

static const struct berth_file_host *files(const struct generation *generation) {
    return generation->host->query(generation->host, BERTH_FILE_ID);
}

static void open_file(struct generation *generation) {
    int32_t status =
        files(generation)->open(generation->host, given_file_path, &generation->file, NULL);
    RULE((status == BERTH_OK) == (generation->file != NULL), "a file is there if it is OK");
    RULE(generation->file ? life.files < world.files_max
                          : life.files >= world.files_max || world.is_faulty || !world.is_counted,
         "host.limits.files is exact: %u of %u are open", life.files, world.files_max);
    life.files += generation->file != NULL;
}

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
    open_file(generation);
    *state = generation;
    life.generations++;
    return BERTH_OK;
}

void BERTH_CALL host_on_unload(void *state) {
    struct generation *generation = state;
    callback_begin("unload");
    RULE(generation->listeners == 0, "unload comes after listener_close: %u are open",
         generation->listeners);
    files(generation)->release(generation->file);
    life.files -= generation->file != NULL;
    const struct module *module = CONTAINER_OF(generation->host, const struct module, host);
    struct plugin_held held = plugin_stats_held(module->stats);
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
    open->public = listener;
    open->generation = listener->plugin_state;
    open->generation->listeners++;
    LL_PREPEND(life.open, open);
    listener_timers_create(listener, open);
    *state = open;
    return BERTH_OK;
}

void BERTH_CALL host_on_listener_close(const struct berth_listener *listener) {
    struct open_listener *open = listener->state;
    callback_begin("listener_close");
    RULE(open->accepted == 0 && open->outbound == 0,
         "listener_close comes after closed: %u are open", open->accepted + open->outbound);
    RULE(open->answers == 0, "listener_close comes after every answer: %u are left", open->answers);
    open->generation->listeners--;
    open->public = NULL;
    callback_end();
}

/* -- changes --------------------------------------------------------------- */

static const char *first_problem(const struct reconcile_problems *problems) {
    const struct manifest_errors *all[] = {&problems->manifest, &problems->plugins,
                                           &problems->failures};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        if (all[i]->count > 0) {
            return all[i]->items[0].message;
        }
    }
    return "no reason is given";
}

/* What serves can be connected to. */
static void check_serving(void) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime.serving, generation) {
        const struct listener *listener = generation->listener;
        for (size_t i = 0; !listener->options.datagrams && i < listener->listen_socket_count; i++) {
            struct berth_address address = listener_address(listener, i);
            RULE(sim_listens(&address), "what serves can be connected to: listener \"%s\"",
                 generation->from->name);
        }
    }
}

/* All of it or nothing. `may_fail`: something is broken on purpose. */
static void apply(struct config_snapshot *config_snapshot, bool restart, bool may_fail) {
    struct reconcile_options options = {.restart_all = restart};
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    const struct config_snapshot *before = runtime.config_snapshot;
    const struct listener_generation *serving = runtime.serving;
    const struct listener *listener = serving ? serving->listener : NULL;
    unsigned generations = life.generations;
    if (world.is_faulty && world.allocations > 0 && serving && sim_random(2) == 0) {
        alloc_fail_after((long)sim_random(ALLOCATIONS_AHEAD), sim_random(4) == 0);
        world.memory_failed = true;
    }
    life.changed_ms = engine_now_ms();
    bool done = reconcile_apply(&runtime, config_snapshot, &options, &counts, &problems);
    alloc_fail_after(-1, false);
    RULE(done || may_fail || world.is_faulty, "a change succeeds without a fault: %s",
         first_problem(&problems));
    if (done) {
        RULE(runtime.config_snapshot == config_snapshot,
             "a change is all: the manifest is in force");
    } else {
        RULE(runtime.config_snapshot == before && runtime.serving == serving &&
                 (!serving || serving->listener == listener),
             "a change that fails changes nothing");
        RULE(life.generations == generations, "a change that fails leaves no generation");
        RULE(problems.manifest.lost || problems.plugins.lost || problems.failures.lost ||
                 strcmp(first_problem(&problems), "no reason is given") != 0,
             "a change that fails says why");
    }
    reconcile_problems_fini(&problems);
    check_serving();
}

static void reload(void) {
    life.config += (unsigned)sim_random(2);
    struct config_snapshot *config_snapshot = config_snapshot_by_chance(life.config, life.workers);
    apply(config_snapshot, sim_random(8) == 0, life.load_fails || life.open_fails);
    config_snapshot_release(config_snapshot);
}

void host_change(void) {
    life.load_fails = sim_random(4) == 0;
    life.open_fails = sim_random(6) == 0;
    switch (sim_random(4)) {
    case 0:
        reload();
        break;
    case 1:
        apply(runtime.config_snapshot, true, life.load_fails || life.open_fails);
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
    const struct listener_generation *generation = runtime_generation(&runtime, "main");
    return generation ? generation->listener : NULL;
}

/* A generation's connections are cut when its time is over; works that run may outlive that. */
static void check_drains(void) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime.retired, generation) {
        uint64_t end_ms = generation->retired_ms + generation->drain_ms;
        end_ms = (end_ms > life.changed_ms ? end_ms : life.changed_ms) + CUT_MS;
        RULE(generation->drain_ms == 0 || engine_now_ms() < end_ms ||
                 atomic_load(&generation->listener->references) <=
                     atomic_load(&generation->listener->works),
             "generation_drain_timeout_ms is not exceeded: generation %u has %u references",
             generation->number, atomic_load(&generation->listener->references));
    }
}

static bool is_used(const struct module *module) {
    const struct listener_generation *lists[] = {runtime.serving, runtime.retired};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        for (const struct listener_generation *generation = lists[i]; generation;
             generation = generation->next) {
            if (generation->module == module) {
                return true;
            }
        }
    }
    return false;
}

static void check_modules(void) {
    const struct module *module;
    DL_FOREACH(runtime.modules, module) {
        RULE(is_used(module), "a plugin without listeners is unloaded: generation %u",
             module->generation);
    }
}

struct listener *host_datagram_listener(void) {
    const struct listener_generation *generation = runtime_generation(&runtime, "datagrams");
    return generation ? generation->listener : NULL;
}

struct open_listener *host_open_listeners(void) {
    return life.open;
}

bool host_is_open(const struct berth_listener *listener) {
    const struct open_listener *open;
    LL_FOREACH(life.open, open) {
        if (open->public == listener) {
            return true;
        }
    }
    return false;
}

uint32_t host_works_waiting(void) {
    const struct open_listener *open;
    uint32_t waiting = 0;
    LL_FOREACH(life.open, open) {
        const struct listener *listener = (const struct listener *)open->public;
        waiting += listener ? work_lane_waiting(world.server->work, &listener->work_lane) : 0;
    }
    return waiting;
}

void host_look_after(void) {
    if (runtime.retired) {
        runtime_look_after(&runtime);
        check_drains();
    }
    check_modules();
}

/* -- the beginning and the end --------------------------------------------- */

void host_start(const struct server_driver *driver) {
    struct error error = {0};
    memset(&life, 0, sizeof(life));
    memset(&runtime, 0, sizeof(runtime));
    life.driver = driver;
    life.workers = 1 + (unsigned)sim_random(WORKERS_MAX);
    manifest_settings_by_chance();
    replaced_begin(driver, &checking_plugin);
    struct config_snapshot *config_snapshot = config_snapshot_by_chance(life.config, life.workers);
    RULE(runtime_init(&runtime, config_snapshot->manifest, "/plugins", &error), "%s",
         error.message);
    apply(config_snapshot, false, false);
    config_snapshot_release(config_snapshot);
    world.address = listener_address(host_main_listener(), 0);
}

void host_stop(void (*check)(void)) {
    uint64_t until_us = sim_now_us() + STOP_US;
    const struct listener_generation *generation;
    runtime_stop(&runtime);
    for (generation = runtime.serving; generation; generation = generation->next) {
        listener_stop_accepting(generation->listener);
    }
    runtime_abort_all(&runtime);
    while (runtime_connections(&runtime) > 0) {
        RULE(sim_now_us() < until_us, "a stop comes to its end: %u connections and works are left",
             runtime_connections(&runtime));
        life.driver->step(life.driver->context, NULL);
    }
    check();
    runtime_destroy(&runtime);
    RULE(life.generations == 0, "every generation is unloaded: %u are not", life.generations);
    while (life.open) {
        struct open_listener *open = life.open;
        LL_DELETE(life.open, open);
        free(open);
    }
}
