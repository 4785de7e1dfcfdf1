#include "net/plugin_account.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/macros.h"
#include "net/call_page.h"
#include "os/ticks.h"

enum {
    TICKS_SHIFT = 4, /* 16 ticks, some nanoseconds, are the smallest difference that is told */
    STEPS_BITS = 2,  /* four buckets for each doubling */
};

struct times {
    atomic_ullong buckets[PLUGIN_TIME_BUCKETS];
    atomic_ullong max_ticks;
};

struct plugin_share {
    struct times times[PLUGIN_CALLBACKS];
    atomic_llong things[PLUGIN_THINGS]; /* may be negative: given back on another thread */
};

static _Thread_local unsigned own_share = PLUGIN_SHARE_OTHER;

/* Every account, for as long as its library may be mapped. */
static _Atomic(struct plugin_account *) known[PLUGIN_ACCOUNTS_KNOWN];

/* Puts `to` in the place of the first `from`. */
static void note(struct plugin_account *from, struct plugin_account *to) {
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        struct plugin_account *expected = from;
        if (atomic_compare_exchange_strong(&known[i], &expected, to)) {
            return;
        }
    }
}

static void count_buffer(struct handle_holder *holder, int change) {
    plugin_account_hold(CONTAINER_OF(holder, struct plugin_account, buffers), own_share,
                        PLUGIN_BUFFERS, change);
}

static void count_file(struct handle_holder *holder, int change) {
    atomic_fetch_add(&CONTAINER_OF(holder, struct plugin_account, files)->file_count, change);
}

void plugin_account_enter(unsigned share) {
    own_share = share;
}

struct plugin_account *plugin_account_create(const char *id, unsigned generation) {
    struct plugin_account *account = alloc_zeroed(sizeof(*account));
    if (account) {
        snprintf(account->id, sizeof(account->id), "%s", id);
        account->generation = generation;
        account->buffers.count = count_buffer;
        account->files.count = count_file;
        note(NULL, account);
        call_page_name(account, generation, id, "");
    }
    return account;
}

void plugin_account_set_version(struct plugin_account *account, const char *version) {
    snprintf(account->version, sizeof(account->version), "%.31s", version);
    call_page_name(account, account->generation, account->id, account->version);
}

const struct plugin_account *plugin_account_of_file(const char *name) {
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        char begin[96];
        const struct plugin_account *one = atomic_load(&known[i]);
        int length = one ? snprintf(begin, sizeof(begin), "%s.%u.", one->id, one->generation) : 0;
        if (length > 0 && strncmp(name, begin, (size_t)length) == 0) {
            return one;
        }
    }
    return NULL;
}

/* -- counting ------------------------------------------------------------------------------------
 */

/* The share, made if need be; NULL: no memory, and then no time is counted. */
static struct plugin_share *share_of(struct plugin_account *account, unsigned index) {
    struct plugin_share *share =
        atomic_load_explicit(&account->shares[index], memory_order_acquire);
    if (share) {
        return share;
    }
    struct plugin_share *made = alloc_zeroed(sizeof(*made));
    if (made && !atomic_compare_exchange_strong(&account->shares[index], &share, made)) {
        alloc_free(made); /* another thread of those that share it was first */
        return share;
    }
    return made;
}

