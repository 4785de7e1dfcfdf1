/* proxy_header.h: the header of the PROXY protocol, versions 1 and 2, by which a proxy names the
 * client of a connection that it forwards.
 *
 * Source: "The PROXY protocol", versions 1 & 2, HAProxy 2.8, doc/proxy-protocol.txt. Threads: any;
 * no state is kept. */
#ifndef BERTH_HOST_NET_LIB_PROXY_HEADER_H
#define BERTH_HOST_NET_LIB_PROXY_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

/* The longest possible header: version 2, with the largest value of its length field. */
#define PROXY_HEADER_BYTES_MAX (16 + 65535)

enum proxy_verdict {
    PROXY_HEADER_PART,      /* its rest has not arrived yet */
    PROXY_HEADER_WHOLE,     /* the bytes begin with a whole header */
    PROXY_HEADER_MALFORMED, /* the bytes are no header, or a malformed one */
};

struct proxy_header {
    uint32_t size;     /* of the header; what follows is the client's */
    bool names_client; /* else it is the proxy's own, or the proxy does not know its client */
    struct berth_address from; /* the client */
    struct berth_address to;   /* the address that the client connected to */
    const char *fault;         /* what is wrong, when it is malformed */
};

/* Parses the first bytes of a connection. */
enum proxy_verdict proxy_header_read(const uint8_t *bytes, uint32_t size,
                                     struct proxy_header *header);

#endif
