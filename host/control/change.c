#include "control/change.h"

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
#include "control/instance.h"
#include "control/missing.h"
#include "control/names.h"
#include "control/options.h"
#include "control/plugin_open.h"
#include "control/supervise.h"
#include "control/unit_table.h"
#include "engine/engine.h"
#include "manifest/schema.h"
#include "module/module.h"
#include "net/errand.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "net/server.h"
#include "os/os.h"

enum { WORKERS_ANSWER_MS = 5000 };

enum step_kind { STEP_KEEP, STEP_CONFIGURE, STEP_REPLACE, STEP_ADD };

/* What becomes of one listener of the new edition. */
struct step {
    enum step_kind kind;
    const struct manifest_listener *to;
    struct unit *old;                 /* NULL: STEP_ADD */
    bool fresh;                       /* its plugin is loaded anew */
    bool is_exclusive;                /* the old generation closes before the new one opens */
    struct module *module;            /* of the new generation */
    struct unit *made;                /* it */
    struct listener_change *prepared; /* STEP_CONFIGURE */
};

/* A plugin is looked for once, however many listeners want it. */
struct wanted {
    UT_hash_handle hh;
    struct module *opened;  /* by this change */
    struct module *serving; /* the instance's that will do, unless it is to be loaded anew */
    struct schema *schema;  /* of either; NULL: it has none */
    bool has_schema_read;   /* that was tried */
    bool is_looked_up;      /* that of `serving` */
    bool failed;            /* it cannot be had */
    bool is_missing;        /* there is no such file */
    bool is_lost;           /* uthash had no memory for it */
    char *message;
    char id[];
};

struct change {
    struct instance *instance;
    struct edition *edition;
    const struct change_options *options;
    struct change_problems *problems;
    unsigned generation; /* of all that it brings */
    struct step *steps;
    size_t count;
    struct unit_table units;               /* what there is; `note`: its step */
    struct listener_neighbours neighbours; /* the doors of all that serve */
    struct module *opened; /* utlist: modules of this change, not the instance's yet */
    struct wanted *wanted; /* uthash by id: the plugins that its steps have asked for */
    struct missing missing;
    struct errand_limit call_limit;   /* of `load` and `listener_open`; */
    const struct errand_limit *limit; /* it, or NULL: nothing serves yet */
};

void change_problems_fini(struct change_problems *problems) {
    manifest_errors_fini(&problems->manifest);
    manifest_errors_fini(&problems->plugins);
    manifest_errors_fini(&problems->failures);
}

/* Something that has no place of its own in the manifest. */
static bool fail(struct change *change, const char *text) {
    manifest_errors_add(&change->problems->failures, text);
    return false;
}

/* -- what is to be done --------------------------------------------------------------------------
 */

static bool is_named(const struct change_options *options, const char *listener,
                     const char *plugin) {
    for (size_t i = 0; i < options->restart_count; i++) {
        if (names_mean(options->restart[i], listener, plugin)) {
            return true;
        }
    }
    return options->restart_all;
}

static void plan_step(const struct change *change, struct step *step) {
    const struct manifest_listener *to = step->to;
    struct unit_names *names = unit_table_find(&change->units, to->name);
    if (!names || !names->serving) {
        step->kind = STEP_ADD;
        return;
    }
    step->old = names->serving;
    names->note = step;
    const struct manifest_listener *from = step->old->from;
    step->fresh = is_named(change->options, to->name, to->plugin);
    bool same_plugin =
        strcmp(from->plugin, to->plugin) == 0 && strcmp(from->config_json, to->config_json) == 0 &&
        from->limits.message_bytes == to->limits.message_bytes && /* which a plugin may rely on */
        from->transport == to->transport && from->transport == MANIFEST_TRANSPORT_TCP;
    if (step->fresh) {
        step->kind = STEP_REPLACE;
    } else if (strcmp(from->json, to->json) == 0) {
        step->kind = STEP_KEEP;
    } else {
        step->kind = same_plugin ? STEP_CONFIGURE : STEP_REPLACE;
    }
}

static bool check_names(struct change *change) {
    bool known = true;
    for (size_t i = 0; i < change->options->restart_count; i++) {
        char text[512];
        if (!names_check(change->edition->manifest, change->instance->supervised,
                         change->options->restart[i], text, sizeof(text))) {
            known = fail(change, text);
        }
    }
    return known;
}

