#include "net/lib/listener_counters.h"

#include "base/macros.h"

enum { NUMBERS = sizeof(struct listener_counters) / sizeof(atomic_ullong) };

#define NUMBER(member) (offsetof(struct listener_counters, member) / sizeof(atomic_ullong))

static const struct listener_counter table[] = {
#define COUNTER(name, meaning) {#name, meaning, NUMBER(name), 1},
#define COUNTER_IN(array, index, name, meaning)                                                    \
    {#name, meaning, NUMBER(array) + (size_t)(index), 1},
#define COUNTER_SUM(array, count, name, meaning) {#name, meaning, NUMBER(array), count},
#define COUNTERS_LISTENER
#include "base/counters.def"
};

/* The struct has no other members. */
static atomic_ullong *number_at(struct listener_counters *counters, size_t index) {
    return (atomic_ullong *)(void *)counters + index;
}

static uint64_t listener_counters_read_number(const struct listener_counters *counters,
                                              size_t index) {
    const atomic_ullong *numbers = (const atomic_ullong *)(const void *)counters;
    return atomic_load_explicit(&numbers[index], memory_order_relaxed);
}

size_t listener_counter_count(void) {
    return ARRAY_COUNT(table);
}

const struct listener_counter *listener_counter_at(size_t index) {
    return &table[index];
}

uint64_t listener_counter_read(const struct listener_counter *counter,
                               const struct listener_counters *counters) {
    uint64_t sum = 0;
    for (size_t i = 0; i < counter->count; i++) {
        sum += listener_counters_read_number(counters, counter->first + i);
    }
    return sum;
}

static void listener_counters_add_to(atomic_ullong *to, uint64_t more) {
    atomic_fetch_add_explicit(to, more, memory_order_relaxed);
}

void listener_counters_add(struct listener_counters *to, const struct listener_counters *from) {
    for (size_t i = 0; i < NUMBERS; i++) {
        listener_counters_add_to(number_at(to, i), listener_counters_read_number(from, i));
    }
}

void listener_counters_add_traffic(struct listener_counters *to,
                                   const struct listener_traffic *traffic, unsigned workers) {
    for (unsigned i = 0; i < workers; i++) {
        const struct listener_traffic *one = &traffic[i];
        listener_counters_add_to(&to->bytes_received,
                                 atomic_load_explicit(&one->received[0], memory_order_relaxed));
        listener_counters_add_to(&to->bytes_sent,
                                 atomic_load_explicit(&one->sent[0], memory_order_relaxed));
        listener_counters_add_to(&to->outbound_bytes_received,
                                 atomic_load_explicit(&one->received[1], memory_order_relaxed));
        listener_counters_add_to(&to->outbound_bytes_sent,
                                 atomic_load_explicit(&one->sent[1], memory_order_relaxed));
    }
}
