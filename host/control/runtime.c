#include "control/runtime.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "control/listener_generation_table.h"
#include "engine/engine.h"
#include "net/lib/describe.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/module.h"
#include "plugin/plugin_stats.h"
#include "plugin/services.h"

/* -- config snapshots ------------------------------------------------------ */

struct config_snapshot *config_snapshot_create(struct manifest *manifest) {
    struct config_snapshot *config_snapshot = alloc_zeroed(sizeof(*config_snapshot));
    if (!config_snapshot) {
        manifest_destroy(manifest);
        return NULL;
    }
    config_snapshot->manifest = manifest;
    config_snapshot->users = 1;
    return config_snapshot;
}

void config_snapshot_release(struct config_snapshot *config_snapshot) {
    if (config_snapshot && --config_snapshot->users == 0) {
        manifest_destroy(config_snapshot->manifest);
        alloc_free(config_snapshot);
    }
}

/* -- lookup ---------------------------------------------------------------- */

bool runtime_init(struct runtime *runtime, const struct manifest *manifest,
                  const char *plugins_folder, struct error *error) {
    int length =
        snprintf(runtime->plugins_folder, sizeof(runtime->plugins_folder), "%s", plugins_folder);
    if (length < 0 || (size_t)length >= sizeof(runtime->plugins_folder) ||
        !os_path_folder(runtime->config_folder, sizeof(runtime->config_folder), manifest->path)) {
        return error_set(error, "the path of the manifest or of the plugins is too long");
    }
    snprintf(runtime->name, sizeof(runtime->name), "%s", manifest->host.name);
    runtime->services = services_table(runtime->name, BERTH_VERSION);
    runtime->started_ms = engine_now_ms();
    return true;
}

static bool runtime_serves(const struct runtime *runtime, const struct module *module) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        if (generation->module == module) {
            return true;
        }
    }
    return false;
}

struct module *runtime_module(const struct runtime *runtime, const char *id) {
    struct module *found = NULL;
    struct module *one;
    DL_FOREACH(runtime->modules, one) {
        if (strcmp(one->id, id) == 0 && (!found || one->generation > found->generation)) {
            found = one;
        }
    }
    return found && (runtime_serves(runtime, found) || module_is_current(found)) ? found : NULL;
}

struct listener_generation *runtime_generation(const struct runtime *runtime, const char *name) {
    struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        if (strcmp(generation->from->name, name) == 0) {
            return generation;
        }
    }
    return NULL;
}

/* -- the end of a generation ----------------------------------------------- */

enum {
    FLUSHES_MAX = 1000,
    ANSWER_MS = 100, /* a worker that takes longer is blocked by a callback */
    AGAIN_MS = 500,
};

/* A plugin may post until `unload` returns, and its posts run before its code is unmapped.
 * False: it posts again and again. */
static bool deliver_posts(const struct runtime *runtime, struct module *module) {
    for (int i = 0; atomic_load(&module->stats->posts) > 0; i++) {
        if (i == FLUSHES_MAX) {
            return false;
        }
        server_flush(runtime->server);
    }
    return true;
}

/* Its library stays mapped until the process ends, with its state: a thread that is in its code
 * may need them. */
static void set_module_aside(struct runtime *runtime, struct module *module) {
    DL_DELETE(runtime->modules, module);
    DL_APPEND(runtime->abandoned, module);
    log_error(&module->subject,
              "generation %u stays mapped until the host ends: code of it has not returned",
              module->generation);
}

void runtime_drop_module(struct runtime *runtime, struct module *module) {
    struct log_subject subject = module->subject;
    char id[MODULE_ID_MAX + 1];
    unsigned generation = module->generation;
    bool was_loaded = module->loaded;
    bool served = generation <= runtime->generation; /* else its reconcile has failed */
    snprintf(id, sizeof(id), "%s", module->id);
    subject.plugin = id;
    if (module->abandoned) {
        set_module_aside(runtime, module);
        return;
    }
    DL_DELETE(runtime->modules, module);
    module_unload(module);
    if (runtime->server && !deliver_posts(runtime, module)) {
        log_error(&subject, "generation %u stays mapped: what it posts never ends", generation);
        return; /* leaked on purpose: its code still runs */
    }
    bool gone = module_close(module);
    if (was_loaded && runtime->config_snapshot) {
        log_info(&subject, "generation %u %s%s", generation,
                 served ? "is " : "was not taken into service; it is ",
                 gone ? "gone" : "closed, but its library stays mapped");
    }
}

void runtime_destroy_generation(struct runtime *runtime, struct listener_generation *generation) {
    struct module *module = generation->module;
    listener_destroy(generation->listener);
    config_snapshot_release(generation->config_snapshot);
    alloc_free(generation);
    if (module && --module->users == 0) {
        runtime_drop_module(runtime, module);
    }
}

static void log_retired(const struct listener_generation *generation) {
    uint32_t open = atomic_load(&generation->listener->references);
    char limit[64] = "without a limit";
    if (generation->drain_ms > 0) {
        snprintf(limit, sizeof(limit), "for up to %u ms", (unsigned)generation->drain_ms);
    }
    if (open > 0) {
        log_info(&generation->listener->subject,
                 "generation %u drains: %u open connections may finish, %s "
                 "(generation_drain_timeout_ms)",
                 generation->number, (unsigned)open, limit);
    }
}

uint32_t instance_drain_limit(const struct runtime *runtime, const struct manifest_listener *now) {
    uint32_t own = now->generation_drain_timeout_ms;
    return own != MANIFEST_AS_HOST
               ? own
               : runtime->config_snapshot->manifest->host.generation_drain_timeout_ms;
}

