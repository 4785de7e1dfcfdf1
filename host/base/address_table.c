#include "base/address_table.h"

#include <string.h>

#include "base/address.h"
#include "base/alloc.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

struct key {
    uint32_t kind;
    struct berth_address address; /* all zero except the port: all addresses with that port */
};

/* The first holder of an address, and at a port the first one of each of these kinds. */
enum { FIRST_EQUAL, FIRST_IPV4, FIRST_IPV6, FIRST_ANY4, FIRST_ANY6, FIRST_DUAL, FIRST_COUNT };

struct address_entry {
    struct key key;
    struct address_holder first[FIRST_COUNT];
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
};

/* Keys are compared with their padding, so all of it is set to 0. */
static struct key address_table_key_of(uint32_t kind, const struct berth_address *address,
                                       bool port_only) {
    struct key key;
    memset(&key, 0, sizeof(key));
    key.kind = kind;
    key.address.port = address->port;
    if (!port_only) {
        key.address.family = address->family;
        key.address.scope_id = address->scope_id;
        memcpy(key.address.bytes, address->bytes, sizeof(key.address.bytes));
    }
    return key;
}

static struct address_entry *address_table_find(const struct address_table *table,
                                                const struct key *key) {
    struct address_entry *entry = NULL;
    HASH_FIND(hh, table->entries, key, sizeof(*key), entry);
    return entry;
}

static struct address_entry *address_table_get(struct address_table *table, const struct key *key) {
    struct address_entry *entry = address_table_find(table, key);
    if (entry) {
        return entry;
    }
    entry = alloc_zeroed(sizeof(*entry));
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

static void address_table_take_first(struct address_holder *first,
                                     const struct address_holder *holder) {
    if (!first->owner) {
        *first = *holder;
    }
}

bool address_table_add(struct address_table *table, uint32_t kind,
                       const struct berth_address *address, bool v6_only, const void *owner) {
    const struct address_holder holder = {owner, *address, v6_only, table->count++};
    bool is_any = address_is_any(address);
    bool is_six = address->family == BERTH_FAMILY_IPV6;
    struct key key = address_table_key_of(kind, address, true);
    struct address_entry *port = address_table_get(table, &key);
    key = address_table_key_of(kind, address, false);
    struct address_entry *equal = address_table_get(table, &key);
    if (!port || !equal) {
        return false;
    }
    address_table_take_first(&equal->first[FIRST_EQUAL], &holder);
    address_table_take_first(&port->first[is_six ? FIRST_IPV6 : FIRST_IPV4], &holder);
    if (is_any) {
        address_table_take_first(&port->first[is_six ? FIRST_ANY6 : FIRST_ANY4], &holder);
    }
    if (is_any && is_six && !v6_only) {
        address_table_take_first(&port->first[FIRST_DUAL], &holder);
    }
    return true;
}

static const struct address_holder *address_table_earlier(const struct address_holder *one,
                                                          const struct address_entry *entry,
                                                          int which) {
    const struct address_holder *other = entry ? &entry->first[which] : NULL;
    if (!other || !other->owner) {
        return one;
    }
    return one && one->order < other->order ? one : other;
}

const struct address_holder *address_table_overlapping(const struct address_table *table,
                                                       uint32_t kind,
                                                       const struct berth_address *address,
                                                       bool v6_only) {
    if (address->port == 0) {
        return NULL;
    }
    struct key key = address_table_key_of(kind, address, true);
    const struct address_entry *port = address_table_find(table, &key);
    bool is_any = address_is_any(address);
    const struct address_holder *found = address_table_equal(table, kind, address);
    if (address->family == BERTH_FAMILY_IPV4) {
        found = address_table_earlier(found, port, is_any ? FIRST_IPV4 : FIRST_ANY4);
        return address_table_earlier(found, port, FIRST_DUAL);
    }
    found = address_table_earlier(found, port, is_any ? FIRST_IPV6 : FIRST_ANY6);
    return is_any && !v6_only ? address_table_earlier(found, port, FIRST_IPV4) : found;
}

const struct address_holder *address_table_equal(const struct address_table *table, uint32_t kind,
                                                 const struct berth_address *address) {
    struct key key = address_table_key_of(kind, address, false);
    return address_table_earlier(NULL, address_table_find(table, &key), FIRST_EQUAL);
}

void address_table_fini(struct address_table *table) {
    struct address_entry *entry;
    struct address_entry *next;
    HASH_ITER(hh, table->entries, entry, next) {
        HASH_DEL(table->entries, entry);
        alloc_free(entry);
    }
    *table = (struct address_table){0};
}
