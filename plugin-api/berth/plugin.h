/* plugin.h: what a plugin exports: one function that returns its descriptor.
 *
 *     load ─► listener_open ─► opened ─► received … ─► peer_closed ─► closed ─► listener_close
 *     ─► unload
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

#define BERTH_PLUGIN_MAGIC                                                                         \
    UINT32_C(0x48545242) /* "BRTH" in the memory of a little-endian machine */

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

struct berth_plugin {
    /* The prefix: frozen for ever, in every major version. */
    uint32_t magic;              /* BERTH_PLUGIN_MAGIC */
    uint32_t struct_size;        /* sizeof(struct berth_plugin) */
    uint16_t abi_major;          /* BERTH_ABI_MAJOR: must equal the host's */
    uint16_t abi_minor_built;    /* BERTH_ABI_MINOR: what the plugin was compiled with */
    uint16_t abi_minor_required; /* the least minor of a host that can run it */
    uint16_t reserved;           /* 0; anything else is refused */
    uint32_t flags;              /* BERTH_PLUGIN_*; unknown bits are refused */

    uint32_t conn_state_size; /* bytes of state the host keeps for each connection, or 0 */

    const char *id;                 /* the file's name without .so or .dll: [a-z0-9-]{1,63} */
    const char *name;               /* for people */
    const char *version;            /* of the plugin, "1.2.3" */
    const char *vendor;             /* or NULL */
    const char *licence;            /* an SPDX expression, or NULL */
    const char *config_schema_json; /* JSON Schema of "config", or NULL: anything goes */

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

    /* A connection has begun. Optional. [conn] */
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

    /* The peer will send no more (its FIN came); bytes not consumed by then never will be. Once at
     * the most. Sending is still possible. A plugin without this operation gets close() done for
     * it, so that the peer still receives all that is queued; one with it must call close() some
     * time. Optional. [conn] */
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
    uint32_t(BERTH_CALL *busy)(const struct berth_listener *listener, uint8_t *answer,
                               uint32_t capacity);

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
};

/* The one symbol a plugin exports. */
#define BERTH_PLUGIN_ENTRY berth_plugin_entry_v1
#define BERTH_PLUGIN_ENTRY_NAME "berth_plugin_entry_v1"
/* What it is: pure, and asked more than once, always with the same answer. [control] */
typedef const struct berth_plugin *(BERTH_CALL *berth_plugin_entry_fn)(void);

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void);

BERTH_END_DECLS

#endif
