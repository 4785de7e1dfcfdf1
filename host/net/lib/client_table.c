#include "net/lib/client_table.h"

#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>
#include <utlist.h>

enum {
    TOKEN = 1000, /* one connection, in units of the bucket: so a rate needs no fractions */
    FORGOTTEN_A_TURN =
        2,             /* full buckets searched at each arrival: removal is faster than addition */
    NETWORK_BYTES = 8, /* of an IPv6 address: its /64 */
};

/* The address without the port. */
struct client_key {
    uint32_t family;
    uint32_t scope_id;
    uint8_t bytes[16];
};

struct client_entry {
    struct client_key key;
    uint32_t connections;
    uint64_t tokens;           /* at filled_ms */
    uint64_t filled_ms;        /* 0: never, the bucket is full */
    bool is_idle;              /* in table->idle */
    bool failed;               /* uthash had no memory for it */
    struct client_entry *prev; /* in table->idle */
    struct client_entry *next;
    UT_hash_handle hh;
};

static struct client_key client_table_key_of(const struct berth_address *client) {
    struct client_key key = {.family = client->family, .scope_id = client->scope_id};
    size_t size = client->family == BERTH_FAMILY_IPV6 ? NETWORK_BYTES : sizeof(key.bytes);
    memcpy(key.bytes, client->bytes, size);
    return key;
}

void client_table_init(struct client_table *table, const struct client_limits *limits) {
    *table = (struct client_table){.limits = *limits};
    os_random(&table->key, sizeof(table->key));
    os_mutex_init(&table->mutex);
}

/* The entry has no connections: it can be forgotten once its bucket is full. */
static void client_table_set_idle(struct client_table *table, struct client_entry *entry,
                                  uint64_t now_ms);

/* -- entries --------------------------------------------------------------- */

static unsigned client_table_hash_of(const struct client_table *table,
                                     const struct client_key *key) {
    return (unsigned)siphash(&table->key, key, sizeof(*key));
}

static struct client_entry *entry_find(const struct client_table *table,
                                       const struct client_key *key) {
    struct client_entry *entry = NULL;
    HASH_FIND_BYHASHVALUE(hh, table->entries, key, sizeof(*key), client_table_hash_of(table, key),
                          entry);
    return entry;
}

static struct client_entry *entry_get(struct client_table *table,
                                      const struct berth_address *client) {
    struct client_key key = client_table_key_of(client);
    struct client_entry *entry = entry_find(table, &key);
    if (entry) {
        return entry;
    }
    entry = alloc_zeroed(sizeof(*entry));
    if (!entry) {
        return NULL;
    }
    entry->key = key;
    entry->tokens = (uint64_t)table->limits.rate_burst * TOKEN;
    HASH_ADD_BYHASHVALUE(hh, table->entries, key, sizeof(entry->key),
                         client_table_hash_of(table, &key), entry);
    if (entry->failed) {
        alloc_free(entry);
        return NULL;
    }
    return entry;
}

static void leave_idle(struct client_table *table, struct client_entry *entry) {
    if (entry->is_idle) {
        DL_DELETE(table->idle, entry);
        entry->is_idle = false;
        table->idle_count--;
    }
}

static void client_table_forget(struct client_table *table, struct client_entry *entry) {
    leave_idle(table, entry);
    HASH_DEL(table->entries, entry);
    alloc_free(entry);
}

/* -- the bucket ------------------------------------------------------------ */

static void client_table_fill(const struct client_table *table, struct client_entry *entry,
                              uint64_t now_ms) {
    uint64_t full = (uint64_t)table->limits.rate_burst * TOKEN;
    if (entry->tokens > full) {
        entry->tokens = full; /* of a larger bucket, before client_table_configure() */
    }
    uint64_t passed_ms = now_ms > entry->filled_ms ? now_ms - entry->filled_ms : 0;
    uint64_t missing = full - entry->tokens;
    /* In thousandths, the refill per millisecond is the rate itself. */
    if (passed_ms > missing / table->limits.rate_per_second) {
        entry->tokens = full;
    } else {
        entry->tokens += passed_ms * table->limits.rate_per_second;
    }
    entry->filled_ms = now_ms;
}

static bool is_full(const struct client_table *table, struct client_entry *entry, uint64_t now_ms) {
    if (table->limits.rate_per_second == 0) {
        return true;
    }
    client_table_fill(table, entry, now_ms);
    return entry->tokens == (uint64_t)table->limits.rate_burst * TOKEN;
}

