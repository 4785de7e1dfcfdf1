/* store.h: the keys and values that all connections of a listener share.
 *
 * The keys are spread over SHARDS tables, each with a lock of its own, so that workers seldom wait
 * for each other. A command locks all shards that its keys are in, in rising order, before it looks
 * at the first one: commands with several keys are atomic, and two of them never wait for each
 * other in a circle. Under a lock there are look-ups and copies of small values only: large ones
 * are made before it (but for those that APPEND makes), and nothing is sent.
 *
 * Every byte of a key and a value, and what an entry costs, counts against a limit; so does what
 * large unfinished commands hold (resp.h). Threads: any; what says "locked" wants the shard's lock.
 */
#ifndef BERTH_EXAMPLES_KV_STORE_H
#define BERTH_EXAMPLES_KV_STORE_H

/* A plugin must not end the host when memory runs out: what was not added has no table. */
#define HASH_NONFATAL_OOM 1

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uthash.h>

#include "base/siphash.h"
#include "common/lock.h"

enum {
    SHARDS = 16,
    ALL_SHARDS = (1 << SHARDS) - 1,
    VALUE_SHARED_BYTES = 4096, /* values of that size lie in buffers of the host: no send copies */
};

struct value {
    uint8_t *bytes;
    uint32_t size;
    uint32_t capacity;
    struct berth_buffer *buffer; /* what `bytes` lies in; NULL: in memory of the plugin */
};

struct entry {
    UT_hash_handle hh;
    struct entry *prev; /* among the shard's entries that expire */
    struct entry *next;
    uint64_t expires_ms; /* 0: never */
    struct value value;
    uint32_t key_size;
    uint8_t key[];
};

struct shard {
    struct lock lock;
    struct entry *entries;  /* uthash */
    struct entry *expiring; /* utlist */
    atomic_uint count;
};

struct store {
    const struct berth_host *host;
    uint64_t memory_max;
    atomic_ullong memory_used;
    atomic_ullong expired; /* entries, since the start */
    struct siphash_key hash_key;
    struct shard shards[SHARDS];
};

struct key {
    const uint8_t *bytes;
    uint32_t size;
    uint32_t hash;
    uint32_t shard;
};

int32_t store_init(struct store *store, const struct berth_host *host, uint64_t memory_max,
                   struct berth_error *error);
void store_fini(struct store *store);

/* So many bytes of the limit, or false. */
bool store_reserve(struct store *store, uint64_t bytes);
void store_release(struct store *store, uint64_t bytes);

struct key store_key(const struct store *store, const void *bytes, uint32_t size);
void store_lock(struct store *store, uint32_t shards);   /* a bit for each */
void store_unlock(struct store *store, uint32_t shards); /* the same */

/* A value with room for `capacity` bytes, empty. BERTH_E_LIMIT, BERTH_E_NO_MEMORY. */
int32_t value_create(struct store *store, uint32_t capacity, struct value *value);
void value_free(struct store *store, struct value *value);

/* The entry that has not expired, or NULL. Locked. */
struct entry *store_find(struct store *store, const struct key *key, uint64_t now_ms);

/* A new entry with the value, which the store takes; the key has none. Locked. BERTH_E_LIMIT,
 * BERTH_E_NO_MEMORY: NULL, and the value is still the caller's. */
struct entry *store_add(struct store *store, const struct key *key, const struct value *value,
                        int32_t *status);

void store_remove(struct store *store, uint32_t shard, struct entry *entry); /* locked */
void store_expire(struct store *store, uint32_t shard, struct entry *entry,  /* locked */
                  uint64_t expires_ms);                                      /* 0: never */

uint64_t store_count(const struct store *store);
void store_flush(struct store *store);

/* Removes what has expired, a bounded number of entries at a call. False: no entry expires. */
bool store_sweep(struct store *store, uint64_t now_ms);

#endif
