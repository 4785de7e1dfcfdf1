#include "control/reconcile.h"

#include <stdio.h>
#include <string.h>

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(wanted) ((wanted)->is_lost = true)
#include <uthash.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "control/config_check.h"
#include "control/control.h"
#include "control/exclusive.h"
#include "control/guard.h"
#include "control/host_changes.h"
#include "control/listener_generation_table.h"
#include "control/missing.h"
#include "control/names.h"
#include "control/options.h"
#include "control/plugin_open.h"
#include "control/runtime.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "manifest/schema.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "os/os.h"
#include "plugin/callback_guard.h"
#include "plugin/module.h"
#include "plugin/timed_call.h"

enum { WORKERS_ANSWER_MS = 5000 };

enum plan_item_kind { PLAN_UNCHANGED, PLAN_CONFIGURE, PLAN_REPLACE, PLAN_ADD };

/* What the reconcile does with one listener of the new config snapshot. */
struct plan_item {
    enum plan_item_kind kind;
    const struct manifest_listener *to;
    struct listener_generation *old;  /* NULL: PLAN_ADD */
    bool fresh;                       /* its plugin is reloaded */
    bool is_exclusive;                /* the old generation closes before the new one opens */
    struct module *module;            /* of the new generation */
    struct listener_generation *made; /* the new generation */
    struct listener_change *prepared; /* PLAN_CONFIGURE */
};

/* A plugin that the listeners need; opened once, however many listeners use it. */
struct wanted {
    UT_hash_handle hh;
    struct module *opened;  /* opened by this reconcile */
    struct module *serving; /* the runtime's module, if it can be used and is not to be reloaded */
    struct schema *schema;  /* of either module; NULL: it has none */
    bool has_schema_read;   /* `schema` was read, or failed to be */
    bool is_looked_up;      /* `serving` was looked up */
    bool failed;            /* the plugin cannot be opened */
    bool is_missing;        /* there is no such file */
    bool is_lost;           /* uthash had no memory for it */
    char *message;
    char id[];
};

struct reconcile {
    struct runtime *runtime;
    struct config_snapshot *config_snapshot;
    const struct reconcile_options *options;
    struct reconcile_problems *problems;
    unsigned generation; /* of everything that it adds */
    struct plan_item *items;
    size_t count;
    struct listener_generation_table generations; /* all there are; `note`: the plan item */
    struct listener_neighbours neighbours; /* the listen sockets of all listeners that serve */
    struct module *opened; /* utlist: modules of this reconcile, not the runtime's yet */
    struct wanted *wanted; /* uthash by id: the plugins that its plan items need */
    struct missing missing;
    struct timed_call_limit call_limit;   /* of `load` and `listener_open` */
    const struct timed_call_limit *limit; /* &call_limit, or NULL: nothing serves yet */
};

void reconcile_problems_fini(struct reconcile_problems *problems) {
    manifest_errors_fini(&problems->manifest);
    manifest_errors_fini(&problems->plugins);
    manifest_errors_fini(&problems->failures);
}

/* Adds a failure that has no position in the manifest. */
static bool reconcile_fail(struct reconcile *reconcile, const char *text) {
    manifest_errors_add(&reconcile->problems->failures, text);
    return false;
}

/* -- the plan -------------------------------------------------------------- */

static bool reconcile_is_named(const struct reconcile_options *options, const char *listener,
                               const char *plugin) {
    for (size_t i = 0; i < options->restart_count; i++) {
        if (names_mean(options->restart[i], listener, plugin)) {
            return true;
        }
    }
    return options->restart_all;
}

