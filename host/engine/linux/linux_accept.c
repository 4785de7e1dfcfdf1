/* linux_accept.c: accepts that are served in the order of their posts.
 *
 * Clients come in one of two ways, never more of them than accepts are posted. io_uring accepts
 * some by itself (uring_accept.c). For the others, and where io_uring cannot, the engine reports
 * that clients have come, and accept4() takes them. It reports arrivals, not a state: so `clients`
 * records that they may queue until accept4() finds none. Clients that are left over at the end of
 * a turn are taken in the next.
 *
 * Most clients send data first. Where trying costs less than waiting, an accept tries to receive it
 * at once, and waits only when there is none. When a client is gone before it sent data, its accept
 * is posted again for the next client. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/linux/linux.h"
#include "os/os.h"

/* Clients that accept4() takes in one turn, so that new ones do not starve the others. */
enum { ACCEPTS_MAX = 64 };

enum accept_state {
    ACCEPT_POSTED,             /* without a client */
    ACCEPT_LEAVING,            /* cancelled, but a client may still come for it */
    ACCEPT_WAITING,            /* the kernel waits for the client's first data */
    ACCEPT_WAITING_FOR_BUFFER, /* there was no buffer for it */
    ACCEPT_CANCELLING,         /* cancelled while it waited: the engine ends that */
    ACCEPT_ENDING,             /* its completion is certain */
};

/* The engine's part of an accept, in engine_accept.opaque. */
struct BERTH_MAY_ALIAS accept_private {
    struct engine_acceptor *acceptor;
    uint64_t connected_at_ms;
    enum accept_state state;
};
_Static_assert(sizeof(struct accept_private) <= sizeof(((struct engine_accept *)0)->opaque),
               "engine_accept.opaque is too small");

static struct accept_private *accept_private_of(const struct engine_accept *accept) {
    return (struct accept_private *)(uintptr_t)accept->opaque;
}

/* -- acceptors ------------------------------------------------------------- */

void linux_acceptor_make_due(struct engine_acceptor *acceptor) {
    acceptor->due = true;
    acceptor->port->acceptors_due = true;
}

struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error) {
    struct engine_acceptor *acceptor = alloc_zeroed(port->engine->backend->acceptor_bytes);
    if (!acceptor) {
        error_set(error, "out of memory");
        return NULL;
    }
    acceptor->starved = starved;
    acceptor->context = context;
    if (!linux_acceptor_init(acceptor, port, listener, index, error)) {
        alloc_free(acceptor);
        return NULL;
    }
    return acceptor;
}

bool linux_acceptor_init(struct engine_acceptor *acceptor, struct engine_port *port,
                         struct engine_listener *listener, unsigned index, struct error *error) {
    ASSERT(index < listener->count);
    acceptor->port = port;
    acceptor->listener = listener;
    acceptor->fd = listener->sockets[index];
    acceptor->is_further = atomic_fetch_add(&listener->acceptors, 1) >= listener->count;
    if (!port->engine->backend->clients_await(acceptor)) {
        atomic_fetch_sub(&listener->acceptors, 1);
        return error_set(error, "watching for clients: %s", linux_reason(errno));
    }
    DL_APPEND(port->acceptors, acceptor);
    return true;
}

void linux_acceptor_end(struct engine_acceptor *acceptor) {
    acceptor->life = LINUX_ACCEPTOR_DESTROYED;
    linux_acceptor_make_due(acceptor);
    acceptor->port->engine->backend->clients_forget(acceptor);
}

void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (!acceptor) {
        return;
    }
    ASSERT(acceptor->started == 0);
    linux_acceptor_end(acceptor);
}

static void acceptor_free(struct engine_acceptor *acceptor) {
    DL_DELETE(acceptor->port->acceptors, acceptor);
    if (acceptor->receiver) {
        linux_receiver_free(acceptor->receiver);
    } else {
        alloc_free(acceptor);
    }
}

void linux_acceptors_fini(struct engine_port *port) {
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        ASSERT(acceptor->life == LINUX_ACCEPTOR_DESTROYED);
        acceptor_free(acceptor);
    }
}

/* -- accepts without a client ---------------------------------------------- */

