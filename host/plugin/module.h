/* module.h: one generation of a plugin: found, copied aside, loaded, verified, and unloaded again.
 *
 * The file in the plugins folder is copied to a private, unique name and the copy is loaded, so
 * that the original can be replaced while the host runs (Windows locks a loaded DLL; on Linux a
 * file that is overwritten under a mapping is a SIGBUS). Libraries are looked for in the plugins
 * folder alone, by an id without path parts; a plugin of several files has a folder there
 * (files.h).
 *
 * Owner: whoever loaded it. Threads: all functions [control]; the descriptor and the table are
 * read-only after loading and read by every worker. */
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
    struct berth_host host; /* this plugin's own table of services; its address leads back here */
    struct berth_plugin plugin; /* the descriptor: a copy, zero-filled where the plugin is older */
    struct log_subject subject; /* .plugin is the id */
    struct server *server;      /* whom its services reach; set before module_load() */
    const char *config_folder;  /* of relative paths in a "config"; set before module_load() */
    void *state;                /* what `load` set */
    bool kept;                  /* for the next host: see control/kept.h */
    bool loaded;                /* `load` has succeeded: `unload` is owed */
    bool abandoned;      /* code of it has not returned by its deadline: it stays mapped for good */
    unsigned generation; /* of the change that brought it: see control/change.h */
    unsigned users;      /* generations of listeners that it serves */
    struct plugin_stats *stats; /* what it takes and holds */
    struct module *prev;        /* utlist: the instance's */
    struct module *next;
    char id[MODULE_ID_MAX + 1];
    char *file;                        /* the file in the plugins folder */
    struct os_file_status file_status; /* of it, just before it was copied */
    struct module_files files;         /* that lie beside it, in a folder of its own */
    struct os_copy *copy;              /* the private copy that is mapped */
    struct os_library *library;
    char unique_symbol[64]; /* one that all generations would share; "" */
};

/* Which files are taken for plugins, and how: "host.plugin_files" of the manifest. */
struct module_rules {
    uint64_t bytes_max;   /* of a file */
    bool loads_untrusted; /* also what other users can change; else it is refused */
    const char *copies; /* the folder for private copies; NULL: the system's for temporary files */
    bool tried;         /* in a process of its own first (trial.h) */
    const char *served; /* unless it is the same as the file of its name in this folder, which has
                           served before; NULL: there is none */
};
#define MODULE_FILE_BYTES_MAX (UINT64_C(256) * 1024 * 1024) /* by default */

/* Whether text can be a plugin's id. */
bool module_id_valid(const char *id);

/* Finds, copies, maps and verifies the plugin, and calls nothing in it but its pure entry function.
 * `services` is the table that the plugin's own is copied from; `generation`: its number. The
 * message names the file, what was found and what is needed. */
struct module *module_open(const char *folder, const char *id, const struct module_rules *rules,
                           const struct berth_host *services, unsigned generation,
                           struct error *error);

/* Whether its file is still the one that was loaded, as far as its status tells. */
bool module_is_current(const struct module *module);

/* It was opened from somewhere else, and belongs into that folder all the same; it is current when
 * the file there has the same bytes. */
bool module_move(struct module *module, const char *folder, struct error *error);

/* Calls the plugin's `load`. With a limit, on a thread of its own: false, and `abandoned`, when it
 * has not returned by then. NULL: on this thread. */
bool module_load(struct module *module, const struct timed_call_limit *limit, struct error *error);

/* Calls `unload` if it is owed. What the plugin has posted may still run afterwards, so the library
 * stays mapped until module_close(). */
void module_unload(struct module *module);

/* module_unload(), unmaps the library, verifies that it is gone, and removes the copy. A library
 * that stays mapped is logged; then false. NULL is legal. */
bool module_close(struct module *module);

/* One line on it. [control] */
void module_describe(const struct module *module, char *text, size_t size);

/* Every file in the folder that looks like a plugin, in the order of the names. */
struct module_listed {
    char id[MODULE_ID_MAX + 64]; /* the name without the suffix, valid as an id or not */
};
struct module_list {
    struct module_listed *items;
    size_t count;
    const char *folder; /* while it is being made */
    bool failed;        /* the same: no memory */
};
bool module_list_init(struct module_list *list, const char *folder, struct error *error);
void module_list_fini(struct module_list *list);

#endif
