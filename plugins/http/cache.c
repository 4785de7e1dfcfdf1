#include "http/cache.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <utlist.h>

/* If the table cannot allocate, the entry is not cached. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_added = false)
#include <uthash.h>

#include "base/siphash.h"
#include "common/lock.h"
#include "common/open_files.h"
#include "common/random.h"
#include "http/date.h"
#include "http/site.h"
#include "http/target.h"

enum {
    PATH_BYTES_MAX = ROOT_BYTES_MAX + NAME_BYTES_MAX + 256,
    FIELDS_MAX = 512,
    SWEEP_MS = 20,                  /* minimum interval of the checks for expired entries */
    TICK_NS = 20 * 1000 * 1000,     /* coarsest clock of file systems, */
    SECOND_NS = 1000 * 1000 * 1000, /* except those that count in units of 1 or 2 s */
};

struct slot {
    struct entry entry; /* the public part */
    struct cache *cache;
    atomic_uint references;
    bool is_added;
    uint64_t expires_ms;
    struct slot *prev; /* utlist: those used longest ago first */
    struct slot *next;
    UT_hash_handle hh;
    char fields[FIELDS_MAX];
    char name[]; /* terminated */
};

struct cache {
    const struct site *site;
    struct siphash_key key;    /* of the table: clients choose the names */
    struct berth_timer *timer; /* runs while the cache is not empty */
    struct cache *prev;        /* utlist: of all caches */
    struct cache *next;
    struct lock mutex; /* of what follows */
    struct slot *by_name;
    struct slot *by_use;
};

struct caches {
    struct lock mutex;  /* protects the list; locked before a cache's mutex */
    struct cache *list; /* utlist */
};

struct caches *caches_create(void) {
    struct caches *caches = calloc(1, sizeof(*caches));
    if (!caches || !lock_init(&caches->mutex)) {
        free(caches);
        return NULL;
    }
    return caches;
}

void caches_destroy(struct caches *caches) {
    lock_fini(&caches->mutex);
    free(caches);
}

static void BERTH_CALL on_timer(struct berth_timer *timer, const struct berth_listener *listener,
                                uint32_t worker, void *argument);

struct cache *cache_create(const struct berth_listener *listener, const struct site *site) {
    struct cache *cache = calloc(1, sizeof(*cache));
    struct caches *caches = site->services->caches;
    if (!cache || !random_bytes(&cache->key, sizeof(cache->key)) || !lock_init(&cache->mutex)) {
        free(cache);
        return NULL;
    }
    cache->site = site;
    cache->timer = site->services->timer->create_for_listener(listener, on_timer, cache);
    if (!cache->timer) {
        lock_fini(&cache->mutex);
        free(cache);
        return NULL;
    }
    lock_acquire(&caches->mutex);
    DL_APPEND(caches->list, cache);
    lock_release(&caches->mutex);
    return cache;
}

static unsigned cache_hash_of(const struct cache *cache, const char *name) {
    return (unsigned)siphash(&cache->key, name, strlen(name));
}

static struct slot *cache_slot_of(struct entry *entry) {
    return (struct slot *)entry; /* its first member */
}

void entry_release(struct entry *entry) {
    struct slot *slot = cache_slot_of(entry);
    if (entry && atomic_fetch_sub(&slot->references, 1) == 1) {
        const struct site *site = slot->cache->site;
        site->services->file->release(entry->file);
        site->host->buffer_release(entry->content.buffer);
        free(slot);
    }
}

/* Removes the slot; the caller gets the cache's reference. */
static void take_out(struct cache *cache, struct slot *slot) {
    HASH_DEL(cache->by_name, slot);
    DL_DELETE(cache->by_use, slot);
}

/* -- removal --------------------------------------------------------------- */

static void release_all(struct slot *slots) {
    struct slot *slot;
    struct slot *next;
    DL_FOREACH_SAFE(slots, slot, next) {
        entry_release(&slot->entry);
    }
}

/* Removes entries that expire by then; UINT64_MAX: all. Returns when the next one expires; 0: none
 * is left.
 */
static uint64_t leave_by(struct cache *cache, uint64_t time_ms) {
    struct slot *out = NULL;
    struct slot *slot;
    struct slot *next;
    uint64_t first_ms = 0;
    lock_acquire(&cache->mutex);
    DL_FOREACH_SAFE(cache->by_use, slot, next) {
        if (slot->expires_ms <= time_ms) {
            take_out(cache, slot);
            DL_APPEND(out, slot);
        } else if (first_ms == 0 || slot->expires_ms < first_ms) {
            first_ms = slot->expires_ms;
        }
    }
    lock_release(&cache->mutex);
    release_all(out);
    return first_ms;
}

