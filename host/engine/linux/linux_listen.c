/* linux_listen.c: listening sockets, one an acceptor, that no other process shares. */
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/linux/linux.h"

enum {
    BIND_TRIES = 11,    /* the ring of a killed process holds its ports for some 15 ms */
    BIND_PAUSE_MS = 10, /* between two tries */
    BACKLOG_LEAST = 1024,
};

/* -- addresses ------------------------------------------------------------- */

/* False: the code is in errno. */
static bool local_address(int fd, struct berth_address *local) {
    union system_address address = {0};
    socklen_t size = sizeof(address);
    if (linux_calls.getsockname(fd, &address.any, &size) != 0) {
        return false;
    }
    *local = linux_address(&address);
    return true;
}

struct berth_address linux_local_address(int fd, const struct berth_address *otherwise) {
    struct berth_address address;
    return local_address(fd, &address) ? address : *otherwise;
}

/* -- listeners ------------------------------------------------------------- */

/* The usual reasons, in the words that the engines of all systems use. */
static bool linux_listen_error(struct error *error, int code) {
    switch (code) {
    case EADDRINUSE:
        return error_set(error, "address in use");
    case EACCES:
        return error_set(error, "access denied");
    case EADDRNOTAVAIL:
        return error_set(error, "address not available");
    case EAFNOSUPPORT:
        return error_set(error, "address family not supported");
    default:
        return error_set(error, "%s", linux_reason(code));
    }
}

static bool switch_on(int fd, int level, int name) {
    int one = 1;
    return linux_calls.setsockopt(fd, level, name, &one, sizeof(one)) == 0;
}

static bool set_number(int fd, int level, int name, uint32_t value) {
    int number = value <= INT_MAX ? (int)value : INT_MAX;
    return value == 0 || linux_calls.setsockopt(fd, level, name, &number, sizeof(number)) == 0;
}

bool linux_set_options(int fd, const struct engine_socket_options *options) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    bool alive = options->keepalive_idle_s > 0;
    return (!options->no_delay || switch_on(fd, IPPROTO_TCP, TCP_NODELAY)) &&
           (!alive || (switch_on(fd, SOL_SOCKET, SO_KEEPALIVE) &&
                       set_number(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_idle_s) &&
                       set_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, options->keepalive_interval_s) &&
                       set_number(fd, IPPROTO_TCP, TCP_KEEPCNT, options->keepalive_probes))) &&
           set_number(fd, SOL_SOCKET, SO_RCVBUF, options->receive_bytes) &&
           set_number(fd, SOL_SOCKET, SO_SNDBUF, options->send_bytes) &&
           (!options->reset_on_close ||
            linux_calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
}

static bool set_datagram_options(int fd, bool v6, const struct engine_socket_options *options) {
    if (v6) { /* for IPv4 datagrams to broadcast or groups only this one has a local address */
        switch_on(fd, IPPROTO_IP, IP_PKTINFO);
    }
    return (v6 ? switch_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO)
               : switch_on(fd, IPPROTO_IP, IP_PKTINFO)) &&
           set_number(fd, SOL_SOCKET, SO_RCVBUF, options->receive_bytes) &&
           set_number(fd, SOL_SOCKET, SO_SNDBUF, options->send_bytes);
}

