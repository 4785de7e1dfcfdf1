/* local_address.h: the local addresses of connections, shared by those of a worker: thousands have
 * the same one.
 *
 * Only the few that were used last are searched; one that has been removed from them is freed with
 * the last of its connections. So nothing here grows with the number of addresses.
 *
 * Owner: the worker that embeds it. Threads: the owner's only. */
#ifndef BERTH_HOST_NET_LIB_LOCAL_ADDRESS_H
#define BERTH_HOST_NET_LIB_LOCAL_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

struct local_address {
    struct berth_address address;
    uint32_t users;
    bool is_listed;
    struct local_address *next; /* in the list */
};

struct local_addresses {
    struct local_address *first; /* the most recently used */
};

/* The address, with one more reference. NULL: no memory. */
struct local_address *local_address_acquire(struct local_addresses *list,
                                            const struct berth_address *address);

/* The same for one that will hardly be shared: an outbound connection's, with its own port. */
struct local_address *local_address_create(const struct berth_address *address);

void local_address_release(struct local_address *one); /* NULL is legal */

void local_addresses_fini(struct local_addresses *list); /* referenced ones are freed later */

#endif
