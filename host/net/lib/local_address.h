/* local_address.h: the addresses of ours that connections have come to, shared by those of a
 * worker: thousands have the same one.
 *
 * Only the few that were used last are looked for; one that has been pushed out of those lives on
 * with its connections. So nothing here grows with the number of addresses.
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
    struct local_address *first; /* used last */
};

/* The address, with one user more. NULL: no memory. */
struct local_address *local_address_acquire(struct local_addresses *list,
                                            const struct berth_address *address);

/* The same for one that hardly anybody will share: an outbound connection's, with its own port. */
struct local_address *local_address_create(const struct berth_address *address);

void local_address_release(struct local_address *one); /* NULL is legal */

void local_addresses_fini(struct local_addresses *list); /* those with users live on */

#endif
