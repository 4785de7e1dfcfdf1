/* iocp_accept.c: AcceptEx, and FD_ACCEPT when no accept is left.
 *
 * An accept with data receives into a buffer of the port's source; the addresses follow the data.
 * An accept without data receives only the addresses, for which the acceptor has small blocks. The
 * accepted socket is not attached to a port. The listening socket is, so the completion comes to
 * the acceptor's port, and the receiver of the connection attaches it to its own port.
 *
 * FD_ACCEPT is an event that is recorded when a connection queues and no AcceptEx takes it. A wait
 * of the system's thread pool turns it into a flag of the acceptor and a packet that wakes the
 * port. An event that was recorded is not recorded again before it is re-enabled, hence
 * acceptor_rearm(). While accepts complete one after the other the event is not needed: it would
 * come with each accept, for as long as more clients come than accepts are posted. So it is
 * re-enabled once no accept has completed for a while, and after a second at the latest.
 *
 * An acceptor that has fallen back to plain accepts keeps what is posted in a list, and the same
 * event says when to call accept() for it. By the documentation an accept() that finds no client
 * re-enables the event, too. In Wine only an accept() that finds a client does, and the event may
 * come late, for a client that was taken before it. So after an event without a client the acceptor
 * calls accept() without another event until it finds the next client. */
#include "engine/iocp/iocp.h"

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

/* Whether clients queue for plain accepts. */
enum plain_clients {
    PLAIN_CLIENTS_NONE,      /* the event reports the next one */
    PLAIN_CLIENTS_MAY_QUEUE, /* the next pass calls accept() */
    PLAIN_CLIENTS_DOUBTED,   /* the event came without a client: every pass calls accept() */
};

/* The state of FD_ACCEPT's event. */
enum accept_event_state {
    ACCEPT_EVENT_ENABLED,
    ACCEPT_EVENT_TAKEN,     /* to be re-enabled when an accept is posted or completes */
    ACCEPT_EVENT_REARM_DUE, /* that has happened: re-enabled in the next quiet moment */
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
    unsigned cancelled;         /* those of them that were cancelled */
    struct accept_room *rooms;  /* free */
    HANDLE event;               /* set by FD_ACCEPT */
    HANDLE wait;                /* the thread pool's wait for it */
    atomic_bool signalled;      /* the event was set; written by the thread pool */
    struct iocp_accept *plain;  /* posted since the fall back, oldest first */
    bool is_plain;              /* has fallen back */
    enum plain_clients clients; /* that queue for a plain accept */
    enum accept_event_state event_state;
    bool starved_notified; /* starved() was called since the last accept was posted */
    uint64_t rearmed_ms;   /* when the event was last re-enabled */
    uint64_t completed_ms; /* when an accept last completed */
};

enum iocp_accept_state {
    ACCEPT_ENDING,    /* its completion is certain */
    ACCEPT_POSTED,    /* the system has it, and so in the next two */
    ACCEPT_CANCELLED, /* it was cancelled */
    ACCEPT_CLOSED,    /* and then its socket was closed to end it */
    ACCEPT_PLAIN,     /* in acceptor->plain */
};

/* The engine's part of an accept, in engine_accept.opaque. */
struct BERTH_MAY_ALIAS iocp_accept {
    struct engine_acceptor *acceptor;
    struct accept_room *room; /* of an accept without data */
    struct iocp_accept *prev; /* in acceptor->posted or acceptor->plain */
    struct iocp_accept *next;
    uint64_t cancelled_ms; /* when it was cancelled or closed, in these two states */
    enum iocp_accept_state state;
};
_Static_assert(sizeof(struct iocp_accept) <= sizeof(((struct engine_accept *)0)->opaque),
               "engine_accept.opaque is too small");

static struct iocp_accept *iocp_accept_private_of(const struct engine_accept *accept) {
    return (struct iocp_accept *)accept->opaque;
}

static struct engine_accept *accept_of(struct iocp_accept *private) {
    return CONTAINER_OF(private, struct engine_accept, opaque);
}

