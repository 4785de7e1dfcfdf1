#include "devkit/library.h"

#include "devkit/testbed.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/schema.h"
#include "os/os.h"
#include "os/os_private.h"
#include "plugin/descriptor.h"
#include "plugin/module.h"
#include "plugin/module_files.h"

/* The plugin's id is the file's name. */
static bool read_id(struct library *library, struct error *error) {
    const char *name = library->file;
    for (const char *at = name; *at; at++) {
        if (*at == '/' || *at == '\\') {
            name = at + 1;
        }
    }
    size_t length = strlen(name);
    size_t suffix = strlen(os_library_suffix());
    if (length <= suffix || strcmp(name + length - suffix, os_library_suffix()) != 0) {
        return error_set(error, "%s is not called ID%s", library->file, os_library_suffix());
    }
    snprintf(library->id, sizeof(library->id), "%.*s", (int)(length - suffix), name);
    return (length - suffix < sizeof(library->id) && module_id_valid(library->id)) ||
           error_set(error, "\"%.*s\" is not a plugin's id: 1 to %d of a-z, 0-9 and -",
                     (int)(length - suffix), name, MODULE_ID_MAX);
}

/* Whether the library is in a folder of its own, like a plugin of several files in the plugins
 * folder. */
static bool has_folder(const struct library *library) {
    char folder[OS_PATH_MAX];
    if (!os_path_folder(folder, sizeof(folder), library->file)) {
        return false;
    }
    const char *name = folder;
    for (const char *at = folder; *at; at++) {
        name = *at == '/' || *at == '\\' ? at + 1 : name;
    }
    return strcmp(name, library->id) == 0;
}

/* "libfoo.so", "libfoo.so.1", "foo.dll": the folder may also contain sources and other files. */
static bool is_library_name(const char *name) {
    const char *found = strstr(name, os_library_suffix());
    const char *end = found ? found + strlen(os_library_suffix()) : "x";
    return *end == '\0' || *end == '.';
}

static bool copy_one_beside(const struct library *library, const char *name, struct error *error) {
    char path[OS_PATH_MAX];
    struct os_file file;
    if (!module_files_path(path, sizeof(path), library->file, name) ||
        !os_file_open(&file, path, error)) {
        return false;
    }
    bool copied = os_copy_add(library->copy, &file, name, MODULE_FILE_BYTES_MAX, error);
    os_file_close(&file);
    return copied;
}

static bool library_copy_beside(const struct library *library, struct error *error) {
    struct module_files files;
    char alias[96];
    unsigned count = 0;
    bool copied = module_files_list(&files, library->file, has_folder(library), error);
    for (size_t i = 0; i < files.count && copied; i++) {
        if (is_library_name(files.items[i].name)) {
            copied = copy_one_beside(library, files.items[i].name, error);
            count++;
        }
    }
    module_files_fini(&files);
    snprintf(alias, sizeof(alias), "%s%s", library->id, os_library_suffix());
    return copied && (count == 0 || os_copy_join(library->copy, alias, error));
}

/* Write permissions of the file are not checked: the user names it, and it is loaded in a child
 * process. */
static bool library_copy_file(struct library *library, struct error *error) {
    static const struct os_copy_rules rules = {.bytes_max = MODULE_FILE_BYTES_MAX};
    struct os_file file;
    struct os_file_status status;
    char name[96];
    if (!os_file_exists(library->file)) {
        return error_set(error, "there is no file %s", library->file);
    }
    if (!os_file_open(&file, library->file, error)) {
        return false;
    }
    snprintf(name, sizeof(name), "%s%s", library->id, os_library_suffix());
    if (!os_file_status(&file, &status, error)) {
        /* the error is set */
    } else if (status.size > rules.bytes_max) {
        error_set(error, "it has %llu bytes, and at most %llu are loaded",
                  (unsigned long long)status.size, (unsigned long long)rules.bytes_max);
    } else {
        library->copy = os_copy_create(&file, name, &rules, error);
    }
    os_file_close(&file);
    return (library->copy && library_copy_beside(library, error)) ||
           error_prefix(error, "copying it: ");
}

bool library_open(struct library *library, const char *file, struct error *error) {
    *library = (struct library){.file = alloc_string(file)};
    if (!library->file) {
        return error_set(error, "out of memory");
    }
    if (!read_id(library, error) || !library_copy_file(library, error)) {
        return false;
    }
    library->stage = LIBRARY_MAPPED;
    library->handle = os_library_open(os_copy_path(library->copy), error);
    if (!library->handle) {
        return error_prefix(error, "the system cannot load it: ");
    }
    library->stage = LIBRARY_EXPORTS;
    void *symbol = os_library_symbol(library->handle, BERTH_PLUGIN_ENTRY_NAME);
    if (!symbol) {
        return error_set(error, "it exports no " BERTH_PLUGIN_ENTRY_NAME "(): not a Berth plugin");
    }
    _Static_assert(sizeof(library->entry) == sizeof(symbol), "a symbol's address is a function's");
    memcpy(&library->entry, &symbol, sizeof(symbol));
    library->stage = LIBRARY_ENTRY;
    library->found = library->entry();
    if (!library->found) {
        return error_set(error, "its " BERTH_PLUGIN_ENTRY_NAME "() returned NULL");
    }
    if (!descriptor_read(library->found, library->id, &library->plugin, error)) {
        return false;
    }
    if (library->plugin.config_schema_json) {
        library->schema = schema_create(library->plugin.config_schema_json, error);
        if (!library->schema) {
            return false;
        }
    }
    library->stage = LIBRARY_READ;
    return true;
}

bool library_check_config(struct library *library, const char *json, struct error *error) {
    char words[ERROR_MESSAGE_MAX - 128];
    return !json || !library->schema ||
           schema_check_text(library->schema, json, words, sizeof(words)) ||
           error_set(error, "the config does not fit its config_schema_json:\n%s", words);
}

bool library_close(struct library *library) {
    bool keep = (library->plugin.flags & BERTH_PLUGIN_NO_UNLOAD) != 0 || testbed_is_abandoned();
    bool gone = true;
    if (library->handle && !keep) {
        gone = os_library_close(library->handle);
    }
    os_copy_remove(library->copy, keep || !gone);
    schema_destroy(library->schema);
    alloc_free(library->file);
    *library = (struct library){0};
    return gone;
}
