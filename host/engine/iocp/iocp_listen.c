/* iocp_listen.c: listening sockets. */
#include "engine/iocp/iocp.h"

#include <mstcpip.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "os/os_windows.h"

/* TCP_KEEPCNT, which mingw-w64 10 lacks. */
enum { KEEPALIVE_COUNT = 16 };

/* -- listeners ------------------------------------------------------------- */

bool iocp_socket_option(const struct winsock_table *winsock, SOCKET socket, int level, int name,
                        DWORD value) {
    return winsock->setsockopt(socket, level, name, (const char *)&value, sizeof(value)) == 0;
}

static bool set_keepalive(const struct winsock_table *winsock, SOCKET socket,
                          const struct engine_socket_options *options) {
    /* All Windows versions accept these by SIO_KEEPALIVE_VALS, with a fixed number of 10 probes.
     * TCP_KEEPCNT, which sets that number, exists since Windows 10 1703: an error is ignored. */
    struct tcp_keepalive values = {1, options->keepalive_idle_s * 1000,
                                   options->keepalive_interval_s * 1000};
    DWORD returned = 0;
    if (winsock->ioctl(socket, SIO_KEEPALIVE_VALS, &values, sizeof(values), NULL, 0, &returned,
                       NULL, NULL) != 0) {
        return false;
    }
    if (options->keepalive_probes > 0) {
        iocp_socket_option(winsock, socket, IPPROTO_TCP, KEEPALIVE_COUNT,
                           options->keepalive_probes);
    }
    return true;
}

bool iocp_set_options(const struct winsock_table *winsock, SOCKET socket,
                      const struct engine_socket_options *options) {
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    return (!options->no_delay ||
            iocp_socket_option(winsock, socket, IPPROTO_TCP, TCP_NODELAY, 1)) &&
           (options->keepalive_idle_s == 0 || set_keepalive(winsock, socket, options)) &&
           (options->receive_bytes == 0 ||
            iocp_socket_option(winsock, socket, SOL_SOCKET, SO_RCVBUF, options->receive_bytes)) &&
           (options->send_bytes == 0 ||
            iocp_socket_option(winsock, socket, SOL_SOCKET, SO_SNDBUF, options->send_bytes)) &&
           (!options->reset_on_close ||
            winsock->setsockopt(socket, SOL_SOCKET, SO_LINGER, (const char *)&reset,
                                sizeof(reset)) == 0);
}

bool iocp_clear_options(const struct engine *engine, SOCKET socket) {
    const struct winsock_table *winsock = engine->winsock;
    struct linger off = {0};
    return iocp_socket_option(winsock, socket, IPPROTO_TCP, TCP_NODELAY, 0) &&
           iocp_socket_option(winsock, socket, SOL_SOCKET, SO_KEEPALIVE, 0) &&
           winsock->setsockopt(socket, SOL_SOCKET, SO_LINGER, (const char *)&off, sizeof(off)) ==
               0 &&
           (engine->receive_bytes == 0 ||
            iocp_socket_option(winsock, socket, SOL_SOCKET, SO_RCVBUF, engine->receive_bytes)) &&
           (engine->send_bytes == 0 ||
            iocp_socket_option(winsock, socket, SOL_SOCKET, SO_SNDBUF, engine->send_bytes));
}

