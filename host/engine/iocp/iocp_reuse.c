/* iocp_reuse.c: reuse of sockets.
 *
 * On Windows creating a socket costs more than accepting with it. A socket whose connection has
 * ended can be made ready for another one, by DisconnectEx or by TransmitFile with TF_REUSE_SOCKET,
 * and passed to AcceptEx again. That is done only where the peer closed first: otherwise TCP keeps
 * the connection in TIME_WAIT, and the disconnect would take as long. reuse_selftest.c finds out at
 * the start whether it works at all.
 *
 * A socket stays attached to its completion port permanently, so it is reused only for connections
 * of that port, and only on the listener it was accepted on, as it may keep its local address.
 *
 * Lifetimes. A disconnect in flight belongs to its port, which ends it at a deadline and cannot be
 * destroyed before. One that has succeeded is kept in its listener's list. Closing the listener
 * empties the list; destroying a port removes the sockets of that port from it. Workers give
 * sockets back, the acceptor's thread takes them and the control thread closes them: hence the
 * lock.  */
#include "engine/iocp/iocp.h"

#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

enum {
    DISCONNECT_MAX_MS = 2000, /* then it is cancelled, and the socket closed */
};

struct iocp_disconnect {
    struct iocp_op op;
    struct iocp_disconnect *prev; /* in port->disconnects, then in listener->reusable */
    struct iocp_disconnect *next;
    struct engine_port *port;
    SOCKET socket;
    uint32_t origin;
    uint64_t started_ms;
    uint64_t cancelled_ms; /* 0: it was not cancelled */
};

void iocp_reuse_init(struct engine *engine) {
    os_mutex_init(&engine->reuse_lock);
    engine->reuse = reuse_selftest(engine->winsock, engine->reuse_text, sizeof(engine->reuse_text));
}

void iocp_reuse_fini(struct engine *engine) {
    ASSERT(engine->listeners == NULL);
    os_mutex_fini(&engine->reuse_lock);
}

/* Under the lock. */
static void give_number(struct engine_listener *listener) {
    struct engine *engine = listener->engine;
    engine->origins = engine->origins == UINT32_MAX ? 1 : engine->origins + 1;
    listener->origin = engine->origins;
}

void iocp_reuse_listener_add(struct engine_listener *listener) {
    struct engine *engine = listener->engine;
    os_mutex_lock(&engine->reuse_lock);
    give_number(listener);
    DL_APPEND(engine->listeners, listener);
    os_mutex_unlock(&engine->reuse_lock);
}

static void close_all(struct engine *engine, struct iocp_disconnect *list) {
    while (list) {
        struct iocp_disconnect *one = list;
        DL_DELETE(list, one);
        iocp_socket_close(engine, one->socket, false);
        alloc_free(one);
    }
}

/* Removes and returns all sockets of its list. Under the lock. */
static struct iocp_disconnect *take_all(struct engine_listener *listener) {
    struct iocp_disconnect *list = listener->reusable;
    listener->reusable = NULL;
    listener->reusable_count = 0;
    return list;
}

void iocp_reuse_listener_allow(struct engine_listener *listener, bool allowed, bool renewed) {
    struct iocp_disconnect *list = NULL;
    os_mutex_lock(&listener->engine->reuse_lock);
    listener->reuse_sockets = allowed;
    if (renewed && listener->origin != 0) {
        list = take_all(listener);
        give_number(listener);
    }
    os_mutex_unlock(&listener->engine->reuse_lock);
    close_all(listener->engine, list);
}

void iocp_reuse_listener_remove(struct engine_listener *listener) {
    struct engine *engine = listener->engine;
    if (listener->origin == 0) {
        return;
    }
    os_mutex_lock(&engine->reuse_lock);
    struct iocp_disconnect *list = take_all(listener);
    DL_DELETE(engine->listeners, listener);
    os_mutex_unlock(&engine->reuse_lock);
    close_all(engine, list);
}

void iocp_reuse_port_remove(struct engine_port *port) {
    struct engine *engine = port->engine;
    struct iocp_disconnect *list = NULL;
    struct engine_listener *listener;
    ASSERT(port->disconnects == NULL);
    os_mutex_lock(&engine->reuse_lock);
    DL_FOREACH(engine->listeners, listener) {
        struct iocp_disconnect *one;
        struct iocp_disconnect *next;
        DL_FOREACH_SAFE(listener->reusable, one, next) {
            if (one->port == port) {
                DL_DELETE(listener->reusable, one);
                listener->reusable_count--;
                DL_APPEND(list, one);
            }
        }
    }
    os_mutex_unlock(&engine->reuse_lock);
    close_all(engine, list);
}

/* A listener's provider may differ from the one that the self-test used. */
static bool has_function(const struct engine_listener *listener) {
    return listener->engine->reuse == IOCP_REUSE_DISCONNECT
               ? listener->extensions.disconnect_ex != NULL
               : listener->extensions.transmit_file != NULL;
}

/* The listener of that number, if it has room for one more. Under the lock. */
static struct engine_listener *iocp_reuse_find_listener(struct engine *engine, uint32_t origin) {
    struct engine_listener *listener;
    DL_FOREACH(engine->listeners, listener) {
        if (listener->origin == origin) {
            bool usable = listener->reuse_sockets && has_function(listener) &&
                          listener->reusable_count < IOCP_REUSABLE_MAX;
            return usable ? listener : NULL;
        }
    }
    return NULL;
}

