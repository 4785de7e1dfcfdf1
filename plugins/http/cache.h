/* cache.h: files that are asked for, kept open for a moment, and small ones in memory.
 *
 * To open a file means a trip to another thread; within "cache_ms" of it the next request for the
 * same name is answered at once. An entry is what was found, immutable and reference-counted, so
 * that it outlives its place in the cache while it is used. A small one has its bytes and no open
 * file. When its time is over it leaves the cache by itself; when there is no room for another open
 * file, all that is only kept, for any listener of the plugin, makes room at once. On Windows,
 * where an open file cannot be replaced, large ones are not kept. Threads: any. */
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
    struct berth_file *file;    /* with 200, when it is not small */
    struct berth_slice content; /* all of it, when it is small; else without a buffer */
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

/* With a reference for the caller; NULL when it is not there, or no longer fresh. */
struct entry *cache_find(struct cache *cache, const char *name);

/* Opens what the name stands for: the file, or the index of a folder. May block. With a reference
 * for the caller; NULL: no memory. What was found is put into the cache. */
struct entry *cache_look_up(struct cache *cache, const char *name);

void entry_release(struct entry *entry); /* NULL is legal */

#endif