SOCKET iocp_socket_open(const struct winsock_table *winsock, int family) {
    return winsock->socket(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                           WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

/* The common reasons, in the words that the engines of all systems use. */
static bool iocp_listen_error(struct error *error, int code, bool datagrams) {
    switch (code) {
    case WSAEADDRINUSE:
        return error_set(error, "address in use");
    case WSAEACCES:
        return error_set(error,
                         "access denied: another program has the port for itself, or it is "
                         "in an excluded range (netsh interface ipv4 show "
                         "excludedportrange protocol=%s)",
                         datagrams ? "udp" : "tcp");
    case WSAEADDRNOTAVAIL:
        return error_set(error, "address not available");
    case WSAEAFNOSUPPORT:
        return error_set(error, "address family not supported");
    default:
        return windows_error_set(error, (unsigned long)code);
    }
}

/* Binds exclusively, so that no other program can bind the same port with SO_REUSEADDR. Windows
 * refuses an exclusive bind (10048) while connections of an earlier process are still closing, for
 * minutes. Without an option Windows (since Server 2003) refuses a second listener as well, but
 * closing connections do not matter: so that is the second try, for TCP. Only a test on a real
 * Windows shows what a program with SO_REUSEADDR can do to such a socket: a program of the same
 * user may be able to bind the same port. */
static bool iocp_listen_bind_socket(struct engine_listener *listener,
                                    const SOCKADDR_STORAGE *storage, int size) {
    const struct winsock_table *winsock = listener->engine->winsock;
    const struct sockaddr *name = (const struct sockaddr *)storage;
    char text[BERTH_ADDRESS_TEXT_MAX];
    if (!iocp_socket_option(winsock, listener->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)) {
        return false;
    }
    if (winsock->bind(listener->socket, name, size) == 0) {
        return true;
    }
    if (winsock->last_error() != WSAEADDRINUSE || listener->datagrams ||
        !iocp_socket_option(winsock, listener->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 0) ||
        winsock->bind(listener->socket, name, size) != 0) {
        return false;
    }
    struct berth_address address = windows_address(name);
    address_format(&address, text, sizeof(text));
    log_warn(NULL,
             "network: %s is bound without exclusive use: connections of an earlier process are "
             "still ending there",
             text);
    return true;
}

static bool listener_bind(struct engine_listener *listener, const struct berth_address *address) {
    const struct winsock_table *winsock = listener->engine->winsock;
    SOCKADDR_STORAGE storage;
    int size = windows_address_to_system(address, &storage);
    if (listener->family == AF_INET6 && !iocp_socket_option(winsock, listener->socket, IPPROTO_IPV6,
                                                            IPV6_V6ONLY, !listener->dual_stack)) {
        return false;
    }
    /* Other sockets of this process will be bound to single addresses of the same port: see
     * bind_beside() of iocp_datagram.c. */
    bool shares =
        listener->datagrams && iocp_datagrams_need_sockets(listener, address_is_any(address));
    return shares ? winsock->bind(listener->socket, (struct sockaddr *)&storage, size) == 0
                  : iocp_listen_bind_socket(listener, &storage, size);
}

/* Reads its address and the extension functions of its provider. */
static bool listener_look(struct engine_listener *listener) {
    const struct winsock_table *winsock = listener->engine->winsock;
    SOCKADDR_STORAGE storage;
    int size = sizeof(storage);
    if (winsock->getsockname(listener->socket, (struct sockaddr *)&storage, &size) != 0) {
        return false;
    }
    listener->address = windows_address((struct sockaddr *)&storage);
    return listener->datagrams ||
           winsock_extensions_load(winsock, listener->socket, &listener->extensions);
}

static bool datagram_options_set(const struct engine_listener *listener) {
    const struct winsock_table *winsock = listener->engine->winsock;
    const struct engine_socket_options *options = &listener->options;
    return (options->receive_bytes == 0 || iocp_socket_option(winsock, listener->socket, SOL_SOCKET,
                                                              SO_RCVBUF, options->receive_bytes)) &&
           (options->send_bytes == 0 || iocp_socket_option(winsock, listener->socket, SOL_SOCKET,
                                                           SO_SNDBUF, options->send_bytes));
}

/* The socket that an earlier process has left, or a new one. */
static bool get_socket(struct engine_listener *listener,
                       const struct engine_listen_options *options) {
    const struct winsock_table *winsock = listener->engine->winsock;
    if (options->datagrams) {
        listener->socket = iocp_datagram_open(winsock, listener->family);
        return listener->socket != INVALID_SOCKET && iocp_datagrams_init(listener) &&
               datagram_options_set(listener);
    }
    intptr_t left = listener->inherited_sockets
                        ? listener->inherited_sockets->take(listener->inherited_sockets->context,
                                                            listener->name, 0)
                        : -1;
    listener->inherited = left != -1;
    listener->socket =
        listener->inherited ? (SOCKET)left : iocp_socket_open(winsock, listener->family);
    return listener->socket != INVALID_SOCKET;
}

/* Only TCP sockets are kept: datagrams that come while no process runs may be lost. */
static bool iocp_listen_keep_socket(struct engine_listener *listener,
                                    const struct engine_listen_options *options) {
    if (options->name && listener->engine->inherited_sockets && !options->datagrams) {
        listener->inherited_sockets = listener->engine->inherited_sockets;
        listener->name = alloc_string(options->name);
    }
    return !listener->inherited_sockets || listener->name;
}

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    ASSERT(options->acceptors == 1);
    struct engine_listener *listener = alloc_zeroed(sizeof(*listener));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->engine = engine;
    listener->socket = INVALID_SOCKET;
    listener->family = options->address.family == BERTH_FAMILY_IPV6 ? AF_INET6 : AF_INET;
    listener->dual_stack = listener->family == AF_INET6 && !options->v6_only;
    listener->options = options->sockets;
    listener->backlog = (int)options->backlog;
    listener->reuse_sockets = options->reuse_sockets;
    if (!iocp_listen_keep_socket(listener, options)) {
        error_set(error, "out of memory");
        engine_listener_close(listener);
        return NULL;
    }
    if (!get_socket(listener, options) ||
        !(listener->inherited || listener_bind(listener, &options->address)) ||
        !listener_look(listener)) {
        iocp_listen_error(error, engine->winsock->last_error(), options->datagrams);
        engine_listener_close(listener);
        return NULL;
    }
    if (!options->datagrams) {
        iocp_reuse_listener_add(listener);
    }
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

static bool start_listening(const struct engine_listener *listener) {
    /* A plain number is cut to 200. A negative one, SOMAXCONN_HINT in Microsoft's headers, is used
     * as it is from 200 to 65535. */
    int backlog = listener->backlog > 200 ? -listener->backlog : listener->backlog;
    if (backlog == 0) {
        backlog = SOMAXCONN; /* the maximum of the system */
    }
    return listener->engine->winsock->listen(listener->socket, backlog) == 0;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    if (!start_listening(listener)) {
        return iocp_listen_error(error, listener->engine->winsock->last_error(), false);
    }
    if (listener->inherited_sockets) {
        listener->inherited_sockets->keep(listener->inherited_sockets->context, listener->name, 0,
                                          (intptr_t)listener->socket);
    }
    return true;
}

static bool same_options(const struct engine_socket_options *one,
                         const struct engine_socket_options *other) {
    return one->no_delay == other->no_delay && one->reset_on_close == other->reset_on_close &&
           one->keepalive_idle_s == other->keepalive_idle_s &&
           one->keepalive_interval_s == other->keepalive_interval_s &&
           one->keepalive_probes == other->keepalive_probes &&
           one->receive_bytes == other->receive_bytes && one->send_bytes == other->send_bytes;
}

/* The backlog stays: by its documentation a second listen() succeeds and changes nothing. */
void engine_listener_configure(struct engine_listener *listener,
                               const struct engine_listen_options *options) {
    bool renewed = !same_options(&listener->options, &options->sockets);
    listener->options = options->sockets;
    if (options->datagrams) {
        datagram_options_set(listener);
    } else {
        iocp_reuse_listener_allow(listener, options->reuse_sockets, renewed);
    }
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    iocp_reuse_listener_remove(listener);
    if (listener->socket != INVALID_SOCKET) {
        listener->engine->winsock->close(listener->socket);
    }
    if (listener->inherited_sockets) {
        listener->inherited_sockets->drop(listener->inherited_sockets->context, listener->name, 0);
    }
    iocp_datagrams_fini(listener);
    alloc_free(listener->name);
    alloc_free(listener);
}
