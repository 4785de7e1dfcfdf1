/* histogram.h: how often which duration was seen, in room that does not grow.
 *
 * Log-linear: values up to 255 are exact, and every power of two above is cut into 128 equal parts,
 * so that what is read back is at most one part in 128 above what was recorded, at 1 µs as at 1
 * min. Values are nanoseconds here; nothing depends on it.
 *
 * Owner: embedded anywhere, shared memory too (it holds no pointer). Threads: one at a time. */
#ifndef BERTH_LOAD_HISTOGRAM_H
#define BERTH_LOAD_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_PART_BITS 7
#define HISTOGRAM_VALUE_BITS 42 /* a bit more than an hour; what is longer counts as that */
#define HISTOGRAM_PARTS (1u << HISTOGRAM_PART_BITS)
#define HISTOGRAM_CELLS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_PART_BITS + 1) * HISTOGRAM_PARTS)

struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min; /* exact; 0 while nothing was recorded */
    uint64_t max; /* exact */
    uint64_t cells[HISTOGRAM_CELLS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t times);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that `percent` of all recorded values do not exceed: at least that value, and at most
 * one part in 128 above it. 0 when nothing was recorded. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram);

#endif
