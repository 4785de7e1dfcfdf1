/* pattern.h: what the client sends, and what must therefore come back.
 *
 * A connection's stream is a walk through one table of noise that begins at a place of its own. The
 * table's length is prime, so that no block of a round size can be lost, doubled or swapped within
 * a stream, or between two, and still look right.
 *
 * Owner: one for the program. Threads: any, after pattern_start(). */
#ifndef BERTH_LOAD_PATTERN_H
#define BERTH_LOAD_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_PIECE_MAX 65536

void pattern_start(void);

/* The bytes at `position` of stream `stream`; `size` (at most PATTERN_PIECE_MAX) lie there. They
 * stay where they are for as long as the program runs. */
const uint8_t *pattern_at(uint32_t stream, uint64_t position);

/* Compares what came with what should have; the index of the first wrong byte, or `size`. */
size_t pattern_compare(uint32_t stream, uint64_t position, const uint8_t *bytes, size_t size);

#endif
