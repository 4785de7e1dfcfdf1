/* address.h: IP addresses and ports as text.
 *
 * "127.0.0.1:5001", "[::1]:5001", "[fe80::1%3]:80" (RFC 4291, RFC 5952; the zone is a number). Own
 * code and not the system's, so that every system reads the same language and says the same of it.
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

/* Writes at most `size` bytes with the terminator (BERTH_ADDRESS_TEXT_MAX is always enough).
 * Returns the length the whole text has. */
int address_format(const struct berth_address *address, char *text, size_t size);

/* Same family, bytes, zone and port. */
bool address_equal(const struct berth_address *left, const struct berth_address *right);

/* 0.0.0.0 or ::, whatever the port. */
bool address_is_any(const struct berth_address *address);

/* Whether the two cannot be bound at the same time; never, where a port is 0. */
bool address_overlaps(const struct berth_address *left, bool left_v6_only,
                      const struct berth_address *right, bool right_v6_only);

/* ::ffff:a.b.c.d becomes a.b.c.d; others stay as they are. */
void address_unmap(struct berth_address *address);

#endif