/* A socket that is ready to be bound, or -1. Accepted sockets inherit its options. */
static int linux_listen_open_socket(const struct engine_listen_options *options) {
    bool v6 = options->address.family == BERTH_FAMILY_IPV6;
    int v6_only = options->v6_only;
    int type = options->datagrams ? SOCK_DGRAM : SOCK_STREAM;
    int fd = linux_calls.socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    /* SO_REUSEADDR lets a restarted host bind although connections of the last one are still in
     * TIME_WAIT. On Linux it does not let two sockets listen, but it would let two UDP sockets have
     * the same address, so those do without. */
    bool set = options->datagrams ? set_datagram_options(fd, v6, &options->sockets)
                                  : switch_on(fd, SOL_SOCKET, SO_REUSEADDR) &&
                                        linux_set_options(fd, &options->sockets);
    if (!set || (v6 && linux_calls.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only,
                                              sizeof(v6_only)) != 0)) {
        int code = errno;
        linux_calls.close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static bool bind_with_retries(int fd, const struct berth_address *address) {
    union system_address to;
    socklen_t size = linux_address_to_system(address, &to);
    for (int tries = 1; linux_calls.bind(fd, &to.any, size) != 0; tries++) {
        if (errno != EADDRINUSE || tries == BIND_TRIES) {
            return false;
        }
        struct timespec pause = {.tv_nsec = BIND_PAUSE_MS * 1000000L};
        nanosleep(&pause, NULL);
        errno = EADDRINUSE;
    }
    return true;
}

/* The inherited socket of an earlier process, bound and listening already; -1: there is none. */
static int take_over(struct engine_listener *listener, unsigned index) {
    const struct inherited_sockets *inherited_sockets = listener->inherited_sockets;
    int fd = inherited_sockets
                 ? (int)inherited_sockets->take(inherited_sockets->context, listener->name, index)
                 : -1;
    if (fd >= 0 && listener->count == 0) {
        switch_on(fd, SOL_SOCKET,
                  SO_REUSEPORT); /* the earlier process may have had one acceptor, this one more */
    }
    return fd;
}

static void keep_all(struct engine_listener *listener) {
    for (unsigned i = 0; listener->inherited_sockets && i < listener->count; i++) {
        listener->inherited_sockets->keep(listener->inherited_sockets->context, listener->name, i,
                                          listener->sockets[i]);
        listener->kept = i + 1;
    }
}

/* The first socket is bound without SO_REUSEPORT: it fails when any other process has the port,
 * even another host of the same user that would share it. The other sockets are bound after that,
 * with SO_REUSEPORT on all. */
static bool bind_all(struct engine_listener *listener,
                     const struct engine_listen_options *options) {
    struct berth_address address = options->address;
    for (unsigned i = 0; i < options->acceptors; i++) {
        int fd = take_over(listener, i);
        if (fd >= 0) {
            listener->sockets[listener->count++] = fd;
            if (!local_address(fd, &address)) {
                return false;
            }
            continue;
        }
        fd = linux_listen_open_socket(options);
        if (fd < 0) {
            return false;
        }
        listener->sockets[listener->count++] = fd;
        if (i > 0 && !switch_on(fd, SOL_SOCKET, SO_REUSEPORT)) {
            return false;
        }
        if (!bind_with_retries(fd, &address)) {
            return false;
        }
        if (i == 0) {
            if (!local_address(fd, &address)) { /* with the port that the system chose */
                return false;
            }
            if (options->acceptors > 1 && !switch_on(fd, SOL_SOCKET, SO_REUSEPORT)) {
                return false;
            }
        }
    }
    listener->address = address;
    listener->any_address = address_is_any(&address);
    return true;
}

/* The backlog; by default the system's maximum, but at least BACKLOG_LEAST. The system cuts a
 * larger one to its maximum, which may rise while the host runs. */
static int linux_listen_backlog_of(unsigned wanted) {
    char text[16] = "";
    if (wanted > 0) {
        return (int)wanted;
    }
    FILE *file = fopen("/proc/sys/net/core/somaxconn", "re");
    if (file) {
        if (!fgets(text, sizeof(text), file)) {
            text[0] = '\0';
        }
        fclose(file);
    }
    unsigned long maximum = strtoul(text, NULL, 10);
    maximum = maximum < INT_MAX ? maximum : INT_MAX;
    return maximum > BACKLOG_LEAST ? (int)maximum : BACKLOG_LEAST;
}

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    ASSERT(options->acceptors > 0);
    struct engine_listener *listener =
        alloc_zeroed(sizeof(*listener) + options->acceptors * sizeof(listener->sockets[0]));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->engine = engine;
    listener->backlog = linux_listen_backlog_of(options->backlog);
    listener->v6 = options->address.family == BERTH_FAMILY_IPV6;
    if (options->name && engine->inherited_sockets) {
        listener->inherited_sockets = engine->inherited_sockets;
        snprintf(listener->name, sizeof(listener->name), "%s", options->name);
    }
    if (!bind_all(listener, options)) {
        linux_listen_error(error, errno);
        engine_listener_close(listener);
        return NULL;
    }
    atomic_fetch_add(&engine->descriptors, listener->count);
    listener->is_counted = true;
    keep_all(listener);
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    for (unsigned i = 0; i < listener->count; i++) {
        if (linux_calls.listen(listener->sockets[i], listener->backlog) != 0) {
            return linux_listen_error(error, errno);
        }
    }
    return true;
}

/* Switches off the options that may have been on before and are off now. */
static void switch_off(int fd, const struct engine_socket_options *options) {
    struct linger none = {0};
    int zero = 0;
    if (!options->no_delay) {
        linux_calls.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &zero, sizeof(zero));
    }
    if (options->keepalive_idle_s == 0) {
        linux_calls.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &zero, sizeof(zero));
    }
    if (!options->reset_on_close) {
        linux_calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
    }
}

/* Accepted sockets inherit the options. None can fail that did not when the socket was opened. */
void engine_listener_configure(struct engine_listener *listener,
                               const struct engine_listen_options *options) {
    listener->backlog = linux_listen_backlog_of(options->backlog);
    for (unsigned i = 0; i < listener->count; i++) {
        int fd = listener->sockets[i];
        if (options->datagrams) {
            set_datagram_options(fd, listener->v6, &options->sockets);
            continue;
        }
        switch_off(fd, &options->sockets);
        linux_set_options(fd, &options->sockets);
        linux_calls.listen(fd, listener->backlog); /* called again, it changes the backlog */
    }
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    for (unsigned i = 0; i < listener->count; i++) {
        linux_calls.close(listener->sockets[i]);
        if (i < listener->kept) {
            listener->inherited_sockets->drop(listener->inherited_sockets->context, listener->name,
                                              i);
        }
    }
    if (listener->is_counted) {
        atomic_fetch_sub(&listener->engine->descriptors, listener->count);
    }
    alloc_free(listener);
}
