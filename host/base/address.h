/* address.h: IP addresses and ports as text.
 *
 * "127.0.0.1:5001", "[::1]:5001", "[fe80::1%3]:80" (RFC 4291, RFC 4007, RFC 5952). The functions of
 * the system are not used, so that syntax and errors are the same on every system. A zone is
 * a number; where the caller passes a function that finds interfaces, also an interface's name.
 *
 * Threads: any. */
#ifndef BERTH_HOST_BASE_ADDRESS_H
#define BERTH_HOST_BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "berth/address.h"

struct error;

/* The whole text must be an address with a port. The error says what is wrong and what is right. */
bool address_parse(struct berth_address *address, const char *text, struct error *error);

/* Finds the index of the network interface with that name or number. False: there is no such
 * interface. os_interface_find() is such a function. */
typedef bool address_zone_fn(const char *zone, uint32_t *index);

enum { ADDRESS_ZONE_MAX = 256 }; /* the longest name of an interface, terminator included */

/* As address_parse(), and the zone must be an interface that `find_zone` finds. The zone of an
 * address that is not link-local is dropped, as the systems ignore it. */
bool address_parse_zone(struct berth_address *address, const char *text, address_zone_fn *find_zone,
                        struct error *error);

/* fe80::/10, and the multicast groups of one interface or one link: addresses that are unique in
 * one zone only. */
bool address_is_link_local(const struct berth_address *address);

/* Writes at most `size` bytes with the terminator (BERTH_ADDRESS_TEXT_MAX is always enough).
 * Returns the length the whole text has. */
int address_format(const struct berth_address *address, char *text, size_t size);

/* Same family, bytes, zone and port. */
bool address_equal(const struct berth_address *left, const struct berth_address *right);

/* 0.0.0.0 or ::, whatever the port. */
bool address_is_any(const struct berth_address *address);

/* A multicast group, or 255.255.255.255: nothing can be sent from it. */
bool address_is_group(const struct berth_address *address);

/* 127.0.0.0/8 or ::1. */
bool address_is_loopback(const struct berth_address *address);

/* Whether the two cannot be bound at the same time; never, where a port is 0. */
bool address_overlaps(const struct berth_address *left, bool left_v6_only,
                      const struct berth_address *right, bool right_v6_only);

/* ::ffff:a.b.c.d: an IPv4 address in the form of an IPv6 one. */
bool address_is_mapped(const struct berth_address *address);

/* a.b.c.d becomes ::ffff:a.b.c.d, for a socket of the other family. */
void address_map(struct berth_address *address);

/* ::ffff:a.b.c.d becomes a.b.c.d; others stay as they are. It is called wherever addresses enter
 * the host: from a socket, a PROXY header, a plugin or the command line. So each client's address
 * has one form. */
void address_unmap(struct berth_address *address);

#endif
