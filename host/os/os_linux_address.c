#include "os/os_linux_address.h"

#include <string.h>

#include "base/address.h"

struct berth_address linux_address(const union system_address *from) {
    struct berth_address address = {0};
    if (from->any.sa_family == AF_INET) {
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(from->v4.sin_port);
        memcpy(address.bytes, &from->v4.sin_addr, 4);
    } else if (from->any.sa_family == AF_INET6) {
        address.family = BERTH_FAMILY_IPV6;
        address.port = ntohs(from->v6.sin6_port);
        address.scope_id = from->v6.sin6_scope_id;
        memcpy(address.bytes, &from->v6.sin6_addr, 16);
        address_unmap(&address);
    }
    return address;
}

socklen_t linux_address_to_system(const struct berth_address *from, union system_address *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->port);
        to->v6.sin6_scope_id = from->scope_id;
        memcpy(&to->v6.sin6_addr, from->bytes, 16);
        return sizeof(to->v6);
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->bytes, 4);
    return sizeof(to->v4);
}

socklen_t linux_address_to_system6(const struct berth_address *from, union system_address *to) {
    struct berth_address mapped = *from;
    address_map(&mapped);
    return linux_address_to_system(&mapped, to);
}
