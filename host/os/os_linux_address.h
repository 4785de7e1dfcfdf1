/* os_linux_address.h: addresses as Linux has them. The only place that converts them. Threads: any.
 */
#ifndef BERTH_HOST_OS_OS_LINUX_ADDRESS_H
#define BERTH_HOST_OS_OS_LINUX_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "berth/address.h"

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* An IPv4-mapped IPv6 address becomes IPv4; another family becomes no address. */
struct berth_address linux_address(const union system_address *from);
/* Returns the size. */
socklen_t linux_address_to_system(const struct berth_address *from, union system_address *to);
/* In the form for an IPv6 socket: IPv4 is mapped. */
socklen_t linux_address_to_system6(const struct berth_address *from, union system_address *to);

#endif