enum {
    PLAIN_MAX = 64, /* plain accepts in one pass */
    /* While the port is busy the event is re-enabled when no accept has completed for
     * REARM_QUIET_MS, and after REARM_LATEST_MS in any case. An idle port re-enables it at once. */
    REARM_QUIET_MS = 100,
    REARM_LATEST_MS = 1000,
};

static void plain_post(struct engine_acceptor *acceptor, struct engine_accept *accept);
static void plain_serve(struct engine_acceptor *acceptor);

/* -- acceptors ------------------------------------------------------------- */

static void CALLBACK event_was_set(void *context, BOOLEAN timed_out) {
    (void)timed_out;
    struct engine_acceptor *acceptor = context;
    struct engine_port *port = acceptor->port;
    /* Wine sets the event again and again until the port has called enum_events(). The packet is
     * only a wake-up: when it cannot be queued, the port finds the flag after its next wait. */
    if (!atomic_exchange(&acceptor->signalled, true)) {
        port->engine->winsock->port_post(port->iocp, 0, IOCP_KEY_WAKE, NULL);
    }
}

/* Selecting the event again re-enables it, and records it at once if connections queue now. */
static void acceptor_rearm(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    if (winsock->event_select(acceptor->listener->socket, acceptor->event, FD_ACCEPT) == 0) {
        acceptor->event_state = ACCEPT_EVENT_ENABLED;
        acceptor->rearmed_ms = os_now_ms();
    }
}

/* An accept was posted or has completed. */
static void rearm_make_due(struct engine_acceptor *acceptor) {
    if (acceptor->event_state == ACCEPT_EVENT_TAKEN) {
        acceptor->event_state = ACCEPT_EVENT_REARM_DUE;
    }
}

