/* siphash.h: SipHash-2-4 (Aumasson and Bernstein, 2012), for tables whose keys are chosen by peers.
 *
 * Whoever knows how a table hashes can choose keys that all lie in one bucket, and each look-up
 * then costs as much as there are such keys. With a random key nobody knows. Threads: any. */
#ifndef BERTH_HOST_BASE_SIPHASH_H
#define BERTH_HOST_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t words[2];
};

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size);

#endif
