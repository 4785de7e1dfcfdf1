/* os_windows_address.h: addresses as Winsock has them. The only place that converts them. Threads:
 * any. */
#ifndef BERTH_HOST_OS_OS_WINDOWS_ADDRESS_H
#define BERTH_HOST_OS_OS_WINDOWS_ADDRESS_H

#include <winsock2.h>

#include <ws2tcpip.h>

#include "berth/address.h"

/* NULL, and another family, become no address; an IPv4-mapped IPv6 address becomes IPv4. */
struct berth_address windows_address(const struct sockaddr *from);
/* Returns the size. */
int windows_address_to_system(const struct berth_address *from, SOCKADDR_STORAGE *to);
/* In the form for an IPv6 socket: IPv4 is mapped. */
int windows_address_to_system6(const struct berth_address *from, SOCKADDR_STORAGE *to);

#endif