/* True: the port has to check again soon. */
static bool rearm_check(struct engine_acceptor *acceptor, bool idle) {
    if (acceptor->event_state != ACCEPT_EVENT_REARM_DUE) {
        return false;
    }
    uint64_t now_ms = os_now_ms();
    if (idle || acceptor->is_plain || now_ms - acceptor->completed_ms >= REARM_QUIET_MS ||
        now_ms - acceptor->rearmed_ms >= REARM_LATEST_MS) {
        acceptor_rearm(acceptor);
    }
    return acceptor->event_state == ACCEPT_EVENT_REARM_DUE;
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
    /* A handle is bound to one port permanently: a listener accepts on the port of its first
     * acceptor, and one that an earlier process has opened takes its clients without a port. */
    const struct winsock_table *winsock = port->engine->winsock;
    acceptor->is_plain = listener->inherited;
    bool bound = listener->inherited || winsock->port_create((HANDLE)listener->socket, port->iocp,
                                                             IOCP_KEY_SOCKET, 0) == port->iocp;
    if (!bound || !acceptor_watch(acceptor)) {
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

/* Whether some posted accept has no client yet. The newest are checked first: they are the most
 * likely to be free. */
static bool has_free_accept(struct engine_acceptor *acceptor) {
    struct iocp_accept *first = acceptor->posted;
    struct iocp_accept *at = first ? first->prev : NULL; /* utlist: the head's prev is the tail */
    while (at) {
        if (at->state == ACCEPT_POSTED && engine_accept_connected_ms(accept_of(at)) < 0) {
            return true;
        }
        at = at == first ? NULL : at->prev;
    }
    return false;
}

/* After an event: whether clients queue and no accept takes them. */
static bool is_starved(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    WSANETWORKEVENTS events;
    if (!atomic_load_explicit(&acceptor->signalled, memory_order_relaxed) ||
        !atomic_exchange(&acceptor->signalled, false) ||
        winsock->enum_events(acceptor->listener->socket, acceptor->event, &events) != 0 ||
        !(events.lNetworkEvents & FD_ACCEPT)) {
        return false;
    }
    if (!acceptor->is_plain) { /* Wine re-enables it with every client that an AcceptEx takes */
        winsock->event_select(acceptor->listener->socket, NULL, 0);
    }
    if (acceptor->event_state == ACCEPT_EVENT_ENABLED) {
        acceptor->event_state = ACCEPT_EVENT_TAKEN;
    }
    if (acceptor->is_plain) {
        acceptor->clients = PLAIN_CLIENTS_DOUBTED;
    }
    /* An accept that came in between takes the client; when it completes, the event is re-enabled.
     */
    return !acceptor->plain && !has_free_accept(acceptor);
}

void iocp_acceptors_check(struct engine_port *port, bool idle) {
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    port->plain_due = false;
    port->plain_doubted = false;
    port->rearm_due = false;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        if (is_starved(acceptor) && !acceptor->starved_notified) {
            acceptor->starved_notified = true;
            port->ran++;
            acceptor->starved(acceptor, acceptor->context);
        }
        if (acceptor->clients != PLAIN_CLIENTS_NONE) {
            plain_serve(acceptor);
        }
        port->plain_doubted |= acceptor->clients == PLAIN_CLIENTS_DOUBTED && acceptor->plain;
        port->rearm_due |= rearm_check(acceptor, idle);
    }
}

/* -- accepting ------------------------------------------------------------- */

static void iocp_accept_buffer_give(struct engine_port *port, struct engine_buffer *buffer) {
    if (buffer->owner) {
        port->buffers.give(port->buffers.context, buffer->owner);
        *buffer = (struct engine_buffer){0};
    }
}

static void room_give(struct engine_acceptor *acceptor, struct iocp_accept *private) {
    if (private->room) {
        LL_PREPEND(acceptor->rooms, private->room);
        private->room = NULL;
    }
}

/* The socket and the memory of an accept. 0, or the code it failed with. */
static unsigned long accept_prepare(struct engine_acceptor *acceptor, struct engine_accept *accept,
                                    struct engine_port *home) {
    struct engine_port *port = acceptor->port;
    struct engine_listener *listener = acceptor->listener;
    const struct winsock_table *winsock = port->engine->winsock;
    struct iocp_accept *private = iocp_accept_private_of(accept);
    if (accept->with_data) {
        if (!port->buffers.take(port->buffers.context, &accept->data)) {
            accept->data = (struct engine_buffer){0};
            return ERROR_NOT_ENOUGH_MEMORY;
        }
    } else if (acceptor->rooms) {
        private->room = acceptor->rooms;
        LL_DELETE(acceptor->rooms, private->room);
    } else {
        private->room = alloc_zeroed(sizeof(*private->room));
        if (!private->room) {
            return ERROR_NOT_ENOUGH_MEMORY;
        }
    }
    accept->socket.origin = listener->origin;
    SOCKET socket = home ? iocp_reuse_take(listener, home) : INVALID_SOCKET;
    if (socket != INVALID_SOCKET) {
        accept->socket.handle = (int32_t)socket;
        accept->home = home;
        return 0;
    }
    socket = iocp_socket_open(winsock, listener->family);
    if (socket == INVALID_SOCKET) {
        return (unsigned long)winsock->last_error();
    }
    accept->socket.handle = (int32_t)socket;
    if (listener->dual_stack &&
        !iocp_socket_option(winsock, socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)) {
        return (unsigned long)winsock->last_error();
    }
    return 0;
}

/* The memory that AcceptEx writes to, and how much of it is for data. */
static char *accept_memory(struct engine_port *port, struct engine_accept *accept,
                           DWORD *data_room) {
    struct iocp_accept *private = iocp_accept_private_of(accept);
    *data_room = 0;
    if (private->room) {
        return private->room->bytes;
    }
    *data_room = port->buffers.capacity - (DWORD)IOCP_ADDRESSES_ROOM;
    return (char *)accept->data.bytes;
}

/* The system does not have it any more. */
static void iocp_accept_unpost(struct engine_acceptor *acceptor, struct iocp_accept *private) {
    acceptor->cancelled -= private->state != ACCEPT_POSTED;
    private->state = ACCEPT_ENDING;
    DL_DELETE(acceptor->posted, private);
}

static unsigned long accept_post(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_listener *listener = acceptor->listener;
    struct iocp_accept *private = iocp_accept_private_of(accept);
    DWORD data_room;
    char *memory = accept_memory(acceptor->port, accept, &data_room);
    private->state = ACCEPT_POSTED;
    DL_APPEND(acceptor->posted, private);
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
    iocp_accept_unpost(acceptor, private);
    return code;
}

/* Frees all that an accept holds; if it has a client, the client is reset. */
static void accept_drop(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    room_give(acceptor, iocp_accept_private_of(accept));
    iocp_accept_buffer_give(acceptor->port, &accept->data);
    if (accept->socket.handle != ENGINE_NO_SOCKET.handle) {
        iocp_socket_close(acceptor->port->engine, (SOCKET)accept->socket.handle, true);
        accept->socket = ENGINE_NO_SOCKET;
    }
}

static unsigned long accept_start(struct engine_acceptor *acceptor, struct engine_accept *accept,
                                  struct engine_port *home) {
    unsigned long code = accept_prepare(acceptor, accept, home);
    return code == 0 ? accept_post(acceptor, accept) : code;
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_port *port = acceptor->port;
    struct engine_port *home = accept->home;
    struct iocp_op *op = iocp_op_of(&accept->op);
    accept->socket = ENGINE_NO_SOCKET;
    accept->data = (struct engine_buffer){0};
    accept->home = NULL;
    *iocp_accept_private_of(accept) = (struct iocp_accept){.acceptor = acceptor};
    iocp_start(port, op, IOCP_ACCEPT, acceptor->listener->socket);
    acceptor->started++;
    if (acceptor->is_plain) {
        plain_post(acceptor, accept);
        return;
    }
    unsigned long code = accept_start(acceptor, accept, home);
    if (code != 0 && accept->home) { /* perhaps because the socket is a reused one */
        accept_drop(acceptor, accept);
        accept->home = NULL;
        code = accept_start(acceptor, accept, NULL);
    }
    if (code != 0) {
        /* The event is not re-enabled: it would come at once, again and again. */
        accept_drop(acceptor, accept);
        iocp_defer(port, op, iocp_error(code));
        return;
    }
    acceptor->starved_notified = false;
    rearm_make_due(acceptor);
}

void iocp_accept_failed(struct engine_port *port, struct iocp_op *op, int64_t result) {
    struct engine_accept *accept =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct engine_accept, op);
    iocp_accept_private_of(accept)->acceptor->started--;
    iocp_finish(port, op, result);
}

