#include "kv/store.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/random.h"

enum {
    ENTRY_OVERHEAD = 64,  /* the table's, and the allocator's */
    VALUE_BYTES_MIN = 24, /* any number fits, so that counting allocates nothing */
    SWEPT_A_SHARD = 256,
};

/* -- memory ---------------------------------------------------------------- */

bool store_reserve(struct store *store, uint64_t bytes) {
    unsigned long long used = atomic_load(&store->memory_used);
    do {
        if (bytes > store->memory_max || used > store->memory_max - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&store->memory_used, &used, used + bytes));
    return true;
}

void store_release(struct store *store, uint64_t bytes) {
    atomic_fetch_sub(&store->memory_used, bytes);
}

int32_t value_create(struct store *store, uint32_t capacity, struct value *value) {
    struct berth_slice slice;
    memset(value, 0, sizeof(*value));
    value->capacity = capacity < VALUE_BYTES_MIN ? VALUE_BYTES_MIN : capacity;
    if (!store_reserve(store, value->capacity)) {
        value->capacity = 0;
        return BERTH_E_LIMIT;
    }
    if (capacity < VALUE_SHARED_BYTES) {
        value->bytes = malloc(value->capacity);
    } else if (store->host->buffer_create(store->host, capacity, &slice) == BERTH_OK) {
        value->bytes = slice.bytes;
        value->buffer = slice.buffer;
    }
    if (!value->bytes) {
        value_free(store, value);
        return BERTH_E_NO_MEMORY;
    }
    return BERTH_OK;
}

void value_free(struct store *store, struct value *value) {
    if (value->buffer) {
        store->host->buffer_release(value->buffer);
    } else {
        free(value->bytes);
    }
    store_release(store, value->capacity);
    memset(value, 0, sizeof(*value));
}

static size_t entry_cost(uint32_t key_size) {
    return sizeof(struct entry) + key_size + ENTRY_OVERHEAD;
}

static void entry_free(struct store *store, struct entry *entry) {
    store_release(store, entry_cost(entry->key_size));
    value_free(store, &entry->value);
    free(entry);
}

/* -- shards ---------------------------------------------------------------- */

int32_t store_init(struct store *store, const struct berth_host *host, uint64_t memory_max,
                   struct berth_error *error) {
    store->host = host;
    store->memory_max = memory_max;
    if (!random_bytes(&store->hash_key, sizeof(store->hash_key))) {
        return berth_error_set(error, BERTH_E_FAILED, "the system has no random bytes");
    }
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (!lock_init(&store->shards[i].lock)) {
            while (i > 0) {
                lock_fini(&store->shards[--i].lock);
            }
            return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
        }
    }
    return BERTH_OK;
}

void store_fini(struct store *store) {
    store_flush(store);
    for (uint32_t i = 0; i < SHARDS; i++) {
        lock_fini(&store->shards[i].lock);
    }
}

struct key store_key(const struct store *store, const void *bytes, uint32_t size) {
    uint64_t hash = siphash(&store->hash_key, bytes, size);
    return (struct key){bytes, size, (uint32_t)hash, (uint32_t)(hash >> 32) % SHARDS};
}

void store_lock(struct store *store, uint32_t shards) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (shards & (1u << i)) {
            lock_acquire(&store->shards[i].lock);
        }
    }
}

void store_unlock(struct store *store, uint32_t shards) {
    for (uint32_t i = 0; i < SHARDS; i++) {
        if (shards & (1u << i)) {
            lock_release(&store->shards[i].lock);
        }
    }
}

/* -- entries --------------------------------------------------------------- */

void store_expire(struct store *store, uint32_t shard, struct entry *entry, uint64_t expires_ms) {
    struct shard *its = &store->shards[shard];
    if (entry->expires_ms != 0 && expires_ms == 0) {
        DL_DELETE(its->expiring, entry);
    } else if (entry->expires_ms == 0 && expires_ms != 0) {
        DL_APPEND(its->expiring, entry);
    }
    entry->expires_ms = expires_ms;
}

void store_remove(struct store *store, uint32_t shard, struct entry *entry) {
    struct shard *its = &store->shards[shard];
    store_expire(store, shard, entry, 0);
    HASH_DEL(its->entries, entry);
    atomic_fetch_sub(&its->count, 1);
    entry_free(store, entry);
}

struct entry *store_find(struct store *store, const struct key *key, uint64_t now_ms) {
    struct entry *entry = NULL;
    HASH_FIND_BYHASHVALUE(hh, store->shards[key->shard].entries, key->bytes, key->size, key->hash,
                          entry);
    if (entry && entry->expires_ms != 0 && entry->expires_ms <= now_ms) {
        store_remove(store, key->shard, entry);
        atomic_fetch_add(&store->expired, 1);
        return NULL;
    }
    return entry;
}

struct entry *store_add(struct store *store, const struct key *key, const struct value *value,
                        int32_t *status) {
    struct shard *shard = &store->shards[key->shard];
    if (!store_reserve(store, entry_cost(key->size))) {
        *status = BERTH_E_LIMIT;
        return NULL;
    }
    struct entry *entry = calloc(1, sizeof(*entry) + key->size);
    *status = entry ? BERTH_OK : BERTH_E_NO_MEMORY;
    if (entry) {
        entry->key_size = key->size;
        memcpy(entry->key, key->bytes, key->size);
        HASH_ADD_BYHASHVALUE(hh, shard->entries, key[0], key->size, key->hash, entry);
    }
    if (!entry || !entry->hh.tbl) {
        free(entry);
        store_release(store, entry_cost(key->size));
        *status = BERTH_E_NO_MEMORY;
        return NULL;
    }
    entry->value = *value;
    atomic_fetch_add(&shard->count, 1);
    return entry;
}

uint64_t store_count(const struct store *store) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        count += atomic_load(&store->shards[i].count);
    }
    return count;
}

/* All at one moment; they are freed without a lock. */
void store_flush(struct store *store) {
    struct entry *entries[SHARDS];
    store_lock(store, ALL_SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        entries[i] = store->shards[i].entries;
        store->shards[i].entries = NULL;
        store->shards[i].expiring = NULL;
        atomic_store(&store->shards[i].count, 0);
    }
    store_unlock(store, ALL_SHARDS);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct entry *entry;
        struct entry *next;
        HASH_ITER(hh, entries[i], entry, next) {
            HASH_DEL(entries[i], entry);
            entry_free(store, entry);
        }
    }
}

/* The front of the list is looked at, and what stays goes to its end. */
static bool shard_sweep(struct store *store, uint32_t shard, uint64_t now_ms) {
    struct shard *its = &store->shards[shard];
    struct entry *last = its->expiring ? its->expiring->prev : NULL;
    for (uint32_t i = 0; i < SWEPT_A_SHARD && its->expiring; i++) {
        struct entry *entry = its->expiring;
        bool is_last = entry == last;
        if (entry->expires_ms <= now_ms) {
            store_remove(store, shard, entry);
            atomic_fetch_add(&store->expired, 1);
        } else {
            DL_DELETE(its->expiring, entry);
            DL_APPEND(its->expiring, entry);
        }
        if (is_last) {
            break;
        }
    }
    return its->expiring != NULL;
}

bool store_sweep(struct store *store, uint64_t now_ms) {
    bool any = false;
    for (uint32_t i = 0; i < SHARDS; i++) {
        store_lock(store, 1u << i);
        any = shard_sweep(store, i, now_ms) || any;
        store_unlock(store, 1u << i);
    }
    return any;
}
