/* expiry.h: when a key expires, on the clock of berth_host.now_ms(). Threads: any. */
#ifndef BERTH_EXAMPLES_KV_EXPIRY_H
#define BERTH_EXAMPLES_KV_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

/* In so many seconds or milliseconds, which may lie before now. False: no clock goes so far. */
static inline bool expiry_at(uint64_t now_ms, int64_t number, bool is_seconds, uint64_t *at_ms) {
    int64_t max = INT64_MAX - (int64_t)now_ms;
    int64_t scale = is_seconds ? 1000 : 1;
    if (number > max / scale || number < INT64_MIN / scale) {
        return false;
    }
    int64_t at = (int64_t)now_ms + number * scale;
    *at_ms = at > 0 ? (uint64_t)at : 1; /* 0 is never */
    return true;
}

#endif
