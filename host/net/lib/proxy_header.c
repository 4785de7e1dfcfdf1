#include "net/lib/proxy_header.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"

/* -- version 1: a line of text --------------------------------------------- */

enum {
    LINE_BYTES_MAX = 107, /* with its CR LF, the longest that version 1 allows */
    WORD_BYTES_MAX = 40,
};

static const char line_begin[] = "PROXY ";

static enum proxy_verdict proxy_header_malformed(struct proxy_header *header, const char *fault) {
    header->fault = fault;
    return PROXY_HEADER_MALFORMED;
}

/* The word at *at, which ends at a space or at the line's end; *at moves past that one space. */
static bool proxy_header_take_word(const char **at, char word[WORD_BYTES_MAX]) {
    size_t length = strcspn(*at, " ");
    if (length == 0 || length >= WORD_BYTES_MAX) {
        return false;
    }
    memcpy(word, *at, length);
    word[length] = '\0';
    *at += length;
    if (**at == ' ') {
        (*at)++;
        return **at != '\0'; /* after a space at the end a word is missing */
    }
    return true;
}

static bool proxy_header_make_address(const char *ip, const char *port, uint16_t family,
                                      struct berth_address *address) {
    char text[2 * WORD_BYTES_MAX + 4];
    bool v6 = family == BERTH_FAMILY_IPV6;
    if (strchr(ip, '%') || strchr(ip, '[') || strchr(ip, ']')) {
        return false; /* zones and brackets are in our address syntax, not in the protocol's */
    }
    snprintf(text, sizeof(text), v6 ? "[%s]:%s" : "%s:%s", ip, port);
    if (!address_parse(address, text, NULL) || address->family != family) {
        return false;
    }
    address_unmap(address);
    return true;
}

static bool read_addresses(const char *at, uint16_t family, struct proxy_header *header) {
    char from[WORD_BYTES_MAX];
    char to[WORD_BYTES_MAX];
    char from_port[WORD_BYTES_MAX];
    char to_port[WORD_BYTES_MAX];
    return proxy_header_take_word(&at, from) && proxy_header_take_word(&at, to) &&
           proxy_header_take_word(&at, from_port) && proxy_header_take_word(&at, to_port) &&
           *at == '\0' && proxy_header_make_address(from, from_port, family, &header->from) &&
           proxy_header_make_address(to, to_port, family, &header->to);
}

static enum proxy_verdict proxy_header_read_line(const uint8_t *bytes, uint32_t size,
                                                 struct proxy_header *header) {
    uint32_t end = size < LINE_BYTES_MAX ? size : LINE_BYTES_MAX;
    const uint8_t *line_feed = memchr(bytes, '\n', end);
    if (!line_feed) {
        return size < LINE_BYTES_MAX
                   ? PROXY_HEADER_PART
                   : proxy_header_malformed(header, "a line of more than 107 bytes");
    }
    uint32_t length = (uint32_t)(line_feed - bytes);
    if (bytes[length - 1] != '\r' || memchr(bytes, '\0', length)) {
        return proxy_header_malformed(header, "a line that does not end with CR LF");
    }
    char line[LINE_BYTES_MAX];
    memcpy(line, bytes, length - 1);
    line[length - 1] = '\0';
    const char *at = line + sizeof(line_begin) - 1;
    header->size = length + 1;
    header->names_client = true;
    if (strncmp(at, "TCP4 ", 5) == 0 && read_addresses(at + 5, BERTH_FAMILY_IPV4, header)) {
        return PROXY_HEADER_WHOLE;
    }
    if (strncmp(at, "TCP6 ", 5) == 0 && read_addresses(at + 5, BERTH_FAMILY_IPV6, header)) {
        return PROXY_HEADER_WHOLE;
    }
    header->names_client = false;
    if (strcmp(at, "UNKNOWN") == 0 || strncmp(at, "UNKNOWN ", 8) == 0) {
        return PROXY_HEADER_WHOLE; /* the rest of the line is to be ignored */
    }
    return proxy_header_malformed(
        header, "a line that is none of TCP4, TCP6 and UNKNOWN with its addresses");
}

/* -- version 2: binary ----------------------------------------------------- */

