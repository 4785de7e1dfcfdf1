#include "host_in_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "berth/file.h"
#include "control/change.h"
#include "control/instance.h"
#include "module/module.h"
#include "net/listener.h"
#include "net/plugin_account.h"
#include "net/server.h"
#include "net/work_pool.h"
#include "replaced.h"
#include "rule.h"
#include "world.h"

enum { STOP_US = 300000000, ALLOCATIONS_AHEAD = 200, CUT_MS = 15000 };

static struct instance instance;
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

/* What serves can be connected to. */
static void check_serving(void) {
    const struct unit *unit;
    DL_FOREACH(instance.serving, unit) {
        const struct listener *listener = unit->listener;
        for (size_t i = 0; !listener->options.datagrams && i < listener->door_count; i++) {
            struct berth_address address = listener_address(listener, i);
            RULE(sim_listens(&address), "what serves can be connected to: listener \"%s\"",
                 unit->from->name);
        }
    }
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
    check_serving();
}

static void reload(void) {
    life.config += (unsigned)sim_random(2);
    struct edition *edition = edition_by_chance(life.config, life.workers);
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
    const struct unit *unit = instance_unit(&instance, "main");
    return unit ? unit->listener : NULL;
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

struct listener *host_datagram_listener(void) {
    const struct unit *unit = instance_unit(&instance, "datagrams");
    return unit ? unit->listener : NULL;
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
    life.workers = 1 + (unsigned)sim_random(WORKERS_MAX);
    manifest_settings_by_chance();
    replaced_begin(driver, &checking_plugin);
    struct edition *edition = edition_by_chance(life.config, life.workers);
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
    while (life.open) {
        struct open_listener *open = life.open;
        LL_DELETE(life.open, open);
        free(open);
    }
}
