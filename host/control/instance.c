#include "control/instance.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "control/unit_table.h"
#include "engine/engine.h"
#include "module/module.h"
#include "module/services.h"
#include "net/describe.h"
#include "net/listener.h"
#include "net/plugin_account.h"
#include "net/server.h"

/* -- editions ------------------------------------------------------------------------------------
 */

struct edition *edition_create(struct manifest *manifest) {
    struct edition *edition = alloc_zeroed(sizeof(*edition));
    if (!edition) {
        manifest_destroy(manifest);
        return NULL;
    }
    edition->manifest = manifest;
    edition->users = 1;
    return edition;
}

void edition_release(struct edition *edition) {
    if (edition && --edition->users == 0) {
        manifest_destroy(edition->manifest);
        alloc_free(edition);
    }
}

/* -- what there is -------------------------------------------------------------------------------
 */

bool instance_init(struct instance *instance, const struct manifest *manifest,
                   const char *plugins_folder, struct error *error) {
    int length =
        snprintf(instance->plugins_folder, sizeof(instance->plugins_folder), "%s", plugins_folder);
    if (length < 0 || (size_t)length >= sizeof(instance->plugins_folder) ||
        !os_path_folder(instance->config_folder, sizeof(instance->config_folder), manifest->path)) {
        return error_set(error, "the path of the manifest or of the plugins is too long");
    }
    snprintf(instance->name, sizeof(instance->name), "%s", manifest->host.name);
    instance->services = services_table(instance->name, BERTH_VERSION);
    instance->started_ms = engine_now_ms();
    return true;
}

static bool serves(const struct instance *instance, const struct module *module) {
    const struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        if (unit->module == module) {
            return true;
        }
    }
    return false;
}

struct module *instance_module(const struct instance *instance, const char *id) {
    struct module *found = NULL;
    struct module *one;
    DL_FOREACH(instance->modules, one) {
        if (strcmp(one->id, id) == 0 && (!found || one->generation > found->generation)) {
            found = one;
        }
    }
    return found && (serves(instance, found) || module_is_current(found)) ? found : NULL;
}

struct unit *instance_unit(const struct instance *instance, const char *name) {
    struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        if (strcmp(unit->from->name, name) == 0) {
            return unit;
        }
    }
    return NULL;
}

/* -- the end of a generation ---------------------------------------------------------------------
 */

enum {
    FLUSHES_MAX = 1000,
    ANSWER_MS = 100, /* a worker that takes longer is kept by a callback */
    AGAIN_MS = 500,
};

/* A plugin may post until `unload` returns, and what it has posted runs before its code is
 * unmapped. False: it posts again and again. */
static bool deliver_posts(const struct instance *instance, struct module *module) {
    for (int i = 0; atomic_load(&module->account->posts) > 0; i++) {
        if (i == FLUSHES_MAX) {
            return false;
        }
        server_flush(instance->server);
    }
    return true;
}

/* Its library stays as long as the process, with its state: who is in its code may need them. */
static void set_module_aside(struct instance *instance, struct module *module) {
    DL_DELETE(instance->modules, module);
    DL_APPEND(instance->abandoned, module);
    log_error(&module->subject,
              "generation %u stays mapped until the host ends: code of it has not returned",
              module->generation);
}

void instance_drop_module(struct instance *instance, struct module *module) {
    struct log_subject subject = module->subject;
    char id[MODULE_ID_MAX + 1];
    unsigned generation = module->generation;
    bool was_loaded = module->loaded;
    bool served = generation <= instance->generation; /* else its change has failed */
    snprintf(id, sizeof(id), "%s", module->id);
    subject.plugin = id;
    if (module->abandoned) {
        set_module_aside(instance, module);
        return;
    }
    DL_DELETE(instance->modules, module);
    module_unload(module);
    if (instance->server && !deliver_posts(instance, module)) {
        log_error(&subject, "generation %u stays mapped: what it posts never ends", generation);
        return; /* leaked on purpose: its code is still run */
    }
    bool gone = module_close(module);
    if (was_loaded && instance->edition) {
        log_info(&subject, "generation %u %s%s", generation,
                 served ? "is " : "was not taken into service; it is ",
                 gone ? "gone" : "closed, but its library stays mapped");
    }
}

void instance_destroy_unit(struct instance *instance, struct unit *unit) {
    struct module *module = unit->module;
    listener_destroy(unit->listener);
    edition_release(unit->edition);
    alloc_free(unit);
    if (module && --module->users == 0) {
        instance_drop_module(instance, module);
    }
}

static void log_retired(const struct unit *unit) {
    uint32_t open = atomic_load(&unit->listener->references);
    char limit[64] = "without a limit";
    if (unit->drain_ms > 0) {
        snprintf(limit, sizeof(limit), "for up to %u ms", (unsigned)unit->drain_ms);
    }
    if (open > 0) {
        log_info(&unit->listener->subject,
                 "generation %u drains: %u open connections may finish, %s "
                 "(generation_drain_timeout_ms)",
                 unit->generation, (unsigned)open, limit);
    }
}

uint32_t instance_drain_limit(const struct instance *instance,
                              const struct manifest_listener *now) {
    uint32_t own = now->generation_drain_timeout_ms;
    return own != MANIFEST_AS_HOST ? own
                                   : instance->edition->manifest->host.generation_drain_timeout_ms;
}

