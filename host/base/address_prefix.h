/* address_prefix.h: networks as text: "10.0.0.0/8", "2001:db8::/32", "fe80::%eth0/64" (RFC 4632,
 * RFC 4291, RFC 4007).
 *
 * Threads: any. */
#ifndef BERTH_HOST_BASE_ADDRESS_PREFIX_H
#define BERTH_HOST_BASE_ADDRESS_PREFIX_H

#include <stdbool.h>

#include "base/address.h"

struct error;

struct address_prefix {
    struct berth_address address; /* without a port; the bits after the prefix are 0 */
    unsigned bits;                /* 0 to 32 (IPv4), 0 to 128 (IPv6) */
};

/* The whole text must be a network, or an address, which is a network of one address. A network
 * within ::ffff:0:0/96 becomes the IPv4 network that it stands for. The zone of a link-local one
 * must be an interface that `find_zone` finds; NULL: a zone is an error. The error says what is
 * wrong and what is right. */
bool address_prefix_parse(struct address_prefix *prefix, const char *text,
                          address_zone_fn *find_zone, struct error *error);

/* Whether the address, with any port, is in the network, and in the network's zone if it has one.
 * An IPv4-mapped IPv6 address counts as IPv4. */
bool address_prefix_contains(const struct address_prefix *prefix,
                             const struct berth_address *address);

#endif
