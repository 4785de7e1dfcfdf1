/* site.h: the state of a listener: its "config" and its cache of open files.
 *
 * Owner: the listener (its state). Threads: created and destroyed in [control]; read-only in
 * between, except the cache, which has its own locks. */
#ifndef BERTH_PLUGINS_HTTP_SITE_H
#define BERTH_PLUGINS_HTTP_SITE_H

#include <berth/berth.h>
#include <stdbool.h>

#include "http/cache.h"
#include "http/request.h"

enum { INDEXES_MAX = 8, TYPES_MAX = 256, FIELDS_BYTES_MAX = 2048, ROOT_BYTES_MAX = 4096 };

/* The extensions of the ABI that the plugin uses; the plugin's state. */
struct services {
    const struct berth_timer_host *timer;
    const struct berth_work_host *work;
    const struct berth_file_host *file;
    struct caches *caches;
};

struct site {
    const struct berth_host *host;
    const struct services *services;
    char root[ROOT_BYTES_MAX];
    char *indexes[INDEXES_MAX + 1]; /* ends in NULL */
    char *ends[TYPES_MAX];          /* of names, with the type each stands for */
    char *types[TYPES_MAX];
    uint32_t type_count;
    char fields[FIELDS_BYTES_MAX]; /* "Name: value\r\n…", added to every answer */
    uint32_t fields_size;
    bool access_log;
    bool dot_files;
    struct request_limits limits;
    uint32_t body_bytes_max;
    uint32_t head_timeout_ms;
    uint32_t body_timeout_ms;
    uint32_t keep_alive_timeout_ms;
    uint32_t cache_ms;
    uint32_t cache_files_max;
    uint32_t cache_file_bytes; /* files up to this size are kept in memory */
    struct cache *cache;
};

/* Checks beyond the schema: the root must be a folder, and fields must not be the server's own. */
int32_t BERTH_CALL site_check_config(const struct berth_config_request *request,
                                     struct berth_config_errors *errors);

/* NULL with the error set on failure. */
struct site *site_create(const struct berth_listener *listener, struct berth_error *error);
void site_destroy(struct site *site);

/* The type of a file by its name. */
const char *site_type(const struct site *site, const char *name);

#endif
