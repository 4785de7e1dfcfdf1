/* engine_iocp_accept.c: listeners, AcceptEx, and FD_ACCEPT when no accept is left.
 *
 * An accept with data receives into a buffer of the port's source, the addresses behind the data;
 * one without has only the addresses, for which the acceptor keeps small blocks. The accepted
 * socket belongs to no port: the listening one does, so the completion comes to the acceptor's port
 * and whoever gets the connection attaches it to his.
 *
 * FD_ACCEPT is an event that is recorded when a connection queues and no AcceptEx takes it. A wait
 * of the system's thread pool turns it into a flag of the acceptor and a packet that wakes the
 * port. An event that was recorded is not recorded again before it is re-enabled, hence
 * acceptor_rearm(). */
#include "engine/engine_iocp.h"

#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "os/os_windows.h"

/* Where the addresses of an accept without data go. */
struct accept_room {
    struct accept_room *next; /* in the acceptor's list of free ones */
    char bytes[IOCP_ADDRESSES_ROOM];
};

struct engine_listener {
    struct engine *engine;
    SOCKET socket;
    int family; /* AF_INET, AF_INET6 */
    bool dual_stack;
    bool no_delay;
    int backlog;
    struct berth_address address;
    struct winsock_extensions extensions;
};

struct engine_acceptor {
    struct engine_acceptor *prev; /* in the port's list */
    struct engine_acceptor *next;
    struct engine_port *port;
    struct engine_listener *listener;
    engine_starved_fn *starved;
    void *context;
    unsigned started;           /* accepts not yet completed */
    struct iocp_accept *posted; /* those of them that the system has, oldest first */
    struct accept_room *rooms;  /* free */
    HANDLE event;               /* set by FD_ACCEPT */
    HANDLE wait;                /* the thread pool's wait for it */
    atomic_bool signalled;      /* the event was set; written by the thread pool */
    bool told;                  /* starved() was called since the last accept was posted */
    bool rearm;                 /* the event was taken and is to be re-enabled */
};

/* The engine's part of an accept, in engine_accept.opaque. */
struct __attribute__((__may_alias__)) iocp_accept {
    struct engine_acceptor *acceptor;
    struct accept_room *room; /* of an accept without data */
    struct iocp_accept *prev; /* in acceptor->posted */
    struct iocp_accept *next;
    bool is_posted;
};
_Static_assert(sizeof(struct iocp_accept) <= sizeof(((struct engine_accept *)0)->opaque),
               "engine_accept.opaque is too small");

static struct iocp_accept *part_of(const struct engine_accept *accept) {
    return (struct iocp_accept *)accept->opaque;
}

static struct engine_accept *accept_of(struct iocp_accept *part) {
    return CONTAINER_OF(part, struct engine_accept, opaque);
}

/* -- addresses --------------------------------------------------------------------------------- */

static struct berth_address address_from_system(const struct sockaddr *from) {
    struct berth_address address = {0};
    if (!from) {
        return address;
    }
    if (from->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof(v4));
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(v4.sin_port);
        memcpy(address.bytes, &v4.sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof(v6));
        address.port = ntohs(v6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            address.family = BERTH_FAMILY_IPV4;
            memcpy(address.bytes, (const uint8_t *)&v6.sin6_addr + 12, 4);
        } else {
            address.family = BERTH_FAMILY_IPV6;
            address.scope_id = v6.sin6_scope_id;
            memcpy(address.bytes, &v6.sin6_addr, 16);
        }
    }
    return address;
}

static int address_to_system(const struct berth_address *from, SOCKADDR_STORAGE *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(from->port)};
        v6.sin6_scope_id = from->scope_id;
        memcpy(&v6.sin6_addr, from->bytes, 16);
        memcpy(to, &v6, sizeof(v6));
        return sizeof(v6);
    }
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(from->port)};
    memcpy(&v4.sin_addr, from->bytes, 4);
    memcpy(to, &v4, sizeof(v4));
    return sizeof(v4);
}

/* -- listeners --------------------------------------------------------------------------------- */

static bool socket_option(const struct winsock_table *winsock, SOCKET socket, int level, int name,
                          DWORD value) {
    return winsock->setsockopt(socket, level, name, (const char *)&value, sizeof(value)) == 0;
}

