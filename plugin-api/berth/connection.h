/* connection.h: what a plugin sees of a listener and of a connection.
 *
 * Both structs are owned and written by the host; plugins read them and may write only what `state`
 * points at. A connection is valid from `opened` until `closed` returns, and only on its worker;
 * from elsewhere use its id with berth_host.post(). */
#ifndef BERTH_CONNECTION_H
#define BERTH_CONNECTION_H

#include "address.h"
#include "buffer.h"

BERTH_BEGIN_DECLS

struct berth_host;

/* A listener as the plugin that serves it sees it: one name in the manifest. */
struct berth_listener {
    uint32_t struct_size;
    uint32_t reserved;
    const struct berth_host *host;
    const char *name;        /* its key in the manifest; lives as long as the listener */
    const char *config_json; /* its "config" object as JSON text, "{}" when there is none */
    void *plugin_state;      /* what the plugin's `load` set */
    void *state;             /* what the plugin's `listener_open` set */
    /* "limits.message_bytes": what `received` may leave unconsumed. A plugin whose own limits need
     * more can refuse to open. It never changes: a reload that changes it makes a new generation.
     */
    uint32_t message_bytes;
    /* "limits.send_queue_bytes" and "limits.send_queue_pieces" of one connection: `filled` is
     * called there, and four times as much is the hard cap (see berth_host.send). A reload
     * may change both: read them when they are needed, in [conn], [worker] and [listener] calls. */
    uint32_t send_queue_bytes;
    uint32_t send_queue_pieces;
    uint32_t reserved2;
};

/* One connection, accepted or outbound (connect.h). */
struct berth_conn {
    uint32_t struct_size;
    uint32_t flags;                        /* BERTH_CONN_*; ignore bits that you do not know */
    const struct berth_host *host;         /* the services; here so that every callback has them */
    const struct berth_listener *listener; /* whose connection it is */
    void *state;     /* the plugin's conn_state_size bytes, zeroed before `opened`, at a multiple
                      * of 16; NULL if 0 */
    uint64_t id;     /* never 0, never used again while the host runs: for post() */
    uint32_t worker; /* that owns it: 0 to berth_host.workers - 1; for post_worker() */
    uint32_t reserved;
};

#define BERTH_CONN_FIRST_DATA                                                                      \
    UINT32_C(1)                         /* the accept brought bytes: `received` follows `opened` */
#define BERTH_CONN_OUTBOUND UINT32_C(2) /* made by connect (connect.h), not by a listener */

/* Asked for with berth_host.conn_info(). The caller sets struct_size to the size of its struct;
 * the host fills what fits and sets struct_size to what it has filled (see BERTH_HAS()). The
 * counts of bytes are of those that the plugin sees: what the host itself reads and writes (a PROXY
 * header, TLS) does not count. */
struct berth_conn_info {
    uint32_t struct_size;
    uint32_t reserved;
    struct berth_address local;
    struct berth_address remote;
    uint64_t bytes_received; /* for the plugin, also those not yet passed to `received` */
    uint64_t bytes_sent;     /* accepted by the system, not necessarily by the peer */
    uint64_t bytes_queued;   /* queued, not yet accepted by the system; of files too */
    uint64_t opened_ago_ms;  /* since `opened` */
};

/* Why a connection ended, or is to; passed to `closed` and `closing`. Later hosts may have others:
 * take what you do not know for BERTH_CLOSED_ERROR. */
#define BERTH_CLOSED_BY_PLUGIN UINT32_C(1) /* close() of the plugin */
#define BERTH_CLOSED_BY_PEER UINT32_C(2)   /* both sides have sent their FIN */
#define BERTH_CLOSED_RESET UINT32_C(3)     /* a reset by the peer, or a failure of the network */
#define BERTH_CLOSED_TIMEOUT UINT32_C(4) /* a deadline passed (the peer's FIN after close(), …) */
#define BERTH_CLOSED_LIMIT UINT32_C(5)   /* a limit of the manifest was exceeded */
#define BERTH_CLOSED_STOPPING UINT32_C(6)      /* cut because the host or the listener stops */
#define BERTH_CLOSED_OUT_OF_MEMORY UINT32_C(7) /* a resource of the system ran out */
#define BERTH_CLOSED_ABORTED UINT32_C(8)       /* abort() of the plugin */
#define BERTH_CLOSED_FAULT UINT32_C(9)         /* the plugin broke the rules; the log says how */
#define BERTH_CLOSED_FILE_SHORT UINT32_C(10)   /* a file that was sent ended too early */
#define BERTH_CLOSED_ERROR UINT32_C(11)        /* the system reported something else */

/* Why a listener takes no more connections; see berth_host.draining(). Later hosts may have others:
 * take what you do not know for BERTH_DRAINING_REPLACED. */
#define BERTH_DRAINING_NO UINT32_C(0) /* it serves, or it is paused */
#define BERTH_DRAINING_REPLACED                                                                    \
    UINT32_C(1)                            /* a newer generation of it serves: a restart, or a     \
                                            * reload with another plugin or "config" */
#define BERTH_DRAINING_REMOVED UINT32_C(2) /* it is no longer in the manifest; the host goes on */
#define BERTH_DRAINING_HOST_STOPS UINT32_C(3) /* the host ends */

/* What `closing` answers. Anything else is taken for BERTH_CLOSING_CLOSE. */
#define BERTH_CLOSING_CLOSE UINT32_C(0) /* close(): what is queued is sent, then a FIN */
#define BERTH_CLOSING_ABORT UINT32_C(1) /* abort(): a reset */
#define BERTH_CLOSING_KEEP UINT32_C(2)  /* go on; see berth_plugin.closing */

BERTH_END_DECLS

#endif