SOCKET iocp_reuse_take(struct engine_listener *listener, const struct engine_port *home) {
    struct engine *engine = listener->engine;
    struct iocp_disconnect *one = NULL;
    os_mutex_lock(&engine->reuse_lock);
    DL_FOREACH(listener->reusable, one) {
        if (one->port == home) {
            DL_DELETE(listener->reusable, one);
            listener->reusable_count--;
            break;
        }
    }
    os_mutex_unlock(&engine->reuse_lock);
    SOCKET socket = one ? one->socket : INVALID_SOCKET;
    alloc_free(one);
    return socket;
}

/* -- disconnecting --------------------------------------------------------- */

/* The disconnect is over. */
static void disconnect_end(struct iocp_disconnect *disconnect, bool succeeded) {
    struct engine_port *port = disconnect->port;
    struct engine *engine = port->engine;
    DL_DELETE(port->disconnects, disconnect);
    iocp_unstart(port, &disconnect->op);
    if (succeeded) {
        os_mutex_lock(&engine->reuse_lock);
        struct engine_listener *listener = iocp_reuse_find_listener(engine, disconnect->origin);
        if (listener) {
            DL_PREPEND(listener->reusable, disconnect); /* most likely in the caches: used first */
            listener->reusable_count++;
            disconnect = NULL;
        }
        os_mutex_unlock(&engine->reuse_lock);
    }
    if (disconnect && disconnect->socket != INVALID_SOCKET) {
        iocp_socket_close(engine, disconnect->socket, false);
    }
    alloc_free(disconnect);
}

void iocp_disconnect_completed(struct engine_port *port, struct iocp_op *op) {
    struct iocp_disconnect *disconnect = CONTAINER_OF(op, struct iocp_disconnect, op);
    unsigned long code = iocp_op_error(port, op);
    if (code != 0) {
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_DEBUG, NULL,
                    "a socket is not used again: disconnecting failed with code %lu", code);
    }
    disconnect_end(disconnect, code == 0 && disconnect->cancelled_ms == 0);
}

static bool iocp_reuse_start(const struct winsock_extensions *extensions, enum iocp_reuse how,
                             SOCKET socket, OVERLAPPED *overlapped) {
    if (how == IOCP_REUSE_DISCONNECT) {
        return extensions->disconnect_ex(socket, overlapped, TF_REUSE_SOCKET, 0);
    }
    return extensions->transmit_file(socket, NULL, 0, 0, overlapped, NULL,
                                     TF_DISCONNECT | TF_REUSE_SOCKET);
}

static void disconnect_start(struct iocp_disconnect *disconnect,
                             const struct winsock_extensions *extensions) {
    struct engine_port *port = disconnect->port;
    struct engine *engine = port->engine;
    iocp_start(port, &disconnect->op, IOCP_DISCONNECT, disconnect->socket);
    DL_APPEND(port->disconnects, disconnect);
    if (iocp_reuse_start(extensions, engine->reuse, disconnect->socket,
                         &disconnect->op.overlapped)) {
        if (engine->skip_success) {
            disconnect_end(disconnect, true);
        }
        return; /* else its packet completes it */
    }
    if (engine->winsock->last_error() != WSA_IO_PENDING) {
        disconnect_end(disconnect, false);
    }
}

void engine_recycle(struct engine_port *port, struct engine_socket socket) {
    struct engine *engine = port->engine;
    struct winsock_extensions extensions;
    bool wanted = false;
    if (engine->reuse != IOCP_REUSE_OFF && socket.origin != 0) {
        os_mutex_lock(&engine->reuse_lock);
        const struct engine_listener *listener = iocp_reuse_find_listener(engine, socket.origin);
        wanted = listener != NULL;
        if (wanted) {
            extensions = listener->extensions; /* the listener may be closed meanwhile */
        }
        os_mutex_unlock(&engine->reuse_lock);
    }
    struct iocp_disconnect *disconnect = wanted ? alloc_zeroed(sizeof(*disconnect)) : NULL;
    if (!disconnect) {
        engine_close(engine, socket, false);
        return;
    }
    disconnect->port = port;
    disconnect->socket = (SOCKET)socket.handle;
    disconnect->origin = socket.origin;
    disconnect->started_ms = os_now_ms();
    disconnect_start(disconnect, &extensions);
}

/* The socket is closed, and its memory is never freed. */
static void disconnect_abandon(struct iocp_disconnect *disconnect) {
    struct engine_port *port = disconnect->port;
    DL_DELETE(port->disconnects, disconnect);
    iocp_unstart(port, &disconnect->op);
    disconnect->op.kind = IOCP_ABANDONED;
    iocp_cancel_tell_abandoned("disconnect");
}

void iocp_disconnects_end(struct engine_port *port, uint64_t now_ms) {
    struct iocp_disconnect *one;
    struct iocp_disconnect *next;
    DL_FOREACH_SAFE(port->disconnects, one, next) {
        if (one->cancelled_ms == 0 && now_ms - one->started_ms < DISCONNECT_MAX_MS) {
            continue;
        }
        if (one->cancelled_ms == 0) {
            one->cancelled_ms = now_ms;
            port->engine->winsock->cancel((HANDLE)one->socket, &one->op.overlapped);
            continue;
        }
        enum iocp_cancel_step step =
            iocp_cancel_step(port, one->cancelled_ms, one->socket == INVALID_SOCKET, now_ms);
        if (step == IOCP_CANCEL_CLOSE) {
            iocp_socket_close(port->engine, one->socket, true);
            one->socket = INVALID_SOCKET;
            one->op.socket = ENGINE_NO_SOCKET.handle;
            iocp_cancel_tell_closed("disconnect");
        } else if (step == IOCP_CANCEL_ABANDON) {
            disconnect_abandon(one);
        }
    }
}
