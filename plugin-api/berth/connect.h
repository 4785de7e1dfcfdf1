/* connect.h: the extension "berth.connect/1": outbound connections.
 *
 * Source: ConnectEx, which may carry the first data; connect(2). */
#ifndef BERTH_CONNECT_H
#define BERTH_CONNECT_H

#include "buffer.h"
#include "connection.h"
#include "status.h"

BERTH_BEGIN_DECLS

#define BERTH_CONNECT_ID "berth.connect/1"

/* The attempt has ended. On BERTH_OK `conn` is open and belongs to the worker on which the attempt
 * was made. Its next callbacks are the plugin's `received`, …, `closed`; `opened` is not called.
 * It does not end with the connection that asked for it. Else conn is NULL:
 *   BERTH_E_REFUSED, BERTH_E_UNREACHABLE (also: no such host), BERTH_E_TIMEOUT
 *   BERTH_E_CANCELLED  the connection that asked for it has ended first; its `closed` follows. Of
 *                      connect_for_listener(): the listener takes no more connections
 *                      (berth_host.draining)
 *   BERTH_E_NO_MEMORY  descriptors, ports or memory ran out; BERTH_E_FAILED: something else
 * Once for every connect() and connect_for_listener() that returned BERTH_OK, never from within it.
 * [conn] */
typedef void(BERTH_CALL *berth_connected_fn)(struct berth_conn *conn, int32_t status,
                                             void *argument);

/* A request (abi.h): what the host does not know of it must be zero. */
struct berth_connect_request {
    uint32_t struct_size;
    uint32_t timeout_ms; /* for name resolution and all addresses together; 0: 30 s */
    const char *host;    /* a name or a literal address, resolved off the I/O threads; copied */
    uint16_t port;
    uint16_t reserved;             /* 0 */
    uint32_t reserved2;            /* 0 */
    struct berth_slice first_data; /* sent with the connect where the system can; may be empty */
};

struct berth_connect_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Connects to the first address of the host that answers; several are tried as RFC 8305 says.
     * Consumes the reference of first_data, also when it fails. The socket gets the options of the
     * listener ("socket", "no_delay"). BERTH_E_LIMIT: "limits.outbound", or too many names wait to
     * be resolved; BERTH_E_INVALID (no host, port 0; no function, or a slice that is wrong: faults,
     * see buffer.h), BERTH_E_UNSUPPORTED (the request asks for what this host does not know),
     * BERTH_E_GONE, BERTH_E_NO_MEMORY: then `connected` does not run. [conn] */
    int32_t(BERTH_CALL *connect)(struct berth_conn *asker,
                                 const struct berth_connect_request *request,
                                 berth_connected_fn connected, void *argument);

    /* The same without a connection that asks for it: for health checks, and for connections that
     * do not depend on clients. The attempt and the connection belong to the worker on which it is
     * called. So it is called from a callback of the listener or of one of its connections that
     * runs on a worker: a timer of the listener, `worker_start`, `datagram`, a function of
     * post_worker(), … Elsewhere it is a fault (buffer.h) and returns BERTH_E_INVALID. When the
     * listener takes no more connections it returns BERTH_E_GONE, and attempts under way end with
     * BERTH_E_CANCELLED. `closing` is called for the connection as for all others. Otherwise as
     * connect(). [worker] */
    int32_t(BERTH_CALL *connect_for_listener)(const struct berth_listener *listener,
                                              const struct berth_connect_request *request,
                                              berth_connected_fn connected, void *argument);
};

BERTH_END_DECLS

#endif
