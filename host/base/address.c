#include "base/address.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { GROUPS = 8 };

/* ::ffff:0:0/96 (RFC 4291, 2.5.5.2) */
static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* The text that is being parsed. */
struct reader {
    const char *at;
    const char *end;
    address_zone_fn *find_zone; /* NULL: zones are numbers, and need not exist */
    const char *unknown_zone;   /* the zone that `find_zone` did not find; NULL: none */
};

static bool address_take(struct reader *reader, char c) {
    if (reader->at < reader->end && *reader->at == c) {
        reader->at++;
        return true;
    }
    return false;
}

/* A decimal number without sign and leading zeros, at most `max`. */
static bool address_take_number(struct reader *reader, uint32_t max, uint32_t *number) {
    const char *start = reader->at;
    uint64_t value = 0;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
        value = value * 10 + (uint64_t)(*reader->at++ - '0');
        if (value > max) {
            return false;
        }
    }
    size_t digits = (size_t)(reader->at - start);
    *number = (uint32_t)value;
    return digits > 0 && (digits == 1 || *start != '0');
}

static bool take_ipv4(struct reader *reader, uint8_t *bytes) {
    for (int i = 0; i < 4; i++) {
        uint32_t number;
        if ((i > 0 && !address_take(reader, '.')) || !address_take_number(reader, 255, &number)) {
            return false;
        }
        bytes[i] = (uint8_t)number;
    }
    return true;
}

static int address_hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One to four hexadecimal digits. */
static bool take_group(struct reader *reader, uint16_t *group) {
    unsigned value = 0;
    int digits = 0;
    while (reader->at < reader->end && digits < 4 && address_hex_digit(*reader->at) >= 0) {
        value = value << 4 | (unsigned)address_hex_digit(*reader->at++);
        digits++;
    }
    *group = (uint16_t)value;
    return digits > 0;
}

/* The groups on both sides of "::", as they are read. */
struct groups {
    uint16_t values[GROUPS];
    int count;
    int gap; /* groups before "::"; -1: there is no "::" */
};

/* The last 32 bits may be written as an IPv4 address. */
static bool take_embedded_ipv4(struct reader *reader, struct groups *groups) {
    struct reader ahead = *reader;
    uint8_t bytes[4];
    if (groups->count > GROUPS - 2 || !take_ipv4(&ahead, bytes)) {
        return false;
    }
    groups->values[groups->count++] = (uint16_t)(bytes[0] << 8 | bytes[1]);
    groups->values[groups->count++] = (uint16_t)(bytes[2] << 8 | bytes[3]);
    *reader = ahead;
    return true;
}

static bool take_groups(struct reader *reader, struct groups *groups) {
    *groups = (struct groups){.gap = -1};
    if (address_take(reader, ':')) {
        if (!address_take(reader, ':')) {
            return false;
        }
        groups->gap = 0;
    }
    while (groups->count < GROUPS) {
        if (take_embedded_ipv4(reader, groups)) {
            break;
        }
        struct reader before = *reader;
        if (!take_group(reader, &groups->values[groups->count])) {
            *reader = before;
            return groups->gap == groups->count; /* nothing after "::" */
        }
        groups->count++;
        if (!address_take(reader, ':')) {
            break;
        }
        if (address_take(reader, ':')) {
            if (groups->gap >= 0) {
                return false; /* a second "::" */
            }
            groups->gap = groups->count;
        } else if (groups->count == GROUPS) {
            return false; /* ends in a colon */
        }
    }
    return groups->gap >= 0 ? groups->count < GROUPS : groups->count == GROUPS;
}

