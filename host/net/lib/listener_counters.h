/* listener_counters.h: counters of events on a listener, which only grow.
 *
 * Each is defined once, in base/counters.def. Events of every message are counted by each worker
 * separately (listener_traffic), without an atomic operation; all others are rare enough for one.
 * The counters of a generation are added to its listener's totals when it ends.
 *
 * Threads: any. */
#ifndef BERTH_HOST_NET_LIB_LISTENER_COUNTERS_H
#define BERTH_HOST_NET_LIB_LISTENER_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

/* Why a client is refused. */
enum listener_refusal {
    LISTENER_REFUSED_ACCESS,     /* allow, deny */
    LISTENER_REFUSED_RATE,       /* limits.accept_rate_per_client */
    LISTENER_REFUSED_PER_CLIENT, /* limits.per_client */
    LISTENER_REFUSED_LISTENER,   /* the listener's limits.connections */
    LISTENER_REFUSED_HOST,       /* the host's */
    LISTENER_REFUSALS,
};

struct listener_counters {
#define COUNTER(name, meaning) atomic_ullong name;
#define COUNTER_IN(array, index, name, meaning)
#define COUNTER_SUM(array, count, name, meaning) atomic_ullong array[count];
#define COUNTERS_LISTENER
#include "base/counters.def"
};

/* How a counter is read. */
struct listener_counter {
    const char *name;
    const char *meaning;
    size_t first; /* of the numbers that it is the sum of, and their count */
    size_t count;
};

size_t listener_counter_count(void);
const struct listener_counter *listener_counter_at(size_t index);
uint64_t listener_counter_read(const struct listener_counter *counter,
                               const struct listener_counters *counters);

/* Adds the second to the first. */
void listener_counters_add(struct listener_counters *to, const struct listener_counters *from);

static inline void listener_count(atomic_ullong *counter) {
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* The counters of one worker, which it alone writes; no cache line has parts of two. */
struct listener_traffic {
    atomic_ullong received[2]; /* bytes of accepted connections and datagrams; of outbound ones */
    atomic_ullong sent[2];
    bool is_started; /* of the worker: the plugin's `worker_start` has been called there */
    char apart[64];
};

static inline void listener_traffic_add(atomic_ullong *bytes, uint64_t more) {
    atomic_store_explicit(bytes, atomic_load_explicit(bytes, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

/* Adds what `workers` workers have counted. */
void listener_counters_add_traffic(struct listener_counters *to,
                                   const struct listener_traffic *traffic, unsigned workers);

#endif