static void BERTH_CALL on_timer(struct berth_timer *timer, const struct berth_listener *listener,
                                uint32_t worker, void *argument) {
    (void)listener;
    (void)worker;
    struct cache *cache = argument;
    const struct site *site = cache->site;
    uint64_t now_ms = site->host->now_ms(site->host);
    uint64_t first_ms = leave_by(cache, now_ms);
    if (first_ms > 0) {
        uint64_t pause_ms = first_ms - now_ms;
        site->services->timer->start(timer, pause_ms > SWEEP_MS ? pause_ms : SWEEP_MS);
    }
}

/* Releases all cached entries, of every listener; entries in use are freed after their last use. */
static void cache_give_back(struct caches *caches) {
    struct cache *cache;
    lock_acquire(&caches->mutex);
    DL_FOREACH(caches->list, cache) {
        leave_by(cache, UINT64_MAX);
    }
    lock_release(&caches->mutex);
}

void cache_destroy(struct cache *cache) {
    if (!cache) {
        return;
    }
    struct caches *caches = cache->site->services->caches;
    lock_acquire(&caches->mutex);
    DL_DELETE(caches->list, cache);
    lock_release(&caches->mutex);
    leave_by(cache, UINT64_MAX);
    lock_fini(&cache->mutex);
    free(cache);
}

struct entry *cache_find(struct cache *cache, const char *name) {
    const struct berth_host *host = cache->site->host;
    struct slot *slot;
    struct slot *stale = NULL;
    uint64_t now_ms = host->now_ms(host);
    lock_acquire(&cache->mutex);
    HASH_FIND_BYHASHVALUE(hh, cache->by_name, name, strlen(name), cache_hash_of(cache, name), slot);
    if (slot && slot->expires_ms <= now_ms) {
        take_out(cache, slot);
        stale = slot;
        slot = NULL;
    }
    if (slot) {
        atomic_fetch_add(&slot->references, 1);
        if (slot->next) { /* not already the most recently used */
            DL_DELETE(cache->by_use, slot);
            DL_APPEND(cache->by_use, slot);
        }
    }
    lock_release(&cache->mutex);
    entry_release(stale ? &stale->entry : NULL);
    return slot ? &slot->entry : NULL;
}

/* Replaces an older entry of that name, or the least recently used one. */
static void cache_put(struct cache *cache, struct slot *slot) {
    const struct site *site = cache->site;
    struct slot *out;
    slot->expires_ms = site->host->now_ms(site->host) + site->cache_ms;
    atomic_fetch_add(&slot->references, 1);
    lock_acquire(&cache->mutex);
    unsigned hash = cache_hash_of(cache, slot->name);
    HASH_FIND_BYHASHVALUE(hh, cache->by_name, slot->name, strlen(slot->name), hash, out);
    if (!out && HASH_COUNT(cache->by_name) >= site->cache_files_max) {
        out = cache->by_use;
    }
    if (out) {
        take_out(cache, out);
    }
    bool was_empty = !cache->by_use;
    slot->is_added = true;
    HASH_ADD_BYHASHVALUE(hh, cache->by_name, name[0], strlen(slot->name), hash, slot);
    bool is_added = slot->is_added; /* after the unlock it may be removed again */
    if (is_added) {
        DL_APPEND(cache->by_use, slot);
        if (was_empty) {
            site->services->timer->start(cache->timer, site->cache_ms + 1);
        }
    }
    lock_release(&cache->mutex);
    entry_release(out ? &out->entry : NULL);
    entry_release(is_added ? NULL : &slot->entry);
}

/* -- looking up ------------------------------------------------------------ */

static uint32_t http_status(int32_t status) {
    switch (status) {
    case BERTH_OK:
        return 200;
    case BERTH_E_NOT_FOUND:
        return 404;
    case BERTH_E_DENIED:
    case BERTH_E_INVALID: /* a folder, a pipe */
        return 403;
    case BERTH_E_NO_MEMORY:
        return 503;
    default:
        return 500;
    }
}

