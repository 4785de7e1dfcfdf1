#include "control/last_good_config.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/runtime.h"
#include "manifest/manifest.h"
#include "os/os.h"
#include "os/os_private.h"
#include "plugin/module.h"

static const char manifest_name[] = "manifest.json";

struct os_private *last_good_config_create(void) {
    struct error error = {0};
    struct os_private *folder = os_private_create(NULL, &error);
    if (!folder) {
        log_warn(NULL, "supervisor: what is served cannot be kept for the next host: %s",
                 error.message);
    }
    return folder;
}

/* -- the host's side ------------------------------------------------------- */

static bool last_good_config_write_file(const char *folder, const char *name, const char *text,
                                        size_t size, struct error *error) {
    char path[OS_PATH_MAX];
    return os_path_join(path, sizeof(path), folder, name) &&
           os_file_write_atomic(path, text, size, error);
}

/* Copies the private copy, which is what runs; the file it was made from may have changed. */
static bool last_good_config_write_copy(const char *folder, const struct module *module,
                                        const char *copy_name, const char *name,
                                        struct error *error) {
    char path[OS_PATH_MAX];
    char *bytes;
    size_t size;
    if (!os_copy_original(module->copy, copy_name, path, sizeof(path)) ||
        !os_file_read(path, SIZE_MAX, &bytes, &size, error)) {
        return false;
    }
    bool written = last_good_config_write_file(folder, name, bytes, size, error);
    alloc_free(bytes);
    return written;
}

static bool last_good_config_remove_one(void *context, const char *name) {
    char path[OS_PATH_MAX];
    if (os_path_join(path, sizeof(path), context, name)) {
        os_file_remove(path);
    }
    return true;
}

/* Removes the copy of an older generation, which may consist of one file or of several. */
static bool clear_place(char *own, size_t size, const char *folder, const struct module *module,
                        const char *name) {
    if (!os_path_join(own, size, folder, module->id)) {
        return false;
    }
    last_good_config_remove_one((void *)folder, name);
    os_folder_visit(own, last_good_config_remove_one, own, NULL);
    os_folder_remove(own);
    return true;
}

static bool write_module(const char *folder, const struct module *module, struct error *error) {
    char name[MODULE_ID_MAX + 16];
    char own[OS_PATH_MAX];
    const char *copy = os_copy_path(module->copy);
    const char *copy_name = copy;
    for (const char *at = copy; *at; at++) {
        copy_name = *at == '/' || *at == '\\' ? at + 1 : copy_name;
    }
    snprintf(name, sizeof(name), "%s%s", module->id, os_library_suffix());
    if (!module->files.has_folder) {
        return clear_place(own, sizeof(own), folder, module, name) &&
               last_good_config_write_copy(folder, module, copy_name, name, error);
    }
    bool written = clear_place(own, sizeof(own), folder, module, name) &&
                   os_folder_create(own, error) &&
                   last_good_config_write_copy(own, module, copy_name, name, error);
    for (size_t i = 0; i < module->files.count && written; i++) {
        const char *one = module->files.items[i].name;
        written = last_good_config_write_copy(own, module, one, one, error);
    }
    return written;
}

void last_good_config_write(const char *folder, const struct runtime *runtime) {
    const struct manifest *manifest = runtime->config_snapshot->manifest;
    const struct listener_generation *generation;
    struct error error = {0};
    if (!folder) {
        return;
    }
    bool written =
        !manifest->text || last_good_config_write_file(folder, manifest_name, manifest->text,
                                                       manifest->text_size, &error);
    DL_FOREACH(runtime->serving, generation) {
        if (!generation->module->kept) {
            generation->module->kept = write_module(folder, generation->module, &error);
            written = written && generation->module->kept;
        }
    }
    if (!written) {
        log_warn(NULL, "what is served cannot be kept for after a crash: %s", error.message);
    }
}

bool last_good_config_exists(const char *folder) {
    char file[OS_PATH_MAX];
    return os_path_join(file, sizeof(file), folder, manifest_name) && os_file_exists(file);
}

struct config_snapshot *last_good_config_load(const char *folder, const char *path) {
    struct manifest_errors errors = {0};
    char *text;
    size_t size;
    char file[OS_PATH_MAX];
    if (!os_path_join(file, sizeof(file), folder, manifest_name) ||
        !os_file_read(file, MANIFEST_BYTES_MAX, &text, &size, NULL)) {
        return NULL;
    }
    struct manifest *manifest = manifest_parse(path, text, size, &errors);
    manifest_errors_fini(&errors);
    if (!manifest) {
        alloc_free(text);
        return NULL;
    }
    manifest->text = text;
    manifest->text_size = size;
    return config_snapshot_create(manifest);
}
