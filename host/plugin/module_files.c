#include "plugin/module_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

/* FOLDER/NAME.so, or FOLDER/NAME/NAME.so. */
static bool library_path(char *path, size_t size, const char *plugins, const char *id,
                         bool has_folder) {
    char folder[OS_PATH_MAX];
    char name[MODULE_ID_MAX + 16];
    snprintf(name, sizeof(name), "%.63s%s", id, os_library_suffix());
    return has_folder ? os_path_join(folder, sizeof(folder), plugins, id) &&
                            os_path_join(path, size, folder, name)
                      : os_path_join(path, size, plugins, name);
}

char *module_files_find(const char *plugins, const char *id, bool *has_folder,
                        struct error *error) {
    char alone[OS_PATH_MAX];
    char inside[OS_PATH_MAX];
    if (!library_path(alone, sizeof(alone), plugins, id, false)) {
        error_set(error, "plugin \"%s\": the path %s is too long", id, plugins);
        return NULL;
    }
    *has_folder = library_path(inside, sizeof(inside), plugins, id, true) && os_file_exists(inside);
    if (*has_folder && os_file_exists(alone)) {
        error_set(error, "plugin \"%s\": there are %s and %s: remove one of them", id, alone,
                  inside);
        return NULL;
    }
    char *path = alloc_string(*has_folder ? inside : alone);
    if (!path) {
        error_set(error, "plugin \"%s\": out of memory", id);
    }
    return path;
}

bool module_files_exist(const char *plugins, const char *id) {
    char path[OS_PATH_MAX];
    return (library_path(path, sizeof(path), plugins, id, false) && os_file_exists(path)) ||
           (library_path(path, sizeof(path), plugins, id, true) && os_file_exists(path));
}

/* The last name of a path. */
static const char *last_name(const char *path) {
    const char *name = path;
    for (const char *at = path; *at; at++) {
        if (*at == '/' || (*at == '\\' && os_library_suffix()[1] == 'd')) {
            name = at + 1;
        }
    }
    return name;
}

bool module_files_path(char *path, size_t size, const char *library, const char *name) {
    char folder[OS_PATH_MAX];
    return os_path_folder(folder, sizeof(folder), library) &&
           os_path_join(path, size, folder, name);
}

/* -- listing --------------------------------------------------------------- */

struct listing {
    struct module_files *files;
    const char *main;
    struct error *error;
    bool failed;
};

static bool add_file(void *context, const char *name) {
    struct listing *listing = context;
    struct module_files *files = listing->files;
    if (name[0] == '.' || os_path_same(name, listing->main)) {
        return true;
    }
    if (files->count == MODULE_FILES_MAX || strlen(name) > MODULE_FILE_NAME_MAX) {
        listing->failed = true;
        return error_set(listing->error,
                         files->count == MODULE_FILES_MAX
                             ? "there are more than %d files beside it"
                             : "a name beside it has more than 255 bytes",
                         MODULE_FILES_MAX);
    }
    struct module_file *grown =
        alloc_resize(files->items, (files->count + 1) * sizeof(*files->items));
    if (!grown) {
        listing->failed = true;
        return error_set(listing->error, "out of memory");
    }
    files->items = grown;
    grown[files->count] = (struct module_file){0};
    snprintf(grown[files->count].name, sizeof(grown->name), "%s", name);
    files->count++;
    return true;
}

static int compare_names(const void *left, const void *right) {
    const struct module_file *one = left;
    const struct module_file *other = right;
    return strcmp(one->name, other->name);
}

bool module_files_list(struct module_files *files, const char *library, bool has_folder,
                       struct error *error) {
    char folder[OS_PATH_MAX];
    struct listing listing = {files, last_name(library), error, false};
    *files = (struct module_files){.has_folder = has_folder};
    if (!has_folder) {
        return true;
    }
    if (!os_path_folder(folder, sizeof(folder), library) ||
        !os_folder_visit(folder, add_file, &listing, error) || listing.failed) {
        module_files_fini(files);
        return false;
    }
    if (files->count > 1) {
        qsort(files->items, files->count, sizeof(*files->items), compare_names);
    }
    return true;
}

void module_files_fini(struct module_files *files) {
    alloc_free(files->items);
    *files = (struct module_files){0};
}

static bool is_current(const char *library, const struct module_file *known) {
    char path[OS_PATH_MAX];
    struct os_file_status now;
    struct os_file file;
    if (!module_files_path(path, sizeof(path), library, known->name) ||
        !os_file_open(&file, path, NULL)) {
        return false;
    }
    bool same = os_file_status(&file, &now, NULL) && os_file_status_same(&now, &known->status);
    os_file_close(&file);
    return same;
}

bool module_files_are_current(const struct module_files *files, const char *library) {
    struct module_files now;
    struct error ignored = {0};
    if (!module_files_list(&now, library, files->has_folder, &ignored)) {
        return false;
    }
    bool same = now.count == files->count;
    for (size_t i = 0; i < now.count && same; i++) {
        same = strcmp(now.items[i].name, files->items[i].name) == 0 &&
               is_current(library, &files->items[i]);
    }
    module_files_fini(&now);
    return same;
}