enum {
    PREFIX_BYTES = 16, /* signature, version and command, family, length */
    COMMAND_LOCAL = 0x20,
    COMMAND_PROXY = 0x21,
    FAMILY_UNSPECIFIED = 0x00,
    FAMILY_TCP4 = 0x11,
    FAMILY_UDP4 = 0x12,
    FAMILY_TCP6 = 0x21,
    FAMILY_UDP6 = 0x22,
    FAMILY_UNIX_STREAM = 0x31,
    FAMILY_UNIX_DATAGRAM = 0x32,
    TCP4_BYTES = 12,
    TCP6_BYTES = 36,
    UNIX_BYTES = 216,
    TLV_HEAD_BYTES = 3,
    TLV_CRC32C = 0x03,
};

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static uint32_t proxy_header_number16(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

static struct berth_address binary_address(uint16_t family, const uint8_t *ip, size_t size,
                                           const uint8_t *port) {
    struct berth_address address = {.family = family,
                                    .port = (uint16_t)proxy_header_number16(port)};
    memcpy(address.bytes, ip, size);
    address_unmap(&address);
    return address;
}

/* RFC 3720, appendix B.4, four bits at a time. */
static uint32_t crc32c_add(uint32_t crc, const uint8_t *bytes, uint32_t size) {
    static const uint32_t of_bits[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    for (uint32_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ of_bits[crc & 15];
        crc = crc >> 4 ^ of_bits[crc & 15];
    }
    return crc;
}

/* Whether the checksum at `at`, which counts as zero in it, is that of the header. */
static bool checksum_matches(const uint8_t *bytes, uint32_t size, uint32_t at) {
    static const uint8_t zero[4];
    uint32_t stated =
        proxy_header_number16(bytes + at) << 16 | proxy_header_number16(bytes + at + 2);
    uint32_t crc = crc32c_add(UINT32_MAX, bytes, at);
    crc = crc32c_add(crc, zero, sizeof(zero));
    crc = crc32c_add(crc, bytes + at + 4, size - at - 4);
    return ~crc == stated;
}

/* What follows the addresses. None of it is needed, but a header whose parts do not fit is
 * malformed. The checksum covers the whole header, so it is computed only once, even if the field
 * is repeated. */
static const char *check_extras(const uint8_t *bytes, uint32_t size, uint32_t at) {
    bool is_checked = false;
    while (at < size) {
        if (size - at < TLV_HEAD_BYTES ||
            proxy_header_number16(bytes + at + 1) > size - at - TLV_HEAD_BYTES) {
            return "a TLV that is longer than the header";
        }
        uint32_t length = proxy_header_number16(bytes + at + 1);
        if (bytes[at] == TLV_CRC32C && is_checked) {
            return "a second checksum";
        }
        if (bytes[at] == TLV_CRC32C &&
            (length != 4 || !checksum_matches(bytes, size, at + TLV_HEAD_BYTES))) {
            return "a checksum that does not match";
        }
        is_checked |= bytes[at] == TLV_CRC32C;
        at += TLV_HEAD_BYTES + length;
    }
    return NULL;
}

static enum proxy_verdict read_proxied(const uint8_t *bytes, struct proxy_header *header) {
    const uint8_t *body = bytes + PREFIX_BYTES;
    uint32_t length = header->size - PREFIX_BYTES;
    uint32_t addresses = 0;
    switch (bytes[13]) {
    case FAMILY_UNSPECIFIED:
    case FAMILY_UDP4: /* valid, but not of a TCP connection: to be taken as unspecified (2.2) */
    case FAMILY_UDP6:
    case FAMILY_UNIX_DATAGRAM:
        return PROXY_HEADER_WHOLE; /* the rest of the header is to be ignored */
    case FAMILY_TCP4:
        addresses = TCP4_BYTES;
        break;
    case FAMILY_TCP6:
        addresses = TCP6_BYTES;
        break;
    case FAMILY_UNIX_STREAM:
        addresses = UNIX_BYTES;
        break;
    default:
        return proxy_header_malformed(header, "an unknown family or transport");
    }
    if (length < addresses) {
        return proxy_header_malformed(header, "fewer bytes than its addresses have");
    }
    if (bytes[13] == FAMILY_TCP4) {
        header->from = binary_address(BERTH_FAMILY_IPV4, body, 4, body + 8);
        header->to = binary_address(BERTH_FAMILY_IPV4, body + 4, 4, body + 10);
    } else if (bytes[13] == FAMILY_TCP6) {
        header->from = binary_address(BERTH_FAMILY_IPV6, body, 16, body + 32);
        header->to = binary_address(BERTH_FAMILY_IPV6, body + 16, 16, body + 34);
    }
    header->names_client = bytes[13] != FAMILY_UNIX_STREAM;
    const char *fault = check_extras(bytes, header->size, PREFIX_BYTES + addresses);
    return fault ? proxy_header_malformed(header, fault) : PROXY_HEADER_WHOLE;
}

static enum proxy_verdict read_binary(const uint8_t *bytes, uint32_t size,
                                      struct proxy_header *header) {
    if (size < PREFIX_BYTES) {
        return PROXY_HEADER_PART;
    }
    if (bytes[12] != COMMAND_LOCAL && bytes[12] != COMMAND_PROXY) {
        return proxy_header_malformed(header, "an unknown version or command");
    }
    header->size = PREFIX_BYTES + proxy_header_number16(bytes + 14);
    if (size < header->size) {
        return PROXY_HEADER_PART;
    }
    /* LOCAL: the connection is the proxy's own, for example a health check; what follows is to be
     * skipped. */
    return bytes[12] == COMMAND_LOCAL ? PROXY_HEADER_WHOLE : read_proxied(bytes, header);
}

/* -- both versions --------------------------------------------------------- */

/* Whether the bytes, as far as they go, are the beginning of `begin`. */
static bool proxy_header_begins(const uint8_t *bytes, uint32_t size, const void *begin,
                                uint32_t begin_size) {
    return memcmp(bytes, begin, size < begin_size ? size : begin_size) == 0;
}

enum proxy_verdict proxy_header_read(const uint8_t *bytes, uint32_t size,
                                     struct proxy_header *header) {
    *header = (struct proxy_header){0};
    if (proxy_header_begins(bytes, size, line_begin, sizeof(line_begin) - 1)) {
        return size < sizeof(line_begin) - 1 ? PROXY_HEADER_PART
                                             : proxy_header_read_line(bytes, size, header);
    }
    if (proxy_header_begins(bytes, size, signature, sizeof(signature))) {
        return size < sizeof(signature) ? PROXY_HEADER_PART : read_binary(bytes, size, header);
    }
    return proxy_header_malformed(header, "other bytes where the header is expected");
}
