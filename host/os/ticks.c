#include "os/ticks.h"

#include <stdatomic.h>

enum { RATE_US_MIN = 20000 }; /* before that the rate is not precise enough */

static atomic_uint state; /* 0: not measured, 1: about to be, 2: measured from these on */
static atomic_ullong first_ticks;
static atomic_ullong first_us;

void ticks_measure(void) {
    unsigned none = 0;
    if (atomic_load(&state) == 0 && atomic_compare_exchange_strong(&state, &none, 1)) {
        atomic_store(&first_ticks, ticks_now());
        atomic_store(&first_us, os_now_us());
        atomic_store(&state, 2);
    }
}

double ticks_as_us(uint64_t ticks) {
    if (atomic_load(&state) != 2) {
        return 0;
    }
    double counted = (double)(ticks_now() - atomic_load(&first_ticks));
    double us = (double)(os_now_us() - atomic_load(&first_us));
    return counted > 0 ? (double)ticks * us / counted : 0;
}

bool ticks_of_us(uint64_t us, uint64_t *ticks) {
    if (atomic_load(&state) != 2) {
        return false;
    }
    uint64_t passed = os_now_us() - atomic_load(&first_us);
    uint64_t counted = ticks_now() - atomic_load(&first_ticks);
    if (passed < RATE_US_MIN) {
        return false;
    }
    *ticks = (uint64_t)((double)us * (double)counted / (double)passed);
    return true;
}
