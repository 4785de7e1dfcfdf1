/* library.h: a plugin's library, loaded for a test.
 *
 * Does the same as host/plugin/module, in separate steps: `plugin validate` reports which one
 * failed.
 *
 * Owner: the caller of library_open(). Threads: [control]. */
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
    struct os_copy *copy; /* the private copy that is mapped */
    char id[64];
    enum library_stage stage; /* the last stage reached */
    struct os_library *handle;
    berth_plugin_entry_fn entry;
    const struct berth_plugin *found; /* the plugin's own descriptor */
    struct berth_plugin plugin;       /* the part that the host uses */
    struct schema *schema;            /* of its config; NULL: none */
};

/* A library must be closed even if library_open() failed. */
bool library_open(struct library *library, const char *file, struct error *error);
/* Whether the config, a JSON text, conforms to the schema; the error lists all violations. NULL: no
 * config was given. */
bool library_check_config(struct library *library, const char *json, struct error *error);
/* Unmaps it and removes the copy. False: it stays mapped. */
bool library_close(struct library *library);

#endif