/* The oldest may drain for ever: what the operator can do about it. */
static bool refuse_generation(struct change *change, const struct manifest_listener *to,
                              const struct unit *oldest, unsigned count) {
    uint64_t now_ms = engine_now_ms();
    char text[512];
    snprintf(text, sizeof(text),
             "listener \"%.63s\": %u generations of it still have connections, and there may be "
             "%u in all (host.generations_max); generation %u has drained for %llu s and has %u "
             "connections: try again when it is gone, or set \"generation_drain_timeout_ms\" "
             "(or a higher host.generations_max) in the manifest and \"berth reload\"",
             to->name, count, (unsigned)change->edition->manifest->host.generations_max,
             oldest->generation, (unsigned long long)((now_ms - oldest->retired_ms) / 1000),
             atomic_load(&oldest->listener->references));
    return fail(change, text);
}

/* A generation of that listener more: is there room for it? */
static bool check_generations(struct change *change, const struct step *step) {
    uint32_t max = change->edition->manifest->host.generations_max;
    if (step->kind != STEP_REPLACE && step->kind != STEP_ADD) {
        return true;
    }
    const struct unit_names *names = unit_table_find(&change->units, step->to->name);
    if (!names || !names->oldest) {
        return true; /* one may serve: there may be two at least */
    }
    unsigned count = names->past + (names->serving ? 1 : 0);
    return count < max || refuse_generation(change, step->to, names->oldest, count);
}

static bool plan(struct change *change) {
    const struct manifest *manifest = change->edition->manifest;
    const struct edition *now = change->instance->edition;
    bool fine = !now || host_changes_check(now->manifest, manifest, &change->problems->manifest);
    change->steps = alloc_array(manifest->listener_count, sizeof(*change->steps));
    if (!change->steps || !unit_table_init(&change->units, change->instance)) {
        return fail(change, "out of memory");
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *listener = &manifest->listeners[i];
        if (supervised_is_quarantined(change->instance->supervised, listener->plugin)) {
            struct log_subject subject = {.plugin = listener->plugin, .listener = listener->name};
            log_warn(&subject, "left out: its plugin is in quarantine (see \"berth status\")");
            continue;
        }
        struct step *step = &change->steps[change->count++];
        step->to = listener;
        plan_step(change, step);
        fine = check_generations(change, step) && fine;
    }
    return check_names(change) && fine;
}

/* -- plugins -------------------------------------------------------------------------------------
 */

/* JSON pointer of a member of a listener. */
static void pointer_to(char *pointer, size_t size, const struct manifest_listener *listener,
                       const char *member) {
    snprintf(pointer, size, "/listeners/%s/%s", listener->name, member);
}