/* Makes the socket of a completed AcceptEx an ordinary connected one. 0, or the error code. */
static unsigned long accept_open(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct engine_listener *listener = acceptor->listener;
    const struct winsock_table *winsock = listener->engine->winsock;
    SOCKET socket = (SOCKET)accept->socket.handle;
    /* The option's value is the listening socket's handle in its full size. */
    bool is_stale = accept->home && accept->socket.origin != listener->origin; /* see allow() */
    if (winsock->setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                            (const char *)&listener->socket, sizeof(listener->socket)) != 0 ||
        (is_stale && !iocp_clear_options(listener->engine, socket)) ||
        !iocp_set_options(winsock, socket, &listener->options)) {
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
    accept->local = windows_address(local);
    accept->remote = windows_address(remote);
    if (accept->remote.family == BERTH_FAMILY_NONE) {
        /* Limits and access lists need the address, so it is queried when AcceptEx left it out (as
         * Wine does for a client that has closed already). Without an address the client is gone.
         */
        SOCKADDR_STORAGE storage;
        int size = sizeof(storage);
        if (winsock->getpeername(socket, (struct sockaddr *)&storage, &size) != 0) {
            return (unsigned long)winsock->last_error();
        }
        accept->remote = windows_address((struct sockaddr *)&storage);
    }
    return 0;
}

