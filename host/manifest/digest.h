/* digest.h: compares JSON values without comparing every pair of them.
 *
 * Equal values (numbers are compared by value; the order of an object's members is ignored) have
 * equal digests. Different values have equal digests with a probability of 1 in 2^128 only: the key
 * is random, so an attacker cannot choose values that collide. The cost of a digest is linear in
 * the size of its value. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_DIGEST_H
#define BERTH_HOST_MANIFEST_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

struct cJSON;

struct digest {
    uint64_t words[2];
};

struct digest_keys {
    struct siphash_key keys[2];
};

void digest_keys_init(struct digest_keys *keys);
struct digest digest_of(const struct digest_keys *keys, const struct cJSON *value);
int digest_compare(const void *left, const void *right); /* for qsort() and bsearch() */

#endif
