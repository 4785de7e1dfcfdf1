/* plugin_stats.h: what the host keeps count of for one generation of a plugin: how long each of
 * its callbacks takes, and what it holds of the host's.
 *
 * Counting must cost next to nothing, so every worker counts in a share of its own, which it alone
 * writes; all other threads have one together. A share is made when its thread first calls the
 * plugin. Times are in ticks (os/ticks.h) and in buckets that grow by a quarter, and become
 * microseconds when they are read.
 *
 * Owner: the module. An account whose plugin has not given everything back stays for good, so that
 * a late release finds it. Threads: any, where nothing else is said. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_STATS_H
#define BERTH_HOST_PLUGIN_PLUGIN_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/lib/handle.h"
#include "plugin/plugin_callback.h"

enum {
    STATS_SHARDS = 65,      /* one a worker (SERVER_WORKERS_MAX), and that of all other threads */
    STATS_SHARD_OTHER = 64, /* the latter */
    PLUGIN_TIME_BUCKETS = 160,
    PLUGIN_STATS_KNOWN = 256,
};

struct stats_shard;

/* What a plugin has of the host's, counted a share. */
enum plugin_thing {
    PLUGIN_BUFFERS,
    PLUGIN_TIMERS,
    PLUGIN_WORKS,
    PLUGIN_WORKER_POSTS, /* messages to workers that are under way */
    PLUGIN_THINGS,       /* how many there are */
};

struct plugin_stats {
    char id[64];
    char version[32];
    unsigned generation;
    struct handle_holder buffers; /* what has been made for it, or is kept by it */
    struct handle_holder files;
    atomic_uint posts; /* messages of the plugin on their way: its code is to run */
    atomic_llong file_count;
    atomic_llong things[PLUGIN_THINGS]; /* counted while their share had no memory */
    _Atomic(struct stats_shard *) shards[STATS_SHARDS];
};

struct plugin_stats *plugin_stats_create(const char *id, unsigned generation);
void plugin_stats_set_version(struct plugin_stats *stats, const char *version);

/* Whose library the file's name is that of, as copies are named: ID.GENERATION.so; NULL: nobody's.
 * For last words: takes no lock, and knows the first PLUGIN_STATS_KNOWN. */
const struct plugin_stats *plugin_stats_of_file(const char *name);

/* The plugin is gone: says in the log what it has not given back, if anything. NULL is legal. */
void plugin_stats_close(struct plugin_stats *stats);

/* The call took so many ticks. `share`: the calling thread's. */
void plugin_stats_count(struct plugin_stats *stats, unsigned shard, enum plugin_callback callback,
                        uint64_t ticks);

/* One more, or less, that the plugin has. */
void plugin_stats_hold(struct plugin_stats *stats, unsigned shard, enum plugin_thing thing,
                       int change);

/* Those that count the buffers and files of a plugin; NULL without an account. */
static inline struct handle_holder *plugin_stats_buffers(struct plugin_stats *stats) {
    return stats ? &stats->buffers : NULL;
}

static inline struct handle_holder *plugin_stats_files(struct plugin_stats *stats) {
    return stats ? &stats->files : NULL;
}

/* This thread counts in that share from now on. Others count in STATS_SHARD_OTHER. */
void plugin_stats_enter(unsigned shard);

/* Its connections are counted by its listeners. */
struct plugin_held {
#define GAUGE(name, label, meaning) long long name;
#define COUNTERS_HOLDS
#include "base/counters.def"
};
struct plugin_held plugin_stats_held(const struct plugin_stats *stats);

/* What is known of a callback, of all threads together. */
struct plugin_times {
    uint64_t count;
    double p50_us; /* to a quarter, as the buckets are */
    double p99_us;
    double max_us;
};
struct plugin_times plugin_stats_times(const struct plugin_stats *stats,
                                       enum plugin_callback callback);

/* How often a callback took at least as long as the bucket before ends, and less than *end_us. */
uint64_t plugin_stats_bucket(const struct plugin_stats *stats, enum plugin_callback callback,
                             unsigned bucket, double *end_us);

#endif
