/* plugin_stats.h: what the host counts for one generation of a plugin: how long each of its
 * callbacks takes, and which resources of the host it holds.
 *
 * Counting must cost almost nothing, so every worker counts in a shard of its own, which no other
 * thread writes; all other threads share one. A shard is made when its thread first calls the
 * plugin. Times are in ticks (os/ticks.h) and in buckets that grow by a quarter, and become
 * microseconds when they are read.
 *
 * Owner: the module. The stats of a plugin that has not released everything are never freed, so
 * that a late release finds them. Threads: any, unless stated otherwise. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_STATS_H
#define BERTH_HOST_PLUGIN_PLUGIN_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/lib/handle.h"
#include "plugin/plugin_callback.h"

enum {
    STATS_SHARDS = 65,      /* one per worker (SERVER_WORKERS_MAX), and one for all other threads */
    STATS_SHARD_OTHER = 64, /* the latter */
    PLUGIN_TIME_BUCKETS = 160,
    PLUGIN_STATS_KNOWN = 256,
};

struct stats_shard;

/* Resources of the host that a plugin holds, counted per shard. */
enum plugin_thing {
    PLUGIN_BUFFERS,
    PLUGIN_TIMERS,
    PLUGIN_WORKS,
    PLUGIN_WORKER_POSTS, /* messages to workers, not yet delivered */
    PLUGIN_THINGS,       /* how many there are */
};

struct plugin_stats {
    char id[64];
    char version[32];
    unsigned generation;
    struct handle_holder buffers; /* created for it, or held by it */
    struct handle_holder files;
    atomic_uint posts; /* messages of the plugin, not yet delivered: its code will run */
    atomic_llong file_count;
    atomic_llong things[PLUGIN_THINGS]; /* counted while there was no memory for the shard */
    _Atomic(struct stats_shard *) shards[STATS_SHARDS];
};

struct plugin_stats *plugin_stats_create(const char *id, unsigned generation);
void plugin_stats_set_version(struct plugin_stats *stats, const char *version);

/* The plugin whose private copy has that file name (ID.GENERATION.so); NULL: none. For the crash
 * report: takes no lock, and finds the first PLUGIN_STATS_KNOWN only. */
const struct plugin_stats *plugin_stats_of_file(const char *name);

/* The plugin is unloaded: logs what it has not released, if anything. NULL is legal. */
void plugin_stats_close(struct plugin_stats *stats);

/* Counts a call that took so many ticks. `shard`: the calling thread's. */
void plugin_stats_count(struct plugin_stats *stats, unsigned shard, enum plugin_callback callback,
                        uint64_t ticks);

/* The plugin holds one more, or one less. */
void plugin_stats_hold(struct plugin_stats *stats, unsigned shard, enum plugin_thing thing,
                       int change);

/* The holders that count the buffers and files of a plugin; NULL without stats. */
static inline struct handle_holder *plugin_stats_buffers(struct plugin_stats *stats) {
    return stats ? &stats->buffers : NULL;
}

static inline struct handle_holder *plugin_stats_files(struct plugin_stats *stats) {
    return stats ? &stats->files : NULL;
}

/* This thread counts in that shard from now on. A thread that does not call it counts in
 * STATS_SHARD_OTHER. */
void plugin_stats_enter(unsigned shard);

/* Its connections are counted by its listeners. */
struct plugin_held {
#define GAUGE(name, label, meaning) long long name;
#define COUNTERS_HOLDS
#include "base/counters.def"
};
struct plugin_held plugin_stats_held(const struct plugin_stats *stats);

/* The times of a callback, of all threads together. */
struct plugin_times {
    uint64_t count;
    double p50_us; /* to a quarter, as the buckets are */
    double p99_us;
    double max_us;
};
struct plugin_times plugin_stats_times(const struct plugin_stats *stats,
                                       enum plugin_callback callback);

/* How many calls of a callback are in the bucket: they took at least the end of the previous
 * bucket, and less than *end_us. */
uint64_t plugin_stats_bucket(const struct plugin_stats *stats, enum plugin_callback callback,
                             unsigned bucket, double *end_us);

#endif
