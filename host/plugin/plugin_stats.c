#include "plugin/plugin_stats.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/macros.h"
#include "os/ticks.h"
#include "plugin/call_page.h"

enum {
    TICKS_SHIFT = 4, /* the resolution is 16 ticks, some nanoseconds */
    STEPS_BITS = 2,  /* four buckets for each doubling */
};

struct times {
    atomic_ullong buckets[PLUGIN_TIME_BUCKETS];
    atomic_ullong max_ticks;
};

struct stats_shard {
    struct times times[PLUGIN_CALLBACKS];
    atomic_llong things[PLUGIN_THINGS]; /* may be negative: released on another thread */
};

static _Thread_local unsigned own_share = STATS_SHARD_OTHER;

/* All stats, for as long as their library may be mapped. */
static _Atomic(struct plugin_stats *) known[PLUGIN_STATS_KNOWN];

/* Replaces the first `from` by `to`. */
static void plugin_stats_note(struct plugin_stats *from, struct plugin_stats *to) {
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        struct plugin_stats *expected = from;
        if (atomic_compare_exchange_strong(&known[i], &expected, to)) {
            return;
        }
    }
}

static void count_buffer(struct handle_holder *holder, int change) {
    plugin_stats_hold(CONTAINER_OF(holder, struct plugin_stats, buffers), own_share, PLUGIN_BUFFERS,
                      change);
}

static void count_file(struct handle_holder *holder, int change) {
    atomic_fetch_add(&CONTAINER_OF(holder, struct plugin_stats, files)->file_count, change);
}

void plugin_stats_enter(unsigned shard) {
    own_share = shard;
}

struct plugin_stats *plugin_stats_create(const char *id, unsigned generation) {
    struct plugin_stats *stats = alloc_zeroed(sizeof(*stats));
    if (stats) {
        snprintf(stats->id, sizeof(stats->id), "%s", id);
        stats->generation = generation;
        stats->buffers.count = count_buffer;
        stats->files.count = count_file;
        plugin_stats_note(NULL, stats);
        call_page_name(stats, generation, id, "");
    }
    return stats;
}

void plugin_stats_set_version(struct plugin_stats *stats, const char *version) {
    snprintf(stats->version, sizeof(stats->version), "%.31s", version);
    call_page_name(stats, stats->generation, stats->id, stats->version);
}

const struct plugin_stats *plugin_stats_of_file(const char *name) {
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        char begin[96];
        const struct plugin_stats *one = atomic_load(&known[i]);
        int length = one ? snprintf(begin, sizeof(begin), "%s.%u.", one->id, one->generation) : 0;
        if (length > 0 && strncmp(name, begin, (size_t)length) == 0) {
            return one;
        }
    }
    return NULL;
}

/* -- counting -------------------------------------------------------------- */

/* The shard, made if needed; NULL: no memory, and then no time is counted. */
static struct stats_shard *stats_shard_of(struct plugin_stats *stats, unsigned index) {
    struct stats_shard *shard = atomic_load_explicit(&stats->shards[index], memory_order_acquire);
    if (shard) {
        return shard;
    }
    struct stats_shard *made = alloc_zeroed(sizeof(*made));
    if (made && !atomic_compare_exchange_strong(&stats->shards[index], &shard, made)) {
        alloc_free(made); /* another thread of those that share it was first */
        return shard;
    }
    return made;
}

static unsigned plugin_stats_bucket_of(uint64_t ticks) {
    uint64_t value = ticks >> TICKS_SHIFT;
    if (value < (1u << STEPS_BITS)) {
        return (unsigned)value;
    }
    unsigned log = 63 - (unsigned)__builtin_clzll(value);
    unsigned step = (unsigned)(value >> (log - STEPS_BITS)) & ((1u << STEPS_BITS) - 1);
    unsigned bucket = ((log - STEPS_BITS + 1) << STEPS_BITS) + step;
    return bucket < PLUGIN_TIME_BUCKETS ? bucket : PLUGIN_TIME_BUCKETS - 1;
}

/* The first value that is too large for the bucket. */
static uint64_t bucket_end(unsigned bucket) {
    unsigned next = bucket + 1;
    unsigned row = next >> STEPS_BITS;
    uint64_t step = next & ((1u << STEPS_BITS) - 1);
    uint64_t value = row == 0 ? step : (step + (1u << STEPS_BITS)) << (row - 1);
    return value << TICKS_SHIFT;
}

