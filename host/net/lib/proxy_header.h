/* proxy_header.h: the header of the PROXY protocol, versions 1 and 2, with which a proxy in front
 * names the client it speaks for.
 *
 * Source: "The PROXY protocol", versions 1 & 2, HAProxy 2.8, doc/proxy-protocol.txt. Threads: any;
 * nothing is kept. */
#ifndef BERTH_HOST_NET_LIB_PROXY_HEADER_H
#define BERTH_HOST_NET_LIB_PROXY_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

/* The longest there can be: version 2, with as many bytes as its length can say. */
#define PROXY_HEADER_BYTES_MAX (16 + 65535)

enum proxy_verdict {
    PROXY_HEADER_PART,      /* its rest has not come yet */
    PROXY_HEADER_WHOLE,     /* it lies at the front */
    PROXY_HEADER_MALFORMED, /* what comes is none, or a wrong one */
};

struct proxy_header {
    uint32_t size;             /* of the header; what follows is the client's */
    bool names_client;         /* else the connection is the proxy's own, or it does not know */
    struct berth_address from; /* the client */
    struct berth_address to;   /* where it connected to */
    const char *fault;         /* what is wrong, when it is malformed */
};

/* Looks at the first bytes of a connection. */
enum proxy_verdict proxy_header_read(const uint8_t *bytes, uint32_t size,
                                     struct proxy_header *header);

#endif