static void reconcile_plan_listener(const struct reconcile *reconcile, struct plan_item *item) {
    const struct manifest_listener *to = item->to;
    struct listener_generations *names =
        listener_generation_table_find(&reconcile->generations, to->name);
    if (!names || !names->serving) {
        item->kind = PLAN_ADD;
        return;
    }
    item->old = names->serving;
    names->note = item;
    const struct manifest_listener *from = item->old->from;
    item->fresh = reconcile_is_named(reconcile->options, to->name, to->plugin);
    bool same_plugin =
        strcmp(from->plugin, to->plugin) == 0 && strcmp(from->config_json, to->config_json) == 0 &&
        from->limits.message_bytes == to->limits.message_bytes && /* which a plugin may rely on */
        from->transport == to->transport && from->transport == MANIFEST_TRANSPORT_TCP;
    if (item->fresh) {
        item->kind = PLAN_REPLACE;
    } else if (strcmp(from->json, to->json) == 0) {
        item->kind = PLAN_UNCHANGED;
    } else {
        item->kind = same_plugin ? PLAN_CONFIGURE : PLAN_REPLACE;
    }
}

static bool reconcile_check_names(struct reconcile *reconcile) {
    bool known = true;
    for (size_t i = 0; i < reconcile->options->restart_count; i++) {
        char text[512];
        if (!names_check(reconcile->config_snapshot->manifest, reconcile->runtime->supervised,
                         reconcile->options->restart[i], text, sizeof(text))) {
            known = reconcile_fail(reconcile, text);
        }
    }
    return known;
}

/* Reports why there is no room; the oldest generation may drain for ever, so the text says what
 * the operator can do. */
static bool refuse_generation(struct reconcile *reconcile, const struct manifest_listener *to,
                              const struct listener_generation *oldest, unsigned count) {
    uint64_t now_ms = engine_now_ms();
    char text[512];
    snprintf(text, sizeof(text),
             "listener \"%.63s\": %u generations of it still have connections, and there may be "
             "%u in all (host.generations_max); generation %u has drained for %llu s and has %u "
             "connections: try again when it is gone, or set \"generation_drain_timeout_ms\" "
             "(or a higher host.generations_max) in the manifest and \"berth reload\"",
             to->name, count, (unsigned)reconcile->config_snapshot->manifest->host.generations_max,
             oldest->number, (unsigned long long)((now_ms - oldest->retired_ms) / 1000),
             atomic_load(&oldest->listener->references));
    return reconcile_fail(reconcile, text);
}

/* Whether there is room for one more generation of that listener. */
static bool reconcile_check_generations(struct reconcile *reconcile, const struct plan_item *item) {
    uint32_t max = reconcile->config_snapshot->manifest->host.generations_max;
    if (item->kind != PLAN_REPLACE && item->kind != PLAN_ADD) {
        return true;
    }
    const struct listener_generations *names =
        listener_generation_table_find(&reconcile->generations, item->to->name);
    if (!names || !names->oldest) {
        return true; /* at most one serves, and the limit is at least two */
    }
    unsigned count = names->past + (names->serving ? 1 : 0);
    return count < max || refuse_generation(reconcile, item->to, names->oldest, count);
}

static bool reconcile_plan(struct reconcile *reconcile) {
    const struct manifest *manifest = reconcile->config_snapshot->manifest;
    const struct config_snapshot *now = reconcile->runtime->config_snapshot;
    bool fine = !now || host_changes_check(now->manifest, manifest, &reconcile->problems->manifest);
    reconcile->items = alloc_array(manifest->listener_count, sizeof(*reconcile->items));
    if (!reconcile->items ||
        !listener_generation_table_init(&reconcile->generations, reconcile->runtime)) {
        return reconcile_fail(reconcile, "out of memory");
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *listener = &manifest->listeners[i];
        if (supervisor_client_is_quarantined(reconcile->runtime->supervised, listener->plugin)) {
            struct log_subject subject = {.plugin = listener->plugin, .listener = listener->name};
            log_warn(&subject, "left out: its plugin is in quarantine (see \"berth status\")");
            continue;
        }
        struct plan_item *item = &reconcile->items[reconcile->count++];
        item->to = listener;
        reconcile_plan_listener(reconcile, item);
        fine = reconcile_check_generations(reconcile, item) && fine;
    }
    return reconcile_check_names(reconcile) && fine;
}

/* -- plugins --------------------------------------------------------------- */