static unsigned bucket_of(uint64_t ticks) {
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

void plugin_account_count(struct plugin_account *account, unsigned share,
                          enum plugin_callback callback, uint64_t ticks) {
    struct plugin_share *own = share_of(account, share);
    if (!own) {
        return;
    }
    struct times *times = &own->times[callback];
    atomic_ullong *bucket = &times->buckets[bucket_of(ticks)];
    if (share == PLUGIN_SHARE_OTHER) {
        atomic_fetch_add_explicit(bucket, 1, memory_order_relaxed);
    } else { /* nobody else writes it */
        atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
    unsigned long long max = atomic_load_explicit(&times->max_ticks, memory_order_relaxed);
    while (ticks > max &&
           !atomic_compare_exchange_weak_explicit(&times->max_ticks, &max, ticks,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void plugin_account_hold(struct plugin_account *account, unsigned share, enum plugin_thing thing,
                         int change) {
    if (!account) {
        return;
    }
    struct plugin_share *own = share_of(account, share);
    atomic_llong *count = own ? &own->things[thing] : &account->things[thing];
    if (share == PLUGIN_SHARE_OTHER || !own) {
        atomic_fetch_add_explicit(count, change, memory_order_relaxed);
    } else {
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + change,
                              memory_order_relaxed);
    }
}

/* -- reading -------------------------------------------------------------------------------------
 */

struct plugin_held plugin_account_held(const struct plugin_account *account) {
    long long things[PLUGIN_THINGS];
    for (unsigned k = 0; k < PLUGIN_THINGS; k++) {
        things[k] = atomic_load(&account->things[k]);
    }
    for (unsigned i = 0; i < PLUGIN_SHARES; i++) {
        const struct plugin_share *share = atomic_load(&account->shares[i]);
        for (unsigned k = 0; share && k < PLUGIN_THINGS; k++) {
            things[k] += atomic_load(&share->things[k]);
        }
    }
    return (struct plugin_held){
        .buffers = things[PLUGIN_BUFFERS],
        .files = atomic_load(&account->file_count),
        .timers = things[PLUGIN_TIMERS],
        .works = things[PLUGIN_WORKS],
        .posts = things[PLUGIN_WORKER_POSTS] + atomic_load(&account->posts),
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

struct plugin_times plugin_account_times(const struct plugin_account *account,
                                         enum plugin_callback callback) {
    uint64_t buckets[PLUGIN_TIME_BUCKETS] = {0};
    uint64_t max_ticks = 0;
    struct plugin_times times = {0};
    for (unsigned i = 0; i < PLUGIN_SHARES; i++) {
        const struct plugin_share *share = atomic_load(&account->shares[i]);
        for (unsigned b = 0; share && b < PLUGIN_TIME_BUCKETS; b++) {
            uint64_t count =
                atomic_load_explicit(&share->times[callback].buckets[b], memory_order_relaxed);
            buckets[b] += count;
            times.count += count;
        }
        uint64_t max = share ? atomic_load(&share->times[callback].max_ticks) : 0;
        max_ticks = max > max_ticks ? max : max_ticks;
    }
    times.max_us = ticks_as_us(max_ticks);
    times.p50_us = quantile_us(buckets, times.count, 0.5);
    times.p99_us = quantile_us(buckets, times.count, 0.99);
    /* The end of a bucket may lie past what was ever seen. */
    times.p50_us = times.p50_us < times.max_us ? times.p50_us : times.max_us;
    times.p99_us = times.p99_us < times.max_us ? times.p99_us : times.max_us;
    return times;
}

uint64_t plugin_account_bucket(const struct plugin_account *account, enum plugin_callback callback,
                               unsigned bucket, double *end_us) {
    uint64_t count = 0;
    for (unsigned i = 0; i < PLUGIN_SHARES; i++) {
        const struct plugin_share *share = atomic_load(&account->shares[i]);
        count += share ? atomic_load(&share->times[callback].buckets[bucket]) : 0;
    }
    *end_us = ticks_as_us(bucket_end(bucket));
    return count;
}

/* -- the end -------------------------------------------------------------------------------------
 */

void plugin_account_close(struct plugin_account *account) {
    if (!account) {
        return;
    }
    note(account, NULL);
    struct plugin_held held = plugin_account_held(account);
    if (held.buffers != 0 || held.files != 0) {
        struct log_subject subject = {.plugin = account->id};
        log_warn(&subject, "leak: generation %u has not given back %lld buffers and %lld files",
                 account->generation, held.buffers, held.files);
        return; /* whoever gives them back yet finds the account */
    }
    for (unsigned i = 0; i < PLUGIN_SHARES; i++) {
        alloc_free(atomic_load(&account->shares[i]));
    }
    call_page_forget(account);
    alloc_free(account);
}