/* Two libraries side by side must not share what each takes for its own. */
static bool check_separate(const struct change *change, const struct module *module,
                           struct error *error) {
    const struct module *other;
    DL_FOREACH(change->instance->modules, other) {
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
static struct wanted *want(struct change *change, const char *id) {
    struct wanted *wanted;
    HASH_FIND_STR(change->wanted, id, wanted);
    if (wanted) {
        return wanted;
    }
    size_t size = strlen(id) + 1;
    wanted = alloc_zeroed(sizeof(*wanted) + size);
    if (!wanted) {
        return NULL;
    }
    memcpy(wanted->id, id, size);
    HASH_ADD_STR(change->wanted, id, wanted);
    if (wanted->is_lost) {
        alloc_free(wanted);
        return NULL;
    }
    return wanted;
}

static void forget_wanted(struct change *change) {
    struct wanted *one;
    struct wanted *next;
    HASH_ITER(hh, change->wanted, one, next) {
        HASH_DEL(change->wanted, one);
        schema_destroy(one->schema);
        alloc_free(one->message);
        alloc_free(one);
    }
    missing_fini(&change->missing);
}

/* In the place of the one of an older generation. */
static bool read_schema(struct wanted *wanted, const struct module *module, struct error *error) {
    schema_destroy(wanted->schema);
    wanted->has_schema_read = true;
    return config_schema(module, &wanted->schema, error);
}

/* Opens it, or notes what is wrong, if there is memory for that. */
static void try_module(struct change *change, struct wanted *wanted) {
    struct error error = {0};
    char suggestion[128];
    char text[ERROR_MESSAGE_MAX + sizeof(suggestion)];
    struct module *module = plugin_open(change->instance, change->edition->manifest, wanted->id,
                                        change->generation, &error);
    if (module && check_separate(change, module, &error) && read_schema(wanted, module, &error)) {
        DL_APPEND(change->opened, module);
        wanted->opened = module;
        return;
    }
    wanted->failed = true;
    wanted->is_missing = !module && missing_is(&change->missing, wanted->id);
    missing_suggest(&change->missing, wanted->id, suggestion, sizeof(suggestion));
    snprintf(text, sizeof(text), "%s%s", error.message, suggestion);
    wanted->message = alloc_string(text);
    module_close(module);
}

static struct module *module_for(struct change *change, const struct step *step,
                                 struct wanted *wanted) {
    if (!wanted->opened && !step->fresh && !wanted->is_looked_up) {
        wanted->is_looked_up = true;
        wanted->serving = instance_module(change->instance, wanted->id);
    }
    if (!wanted->opened && !step->fresh && wanted->serving) {
        return wanted->serving;
    }
    if (!wanted->opened && !wanted->failed) {
        try_module(change, wanted);
    }
    return wanted->opened;
}

/* The plugin of a step: of this change, or the one that serves. Every listener that needs a plugin
 * which cannot be had gets its own line. */
static bool find_module(struct change *change, struct step *step) {
    char pointer[256];
    struct wanted *wanted = want(change, step->to->plugin);
    step->module = wanted ? module_for(change, step, wanted) : NULL;
    if (step->module) {
        return true;
    }
    change->problems->missing += wanted && wanted->is_missing;
    pointer_to(pointer, sizeof(pointer), step->to, "plugin");
    manifest_errors_add_at(&change->problems->plugins, change->edition->manifest->path, pointer,
                           "%s", wanted && wanted->message ? wanted->message : "out of memory");
    return false;
}

/* A plugin that speaks first and a listener that waits for the client to speak wait for ever. */
static void check_speaks_first(const struct change *change, const struct step *step) {
    const struct manifest_listener *listener = step->to;
    const struct module *module = step->module;
    if (listener->accept.when == MANIFEST_ACCEPT_DATA &&
        (module->plugin.flags & BERTH_PLUGIN_SPEAKS_FIRST) != 0) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "accept/when");
        manifest_errors_add_at(
            &change->problems->manifest, change->edition->manifest->path, pointer,
            "listener \"%s\" accepts on first data, but its plugin \"%s\" speaks "
            "first: both sides would wait; use \"connect\"",
            listener->name, listener->plugin);
    }
}

/* A plugin for connections cannot serve datagrams, nor the other way round. */
static void check_transport(const struct change *change, const struct step *step) {
    const struct manifest_listener *listener = step->to;
    const struct module *module = step->module;
    bool datagrams = listener->transport == MANIFEST_TRANSPORT_UDP;
    if (!(datagrams ? module->plugin.datagram != NULL : module->plugin.received != NULL)) {
        char pointer[256];
        pointer_to(pointer, sizeof(pointer), listener, "plugin");
        manifest_errors_add_at(
            &change->problems->manifest, change->edition->manifest->path, pointer,
            "plugin \"%s\" serves %s only: set the listener's \"transport\" to "
            "\"%s\"",
            listener->plugin, datagrams ? "connections" : "datagrams", datagrams ? "tcp" : "udp");
    }
}

/* What the manifest says of the plugin, by the schema that the plugin has. */
static void check_config(struct change *change, const struct step *step) {
    struct wanted *wanted = want(change, step->to->plugin);
    struct error error = {0};
    if (wanted && !wanted->has_schema_read) { /* of one that serves, and was right when it came */
        read_schema(wanted, step->module, &error);
    }
    const struct config_question question = {
        .module = step->module,
        .schema = wanted ? wanted->schema : NULL,
        .config_folder = change->instance->config_folder,
        .manifest_path = change->edition->manifest->path,
        .limit = change->limit,
    };
    config_check(&question, step->to, &change->problems->manifest, &change->problems->failures);
}

/* What serves already was checked when it came. */
static bool find_modules(struct change *change) {
    bool found = true;
    for (size_t i = 0; i < change->count; i++) {
        struct step *step = &change->steps[i];
        if (step->kind == STEP_KEEP) {
            continue;
        }
        if (step->kind == STEP_CONFIGURE) {
            step->module = step->old->module;
        } else if (!find_module(change, step)) {
            found = false;
            continue;
        }
        check_speaks_first(change, step);
        check_transport(change, step);
        if (step->kind != STEP_CONFIGURE) { /* whose config is as it was */
            check_config(change, step);
        }
    }
    return found && change->problems->manifest.count == 0 && !change->problems->manifest.lost &&
           change->problems->failures.count == 0;
}

