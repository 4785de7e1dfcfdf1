/* pattern.h: the patterns of KEYS and CONFIG GET: *, ?, [a-z], [^a] and \ before any of them.
 * Threads: any. */
#ifndef BERTH_EXAMPLES_KV_PATTERN_H
#define BERTH_EXAMPLES_KV_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether all of the text fits. Takes no longer than the product of both sizes. */
bool pattern_matches(const uint8_t *pattern, size_t pattern_size, const uint8_t *text, size_t size);

#endif