/* JSON pointer of a member of a listener. */
static void pointer_to(char *pointer, size_t size, const struct manifest_listener *listener,
                       const char *member) {
    snprintf(pointer, size, "/listeners/%s/%s", listener->name, member);
}

/* Two libraries that are loaded at the same time must not share data that each takes for its
 * own. */
static bool check_separate(const struct reconcile *reconcile, const struct module *module,
                           struct error *error) {
    const struct module *other;
    DL_FOREACH(reconcile->runtime->modules, other) {
        if (os_library_same(other->library, module->library)) {
            return error_set(error,
                             "plugin \"%s\": the system took it for a library that is mapped "
                             "already, generation %u of \"%s\"",
                             module->id, other->generation, other->id);
        }
        if (strcmp(other->id, module->id) == 0 && module->unique_symbol[0] != '\0') {
            return error_set(error,
                             "plugin \"%s\": its generations would share the symbol %s, of which "
                             "there is one a process (STB_GNU_UNIQUE): link it with "
                             "plugin-api/berth-plugin.map, or start the host anew",
                             module->id, module->unique_symbol);
        }
    }
    return true;
}

/* NULL: no memory. */
static struct wanted *reconcile_want(struct reconcile *reconcile, const char *id) {
    struct wanted *wanted;
    HASH_FIND_STR(reconcile->wanted, id, wanted);
    if (wanted) {
        return wanted;
    }
    size_t size = strlen(id) + 1;
    wanted = alloc_zeroed(sizeof(*wanted) + size);
    if (!wanted) {
        return NULL;
    }
    memcpy(wanted->id, id, size);
    HASH_ADD_STR(reconcile->wanted, id, wanted);
    if (wanted->is_lost) {
        alloc_free(wanted);
        return NULL;
    }
    return wanted;
}

static void forget_wanted(struct reconcile *reconcile) {
    struct wanted *one;
    struct wanted *next;
    HASH_ITER(hh, reconcile->wanted, one, next) {
        HASH_DEL(reconcile->wanted, one);
        schema_destroy(one->schema);
        alloc_free(one->message);
        alloc_free(one);
    }
    missing_fini(&reconcile->missing);
}

/* Reads the schema, in place of an older generation's. */
static bool reconcile_read_schema(struct wanted *wanted, const struct module *module,
                                  struct error *error) {
    schema_destroy(wanted->schema);
    wanted->has_schema_read = true;
    return config_schema(module, &wanted->schema, error);
}

/* Opens the plugin, or notes the error, if there is memory for that. */
static void try_module(struct reconcile *reconcile, struct wanted *wanted) {
    struct error error = {0};
    char suggestion[128];
    char text[ERROR_MESSAGE_MAX + sizeof(suggestion)];
    struct module *module = plugin_open(reconcile->runtime, reconcile->config_snapshot->manifest,
                                        wanted->id, reconcile->generation, &error);
    if (module && check_separate(reconcile, module, &error) &&
        reconcile_read_schema(wanted, module, &error)) {
        DL_APPEND(reconcile->opened, module);
        wanted->opened = module;
        return;
    }
    wanted->failed = true;
    wanted->is_missing = !module && missing_is(&reconcile->missing, wanted->id);
    missing_suggest(&reconcile->missing, wanted->id, suggestion, sizeof(suggestion));
    snprintf(text, sizeof(text), "%s%s", error.message, suggestion);
    wanted->message = alloc_string(text);
    module_close(module);
}

static struct module *module_for(struct reconcile *reconcile, const struct plan_item *item,
                                 struct wanted *wanted) {
    if (!wanted->opened && !item->fresh && !wanted->is_looked_up) {
        wanted->is_looked_up = true;
        wanted->serving = runtime_module(reconcile->runtime, wanted->id);
    }
    if (!wanted->opened && !item->fresh && wanted->serving) {
        return wanted->serving;
    }
    if (!wanted->opened && !wanted->failed) {
        try_module(reconcile, wanted);
    }
    return wanted->opened;
}

/* Finds the module of a plan item: one that this reconcile opens, or one that serves. Each
 * listener whose plugin cannot be opened gets its own error line. */