static bool load_modules(struct change *change) {
    struct instance *instance = change->instance;
    struct module *module;
    struct error error = {0};
    bool loaded = true;
    DL_FOREACH(change->opened, module) {
        module->server = instance->server;
        module->config_folder = instance->config_folder;
        module->host.workers = instance->server->options.workers;
        if (!module_load(module, change->limit, &error)) {
            loaded = fail(change, error.message);
        }
    }
    return loaded;
}

/* -- listeners -----------------------------------------------------------------------------------
 */

static struct listener_options options_of(const struct change *change, const struct step *step) {
    struct listener_options options = options_of_listener(step->to, step->module);
    options.neighbours = &change->neighbours;
    options.generation = change->generation;
    options.open_limit = change->limit;
    return options;
}

/* Of one that serves; NULL: it goes. */
static const struct step *step_of(const struct change *change, const struct unit *unit) {
    return unit_table_find(&change->units, unit->from->name)->note;
}

/* Addresses may go from one listener to another one: which doors there are, and who gives up his.
 */
static bool find_neighbours(struct change *change) {
    const struct unit *unit;
    DL_FOREACH(change->instance->serving, unit) {
        const struct step *step = step_of(change, unit);
        struct listener_options next = {0};
        if (step) {
            next = options_of_listener(step->to, step->module ? step->module : unit->module);
        }
        if (!listener_neighbours_add(&change->neighbours, unit->listener, step ? &next : NULL)) {
            return fail(change, "out of memory");
        }
    }
    return true;
}

/* Two generations of it must not be open at a time. */
static bool is_exclusive(const struct step *step) {
    return step->kind == STEP_REPLACE &&
           ((step->module->plugin.flags | step->old->module->plugin.flags) &
            BERTH_PLUGIN_EXCLUSIVE) != 0;
}

static struct listener *make_listener(struct change *change, const struct step *step,
                                      const struct listener_options *options, struct error *error) {
    if (step->is_exclusive) {
        const struct exclusive exclusive = {change->instance, step->old, change->limit,
                                            options->open_abandoned};
        return exclusive_replace(&exclusive, options, error);
    }
    return listener_create(change->instance->server, options,
                           step->old ? step->old->listener : NULL, error);
}

static bool make_unit(struct change *change, struct step *step) {
    struct listener_options options = options_of(change, step);
    struct error error = {0};
    struct unit *unit = alloc_zeroed(sizeof(*unit));
    if (!unit) {
        return fail(change, "out of memory");
    }
    bool abandoned = false;
    options.open_abandoned = &abandoned;
    unit->listener = make_listener(change, step, &options, &error);
    if (!unit->listener) {
        alloc_free(unit);
        step->module->abandoned = step->module->abandoned || abandoned;
        change->edition->users += abandoned; /* its listener stays, and what that points to */
        return fail(change, error.message);
    }
    unit->module = step->module;
    unit->module->users++;
    unit->edition = change->edition;
    unit->edition->users++;
    unit->from = step->to;
    unit->generation = change->generation;
    step->made = unit;
    return true;
}

static bool make_units(struct change *change) {
    bool made = true;
    for (size_t i = 0; i < change->count; i++) {
        struct step *step = &change->steps[i];
        struct error error = {0};
        if (step->kind == STEP_CONFIGURE) {
            struct listener_options options = options_of(change, step);
            step->prepared = listener_prepare(step->old->listener, &options, &error);
            made = (step->prepared || fail(change, error.message)) && made;
        } else if (step->kind != STEP_KEEP) {
            step->is_exclusive = is_exclusive(step);
            made = (step->is_exclusive || make_unit(change, step)) && made;
        }
    }
    return made;
}

/* Last of all, when nothing else can fail any more. */
static bool make_exclusive_units(struct change *change) {
    bool made = true;
    for (size_t i = 0; made && i < change->count; i++) {
        made = !change->steps[i].is_exclusive || make_unit(change, &change->steps[i]);
    }
    return made;
}

/* Old addresses stay open all the while; new ones open here. */
static bool start_units(struct change *change) {
    for (size_t i = 0; i < change->count; i++) {
        struct error error = {0};
        struct unit *made = change->steps[i].made;
        if (made && !listener_start(made->listener, &error)) {
            return fail(change, error.message);
        }
    }
    return true;
}

/* -- done, or undone -----------------------------------------------------------------------------
 */

