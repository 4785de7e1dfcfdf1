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

/* The attempt has ended. On BERTH_OK `conn` is open, belongs to the same worker as the connection
 * it was asked for by, and goes on with the plugin's `received`, …, `closed`; `opened` is not
 * called. It lives on when the connection that asked ends. Else conn is NULL:
 *   BERTH_E_REFUSED, BERTH_E_UNREACHABLE (also: no such host), BERTH_E_TIMEOUT
 *   BERTH_E_CANCELLED  the connection that asked has ended first; its `closed` follows
 *   BERTH_E_NO_MEMORY  descriptors, ports or memory ran out; BERTH_E_FAILED: something else
 * Once for every connect() that returned BERTH_OK, never from within it. [conn] */
typedef void(BERTH_CALL *berth_connected_fn)(struct berth_conn *conn, int32_t status,
                                             void *argument);

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
     * Consumes the reference of first_data, also when it fails. The socket is set as those of the
     * listener ("socket", "no_delay"). BERTH_E_LIMIT: "limits.outbound", or too many names wait to
     * be resolved; BERTH_E_INVALID (no host, port 0, something reserved; no function, or a slice
     * that is wrong: faults, see buffer.h), BERTH_E_GONE, BERTH_E_NO_MEMORY: then `connected` does
     * not run. [conn] */
    int32_t(BERTH_CALL *connect)(struct berth_conn *asker,
                                 const struct berth_connect_request *request,
                                 berth_connected_fn connected, void *argument);
};

BERTH_END_DECLS

#endif
