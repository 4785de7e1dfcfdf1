#include "control/watch.h"

#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "control/service.h"
#include "module/module.h"
#include "os/os.h"

/* What a look shows; all zero where there is no file. */
struct look {
    uint64_t size;
    int64_t modified_ms;
};

struct watched {
    struct watched *prev; /* utlist */
    struct watched *next;
    char *path;
    char *plugin; /* its id; NULL: the manifest */
    struct look known;
    struct look last;
    bool seen; /* still in use, at this look */
};

struct watch {
    struct watched *files;
    uint64_t next_ms;
};

static struct look look_at(const char *path) {
    struct look look = {0};
    struct os_file file;
    struct os_file_status status;
    if (os_file_open(&file, path, NULL)) {
        if (os_file_status(&file, &status, NULL)) {
            look = (struct look){status.size, status.modified_unix_ms};
        }
        os_file_close(&file);
    }
    return look;
}

static bool same(const struct look *one, const struct look *other) {
    return one->size == other->size && one->modified_ms == other->modified_ms;
}

static void release(struct watched *file) {
    alloc_free(file->path);
    alloc_free(file->plugin);
    alloc_free(file);
}

static void forget(struct watch *watch, struct watched *file) {
    DL_DELETE(watch->files, file);
    release(file);
}

/* Watches it from now on, if it is not watched already. */
static void see(struct watch *watch, const char *path, const char *plugin) {
    struct watched *file;
    DL_FOREACH(watch->files, file) {
        if (strcmp(file->path, path) == 0) {
            file->seen = true;
            return;
        }
    }
    file = alloc_zeroed(sizeof(*file));
    if (!file) {
        return; /* at the next look */
    }
    file->path = alloc_string(path);
    file->plugin = plugin ? alloc_string(plugin) : NULL;
    file->seen = true;
    if (!file->path || (plugin && !file->plugin)) {
        release(file);
        return;
    }
    DL_APPEND(watch->files, file);
    file->known = look_at(path);
    file->last = file->known;
}

static void see_all(struct watch *watch, const struct service *service) {
    const struct unit *unit;
    struct watched *file;
    struct watched *next;
    DL_FOREACH(watch->files, file) {
        file->seen = false;
    }
    see(watch, service->manifest_path, NULL);
    DL_FOREACH(service->instance.serving, unit) {
        see(watch, unit->module->file, unit->module->id);
    }
    DL_FOREACH_SAFE(watch->files, file, next) {
        if (!file->seen) {
            forget(watch, file);
        }
    }
}

struct watch *watch_create(const struct service *service) {
    struct watch *watch = alloc_zeroed(sizeof(*watch));
    if (watch) {
        see_all(watch, service);
    }
    return watch;
}

void watch_destroy(struct watch *watch) {
    while (watch && watch->files) {
        forget(watch, watch->files);
    }
    alloc_free(watch);
}

/* Whether it has changed, and is complete. It is then known: what does not work is not tried again
 * before it has changed again. */
static bool has_changed(struct watched *file) {
    struct look now = look_at(file->path);
    bool still = same(&now, &file->last);
    file->last = now;
    if (!still || now.size == 0 || same(&now, &file->known)) {
        return false;
    }
    file->known = now;
    return true;
}

void watch_look(struct watch *watch, struct service *service) {
    enum { CHANGED_MAX = 64 };
    const char *plugins[CHANGED_MAX];
    size_t count = 0;
    bool manifest = false;
    uint64_t now_ms = os_now_ms();
    struct watched *file;
    if (!watch || now_ms < watch->next_ms) {
        return;
    }
    watch->next_ms = now_ms + WATCH_MS;
    DL_FOREACH(watch->files, file) {
        if (!has_changed(file)) {
            continue;
        }
        if (!file->plugin) {
            manifest = true;
        } else if (count < CHANGED_MAX) {
            plugins[count++] = file->plugin;
        }
    }
    if (count > 0) {
        service_restart_and_log(service, plugins, count, "a plugin's file has changed");
    }
    if (manifest) {
        service_reload_and_log(service, "the manifest has changed");
    }
    see_all(watch, service);
}
