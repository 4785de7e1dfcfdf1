/* digest.h: JSON values told apart without comparing each with each.
 *
 * Equal values (of numbers the value counts, of objects not the order of the members) have equal
 * digests, and others differ but by a chance of 1 in 2^128: the key is random, so nobody can choose
 * values that collide. A digest costs as much as its value is long. Threads: any. */
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
