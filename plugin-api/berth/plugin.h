/* plugin.h: what a plugin exports: one function that returns its descriptor.
 *
 *     load ─► listener_open ─► worker_start ─► opened ─► received … ─► peer_closed ─► closed
 *     ─► worker_end ─► listener_close ─► unload
 *
 * Between `opened` and `closed` the host calls `filled` and `drained` alternately, and `closing`.
 * An outbound connection (connect.h) begins with `connected` instead of `opened`.
 *
 * The host calls `berth_plugin_entry_v1` right after it has loaded the library. The function is
 * pure: it returns a pointer to a static const descriptor and touches nothing. A plugin
 * does its set-up in `load` and `listener_open`, and keeps the result in the states that these
 * return, never in globals: after a restart two generations of a plugin exist at the same time. */
#ifndef BERTH_PLUGIN_H
#define BERTH_PLUGIN_H

#include "connection.h"
#include "datagram.h"
#include "host.h"
#include "status.h"

BERTH_BEGIN_DECLS

/* The first four bytes of a descriptor, in the memory of a little-endian machine: "BRTH" while the
 * ABI is a candidate (abi.h), "BRTP" from the freeze on. */
#define BERTH_PLUGIN_MAGIC_DRAFT UINT32_C(0x48545242)
#define BERTH_PLUGIN_MAGIC_RELEASED UINT32_C(0x50545242)
#if BERTH_ABI_DRAFT > 0
#define BERTH_PLUGIN_MAGIC BERTH_PLUGIN_MAGIC_DRAFT
#else
#define BERTH_PLUGIN_MAGIC BERTH_PLUGIN_MAGIC_RELEASED
#endif

/* The plugin sends before the client does (a greeting). With a listener that accepts on first
 * data both sides would wait, so the check of the manifest refuses the combination. */
#define BERTH_PLUGIN_SPEAKS_FIRST UINT32_C(1)
/* The library cannot be unloaded safely (for instance because it starts threads that it cannot
 * stop): the host keeps it mapped. */
#define BERTH_PLUGIN_NO_UNLOAD UINT32_C(2)
/* The plugin itself pauses the source of what it sends, by `filled` and `drained`: a full queue
 * alone does not pause reading. For plugins that forward bytes between connections, where the
 * connection to pause is not the one whose queue is full, and pausing both can be a deadlock. When
 * the plugin does not stop sending, the connection is cut at four times the limit. */
#define BERTH_PLUGIN_PACES_ITSELF UINT32_C(4)
/* Two generations of a listener must never be open (between `listener_open` and `listener_close`)
 * at a time, for instance because of a lock file, a database or a port of the plugin's own. A
 * restart, or a reload that replaces the listener, then closes the old generation first: new
 * clients wait, `closing` (BERTH_CLOSED_STOPPING) is called for the connections, those that are
 * open after "generation_drain_timeout_ms" (or else "host.drain_timeout_ms") are cut,
 * `listener_close` runs, and the new generation opens. When that fails, the old one is opened
 * again. `load` is not exclusive: acquire such a resource in `listener_open`. */
#define BERTH_PLUGIN_EXCLUSIVE UINT32_C(8)

/* A client that is refused because of a limit; passed to `busy`. */
struct berth_busy {
    uint32_t struct_size;
    uint32_t limit;              /* BERTH_BUSY_* */
    struct berth_address remote; /* the client */
    struct berth_address local;  /* the address it connected to */
    uint32_t worker;             /* on which `busy` runs: 0 to berth_host.workers - 1 */
    uint32_t retry_after_ms;     /* when it can be accepted; 0: not known */
};

/* Which limit of the manifest it is. Later hosts may have others: take what you do not know for
 * BERTH_BUSY_LISTENER. */
#define BERTH_BUSY_HOST UINT32_C(1)       /* "host.limits.connections" */
#define BERTH_BUSY_LISTENER UINT32_C(2)   /* "limits.connections" */
#define BERTH_BUSY_PER_CLIENT UINT32_C(3) /* "limits.per_client" */
#define BERTH_BUSY_RATE UINT32_C(4)       /* "limits.accept_rate_per_client" */

/* What `check_config` is to look at. */
struct berth_config_request {
    uint32_t struct_size;
    uint32_t reserved;
    const struct berth_host *host; /* for path_resolve() and log(); query() may answer NULL */
    const char *listener;          /* the listener's name in the manifest */
    const char *config_json;       /* its "config" as JSON text; it fits config_schema_json */
};

