#include "control/watch.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "control/service.h"
#include "engine/engine.h"
#include "os/os.h"
#include "plugin/module.h"

#define FNV_BASIS UINT64_C(14695981039346656037)
#define FNV_PRIME UINT64_C(1099511628211)

enum { UNFINISHED_LOOKS = 10, READ_BYTES = 16384 };

/* What is seen of a file in one pass; all zero if there is no file. */
struct look {
    struct os_file_status status;
    uint64_t sum; /* of the contents; 0 until content_sum() is called */
};

/* A checksum over all plugins' files: almost every change alters it. */
struct folder_look {
    const char *folder;
    uint64_t sum;
};

struct watched {
    struct watched *prev; /* utlist */
    struct watched *next;
    char *path;
    char *plugin; /* its id; NULL: the manifest */
    struct look known;
    struct look last;
    bool wanted;         /* it has changed, and the change is not in force yet */
    bool tried;          /* it was tried, and failed */
    bool is_beside;      /* a file of a plugin that has several; not a plugin by itself */
    unsigned unfinished; /* passes in which it was unchanged, but not complete */
    bool seen;           /* still in use, in this pass */
};

struct watch {
    struct watched *files;
    struct folder_look plugins;       /* in the last pass */
    struct folder_look known_plugins; /* when it was last unchanged between two passes */
    unsigned retired; /* generations that drain: when one ends, there is room for another */
    uint64_t next_ms;
};

static struct look watch_look_at(const char *path) {
    struct look look = {0};
    struct os_file file;
    struct os_file_status status;
    if (os_file_open(&file, path, NULL)) {
        if (os_file_status(&file, &status, NULL)) {
            look.status = status;
        }
        os_file_close(&file);
    }
    return look;
}

static uint64_t watch_sum_bytes(uint64_t sum, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ at[i]) * FNV_PRIME;
    }
    return sum;
}

static uint64_t sum_number(uint64_t sum, uint64_t number) {
    return watch_sum_bytes(sum, &number, sizeof(number));
}

/* FNV-1a of the file; 0 if it cannot be read. */
static uint64_t content_sum(const char *path) {
    char block[READ_BYTES];
    uint64_t sum = FNV_BASIS;
    uint64_t offset = 0;
    int64_t got = 0;
    struct os_file file;
    if (!os_file_open(&file, path, NULL)) {
        return 0;
    }
    while ((got = os_file_read_at(&file, offset, block, sizeof(block))) > 0) {
        sum = watch_sum_bytes(sum, block, (size_t)got);
        offset += (uint64_t)got;
    }
    os_file_close(&file);
    return got < 0 ? 0 : sum;
}

static bool watch_same(const struct look *one, const struct look *other) {
    return os_file_status_same(&one->status, &other->status);
}

/* Size and time may stay the same while the contents change (rsync -t, image layers,
 * reproducible builds). The file's id or change time may differ while the contents stay the same
 * (chmod, a hard link, a file system that invents ids). If size and time are the same, the
 * contents decide. */
static bool watch_differs(const struct watched *file, struct look *now) {
    const struct os_file_status *known = &file->known.status;
    now->sum = content_sum(file->path);
    return now->status.size != known->size ||
           now->status.modified_unix_ns != known->modified_unix_ns || now->sum != file->known.sum;
}

static void watch_release(struct watched *file) {
    alloc_free(file->path);
    alloc_free(file->plugin);
    alloc_free(file);
}

static void watch_forget(struct watch *watch, struct watched *file) {
    DL_DELETE(watch->files, file);
    watch_release(file);
}

/* Watches the file from now on. NULL: it is watched already, or will be in the next pass. */
static struct watched *watch_see(struct watch *watch, const char *path, const char *plugin) {
    struct watched *file;
    DL_FOREACH(watch->files, file) {
        if (strcmp(file->path, path) == 0) {
            file->seen = true;
            return NULL;
        }
    }
    file = alloc_zeroed(sizeof(*file));
    if (!file) {
        return NULL;
    }
    file->path = alloc_string(path);
    file->plugin = plugin ? alloc_string(plugin) : NULL;
    file->seen = true;
    if (!file->path || (plugin && !file->plugin)) {
        watch_release(file);
        return NULL;
    }
    DL_APPEND(watch->files, file);
    file->known = watch_look_at(path);
    file->known.sum = content_sum(path);
    file->last = file->known;
    return file;
}

/* A change that was written between loading and the first pass counts, too. A manifest that is
 * served from the saved copy of an earlier host has no file to compare with. */
static void see_manifest(struct watch *watch, const struct service *service) {
    const struct manifest *manifest = service->runtime.config_snapshot->manifest;
    struct watched *file = watch_see(watch, service->manifest_path, NULL);
    if (file && !service->options->use_last_good && manifest->text &&
        watch_sum_bytes(FNV_BASIS, manifest->text, manifest->text_size) != file->known.sum) {
        file->known = (struct look){0};
    }
}

/* Watches a file of a plugin that consists of several. */
static void see_beside(struct watch *watch, const struct module *module,
                       const struct module_file *one) {
    char path[OS_PATH_MAX];
    if (!module_files_path(path, sizeof(path), module->file, one->name)) {
        return;
    }
    struct watched *file = watch_see(watch, path, module->id);
    if (file) {
        file->is_beside = true;
        if (one->status.size > 0 && !os_file_status_same(&one->status, &file->known.status)) {
            file->known = (struct look){0};
        }
    }
}

