#include "histogram.h"

#include <string.h>

#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1)

void histogram_init(struct histogram *histogram) {
    memset(histogram, 0, sizeof(*histogram));
}

/* The first two powers of two are one linear stretch; each further one is a row of parts. */
static unsigned cell_of(uint64_t value) {
    if (value < 2 * HISTOGRAM_PARTS) {
        return (unsigned)value;
    }
    unsigned shift = 63 - HISTOGRAM_PART_BITS - (unsigned)__builtin_clzll(value);
    return shift * HISTOGRAM_PARTS + (unsigned)(value >> shift);
}

/* The largest value that falls into the cell. */
static uint64_t cell_end(unsigned cell) {
    if (cell < 2 * HISTOGRAM_PARTS) {
        return cell;
    }
    unsigned shift = cell / HISTOGRAM_PARTS - 1;
    uint64_t part = cell - (uint64_t)shift * HISTOGRAM_PARTS;
    return ((part + 1) << shift) - 1;
}

void histogram_record(struct histogram *histogram, uint64_t value) {
    histogram_record_many(histogram, value, 1);
}

void histogram_record_many(struct histogram *histogram, uint64_t value, uint64_t times) {
    uint64_t kept = value < VALUE_MAX ? value : VALUE_MAX;
    if (times == 0) {
        return;
    }
    histogram->cells[cell_of(kept)] += times;
    if (histogram->count == 0 || kept < histogram->min) {
        histogram->min = kept;
    }
    if (kept > histogram->max) {
        histogram->max = kept;
    }
    histogram->count += times;
    histogram->sum += kept * times;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    if (from->count == 0) {
        return;
    }
    if (into->count == 0 || from->min < into->min) {
        into->min = from->min;
    }
    if (from->max > into->max) {
        into->max = from->max;
    }
    into->count += from->count;
    into->sum += from->sum;
    for (unsigned i = 0; i < HISTOGRAM_CELLS; i++) {
        into->cells[i] += from->cells[i];
    }
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent) {
    uint64_t seen = 0;
    double wanted = percent / 100 * (double)histogram->count;
    for (unsigned i = 0; i < HISTOGRAM_CELLS && histogram->count > 0; i++) {
        seen += histogram->cells[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end = cell_end(i);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram) {
    return histogram->count > 0 ? (double)histogram->sum / (double)histogram->count : 0;
}
