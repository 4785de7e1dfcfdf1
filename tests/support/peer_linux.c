#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t to_system(const struct berth_address *from, union system_address *to) {
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
    socklen_t size = sizeof(system);
    getsockname((int)peer.handle, &system.any, &size);
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

static int open_socket(const struct berth_address *address) {
    int family = address->family == BERTH_FAMILY_IPV6 ? AF_INET6 : AF_INET;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = PEER_PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

/* An interrupted connect() goes on without its caller. */
static bool connect_whole(int fd, const struct sockaddr *address, socklen_t size) {
    if (connect(fd, address, size) == 0) {
        return true;
    }
    struct pollfd connecting = {.fd = fd, .events = POLLOUT};
    int code = errno;
    socklen_t code_size = sizeof(code);
    return code == EINTR && TEMP_FAILURE_RETRY(poll(&connecting, 1, PEER_PATIENCE_MS)) == 1 &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &code_size) == 0 && code == 0;
}

static bool connect_with(struct peer *peer, const struct berth_address *to, int receive_buffer) {
    union system_address address;
    socklen_t size = to_system(to, &address);
    int fd = open_socket(to);
    if (receive_buffer > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    if (!connect_whole(fd, &address.any, size)) {
        close(fd);
        *peer = NO_PEER;
        return false;
    }
    peer->handle = fd;
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
    socklen_t size = to_system(at, &address);
    int one = 1;
    int fd = open_socket(at);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (bind(fd, &address.any, size) != 0 || listen(fd, 8) != 0) {
        close(fd);
        *peer = NO_PEER;
        return false;
    }
    peer->handle = fd;
    at->port = peer_address(*peer).port;
    return true;
}

bool peer_send(struct peer peer, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = TEMP_FAILURE_RETRY(send((int)peer.handle, at, size, MSG_NOSIGNAL));
        if (sent <= 0) {
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

ptrdiff_t peer_receive(struct peer peer, void *bytes, size_t size) {
    ssize_t received = TEMP_FAILURE_RETRY(recv((int)peer.handle, bytes, size, 0));
    if (received >= 0) {
        return received;
    }
    return errno == EAGAIN ? PEER_NOTHING : PEER_RESET;
}

void peer_shutdown_send(struct peer peer) {
    shutdown((int)peer.handle, SHUT_WR);
}

void peer_close(struct peer peer) {
    close((int)peer.handle);
}

void peer_reset(struct peer peer) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt((int)peer.handle, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close((int)peer.handle);
}

void peer_pause(unsigned ms) {
    poll(NULL, 0, (int)ms);
}

bool peer_resets_look_like_fins(void) {
    return false;
}

bool peer_sockets_allow(unsigned count) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < count + 64) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur >= count + 64;
}

static rlim_t allowed;

bool peer_sockets_forbid(void) {
    struct rlimit limit;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the lowest that is free */
    getrlimit(RLIMIT_NOFILE, &limit);
    close(next);
    allowed = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)next;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

void peer_sockets_forbid_end(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = allowed;
    setrlimit(RLIMIT_NOFILE, &limit);
}
