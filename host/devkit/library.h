/* library.h: a plugin's file, mapped for trying it.
 *
 * As host/module does it, in steps of its own: whoever validates wants to know which one failed.
 *
 * Owner: whoever opened it. Threads: [control]. */
#ifndef BERTH_HOST_DEVKIT_LIBRARY_H
#define BERTH_HOST_DEVKIT_LIBRARY_H

#include <stdbool.h>

#include "berth/plugin.h"

struct error;
struct os_copy;
struct os_library;
struct schema;

enum library_stage { LIBRARY_FILE, LIBRARY_MAPPED, LIBRARY_EXPORTS, LIBRARY_ENTRY, LIBRARY_READ };

struct library {
    char *file;           /* as given */
    struct os_copy *copy; /* the private one that is mapped */
    char id[64];
    enum library_stage stage; /* how far it came */
    struct os_library *handle;
    berth_plugin_entry_fn entry;
    const struct berth_plugin *found; /* the plugin's own descriptor */
    struct berth_plugin plugin;       /* what the host uses of it */
    struct schema *schema;            /* of its config; NULL: it has none */
};

/* Also a library that could not be opened must be closed. */
bool library_open(struct library *library, const char *file, struct error *error);
/* Whether the config, a JSON text, is as its schema says; the error tells all that is wrong. NULL
 * is a config that was not given. */
bool library_check_config(struct library *library, const char *json, struct error *error);
/* Unmaps it and removes the copy. False: it stays mapped. */
bool library_close(struct library *library);

#endif
