#include "http/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uthash.h>
#include <utlist.h>

#include "base/siphash.h"
#include "common/random.h"
#include "http/date.h"
#include "http/site.h"
#include "http/target.h"

enum { PATH_BYTES_MAX = ROOT_BYTES_MAX + NAME_BYTES_MAX + 256, FIELDS_MAX = 512 };

struct slot {
    struct entry entry; /* what others see of it */
    struct cache *cache;
    atomic_uint references;
    uint64_t expires_ms;
    struct slot *prev; /* utlist: those used longest ago first */
    struct slot *next;
    UT_hash_handle hh;
    char fields[FIELDS_MAX];
    char name[]; /* terminated */
};

struct cache {
    const struct site *site;
    struct siphash_key key; /* of the table: clients choose the names */
    pthread_mutex_t mutex;  /* of what follows */
    struct slot *by_name;
    struct slot *by_use;
};

struct cache *cache_create(const struct site *site) {
    struct cache *cache = calloc(1, sizeof(*cache));
    if (!cache || !random_bytes(&cache->key, sizeof(cache->key)) ||
        pthread_mutex_init(&cache->mutex, NULL) != 0) {
        free(cache);
        return NULL;
    }
    cache->site = site;
    return cache;
}

static unsigned hash_of(const struct cache *cache, const char *name) {
    return (unsigned)siphash(&cache->key, name, strlen(name));
}

static struct slot *slot_of(struct entry *entry) {
    return (struct slot *)entry; /* its first member */
}

void entry_release(struct entry *entry) {
    struct slot *slot = slot_of(entry);
    if (entry && atomic_fetch_sub(&slot->references, 1) == 1) {
        const struct site *site = slot->cache->site;
        site->services->file->release(entry->file);
        site->host->buffer_release(entry->content.buffer);
        free(slot);
    }
}

/* Takes it out; the cache's reference is then the caller's. */
static void take_out(struct cache *cache, struct slot *slot) {
    HASH_DEL(cache->by_name, slot);
    DL_DELETE(cache->by_use, slot);
}

void cache_destroy(struct cache *cache) {
    if (!cache) {
        return;
    }
    struct slot *slot;
    struct slot *next;
    HASH_CLEAR(hh, cache->by_name);
    DL_FOREACH_SAFE(cache->by_use, slot, next) {
        entry_release(&slot->entry);
    }
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

struct entry *cache_find(struct cache *cache, const char *name) {
    const struct berth_host *host = cache->site->host;
    struct slot *slot;
    struct slot *stale = NULL;
    uint64_t now_ms = host->now_ms(host);
    pthread_mutex_lock(&cache->mutex);
    HASH_FIND_BYHASHVALUE(hh, cache->by_name, name, strlen(name), hash_of(cache, name), slot);
    if (slot && slot->expires_ms <= now_ms) {
        take_out(cache, slot);
        stale = slot;
        slot = NULL;
    }
    if (slot) {
        atomic_fetch_add(&slot->references, 1);
        if (slot->next) { /* not the one used last: those stay in the order of their use */
            DL_DELETE(cache->by_use, slot);
            DL_APPEND(cache->by_use, slot);
        }
    }
    pthread_mutex_unlock(&cache->mutex);
    entry_release(stale ? &stale->entry : NULL);
    return slot ? &slot->entry : NULL;
}

/* In the place of an older one of that name, or of the one used longest ago. */
static void put(struct cache *cache, struct slot *slot) {
    const struct site *site = cache->site;
    struct slot *out;
    slot->expires_ms = site->host->now_ms(site->host) + site->cache_ms;
    atomic_fetch_add(&slot->references, 1);
    pthread_mutex_lock(&cache->mutex);
    unsigned hash = hash_of(cache, slot->name);
    HASH_FIND_BYHASHVALUE(hh, cache->by_name, slot->name, strlen(slot->name), hash, out);
    if (!out && HASH_COUNT(cache->by_name) >= site->cache_files_max) {
        out = cache->by_use;
    }
    if (out) {
        take_out(cache, out);
    }
    HASH_ADD_BYHASHVALUE(hh, cache->by_name, name[0], strlen(slot->name), hash, slot);
    DL_APPEND(cache->by_use, slot);
    pthread_mutex_unlock(&cache->mutex);
    entry_release(out ? &out->entry : NULL);
}

/* -- looking up ----------------------------------------------------------------------------------
 */

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
    return site->services->file->open(site->host, path, file, NULL);
}

/* The file of that name, or the first index of the folder; *index is then its name. */
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
    /* Nothing to show: is there a folder at all? Its name without the slash must be none of a file.
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
    } else {
        host->buffer_release(content.buffer); /* it has become shorter just now */
    }
}

static bool describe(const struct site *site, struct slot *slot, const char *index) {
    struct entry *entry = &slot->entry;
    struct berth_file_info info = {.struct_size = sizeof(info)};
    char date[DATE_BYTES];
    if (site->services->file->stat(entry->file, &info) != BERTH_OK) {
        return false;
    }
    entry->size = info.size;
    /* A server must not claim to know what it will be like later: RFC 9110, 8.8.2.1. */
    int64_t now_s = (int64_t)time(NULL);
    entry->modified_s = info.modified_unix_ms / 1000;
    entry->modified_s = entry->modified_s < now_s ? entry->modified_s : now_s;
    entry->type = site_type(site, index[0] != '\0' ? index : slot->name);
    date_write(entry->modified_s, date);
    snprintf(entry->etag, sizeof(entry->etag), "\"%llx-%llx\"", (unsigned long long)info.size,
             (unsigned long long)info.modified_unix_ms);
    entry->fields = slot->fields;
    entry->fields_size = (uint32_t)snprintf(
        slot->fields, sizeof(slot->fields),
        "Content-Type: %s\r\nLast-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n",
        entry->type, date, entry->etag);
    keep_content(site, entry);
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
    if (slot->entry.status == 200 && !describe(cache->site, slot, index)) {
        slot->entry.status = 500;
    }
    if (slot->entry.status == 200 && cache->site->cache_ms > 0) {
        put(cache, slot);
    }
    return &slot->entry;
}
