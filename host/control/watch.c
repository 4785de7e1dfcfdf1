#include "control/watch.h"

#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/service.h"
#include "module/module.h"
#include "os/os.h"

enum { UNFINISHED_LOOKS = 10 };

/* What a look shows; all zero where there is no file. */
struct look {
    uint64_t size;
    int64_t modified_ms;
};

/* Of all plugins' files together: any change shows in it, nearly for sure. */
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
    bool wanted;         /* it has changed, and that is not in force yet */
    bool tried;          /* and could not be, as things were */
    unsigned unfinished; /* looks at which it had come to rest, and was not whole */
    bool seen;           /* still in use, at this look */
};

struct watch {
    struct watched *files;
    struct folder_look plugins;       /* at the last look */
    struct folder_look known_plugins; /* when it had last come to rest */
    unsigned retired;                 /* generations that drain: one that is gone makes room */
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

/* Of the plugins that serve, and of those that a manifest may come to name. */
static bool add_look(void *context, const char *name) {
    enum { FNV_PRIME = 16777619 };
    struct folder_look *look = context;
    char path[OS_PATH_MAX];
    if (os_path_join(path, sizeof(path), look->folder, name)) {
        struct look one = look_at(path);
        for (const char *at = name; *at != '\0'; at++) {
            look->sum = look->sum * FNV_PRIME + (unsigned char)*at;
        }
        look->sum = (look->sum * FNV_PRIME + one.size) * FNV_PRIME + (uint64_t)one.modified_ms;
    }
    return true;
}

static bool folder_has_changed(struct watch *watch, const struct service *service) {
    struct folder_look now = {.folder = service->instance.plugins_folder};
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
        forget(watch, watch->files);
    }
    alloc_free(watch);
}

/* A library that is being written slowly is let be; one that stays as it is gets told of. */
static bool is_whole(struct watched *file) {
    struct error error = {0};
    struct log_subject subject = {.plugin = file->plugin};
    if (!file->plugin || os_library_check(file->path, &error)) {
        return true;
    }
    if (++file->unfinished == UNFINISHED_LOOKS) {
        log_warn(&subject, "%s has changed, and is left alone: %s", file->path, error.message);
    }
    return false;
}

/* Whether it has changed, and is complete: it stays as it is, and a library is whole, too. Then it
 * is wanted until it is in force. */
static bool has_changed(struct watched *file) {
    struct look now = look_at(file->path);
    bool still = same(&now, &file->last);
    file->last = now;
    if (!still) {
        file->unfinished = 0;
    }
    if (!still || now.size == 0 || same(&now, &file->known) || !is_whole(file)) {
        return false;
    }
    file->known = now;
    file->wanted = true;
    file->tried = false;
    return true;
}

/* A plugin at a time: a broken one does not hold back the others. */
static void restart(struct watched *file, struct service *service) {
    const char *plugin = file->plugin;
    file->tried = true;
    file->wanted = service_restart_and_log(service, &plugin, 1, "a plugin's file has changed") != 0;
}

static void reload(struct watched *file, struct service *service) {
    file->tried = true;
    file->wanted = service_reload_and_log(service, "the manifest has changed") != 0;
}

static unsigned count_retired(const struct service *service) {
    unsigned count = 0;
    const struct unit *unit;
    DL_FOREACH(service->instance.retired, unit) {
        count++;
    }
    return count;
}

void watch_look(struct watch *watch, struct service *service) {
    uint64_t now_ms = os_now_ms();
    struct watched *file;
    if (!watch || now_ms < watch->next_ms) {
        return;
    }
    watch->next_ms = now_ms + WATCH_MS;
    /* What could not be done is tried again when anything else is. */
    unsigned retired = count_retired(service);
    bool again = folder_has_changed(watch, service) || retired < watch->retired;
    DL_FOREACH(watch->files, file) {
        again = has_changed(file) || again;
    }
    DL_FOREACH(watch->files, file) {
        file->tried = file->tried && !again;
        if (file->plugin && file->wanted && !file->tried) {
            restart(file, service);
        }
    }
    DL_FOREACH(watch->files, file) {
        if (!file->plugin && file->wanted && !file->tried) {
            reload(file, service);
        }
    }
    watch->retired = count_retired(service);
    see_all(watch, service);
}