void runtime_retire(struct runtime *runtime, struct listener_generation *generation,
                    const struct manifest_listener *now, uint32_t why) {
    DL_DELETE(runtime->serving, generation);
    DL_APPEND(runtime->retired, generation);
    generation->retired_ms = engine_now_ms();
    generation->retired_why = why;
    generation->drain_ms = instance_drain_limit(runtime, now ? now : generation->from);
    listener_drain(generation->listener, why);
    log_retired(generation);
}

void runtime_update_drains(struct runtime *runtime) {
    struct listener_generation_table table = {0};
    struct listener_generation *generation;
    bool whole = runtime->retired && listener_generation_table_init(&table, runtime);
    DL_FOREACH(runtime->retired, generation) {
        const char *name = generation->from->name;
        const struct listener_generation *serving =
            whole ? listener_generation_table_find(&table, name)->serving
                  : runtime_generation(runtime, name);
        generation->drain_ms =
            instance_drain_limit(runtime, (serving ? serving : generation)->from);
    }
    listener_generation_table_fini(&table);
}

void runtime_stop(struct runtime *runtime) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        listener_drain(generation->listener, BERTH_DRAINING_HOST_STOPS);
    }
    DL_FOREACH(runtime->retired, generation) {
        listener_drain(generation->listener, BERTH_DRAINING_HOST_STOPS);
    }
}

/* The drain time of a generation is over. What the plugin has not released is logged when the
 * generation is gone. */
static void runtime_abort_generation(struct listener_generation *generation) {
    struct listener *listener = generation->listener;
    unsigned works = atomic_load(&listener->works);
    generation->cut = true;
    listener_log_left(listener);
    uint32_t count = listener_abort_all(listener);
    log_warn(&listener->subject,
             "%u connections of generation %u were closed at the drain deadline", (unsigned)count,
             generation->number);
    if (works > 0) {
        log_warn(&listener->subject, "generation %u still has %u works of its plugin to end",
                 generation->number, works);
    }
}

/* How long until its drain time is over; -1: it has no limit, or was aborted already. */
static int64_t drain_left_ms(const struct listener_generation *generation, uint64_t now_ms) {
    uint64_t deadline_ms = generation->retired_ms + generation->drain_ms;
    if (generation->cut || generation->drain_ms == 0) {
        return -1;
    }
    return deadline_ms > now_ms ? (int64_t)(deadline_ms - now_ms) : 0;
}

/* Whether there is anything to do for the retired generations. */
static bool has_work(const struct runtime *runtime, uint64_t now_ms) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime->retired, generation) {
        if (atomic_load(&generation->listener->references) == 0 ||
            drain_left_ms(generation, now_ms) == 0) {
            return true;
        }
    }
    return false;
}

int runtime_look_after(struct runtime *runtime) {
    uint64_t now_ms = engine_now_ms();
    int64_t next_ms = -1;
    /* The steps below wait for each worker: nothing is done while one is in a callback that
     * stalls. */
    if (has_work(runtime, now_ms) && !server_answers(runtime->server, ANSWER_MS)) {
        return AGAIN_MS;
    }
    struct listener_generation *generation;
    struct listener_generation *next;
    DL_FOREACH_SAFE(runtime->retired, generation, next) {
        if (atomic_load(&generation->listener->references) == 0) {
            DL_DELETE(runtime->retired, generation);
            runtime_destroy_generation(runtime, generation);
            continue;
        }
        int64_t left_ms = drain_left_ms(generation, now_ms);
        if (left_ms == 0) {
            runtime_abort_generation(generation);
        } else if (left_ms > 0 && (next_ms < 0 || left_ms < next_ms)) {
            next_ms = left_ms;
        }
    }
    return (int)next_ms;
}

uint32_t runtime_connections(const struct runtime *runtime) {
    uint32_t count = 0;
    struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        count += atomic_load(&generation->listener->references);
    }
    DL_FOREACH(runtime->retired, generation) {
        count += atomic_load(&generation->listener->references);
    }
    return count;
}

void runtime_describe_left(const struct runtime *runtime) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        listener_log_left(generation->listener);
    }
    DL_FOREACH(runtime->retired, generation) {
        listener_log_left(generation->listener);
    }
}

uint32_t runtime_abort_all(struct runtime *runtime) {
    uint32_t count = 0;
    struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        count += listener_abort_all(generation->listener);
    }
    DL_FOREACH(runtime->retired, generation) {
        count += generation->cut ? 0 : listener_abort_all(generation->listener);
    }
    return count;
}

static void runtime_destroy_generations(struct runtime *runtime,
                                        struct listener_generation **list) {
    struct listener_generation *generation;
    struct listener_generation *next;
    DL_FOREACH_SAFE(*list, generation, next) {
        DL_DELETE(*list, generation);
        runtime_destroy_generation(runtime, generation);
    }
}

void runtime_destroy(struct runtime *runtime) {
    config_snapshot_release(runtime->config_snapshot);
    runtime->config_snapshot = NULL; /* from now on nothing is logged about what is destroyed */
    runtime_destroy_generations(runtime, &runtime->serving);
    runtime_destroy_generations(runtime, &runtime->retired);
    while (runtime->modules) {
        runtime_drop_module(runtime, runtime->modules);
    }
    if (runtime->abandoned) {
        return; /* a thread in the code of those modules may still return to the server */
    }
    server_destroy(runtime->server);
    runtime->server = NULL; /* the watchdog may still read what the control thread waits for */
}
