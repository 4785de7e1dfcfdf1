/* pace.h: when the next thing is due, at a rate that does not wait for anybody.
 *
 * A client that starts its next message when the last one has come back asks less of a server that
 * is slow, and so measures it too kindly ("coordinated omission"). Here every message has its
 * moment on the clock in advance, and its latency counts from there, whenever it could be sent.
 *
 * Owner: embedded. Threads: one. */
#ifndef BERTH_LOAD_PACE_H
#define BERTH_LOAD_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t began_ns;
    uint64_t count;    /* moments handed out */
    double per_second; /* 0: everything is always due */
};

void pace_start(struct pace *pace, double per_second, uint64_t now_ns);

/* The next moment on the clock. */
uint64_t pace_next_ns(const struct pace *pace);

/* Takes the next moment when it has come: true, and the moment in `due_ns`. */
bool pace_take(struct pace *pace, uint64_t now_ns, uint64_t *due_ns);

/* How many moments have come before `until_ns` and were not taken. */
uint64_t pace_left_before(const struct pace *pace, uint64_t until_ns);

/* From one moment to the one `count` further, in nanoseconds. */
uint64_t pace_span_ns(const struct pace *pace, uint64_t count);

#endif
