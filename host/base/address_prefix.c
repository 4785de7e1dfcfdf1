#include "base/address_prefix.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/error.h"

enum { MAPPED_BITS = 96, IPV4_BITS = 32, IPV6_BITS = 128 };

static unsigned family_bits(uint32_t family) {
    return family == BERTH_FAMILY_IPV4 ? IPV4_BITS : IPV6_BITS;
}

/* Sets all but the first `bits` of the address to 0. True: they were 0 already. */
static bool address_prefix_mask(struct berth_address *address, unsigned bits) {
    bool clean = true;
    for (unsigned i = 0; i < sizeof(address->bytes); i++) {
        unsigned kept = bits > i * 8 ? bits - i * 8 : 0;
        uint8_t mask = kept >= 8 ? 0xff : (uint8_t)(0xff00U >> kept);
        clean &= (address->bytes[i] & ~mask) == 0;
        address->bytes[i] &= mask;
    }
    return clean;
}

static const char not_an_address[] = "not an IPv4 or IPv6 address (without brackets and port)";

/* Parses the address before the slash. A port is added, as address_parse() needs one. */
static bool parse_address(struct berth_address *address, const char *text, size_t length,
                          address_zone_fn *find_zone, struct error *error) {
    char with_port[BERTH_ADDRESS_TEXT_MAX + ADDRESS_ZONE_MAX];
    bool six = memchr(text, ':', length) != NULL;
    const char *zone = memchr(text, '%', length);
    if (length + sizeof("[]:0") > sizeof(with_port) || (zone && !find_zone) ||
        memchr(text, '[', length) || memchr(text, ']', length)) {
        return error_set(error, "%s", not_an_address);
    }
    snprintf(with_port, sizeof(with_port), six ? "[%.*s]:0" : "%.*s:0", (int)length, text);
    return address_parse_zone(address, with_port, find_zone, error) ||
           (zone ? false : error_set(error, "%s", not_an_address));
}

/* Parses the length after the slash. */
static bool parse_bits(const char *text, unsigned max, unsigned *bits) {
    size_t length = strlen(text);
    if (length < 1 || length > 3 || strspn(text, "0123456789") != length ||
        (length > 1 && text[0] == '0')) {
        return false;
    }
    *bits = 0;
    for (; *text; text++) {
        *bits = *bits * 10 + (unsigned)(*text - '0');
    }
    return *bits <= max;
}

/* The error suggests the network that was probably meant. */
static bool refuse_host_bits(const struct address_prefix *prefix, struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    address_format(&prefix->address, text, sizeof(text));
    text[strlen(text) - strlen(":0")] = '\0';
    const char *inner = text[0] == '[' ? text + 1 : text;
    int length = (int)strcspn(inner, "]");
    return error_set(error, "bits are set behind the prefix; the network is \"%.*s/%u\"", length,
                     inner, prefix->bits);
}

bool address_prefix_parse(struct address_prefix *prefix, const char *text,
                          address_zone_fn *find_zone, struct error *error) {
    *prefix = (struct address_prefix){0};
    size_t length = strcspn(text, "/");
    if (!parse_address(&prefix->address, text, length, find_zone, error)) {
        return false;
    }
    unsigned max = family_bits(prefix->address.family);
    prefix->bits = max;
    if (text[length] == '/' && !parse_bits(text + length + 1, max, &prefix->bits)) {
        return error_set(error, "the length behind the slash is not a number from 0 to %u", max);
    }
    if (!address_prefix_mask(&prefix->address, prefix->bits)) {
        return refuse_host_bits(prefix, error);
    }
    if (prefix->bits >= MAPPED_BITS) {
        address_unmap(&prefix->address);
        prefix->bits -= prefix->address.family == BERTH_FAMILY_IPV4 ? MAPPED_BITS : 0;
    }
    return true;
}

bool address_prefix_contains(const struct address_prefix *prefix,
                             const struct berth_address *address) {
    const struct berth_address *network = &prefix->address;
    struct berth_address plain;
    if (address_is_mapped(address)) {
        plain = *address;
        address_unmap(&plain);
        address = &plain;
    }
    if (address->family != network->family ||
        (network->scope_id != 0 && network->scope_id != address->scope_id)) {
        return false;
    }
    size_t whole = prefix->bits / 8;
    unsigned rest = prefix->bits % 8;
    uint8_t differ = rest > 0 ? address->bytes[whole] ^ network->bytes[whole] : 0;
    return differ >> (8 - rest) == 0 && memcmp(address->bytes, network->bytes, whole) == 0;
}
