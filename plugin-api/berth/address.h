/* address.h: an IP address and port, the same on every system. */
#ifndef BERTH_ADDRESS_H
#define BERTH_ADDRESS_H

#include "abi.h"

BERTH_BEGIN_DECLS

/* Later hosts may have other families. Format such an address by address_format(), compare `family`
 * and all of `bytes`, and do not treat it as an IP address. */
#define BERTH_FAMILY_NONE 0 /* not known */
#define BERTH_FAMILY_IPV4 4
#define BERTH_FAMILY_IPV6 6

/* Never changes its layout. An IPv4 client of a dual-stack listener has an IPv4 address, not an
 * IPv4-mapped IPv6 address. */
struct berth_address {
    uint16_t family;   /* BERTH_FAMILY_* */
    uint16_t port;     /* in the byte order of the machine */
    uint32_t scope_id; /* IPv6 zone index, else 0 */
    uint8_t bytes[16]; /* in network order; IPv4 uses the first four, the rest are zero */
};

/* Enough for every text that berth_host.address_format writes, terminator included, also of later
 * families. */
#define BERTH_ADDRESS_TEXT_MAX 256

BERTH_END_DECLS

#endif
