#include "pattern.h"

#include <string.h>

#define PERIOD 65521u /* the largest prime below 2^16 */
#define STRIDE 7919u  /* from the start of one stream to that of the next */

/* Longer than its period by a piece, so that every piece is in one place. */
static uint8_t table[PERIOD + PATTERN_PIECE_MAX];

void pattern_start(void) {
    uint32_t state = 2463534242u;
    for (size_t i = 0; i < PERIOD; i++) {
        state ^= state << 13; /* Marsaglia's xorshift */
        state ^= state >> 17;
        state ^= state << 5;
        table[i] = (uint8_t)(state >> 11);
    }
    for (size_t i = PERIOD; i < sizeof(table); i++) {
        table[i] = table[i - PERIOD];
    }
}

const uint8_t *pattern_at(uint32_t stream, uint64_t position) {
    return table + ((uint64_t)stream * STRIDE + position) % PERIOD;
}

size_t pattern_compare(uint32_t stream, uint64_t position, const uint8_t *bytes, size_t size) {
    size_t done = 0;
    while (done < size) {
        size_t part = size - done < PATTERN_PIECE_MAX ? size - done : PATTERN_PIECE_MAX;
        const uint8_t *wanted = pattern_at(stream, position + done);
        if (memcmp(bytes + done, wanted, part) != 0) {
            while (bytes[done] == *wanted) {
                done++;
                wanted++;
            }
            return done;
        }
        done += part;
    }
    return size;
}
