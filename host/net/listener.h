/* listener.h: one name of the manifest: its addresses, its plugin, its accept policy and limits.
 *
 * Life: create (asks the plugin, binds) -> start (accepts) -> stop_accepting -> its connections end
 * or are cut -> destroy (tells the plugin). Owner: the verb that runs the host. Threads: [control],
 * unless a function says otherwise; options and the public part are read-only once it is created.
 */
#ifndef BERTH_HOST_NET_LISTENER_H
#define BERTH_HOST_NET_LISTENER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "berth/plugin.h"
#include "engine/engine.h"
#include "net/client_table.h"

struct accept_pool;
struct error;
struct server;

/* The strings and arrays are the caller's and outlive the listener. */
struct listener_options {
    const char *name;
    const char *config_json;
    const struct berth_plugin *plugin;
    const struct berth_host *host; /* the plugin's own table */
    void *plugin_state;
    const struct berth_address *addresses;
    size_t address_count;
    bool v6_only;
    bool no_delay;
    bool accept_on_data;
    uint32_t pool_initial;
    uint32_t pool_low;
    uint32_t pool_high;
    uint32_t backlog;
    uint32_t first_data_timeout_ms;
    bool reuse_sockets;
    uint32_t connections_max;
    uint32_t per_client_max; /* 0: no limit */
    uint32_t message_bytes;
    uint32_t send_queue_bytes;
    uint32_t close_timeout_ms;
    enum engine_receive_mode receive_mode;
};

/* What has happened on a listener since it was created; each counts up only. [any] */
struct listener_counters {
    atomic_ullong accepted;            /* connections the system gave us */
    atomic_ullong opened;              /* those the plugin was told of */
    atomic_ullong closed;              /* those that ended after that */
    atomic_ullong accept_failed;       /* accepts that ended with an error */
    atomic_ullong first_data_timeouts; /* silent clients cut */
    atomic_ullong ended_silent;        /* accept on data: came and left without a byte */
    atomic_ullong refused_per_client;
    atomic_ullong pool_low;  /* times a pool fell below its low water */
    atomic_ullong pool_high; /* times a pool stood at its high water with clients waiting */
    atomic_ullong plugin_faults;
};

struct listener_address {
    struct engine_listener *socket;
    struct accept_pool **pools; /* one an acceptor; NULL until started */
};

struct listener {
    struct berth_listener public; /* what the plugin sees */
    struct listener_options options;
    const struct berth_plugin *plugin;
    struct log_subject subject;
    struct server *server;
    struct listener_address *addresses; /* options.address_count of them */
    bool opened;                        /* listener_open has succeeded: listener_close is owed */
    bool accepting;
    atomic_uint connections; /* admitted and not yet closed */
    struct client_table clients;
    struct listener_counters counters;
};

struct listener *listener_create(struct server *server, const struct listener_options *options,
                                 struct error *error);
bool listener_start(struct listener *listener, struct error *error);

/* Returns when no accept is posted any more and the listening sockets are closed. */
void listener_stop_accepting(struct listener *listener);

/* Ends all its connections, in whatever state; returns how many that were. They are gone only when
 * listener->connections is 0, which server_options.idle tells. */
uint32_t listener_cut(struct listener *listener);

void listener_destroy(struct listener *listener); /* no connections are left; NULL is legal */

/* The address with the actual port. */
struct berth_address listener_address(const struct listener *listener, size_t index);

enum listener_verdict {
    LISTENER_ADMITTED,       /* counted: listener_release() is owed */
    LISTENER_FULL,           /* no room under a limit now: hold it */
    LISTENER_CLIENT_TOO_MANY /* this client has its share: refuse it */
};

/* Asks for room for one connection more. [any] */
enum listener_verdict listener_admit(struct listener *listener, const struct berth_address *remote);
void listener_release(struct listener *listener, const struct berth_address *remote); /* [any] */

/* Whether listener_admit() could say yes now. [any] */
bool listener_has_room(const struct listener *listener);

#endif
