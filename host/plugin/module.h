/* module.h: one generation of a plugin: found, copied aside, loaded, verified, and unloaded again.
 *
 * The file in the plugins folder is copied to a private, unique name and the copy is loaded, so
 * that the original can be replaced while the host runs (Windows locks a loaded DLL; on Linux a
 * file that is overwritten under a mapping is a SIGBUS). Libraries are searched in the plugins
 * folder only, by an id without path parts; a plugin of several files has a folder there
 * (module_files.h).
 *
 * Owner: the caller of module_load(). Threads: all functions [control]; the descriptor and the
 * table are read-only after loading and read by every worker. */
#ifndef BERTH_HOST_PLUGIN_MODULE_H
#define BERTH_HOST_PLUGIN_MODULE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/log.h"
#include "berth/plugin.h"
#include "os/os.h"
#include "plugin/module_files.h"

struct os_copy;
struct os_library;
struct timed_call_limit;
struct plugin_stats;
struct server;

struct module {
    struct berth_host host;     /* its own table of services; the address identifies the module */
    struct berth_plugin plugin; /* the descriptor: a copy, zero-filled where the plugin is older */
    struct log_subject subject; /* .plugin is the id */
    struct server *server;      /* the server that its services act on; set before module_load() */
    const char *config_folder;  /* of relative paths in a "config"; set before module_load() */
    void *state;                /* what `load` set */
    bool kept;                  /* stored for the next host: see control/last_good_config.h */
    bool loaded;                /* `load` has succeeded: `unload` must be called */
    bool abandoned;      /* its code has not returned by the deadline: it is never unmapped */
    unsigned generation; /* of the configuration change that loaded it: see control/reconcile.h */
    unsigned users;      /* generations of listeners that it serves */
    struct plugin_stats *stats; /* its call times, and what it holds */
    struct module *prev;        /* utlist: the runtime's */
    struct module *next;
    char id[MODULE_ID_MAX + 1];
    char *file;                        /* the file in the plugins folder */
    struct os_file_status file_status; /* of it, just before it was copied */
    struct module_files files;         /* beside the library, in the plugin's own folder */
    struct os_copy *copy;              /* the private copy that is mapped */
    struct os_library *library;
    char unique_symbol[64]; /* a symbol that all generations would share; "": none */
};

/* Which files are accepted as plugins, and how: "host.plugin_files" of the manifest. */
struct module_rules {
    uint64_t bytes_max;   /* of a file */
    bool loads_untrusted; /* also accept files that other users can change */
    const char *copies; /* the folder for private copies; NULL: the system's for temporary files */
    bool tried;         /* loaded in a separate process first (load_probe.h) */
    const char *served; /* a file equal to the one of its name in this folder has served before and
                         * is not tried; NULL: no such folder */
};
#define MODULE_FILE_BYTES_MAX (UINT64_C(256) * 1024 * 1024) /* by default */

/* Whether text can be a plugin's id. */
bool module_id_valid(const char *id);

/* Finds, copies, maps and verifies the plugin, and calls only its pure entry function. `services`
 * is the table that the plugin's own is copied from; `generation`: its number. The message names
 * the file, what was found and what is needed. */
struct module *module_open(const char *folder, const char *id, const struct module_rules *rules,
                           const struct berth_host *services, unsigned generation,
                           struct error *error);

/* Whether its file is still the one that was loaded, by the file's status. */
bool module_is_current(const struct module *module);

/* It was loaded from another folder, but its file belongs in this one: it is current if the file
 * there has the same bytes. */
bool module_move(struct module *module, const char *folder, struct error *error);

/* Calls the plugin's `load`. With a limit, it runs on a separate thread; if it has not returned by
 * the deadline, the result is false and `abandoned` is set. NULL: on this thread. */
bool module_load(struct module *module, const struct timed_call_limit *limit, struct error *error);

/* Calls `unload` if `load` has succeeded. Posts of the plugin may still run after that, so the
 * library stays mapped until module_close(). */
void module_unload(struct module *module);

/* module_unload(), unmaps the library, verifies that it is gone, and removes the copy. A library
 * that stays mapped is logged; then false. NULL is legal. */
bool module_close(struct module *module);

/* Logs one line about it. [control] */
void module_describe(const struct module *module, char *text, size_t size);

/* Every file in the folder that is named like a plugin, sorted by name. */
struct module_listed {
    char id[MODULE_ID_MAX + 64]; /* the name without the suffix, valid as an id or not */
};
struct module_list {
    struct module_listed *items;
    size_t count;
    const char *folder; /* while the list is being made */
    bool failed;        /* the same: no memory */
};
bool module_list_init(struct module_list *list, const char *folder, struct error *error);
void module_list_fini(struct module_list *list);

#endif
