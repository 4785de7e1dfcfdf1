#include "control/kept.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/instance.h"
#include "manifest/manifest.h"
#include "module/module.h"
#include "os/os.h"
#include "os/os_private.h"

static const char manifest_name[] = "manifest.json";

struct os_private *kept_create(void) {
    struct error error = {0};
    struct os_private *folder = os_private_create(NULL, &error);
    if (!folder) {
        log_warn(NULL, "supervisor: what is served cannot be kept for the next host: %s",
                 error.message);
    }
    return folder;
}

/* -- the host's side -----------------------------------------------------------------------------
 */

static bool write_file(const char *folder, const char *name, const char *text, size_t size,
                       struct error *error) {
    char path[OS_PATH_MAX];
    return os_path_join(path, sizeof(path), folder, name) &&
           os_file_write_atomic(path, text, size, error);
}

/* The private copy is what runs, whatever has become of the file that it was made from. */
static bool write_module(const char *folder, const struct module *module, struct error *error) {
    char name[MODULE_ID_MAX + 16];
    char *bytes;
    size_t size;
    if (!os_file_read(os_copy_path(module->copy), SIZE_MAX, &bytes, &size, error)) {
        return false;
    }
    snprintf(name, sizeof(name), "%s%s", module->id, os_library_suffix());
    bool written = write_file(folder, name, bytes, size, error);
    alloc_free(bytes);
    return written;
}

void kept_write(const char *folder, const struct instance *instance) {
    const struct manifest *manifest = instance->edition->manifest;
    const struct unit *unit;
    struct error error = {0};
    if (!folder) {
        return;
    }
    bool written = !manifest->text ||
                   write_file(folder, manifest_name, manifest->text, manifest->text_size, &error);
    DL_FOREACH(instance->serving, unit) {
        if (!unit->module->kept) {
            unit->module->kept = write_module(folder, unit->module, &error);
            written = written && unit->module->kept;
        }
    }
    if (!written) {
        log_warn(NULL, "what is served cannot be kept for after a crash: %s", error.message);
    }
}

bool kept_is_there(const char *folder) {
    char file[OS_PATH_MAX];
    return os_path_join(file, sizeof(file), folder, manifest_name) && os_file_exists(file);
}

struct edition *kept_edition(const char *folder, const char *path) {
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
    return edition_create(manifest);
}
