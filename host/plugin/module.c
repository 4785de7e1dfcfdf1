#include "plugin/module.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/text.h"
#include "os/os.h"
#include "os/os_crash.h"
#include "os/os_private.h"
#include "plugin/callback_guard.h"
#include "plugin/descriptor.h"
#include "plugin/load_probe.h"
#include "plugin/module_files.h"
#include "plugin/plugin_stats.h"
#include "plugin/timed_call.h"

enum { COMPARE_BYTES = 65536 };

bool module_id_valid(const char *id) {
    size_t length = strlen(id);
    return length >= 1 && length <= MODULE_ID_MAX &&
           strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

/* -- the file and its private copy ----------------------------------------- */

static bool name_file(struct module *module, const char *folder, struct error *error) {
    module->file = module_files_find(folder, module->id, &module->files.has_folder, error);
    return module->file != NULL;
}

static bool find_file(struct module *module, const char *folder, struct error *error) {
    if (!name_file(module, folder, error)) {
        return false;
    }
    if (!os_file_exists(module->file)) {
        return error_set(error, "no plugin \"%s\": there is no %s%s in %s", module->id, module->id,
                         os_library_suffix(), folder);
    }
    return true;
}

static bool read_status(const char *path, struct os_file_status *status) {
    struct os_file file;
    if (!os_file_open(&file, path, NULL)) {
        return false;
    }
    bool read = os_file_status(&file, status, NULL);
    os_file_close(&file);
    return read;
}

bool module_is_current(const struct module *module) {
    struct os_file_status now;
    return read_status(module->file, &now) && os_file_status_same(&now, &module->file_status) &&
           module_files_are_current(&module->files, module->file);
}

/* All of its files together. */
static bool module_check_size(uint64_t size, const struct module_rules *rules,
                              struct error *error) {
    return size <= rules->bytes_max ||
           error_set(error,
                     "it has %llu bytes, and at most %llu are loaded (host.plugin_files.bytes_max)",
                     (unsigned long long)size, (unsigned long long)rules->bytes_max);
}

/* A user who can change the file decides what this process runs. */
static bool check_trust(const struct module *module, const struct os_file *file, const char *path,
                        const struct module_rules *rules, struct error *error) {
    struct error why = {0};
    if (os_file_is_trusted(file, path, &why)) {
        return true;
    }
    if (!rules->loads_untrusted) {
        return error_set(error,
                         "%.700s; or set \"host\": {\"plugin_files\": {\"untrusted\": \"load\"}} "
                         "to load it all the same",
                         why.message);
    }
    log_warn(&module->subject, "%s; it is loaded all the same (host.plugin_files.untrusted)",
             why.message);
    return true;
}

/* Every generation has a folder of its own, so that its name is unique however often it is loaded.
 * The check and the copy use one handle, so that the file that was checked is the one that is
 * copied. */
static bool copy_open_file(struct module *module, const struct os_file *file,
                           const struct module_rules *rules, struct error *error) {
    char name[MODULE_ID_MAX + 32];
    const struct os_copy_rules copies = {.place = rules->copies, .bytes_max = rules->bytes_max};
    if (!os_file_status(file, &module->file_status, error) ||
        !module_check_size(module->file_status.size, rules, error) ||
        !check_trust(module, file, module->file, rules, error)) {
        return false;
    }
    snprintf(name, sizeof(name), "%s.%u%s", module->id, module->generation, os_library_suffix());
    module->copy = os_copy_create(file, name, &copies, error);
    if (!module->copy) {
        return error_prefix(error, "making its private copy (host.plugin_files.copies): ");
    }
    if (os_copy_note(module->copy)[0] != '\0') {
        log_info(&module->subject, "its private copy is kept in memory: %s",
                 os_copy_note(module->copy));
    }
    return true;
}

/* A file beside the library, by the same rules. */
static bool module_copy_beside(struct module *module, struct module_file *one, uint64_t *bytes,
                               const struct module_rules *rules, struct error *error) {
    char path[OS_PATH_MAX];
    struct os_file file;
    if (!module_files_path(path, sizeof(path), module->file, one->name)) {
        return error_set(error, "the path of %s is too long", one->name);
    }
    if (!os_file_open(&file, path, error)) {
        return error_prefix(error, "%s, which lies beside it (only files may): ", one->name);
    }
    bool copied = os_file_status(&file, &one->status, error);
    *bytes += one->status.size;
    copied = copied && module_check_size(*bytes, rules, error) &&
             check_trust(module, &file, path, rules, error) &&
             os_copy_add(module->copy, &file, one->name, rules->bytes_max, error);
    os_file_close(&file);
    return copied || error_prefix(error, "%s, which lies beside it: ", one->name);
}

static bool copy_all_beside(struct module *module, const struct module_rules *rules,
                            struct error *error) {
    char alias[MODULE_ID_MAX + 16];
    uint64_t bytes = module->file_status.size;
    if (!module_files_list(&module->files, module->file, module->files.has_folder, error)) {
        return false;
    }
    for (size_t i = 0; i < module->files.count; i++) {
        if (!module_copy_beside(module, &module->files.items[i], &bytes, rules, error)) {
            return false;
        }
    }
    snprintf(alias, sizeof(alias), "%s%s", module->id, os_library_suffix());
    return module->files.count == 0 || os_copy_join(module->copy, alias, error);
}

static bool module_copy_file(struct module *module, const struct module_rules *rules,
                             struct error *error) {
    struct os_file file;
    if (!os_file_open(&file, module->file, error)) {
        return false;
    }
    bool copied = copy_open_file(module, &file, rules, error);
    os_file_close(&file);
    return copied && copy_all_beside(module, rules, error);
}

/* Whether both open files have the same bytes. */
static bool have_same_bytes(const struct os_file *one, const struct os_file *other) {
    static char bytes[2][COMPARE_BYTES]; /* of the control thread */
    uint64_t offset = 0;
    int64_t size;
    do {
        size = os_file_read_at(one, offset, bytes[0], COMPARE_BYTES);
        if (size < 0 || os_file_read_at(other, offset, bytes[1], COMPARE_BYTES) != size ||
            memcmp(bytes[0], bytes[1], (size_t)size) != 0) {
            return false;
        }
        offset += (uint64_t)size;
    } while (size > 0);
    return true;
}

/* The copy is what is loaded, so it is compared, with the bytes that it had when it was copied. */
static bool has_bytes_of(const struct module *module, const char *copy_name, const char *path) {
    char copy_path[OS_PATH_MAX];
    struct os_file copy;
    struct os_file file;
    if (!os_copy_original(module->copy, copy_name, copy_path, sizeof(copy_path)) ||
        !os_file_open(&copy, copy_path, NULL)) {
        return false;
    }
    bool same = false;
    if (os_file_open(&file, path, NULL)) {
        same = have_same_bytes(&copy, &file);
        os_file_close(&file);
    }
    os_file_close(&copy);
    return same;
}

static const char *name_of_copy(const struct module *module) {
    const char *name = os_copy_path(module->copy);
    for (const char *at = name; *at; at++) {
        name = *at == '/' || *at == '\\' ? at + 1 : name;
    }
    return name;
}

/* Whether the files at that library, and beside it, are those that were copied. */
static bool has_files_of(const struct module *module, const char *library, bool has_folder) {
    struct module_files files;
    struct error ignored = {0};
    if (!has_bytes_of(module, name_of_copy(module), library) ||
        !module_files_list(&files, library, has_folder, &ignored)) {
        return false;
    }
    bool same = files.count == module->files.count;
    for (size_t i = 0; i < files.count && same; i++) {
        char path[OS_PATH_MAX];
        const char *name = files.items[i].name;
        same = strcmp(name, module->files.items[i].name) == 0 &&
               module_files_path(path, sizeof(path), library, name) &&
               has_bytes_of(module, name, path);
    }
    module_files_fini(&files);
    return same;
}

/* Whether it is the library that has served before, of which a copy is in that folder. */
static bool has_served(const struct module *module, const char *folder) {
    struct error ignored = {0};
    bool has_folder = false;
    char *served = folder ? module_files_find(folder, module->id, &has_folder, &ignored) : NULL;
    bool same = served && has_files_of(module, served, has_folder);
    alloc_free(served);
    return same;
}

/* Updates the status of files that are equal to what was copied. */
static void take_statuses(struct module *module) {
    bool same = has_files_of(module, module->file, module->files.has_folder) &&
                read_status(module->file, &module->file_status);
    for (size_t i = 0; i < module->files.count; i++) {
        struct module_file *one = &module->files.items[i];
        char path[OS_PATH_MAX];
        one->status = (struct os_file_status){0};
        if (same && module_files_path(path, sizeof(path), module->file, one->name)) {
            read_status(path, &one->status);
        }
    }
}

bool module_move(struct module *module, const char *folder, struct error *error) {
    alloc_free(module->file);
    module->file = NULL;
    module->file_status = (struct os_file_status){0};
    if (!name_file(module, folder, error)) {
        return false;
    }
    take_statuses(module);
    return true;
}

/* -- opening --------------------------------------------------------------- */

static bool module_open_stats(struct module *module, struct error *error) {
    module->stats = plugin_stats_create(module->id, module->generation);
    return module->stats || error_set(error, "out of memory");
}

/* The symbol may be in any of its libraries. */
static void find_unique_symbol(struct module *module) {
    char path[OS_PATH_MAX];
    size_t size = sizeof(module->unique_symbol);
    os_library_unique_symbol(os_copy_path(module->copy), module->unique_symbol, size);
    for (size_t i = 0; i < module->files.count && module->unique_symbol[0] == '\0'; i++) {
        if (os_copy_original(module->copy, module->files.items[i].name, path, sizeof(path))) {
            os_library_unique_symbol(path, module->unique_symbol, size);
        }
    }
}

/* What runs when a library is loaded is the plugin's code, too, and may end the process. */
static bool read_plugin(struct module *module, const struct module_rules *rules,
                        struct error *error) {
    const char *path = os_copy_path(module->copy);
    if (!os_library_check(path, UINT64_MAX, error)) {
        return error_prefix(error, "the system cannot load it: ");
    }
    if (rules->tried && !has_served(module, rules->served) &&
        !load_probe_run(module->copy, module->id, error)) {
        return false;
    }
    find_unique_symbol(module);
    struct plugin_thread *call = callback_guard_begin(module->stats, NULL, NULL, PLUGIN_ENTRY);
    bool read = descriptor_load(path, module->id, &module->library, &module->plugin, error);
    callback_guard_end(call);
    os_crash_start_again();
    return read;
}

struct module *module_open(const char *folder, const char *id, const struct module_rules *rules,
                           const struct berth_host *services, unsigned generation,
                           struct error *error) {
    if (!module_id_valid(id)) {
        error_set(error, "\"%s\" is not a plugin's id: 1 to %d of a-z, 0-9 and -", id,
                  MODULE_ID_MAX);
        return NULL;
    }
    struct module *module = alloc_zeroed(sizeof(*module));
    if (!module) {
        error_set(error, "plugin \"%s\": out of memory", id);
        return NULL;
    }
    snprintf(module->id, sizeof(module->id), "%s", id);
    module->subject.plugin = module->id;
    module->host = *services;
    module->generation = generation;
    if (!find_file(module, folder, error)) {
        goto fail;
    }
    if (!module_copy_file(module, rules, error) || !module_open_stats(module, error) ||
        !read_plugin(module, rules, error)) {
        error_prefix(error, "plugin \"%s\" (%s): ", id, module->file);
        goto fail;
    }
    plugin_stats_set_version(module->stats, module->plugin.version);
    return module;

fail:
    module_close(module);
    return NULL;
}

/* A call of `load`, which outlives its caller if it is abandoned. */
struct load {
    struct module *module;
    int32_t status;
    char message[ERROR_MESSAGE_MAX / 2];
};

static void load_call(void *argument) {
    struct load *load = argument;
    struct module *module = load->module;
    struct berth_error why = {sizeof(why), sizeof(load->message), load->message};
    struct plugin_thread *call = callback_guard_begin(module->stats, NULL, NULL, PLUGIN_LOAD);
    load->status = module->plugin.load(&module->host, &module->state, &why);
    callback_guard_end(call);
    os_crash_start_again(); /* the plugin may have loaded libraries itself */
}

/* False: it has not been called, or has not returned. */
static bool load_run(struct load *load, const struct timed_call_limit *wait, struct error *error) {
    struct module *module = load->module;
    if (!wait) {
        load_call(load);
        return true;
    }
    char limit[64];
    switch (timed_call_run(load_call, load, wait, error)) {
    case TIMED_CALL_DONE:
        return true;
    case TIMED_CALL_ABANDONED:
        module->abandoned = true;
        timed_call_describe_limit(wait, limit, sizeof(limit));
        return error_set(error,
                         "plugin \"%s\" has not returned from `load` %s: its library stays mapped",
                         module->id, limit);
    default:
        return error_prefix(error, "plugin \"%s\": ", module->id);
    }
}

bool module_load(struct module *module, const struct timed_call_limit *limit, struct error *error) {
    if (module->plugin.load) {
        struct load *load = alloc_zeroed(sizeof(*load));
        if (!load) {
            return error_set(error, "plugin \"%s\": out of memory", module->id);
        }
        load->module = module;
        bool loaded = load_run(load, limit, error);
        if (loaded && load->status != BERTH_OK) {
            load->message[sizeof(load->message) - 1] = '\0';
            loaded = error_set(error, "plugin \"%s\" refused to load: %s (status %d)", module->id,
                               load->message[0] ? load->message : "it gave no reason",
                               (int)load->status);
        }
        if (!module->abandoned) {
            alloc_free(load);
        }
        if (!loaded) {
            return false;
        }
    }
    module->loaded = true;
    return true;
}

void module_unload(struct module *module) {
    if (module->loaded && module->plugin.unload) {
        struct plugin_thread *call = callback_guard_begin(module->stats, NULL, NULL, PLUGIN_UNLOAD);
        module->plugin.unload(module->state);
        callback_guard_end(call);
    }
    module->loaded = false;
}

/* Its destructors are its code. */
static bool close_library(struct module *module) {
    struct plugin_thread *call = callback_guard_begin(module->stats, NULL, NULL, PLUGIN_UNLOAD);
    bool gone = os_library_close(module->library);
    callback_guard_end(call);
    return gone;
}

bool module_close(struct module *module) {
    if (!module) {
        return true;
    }
    module_unload(module);
    bool gone = (module->plugin.flags & BERTH_PLUGIN_NO_UNLOAD) == 0;
    if (module->library && gone && !close_library(module)) {
        log_warn(&module->subject,
                 "the library stays mapped after it was unloaded (%s): something in it holds it, "
                 "as thread_local objects of C++ do",
                 os_copy_path(module->copy));
        gone = false;
    }
    callback_guard_forget();
    plugin_stats_close(module->stats);
    os_copy_remove(module->copy, !gone);
    module_files_fini(&module->files);
    alloc_free(module->file);
    alloc_free(module);
    return gone;
}

/* -- listing --------------------------------------------------------------- */

static bool module_add_name(void *context, const char *name) {
    struct module_list *list = context;
    size_t length = strlen(name);
    size_t suffix = strlen(os_library_suffix());
    if (length <= suffix || strcmp(name + length - suffix, os_library_suffix()) != 0) {
        if (!module_id_valid(name) || !module_files_exist(list->folder, name)) {
            return true; /* another file that is in the folder */
        }
        suffix = 0; /* a folder with a plugin of several files */
    }
    struct module_listed *grown =
        alloc_resize(list->items, (list->count + 1) * sizeof(*list->items));
    if (!grown) {
        list->failed = true;
        return false;
    }
    list->items = grown;
    snprintf(grown[list->count++].id, sizeof(grown->id), "%.*s", (int)(length - suffix), name);
    return true;
}

bool module_list_init(struct module_list *list, const char *folder, struct error *error) {
    *list = (struct module_list){.folder = folder};
    bool visited = os_folder_visit(folder, module_add_name, list, error);
    list->folder = NULL;
    if (!visited) {
        return error_prefix(error, "plugins folder %s: ", folder);
    }
    if (list->failed) {
        module_list_fini(list);
        return error_set(error, "plugins folder %s: out of memory", folder);
    }
    return true;
}

void module_list_fini(struct module_list *list) {
    alloc_free(list->items);
    *list = (struct module_list){0};
}

void module_describe(const struct module *module, char *text, size_t size) {
    struct plugin_held held = plugin_stats_held(module->stats);
    size_t used = 0;
    text_append(text, size, &used,
                "plugin \"%s\", generation %u (%s): %s, of %u listeners; holds %lld timers, %lld "
                "works, %lld posts, %lld buffers, %lld files",
                module->id, module->generation, module->plugin.version,
                module->abandoned ? "abandoned"
                : module->loaded  ? "loaded"
                                  : "not loaded",
                module->users, held.timers, held.works, held.posts, held.buffers, held.files);
}