static SOCKET socket_open(const struct winsock_table *winsock, int family) {
    return winsock->socket(family, SOCK_STREAM, IPPROTO_TCP, NULL, 0,
                           WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

/* The reasons an operator meets, in the words that every system's engine uses. */
static bool listen_error(struct error *error, int code) {
    switch (code) {
    case WSAEADDRINUSE:
        return error_set(error, "address in use");
    case WSAEACCES:
        return error_set(error, "access denied");
    case WSAEADDRNOTAVAIL:
        return error_set(error, "address not available");
    case WSAEAFNOSUPPORT:
        return error_set(error, "address family not supported");
    default:
        return windows_error_set(error, (unsigned long)code);
    }
}

static bool listener_bind(struct engine_listener *listener, const struct berth_address *address) {
    const struct winsock_table *winsock = listener->engine->winsock;
    SOCKADDR_STORAGE storage;
    int size = address_to_system(address, &storage);
    if (!socket_option(winsock, listener->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1)) {
        return false;
    }
    if (listener->family == AF_INET6 && !socket_option(winsock, listener->socket, IPPROTO_IPV6,
                                                       IPV6_V6ONLY, !listener->dual_stack)) {
        return false;
    }
    if (winsock->bind(listener->socket, (struct sockaddr *)&storage, size) != 0) {
        return false;
    }
    size = sizeof(storage);
    if (winsock->getsockname(listener->socket, (struct sockaddr *)&storage, &size) != 0) {
        return false;
    }
    listener->address = address_from_system((struct sockaddr *)&storage);
    return winsock_extensions_load(winsock, listener->socket, &listener->extensions);
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
    listener->family = options->address.family == BERTH_FAMILY_IPV6 ? AF_INET6 : AF_INET;
    listener->dual_stack = listener->family == AF_INET6 && !options->v6_only;
    listener->no_delay = options->no_delay;
    listener->backlog = (int)options->backlog;
    listener->socket = socket_open(engine->winsock, listener->family);
    if (listener->socket == INVALID_SOCKET || !listener_bind(listener, &options->address)) {
        listen_error(error, engine->winsock->last_error());
        engine_listener_close(listener);
        return NULL;
    }
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    const struct winsock_table *winsock = listener->engine->winsock;
    /* A plain number is cut to 200. A negative one, SOMAXCONN_HINT in Microsoft's headers, is taken
     * as it is from 200 to 65535. */
    int backlog = listener->backlog > 200 ? -listener->backlog : listener->backlog;
    if (winsock->listen(listener->socket, backlog) != 0) {
        return listen_error(error, winsock->last_error());
    }
    return true;
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    if (listener->socket != INVALID_SOCKET) {
        listener->engine->winsock->close(listener->socket);
    }
    alloc_free(listener);
}

/* -- acceptors --------------------------------------------------------------------------------- */

static void CALLBACK event_was_set(void *context, BOOLEAN timed_out) {
    (void)timed_out;
    struct engine_acceptor *acceptor = context;
    struct engine_port *port = acceptor->port;
    atomic_store(&acceptor->signalled, true);
    /* Only a wake-up: should it fail, the port finds the flag at its next tick. */
    port->engine->winsock->port_post(port->iocp, 0, 0, NULL);
}

/* Asking again for the event re-enables it, and records it at once if connections queue now. */
static void acceptor_rearm(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    if (acceptor->rearm &&
        winsock->event_select(acceptor->listener->socket, acceptor->event, FD_ACCEPT) == 0) {
        acceptor->rearm = false;
    }
}

static bool acceptor_watch(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    /* Auto-reset, so that the wait fires once for every time the event is set. */
    acceptor->event = CreateEventW(NULL, FALSE, FALSE, NULL);
    return acceptor->event &&
           winsock->wait_register(&acceptor->wait, acceptor->event, event_was_set, acceptor,
                                  INFINITE, WT_EXECUTEINWAITTHREAD) &&
           winsock->event_select(acceptor->listener->socket, acceptor->event, FD_ACCEPT) == 0;
}

static void acceptor_unwatch(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    winsock->event_select(acceptor->listener->socket, NULL, 0);
    if (acceptor->wait) {
        /* Waits until the callback is not running and will not run again. */
        winsock->wait_unregister(acceptor->wait, INVALID_HANDLE_VALUE);
    }
    if (acceptor->event) {
        CloseHandle(acceptor->event);
    }
}

struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error) {
    ASSERT(index == 0);
    struct engine_acceptor *acceptor = alloc_zeroed(sizeof(*acceptor));
    if (!acceptor) {
        error_set(error, "out of memory");
        return NULL;
    }
    acceptor->port = port;
    acceptor->listener = listener;
    acceptor->starved = starved;
    acceptor->context = context;
    /* A handle is bound to one port for good: a listener is accepted on where it first was. */
    const struct winsock_table *winsock = port->engine->winsock;
    if (winsock->port_create((HANDLE)listener->socket, port->iocp, 1, 0) != port->iocp ||
        !acceptor_watch(acceptor)) {
        windows_error_set(error, GetLastError());
        acceptor_unwatch(acceptor);
        alloc_free(acceptor);
        return NULL;
    }
    DL_APPEND(port->acceptors, acceptor);
    return acceptor;
}

void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (!acceptor) {
        return;
    }
    ASSERT(acceptor->started == 0);
    acceptor_unwatch(acceptor);
    DL_DELETE(acceptor->port->acceptors, acceptor);
    while (acceptor->rooms) {
        struct accept_room *room = acceptor->rooms;
        LL_DELETE(acceptor->rooms, room);
        alloc_free(room);
    }
    alloc_free(acceptor);
}

