/* cache.h: requested files, kept open for a short time, and small ones in memory.
 *
 * Opening a file needs another thread; for "cache_ms" after it, requests for the same name are
 * answered at once. An entry is the result of a look-up, immutable and reference-counted: it stays
 * valid while it is used, also after its removal from the cache. A small file's entry has its bytes
 * and no open file. Expired entries are removed by a timer. When no more files can be opened, all
 * unused entries of all listeners of the plugin are released at once. On Windows, where an open
 * file cannot be replaced, large ones are not kept. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_CACHE_H
#define BERTH_PLUGINS_HTTP_CACHE_H

#include <berth/berth.h>
#include <stdbool.h>

struct cache;
struct caches;
struct site;

enum { ETAG_BYTES = 64 };

struct entry {
    uint32_t status; /* 200, or why there is no file: 301 (a folder), 403, 404, 500, 503 */
    uint64_t size;
    int64_t modified_s;
    int64_t changed_s;
    struct berth_file *file;    /* with 200, if it is not small */
    struct berth_slice content; /* the whole file, if it is small; else without a buffer */
    const char *type;
    char etag[ETAG_BYTES]; /* with its quotes */
    char *fields; /* "Content-Type: …\r\nLast-Modified: …\r\nETag: …\r\nAccept-Ranges: bytes\r\n" */
    uint32_t fields_size;
};

/* All caches of the plugin. */
struct caches *caches_create(void); /* NULL: no memory */
void caches_destroy(struct caches *caches);

/* In `listener_open`: it has a timer of the listener. */
struct cache *cache_create(const struct berth_listener *listener, const struct site *site);
void cache_destroy(struct cache *cache);

/* Adds a reference for the caller; NULL: not cached, or expired. */
struct entry *cache_find(struct cache *cache, const char *name);

/* Opens the file of that name, or the index of the folder, and caches the result. May block.
 * Returns a reference for the caller; NULL: no memory. */
struct entry *cache_look_up(struct cache *cache, const char *name);

void entry_release(struct entry *entry); /* NULL is legal */

#endif