static void see_plugin(struct watch *watch, const struct module *module) {
    struct watched *file = watch_see(watch, module->file, module->id);
    if (file && module->file_status.size > 0 &&
        !os_file_status_same(&module->file_status, &file->known.status)) {
        file->known = (struct look){0};
    }
    for (size_t i = 0; i < module->files.count; i++) {
        see_beside(watch, module, &module->files.items[i]);
    }
}

static void see_all(struct watch *watch, const struct service *service) {
    const struct listener_generation *generation;
    struct watched *file;
    struct watched *next;
    DL_FOREACH(watch->files, file) {
        file->seen = false;
    }
    see_manifest(watch, service);
    DL_FOREACH(service->runtime.serving, generation) {
        see_plugin(watch, generation->module);
    }
    DL_FOREACH_SAFE(watch->files, file, next) {
        if (!file->seen) {
            watch_forget(watch, file);
        }
    }
}

/* Covers the plugins that serve, and those that a manifest may name later. */
static bool add_look(void *context, const char *name) {
    struct folder_look *look = context;
    char path[OS_PATH_MAX];
    if (os_path_join(path, sizeof(path), look->folder, name)) {
        struct os_file_status one = watch_look_at(path).status;
        uint64_t sum = watch_sum_bytes(look->sum, name, strlen(name) + 1);
        sum = sum_number(sum, one.size);
        sum = sum_number(sum, (uint64_t)one.modified_unix_ns);
        sum = sum_number(sum, (uint64_t)one.changed_unix_ns);
        look->sum = sum_number(sum, one.id[0] ^ one.id[1] ^ one.volume);
    }
    return true;
}

static bool folder_has_changed(struct watch *watch, const struct service *service) {
    struct folder_look now = {.folder = service->runtime.plugins_folder, .sum = FNV_BASIS};
    os_folder_visit(now.folder, add_look, &now, NULL);
    bool still = now.sum == watch->plugins.sum;
    bool changed = still && now.sum != watch->known_plugins.sum;
    watch->plugins = now;
    watch->known_plugins = still ? now : watch->known_plugins;
    return changed;
}

struct watch *watch_create(const struct service *service) {
    struct watch *watch = alloc_zeroed(sizeof(*watch));
    if (watch) {
        see_all(watch, service);
        folder_has_changed(watch, service);
        watch->known_plugins = watch->plugins;
    }
    return watch;
}

void watch_destroy(struct watch *watch) {
    while (watch && watch->files) {
        watch_forget(watch, watch->files);
    }
    alloc_free(watch);
}

/* A library that is being written slowly is left alone; one that stays incomplete is logged. */
static bool watch_is_whole(struct watched *file, uint64_t bytes_max) {
    struct error error = {0};
    struct log_subject subject = {.plugin = file->plugin};
    if (!file->plugin || file->is_beside || os_library_check(file->path, bytes_max, &error)) {
        return true;
    }
    if (++file->unfinished == UNFINISHED_LOOKS) {
        log_warn(&subject, "%s has changed, and is left alone: %s", file->path, error.message);
    }
    return false;
}

/* Whether it has changed and is complete: it is unchanged since the last pass, and a library is
 * whole, too. Then it is wanted until it is in force. */
static bool has_changed(struct watched *file, uint64_t bytes_max) {
    struct look now = watch_look_at(file->path);
    bool still = watch_same(&now, &file->last);
    file->last = now;
    if (!still) {
        file->unfinished = 0;
    }
    if (!still || now.status.size == 0 || watch_same(&now, &file->known)) {
        return false;
    }
    if (!watch_differs(file, &now)) {
        file->known = now;
        return false;
    }
    if (!watch_is_whole(file, bytes_max)) {
        return false;
    }
    file->known = now;
    file->wanted = true;
    file->tried = false;
    return true;
}

/* Restarts one plugin at a time: a broken one does not hold back the others. */
static void watch_restart(struct watched *file, struct service *service) {
    char text[MODULE_ID_MAX + 16];
    const char *name = text;
    snprintf(text, sizeof(text), "plugin:%s", file->plugin);
    file->tried = true;
    file->wanted = service_restart_and_log(service, &name, 1, "a plugin's file has changed") != 0;
}

static void watch_reload(struct watched *file, struct service *service) {
    file->tried = true;
    file->wanted = service_reload_and_log(service, "the manifest has changed") != 0;
}

static unsigned count_retired(const struct service *service) {
    unsigned count = 0;
    const struct listener_generation *generation;
    DL_FOREACH(service->runtime.retired, generation) {
        count++;
    }
    return count;
}

void watch_look(struct watch *watch, struct service *service) {
    uint64_t now_ms = engine_now_ms();
    struct watched *file;
    if (!watch || now_ms < watch->next_ms) {
        return;
    }
    watch->next_ms = now_ms + WATCH_MS;
    /* A failed change is tried again when anything else changes. */
    unsigned retired = count_retired(service);
    bool again = folder_has_changed(watch, service) || retired < watch->retired;
    DL_FOREACH(watch->files, file) {
        again =
            has_changed(file,
                        service->runtime.config_snapshot->manifest->host.plugin_files.bytes_max) ||
            again;
    }
    DL_FOREACH(watch->files, file) {
        file->tried = file->tried && !again;
        if (file->plugin && file->wanted && !file->tried) {
            watch_restart(file, service);
        }
    }
    DL_FOREACH(watch->files, file) {
        if (!file->plugin && file->wanted && !file->tried) {
            watch_reload(file, service);
        }
    }
    watch->retired = count_retired(service);
    see_all(watch, service);
}
