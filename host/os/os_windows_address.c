#include "os/os_windows_address.h"

#include <string.h>

#include "base/address.h"

struct berth_address windows_address(const struct sockaddr *from) {
    struct berth_address address = {0};
    if (from && from->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof(v4));
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(v4.sin_port);
        memcpy(address.bytes, &v4.sin_addr, 4);
    } else if (from && from->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof(v6));
        address.family = BERTH_FAMILY_IPV6;
        address.port = ntohs(v6.sin6_port);
        address.scope_id = v6.sin6_scope_id;
        memcpy(address.bytes, &v6.sin6_addr, 16);
        address_unmap(&address);
    }
    return address;
}

int windows_address_to_system(const struct berth_address *from, SOCKADDR_STORAGE *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(from->port)};
        v6.sin6_scope_id = from->scope_id;
        memcpy(&v6.sin6_addr, from->bytes, 16);
        memcpy(to, &v6, sizeof(v6));
        return sizeof(v6);
    }
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(from->port)};
    memcpy(&v4.sin_addr, from->bytes, 4);
    memcpy(to, &v4, sizeof(v4));
    return sizeof(v4);
}

int windows_address_to_system6(const struct berth_address *from, SOCKADDR_STORAGE *to) {
    struct berth_address mapped = *from;
    address_map(&mapped);
    return windows_address_to_system(&mapped, to);
}