static void linux_accept_put(struct engine_acceptor *acceptor, struct engine_accept *accept,
                             void (*into)(struct op_list *list, struct engine_op *op)) {
    accept_private_of(accept)->state = ACCEPT_POSTED;
    into(&acceptor->posted, &accept->op);
    acceptor->posted_count++;
}

static struct engine_accept *linux_accept_take(struct engine_acceptor *acceptor) {
    acceptor->posted_count--;
    return CONTAINER_OF(list_take(&acceptor->posted), struct engine_accept, op);
}

static struct engine_accept *take_leaving(struct engine_acceptor *acceptor) {
    acceptor->leaving_count--;
    return CONTAINER_OF(list_take(&acceptor->leaving), struct engine_accept, op);
}

/* Whether an accept is left that the engine does not serve by itself. */
static bool may_take(const struct engine_acceptor *acceptor) {
    return acceptor->posted.first &&
           acceptor->posted_count + acceptor->leaving_count > acceptor->submitted;
}

static void linux_accept_changed(struct engine_acceptor *acceptor) {
    const struct linux_backend *backend = acceptor->port->engine->backend;
    if (backend->accepts_changed) {
        backend->accepts_changed(acceptor);
    }
}

void linux_accept_ready(struct engine_acceptor *acceptor) {
    if (acceptor->life != LINUX_ACCEPTOR_DESTROYED && acceptor->clients != LINUX_CLIENTS_NOTIFIED) {
        acceptor->clients = LINUX_CLIENTS_MAY_QUEUE;
    }
    linux_acceptor_make_due(acceptor);
}

void linux_accept_poll_now(struct engine_port *port) {
    struct engine_acceptor *acceptor = port->acceptors;
    if (!acceptor) {
        return;
    }
    DL_DELETE(port->acceptors, acceptor); /* to the end of the list: next time another is first */
    DL_APPEND(port->acceptors, acceptor);
    if (!acceptor->receiver && may_take(acceptor)) {
        linux_accept_ready(acceptor);
    }
}

/* -- completing an accept -------------------------------------------------- */

/* From here on this accept does not use its acceptor, which may be destroyed. */
static void linux_accept_leave(struct engine_accept *accept) {
    struct accept_private *private = accept_private_of(accept);
    private->state = ACCEPT_ENDING;
    private->acceptor->started--;
}

static void linux_accept_complete(struct engine_accept *accept, int64_t result) {
    struct engine_port *port = accept_private_of(accept)->acceptor->port;
    linux_accept_leave(accept);
    linux_complete(port, &accept->op, result);
}

static void complete_cancelled(struct engine_accept *accept) {
    struct engine_port *port = accept_private_of(accept)->acceptor->port;
    engine_close(port->engine, accept->socket, true);
    accept->socket = ENGINE_NO_SOCKET;
    linux_accept_complete(accept, ENGINE_E_CANCELLED);
}

/* The client is gone without data: the accept is posted again, before all others. */
static void linux_accept_lose_client(struct engine_accept *accept) {
    struct accept_private *private = accept_private_of(accept);
    engine_close(private->acceptor->port->engine, accept->socket, false);
    accept->socket = ENGINE_NO_SOCKET;
    accept->home = NULL;
    if (private->state == ACCEPT_CANCELLING) {
        linux_accept_complete(accept, ENGINE_E_CANCELLED);
        return;
    }
    linux_accept_put(private->acceptor, accept, list_prepend);
    linux_acceptor_make_due(private->acceptor);
    linux_accept_changed(private->acceptor);
}

/* -- the first data -------------------------------------------------------- */

static void linux_accept_await(struct engine_accept *accept) {
    struct accept_private *private = accept_private_of(accept);
    if (private->state != ACCEPT_CANCELLING) {
        private->state = ACCEPT_WAITING;
    }
    private->acceptor->port->engine->backend->first_data_await(private->acceptor->port, accept);
}

void linux_first_data_wait_for_buffer(struct engine_accept *accept) {
    struct accept_private *private = accept_private_of(accept);
    if (private->state == ACCEPT_CANCELLING) {
        complete_cancelled(accept);
        return;
    }
    private->state = ACCEPT_WAITING_FOR_BUFFER;
    list_append(&private->acceptor->port->waiting_for_buffer, &accept->op);
}