/* The zone ends at the bracket: names of interfaces may contain nearly every other character. */
static bool take_zone(struct reader *reader, struct berth_address *address) {
    char zone[ADDRESS_ZONE_MAX];
    if (!reader->find_zone) {
        return address_take_number(reader, UINT32_MAX, &address->scope_id);
    }
    const char *begin = reader->at;
    while (reader->at < reader->end && *reader->at != ']') {
        reader->at++;
    }
    size_t length = (size_t)(reader->at - begin);
    if (length == 0) {
        return false;
    }
    snprintf(zone, sizeof(zone), "%.*s", (int)length, begin);
    if (length >= sizeof(zone) || !reader->find_zone(zone, &address->scope_id)) {
        reader->unknown_zone = begin;
        return false;
    }
    if (!address_is_link_local(address)) {
        address->scope_id = 0;
    }
    return true;
}

static bool take_ipv6(struct reader *reader, struct berth_address *address) {
    struct groups groups;
    if (!take_groups(reader, &groups)) {
        return false;
    }
    int missing = GROUPS - groups.count;
    for (int i = 0; i < groups.count; i++) {
        size_t place = (size_t)(groups.gap >= 0 && i >= groups.gap ? i + missing : i);
        address->bytes[2 * place] = (uint8_t)(groups.values[i] >> 8);
        address->bytes[2 * place + 1] = (uint8_t)groups.values[i];
    }
    return !address_take(reader, '%') || take_zone(reader, address);
}

static bool refuse_zone(const struct reader *reader, struct error *error) {
    return error_set(error,
                     "this machine has no network interface \"%.*s\" (the zone after the %%)",
                     (int)(reader->at - reader->unknown_zone), reader->unknown_zone);
}

static bool address_read(struct berth_address *address, struct reader *reader,
                         struct error *error) {
    uint32_t port;
    if (address_take(reader, '[')) {
        address->family = BERTH_FAMILY_IPV6;
        if (!take_ipv6(reader, address)) {
            return reader->unknown_zone ? refuse_zone(reader, error)
                                        : error_set(error, "not an IPv6 address in brackets");
        }
        if (!address_take(reader, ']')) {
            return error_set(error, "not an IPv6 address: \"]\" is missing behind it");
        }
    } else {
        address->family = BERTH_FAMILY_IPV4;
        if (!take_ipv4(reader, address->bytes)) {
            return error_set(error, "not an IPv4 address (four numbers from 0 to 255), nor an IPv6 "
                                    "address in brackets; names are not looked up");
        }
    }
    if (!address_take(reader, ':')) {
        return error_set(error, "the port is missing");
    }
    if (!address_take_number(reader, UINT16_MAX, &port)) {
        return error_set(error, "the port is not a number from 0 to 65535");
    }
    if (reader->at != reader->end) {
        return error_set(error, "something follows the port");
    }
    address->port = (uint16_t)port;
    return true;
}

bool address_parse(struct berth_address *address, const char *text, struct error *error) {
    return address_parse_zone(address, text, NULL, error);
}

bool address_parse_zone(struct berth_address *address, const char *text, address_zone_fn *find_zone,
                        struct error *error) {
    struct reader reader = {text, text + strlen(text), find_zone, NULL};
    *address = (struct berth_address){0};
    if (address_read(address, &reader, error)) {
        return true;
    }
    *address = (struct berth_address){0};
    return false;
}

/* The longest run of at least two zero groups is written "::", the first of equals (RFC 5952). */
static void find_zeros(const uint16_t *values, int *start, int *length) {
    *start = -1;
    *length = 1;
    for (int i = 0; i < GROUPS; i++) {
        int run = 0;
        while (i + run < GROUPS && values[i + run] == 0) {
            run++;
        }
        if (run > *length) {
            *start = i;
            *length = run;
        }
    }
}

static void format_ipv6(const struct berth_address *address, char *text, size_t size) {
    uint16_t values[GROUPS];
    int start;
    int zeros;
    size_t used = 0;
    for (size_t i = 0; i < GROUPS; i++) {
        values[i] = (uint16_t)(address->bytes[2 * i] << 8 | address->bytes[2 * i + 1]);
    }
    find_zeros(values, &start, &zeros);
    for (int i = 0; i < GROUPS; i++) {
        if (i == start) {
            used += (size_t)snprintf(text + used, size - used, "::");
            i += zeros - 1;
        } else {
            bool colon = i > 0 && i != start + zeros;
            colon = start < 0 ? i > 0 : colon;
            used += (size_t)snprintf(text + used, size - used, "%s%x", colon ? ":" : "", values[i]);
        }
    }
    if (address->scope_id != 0) {
        snprintf(text + used, size - used, "%%%u", (unsigned)address->scope_id);
    }
}