static bool find_module(struct reconcile *reconcile, struct plan_item *item) {
    char pointer[256];
    struct wanted *wanted = reconcile_want(reconcile, item->to->plugin);
    item->module = wanted ? module_for(reconcile, item, wanted) : NULL;
    if (item->module) {
        return true;
    }
    reconcile->problems->missing += wanted && wanted->is_missing;
    pointer_to(pointer, sizeof(pointer), item->to, "plugin");
    manifest_errors_add_at(&reconcile->problems->plugins,
                           reconcile->config_snapshot->manifest->path, pointer, "%s",
                           wanted && wanted->message ? wanted->message : "out of memory");
    return false;
}

/* A plugin that sends first and a listener that waits for the client's first data wait for ever. */
static void check_speaks_first(const struct reconcile *reconcile, const struct plan_item *item) {
    const struct manifest_listener *listener = item->to;
    const struct module *module = item->module;
    if (listener->accept.when == MANIFEST_ACCEPT_DATA &&
        (module->plugin.flags & BERTH_PLUGIN_SPEAKS_FIRST) != 0) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "accept/when");
        manifest_errors_add_at(
            &reconcile->problems->manifest, reconcile->config_snapshot->manifest->path, pointer,
            "listener \"%s\" accepts on first data, but its plugin \"%s\" speaks "
            "first: both sides would wait; use \"connect\"",
            listener->name, listener->plugin);
    }
}

/* A plugin for connections cannot serve datagrams, and the reverse. */
static void reconcile_check_transport(const struct reconcile *reconcile,
                                      const struct plan_item *item) {
    const struct manifest_listener *listener = item->to;
    const struct module *module = item->module;
    bool datagrams = listener->transport == MANIFEST_TRANSPORT_UDP;
    if (!(datagrams ? module->plugin.datagram != NULL : module->plugin.received != NULL)) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "plugin");
        manifest_errors_add_at(
            &reconcile->problems->manifest, reconcile->config_snapshot->manifest->path, pointer,
            "plugin \"%s\" serves %s only: set the listener's \"transport\" to "
            "\"%s\"",
            listener->plugin, datagrams ? "connections" : "datagrams", datagrams ? "tcp" : "udp");
    }
}

/* Checks the "config" in the manifest against the plugin's schema. */
static void reconcile_check_config(struct reconcile *reconcile, const struct plan_item *item) {
    struct wanted *wanted = reconcile_want(reconcile, item->to->plugin);
    struct error error = {0};
    if (wanted && !wanted->has_schema_read) { /* it serves, so its schema was valid */
        reconcile_read_schema(wanted, item->module, &error);
    }
    const struct config_question question = {
        .module = item->module,
        .schema = wanted ? wanted->schema : NULL,
        .config_folder = reconcile->runtime->config_folder,
        .manifest_path = reconcile->config_snapshot->manifest->path,
        .limit = reconcile->limit,
    };
    config_check(&question, item->to, &reconcile->problems->manifest,
                 &reconcile->problems->failures);
}

/* A plugin that serves already was checked when it was opened. */
static bool find_modules(struct reconcile *reconcile) {
    bool found = true;
    for (size_t i = 0; i < reconcile->count; i++) {
        struct plan_item *item = &reconcile->items[i];
        if (item->kind == PLAN_UNCHANGED) {
            continue;
        }
        if (item->kind == PLAN_CONFIGURE) {
            item->module = item->old->module;
        } else if (!find_module(reconcile, item)) {
            found = false;
            continue;
        }
        check_speaks_first(reconcile, item);
        reconcile_check_transport(reconcile, item);
        if (item->kind != PLAN_CONFIGURE) { /* its config is unchanged */
            reconcile_check_config(reconcile, item);
        }
    }
    return found && reconcile->problems->manifest.count == 0 &&
           !reconcile->problems->manifest.lost && reconcile->problems->failures.count == 0;
}