void linux_first_data_end(struct engine_accept *accept, int result) {
    if (result >= 0) {
        linux_accept_complete(accept, result);
    } else if (accept_private_of(accept)->state == ACCEPT_CANCELLING) {
        complete_cancelled(accept);
    } else if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
        linux_accept_await(accept);
    } else if (linux_translate(-result) == ENGINE_E_NO_RESOURCES) {
        linux_make_late(accept_private_of(accept)->acceptor->port);
        linux_first_data_wait_for_buffer(
            accept); /* a shortage of the system is handled as one of buffers */
    } else {
        linux_accept_lose_client(accept);
    }
}

void linux_first_data_try(struct engine_accept *accept) {
    if (!linux_has_descriptor(accept->socket)) {
        linux_accept_await(accept); /* only the ring can receive from it */
        return;
    }
    const struct engine_buffer_source *source = &accept_private_of(accept)->acceptor->port->source;
    struct engine_buffer buffer;
    if (!source->take(source->context, &buffer)) {
        linux_first_data_wait_for_buffer(accept);
        return;
    }
    ssize_t size =
        linux_calls.recv((int)accept->socket.handle, buffer.bytes, buffer.size, MSG_DONTWAIT);
    int code = errno;
    if (size > 0) {
        buffer.size = (uint32_t)size;
        accept->data = buffer;
    } else {
        source->give(source->context, buffer.owner);
    }
    linux_first_data_end(accept, size >= 0 ? (int)size : -code);
}

static bool looks_at_once(const struct engine_accept *accept) {
    const struct engine_port *port = accept_private_of(accept)->acceptor->port;
    return !port->engine->backend->looks_at_once || port->engine->backend->looks_at_once(port);
}

static void begin_first_data(struct engine_accept *accept) {
    if (looks_at_once(accept)) {
        linux_first_data_try(accept);
    } else {
        linux_accept_await(accept);
    }
}

/* Receives what is there already, for an accept that does not wait for data. It saves the receive
 * that the connection would begin with. Returns the size; 0 if there is nothing, or a FIN, which a
 * later receive finds again. */
static int64_t data_at_once(struct engine_accept *accept) {
    if (!looks_at_once(accept)) {
        return 0;
    }
    const struct engine_buffer_source *source = &accept_private_of(accept)->acceptor->port->source;
    struct engine_buffer buffer;
    if (!source->take(source->context, &buffer)) {
        return 0;
    }
    ssize_t size =
        linux_calls.recv((int)accept->socket.handle, buffer.bytes, buffer.size, MSG_DONTWAIT);
    if (size <= 0) { /* a FIN or an error, which a later receive finds again */
        source->give(source->context, buffer.owner);
        return 0;
    }
    buffer.size = (uint32_t)size;
    accept->data = buffer;
    return size;
}

/* -- accepting ------------------------------------------------------------- */

static void take_client(struct engine_acceptor *acceptor, struct engine_accept *accept, int fd,
                        const union system_address *remote) {
    accept->socket.handle = fd;
    accept->remote = linux_address(remote);
    accept->local = acceptor->listener->any_address
                        ? linux_local_address(fd, &acceptor->listener->address)
                        : acceptor->listener->address;
    if (accept->with_data) {
        accept_private_of(accept)->connected_at_ms = os_now_ms();
        begin_first_data(accept);
    } else {
        linux_accept_complete(accept, data_at_once(accept));
    }
}

static void fail_one(struct engine_acceptor *acceptor, int code) {
    linux_accept_complete(linux_accept_take(acceptor), linux_translate(code));
}

static void miss_client(struct engine_acceptor *acceptor, int code) {
    switch (code) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED: /* this one and those below concern one client only, see accept(2) */
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case EOPNOTSUPP:
    case ETIMEDOUT:
        break;
    default: /* a shortage: each attempt fails one posted accept, so the loop ends with them */
        if (acceptor->posted.first) {
            fail_one(acceptor, code);
        }
        break;
    }
}

/* Whether clients queue, asked of the kernel, as `clients` may be stale. If poll() fails they may
 * queue. */
