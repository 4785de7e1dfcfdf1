/* plugin.h: what a plugin exports: one function that returns its descriptor.
 *
 *     load ─► listener_open ─► worker_start ─► opened ─► received … ─► peer_closed ─► closed
 *     ─► worker_end ─► listener_close ─► unload
 *
 * Between `opened` and `closed` come `filled` and `drained` in turns, and `closing`; a connection
 * that was asked for (connect.h) begins with `connected` instead of `opened`.
 *
 * The host calls `berth_plugin_entry_v1` right after it has loaded the library. The function is
 * pure: it returns a pointer to a static const descriptor and touches nothing. Everything that a
 * plugin sets up it sets up in `load` and `listener_open`, and keeps in the states it returns,
 * never in globals: after a restart two generations of a plugin live side by side for a while. */
#ifndef BERTH_PLUGIN_H
#define BERTH_PLUGIN_H

#include "connection.h"
#include "datagram.h"
#include "host.h"
#include "status.h"

BERTH_BEGIN_DECLS

/* What a descriptor begins with, in the memory of a little-endian machine: "BRTH" as long as the
 * ABI is a candidate (abi.h), "BRTP" from the freeze on. */
#define BERTH_PLUGIN_MAGIC_DRAFT UINT32_C(0x48545242)
#define BERTH_PLUGIN_MAGIC_RELEASED UINT32_C(0x50545242)
#if BERTH_ABI_DRAFT > 0
#define BERTH_PLUGIN_MAGIC BERTH_PLUGIN_MAGIC_DRAFT
#else
#define BERTH_PLUGIN_MAGIC BERTH_PLUGIN_MAGIC_RELEASED
#endif

/* The plugin sends before the client does (a greeting). A listener that accepts on first data would
 * wait for ever, so the manifest checker refuses the combination. */
#define BERTH_PLUGIN_SPEAKS_FIRST UINT32_C(1)
/* The library cannot be unloaded safely (it starts threads it cannot stop, say): keep it mapped. */
#define BERTH_PLUGIN_NO_UNLOAD UINT32_C(2)
/* The plugin holds back whoever fills its send queues itself, by `filled` and `drained`: a full
 * queue alone does not pause reading. For those who pass bytes on between connections, where the
 * one to be paused is another one than the one whose queue is full; pausing both may be a
 * deadlock. A plugin that does nothing loses the connection at four times the limit. */
#define BERTH_PLUGIN_PACES_ITSELF UINT32_C(4)
/* Two generations of a listener must never be open at a time (between `listener_open` and
 * `listener_close`): a lock file, a database or a port of its own. A restart, or a reload that
 * replaces the listener, then closes the old generation first: new clients wait, the connections
 * are asked to close (`closing`, BERTH_CLOSED_STOPPING) and cut when "generation_drain_timeout_ms"
 * (or else "host.drain_timeout_ms") is over, `listener_close` runs, and the new one opens. When
 * that fails, the old one is opened again. `load` is not exclusive: take in `listener_open` what
 * there is only one of. */
#define BERTH_PLUGIN_EXCLUSIVE UINT32_C(8)

/* A client that a limit leaves no room for; passed to `busy`. */
struct berth_busy {
    uint32_t struct_size;
    uint32_t limit;              /* BERTH_BUSY_* */
    struct berth_address remote; /* the client */
    struct berth_address local;  /* where it came to */
    uint32_t worker;             /* on which `busy` runs: 0 to berth_host.workers - 1 */
    uint32_t retry_after_ms;     /* when there is room again; 0: not known */
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

/* What `check_config` finds wrong. The host's, valid until `check_config` returns. */
struct berth_config_errors {
    uint32_t struct_size;
    uint32_t reserved;

    /* One thing that is wrong. `pointer`: where in the config, a JSON pointer ("/root", "" for all
     * of it); the host adds file, line and column. `text`: what is wrong and what helps,
     * terminated. Both are copied. As many as there are: the operator wants to know them all.
     * [control] */
    void(BERTH_CALL *add)(struct berth_config_errors *errors, const char *pointer,
                          const char *text);
};

struct berth_handover; /* of a version to come */

struct berth_plugin {
    /* The prefix: frozen for ever, in every major version. */
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
    /* JSON Schema of "config", or NULL: anything goes. "berth check", a start, a reload and "berth
     * plugin validate" hold the config against it before the plugin sees it. */
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

    /* A connection has begun: bytes can flow, and they are the plugin's own, whatever lies beneath
     * (a PROXY header has been read, TLS has been agreed on). Optional. [conn] */
    void(BERTH_CALL *opened)(struct berth_conn *conn);

    /* Bytes have arrived: data->size is never 0. Returns how many of them, from the start, are
     * consumed. What is not consumed is kept by the host and comes again, at the front of the next
     * call, with what arrived since, always in one piece; more than "limits.message_bytes" of it
     * closes the connection. A plugin that returns more than data->size is at fault: the connection
     * is closed and the fault is logged. Required, but for UDP listeners. [conn] */
    uint32_t(BERTH_CALL *received)(struct berth_conn *conn, const struct berth_slice *data);