void instance_retire(struct instance *instance, struct unit *unit,
                     const struct manifest_listener *now, uint32_t why) {
    DL_DELETE(instance->serving, unit);
    DL_APPEND(instance->retired, unit);
    unit->retired_ms = engine_now_ms();
    unit->retired_why = why;
    unit->drain_ms = instance_drain_limit(instance, now ? now : unit->from);
    listener_drain(unit->listener, why);
    log_retired(unit);
}

void instance_update_drains(struct instance *instance) {
    struct unit_table table = {0};
    struct unit *unit;
    bool whole = instance->retired && unit_table_init(&table, instance);
    DL_FOREACH(instance->retired, unit) {
        const char *name = unit->from->name;
        const struct unit *serving =
            whole ? unit_table_find(&table, name)->serving : instance_unit(instance, name);
        unit->drain_ms = instance_drain_limit(instance, (serving ? serving : unit)->from);
    }
    unit_table_fini(&table);
}

void instance_stop(struct instance *instance) {
    const struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        listener_drain(unit->listener, BERTH_DRAINING_HOST_STOPS);
    }
    DL_FOREACH(instance->retired, unit) {
        listener_drain(unit->listener, BERTH_DRAINING_HOST_STOPS);
    }
}

/* The time of a generation is over. What the plugin does not give back is told when it is gone. */
static void cut_unit(struct unit *unit) {
    struct listener *listener = unit->listener;
    unsigned works = atomic_load(&listener->works);
    unit->cut = true;
    listener_log_left(listener);
    uint32_t count = listener_cut(listener);
    log_warn(&listener->subject,
             "%u connections of generation %u were closed at the drain deadline", (unsigned)count,
             unit->generation);
    if (works > 0) {
        log_warn(&listener->subject, "generation %u still has %u works of its plugin to end",
                 unit->generation, works);
    }
}

/* How long until its time is over; -1: without a limit, or it is over. */
static int64_t drain_left_ms(const struct unit *unit, uint64_t now_ms) {
    uint64_t deadline_ms = unit->retired_ms + unit->drain_ms;
    if (unit->cut || unit->drain_ms == 0) {
        return -1;
    }
    return deadline_ms > now_ms ? (int64_t)(deadline_ms - now_ms) : 0;
}

/* Whether there is anything to do for those that are retired. */
static bool has_work(const struct instance *instance, uint64_t now_ms) {
    const struct unit *unit;
    DL_FOREACH(instance->retired, unit) {
        if (atomic_load(&unit->listener->references) == 0 || drain_left_ms(unit, now_ms) == 0) {
            return true;
        }
    }
    return false;
}

int instance_look_after(struct instance *instance) {
    uint64_t now_ms = engine_now_ms();
    int64_t next_ms = -1;
    /* All of it waits for each worker: one in a callback that stalls is left alone until it is
     * back. */
    if (has_work(instance, now_ms) && !server_answers(instance->server, ANSWER_MS)) {
        return AGAIN_MS;
    }
    struct unit *unit;
    struct unit *next;
    DL_FOREACH_SAFE(instance->retired, unit, next) {
        if (atomic_load(&unit->listener->references) == 0) {
            DL_DELETE(instance->retired, unit);
            instance_destroy_unit(instance, unit);
            continue;
        }
        int64_t left_ms = drain_left_ms(unit, now_ms);
        if (left_ms == 0) {
            cut_unit(unit);
        } else if (left_ms > 0 && (next_ms < 0 || left_ms < next_ms)) {
            next_ms = left_ms;
        }
    }
    return (int)next_ms;
}

uint32_t instance_connections(const struct instance *instance) {
    uint32_t count = 0;
    struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        count += atomic_load(&unit->listener->references);
    }
    DL_FOREACH(instance->retired, unit) {
        count += atomic_load(&unit->listener->references);
    }
    return count;
}

void instance_describe_left(const struct instance *instance) {
    const struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        listener_log_left(unit->listener);
    }
    DL_FOREACH(instance->retired, unit) {
        listener_log_left(unit->listener);
    }
}

uint32_t instance_cut(struct instance *instance) {
    uint32_t count = 0;
    struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        count += listener_cut(unit->listener);
    }
    DL_FOREACH(instance->retired, unit) {
        count += unit->cut ? 0 : listener_cut(unit->listener);
    }
    return count;
}

static void destroy_units(struct instance *instance, struct unit **list) {
    struct unit *unit;
    struct unit *next;
    DL_FOREACH_SAFE(*list, unit, next) {
        DL_DELETE(*list, unit);
        instance_destroy_unit(instance, unit);
    }
}

void instance_destroy(struct instance *instance) {
    edition_release(instance->edition);
    instance->edition = NULL; /* from now on nothing is said of what goes */
    destroy_units(instance, &instance->serving);
    destroy_units(instance, &instance->retired);
    while (instance->modules) {
        instance_drop_module(instance, instance->modules);
    }
    if (instance->abandoned) {
        return; /* a thread in the code of those may still come back to it */
    }
    server_destroy(instance->server);
    *instance = (struct instance){0};
}
