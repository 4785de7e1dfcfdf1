/* runtime.h: what runs: the server, the plugins, and every generation of every listener.
 *
 * A listener generation serves, or it is retired and drains until its last connection is gone or
 * its time is over. A module is one generation of a plugin; it is unloaded when its last
 * listener generation is gone. A config snapshot is a manifest with a reference count.
 * reconcile.h moves a runtime from one config snapshot to the next. Owner: the verb. Threads:
 * [control]. */
#ifndef BERTH_HOST_CONTROL_RUNTIME_H
#define BERTH_HOST_CONTROL_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "berth/host.h"
#include "control/guard.h"
#include "manifest/manifest.h"
#include "os/os.h"

struct listener;
struct module;
struct server;
struct supervised;

struct config_snapshot {
    struct manifest *manifest;
    unsigned users;
};

/* Takes over the manifest; the snapshot has one user. NULL without memory: the manifest is then
 * destroyed. */
struct config_snapshot *config_snapshot_create(struct manifest *manifest);
void config_snapshot_release(struct config_snapshot *config_snapshot); /* NULL is legal */

struct listener_generation {
    struct listener_generation *prev; /* utlist */
    struct listener_generation *next;
    struct listener *listener;
    struct module *module;
    struct config_snapshot *config_snapshot;
    const struct manifest_listener *from; /* in the config snapshot */
    unsigned number;                      /* of the reconcile that added it: see reconcile.h */
    uint64_t retired_ms;                  /* 0: it serves */
    uint32_t retired_why;                 /* BERTH_DRAINING_REPLACED or _REMOVED */
    uint32_t drain_ms;                    /* how long it may drain after that; 0: without a limit */
    bool cut;                             /* its connections were aborted when that time was over */
};

struct runtime {
    struct guard guard;                      /* bounds the time of a stop */
    struct supervised *supervised;           /* the verb's; NULL: there is no supervisor */
    struct config_snapshot *config_snapshot; /* NULL until it runs */
    char name[64]; /* host.name; plugins keep a pointer to it, which a config snapshot would not
                      outlive */
    struct berth_host services;
    char plugins_folder[OS_PATH_MAX];
    char config_folder[OS_PATH_MAX]; /* the manifest's */
    const char
        *last_good_folder; /* of the plugins that served last (last_good_config.h); or NULL */
    bool use_last_good;    /* it starts with those plugins */
    unsigned generation;   /* the newest: that of the last reconcile that added anything */
    struct server *server;
    struct module *modules;   /* utlist: all mapped modules except `abandoned` */
    struct module *abandoned; /* utlist: those with code that has not returned by its deadline */
    struct listener_generation *serving; /* utlist, as in the manifest */
    struct listener_generation *retired; /* utlist, the oldest first */
    uint64_t started_ms;
};

/* Sets the folders of plugins and of the files of their configurations. */
bool runtime_init(struct runtime *runtime, const struct manifest *manifest,
                  const char *plugins_folder, struct error *error);

/* The newest module of that id that serves; or that only drains, if its file is still the same.
 * NULL: there is none, or it should not be used any more. */
struct module *runtime_module(const struct runtime *runtime, const char *id);
struct listener_generation *runtime_generation(const struct runtime *runtime, const char *name);

/* Unloads the module once none of its work is pending, and logs that. */
void runtime_drop_module(struct runtime *runtime, struct module *module);

/* The generation stops serving, for that reason (BERTH_DRAINING_*). Its connections may finish,
 * within the limit of `now`, the listener of the same name in the manifest in force (NULL: there
 * is none). */
void runtime_retire(struct runtime *runtime, struct listener_generation *generation,
                    const struct manifest_listener *now, uint32_t why);

/* How long a generation of the listener may drain: its own limit, or the host's; 0: without one. */
uint32_t instance_drain_limit(const struct runtime *runtime, const struct manifest_listener *now);

/* Applies the limits of the manifest in force to the generations that drain already. */
void runtime_update_drains(struct runtime *runtime);

/* The host stops: no generation accepts connections any more, and those that drain already are
 * notified of the reason. */
void runtime_stop(struct runtime *runtime);

/* Destroys retired generations that have finished, and aborts those whose time is over. Returns
 * when to call it again, in milliseconds; -1: when something has ended. */
int runtime_look_after(struct runtime *runtime);

/* Frees a generation that no connection refers to any more, and its module if that was its last. */
void runtime_destroy_generation(struct runtime *runtime, struct listener_generation *generation);

/* Logs what its listeners still hold, if anything. */
void runtime_describe_left(const struct runtime *runtime);

uint32_t runtime_connections(const struct runtime *runtime); /* of all generations */
uint32_t runtime_abort_all(struct runtime *runtime);         /* ends them; returns how many */

/* Closes everything in reverse order; no connections are left. Legal at any stage. */
void runtime_destroy(struct runtime *runtime);

#endif