/* Whether some posted accept has no client yet. The newest are asked first: they are free soonest.
 */
static bool has_free_accept(struct engine_acceptor *acceptor) {
    struct iocp_accept *first = acceptor->posted;
    struct iocp_accept *at = first ? first->prev : NULL; /* utlist: the head's prev is the tail */
    while (at) {
        if (engine_accept_connected_ms(accept_of(at)) < 0) {
            return true;
        }
        at = at == first ? NULL : at->prev;
    }
    return false;
}

void iocp_acceptors_check(struct engine_port *port) {
    const struct winsock_table *winsock = port->engine->winsock;
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        if (!atomic_load_explicit(&acceptor->signalled, memory_order_relaxed) ||
            !atomic_exchange(&acceptor->signalled, false)) {
            continue;
        }
        WSANETWORKEVENTS events;
        if (winsock->enum_events(acceptor->listener->socket, acceptor->event, &events) != 0 ||
            !(events.lNetworkEvents & FD_ACCEPT)) {
            continue;
        }
        acceptor->rearm = true;
        /* An accept that came in between takes the client; when it completes, the event is asked
         * for again. */
        if (!acceptor->told && !has_free_accept(acceptor)) {
            acceptor->told = true;
            port->ran++;
            acceptor->starved(acceptor, acceptor->context);
        }
    }
}

/* -- accepting --------------------------------------------------------------------------------- */

static void buffer_give(struct engine_port *port, struct engine_buffer *buffer) {
    if (buffer->owner) {
        port->buffers.give(port->buffers.context, buffer->owner);
        *buffer = (struct engine_buffer){0};
    }
}

static void room_give(struct engine_acceptor *acceptor, struct iocp_accept *part) {
    if (part->room) {
        LL_PREPEND(acceptor->rooms, part->room);
        part->room = NULL;
    }
}

/* The socket and the memory of an accept. 0, or the code it failed with. */
static unsigned long accept_prepare(struct engine_acceptor *acceptor,
                                    struct engine_accept *accept) {
    struct engine_port *port = acceptor->port;
    struct engine_listener *listener = acceptor->listener;
    const struct winsock_table *winsock = port->engine->winsock;
    struct iocp_accept *part = part_of(accept);
    if (accept->with_data) {
        if (!port->buffers.take(port->buffers.context, &accept->data)) {
            accept->data = (struct engine_buffer){0};
            return ERROR_NOT_ENOUGH_MEMORY;
        }
    } else if (acceptor->rooms) {
        part->room = acceptor->rooms;
        LL_DELETE(acceptor->rooms, part->room);
    } else {
        part->room = alloc_zeroed(sizeof(*part->room));
        if (!part->room) {
            return ERROR_NOT_ENOUGH_MEMORY;
        }
    }
    SOCKET socket = socket_open(winsock, listener->family);
    if (socket == INVALID_SOCKET) {
        return (unsigned long)winsock->last_error();
    }
    accept->socket.handle = (intptr_t)socket;
    if (listener->dual_stack && !socket_option(winsock, socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)) {
        return (unsigned long)winsock->last_error();
    }
    return 0;
}

/* The memory that AcceptEx writes to, and how much of it is for data. */
static char *accept_memory(struct engine_port *port, struct engine_accept *accept,
                           DWORD *data_room) {
    struct iocp_accept *part = part_of(accept);
    *data_room = 0;
    if (part->room) {
        return part->room->bytes;
    }
    *data_room = port->buffers.capacity - (DWORD)IOCP_ADDRESSES_ROOM;
    return (char *)accept->data.bytes;
}

static unsigned long accept_post(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_listener *listener = acceptor->listener;
    struct iocp_accept *part = part_of(accept);
    DWORD data_room;
    char *memory = accept_memory(acceptor->port, accept, &data_room);
    part->is_posted = true;
    DL_APPEND(acceptor->posted, part);
    DWORD received = 0;
    /* Success at once leaves a packet too: the listening socket does not skip them. */
    if (listener->extensions.accept_ex(listener->socket, (SOCKET)accept->socket.handle, memory,
                                       data_room, IOCP_ADDRESS_ROOM, IOCP_ADDRESS_ROOM, &received,
                                       &iocp_op_of(&accept->op)->overlapped)) {
        return 0;
    }
    unsigned long code = (unsigned long)listener->engine->winsock->last_error();
    if (code == ERROR_IO_PENDING) {
        return 0;
    }
    part->is_posted = false;
    DL_DELETE(acceptor->posted, part);
    return code;
}

