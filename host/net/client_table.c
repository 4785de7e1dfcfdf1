#include "net/client_table.h"

#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

/* The address without the port. */
struct client_key {
    uint32_t family;
    uint32_t scope_id;
    uint8_t bytes[16];
};

struct client_entry {
    struct client_key key;
    uint32_t connections;
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
};

static struct client_key key_of(const struct berth_address *client) {
    struct client_key key = {.family = client->family, .scope_id = client->scope_id};
    memcpy(key.bytes, client->bytes, sizeof(key.bytes));
    return key;
}

void client_table_init(struct client_table *table, uint32_t per_client_max) {
    os_mutex_init(&table->mutex);
    table->entries = NULL;
    table->per_client_max = per_client_max;
}

void client_table_fini(struct client_table *table) {
    ASSERT(!table->entries);
    os_mutex_fini(&table->mutex);
}

static struct client_entry *entry_find(const struct client_table *table,
                                       const struct client_key *key) {
    struct client_entry *entry = NULL;
    HASH_FIND(hh, table->entries, key, sizeof(*key), entry);
    return entry;
}

static struct client_entry *entry_create(struct client_table *table, const struct client_key *key) {
    struct client_entry *entry = alloc_zeroed(sizeof(*entry));
    if (!entry) {
        return NULL;
    }
    entry->key = *key;
    HASH_ADD(hh, table->entries, key, sizeof(entry->key), entry);
    if (entry->failed) {
        alloc_free(entry);
        return NULL;
    }
    return entry;
}

bool client_table_add(struct client_table *table, const struct berth_address *client) {
    if (table->per_client_max == 0) {
        return true;
    }
    struct client_key key = key_of(client);
    os_mutex_lock(&table->mutex);
    struct client_entry *entry = entry_find(table, &key);
    if (!entry) {
        entry = entry_create(table, &key);
    }
    bool added = entry && entry->connections < table->per_client_max;
    if (added) {
        entry->connections++;
    }
    os_mutex_unlock(&table->mutex);
    return added;
}

void client_table_remove(struct client_table *table, const struct berth_address *client) {
    if (table->per_client_max == 0) {
        return;
    }
    struct client_key key = key_of(client);
    os_mutex_lock(&table->mutex);
    struct client_entry *entry = entry_find(table, &key);
    ASSERT(entry);
    if (--entry->connections == 0) {
        HASH_DEL(table->entries, entry);
        alloc_free(entry);
    }
    os_mutex_unlock(&table->mutex);
}

uint32_t client_table_size(struct client_table *table) {
    os_mutex_lock(&table->mutex);
    uint32_t size = HASH_COUNT(table->entries);
    os_mutex_unlock(&table->mutex);
    return size;
}
