/* Source: "The PROXY protocol", versions 1 & 2, HAProxy 2.8, doc/proxy-protocol.txt. */
#include <stdio.h>
#include <string.h>

#include "proxy/proxy.h"

static const char *without_port(const struct berth_host *host, const struct berth_address *address,
                                char text[BERTH_ADDRESS_TEXT_MAX]) {
    struct berth_address plain = *address;
    plain.scope_id = 0; /* a zone means nothing to others */
    host->address_format(host, &plain, text, BERTH_ADDRESS_TEXT_MAX);
    char *colon = strrchr(text, ':');
    *colon = '\0';
    if (text[0] != '[') {
        return text;
    }
    colon[-1] = '\0'; /* the bracket */
    return text + 1;
}

static uint32_t write_line(const struct berth_host *host, const struct berth_address *client,
                           const struct berth_address *target, uint8_t *bytes) {
    char from[BERTH_ADDRESS_TEXT_MAX];
    char to[BERTH_ADDRESS_TEXT_MAX];
    char line[HEADER_BYTES_MAX + 1];
    int size = snprintf(line, sizeof(line), "PROXY TCP%u %s %s %u %u\r\n", (unsigned)client->family,
                        without_port(host, client, from), without_port(host, target, to),
                        (unsigned)client->port, (unsigned)target->port);
    memcpy(bytes, line, (size_t)size);
    return (uint32_t)size;
}

static uint8_t *header_put(uint8_t *at, const void *bytes, size_t size) {
    memcpy(at, bytes, size);
    return at + size;
}

static uint8_t *header_put16(uint8_t *at, uint32_t number) {
    *at++ = (uint8_t)(number >> 8);
    *at++ = (uint8_t)number;
    return at;
}

static uint32_t write_binary(const struct berth_address *client, const struct berth_address *target,
                             uint8_t *bytes) {
    bool v6 = client->family == BERTH_FAMILY_IPV6;
    size_t ip_size = v6 ? 16 : 4;
    uint8_t *at = header_put(bytes, "\r\n\r\n\0\r\nQUIT\n", 12);
    *at++ = 0x21; /* version 2, PROXY */
    *at++ = v6 ? 0x21 : 0x11;
    at = header_put16(at, (uint32_t)(2 * ip_size + 4));
    at = header_put(at, client->bytes, ip_size);
    at = header_put(at, target->bytes, ip_size);
    at = header_put16(at, client->port);
    at = header_put16(at, target->port);
    return (uint32_t)(at - bytes);
}

/* An IPv4 address in the form of an IPv6 one, for a header whose addresses have one family. */
static struct berth_address as_v6(const struct berth_address *address) {
    struct berth_address six = *address;
    if (address->family == BERTH_FAMILY_IPV4) {
        six.family = BERTH_FAMILY_IPV6;
        memset(six.bytes, 0, sizeof(six.bytes));
        six.bytes[10] = 0xff;
        six.bytes[11] = 0xff;
        memcpy(six.bytes + 12, address->bytes, 4);
    }
    return six;
}

uint32_t header_write(const struct berth_host *host, uint32_t version,
                      const struct berth_address *client, const struct berth_address *target,
                      uint8_t bytes[HEADER_BYTES_MAX]) {
    bool known = client->family != BERTH_FAMILY_NONE && target->family != BERTH_FAMILY_NONE;
    struct berth_address six[] = {as_v6(client), as_v6(target)};
    if (known && client->family != target->family) {
        client = &six[0];
        target = &six[1];
    }
    if (version == 1) {
        return known ? write_line(host, client, target, bytes)
                     : (uint32_t)(header_put(bytes, "PROXY UNKNOWN\r\n", 15) - bytes);
    }
    return known ? write_binary(client, target, bytes)
                 : (uint32_t)(header_put(bytes, "\r\n\r\n\0\r\nQUIT\n\x20\0\0", 16) - bytes);
}