/* Lets go of all that an accept holds; a client it has is reset. */
static void accept_drop(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    room_give(acceptor, part_of(accept));
    buffer_give(acceptor->port, &accept->data);
    if (accept->socket.handle != ENGINE_NO_SOCKET.handle) {
        iocp_socket_close(acceptor->port->engine, (SOCKET)accept->socket.handle, true);
        accept->socket = ENGINE_NO_SOCKET;
    }
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_port *port = acceptor->port;
    struct iocp_op *op = iocp_op_of(&accept->op);
    accept->socket = ENGINE_NO_SOCKET;
    accept->data = (struct engine_buffer){0};
    accept->home = NULL;
    *part_of(accept) = (struct iocp_accept){.acceptor = acceptor};
    iocp_start(port, op, IOCP_ACCEPT, acceptor->listener->socket);
    acceptor->started++;
    unsigned long code = accept_prepare(acceptor, accept);
    if (code == 0) {
        code = accept_post(acceptor, accept);
    }
    if (code != 0) {
        /* The event stays as it is: asked for again, it would come at once, again and again. */
        accept_drop(acceptor, accept);
        iocp_defer(port, op, iocp_error(code));
        return;
    }
    acceptor->told = false;
    acceptor_rearm(acceptor);
}

bool engine_acceptor_fall_back(struct engine_acceptor *acceptor) {
    (void)acceptor;
    return false;
}

void iocp_accept_failed(struct engine_port *port, struct iocp_op *op, int64_t result) {
    struct engine_accept *accept =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct engine_accept, op);
    part_of(accept)->acceptor->started--;
    iocp_finish(port, op, result);
}

/* Makes a connected socket of what AcceptEx left. 0, or the code it failed with. */
static unsigned long accept_open(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_listener *listener = acceptor->listener;
    const struct winsock_table *winsock = listener->engine->winsock;
    SOCKET socket = (SOCKET)accept->socket.handle;
    /* The option's value is the listening socket's handle, whole. */
    if (winsock->setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                            (const char *)&listener->socket, sizeof(listener->socket)) != 0 ||
        (listener->no_delay && !socket_option(winsock, socket, IPPROTO_TCP, TCP_NODELAY, 1))) {
        return (unsigned long)winsock->last_error();
    }
    DWORD data_room;
    char *memory = accept_memory(acceptor->port, accept, &data_room);
    struct sockaddr *local = NULL;
    struct sockaddr *remote = NULL;
    int local_size = 0;
    int remote_size = 0;
    listener->extensions.accept_addresses(memory, data_room, IOCP_ADDRESS_ROOM, IOCP_ADDRESS_ROOM,
                                          &local, &local_size, &remote, &remote_size);
    accept->local = address_from_system(local);
    accept->remote = address_from_system(remote);
    return 0;
}

void iocp_accept_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    struct engine_accept *accept =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct engine_accept, op);
    struct iocp_accept *part = part_of(accept);
    struct engine_acceptor *acceptor = part->acceptor;
    part->is_posted = false;
    DL_DELETE(acceptor->posted, part);
    unsigned long code = iocp_op_error(port, op);
    if (code == 0) {
        code = accept_open(acceptor, accept);
    }
    int64_t result = bytes;
    if (code != 0) {
        result = iocp_error(code);
        accept_drop(acceptor, accept);
    } else {
        room_give(acceptor, part);
        accept->data.size = bytes;
        if (bytes == 0) {
            buffer_give(port, &accept->data);
        }
    }
    acceptor_rearm(acceptor);
    acceptor->started--;
    iocp_finish(port, op, result);
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    const struct iocp_accept *part = part_of(accept);
    if (!part->is_posted) {
        return -1;
    }
    DWORD seconds = 0;
    int size = sizeof(seconds);
    const struct winsock_table *winsock = part->acceptor->port->engine->winsock;
    if (winsock->getsockopt((SOCKET)accept->socket.handle, SOL_SOCKET, SO_CONNECT_TIME,
                            (char *)&seconds, &size) != 0 ||
        seconds == UINT32_MAX) {
        return -1;
    }
    return (int64_t)seconds * 1000;
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    /* One that failed to post waits for its turn to say so, and is let be. A cancel that comes too
     * late finds nothing, and the connection is delivered. */
    if (part_of(accept)->is_posted) {
        acceptor->port->engine->winsock->cancel((HANDLE)acceptor->listener->socket,
                                                &iocp_op_of(&accept->op)->overlapped);
    }
}
