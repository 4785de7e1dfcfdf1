/* address.h: an IP address and port, the same on every system. */
#ifndef BERTH_ADDRESS_H
#define BERTH_ADDRESS_H

#include "abi.h"

BERTH_BEGIN_DECLS

/* Later hosts may have other families: show such an address by address_format(), compare `family`
 * and all of `bytes`, and take neither for an IP address. */
#define BERTH_FAMILY_NONE 0 /* not known */
#define BERTH_FAMILY_IPV4 4
#define BERTH_FAMILY_IPV6 6

/* Never changes its shape. A client of a dual-stack listener that came over IPv4 is shown as IPv4,
 * not as an IPv4-mapped IPv6 address. */
struct berth_address {
    uint16_t family;   /* BERTH_FAMILY_* */
    uint16_t port;     /* in the byte order of the machine */
    uint32_t scope_id; /* IPv6 zone index, else 0 */
    uint8_t bytes[16]; /* in network order; IPv4 uses the first four, the rest are zero */
};

/* Room that is enough for every text berth_host.address_format writes, terminator included, also of
 * a family to come. */
#define BERTH_ADDRESS_TEXT_MAX 256

BERTH_END_DECLS

#endif
