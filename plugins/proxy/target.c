#include "proxy/target.h"

#include <string.h>

/* 1 to 65535, in digits and nothing else. */
static bool read_port(const char *digits, uint16_t *port) {
    uint32_t found = 0;
    const char *at = digits;
    for (; *at >= '0' && *at <= '9' && found <= UINT16_MAX; at++) {
        found = found * 10 + (uint32_t)(*at - '0');
    }
    *port = (uint16_t)found;
    return *at == '\0' && found > 0 && found <= UINT16_MAX;
}

/* Of an IPv6 address in brackets, and of all else: no other address or name has a colon. The
 * resolver checks the rest later. */
static bool is_host(const char *host, size_t length, bool in_brackets) {
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)host[i] <= ' ' || host[i] == 0x7f || host[i] == '[' || host[i] == ']') {
            return false;
        }
    }
    return length > 0 && length <= HOST_BYTES_MAX &&
           (memchr(host, ':', length) != NULL) == in_brackets;
}

bool target_read(struct target *target, const char *text) {
    const char *colon = strrchr(text, ':');
    const char *begin = text;
    const char *end = colon;
    bool in_brackets = text[0] == '[';
    if (!colon) {
        return false;
    }
    if (in_brackets) {
        begin++;
        end--;
        if (end < begin || *end != ']') {
            return false;
        }
    }
    size_t length = (size_t)(end - begin);
    if (!is_host(begin, length, in_brackets) || !read_port(colon + 1, &target->port)) {
        return false;
    }
    memcpy(target->host, begin, length);
    target->host[length] = '\0';
    return true;
}
