#include "peer.h"

#include <string.h>

#include <winsock2.h>
#include <ws2tcpip.h>

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int to_system(const struct berth_address *from, union system_address *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->port);
        memcpy(&to->v6.sin6_addr, from->bytes, 16);
        return sizeof(to->v6);
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->bytes, 4);
    return sizeof(to->v4);
}

struct berth_address peer_address(struct peer peer) {
    struct berth_address address = {0};
    union system_address system = {0};
    int size = sizeof(system);
    getsockname((SOCKET)peer.handle, &system.any, &size);
    if (system.any.sa_family == AF_INET6) {
        address.family = BERTH_FAMILY_IPV6;
        address.port = ntohs(system.v6.sin6_port);
        memcpy(address.bytes, &system.v6.sin6_addr, 16);
    } else {
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(system.v4.sin_port);
        memcpy(address.bytes, &system.v4.sin_addr, 4);
    }
    return address;
}

static void set_option(SOCKET socket, int name, DWORD value) {
    setsockopt(socket, SOL_SOCKET, name, (const char *)&value, sizeof(value));
}

/* The engine under test has started Winsock. */
static SOCKET open_socket(const struct berth_address *address) {
    int family = address->family == BERTH_FAMILY_IPV6 ? AF_INET6 : AF_INET;
    SOCKET opened = socket(family, SOCK_STREAM, IPPROTO_TCP);
    set_option(opened, SO_RCVTIMEO, PEER_PATIENCE_MS);
    set_option(opened, SO_SNDTIMEO, PEER_PATIENCE_MS);
    return opened;
}

static bool connect_with(struct peer *peer, const struct berth_address *to, DWORD receive_buffer) {
    union system_address address;
    int size = to_system(to, &address);
    SOCKET opened = open_socket(to);
    if (receive_buffer > 0) {
        set_option(opened, SO_RCVBUF, receive_buffer);
    }
    if (connect(opened, &address.any, size) != 0) {
        closesocket(opened);
        *peer = NO_PEER;
        return false;
    }
    peer->handle = (intptr_t)opened;
    return true;
}

bool peer_connect(struct peer *peer, const struct berth_address *to) {
    return connect_with(peer, to, 0);
}

bool peer_connect_small(struct peer *peer, const struct berth_address *to) {
    return connect_with(peer, to, 4096);
}

bool peer_listen(struct peer *peer, struct berth_address *at) {
    union system_address address;
    int size = to_system(at, &address);
    SOCKET opened = open_socket(at);
    set_option(opened, SO_REUSEADDR, 1);
    if (bind(opened, &address.any, size) != 0 || listen(opened, 8) != 0) {
        closesocket(opened);
        *peer = NO_PEER;
        return false;
    }
    peer->handle = (intptr_t)opened;
    at->port = peer_address(*peer).port;
    return true;
}

bool peer_send(struct peer peer, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        int part = size < 65536 ? (int)size : 65536;
        int sent = send((SOCKET)peer.handle, at, part, 0);
        if (sent <= 0) {
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

ptrdiff_t peer_receive(struct peer peer, void *bytes, size_t size) {
    int received = recv((SOCKET)peer.handle, bytes, (int)size, 0);
    if (received >= 0) {
        return received;
    }
    return WSAGetLastError() == WSAETIMEDOUT ? PEER_NOTHING : PEER_RESET;
}

void peer_shutdown_send(struct peer peer) {
    shutdown((SOCKET)peer.handle, SD_SEND);
}

void peer_close(struct peer peer) {
    closesocket((SOCKET)peer.handle);
}

void peer_reset(struct peer peer) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt((SOCKET)peer.handle, SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof(linger));
    closesocket((SOCKET)peer.handle);
}

void peer_pause(unsigned ms) {
    Sleep(ms);
}

bool peer_resets_look_like_fins(void) {
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;
}

bool peer_sockets_allow(unsigned count) {
    (void)count;
    return true;
}

bool peer_sockets_forbid(void) {
    return false;
}

void peer_sockets_forbid_end(void) {}
