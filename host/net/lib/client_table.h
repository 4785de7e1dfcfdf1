/* client_table.h: the state of each client address, if an option limits something by client: how
 * many connections it has, and how many more it may open now (a token bucket).
 *
 * A client is an IPv4 address or an IPv6 /64, which is the smallest network that one customer gets
 * (RFC 6177) and has 2^64 addresses. An entry lives while its client has connections, which the
 * limits on connections bound; after that only until its bucket is full again, and of such entries
 * there are at most `idle_max`: the one that is idle for longest is removed first.
 *
 * Owner: the listener that embeds it. Threads: any; it has its own lock, taken once when a client
 * arrives, once when its connection is counted and once when that ends, and only if a limit is
 * set. */
#ifndef BERTH_HOST_NET_LIB_CLIENT_TABLE_H
#define BERTH_HOST_NET_LIB_CLIENT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"
#include "berth/address.h"
#include "os/os.h"

struct client_entry;

struct client_limits {
    uint32_t connections_max; /* of one client at a time; 0: no limit */
    uint32_t rate_per_second; /* of new connections of one client; 0: no limit */
    uint32_t rate_burst;      /* how many at once after idle time; at least 1 if there is a rate */
    uint32_t idle_max;        /* entries without connections */
};

struct client_table {
    struct os_mutex mutex;
    struct client_limits limits;
    bool configured;              /* limits were changed: not all connections may be counted */
    struct client_entry *entries; /* uthash, by a hash of its own: clients choose their addresses */
    struct siphash_key key;
    struct client_entry *idle; /* utlist: without connections, idle for longest first */
    uint32_t idle_count;
    uint64_t forgotten; /* idle entries that were removed before their bucket was full */
};

void client_table_init(struct client_table *table, const struct client_limits *limits);
void client_table_fini(struct client_table *table); /* no client has connections any more */

/* Sets other limits, for later clients; called while no other function of it runs. Connections that
 * were not counted at their arrival are not counted later. */
void client_table_configure(struct client_table *table, const struct client_limits *limits);

/* A client arrives at now_ms. False: its rate is exceeded, or there is no memory. */
bool client_table_arrive(struct client_table *table, const struct berth_address *client,
                         uint64_t now_ms);

/* Counts one connection of the client. False: it has as many as it may, or there is no memory. */
bool client_table_add(struct client_table *table, const struct berth_address *client);
void client_table_remove(struct client_table *table, const struct berth_address *client,
                         uint64_t now_ms);

/* When the rate allows the client's next connection; 0: now. */
uint32_t client_table_wait_ms(struct client_table *table, const struct berth_address *client,
                              uint64_t now_ms);

struct client_table_counts {
    uint32_t clients; /* entries; idle ones included */
    uint32_t idle;
    uint64_t forgotten;
};
struct client_table_counts client_table_counts(struct client_table *table);

#endif