static bool load_modules(struct reconcile *reconcile) {
    struct runtime *runtime = reconcile->runtime;
    struct module *module;
    struct error error = {0};
    bool loaded = true;
    DL_FOREACH(reconcile->opened, module) {
        module->server = runtime->server;
        module->config_folder = runtime->config_folder;
        module->host.workers = runtime->server->options.workers;
        if (!module_load(module, reconcile->limit, &error)) {
            loaded = reconcile_fail(reconcile, error.message);
        }
    }
    return loaded;
}

/* -- listeners ------------------------------------------------------------- */

static struct listener_options reconcile_options_of(const struct reconcile *reconcile,
                                                    const struct plan_item *item) {
    struct listener_options options = options_of_listener(item->to, item->module);
    options.neighbours = &reconcile->neighbours;
    options.generation = reconcile->generation;
    options.open_limit = reconcile->limit;
    return options;
}

/* The plan item of a generation that serves; NULL: it is removed. */
static const struct plan_item *reconcile_item_of(const struct reconcile *reconcile,
                                                 const struct listener_generation *generation) {
    return listener_generation_table_find(&reconcile->generations, generation->from->name)->note;
}

/* Addresses may move from one listener to another: collects the listen sockets that exist, and
 * which of them are given up. */
static bool find_neighbours(struct reconcile *reconcile) {
    const struct listener_generation *generation;
    DL_FOREACH(reconcile->runtime->serving, generation) {
        const struct plan_item *item = reconcile_item_of(reconcile, generation);
        struct listener_options next = {0};
        if (item) {
            next = options_of_listener(item->to, item->module ? item->module : generation->module);
        }
        if (!listener_neighbours_add(&reconcile->neighbours, generation->listener,
                                     item ? &next : NULL)) {
            return reconcile_fail(reconcile, "out of memory");
        }
    }
    return true;
}

/* Whether its two generations must not be open at the same time. */
static bool is_exclusive(const struct plan_item *item) {
    return item->kind == PLAN_REPLACE &&
           ((item->module->plugin.flags | item->old->module->plugin.flags) &
            BERTH_PLUGIN_EXCLUSIVE) != 0;
}

static struct listener *make_listener(struct reconcile *reconcile, const struct plan_item *item,
                                      const struct listener_options *options, struct error *error) {
    if (item->is_exclusive) {
        const struct exclusive exclusive = {reconcile->runtime, item->old, reconcile->limit,
                                            options->open_abandoned};
        return exclusive_replace(&exclusive, options, error);
    }
    return listener_create(reconcile->runtime->server, options,
                           item->old ? item->old->listener : NULL, error);
}

static bool reconcile_make_generation(struct reconcile *reconcile, struct plan_item *item) {
    struct listener_options options = reconcile_options_of(reconcile, item);
    struct error error = {0};
    struct listener_generation *generation = alloc_zeroed(sizeof(*generation));
    if (!generation) {
        return reconcile_fail(reconcile, "out of memory");
    }
    bool abandoned = false;
    options.open_abandoned = &abandoned;
    generation->listener = make_listener(reconcile, item, &options, &error);
    if (!generation->listener) {
        alloc_free(generation);
        item->module->abandoned = item->module->abandoned || abandoned;
        reconcile->config_snapshot->users +=
            abandoned; /* its listener stays, and so does what it points to */
        return reconcile_fail(reconcile, error.message);
    }
    generation->module = item->module;
    generation->module->users++;
    generation->config_snapshot = reconcile->config_snapshot;
    generation->config_snapshot->users++;
    generation->from = item->to;
    generation->number = reconcile->generation;
    item->made = generation;
    return true;
}

static bool reconcile_make_generations(struct reconcile *reconcile) {
    bool made = true;
    for (size_t i = 0; i < reconcile->count; i++) {
        struct plan_item *item = &reconcile->items[i];
        struct error error = {0};
        if (item->kind == PLAN_CONFIGURE) {
            struct listener_options options = reconcile_options_of(reconcile, item);
            item->prepared = listener_prepare(item->old->listener, &options, &error);
            made = (item->prepared || reconcile_fail(reconcile, error.message)) && made;
        } else if (item->kind != PLAN_UNCHANGED) {
            item->is_exclusive = is_exclusive(item);
            made = (item->is_exclusive || reconcile_make_generation(reconcile, item)) && made;
        }
    }
    return made;
}

