#include <winsock2.h>

#include <ws2tcpip.h>

#include <string.h>

#include "base/error.h"
#include "os/os_socket.h"
#include "os/os_windows.h"
#include "os/os_windows_address.h"

enum { CHUNK_MAX = 1024 * 1024 };

bool os_sockets_start(struct error *error) {
    WSADATA data;
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    return code == 0 || windows_error_set(error, (unsigned long)code);
}

/* Not inherited: with a copy of it in a child, the peer would get no FIN while the child lives. */
static SOCKET windows_socket_open_socket(int family, int type) {
    return WSASocketW(family, type, 0, NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

/* Only an address of this machine can be bound to. */
bool os_address_is_local(const struct berth_address *address) {
    struct berth_address any_port = *address;
    struct sockaddr_storage name;
    any_port.port = 0;
    int size = windows_address_to_system(&any_port, &name);
    SOCKET handle = windows_socket_open_socket(name.ss_family, SOCK_DGRAM);
    if (handle == INVALID_SOCKET) {
        return false;
    }
    bool bound = bind(handle, (struct sockaddr *)&name, size) == 0;
    closesocket(handle);
    return bound;
}

static bool windows_socket_fail(SOCKET handle, const char *what, struct error *error) {
    windows_error_set(error, (unsigned long)WSAGetLastError());
    error_prefix(error, "%s: ", what);
    if (handle != INVALID_SOCKET) {
        closesocket(handle);
    }
    return false;
}

/* Exclusive use is refused while connections of an earlier process are still closing, for minutes:
 * then the socket is bound without it, which still refuses a second listener. */
static bool bind_listener(SOCKET handle, const struct sockaddr_storage *name, int size) {
    const BOOL on = TRUE;
    const BOOL off = FALSE;
    setsockopt(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&on, sizeof(on));
    if (bind(handle, (const struct sockaddr *)name, size) == 0) {
        return true;
    }
    return WSAGetLastError() == WSAEADDRINUSE &&
           setsockopt(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (const char *)&off, sizeof(off)) ==
               0 &&
           bind(handle, (const struct sockaddr *)name, size) == 0;
}

bool os_socket_listen(struct os_socket *listener, const struct berth_address *address,
                      struct berth_address *actual, struct error *error) {
    struct sockaddr_storage name;
    int size = windows_address_to_system(address, &name);
    SOCKET handle = windows_socket_open_socket(name.ss_family, SOCK_STREAM);
    if (handle == INVALID_SOCKET) {
        return windows_socket_fail(handle, "socket", error);
    }
    if (!bind_listener(handle, &name, size) || listen(handle, 8) != 0 ||
        getsockname(handle, (struct sockaddr *)&name, &size) != 0) {
        return windows_socket_fail(handle, "listen", error);
    }
    *actual = windows_address((struct sockaddr *)&name);
    listener->handle = (intptr_t)handle;
    return true;
}

int os_socket_accept(const struct os_socket *listener, int timeout_ms, struct os_socket *client) {
    fd_set one;
    struct timeval wait = {timeout_ms / 1000, (timeout_ms % 1000) * 1000};
    FD_ZERO(&one);
    FD_SET((SOCKET)listener->handle, &one);
    int ready = select(0, &one, NULL, NULL, &wait);
    if (ready <= 0) {
        return ready;
    }
    SOCKET handle = accept((SOCKET)listener->handle, NULL, NULL);
    if (handle != INVALID_SOCKET) {
        SetHandleInformation((HANDLE)handle, HANDLE_FLAG_INHERIT, 0);
    }
    client->handle = (intptr_t)handle;
    return handle != INVALID_SOCKET ? 1 : -1;
}

bool os_socket_connect(struct os_socket *socket_, const struct berth_address *address,
                       struct error *error) {
    struct sockaddr_storage name;
    int size = windows_address_to_system(address, &name);
    SOCKET handle = windows_socket_open_socket(name.ss_family, SOCK_STREAM);
    if (handle == INVALID_SOCKET || connect(handle, (struct sockaddr *)&name, size) != 0) {
        return windows_socket_fail(handle, "connect", error);
    }
    socket_->handle = (intptr_t)handle;
    return true;
}

int64_t os_socket_receive(const struct os_socket *socket, void *bytes, size_t size) {
    return recv((SOCKET)socket->handle, bytes, size < CHUNK_MAX ? (int)size : CHUNK_MAX, 0);
}

bool os_socket_send_all(const struct os_socket *socket, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        int sent = send((SOCKET)socket->handle, at, size < CHUNK_MAX ? (int)size : CHUNK_MAX, 0);
        if (sent < 0) {
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

void os_socket_finish(const struct os_socket *socket) {
    shutdown((SOCKET)socket->handle, SD_SEND);
}

void os_socket_shutdown(const struct os_socket *socket) {
    shutdown((SOCKET)socket->handle, SD_BOTH);
}

void os_socket_close(struct os_socket *socket, bool reset) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (reset) {
        setsockopt((SOCKET)socket->handle, SOL_SOCKET, SO_LINGER, (const char *)&at_once,
                   sizeof(at_once));
    }
    closesocket((SOCKET)socket->handle);
    socket->handle = (intptr_t)INVALID_SOCKET;
}