static int32_t open_at(const struct site *site, const char *name, const char *index,
                       struct berth_file **file) {
    char path[PATH_BYTES_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s%s", site->root, name, index);
    *file = NULL;
    if (size < 0 || (size_t)size >= sizeof(path)) {
        return BERTH_E_NOT_FOUND;
    }
    int32_t status = site->services->file->open(site->host, path, file, NULL);
    if (status == BERTH_E_NO_MEMORY) {
        cache_give_back(site->services->caches);
        status = site->services->file->open(site->host, path, file, NULL);
    }
    return status;
}

/* Opens the file of that name, or the first index of the folder; *index is then its name. */
static uint32_t open_name(const struct site *site, const char *name, struct berth_file **file,
                          const char **index) {
    size_t size = strlen(name);
    int32_t status;
    *index = "";
    if (size > 0 && name[size - 1] != '/') {
        status = open_at(site, name, "", file);
        if (status != BERTH_E_INVALID) {
            return http_status(status);
        }
        return open_at(site, name, "/.", file) == BERTH_E_INVALID ? 301 : 403; /* a pipe, say */
    }
    for (uint32_t i = 0; site->indexes[i]; i++) {
        status = open_at(site, name, site->indexes[i], file);
        if (status != BERTH_E_NOT_FOUND) {
            *index = site->indexes[i];
            return http_status(status);
        }
    }
    /* No index: checks whether there is a folder. Its name without the slash must not be a file's.
     */
    status = open_at(site, name, ".", file);
    if (status == BERTH_OK) {
        site->services->file->release(*file);
        *file = NULL;
        return 404;
    }
    return http_status(status);
}

static void keep_content(const struct site *site, struct entry *entry) {
    const struct berth_host *host = site->host;
    struct berth_slice content;
    uint32_t filled = 0;
    uint32_t got = 1;
    if (entry->size == 0 || entry->size > site->cache_file_bytes ||
        host->buffer_create(host, (uint32_t)entry->size, &content) != BERTH_OK) {
        return;
    }
    content.size = (uint32_t)entry->size;
    while (filled < content.size && got > 0 &&
           site->services->file->read(entry->file, filled, content.bytes + filled,
                                      content.size - filled, &got) == BERTH_OK) {
        filled += got;
    }
    if (filled == content.size) {
        entry->content = content;
        site->services->file->release(entry->file);
        entry->file = NULL;
    } else {
        host->buffer_release(content.buffer); /* the file became shorter meanwhile */
    }
}

static int64_t now_ns(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return (int64_t)now.tv_sec * SECOND_NS + (int64_t)now.tv_usec * 1000;
}

/* Whether the file may change again with the same timestamps: 8.8.1. */
static bool may_change_unseen(const struct berth_file_info *info) {
    int64_t changed = info->changed_unix_ns != 0 ? info->changed_unix_ns : info->modified_unix_ns;
    int64_t grain = changed % SECOND_NS == 0 ? 2 * (int64_t)SECOND_NS : TICK_NS;
    return now_ns() - changed < grain;
}

static uint64_t cache_mix(uint64_t hash, uint64_t number) {
    hash = (hash ^ number) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

/* Size, date, and what identifies this file and this change of it. The tag is weak while that is
 * ambiguous, and different afterwards: then clients fetch again what they cached meanwhile. */
static void write_etag(struct entry *entry, const struct berth_file_info *info) {
    bool weak = may_change_unseen(info);
    uint64_t hash =
        cache_mix(cache_mix((uint64_t)info->changed_unix_ns, info->volume), info->id[0]);
    hash = cache_mix(cache_mix(hash, info->id[1]), weak);
    snprintf(entry->etag, sizeof(entry->etag), "%s\"%llx-%llx-%llx\"", weak ? "W/" : "",
             (unsigned long long)info->size, (unsigned long long)info->modified_unix_ns,
             (unsigned long long)hash);
}

static bool cache_describe(const struct site *site, struct slot *slot, const char *index) {
    struct entry *entry = &slot->entry;
    struct berth_file_info info = {.struct_size = sizeof(info)};
    char date[DATE_BYTES];
    if (site->services->file->stat(entry->file, &info) != BERTH_OK) {
        return false;
    }
    entry->size = info.size;
    /* Last-Modified must not be in the future: RFC 9110, 8.8.2.1. */
    int64_t now_s = (int64_t)time(NULL);
    entry->modified_s = info.modified_unix_ms / 1000;
    entry->modified_s = entry->modified_s < now_s ? entry->modified_s : now_s;
    entry->type = site_type(site, index[0] != '\0' ? index : slot->name);
    date_write(entry->modified_s, date);
    entry->changed_s = info.changed_unix_ns / SECOND_NS;
    write_etag(entry, &info);
    entry->fields = slot->fields;
    entry->fields_size = (uint32_t)snprintf(
        slot->fields, sizeof(slot->fields),
        "Content-Type: %s\r\nLast-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n",
        entry->type, date, entry->etag);
    keep_content(site, entry);
    if (entry->size == 0) { /* an empty file needs no reads */
        site->services->file->release(entry->file);
        entry->file = NULL;
    }
    return true;
}

struct entry *cache_look_up(struct cache *cache, const char *name) {
    size_t size = strlen(name) + 1;
    struct slot *slot = calloc(1, sizeof(*slot) + size);
    const char *index;
    if (!slot) {
        return NULL;
    }
    slot->cache = cache;
    atomic_init(&slot->references, 1);
    memcpy(slot->name, name, size);
    slot->entry.status = open_name(cache->site, name, &slot->entry.file, &index);
    if (slot->entry.status == 200 && !cache_describe(cache->site, slot, index)) {
        slot->entry.status = 500;
    }
    bool may_keep = !slot->entry.file || files_may_stay_open;
    if (slot->entry.status == 200 && may_keep && cache->site->cache_ms > 0) {
        cache_put(cache, slot);
    }
    return &slot->entry;
}