/* This is the last step, when nothing else can fail any more. */
static bool make_exclusive_units(struct reconcile *reconcile) {
    bool made = true;
    for (size_t i = 0; made && i < reconcile->count; i++) {
        made = !reconcile->items[i].is_exclusive ||
               reconcile_make_generation(reconcile, &reconcile->items[i]);
    }
    return made;
}

/* Old addresses stay open throughout; new ones open here. */
static bool reconcile_start_generations(struct reconcile *reconcile) {
    for (size_t i = 0; i < reconcile->count; i++) {
        struct error error = {0};
        struct listener_generation *made = reconcile->items[i].made;
        if (made && !listener_start(made->listener, &error)) {
            return reconcile_fail(reconcile, error.message);
        }
    }
    return true;
}

/* -- commit or roll back --------------------------------------------------- */

/* Drops the generations that were closed and could not be reopened, as the log says. */
static void drop_closed(struct reconcile *reconcile) {
    for (size_t i = 0; i < reconcile->count; i++) {
        struct listener_generation *old =
            reconcile->items[i].is_exclusive ? reconcile->items[i].old : NULL;
        if (old && !old->listener) {
            DL_DELETE(reconcile->runtime->serving, old);
            runtime_destroy_generation(reconcile->runtime, old);
        }
    }
}

static void reconcile_give_up(struct reconcile *reconcile) {
    struct runtime *runtime = reconcile->runtime;
    struct module *module;
    struct module *next;
    for (size_t i = 0; i < reconcile->count; i++) {
        struct plan_item *item = &reconcile->items[i];
        listener_abandon(item->prepared);
        if (item->made && item->is_exclusive) {
            bool abandoned = false;
            const struct exclusive exclusive = {runtime, item->old, reconcile->limit, &abandoned};
            exclusive_restore(&exclusive, item->made->listener);
            item->made->listener = NULL;
            item->module->users++; /* as below */
            runtime_destroy_generation(runtime, item->made);
            item->module->users--;
        } else if (item->made) {
            struct listener *listener = item->made->listener;
            listener_stop_accepting(listener);
            listener_abort_all(listener); /* those that arrived on a new address */
            guard_await_aborted(&runtime->guard, listener);
            item->module->users++; /* it is closed below, with the others */
            runtime_destroy_generation(runtime, item->made);
            item->module->users--;
        }
    }
    drop_closed(reconcile);
    DL_FOREACH_SAFE(reconcile->opened, module, next) {
        DL_DELETE(reconcile->opened, module);
        DL_APPEND(runtime->modules, module);
        runtime_drop_module(runtime, module);
    }
}

/* Finds a removed listener whose listen sockets all are the new one's: it was renamed. Its
 * connections that have not sent data move to the new one. NULL: there is none. */
static struct listener *find_namesake(const struct reconcile *reconcile,
                                      const struct listener_generation *made) {
    for (size_t i = 0; i < made->listener->listen_socket_count; i++) {
        const struct listener_generation *generation = listener_generation_table_at(
            &reconcile->generations, made->listener->listen_sockets[i]);
        bool same = generation && !reconcile_item_of(reconcile, generation);
        for (size_t k = 0; same && k < generation->listener->listen_socket_count; k++) {
            same =
                listener_has_listen_socket(made->listener, generation->listener->listen_sockets[k]);
        }
        if (same) {
            return generation->listener;
        }
    }
    return NULL;
}

static void tell_added(const struct listener *listener) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    struct berth_address address = listener_address(listener, 0);
    size_t count = listener_address_count(listener);
    address_format(&address, text, sizeof(text));
    log_info(&listener->subject, "added: listening on %s%s", text,
             count > 1 ? " and other addresses" : "");
}

