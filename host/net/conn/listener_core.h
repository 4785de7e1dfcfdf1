/* listener_core.h: what the connections of a listener share: its options, limits and counts.
 *
 * listener.h creates it, changes it and ends it. Owner: the verb that runs the host. Threads:
 * options and the public part are read-only once it is created, except in listener_commit(); else
 * as each function says.
 *
 * Generations. When its plugin is replaced, or its "config", a listener is created anew next to the
 * old one, with the same listen sockets and the same admission (counts). If that succeeds, the new
 * one takes over: later clients are its own, and the old one drains. */
#ifndef BERTH_HOST_NET_CONN_LISTENER_CORE_H
#define BERTH_HOST_NET_CONN_LISTENER_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/macros.h"
#include "berth/datagram.h"
#include "berth/plugin.h"
#include "engine/engine.h"
#include "net/conn/io_permits.h"
#include "net/lib/access_list.h"
#include "net/lib/client_table.h"
#include "net/lib/listener_counters.h"
#include "net/lib/work_pool.h"

struct connection;
struct listen_socket;
struct timed_call_limit;
struct error;
struct admission;
struct listener;
struct listener_neighbours;
struct plugin_stats;
struct server;
struct worker;

/* How a listener and its connections call the plugin, which is in a higher layer. On the
 * connection's worker, unless a function says otherwise. */
struct listener_hooks {
    /* Opens the plugin. False: the error says why; *abandoned: it has not returned in time, and all
     * that it may touch is never freed. [control] */
    bool (*open)(struct listener *listener, bool *abandoned, struct error *error);
    /* The listener ends, whether it was opened or not: closes the plugin, and ends what it still
     * has. [control] */
    void (*close)(struct listener *listener);
    /* It takes no more connections, for that reason (BERTH_DRAINING_*). [control] */
    void (*draining)(struct listener *listener, uint32_t why);
    /* Cancels what the plugin has asked for on that worker without a connection. Returns how many
     * requests that were. On the worker. */
    uint32_t (*call_off)(struct worker *worker, struct listener *listener);

    /* The plugin's operations of these names, called if it has them. */
    void (*opened)(struct connection *connection);
    uint32_t (*received)(struct connection *connection, struct berth_slice *data);
    void (*peer_closed)(struct connection *connection);
    void (*filled)(struct connection *connection);
    void (*drained)(struct connection *connection);
    uint32_t (*closing)(struct connection *connection, uint32_t reason);
    void (*closed)(struct connection *connection);
    uint32_t (*busy)(struct connection *connection, const struct berth_busy *busy, void *bytes,
                     uint32_t capacity);
    void (*datagram)(struct listener *listener, struct berth_datagram *datagram);

    /* The plugin has broken a rule: the connection ends. */
    void (*fault)(struct connection *connection, const char *format, ...) BERTH_PRINTF(2, 3);
};

/* The arrays and the plugin belong to the caller and outlive the listener, or last until its next
 * options; the strings are copied. */
struct listener_options {
    const char *name;
    const char *config_json;
    const struct berth_plugin *plugin;
    const struct berth_host *host; /* the plugin's own table */
    void *plugin_state;
    struct plugin_stats *stats; /* counts what the plugin takes and holds */
    const struct listener_hooks *hooks;
    const struct berth_address *addresses;
    size_t address_count;
    const struct timed_call_limit *open_limit; /* of `listener_open`, while it is created; NULL: it
                                              is called on the creating thread */
    bool *open_abandoned; /* set while it is created: `listener_open` has not returned in time,
                             and what it may touch is never freed; NULL without a time-out */
    const struct listener_neighbours *neighbours; /* while it is created or prepared, or NULL */
    bool v6_only;
    bool datagrams; /* UDP: no connections */
    bool accept_own_datagrams;
    bool accept_on_data;
    uint32_t pool_initial;
    uint32_t pool_low;
    uint32_t pool_high;
    uint32_t backlog;
    uint32_t first_data_timeout_ms;
    uint32_t pending_max;  /* clients taken from the pool that have not sent data */
    bool refuse_at_limit;  /* inform clients at a limit instead of leaving them in the backlog */
    uint32_t refusing_max; /* at a time */
    bool reuse_sockets;
    struct engine_socket_options sockets;
    struct access_list access;
    struct access_list proxies; /* .allow: peers that send a PROXY header; empty: none */
    uint32_t proxy_timeout_ms;
    uint32_t connections_max;
    struct client_limits per_client;
    unsigned generation; /* its number, for the log */
    uint32_t message_bytes;
    uint32_t send_queue_bytes;
    uint32_t send_queue_pieces;
    uint32_t linger_bytes; /* read and discarded while a connection closes */
    bool close_full_queues;
    uint32_t active_io_max; /* 0: no limit */
    uint32_t outbound_max;
    uint32_t timers_max;
    uint32_t metrics_max;
    uint32_t works_max; /* works of plugin and names that wait; 0: no limit */
    uint32_t works_per_client;
    uint32_t idle_timeout_ms; /* 0: none */
    uint32_t close_timeout_ms;
    enum engine_receive_mode receive_mode;
};