int address_format(const struct berth_address *address, char *text, size_t size) {
    const uint8_t *bytes = address->bytes;
    if (address->family == BERTH_FAMILY_IPV4) {
        return snprintf(text, size, "%u.%u.%u.%u:%u", bytes[0], bytes[1], bytes[2], bytes[3],
                        address->port);
    }
    if (address->family == BERTH_FAMILY_IPV6) {
        char inner[BERTH_ADDRESS_TEXT_MAX];
        format_ipv6(address, inner, sizeof(inner));
        return snprintf(text, size, "[%s]:%u", inner, address->port);
    }
    return snprintf(text, size, "unknown");
}

bool address_equal(const struct berth_address *left, const struct berth_address *right) {
    return left->family == right->family && left->port == right->port &&
           left->scope_id == right->scope_id &&
           memcmp(left->bytes, right->bytes, sizeof(left->bytes)) == 0;
}

bool address_is_any(const struct berth_address *address) {
    static const uint8_t zeros[sizeof(address->bytes)];
    return memcmp(address->bytes, zeros, sizeof(zeros)) == 0;
}

bool address_overlaps(const struct berth_address *left, bool left_v6_only,
                      const struct berth_address *right, bool right_v6_only) {
    if (left->port != right->port || left->port == 0) {
        return false;
    }
    if (left->family == right->family) {
        return address_equal(left, right) || address_is_any(left) || address_is_any(right);
    }
    const struct berth_address *six = left->family == BERTH_FAMILY_IPV6 ? left : right;
    bool v6_only = six == left ? left_v6_only : right_v6_only;
    return address_is_any(six) && !v6_only; /* dual-stack takes the IPv4 port too */
}

bool address_is_link_local(const struct berth_address *address) {
    const uint8_t *bytes = address->bytes;
    if (address->family != BERTH_FAMILY_IPV6) {
        return false;
    }
    bool unicast = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
    bool multicast = bytes[0] == 0xff && ((bytes[1] & 0x0f) == 1 || (bytes[1] & 0x0f) == 2);
    return unicast || multicast;
}

bool address_is_group(const struct berth_address *address) {
    static const uint8_t everybody[4] = {255, 255, 255, 255};
    return address->family == BERTH_FAMILY_IPV6
               ? address->bytes[0] == 0xff
               : address->family == BERTH_FAMILY_IPV4 &&
                     ((address->bytes[0] & 0xf0) == 0xe0 ||
                      memcmp(address->bytes, everybody, sizeof(everybody)) == 0);
}

bool address_is_loopback(const struct berth_address *address) {
    static const uint8_t one[16] = {[15] = 1};
    return address->family == BERTH_FAMILY_IPV6
               ? memcmp(address->bytes, one, sizeof(one)) == 0
               : address->family == BERTH_FAMILY_IPV4 && address->bytes[0] == 127;
}

bool address_is_mapped(const struct berth_address *address) {
    return address->family == BERTH_FAMILY_IPV6 &&
           memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

void address_map(struct berth_address *address) {
    if (address->family == BERTH_FAMILY_IPV4) {
        memmove(address->bytes + sizeof(mapped_prefix), address->bytes, 4);
        memcpy(address->bytes, mapped_prefix, sizeof(mapped_prefix));
        address->family = BERTH_FAMILY_IPV6;
        address->scope_id = 0;
    }
}

void address_unmap(struct berth_address *address) {
    if (address_is_mapped(address)) {
        memmove(address->bytes, address->bytes + sizeof(mapped_prefix), 4);
        memset(address->bytes + 4, 0, sizeof(address->bytes) - 4);
        address->family = BERTH_FAMILY_IPV4;
        address->scope_id = 0;
    }
}