static void retire_old(struct runtime *runtime, const struct plan_item *item) {
    if (item->is_exclusive) { /* it is closed already */
        DL_DELETE(runtime->serving, item->old);
        runtime_destroy_generation(runtime, item->old);
    } else {
        runtime_retire(runtime, item->old, item->to, BERTH_DRAINING_REPLACED);
    }
}

/* Cannot fail. Listeners that the manifest no longer has close last, when the new ones are open. */
static void reconcile_carry_out(struct reconcile *reconcile) {
    struct runtime *runtime = reconcile->runtime;
    struct listener_generation *serving = NULL;
    struct listener_generation *generation;
    struct listener_generation *next;
    bool starts = !runtime->config_snapshot; /* then startup_report.h reports the listeners */
    config_snapshot_release(runtime->config_snapshot);
    runtime->config_snapshot = reconcile->config_snapshot;
    runtime->config_snapshot->users++;
    DL_CONCAT(runtime->modules, reconcile->opened);
    reconcile->opened = NULL;
    for (size_t i = 0; i < reconcile->count; i++) {
        struct plan_item *item = &reconcile->items[i];
        if (item->prepared) {
            listener_commit(item->prepared);
            config_snapshot_release(item->old->config_snapshot);
            item->old->config_snapshot = reconcile->config_snapshot;
            reconcile->config_snapshot->users++;
            item->old->from = item->to;
        }
        if (item->made) {
            runtime->generation = reconcile->generation;
        }
        if (item->made && item->old) {
            if (!item->is_exclusive) { /* else it has done so */
                listener_take_over(item->made->listener, item->old->listener);
            }
            log_info(&item->made->listener->subject, "generation %u serves: %s %s",
                     item->made->number, item->module->plugin.id, item->module->plugin.version);
            retire_old(runtime, item);
        } else if (item->made) {
            listener_take_over(item->made->listener, find_namesake(reconcile, item->made));
            if (!starts) {
                tell_added(item->made->listener);
            }
        } else {
            DL_DELETE(runtime->serving, item->old);
        }
        generation = item->made ? item->made : item->old;
        ASSERT(generation);
        DL_APPEND(serving, generation);
    }
    DL_FOREACH_SAFE(runtime->serving, generation, next) {
        log_info(&generation->listener->subject, "is no longer in the manifest");
        runtime_retire(runtime, generation, NULL, BERTH_DRAINING_REMOVED);
    }
    runtime->serving = serving;
    runtime_update_drains(runtime);
}

/* Appends a name to counts->names; `first`: it follows `what`, which says what has changed. */
static void reconcile_add_name(struct reconcile_counts *counts, bool first, const char *what,
                               const char *name) {
    size_t used = strlen(counts->names);
    size_t room = sizeof(counts->names) - used;
    int length = first ? snprintf(counts->names + used, room, "; %s %s", what, name)
                       : snprintf(counts->names + used, room, ", %s", name);
    if (length > 0 && (size_t)length >= room) { /* truncated: the end becomes an ellipsis */
        size_t at = used < sizeof(counts->names) - 4 ? used : sizeof(counts->names) - 4;
        snprintf(counts->names + at, sizeof(counts->names) - at, "\xe2\x80\xa6");
    }
}

static void add_names(const struct reconcile *reconcile, struct reconcile_counts *counts,
                      enum plan_item_kind kind, const char *what) {
    bool first = true;
    for (size_t i = 0; i < reconcile->count; i++) {
        if (reconcile->items[i].kind == kind) {
            reconcile_add_name(counts, first, what, reconcile->items[i].to->name);
            first = false;
        }
    }
}

static void add_names_removed(const struct reconcile *reconcile, struct reconcile_counts *counts) {
    const struct listener_generation *generation;
    bool first = true;
    DL_FOREACH(reconcile->runtime->serving, generation) {
        if (!reconcile_item_of(reconcile, generation)) {
            reconcile_add_name(counts, first, "removed", generation->from->name);
            first = false;
        }
    }
}

