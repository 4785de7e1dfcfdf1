/* ticks.h: a clock that costs a few nanoseconds: the processor's own counter.
 *
 * It counts at a constant rate and alike on all processors (the invariant TSC; the generic timer of
 * ARM); the rate is measured against os_now_us() by those who want a time of it. Elsewhere it is
 * os_now_us() itself. Threads: any. */
#ifndef BERTH_HOST_OS_TICKS_H
#define BERTH_HOST_OS_TICKS_H

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

#endif