/* The entry has no connections: it can be forgotten once its bucket is full. */
static void client_table_set_idle(struct client_table *table, struct client_entry *entry,
                                  uint64_t now_ms) {
    leave_idle(table, entry);
    if (is_full(table, entry, now_ms)) {
        client_table_forget(table, entry);
        return;
    }
    DL_APPEND(table->idle, entry);
    entry->is_idle = true;
    table->idle_count++;
    if (table->idle_count > table->limits.idle_max) {
        client_table_forget(table, table->idle);
        table->forgotten++;
    }
}

static void client_table_forget_idle(struct client_table *table, uint64_t now_ms) {
    for (int i = 0; i < FORGOTTEN_A_TURN && table->idle; i++) {
        if (!is_full(table, table->idle, now_ms)) {
            return;
        }
        client_table_forget(table, table->idle);
    }
}

/* -- operations ------------------------------------------------------------ */

void client_table_configure(struct client_table *table, const struct client_limits *limits) {
    struct client_limits *old = &table->limits;
    if (old->connections_max != limits->connections_max ||
        old->rate_per_second != limits->rate_per_second || old->rate_burst != limits->rate_burst ||
        old->idle_max != limits->idle_max) {
        table->configured = true;
        while (table->idle) {
            client_table_forget(table, table->idle);
        }
        *old = *limits;
    }
}

void client_table_fini(struct client_table *table) {
    while (table->idle) {
        client_table_forget(table, table->idle);
    }
    ASSERT(!table->entries);
    os_mutex_fini(&table->mutex);
}

bool client_table_arrive(struct client_table *table, const struct berth_address *client,
                         uint64_t now_ms) {
    if (table->limits.rate_per_second == 0) {
        return true;
    }
    bool may = false;
    os_mutex_lock(&table->mutex);
    client_table_forget_idle(table, now_ms);
    struct client_entry *entry = entry_get(table, client);
    if (entry) {
        client_table_fill(table, entry, now_ms);
        may = entry->tokens >= TOKEN;
        if (may) {
            entry->tokens -= TOKEN;
        }
        if (entry->connections == 0) {
            client_table_set_idle(table, entry, now_ms);
        }
    }
    os_mutex_unlock(&table->mutex);
    return may;
}

uint32_t client_table_wait_ms(struct client_table *table, const struct berth_address *client,
                              uint64_t now_ms) {
    uint64_t wait_ms = 0;
    if (table->limits.rate_per_second == 0) {
        return 0;
    }
    struct client_key key = client_table_key_of(client);
    os_mutex_lock(&table->mutex);
    struct client_entry *entry = entry_find(table, &key);
    if (entry) {
        uint32_t rate = table->limits.rate_per_second;
        client_table_fill(table, entry, now_ms);
        wait_ms = entry->tokens < TOKEN ? (TOKEN - entry->tokens + rate - 1) / rate : 0;
    }
    os_mutex_unlock(&table->mutex);
    return (uint32_t)wait_ms;
}

bool client_table_add(struct client_table *table, const struct berth_address *client) {
    if (table->limits.connections_max == 0) {
        return true;
    }
    bool added = false;
    os_mutex_lock(&table->mutex);
    struct client_entry *entry = entry_get(table, client);
    if (entry && entry->connections < table->limits.connections_max) {
        leave_idle(table, entry);
        entry->connections++;
        added = true;
    }
    os_mutex_unlock(&table->mutex);
    return added;
}

void client_table_remove(struct client_table *table, const struct berth_address *client,
                         uint64_t now_ms) {
    if (table->limits.connections_max == 0 && !table->configured) {
        return;
    }
    struct client_key key = client_table_key_of(client);
    os_mutex_lock(&table->mutex);
    struct client_entry *entry = entry_find(table, &key);
    bool counted = entry && entry->connections > 0;
    ASSERT(counted || table->configured);
    if (counted && --entry->connections == 0) {
        client_table_set_idle(table, entry, now_ms);
    }
    os_mutex_unlock(&table->mutex);
}

struct client_table_counts client_table_counts(struct client_table *table) {
    os_mutex_lock(&table->mutex);
    struct client_table_counts counts = {
        .clients = HASH_COUNT(table->entries),
        .idle = table->idle_count,
        .forgotten = table->forgotten,
    };
    os_mutex_unlock(&table->mutex);
    return counts;
}