void plugin_stats_count(struct plugin_stats *stats, unsigned shard, enum plugin_callback callback,
                        uint64_t ticks) {
    struct stats_shard *own = stats_shard_of(stats, shard);
    if (!own) {
        return;
    }
    struct times *times = &own->times[callback];
    atomic_ullong *bucket = &times->buckets[plugin_stats_bucket_of(ticks)];
    if (shard == STATS_SHARD_OTHER) {
        atomic_fetch_add_explicit(bucket, 1, memory_order_relaxed);
    } else { /* no other thread writes it */
        atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
    unsigned long long max = atomic_load_explicit(&times->max_ticks, memory_order_relaxed);
    while (ticks > max &&
           !atomic_compare_exchange_weak_explicit(&times->max_ticks, &max, ticks,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void plugin_stats_hold(struct plugin_stats *stats, unsigned shard, enum plugin_thing thing,
                       int change) {
    if (!stats) {
        return;
    }
    struct stats_shard *own = stats_shard_of(stats, shard);
    atomic_llong *count = own ? &own->things[thing] : &stats->things[thing];
    if (shard == STATS_SHARD_OTHER || !own) {
        atomic_fetch_add_explicit(count, change, memory_order_relaxed);
    } else {
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + change,
                              memory_order_relaxed);
    }
}

/* -- reading --------------------------------------------------------------- */

struct plugin_held plugin_stats_held(const struct plugin_stats *stats) {
    long long things[PLUGIN_THINGS];
    for (unsigned k = 0; k < PLUGIN_THINGS; k++) {
        things[k] = atomic_load(&stats->things[k]);
    }
    for (unsigned i = 0; i < STATS_SHARDS; i++) {
        const struct stats_shard *shard = atomic_load(&stats->shards[i]);
        for (unsigned k = 0; shard && k < PLUGIN_THINGS; k++) {
            things[k] += atomic_load(&shard->things[k]);
        }
    }
    return (struct plugin_held){
        .buffers = things[PLUGIN_BUFFERS],
        .files = atomic_load(&stats->file_count),
        .timers = things[PLUGIN_TIMERS],
        .works = things[PLUGIN_WORKS],
        .posts = things[PLUGIN_WORKER_POSTS] + atomic_load(&stats->posts),
    };
}

static double quantile_us(const uint64_t *buckets, uint64_t count, double part) {
    uint64_t wanted = (uint64_t)((double)count * part);
    uint64_t seen = 0;
    for (unsigned i = 0; i < PLUGIN_TIME_BUCKETS; i++) {
        seen += buckets[i];
        if (seen > wanted) {
            return ticks_as_us(bucket_end(i));
        }
    }
    return 0;
}

struct plugin_times plugin_stats_times(const struct plugin_stats *stats,
                                       enum plugin_callback callback) {
    uint64_t buckets[PLUGIN_TIME_BUCKETS] = {0};
    uint64_t max_ticks = 0;
    struct plugin_times times = {0};
    for (unsigned i = 0; i < STATS_SHARDS; i++) {
        const struct stats_shard *shard = atomic_load(&stats->shards[i]);
        for (unsigned b = 0; shard && b < PLUGIN_TIME_BUCKETS; b++) {
            uint64_t count =
                atomic_load_explicit(&shard->times[callback].buckets[b], memory_order_relaxed);
            buckets[b] += count;
            times.count += count;
        }
        uint64_t max = shard ? atomic_load(&shard->times[callback].max_ticks) : 0;
        max_ticks = max > max_ticks ? max : max_ticks;
    }
    times.max_us = ticks_as_us(max_ticks);
    times.p50_us = quantile_us(buckets, times.count, 0.5);
    times.p99_us = quantile_us(buckets, times.count, 0.99);
    /* The end of a bucket may be greater than the largest time counted. */
    times.p50_us = times.p50_us < times.max_us ? times.p50_us : times.max_us;
    times.p99_us = times.p99_us < times.max_us ? times.p99_us : times.max_us;
    return times;
}

uint64_t plugin_stats_bucket(const struct plugin_stats *stats, enum plugin_callback callback,
                             unsigned bucket, double *end_us) {
    uint64_t count = 0;
    for (unsigned i = 0; i < STATS_SHARDS; i++) {
        const struct stats_shard *shard = atomic_load(&stats->shards[i]);
        count += shard ? atomic_load(&shard->times[callback].buckets[bucket]) : 0;
    }
    *end_us = ticks_as_us(bucket_end(bucket));
    return count;
}

/* -- the end --------------------------------------------------------------- */

void plugin_stats_close(struct plugin_stats *stats) {
    if (!stats) {
        return;
    }
    plugin_stats_note(stats, NULL);
    struct plugin_held held = plugin_stats_held(stats);
    if (held.buffers != 0 || held.files != 0) {
        struct log_subject subject = {.plugin = stats->id};
        log_warn(&subject, "leak: generation %u has not given back %lld buffers and %lld files",
                 stats->generation, held.buffers, held.files);
        return; /* a late release finds the stats */
    }
    for (unsigned i = 0; i < STATS_SHARDS; i++) {
        alloc_free(atomic_load(&stats->shards[i]));
    }
    call_page_forget(stats);
    alloc_free(stats);
}
