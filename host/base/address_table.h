/* address_table.h: a hash table of addresses and their owners, which finds a conflict without
 * a comparison with each.
 *
 * Addresses conflict only with others of the same `kind` (a transport, for instance). Owner: the
 * struct that embeds it, zeroed at first. Threads: one at a time. */
#ifndef BERTH_HOST_BASE_ADDRESS_TABLE_H
#define BERTH_HOST_BASE_ADDRESS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/address.h"

struct address_holder {
    const void *owner; /* the caller's; never NULL */
    struct berth_address address;
    bool v6_only;
    size_t order; /* the number of addresses that were added before */
};

struct address_entry;

struct address_table {
    struct address_entry *entries; /* uthash */
    size_t count;
};

/* Adds an owner of the address, which may have others already. False: no memory. */
bool address_table_add(struct address_table *table, uint32_t kind,
                       const struct berth_address *address, bool v6_only, const void *owner);

/* The first address in the table that cannot be bound at the same time (address_overlaps()); NULL:
 * none. */
const struct address_holder *address_table_overlapping(const struct address_table *table,
                                                       uint32_t kind,
                                                       const struct berth_address *address,
                                                       bool v6_only);

/* The first with exactly this address and port; NULL: none. */
const struct address_holder *address_table_equal(const struct address_table *table, uint32_t kind,
                                                 const struct berth_address *address);

void address_table_fini(struct address_table *table);

#endif
