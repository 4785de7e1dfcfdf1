/* os_socket.h: the machine's own addresses; and plain blocking sockets, for tools. The sockets of
 * the host are the engine's. os_linux_socket.c and os_windows_socket.c implement every function
 * here. */
#ifndef BERTH_HOST_OS_OS_SOCKET_H
#define BERTH_HOST_OS_OS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/address.h"

struct error;

/* Whether the address, with any port, is one of this machine. The answer may be a second old. [any]
 * */
bool os_address_is_local(const struct berth_address *address);

struct os_socket {
    intptr_t handle;
};

/* Once, before all other functions. */
bool os_sockets_start(struct error *error);

/* Listens for TCP; *actual is the bound address, with the assigned port if the port was 0. */
bool os_socket_listen(struct os_socket *listener, const struct berth_address *address,
                      struct berth_address *actual, struct error *error);

/* 1: a client; 0: none within the time-out; -1: it failed. */
int os_socket_accept(const struct os_socket *listener, int timeout_ms, struct os_socket *client);

bool os_socket_connect(struct os_socket *socket, const struct berth_address *address,
                       struct error *error);

/* The number of bytes; 0: the peer has sent a FIN; -1: the connection was reset. */
int64_t os_socket_receive(const struct os_socket *socket, void *bytes, size_t size);
bool os_socket_send_all(const struct os_socket *socket, const void *bytes, size_t size);
void os_socket_finish(const struct os_socket *socket);   /* a FIN; receiving goes on */
void os_socket_shutdown(const struct os_socket *socket); /* both ways; calls in it return */
void os_socket_close(struct os_socket *socket, bool reset);

#endif