static bool clients_queue(struct engine_acceptor *acceptor) {
    struct pollfd listening = {.fd = acceptor->fd, .events = POLLIN};
    int count = linux_calls.poll(&listening, 1, 0);
    bool may_queue = count < 0 || (count == 1 && (listening.revents & POLLIN) != 0);
    acceptor->clients = may_queue ? LINUX_CLIENTS_MAY_QUEUE : LINUX_CLIENTS_NONE;
    return may_queue;
}

static void accept_one(struct engine_acceptor *acceptor) {
    if (!linux_descriptor_take(acceptor->port)) {
        if (clients_queue(acceptor)) {
            fail_one(acceptor, EMFILE);
        }
        return;
    }
    union system_address remote = {0};
    socklen_t size = sizeof(remote);
    /* Not SOCK_NONBLOCK: the ring does not wait for such a socket. All other calls have a flag
     * like MSG_DONTWAIT. */
    int fd = linux_calls.accept4(acceptor->fd, &remote.any, &size, SOCK_CLOEXEC);
    if (fd >= 0) {
        take_client(acceptor, linux_accept_take(acceptor), fd, &remote);
        return;
    }
    linux_descriptor_give(acceptor->port->engine);
    if (errno == EAGAIN) {
        acceptor->clients = LINUX_CLIENTS_NONE;
    } else {
        miss_client(acceptor, errno);
    }
}

/* Decides about clients that are left over: the engine accepts them by itself, they are taken in
 * the next turn, or no accept is posted for them. */
static void serve_rest(struct engine_acceptor *acceptor) {
    if (acceptor->clients != LINUX_CLIENTS_MAY_QUEUE) {
        return;
    }
    if (acceptor->submitted > 0) {
        acceptor->clients = LINUX_CLIENTS_NONE;
    } else if (acceptor->posted.first) {
        linux_acceptor_make_due(acceptor);
    } else if (clients_queue(acceptor)) {
        acceptor->clients = LINUX_CLIENTS_NOTIFIED;
        acceptor->port->ran++;
        acceptor->starved(acceptor, acceptor->context);
    }
}

static void linux_accept_serve(struct engine_acceptor *acceptor) {
    if (acceptor->life == LINUX_ACCEPTOR_DESTROYED) {
        return;
    }
    acceptor->life = LINUX_ACCEPTOR_SERVING;
    for (int i = 0;
         i < ACCEPTS_MAX && acceptor->clients == LINUX_CLIENTS_MAY_QUEUE && may_take(acceptor);
         i++) {
        accept_one(acceptor);
    }
    if (acceptor->life == LINUX_ACCEPTOR_SERVING) { /* a completion may have destroyed it */
        acceptor->life = LINUX_ACCEPTOR_OPEN;
        serve_rest(acceptor);
        linux_accept_changed(acceptor);
    }
}

/* -- clients that the engine accepts by itself ----------------------------- */

/* Completes the cancelled accepts for which no client can come any more. */
static void linux_accept_let_go(struct engine_acceptor *acceptor) {
    while (acceptor->leaving.first &&
           acceptor->submitted < acceptor->posted_count + acceptor->leaving_count) {
        linux_accept_complete(take_leaving(acceptor), ENGINE_E_CANCELLED);
    }
}

/* An accept cancelled while a client is arriving keeps that client and completes without waiting
 * for its first data. */
void linux_client_came(struct engine_acceptor *acceptor, int fd,
                       const union system_address *remote) {
    if (acceptor->posted.first) {
        take_client(acceptor, linux_accept_take(acceptor), fd, remote);
    } else {
        struct engine_accept *accept = take_leaving(acceptor);
        accept->with_data = false;
        take_client(acceptor, accept, fd, remote);
    }
    linux_accept_let_go(acceptor);
    linux_accept_changed(acceptor);
}

void linux_client_missed(struct engine_acceptor *acceptor, int code) {
    if (code != ECANCELED) {
        miss_client(acceptor, code);
    }
    linux_accept_let_go(acceptor);
    linux_accept_changed(acceptor);
}