/* Collects the errors of `check_config`. Owned by the host, valid until `check_config` returns. */
struct berth_config_errors {
    uint32_t struct_size;
    uint32_t reserved;

    /* Adds one error. `pointer`: where in the config, a JSON pointer ("/root", "" for all of it);
     * the host adds file, line and column. `text`: what is wrong and what to do, terminated. Both
     * are copied. Add every error that there is, so that the operator sees all of them at once.
     * [control] */
    void(BERTH_CALL *add)(struct berth_config_errors *errors, const char *pointer,
                          const char *text);
};

struct berth_handover; /* of a later version */

struct berth_plugin {
    /* The prefix: never changes, in any major version. */
    uint32_t magic;              /* BERTH_PLUGIN_MAGIC */
    uint32_t struct_size;        /* sizeof(struct berth_plugin) */
    uint16_t abi_major;          /* BERTH_ABI_MAJOR: must equal the host's */
    uint16_t abi_minor_built;    /* BERTH_ABI_MINOR: what the plugin was compiled with */
    uint16_t abi_minor_required; /* the least minor of a host that can run it */
    uint16_t abi_draft;          /* BERTH_ABI_DRAFT: must equal the host's; 0: released */
    uint32_t flags;              /* BERTH_PLUGIN_*; unknown bits are refused */

    uint32_t conn_state_size; /* bytes of state the host keeps for each connection, or 0 */

    const char *id;      /* the file's name without .so or .dll: [a-z0-9-]{1,63} */
    const char *name;    /* for people */
    const char *version; /* of the plugin, "1.2.3" */
    const char *vendor;  /* or NULL */
    const char *licence; /* an SPDX expression, or NULL */
    /* JSON Schema of "config", or NULL: any config is valid. "berth check", a start, a reload and
     * "berth plugin validate" check the config against it before the plugin gets it. */
    const char *config_schema_json;

    /* Called once after loading. Sets *plugin_state (may stay NULL). A failure refuses the plugin;
     * `unload` is then not called. Optional. [control] */
    int32_t(BERTH_CALL *load)(const struct berth_host *host, void **plugin_state,
                              struct berth_error *error);

    /* Called once, last, when no listener and no connection is left. Optional. [control] */
    void(BERTH_CALL *unload)(void *plugin_state);

    /* A listener of the manifest is about to open: read listener->config_json, set *listener_state.
     * The listener struct lives until listener_close returns. A failure refuses the whole start.
     * Optional. [control] */
    int32_t(BERTH_CALL *listener_open)(const struct berth_listener *listener, void **listener_state,
                                       struct berth_error *error);

    /* The last connection of the listener is gone. Optional. [control] */
    void(BERTH_CALL *listener_close)(const struct berth_listener *listener);

    /* The connection is established for the plugin: what is below the plugin's protocol is done (a
     * PROXY header has been read, TLS has been negotiated). Optional. [conn] */
    void(BERTH_CALL *opened)(struct berth_conn *conn);

    /* Bytes have arrived: data->size is never 0. Returns how many of them, from the start, are
     * consumed. The host keeps what is not consumed and passes it again in the next call,
     * in front of what has arrived since, always in one piece. More than "limits.message_bytes" of
     * it closes the connection, unless the plugin has paused it (receive_pause()). A plugin that
     * returns more than data->size is at fault: the connection is closed and the fault is logged.
     * Required, but for UDP listeners. [conn] */
    uint32_t(BERTH_CALL *received)(struct berth_conn *conn, const struct berth_slice *data);

    /* The send queue is at its high water mark, "limits.send_queue_bytes" or
     * "limits.send_queue_pieces", after what could be sent at once was sent. Reading is paused
     * until `drained` (not with BERTH_PLUGIN_PACES_ITSELF). A plugin that sends without being asked
     * must stop: at four times as much the connection is cut. Not called where
     * "limits.send_queue_full" is "close": the connection ends then. Optional. [conn] */
    void(BERTH_CALL *filled)(struct berth_conn *conn);

    /* The send queue has fallen to its low water mark, half of the high one, after `filled`.
     * Optional. [conn] */
    void(BERTH_CALL *drained)(struct berth_conn *conn);

    /* The peer has sent its FIN. Called at most once, after the last `received`. It waits for bytes
     * that a pause or a full send queue holds back, and for those that want_at_least() holds back,
     * which are passed to `received` a last time. What `received` has then left unconsumed is not
     * passed again. Sending is still possible. For a plugin without this operation the host calls
     * close(), so that the peer still receives all that is queued. A plugin with it must call
     * close() at some time, or shutdown_send(), which is the same here: what is queued is sent,
     * then a FIN, and the connection ends with BERTH_CLOSED_BY_PEER. If shutdown_send() was called
     * before, the connection ends when this returns, as nothing can follow on either side.
     * Optional. [conn] */
    void(BERTH_CALL *peer_closed)(struct berth_conn *conn);

