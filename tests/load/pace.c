#include "pace.h"

void pace_start(struct pace *pace, double per_second, uint64_t now_ns) {
    pace->began_ns = now_ns;
    pace->count = 0;
    pace->per_second = per_second;
}

uint64_t pace_span_ns(const struct pace *pace, uint64_t count) {
    return pace->per_second > 0 ? (uint64_t)((double)count * 1e9 / pace->per_second) : 0;
}

/* From the beginning and not from the last one: what is rounded off does not add up. */
uint64_t pace_next_ns(const struct pace *pace) {
    return pace->began_ns + pace_span_ns(pace, pace->count);
}

uint64_t pace_left_before(const struct pace *pace, uint64_t until_ns) {
    if (pace->per_second == 0 || until_ns <= pace_next_ns(pace)) {
        return 0;
    }
    double all = (double)(until_ns - 1 - pace->began_ns) * pace->per_second / 1e9 + 1;
    return (uint64_t)all > pace->count ? (uint64_t)all - pace->count : 0;
}

bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *due_ns) {
    uint64_t next_ns = pace_next_ns(pace);
    if (next_ns > now_ns) {
        return false;
    }
    pace->count++;
    *due_ns = pace->per_second > 0 ? next_ns : now_ns;
    return true;
}