static void name_changes(const struct reconcile *reconcile, struct reconcile_counts *counts) {
    add_names(reconcile, counts, PLAN_ADD, "added");
    add_names_removed(reconcile, counts);
    add_names(reconcile, counts, PLAN_REPLACE, "replaced");
    add_names(reconcile, counts, PLAN_CONFIGURE, "configured");
}

static void reconcile_count(const struct reconcile *reconcile, struct reconcile_counts *counts) {
    struct listener_generation *generation;
    *counts = (struct reconcile_counts){0};
    for (size_t i = 0; i < reconcile->count; i++) {
        enum plan_item_kind kind = reconcile->items[i].kind;
        counts->added += kind == PLAN_ADD;
        counts->replaced += kind == PLAN_REPLACE;
        counts->configured += kind == PLAN_CONFIGURE;
        counts->kept += kind == PLAN_UNCHANGED;
    }
    DL_FOREACH(reconcile->runtime->serving, generation) {
        counts->removed++;
    }
    counts->removed -= counts->replaced + counts->configured + counts->kept;
    name_changes(reconcile, counts);
}

/* The next steps wait for each worker: one that is blocked for long would stop them halfway. */
static bool check_workers(struct reconcile *reconcile) {
    struct callback_running running;
    char what[512] = "see the log";
    char text[640];
    struct server *server = reconcile->runtime->server;
    if (!reconcile->runtime->config_snapshot || server_answers(server, WORKERS_ANSWER_MS)) {
        return true;
    }
    if (callback_guard_running(WORKERS_ANSWER_MS / 2, false, &running, 1) > 0) {
        callback_running_describe(&running, what, sizeof(what));
    }
    snprintf(text, sizeof(text),
             "a worker does not take part within %d ms: %s: try again when it has returned",
             WORKERS_ANSWER_MS, what);
    return reconcile_fail(reconcile, text);
}

static bool reconcile_start_server(struct reconcile *reconcile) {
    struct runtime *runtime = reconcile->runtime;
    struct error error = {0};
    if (!runtime->server) {
        struct server_options options =
            options_of_server(reconcile->config_snapshot->manifest, runtime);
        runtime->server = server_create(&options, &error);
    }
    return runtime->server || reconcile_fail(reconcile, error.message);
}

bool reconcile_apply(struct runtime *runtime, struct config_snapshot *config_snapshot,
                     const struct reconcile_options *options, struct reconcile_counts *counts,
                     struct reconcile_problems *problems) {
    struct reconcile reconcile = {
        .runtime = runtime,
        .config_snapshot = config_snapshot,
        .options = options,
        .problems = problems,
        .generation = runtime->generation + 1,
    };
    *counts = (struct reconcile_counts){0};
    missing_init(&reconcile.missing, runtime->plugins_folder);
    if (runtime->config_snapshot) {
        uint32_t hang_ms = runtime->config_snapshot->manifest->host.hang_timeout_ms;
        reconcile.call_limit = (struct timed_call_limit){
            .timeout_ms = hang_ms > 0 ? hang_ms : TIMED_CALL_NO_LIMIT,
            .interrupted = guard_is_asked,
            .context = &runtime->guard,
        };
        reconcile.limit = &reconcile.call_limit;
    }
    bool fine = reconcile_plan(&reconcile) && find_modules(&reconcile);
    if (fine) {
        reconcile_count(&reconcile, counts);
    }
    bool done = fine && !options->dry_run && reconcile_start_server(&reconcile) &&
                check_workers(&reconcile) && load_modules(&reconcile) &&
                find_neighbours(&reconcile) && reconcile_make_generations(&reconcile) &&
                check_workers(&reconcile) && reconcile_start_generations(&reconcile) &&
                make_exclusive_units(&reconcile);
    if (done) {
        reconcile_carry_out(&reconcile);
    } else {
        reconcile_give_up(&reconcile);
    }
    alloc_free(reconcile.items);
    listener_generation_table_fini(&reconcile.generations);
    listener_neighbours_fini(&reconcile.neighbours);
    forget_wanted(&reconcile);
    return options->dry_run ? fine : done;
}
