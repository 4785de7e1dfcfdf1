#include "http/authority.h"

#include <string.h>

static bool is_alphanumeric(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* unreserved and sub-delims; but not the comma, with which a recipient joins two fields into one */
static bool is_name_char(uint8_t c) {
    return is_alphanumeric(c) || (c != '\0' && strchr("-._~!$&'()*+;=", c));
}

static bool authority_is_name(struct text text) {
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i];
        if (c == '%') {
            if (text.size - i < 3 || char_to_digit((uint8_t)text.bytes[i + 1]) < 0 ||
                char_to_digit((uint8_t)text.bytes[i + 2]) < 0) {
                return false;
            }
            i += 2;
        } else if (!is_name_char(c)) {
            return false;
        }
    }
    return text.size > 0;
}

/* "192.0.2.1", as it may end an IPv6 address: no leading zeros, no number above 255. */
static bool is_ipv4(struct text text) {
    uint32_t at = 0;
    for (uint32_t part = 0; part < 4; part++) {
        uint32_t begin = at;
        uint32_t number = 0;
        while (at < text.size && at - begin < 3 && text.bytes[at] >= '0' && text.bytes[at] <= '9') {
            number = number * 10 + (uint32_t)(text.bytes[at++] - '0');
        }
        if (at == begin || number > 255 || (at - begin > 1 && text.bytes[begin] == '0')) {
            return false;
        }
        if (part < 3 && (at == text.size || text.bytes[at++] != '.')) {
            return false;
        }
    }
    return at == text.size;
}

/* Eight groups of up to four digits, the last two perhaps as an IPv4 address; "::" replaces one or
 * more of them, once. */
static bool is_ipv6(struct text text) {
    uint32_t at = 0;
    uint32_t groups = 0;
    bool shortened = false;
    if (text.size >= 2 && memcmp(text.bytes, "::", 2) == 0) {
        shortened = true;
        at = 2;
    }
    while (at < text.size) {
        uint32_t begin = at;
        while (at < text.size && at - begin < 4 && char_to_digit((uint8_t)text.bytes[at]) >= 0) {
            at++;
        }
        if (at < text.size && text.bytes[at] == '.') {
            groups += 2;
            return is_ipv4((struct text){text.bytes + begin, text.size - begin}) &&
                   (shortened ? groups < 8 : groups == 8);
        }
        groups++;
        if (at == begin || groups > 8) {
            return false;
        }
        if (at == text.size) {
            break;
        }
        if (text.bytes[at++] != ':' || at == text.size) {
            return false;
        }
        if (text.bytes[at] == ':') {
            if (shortened) {
                return false;
            }
            shortened = true;
            at++;
        }
    }
    return shortened ? groups < 8 : groups == 8;
}

/* "v1.what:ever": IPvFuture */
static bool is_later_address(struct text text) {
    uint32_t dot = 1;
    if (text.size == 0 || (text.bytes[0] | 0x20) != 'v') {
        return false;
    }
    while (dot < text.size && char_to_digit((uint8_t)text.bytes[dot]) >= 0) {
        dot++;
    }
    if (dot == 1 || text.size - dot < 2 || text.bytes[dot] != '.') {
        return false;
    }
    for (uint32_t i = dot + 1; i < text.size; i++) {
        if (text.bytes[i] != ':' && !is_name_char((uint8_t)text.bytes[i])) {
            return false;
        }
    }
    return true;
}

/* The part after the colon; may be empty. */
static bool is_port(struct text text) {
    uint32_t port = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.bytes[i] - '0');
        if (port > 65535) {
            return false;
        }
    }
    return true;
}

bool is_authority(struct text text) {
    struct text host;
    if (text.size > 0 && text.bytes[0] == '[') {
        text.bytes++;
        text.size--;
        return text_until(&text, ']', &host) && (is_ipv6(host) || is_later_address(host)) &&
               (text.size == 0 ||
                (text.bytes[0] == ':' && is_port((struct text){text.bytes + 1, text.size - 1})));
    }
    if (!text_until(&text, ':', &host)) {
        host = text;
        text.size = 0;
    }
    return authority_is_name(host) && is_port(text);
}
