#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "os/os.h"
#include "os/os_linux_address.h"
#include "os/os_socket.h"

enum { LOCAL_MAX = 256, LOCAL_AGE_MS = 1000 };

/* One for each thread. The system call takes long, and a query may come with every datagram. */
static _Thread_local struct {
    struct berth_address addresses[LOCAL_MAX];
    unsigned count;
    uint64_t asked_ms; /* when the system was asked; 0: never */
} local;

static void local_add(const struct sockaddr *from) {
    struct berth_address *to = &local.addresses[local.count];
    if (!from || local.count == LOCAL_MAX) {
        return;
    }
    *to = linux_address((const union system_address *)from);
    local.count += to->family == BERTH_FAMILY_IPV4 || to->family == BERTH_FAMILY_IPV6;
}

static void local_ask(uint64_t now_ms) {
    struct ifaddrs *interfaces;
    if (local.asked_ms != 0 && now_ms - local.asked_ms < LOCAL_AGE_MS) {
        return;
    }
    local.asked_ms = now_ms;
    if (getifaddrs(&interfaces) != 0) {
        return; /* the addresses known so far stay */
    }
    local.count = 0;
    for (const struct ifaddrs *one = interfaces; one; one = one->ifa_next) {
        local_add(one->ifa_addr);
    }
    freeifaddrs(interfaces);
}

bool os_address_is_local(const struct berth_address *address) {
    local_ask(os_now_ms());
    for (unsigned i = 0; i < local.count; i++) {
        if (local.addresses[i].family == address->family &&
            memcmp(local.addresses[i].bytes, address->bytes, sizeof(address->bytes)) == 0) {
            return true;
        }
    }
    return false;
}

bool os_sockets_start(struct error *error) {
    (void)error;
    return true;
}

static bool linux_socket_fail(int handle, const char *what, struct error *error) {
    error_set(error, "%s: %s", what, strerror(errno));
    if (handle >= 0) {
        close(handle);
    }
    return false;
}

bool os_socket_listen(struct os_socket *listener, const struct berth_address *address,
                      struct berth_address *actual, struct error *error) {
    union system_address name;
    const int on = 1;
    socklen_t size = linux_address_to_system(address, &name);
    int handle = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (handle < 0) {
        return linux_socket_fail(handle, "socket", error);
    }
    setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(handle, &name.any, size) != 0 || listen(handle, 8) != 0 ||
        getsockname(handle, &name.any, &size) != 0) {
        return linux_socket_fail(handle, "listen", error);
    }
    *actual = linux_address(&name);
    listener->handle = handle;
    return true;
}

int os_socket_accept(const struct os_socket *listener, int timeout_ms, struct os_socket *client) {
    struct pollfd one = {.fd = (int)listener->handle, .events = POLLIN};
    int ready = poll(&one, 1, timeout_ms);
    if (ready <= 0) {
        return ready == 0 || errno == EINTR ? 0 : -1;
    }
    client->handle = accept4((int)listener->handle, NULL, NULL, SOCK_CLOEXEC);
    return client->handle >= 0 ? 1 : -1;
}

bool os_socket_connect(struct os_socket *socket_, const struct berth_address *address,
                       struct error *error) {
    union system_address name;
    socklen_t size = linux_address_to_system(address, &name);
    int handle = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (handle < 0 || connect(handle, &name.any, size) != 0) {
        return linux_socket_fail(handle, "connect", error);
    }
    socket_->handle = handle;
    return true;
}

int64_t os_socket_receive(const struct os_socket *socket, void *bytes, size_t size) {
    ssize_t got = 0;
    do {
        got = recv((int)socket->handle, bytes, size, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

bool os_socket_send_all(const struct os_socket *socket, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send((int)socket->handle, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR) {
            return false;
        }
        at += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
    }
    return true;
}

void os_socket_finish(const struct os_socket *socket) {
    shutdown((int)socket->handle, SHUT_WR);
}

void os_socket_shutdown(const struct os_socket *socket) {
    shutdown((int)socket->handle, SHUT_RDWR);
}

void os_socket_close(struct os_socket *socket, bool reset) {
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (reset) {
        setsockopt((int)socket->handle, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    close((int)socket->handle);
    socket->handle = -1;
}
