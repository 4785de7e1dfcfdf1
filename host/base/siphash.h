/* siphash.h: SipHash-2-4 (Aumasson and Bernstein, 2012), for tables whose keys are chosen by peers.
 *
 * A peer that knows the hash function can choose keys that all fall into one bucket, and the cost
 * of a look-up then grows with the number of such keys. A random key makes the function unknown to
 * peers. Threads: any. */
#ifndef BERTH_HOST_BASE_SIPHASH_H
#define BERTH_HOST_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t words[2];
};

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size);

#endif
