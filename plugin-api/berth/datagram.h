/* datagram.h: the extension "berth.datagram/1": UDP, for listeners whose "transport" is "udp". */
#ifndef BERTH_DATAGRAM_H
#define BERTH_DATAGRAM_H

#include "address.h"
#include "buffer.h"
#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_DATAGRAM_ID "berth.datagram/1"

#define BERTH_DATAGRAM_TRUNCATED UINT32_C(1) /* it was longer than the buffer; the rest is lost */

/* One received datagram, borrowed until `datagram` returns. Source: recvmsg/WSARecvMsg with
 * IP_PKTINFO and IPV6_PKTINFO (RFC 3542), which give the local address that it was sent to. */
struct berth_datagram {
    uint32_t struct_size;
    uint32_t flags;              /* BERTH_DATAGRAM_*; ignore bits that you do not know */
    struct berth_slice data;     /* may be empty; at most "host.buffers.bytes" */
    struct berth_address local;  /* where it was sent to: a reply goes out from here */
    struct berth_address remote; /* the sender */
    uint32_t worker; /* on which this call runs: 0 to berth_host.workers - 1; for post_worker() */
    uint32_t reserved;
};

struct berth_datagram_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Sends one datagram from `local`, an address of the listener, to `remote`; consumes the
     * reference of the slice, also when it fails. Datagrams that are sent from
     * within `datagram` may leave after it has returned, together. A datagram may be lost, as in
     * any network. BERTH_E_LIMIT: the system's buffers are full; BERTH_E_INVALID: `local` is none
     * of the listener's, `remote` has no port, the bytes are more than 65507, or the slice is
     * wrong, which is a fault (buffer.h); BERTH_E_UNSUPPORTED: the slice's `reserved`;
     * BERTH_E_UNREACHABLE, BERTH_E_FAILED. [any] */
    int32_t(BERTH_CALL *send)(const struct berth_listener *listener,
                              const struct berth_address *local, const struct berth_address *remote,
                              const struct berth_slice *data);
};

BERTH_END_DECLS

#endif