/* What neither the new generation nor the old one serves any more, as the log says. */
static void drop_closed(struct change *change) {
    for (size_t i = 0; i < change->count; i++) {
        struct unit *old = change->steps[i].is_exclusive ? change->steps[i].old : NULL;
        if (old && !old->listener) {
            DL_DELETE(change->instance->serving, old);
            instance_destroy_unit(change->instance, old);
        }
    }
}

static void give_up(struct change *change) {
    struct instance *instance = change->instance;
    struct module *module;
    struct module *next;
    for (size_t i = 0; i < change->count; i++) {
        struct step *step = &change->steps[i];
        listener_abandon(step->prepared);
        if (step->made && step->is_exclusive) {
            bool abandoned = false;
            const struct exclusive exclusive = {instance, step->old, change->limit, &abandoned};
            exclusive_restore(&exclusive, step->made->listener);
            step->made->listener = NULL;
            step->module->users++; /* as below */
            instance_destroy_unit(instance, step->made);
            step->module->users--;
        } else if (step->made) {
            struct listener *listener = step->made->listener;
            listener_stop_accepting(listener);
            listener_cut(listener); /* who came by a new address, in that moment */
            guard_await_cut(&instance->guard, listener);
            step->module->users++; /* it goes below, with all that are this change's */
            instance_destroy_unit(instance, step->made);
            step->module->users--;
        }
    }
    drop_closed(change);
    DL_FOREACH_SAFE(change->opened, module, next) {
        DL_DELETE(change->opened, module);
        DL_APPEND(instance->modules, module);
        instance_drop_module(instance, module);
    }
}

/* A listener that goes, and whose doors all are the new one's: it has another name now. Who is
 * connected and silent goes along. NULL: there is none. */
