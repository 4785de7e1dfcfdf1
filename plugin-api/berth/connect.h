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
 * called. Else conn is NULL. Once for every connect() that returned BERTH_OK. [conn] */
typedef void(BERTH_CALL *berth_connected_fn)(struct berth_conn *conn, int32_t status,
                                             void *argument);

struct berth_connect_request {
    uint32_t struct_size;
    uint32_t timeout_ms; /* for name resolution and all addresses together */
    const char *host;    /* a name or a literal address; resolved off the I/O threads */
    uint16_t port;
    uint16_t reserved;
    uint32_t reserved2;
    struct berth_slice first_data; /* sent with the connect where the system can; may be empty */
};

struct berth_connect_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Consumes the reference of first_data, also when it fails. [conn] */
    int32_t(BERTH_CALL *connect)(struct berth_conn *asker,
                                 const struct berth_connect_request *request,
                                 berth_connected_fn connected, void *argument);
};

BERTH_END_DECLS

#endif
