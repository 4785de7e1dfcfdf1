/* module_files.h: the files of one plugin: a library alone in the plugins folder, or a folder of
 * its own with libraries beside it.
 *
 *     plugins/NAME.so             a plugin of one file
 *     plugins/NAME/NAME.so        a plugin of several files: all that lies beside it belongs to it
 *
 * Owner: the caller. Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_MODULE_FILES_H
#define BERTH_HOST_PLUGIN_MODULE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/os.h"

#define MODULE_ID_MAX 63     /* [a-z0-9-]{1,63} */
#define MODULE_FILES_MAX 256 /* beside the library */
#define MODULE_FILE_NAME_MAX 255

struct module_file {
    char name[MODULE_FILE_NAME_MAX + 1];
    struct os_file_status status; /* just before it was copied */
};

struct module_files {
    bool has_folder; /* else the plugin is the library only, whatever else is in the plugins folder
                      */
    struct module_file *items; /* by name */
    size_t count;
};

/* The path of a plugin's library, or where it would be if there is none: allocated. A plugin that
 * exists in both forms is an error. NULL: that, or no memory. */
char *module_files_find(const char *plugins, const char *id, bool *has_folder, struct error *error);

/* Whether it exists in either form. */
bool module_files_exist(const char *plugins, const char *id);

/* The files beside the library, without their status; none if it has no folder of its own. Names
 * that begin with a dot are skipped. */
bool module_files_list(struct module_files *files, const char *library, bool has_folder,
                       struct error *error);
void module_files_fini(struct module_files *files);

/* The path of a file beside the library. */
bool module_files_path(char *path, size_t size, const char *library, const char *name);

/* Whether the same files are still beside the library, by their status. */
bool module_files_are_current(const struct module_files *files, const char *library);

#endif