    /* The connection has ended. The last callback of every connection that was opened, once, never
     * from within another callback or a service. `reason` is one of BERTH_CLOSED_*. The state is
     * freed afterwards. Optional. [conn] */
    void(BERTH_CALL *closed)(struct berth_conn *conn, uint32_t reason);

    /* A client is refused because of a limit of the manifest, on a listener whose "accept.at_limit"
     * is "refuse". Writes the protocol's answer for "too busy" (421 …, 503, -ERR …) to `answer`, at
     * most `capacity` bytes (a host buffer: at least 4 KiB), and returns their number. The host
     * sends them and a FIN, and reads what the client still sends. 0 resets the connection, and so
     * does more than `capacity`, which is logged as a fault. No connection is opened for the
     * client. Optional. [listener] */
    uint32_t(BERTH_CALL *busy)(const struct berth_listener *listener, const struct berth_busy *busy,
                               uint8_t *answer, uint32_t capacity);

    /* The host wants to close the connection. `reason` says why, and `closed` will get the same:
     *   BERTH_CLOSED_TIMEOUT   nothing was received or sent for "idle_timeout_ms". With
     *                          BERTH_CLOSING_KEEP that time starts again. Without this operation:
     *                          BERTH_CLOSING_CLOSE.
     *   BERTH_CLOSED_STOPPING  the listener takes no more connections; berth_host.draining() says
     *                          why. With BERTH_CLOSING_KEEP the plugin closes the connection
     *                          itself, when it suits the protocol. Without this operation:
     *                          BERTH_CLOSING_KEEP. Connections that are open at the deadline are
     *                          cut. The deadline is "drain_timeout_ms" when the host stops, and
     *                          "generation_drain_timeout_ms" of a generation that is replaced or
     *                          removed, which has no limit unless the manifest sets one. For a
     *                          connection of such a generation this is called again when the host
     *                          stops.
     * The plugin may still send (a goodbye), and may close() or abort() itself. Optional. [conn] */
    uint32_t(BERTH_CALL *closing)(struct berth_conn *conn, uint32_t reason);

    /* A datagram has arrived on a UDP listener (datagram.h). Required for such listeners, and not
     * called for others. [listener] */
    void(BERTH_CALL *datagram)(const struct berth_listener *listener,
                               const struct berth_datagram *datagram);

    /* Checks a config that fits config_schema_json for what a schema cannot express (a folder that
     * is missing, two members that contradict each other), and adds each error to `errors`. It
     * opens, writes and starts nothing. It may be called before `load` and without it, for a config
     * that is never served. BERTH_OK: `errors` is complete; anything else: the config could not be
     * checked. Optional. [control] */
    int32_t(BERTH_CALL *check_config)(const struct berth_config_request *request,
                                      struct berth_config_errors *errors);

    /* NULL; anything else is refused. */
    const struct berth_handover *handover;

    /* The listener takes no more connections: called once, before `closing` is called for its
     * connections, and again when the host stops while it still drains. `why` is one of
     * BERTH_DRAINING_*, and berth_host.draining() says the same. Optional. [control] */
    void(BERTH_CALL *listener_draining)(const struct berth_listener *listener, uint32_t why);

    /* The listener begins and ends on that worker. `worker_start` is the first call there, before
     * any of a connection or a datagram. `worker_end` is the last, when nothing of the listener is
     * left on any worker and none of its timers runs. Each is called once for every worker, between
     * `listener_open` and `listener_close`, so that state of a worker is created and freed without
     * a lock. There is a `worker_start` before every `worker_end`. Optional. [worker] */
    void(BERTH_CALL *worker_start)(const struct berth_listener *listener, uint32_t worker);
    void(BERTH_CALL *worker_end)(const struct berth_listener *listener, uint32_t worker);
};

/* The one symbol a plugin exports. */
#define BERTH_PLUGIN_ENTRY berth_plugin_entry_v1
#define BERTH_PLUGIN_ENTRY_NAME "berth_plugin_entry_v1"
/* Its type. The function is pure: it is called more than once and always returns the same pointer.
 * [control] */
typedef const struct berth_plugin *(BERTH_CALL *berth_plugin_entry_fn)(void);

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void);

BERTH_END_DECLS

#endif