void iocp_accept_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    struct engine_accept *accept =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct engine_accept, op);
    struct iocp_accept *private = iocp_accept_private_of(accept);
    struct engine_acceptor *acceptor = private->acceptor;
    /* A closed socket has no connection, whatever the status of the operation is. */
    unsigned long code =
        private->state == ACCEPT_CLOSED ? ERROR_OPERATION_ABORTED : iocp_op_error(port, op);
    iocp_accept_unpost(acceptor, private);
    if (code == 0) {
        code = accept_open(acceptor, accept);
    }
    int64_t result = bytes;
    if (code != 0) {
        result = iocp_error(code);
        accept_drop(acceptor, accept);
    } else {
        room_give(acceptor, private);
        accept->data.size = bytes;
        if (bytes == 0) {
            iocp_accept_buffer_give(port, &accept->data);
        }
    }
    rearm_make_due(acceptor);
    acceptor->completed_ms = os_now_ms();
    acceptor->started--;
    iocp_finish(port, op, result);
}

/* -- plain accepts --------------------------------------------------------- */

bool engine_acceptor_is_plain(const struct engine_acceptor *acceptor) {
    return acceptor->is_plain;
}

bool engine_acceptor_fall_back(struct engine_acceptor *acceptor) {
    acceptor->is_plain = true;
    return true;
}

/* Clients may queue already, without another event: this pass or the next calls accept(). */
static void plain_post(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct iocp_accept *private = iocp_accept_private_of(accept);
    ASSERT(!accept->with_data);
    private->state = ACCEPT_PLAIN;
    DL_APPEND(acceptor->plain, private);
    acceptor->starved_notified = false;
    rearm_make_due(acceptor);
    if (acceptor->clients == PLAIN_CLIENTS_NONE) {
        acceptor->clients = PLAIN_CLIENTS_MAY_QUEUE;
    }
    acceptor->port->plain_due = true;
}

static void plain_complete(struct engine_acceptor *acceptor, int64_t result) {
    struct iocp_accept *private = acceptor->plain;
    struct engine_accept *accept = accept_of(private);
    DL_DELETE(acceptor->plain, private);
    private->state = ACCEPT_ENDING;
    acceptor->started--;
    iocp_finish(acceptor->port, iocp_op_of(&accept->op), result);
}

/* Sets the socket from accept() up like one from AcceptEx. False: the client is gone. */
static bool plain_open(struct engine_acceptor *acceptor, SOCKET socket,
                       const struct sockaddr *remote) {
    const struct engine_listener *listener = acceptor->listener;
    const struct winsock_table *winsock = listener->engine->winsock;
    struct engine_accept *accept = accept_of(acceptor->plain);
    SOCKADDR_STORAGE local;
    int size = sizeof(local);
    /* Child processes inherit sockets from accept(): the peer would see no FIN while one runs. */
    SetHandleInformation((HANDLE)socket, HANDLE_FLAG_INHERIT, 0);
    /* The socket has inherited the listening socket's event selection, which is removed here. */
    if (winsock->event_select(socket, NULL, 0) != 0 ||
        winsock->getsockname(socket, (struct sockaddr *)&local, &size) != 0 ||
        !iocp_set_options(winsock, socket, &listener->options)) {
        iocp_socket_close(listener->engine, socket, true);
        return false;
    }
    accept->socket = (struct engine_socket){(intptr_t)socket, listener->origin};
    accept->local = windows_address((struct sockaddr *)&local);
    accept->remote = windows_address(remote);
    return true;
}

/* Takes one client. False: there is none, or a resource is missing. */
static bool plain_accept(struct engine_acceptor *acceptor) {
    const struct winsock_table *winsock = acceptor->port->engine->winsock;
    SOCKADDR_STORAGE remote;
    int size = sizeof(remote);
    SOCKET socket = winsock->accept(acceptor->listener->socket, (struct sockaddr *)&remote, &size);
    if (socket != INVALID_SOCKET) {
        acceptor->clients = PLAIN_CLIENTS_NONE;
        if (plain_open(acceptor, socket, (struct sockaddr *)&remote)) {
            plain_complete(acceptor, 0);
        }
        return true;
    }
    int code = winsock->last_error();
    if (code == WSAEWOULDBLOCK) {
        return false;
    }
    int64_t result = iocp_error((unsigned long)code);
    if (result != ENGINE_E_RESET) { /* a reset concerns this client only */
        plain_complete(acceptor, result);
    }
    return true;
}

