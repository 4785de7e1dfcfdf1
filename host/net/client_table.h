/* client_table.h: how many connections each client address has, where that is limited.
 *
 * Holds clients that have connections now and no others, so its size is bounded by the limit on
 * connections. Owner: the listener that embeds it. Threads: any; it has its own lock, taken once
 * when a connection begins and once when it ends, and only where a limit is set. */
#ifndef BERTH_HOST_NET_CLIENT_TABLE_H
#define BERTH_HOST_NET_CLIENT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"
#include "os/os.h"

struct client_entry;

struct client_table {
    struct os_mutex mutex;
    struct client_entry *entries; /* uthash */
    uint32_t per_client_max;      /* 0: no limit, and the table is not used */
};

void client_table_init(struct client_table *table, uint32_t per_client_max);
void client_table_fini(struct client_table *table);

/* Counts one connection of the client. False: it has as many as it may, or there is no memory. */
bool client_table_add(struct client_table *table, const struct berth_address *client);
void client_table_remove(struct client_table *table, const struct berth_address *client);

uint32_t client_table_size(struct client_table *table); /* clients */

#endif