    /* The send queue has reached its high water, "limits.send_queue_bytes" or
     * "limits.send_queue_pieces", after what could be sent at once was sent. Reading is paused
     * until `drained` (not with BERTH_PLUGIN_PACES_ITSELF); a plugin that makes data of its own
     * accord stops, as one that sends on loses the connection at four times as much. Not called
     * where "limits.send_queue_full" is "close": the connection ends then. Optional. [conn] */
    void(BERTH_CALL *filled)(struct berth_conn *conn);

    /* The send queue has fallen to its low water, half of the high one, after `filled`. Optional.
     * [conn] */
    void(BERTH_CALL *drained)(struct berth_conn *conn);

    /* The peer will send no more (its FIN came). Once at the most, after the last `received`: it
     * waits behind bytes that a pause or a full send queue holds back, and behind those that
     * want_at_least() kept, which are shown a last time. What `received` has then left unconsumed
     * never comes again. Sending is still possible. A plugin without this operation gets close()
     * done for it, so that the peer still receives all that is queued; one with it must call
     * close() some time, or shutdown_send(), which is the same here: what is queued is sent, then a
     * FIN, and the connection ends with BERTH_CLOSED_BY_PEER. After a shutdown_send() that came
     * before, it ends when this returns, as nothing can follow on either side. Optional. [conn] */
    void(BERTH_CALL *peer_closed)(struct berth_conn *conn);

    /* The end of every connection that was opened: once, last, never from within another callback
     * or service. `reason` is one of BERTH_CLOSED_*. The state is freed after it. Optional. [conn]
     */
    void(BERTH_CALL *closed)(struct berth_conn *conn, uint32_t reason);

    /* A client came and a limit of the manifest leaves no room, on a listener whose
     * "accept.at_limit" is "refuse": write the protocol's words for "too busy" (421 …, 503, -ERR …)
     * to answer, at most `capacity` bytes (a host buffer: 4 KiB at the least), and return their
     * number. The host sends them, finishes, and reads what the client still says. 0 resets the
     * connection, and so does more than `capacity`, which is logged as a fault. No connection is
     * opened for it. Optional. [listener] */
    uint32_t(BERTH_CALL *busy)(const struct berth_listener *listener, const struct berth_busy *busy,
                               uint8_t *answer, uint32_t capacity);

    /* The host wants to close the connection. `reason` says why, and `closed` will get the same:
     *   BERTH_CLOSED_TIMEOUT   nothing was received or sent for "idle_timeout_ms". With
     *                          BERTH_CLOSING_KEEP that time begins anew. Without this operation:
     *                          BERTH_CLOSING_CLOSE.
     *   BERTH_CLOSED_STOPPING  the listener takes no more connections; berth_host.draining() says
     *                          why. With BERTH_CLOSING_KEEP the plugin closes the connection
     *                          itself, when it suits the protocol. Without this operation:
     *                          BERTH_CLOSING_KEEP. What is left when the time is over is cut: of a
     *                          stop of the host that is "drain_timeout_ms", of a generation that
     *                          is replaced or removed "generation_drain_timeout_ms", which is
     *                          without a limit unless the manifest says otherwise. A connection of
     *                          such a generation is asked again when the host stops.
     * The plugin may still send (a goodbye), and may close() or abort() itself. Optional. [conn] */
    uint32_t(BERTH_CALL *closing)(struct berth_conn *conn, uint32_t reason);

    /* A datagram came on a UDP listener (datagram.h). Required for those, and not called for
     * others. [listener] */
    void(BERTH_CALL *datagram)(const struct berth_listener *listener,
                               const struct berth_datagram *datagram);

    /* Looks at a config that fits config_schema_json for what a schema cannot say (a folder that is
     * missing, two members that contradict each other), and adds an error for each thing. It opens,
     * writes and starts nothing, and may be asked of a plugin that is not loaded: before `load` and
     * without it, for a config that never serves. BERTH_OK: the errors are all there is to say;
     * anything else: it could not be checked. Optional. [control] */
    int32_t(BERTH_CALL *check_config)(const struct berth_config_request *request,
                                      struct berth_config_errors *errors);

    /* NULL; anything else is refused. */
    const struct berth_handover *handover;

    /* The listener takes no more connections: once, before `closing` asks its connections, and
     * again when the host stops while it still drains. `why` is one of BERTH_DRAINING_*, and
     * berth_host.draining() says the same. Optional. [control] */
    void(BERTH_CALL *listener_draining)(const struct berth_listener *listener, uint32_t why);

    /* The listener begins and ends on that worker: the first call there, before any of a connection
     * or a datagram, and the last, when there is nothing of the listener on any worker and no timer
     * of it runs any more. Once each for every worker, in the place between `listener_open` and
     * `listener_close`: what is kept in a part for each worker is made and freed without a lock.
     * Every `worker_end` has its `worker_start`. Optional. [worker] */
    void(BERTH_CALL *worker_start)(const struct berth_listener *listener, uint32_t worker);
    void(BERTH_CALL *worker_end)(const struct berth_listener *listener, uint32_t worker);
};

/* The one symbol a plugin exports. */
#define BERTH_PLUGIN_ENTRY berth_plugin_entry_v1
#define BERTH_PLUGIN_ENTRY_NAME "berth_plugin_entry_v1"
/* What it is: pure, and asked more than once, always with the same answer. [control] */
typedef const struct berth_plugin *(BERTH_CALL *berth_plugin_entry_fn)(void);

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void);

BERTH_END_DECLS

#endif