void linux_accept_late(struct engine_port *port) {
    struct engine_acceptor *acceptor;
    DL_FOREACH(port->acceptors, acceptor) {
        if (acceptor->clients == LINUX_CLIENTS_RETRY &&
            acceptor->life != LINUX_ACCEPTOR_DESTROYED) {
            if (acceptor->receiver && !acceptor->polling) {
                port->engine->backend->clients_await(acceptor);
            }
            linux_accept_ready(acceptor); /* clients may have come meanwhile */
        }
    }
}

/* Callbacks may create acceptors, which are appended. They may destroy acceptors, which are freed
 * only after the kernel has released them. */
void linux_accept_check(struct engine_port *port) {
    if (!port->acceptors_due) {
        return;
    }
    port->acceptors_due = false;
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        if (acceptor->life == LINUX_ACCEPTOR_DESTROYED && !acceptor->polling) {
            acceptor_free(acceptor);
        } else if (acceptor->due) {
            acceptor->due = false;
            if (acceptor->receiver) {
                linux_datagrams_take(acceptor->receiver);
            } else {
                linux_accept_serve(acceptor);
            }
        }
    }
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    ASSERT(acceptor->life != LINUX_ACCEPTOR_DESTROYED);
    accept->socket = ENGINE_NO_SOCKET;
    accept->data = (struct engine_buffer){0};
    accept->home = NULL;
    *op_private_of(&accept->op) = (struct op_private){.is_accept = true};
    *accept_private_of(accept) = (struct accept_private){.acceptor = acceptor};
    linux_accept_put(acceptor, accept, list_append);
    acceptor->started++;
    acceptor->port->pending++;
    if (acceptor->clients == LINUX_CLIENTS_NOTIFIED) {
        acceptor->clients = LINUX_CLIENTS_MAY_QUEUE;
    }
    /* While accepts are being served, the caller looks at a new one when it is done: it need not
     * make the next turn one that does not wait. */
    if (acceptor->clients == LINUX_CLIENTS_MAY_QUEUE && acceptor->life == LINUX_ACCEPTOR_OPEN) {
        linux_acceptor_make_due(acceptor);
    }
    linux_accept_changed(acceptor);
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    const struct accept_private *private = accept_private_of(accept);
    if (private->state != ACCEPT_WAITING && private->state != ACCEPT_WAITING_FOR_BUFFER) {
        return -1;
    }
    return (int64_t)(os_now_ms() - private->connected_at_ms);
}

bool engine_acceptor_is_plain(const struct engine_acceptor *acceptor) {
    (void)acceptor;
    return false;
}

bool engine_acceptor_fall_back(struct engine_acceptor *acceptor) {
    (void)acceptor;
    return false; /* accept4() has no simpler fallback */
}

static void cancel_later(struct engine_port *port, struct engine_accept *accept) {
    if (accept->socket.handle != ENGINE_NO_SOCKET.handle) {
        engine_close(port->engine, accept->socket, true);
        accept->socket = ENGINE_NO_SOCKET;
    }
    linux_accept_leave(accept);
    linux_defer(port, &accept->op, ENGINE_E_CANCELLED);
}

void linux_first_data_forgotten(struct engine_accept *accept) {
    cancel_later(accept_private_of(accept)->acceptor->port, accept);
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct accept_private *private = accept_private_of(accept);
    struct engine_port *port = acceptor->port;
    switch (private->state) {
    case ACCEPT_POSTED:
        list_remove(&acceptor->posted, &accept->op);
        acceptor->posted_count--;
        if (acceptor->submitted <= acceptor->posted_count + acceptor->leaving_count) {
            cancel_later(port, accept);
        } else {
            private->state = ACCEPT_LEAVING;
            list_append(&acceptor->leaving, &accept->op);
            acceptor->leaving_count++;
        }
        linux_accept_changed(acceptor);
        break;
    case ACCEPT_WAITING:
        private
        ->state = ACCEPT_CANCELLING;
        port->engine->backend->first_data_forget(port, accept);
        break;
    case ACCEPT_WAITING_FOR_BUFFER:
        list_remove(&port->waiting_for_buffer, &accept->op);
        cancel_later(port, accept);
        break;
    case ACCEPT_LEAVING:
    case ACCEPT_CANCELLING:
    case ACCEPT_ENDING:
        break;
    }
}
