/* ticks.h: a clock that costs a few nanoseconds: the processor's own counter.
 *
 * It counts at a constant rate and alike on all processors (the invariant TSC; the generic timer of
 * ARM). Without such a counter it is os_now_us() itself. It measures how long code took; no
 * time-out is computed from it. Threads: any. */
#ifndef BERTH_HOST_OS_TICKS_H
#define BERTH_HOST_OS_TICKS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

static inline uint64_t ticks_now(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return os_now_us();
#endif
}

/* Begins to measure their rate, against os_now_us(), from the first call on. */
void ticks_measure(void);

/* Ticks as microseconds, and the reverse, by the rate measured so far: false before that is precise
 * enough. Nothing before ticks_measure(). */
double ticks_as_us(uint64_t ticks);
bool ticks_of_us(uint64_t us, uint64_t *ticks);

#endif