static void plain_serve(struct engine_acceptor *acceptor) {
    if (acceptor->clients == PLAIN_CLIENTS_MAY_QUEUE) {
        acceptor->clients = PLAIN_CLIENTS_NONE;
    }
    for (int i = 0; acceptor->plain; i++) {
        if (i == PLAIN_MAX) { /* the other operations get their turn */
            acceptor->clients = PLAIN_CLIENTS_MAY_QUEUE;
            acceptor->port->plain_due = true;
            return;
        }
        if (!plain_accept(acceptor)) {
            return;
        }
    }
}

/* -- while it waits -------------------------------------------------------- */

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    const struct iocp_accept *private = iocp_accept_private_of(accept);
    if (private->state != ACCEPT_POSTED && private->state != ACCEPT_CANCELLED) {
        return -1;
    }
    DWORD seconds = 0;
    int size = sizeof(seconds);
    const struct winsock_table *winsock = private->acceptor->port->engine->winsock;
    if (winsock->getsockopt((SOCKET)accept->socket.handle, SOL_SOCKET, SO_CONNECT_TIME,
                            (char *)&seconds, &size) != 0 ||
        seconds == UINT32_MAX) {
        return -1;
    }
    return (int64_t)seconds * 1000;
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct iocp_accept *private = iocp_accept_private_of(accept);
    if (private->state == ACCEPT_PLAIN) {
        DL_DELETE(acceptor->plain, private);
        private->state = ACCEPT_ENDING;
        iocp_defer(acceptor->port, iocp_op_of(&accept->op), ENGINE_E_CANCELLED);
        return;
    }
    /* An accept that failed to post completes in the next pass anyway. A cancel that comes too late
     * finds nothing, and the connection is delivered. */
    if (private->state == ACCEPT_POSTED) {
        private->state = ACCEPT_CANCELLED;
        private->cancelled_ms = os_now_ms();
        acceptor->cancelled++;
        acceptor->port->engine->winsock->cancel((HANDLE)acceptor->listener->socket,
                                                &iocp_op_of(&accept->op)->overlapped);
    }
}

/* Microsoft's documentation names this way to end an AcceptEx whose client sends nothing. */
static void accept_close(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    iocp_accept_private_of(accept)->state = ACCEPT_CLOSED;
    iocp_socket_close(acceptor->port->engine, (SOCKET)accept->socket.handle, true);
    accept->socket = ENGINE_NO_SOCKET;
    iocp_cancel_tell_closed("accept");
}

/* The system may still use its buffer, its address block and its socket's memory: they are kept. */
static void accept_abandon(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    iocp_accept_unpost(acceptor, iocp_accept_private_of(accept));
    acceptor->started--;
    accept->data = (struct engine_buffer){0};
    iocp_abandon(acceptor->port, iocp_op_of(&accept->op), "accept");
}

/* A completion may destroy the acceptor: each check abandons one accept only. */
void iocp_accepts_end(struct engine_port *port, uint64_t now_ms) {
    struct engine_acceptor *acceptor;
    DL_FOREACH(port->acceptors, acceptor) {
        struct iocp_accept *private;
        if (acceptor->cancelled == 0) {
            continue;
        }
        DL_FOREACH(acceptor->posted, private) {
            enum iocp_cancel_step step = IOCP_CANCEL_WAIT;
            if (private->state != ACCEPT_POSTED) {
                step = iocp_cancel_step(port, private->cancelled_ms,
                                        private->state == ACCEPT_CLOSED, now_ms);
            }
            if (step == IOCP_CANCEL_CLOSE) {
                accept_close(acceptor, accept_of(private));
            } else if (step == IOCP_CANCEL_ABANDON) {
                accept_abandon(acceptor, accept_of(private));
                return;
            }
        }
    }
}
