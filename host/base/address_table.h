/* address_table.h: who has which address, so that a clash is found without a look at each.
 *
 * Of each `kind` (a transport, for instance) the addresses meet among themselves only. Owner: who
 * embeds it, zeroed at first. Threads: one at a time. */
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
    size_t order; /* in which they were added */
};

struct address_entry;

struct address_table {
    struct address_entry *entries; /* uthash */
    size_t count;
};

/* The owner has it from now on, beside others that may have it, too. False: no memory. */
bool address_table_add(struct address_table *table, uint32_t kind,
                       const struct berth_address *address, bool v6_only, const void *owner);

/* The first of those that cannot be listened at beside it (address_overlaps()); NULL: none. */
const struct address_holder *address_table_overlapping(const struct address_table *table,
                                                       uint32_t kind,
                                                       const struct berth_address *address,
                                                       bool v6_only);

/* The first that has this very address and port; NULL: none. */
const struct address_holder *address_table_equal(const struct address_table *table, uint32_t kind,
                                                 const struct berth_address *address);

void address_table_fini(struct address_table *table);

#endif