static struct listener *find_namesake(const struct change *change, const struct unit *made) {
    for (size_t i = 0; i < made->listener->door_count; i++) {
        const struct unit *unit = unit_table_at(&change->units, made->listener->doors[i]);
        bool same = unit && !step_of(change, unit);
        for (size_t k = 0; same && k < unit->listener->door_count; k++) {
            same = listener_has_door(made->listener, unit->listener->doors[k]);
        }
        if (same) {
            return unit->listener;
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

static void retire_old(struct instance *instance, const struct step *step) {
    if (step->is_exclusive) { /* it is closed */
        DL_DELETE(instance->serving, step->old);
        instance_destroy_unit(instance, step->old);
    } else {
        instance_retire(instance, step->old, step->to, BERTH_DRAINING_REPLACED);
    }
}

/* Cannot fail. Those that are gone from the manifest close last: what is new is open by now. */
static void carry_out(struct change *change) {
    struct instance *instance = change->instance;
    struct unit *serving = NULL;
    struct unit *unit;
    struct unit *next;
    bool starts = !instance->edition; /* then all of them are new, and told of elsewhere */
    edition_release(instance->edition);
    instance->edition = change->edition;
    instance->edition->users++;
    DL_CONCAT(instance->modules, change->opened);
    change->opened = NULL;
    for (size_t i = 0; i < change->count; i++) {
        struct step *step = &change->steps[i];
        if (step->prepared) {
            listener_commit(step->prepared);
            edition_release(step->old->edition);
            step->old->edition = change->edition;
            change->edition->users++;
            step->old->from = step->to;
        }
        if (step->made) {
            instance->generation = change->generation;
        }
        if (step->made && step->old) {
            if (!step->is_exclusive) { /* else it has */
                listener_take_over(step->made->listener, step->old->listener);
            }
            log_info(&step->made->listener->subject, "generation %u serves: %s %s",
                     step->made->generation, step->module->plugin.id, step->module->plugin.version);
            retire_old(instance, step);
        } else if (step->made) {
            listener_take_over(step->made->listener, find_namesake(change, step->made));
            if (!starts) {
                tell_added(step->made->listener);
            }
        } else {
            DL_DELETE(instance->serving, step->old);
        }
        unit = step->made ? step->made : step->old;
        ASSERT(unit);
        DL_APPEND(serving, unit);
    }
    DL_FOREACH_SAFE(instance->serving, unit, next) {
        log_info(&unit->listener->subject, "is no longer in the manifest");
        instance_retire(instance, unit, NULL, BERTH_DRAINING_REMOVED);
    }
    instance->serving = serving;
    instance_update_drains(instance);
}

/* Appends a name to counts->names; `first`: behind what has happened to it. */
static void add_name(struct change_counts *counts, bool first, const char *what, const char *name) {
    size_t used = strlen(counts->names);
    size_t room = sizeof(counts->names) - used;
    int length = first ? snprintf(counts->names + used, room, "; %s %s", what, name)
                       : snprintf(counts->names + used, room, ", %s", name);
    if (length > 0 && (size_t)length >= room) { /* three bytes of the last whole name give way */
        size_t at = used < sizeof(counts->names) - 4 ? used : sizeof(counts->names) - 4;
        snprintf(counts->names + at, sizeof(counts->names) - at, "\xe2\x80\xa6");
    }
}

static void add_names(const struct change *change, struct change_counts *counts,
                      enum step_kind kind, const char *what) {
    bool first = true;
    for (size_t i = 0; i < change->count; i++) {
        if (change->steps[i].kind == kind) {
            add_name(counts, first, what, change->steps[i].to->name);
            first = false;
        }
    }
}

static void add_names_removed(const struct change *change, struct change_counts *counts) {
    const struct unit *unit;
    bool first = true;
    DL_FOREACH(change->instance->serving, unit) {
        if (!step_of(change, unit)) {
            add_name(counts, first, "removed", unit->from->name);
            first = false;
        }
    }
}

static void name_changes(const struct change *change, struct change_counts *counts) {
    add_names(change, counts, STEP_ADD, "added");
    add_names_removed(change, counts);
    add_names(change, counts, STEP_REPLACE, "replaced");
    add_names(change, counts, STEP_CONFIGURE, "configured");
}

static void count(const struct change *change, struct change_counts *counts) {
    struct unit *unit;
    *counts = (struct change_counts){0};
    for (size_t i = 0; i < change->count; i++) {
        enum step_kind kind = change->steps[i].kind;
        counts->added += kind == STEP_ADD;
        counts->replaced += kind == STEP_REPLACE;
        counts->configured += kind == STEP_CONFIGURE;
        counts->kept += kind == STEP_KEEP;
    }
    DL_FOREACH(change->instance->serving, unit) {
        counts->removed++;
    }
    counts->removed -= counts->replaced + counts->configured + counts->kept;
    name_changes(change, counts);
}

/* What follows waits for each worker: one that does nothing for long would hold it up half done. */
static bool check_workers(struct change *change) {
    struct plugin_running running;
    char what[512] = "see the log";
    char text[640];
    struct server *server = change->instance->server;
    if (!change->instance->edition || server_answers(server, WORKERS_ANSWER_MS)) {
        return true;
    }
    if (plugin_calls_running(WORKERS_ANSWER_MS / 2, false, &running, 1) > 0) {
        plugin_running_describe(&running, what, sizeof(what));
    }
    snprintf(text, sizeof(text),
             "a worker does not take part within %d ms: %s: try again when it has returned",
             WORKERS_ANSWER_MS, what);
    return fail(change, text);
}

static bool start_server(struct change *change) {
    struct instance *instance = change->instance;
    struct error error = {0};
    if (!instance->server) {
        struct server_options options = options_of_server(change->edition->manifest, instance);
        instance->server = server_create(&options, &error);
    }
    return instance->server || fail(change, error.message);
}

bool change_apply(struct instance *instance, struct edition *edition,
                  const struct change_options *options, struct change_counts *counts,
                  struct change_problems *problems) {
    struct change change = {
        .instance = instance,
        .edition = edition,
        .options = options,
        .problems = problems,
        .generation = instance->generation + 1,
    };
    *counts = (struct change_counts){0};
    missing_init(&change.missing, instance->plugins_folder);
    if (instance->edition) {
        uint32_t hang_ms = instance->edition->manifest->host.hang_timeout_ms;
        change.call_limit = (struct errand_limit){
            .timeout_ms = hang_ms > 0 ? hang_ms : ERRAND_NO_LIMIT,
            .interrupted = guard_is_asked,
            .context = &instance->guard,
        };
        change.limit = &change.call_limit;
    }
    bool fine = plan(&change) && find_modules(&change);
    if (fine) {
        count(&change, counts);
    }
    bool done = fine && !options->dry_run && start_server(&change) && check_workers(&change) &&
                load_modules(&change) && find_neighbours(&change) && make_units(&change) &&
                check_workers(&change) && start_units(&change) && make_exclusive_units(&change);
    if (done) {
        carry_out(&change);
    } else {
        give_up(&change);
    }
    alloc_free(change.steps);
    unit_table_fini(&change.units);
    listener_neighbours_fini(&change.neighbours);
    forget_wanted(&change);
    return options->dry_run ? fine : done;
}
