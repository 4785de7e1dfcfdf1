/* instance.h: what runs: the server, the plugins, and every generation of every listener.
 *
 * A unit is one generation of a listener: it serves, or it is retired and drains until its last
 * connection is gone or its time is up. A module is one generation of a plugin; when its last unit
 * is gone it is unloaded. An edition is a manifest with its users. change.h moves an instance from
 * one edition to the next. Owner: the verb. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_INSTANCE_H
#define BERTH_HOST_CONTROL_INSTANCE_H

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

struct edition {
    struct manifest *manifest;
    unsigned users;
};

/* Takes over the manifest; with one user. NULL without memory: the manifest is then destroyed. */
struct edition *edition_create(struct manifest *manifest);
void edition_release(struct edition *edition); /* NULL is legal */

struct unit {
    struct unit *prev; /* utlist */
    struct unit *next;
    struct listener *listener;
    struct module *module;
    struct edition *edition;
    const struct manifest_listener *from; /* in the edition */
    unsigned generation;                  /* of the change that brought it: see change.h */
    uint64_t retired_ms;                  /* 0: it serves */
    uint32_t retired_why;                 /* BERTH_DRAINING_REPLACED or _REMOVED */
    uint32_t drain_ms;                    /* how long it may then drain; 0: without a limit */
    bool cut;                             /* when that was over */
};

struct instance {
    struct guard guard;            /* bounds its end */
    struct supervised *supervised; /* the verb's; NULL: nobody supervises */
    struct edition *edition;       /* NULL until it runs */
    char name[64]; /* host.name; plugins keep a pointer to it, which an edition would not outlive */
    struct berth_host services;
    char plugins_folder[OS_PATH_MAX];
    char config_folder[OS_PATH_MAX]; /* the manifest's */
    const char *kept_folder;         /* of the plugins that served last (kept.h); or NULL */
    bool use_kept;                   /* it starts with those */
    unsigned generation;             /* the newest: of the last change that brought anything */
    struct server *server;
    struct module *modules;   /* utlist: all that are mapped, but for */
    struct module *abandoned; /* utlist: those with code that has not returned by its deadline */
    struct unit *serving;     /* utlist, as in the manifest */
    struct unit *retired;     /* utlist, the oldest first */
    uint64_t started_ms;
};

/* Where plugins and the files of their configurations are. */
bool instance_init(struct instance *instance, const struct manifest *manifest,
                   const char *plugins_folder, struct error *error);

/* The newest of that id which serves; or which only drains, while its file is still the same. NULL:
 * there is none, or one that should not be used any more. */
struct module *instance_module(const struct instance *instance, const char *id);
struct unit *instance_unit(const struct instance *instance, const char *name);

/* Unloads it once nothing of it is under way, and says so. */
void instance_drop_module(struct instance *instance, struct module *module);

/* The unit stops serving, for that reason (BERTH_DRAINING_*): what it has open may finish, for as
 * long as `now` says, the listener of its name in the manifest in force (NULL: there is none). */
void instance_retire(struct instance *instance, struct unit *unit,
                     const struct manifest_listener *now, uint32_t why);

/* How long a generation of the listener may drain: its own limit, or the host's; 0: without one. */
uint32_t instance_drain_limit(const struct instance *instance, const struct manifest_listener *now);

/* What drains already has the limits of the manifest in force from now on. */
void instance_update_drains(struct instance *instance);

/* The host stops: nothing of it takes connections any more, and what drains already hears why. */
void instance_stop(struct instance *instance);

/* What is retired and done is taken down, what is over its time is cut. Returns when it is to be
 * called again, in milliseconds; -1: when something has ended. */
int instance_look_after(struct instance *instance);

/* Frees a unit that no connection refers to any more, and its module if that was its last. */
void instance_destroy_unit(struct instance *instance, struct unit *unit);

/* Logs what its listeners still have, if they have anything. */
void instance_describe_left(const struct instance *instance);

uint32_t instance_connections(const struct instance *instance); /* of all generations */
uint32_t instance_cut(struct instance *instance);               /* ends them; returns how many */

/* Closes everything in reverse order; no connections are left. Legal at any stage. */
void instance_destroy(struct instance *instance);

#endif