/* A listener's name, with its generation in front: a record of a call that holds a pointer to the
 * name (callback_guard.h) also identifies the generation. */
struct listener_label {
    unsigned generation;
    char name[];
};

static inline struct listener_label *listener_label_of(const char *name) {
    return (struct listener_label *)((uintptr_t)name - offsetof(struct listener_label, name));
}

/* Whether threads of the plugin's own may refer to it. */
enum listener_phase {
    LISTENER_IS_OPEN,
    LISTENER_NOT_OPEN, /* the plugin's `listener_open` has not returned */
    LISTENER_SEALED,   /* it closes */
};

struct listener {
    struct berth_listener public; /* what the plugin sees */
    struct listener_options options;
    const struct berth_plugin *plugin;
    struct log_subject subject;
    struct server *server;
    char *name; /* of its label */
    char *config_json;
    struct listen_socket **listen_sockets; /* parallel to options.addresses, while it accepts */
    size_t listen_socket_count;
    struct berth_address
        *last_addresses; /* once the listen sockets are released, their addresses */
    size_t last_address_count;
    struct admission *admission;
    struct listener *prev; /* in admission->generations */
    struct listener *next;
    struct listener_traffic *traffic; /* one a worker */
    bool opened;                      /* listener_open has succeeded: listener_close is owed */
    bool accepting;
    bool ending; /* counted in server->ending */

    /* Workers write the members below with every connection, and read those above with every
     * message. No cache line contains both, else new clients of one worker would slow down echoes
     * of another. */
    char apart[64];
#define GAUGE(name, label, meaning) atomic_uint name;
#define COUNTERS_GENERATION
#include "base/counters.def"
    struct work_lane work_lane;        /* its works that wait; protected by the pool's lock */
    struct berth_timer *plugin_timers; /* utlist, and how many; [control] */
    uint32_t timer_count;
    struct berth_metric *metrics; /* utlist, and how many; [control] */
    uint32_t metric_count;
    atomic_uint phase;         /* enum listener_phase */
    atomic_uint entering;      /* threads that access it at present */
    atomic_bool timers_closed; /* they are started no more */
    atomic_bool paused;
    atomic_uint draining; /* BERTH_DRAINING_* */
    struct io_permits io_permits;
    struct listener_counters counters;
};

static inline uint32_t listener_draining(const struct listener *listener) {
    return atomic_load_explicit(&listener->draining, memory_order_acquire);
}

/* One line on it. [any] */
void listener_describe(const struct listener *listener, char *text, size_t size);

/* -- admission; [any] ------------------------------------------------------ */

/* Whether the client may connect now: allow, deny, and the rate. False: `why` is set. */
bool listener_accepts_client(struct listener *listener, const struct berth_address *remote,
                             uint64_t now_ms, enum listener_refusal *why);

/* Whether the address is that of a proxy, whose connections begin with a header. */
bool listener_trusts_proxy(const struct listener *listener, const struct berth_address *remote);

/* Whether refused clients may get the plugin's busy answer. */
bool listener_answers_busy(const struct listener *listener);

enum listener_verdict {
    LISTENER_ADMITTED, /* counted: listener_release() is owed */
    LISTENER_WAIT,     /* no capacity under a limit, or paused: keep it until there is */
    LISTENER_REFUSE,   /* `why` is set, and counted */
};

/* Asks for capacity for one more connection. */
enum listener_verdict listener_admit(struct listener *listener, const struct berth_address *remote,
                                     enum listener_refusal *why);
void listener_release(struct listener *listener, const struct berth_address *remote,
                      uint64_t now_ms);

/* Whether listener_admit() could return something other than LISTENER_WAIT now. */
bool listener_has_room(const struct listener *listener);

/* Every connection holds a reference to its listener, so that the listener outlives it. */
void listener_ref(struct listener *listener);
void listener_unref(struct listener *listener);

/* The same for a thread that does not know the listener's phase. BERTH_E_STATE: it is not open yet;
 * BERTH_E_GONE: it closes. */
int32_t listener_try_refer(struct listener *listener);

#endif
