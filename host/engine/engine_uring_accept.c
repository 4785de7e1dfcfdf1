/* engine_uring_accept.c: listening sockets, and accepts that are served in the order of their
 * posts.
 *
 * The ring tells when clients come (a multishot poll of the listening socket); accept4() takes
 * them, one for each posted accept and not one more. A multishot accept was the other choice. It
 * costs the same (its connections come without their address, which is one more call), but it takes
 * every client there is: those without a posted accept would have to queue here, and a listener
 * that is slow to post would hold descriptors where the kernel's backlog holds nothing.
 *
 * The poll tells of arrivals, not of a state. `ready` remembers that clients may queue until
 * accept4() finds none, and what is left over at the end of a turn is gone on with in the next.
 *
 * An accept with data looks for it at once, as most clients speak first, and only then arms a
 * receive. A client that is gone before it spoke gives its accept back to the next one. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/engine_uring.h"
#include "os/os.h"

enum {
    ACCEPTS_MAX = 64,   /* clients taken a turn, so that new ones do not starve those there are */
    BIND_TRIES = 11,    /* a killed process's ring holds its ports for some 15 ms */
    BIND_PAUSE_MS = 10, /* between two tries */
};

struct engine_listener {
    struct berth_address address;
    bool any_address; /* clients may have come to different ones */
    int backlog;
    unsigned count;
    int sockets[]; /* one an acceptor */
};

struct engine_acceptor {
    struct engine_acceptor *prev; /* in port->acceptors */
    struct engine_acceptor *next;
    struct engine_port *port;
    struct engine_listener *listener;
    engine_starved_fn *starved;
    void *context;
    struct op_list posted; /* accepts without a client */
    unsigned started;      /* accepts not yet completed */
    int fd;                /* the listener's */
    bool polling;          /* the kernel has the poll */
    bool ready;            /* clients may queue */
    bool due;              /* to be looked at in this turn or the next */
    bool told;             /* starved() was called since the last accept was posted */
    bool destroyed;        /* freed when the kernel has let go of it */
};

enum accept_state {
    ACCEPT_POSTED,  /* without a client */
    ACCEPT_WAITING, /* the kernel waits for the client's first data */
    ACCEPT_HUNGRY,  /* there was no buffer for it */
    ACCEPT_ENDING,  /* its completion is certain */
};

/* The engine's part of an accept, in engine_accept.opaque. */
struct __attribute__((__may_alias__)) accept_part {
    struct engine_acceptor *acceptor;
    uint64_t connected_at_ms;
    enum accept_state state;
    bool cancelled;
};
_Static_assert(sizeof(struct accept_part) <= sizeof(((struct engine_accept *)0)->opaque),
               "engine_accept.opaque is too small");

static struct accept_part *accept_part_of(const struct engine_accept *accept) {
    return (struct accept_part *)(uintptr_t)accept->opaque;
}

/* -- addresses --------------------------------------------------------------------------------- */

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static struct berth_address address_from_system(const union system_address *from) {
    struct berth_address address = {0};
    if (from->any.sa_family == AF_INET) {
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(from->v4.sin_port);
        memcpy(address.bytes, &from->v4.sin_addr, 4);
    } else if (from->any.sa_family == AF_INET6) {
        address.family = BERTH_FAMILY_IPV6;
        address.port = ntohs(from->v6.sin6_port);
        address.scope_id = from->v6.sin6_scope_id;
        memcpy(address.bytes, &from->v6.sin6_addr, 16);
        address_unmap(&address);
    }
    return address;
}

static socklen_t address_to_system(const struct berth_address *from, union system_address *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->port);
        to->v6.sin6_scope_id = from->scope_id;
        memcpy(&to->v6.sin6_addr, from->bytes, 16);
        return sizeof(to->v6);
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->bytes, 4);
    return sizeof(to->v4);
}

static struct berth_address local_address(int fd) {
    union system_address address = {0};
    socklen_t size = sizeof(address);
    if (getsockname(fd, &address.any, &size) != 0) {
        return (struct berth_address){0};
    }
    return address_from_system(&address);
}

/* -- listeners --------------------------------------------------------------------------------- */

/* The reasons an operator meets, in the words that every system's engine uses. */
static bool listen_error(struct error *error, int code) {
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
        return error_set(error, "%s", strerror(code));
    }
}

static bool switch_on(int fd, int level, int name) {
    int one = 1;
    return setsockopt(fd, level, name, &one, sizeof(one)) == 0;
}

/* A socket that is ready to be bound, or -1. What it sets is inherited by what it accepts. */
static int open_socket(const struct engine_listen_options *options) {
    bool v6 = options->address.family == BERTH_FAMILY_IPV6;
    int v6_only = options->v6_only;
    int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    /* SO_REUSEADDR lets a restarted host bind although connections of the last one are still in
     * TIME_WAIT; on Linux it does not let two sockets listen. */
    if (!switch_on(fd, SOL_SOCKET, SO_REUSEADDR) ||
        (options->no_delay && !switch_on(fd, IPPROTO_TCP, TCP_NODELAY)) ||
        (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) != 0)) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

static bool bind_patiently(int fd, const struct berth_address *address) {
    union system_address to;
    socklen_t size = address_to_system(address, &to);
    for (int tries = 1; bind(fd, &to.any, size) != 0; tries++) {
        if (errno != EADDRINUSE || tries == BIND_TRIES) {
            return false;
        }
        struct timespec pause = {.tv_nsec = BIND_PAUSE_MS * 1000000L};
        nanosleep(&pause, NULL);
        errno = EADDRINUSE;
    }
    return true;
}

/* The first socket is bound without SO_REUSEPORT: it fails when anybody has the port, even another
 * host of the same user that would share it. Only then do the others join it. */
static bool bind_all(struct engine_listener *listener,
                     const struct engine_listen_options *options) {
    struct berth_address address = options->address;
    for (unsigned i = 0; i < options->acceptors; i++) {
        int fd = open_socket(options);
        if (fd < 0) {
            return false;
        }
        listener->sockets[listener->count++] = fd;
        if (i > 0 && !switch_on(fd, SOL_SOCKET, SO_REUSEPORT)) {
            return false;
        }
        if (!bind_patiently(fd, &address)) {
            return false;
        }
        if (i == 0) {
            address = local_address(fd); /* with the port that the system chose */
            if (options->acceptors > 1 && !switch_on(fd, SOL_SOCKET, SO_REUSEPORT)) {
                return false;
            }
        }
    }
    listener->address = address;
    listener->any_address = address_is_any(&address);
    return true;
}

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    (void)engine;
    ASSERT(options->acceptors > 0);
    struct engine_listener *listener =
        alloc_zeroed(sizeof(*listener) + options->acceptors * sizeof(listener->sockets[0]));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->backlog = (int)options->backlog;
    if (!bind_all(listener, options)) {
        listen_error(error, errno);
        engine_listener_close(listener);
        return NULL;
    }
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    for (unsigned i = 0; i < listener->count; i++) {
        if (listen(listener->sockets[i], listener->backlog) != 0) {
            return listen_error(error, errno);
        }
    }
    return true;
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    for (unsigned i = 0; i < listener->count; i++) {
        close(listener->sockets[i]);
    }
    alloc_free(listener);
}

/* -- acceptors --------------------------------------------------------------------------------- */

static void make_due(struct engine_acceptor *acceptor) {
    acceptor->due = true;
    acceptor->port->acceptors_due = true;
}

static void arm_poll(struct engine_acceptor *acceptor) {
    struct io_uring_sqe *sqe = uring_sqe(acceptor->port);
    io_uring_prep_poll_multishot(sqe, acceptor->fd, POLLIN);
    uring_mark(sqe, acceptor, TAG_ACCEPT);
    acceptor->polling = true;
}

struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error) {
    ASSERT(index < listener->count);
    struct engine_acceptor *acceptor = alloc_zeroed(sizeof(*acceptor));
    if (!acceptor) {
        error_set(error, "out of memory");
        return NULL;
    }
    acceptor->port = port;
    acceptor->listener = listener;
    acceptor->starved = starved;
    acceptor->context = context;
    acceptor->fd = listener->sockets[index];
    DL_APPEND(port->acceptors, acceptor);
    arm_poll(acceptor);
    return acceptor;
}

/* While the poll is armed the kernel keeps the listening socket, whoever closes it: the cancel is
 * submitted here and now, so that the port is free once the listener is closed. */
void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (!acceptor) {
        return;
    }
    ASSERT(acceptor->started == 0);
    acceptor->destroyed = true;
    make_due(acceptor);
    uring_cancel(acceptor->port, acceptor, TAG_ACCEPT);
    io_uring_submit_and_get_events(&acceptor->port->ring);
}

static void acceptor_free(struct engine_acceptor *acceptor) {
    DL_DELETE(acceptor->port->acceptors, acceptor);
    alloc_free(acceptor);
}

void uring_acceptors_fini(struct engine_port *port) {
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        ASSERT(acceptor->destroyed);
        acceptor_free(acceptor);
    }
}

void uring_accept_ready(struct engine_acceptor *acceptor, uint32_t flags) {
    acceptor->polling = (flags & IORING_CQE_F_MORE) != 0;
    make_due(acceptor);
    if (acceptor->destroyed) {
        return;
    }
    acceptor->ready = true;
    if (!acceptor->polling) {
        arm_poll(acceptor);
    }
}

/* -- completing an accept ---------------------------------------------------------------------- */

/* From here on the acceptor is not touched for this accept, and may be destroyed. */
static void leave(struct engine_accept *accept) {
    struct accept_part *part = accept_part_of(accept);
    part->state = ACCEPT_ENDING;
    part->acceptor->started--;
}

static void complete(struct engine_accept *accept, int64_t result) {
    struct engine_port *port = accept_part_of(accept)->acceptor->port;
    leave(accept);
    uring_complete(port, &accept->op, result);
}

static void complete_cancelled(struct engine_accept *accept) {
    struct engine_port *port = accept_part_of(accept)->acceptor->port;
    engine_close(port->engine, accept->socket, true);
    accept->socket = ENGINE_NO_SOCKET;
    complete(accept, ENGINE_E_CANCELLED);
}

/* The client is gone and left nothing: the accept is again the first in line. */
static void lose_client(struct engine_accept *accept) {
    struct accept_part *part = accept_part_of(accept);
    engine_close(part->acceptor->port->engine, accept->socket, false);
    accept->socket = ENGINE_NO_SOCKET;
    if (part->cancelled) {
        complete(accept, ENGINE_E_CANCELLED);
        return;
    }
    part->state = ACCEPT_POSTED;
    list_prepend(&part->acceptor->posted, &accept->op);
    make_due(part->acceptor);
}

/* -- the first data ---------------------------------------------------------------------------- */

void uring_first_data_arm(struct engine_accept *accept) {
    struct accept_part *part = accept_part_of(accept);
    struct io_uring_sqe *sqe = uring_sqe(part->acceptor->port);
    io_uring_prep_recv(sqe, (int)accept->socket.handle, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    uring_mark(sqe, accept, TAG_FIRST_DATA);
    part->state = ACCEPT_WAITING;
}

static void wait_for_buffer(struct engine_accept *accept) {
    struct accept_part *part = accept_part_of(accept);
    part->state = ACCEPT_HUNGRY;
    uring_starve(part->acceptor->port, &accept->op);
}

static void try_first_data(struct engine_accept *accept) {
    const struct engine_buffer_source *source = &accept_part_of(accept)->acceptor->port->source;
    struct engine_buffer buffer;
    if (!source->take(source->context, &buffer)) {
        wait_for_buffer(accept);
        return;
    }
    ssize_t size = recv((int)accept->socket.handle, buffer.bytes, buffer.size, MSG_DONTWAIT);
    if (size > 0) {
        buffer.size = (uint32_t)size;
        accept->data = buffer;
        complete(accept, size);
        return;
    }
    int code = size < 0 ? errno : 0;
    source->give(source->context, buffer.owner);
    if (code == 0) {
        complete(accept, 0);
    } else if (code == EAGAIN || code == EINTR) {
        uring_first_data_arm(accept);
    } else {
        lose_client(accept);
    }
}

void uring_first_data_completed(struct engine_accept *accept, int32_t result, uint32_t flags) {
    struct accept_part *part = accept_part_of(accept);
    struct engine_port *port = part->acceptor->port;
    if (result > 0) {
        accept->data = uring_buffer_taken(port, flags);
        accept->data.size = (uint32_t)result;
        complete(accept, result);
        uring_buffers_refill(port);
        return;
    }
    uring_buffer_unused(port, flags);
    if (result == 0) {
        complete(accept, 0);
    } else if (part->cancelled) {
        complete_cancelled(accept);
    } else if (result == -ENOBUFS) {
        wait_for_buffer(accept);
    } else if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) {
        uring_first_data_arm(accept);
    } else {
        lose_client(accept);
    }
}

/* -- accepting --------------------------------------------------------------------------------- */

static void take_client(struct engine_acceptor *acceptor, int fd,
                        const union system_address *remote) {
    struct engine_accept *accept =
        CONTAINER_OF(list_take(&acceptor->posted), struct engine_accept, op);
    accept->socket.handle = fd;
    accept->remote = address_from_system(remote);
    accept->local =
        acceptor->listener->any_address ? local_address(fd) : acceptor->listener->address;
    if (accept->with_data) {
        accept_part_of(accept)->connected_at_ms = os_now_ms();
        try_first_data(accept);
    } else {
        complete(accept, 0);
    }
}

static void fail_one(struct engine_acceptor *acceptor, int code) {
    complete(CONTAINER_OF(list_take(&acceptor->posted), struct engine_accept, op),
             uring_translate(code));
}

static void accept_one(struct engine_acceptor *acceptor) {
    union system_address remote = {0};
    socklen_t size = sizeof(remote);
    /* Not SOCK_NONBLOCK: the ring would not wait for such a socket, and all else says DONTWAIT. */
    int fd = accept4(acceptor->fd, &remote.any, &size, SOCK_CLOEXEC);
    if (fd >= 0) {
        take_client(acceptor, fd, &remote);
        return;
    }
    switch (errno) {
    case EAGAIN:
        acceptor->ready = false;
        break;
    case EINTR:
    case ECONNABORTED: /* this one and what follows: the fate of one client, see accept(2) */
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
    default: /* a shortage: every posted accept tells of it, and then there is none to spin */
        fail_one(acceptor, errno);
        break;
    }
}

/* `ready` may be stale when nothing was left to accept with: the kernel is asked. */
static bool clients_queue(struct engine_acceptor *acceptor) {
    struct pollfd listening = {.fd = acceptor->fd, .events = POLLIN};
    acceptor->ready = poll(&listening, 1, 0) == 1 && (listening.revents & POLLIN) != 0;
    return acceptor->ready;
}

static void serve(struct engine_acceptor *acceptor) {
    for (int i = 0; i < ACCEPTS_MAX && acceptor->ready && acceptor->posted.first; i++) {
        accept_one(acceptor);
    }
    if (!acceptor->ready || acceptor->destroyed) {
        return;
    }
    if (acceptor->posted.first) {
        make_due(acceptor);
    } else if (!acceptor->told && clients_queue(acceptor)) {
        acceptor->told = true;
        acceptor->port->ran++;
        acceptor->starved(acceptor, acceptor->context);
    }
}

/* Callbacks may create acceptors, which are appended, and destroy them, which does not free them
 * before the kernel has let go of them. */
void uring_accept_check(struct engine_port *port) {
    if (!port->acceptors_due) {
        return;
    }
    port->acceptors_due = false;
    struct engine_acceptor *acceptor;
    struct engine_acceptor *next;
    DL_FOREACH_SAFE(port->acceptors, acceptor, next) {
        if (acceptor->destroyed && !acceptor->polling) {
            acceptor_free(acceptor);
        } else if (acceptor->due) {
            acceptor->due = false;
            serve(acceptor);
        }
    }
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    ASSERT(!acceptor->destroyed);
    accept->socket = ENGINE_NO_SOCKET;
    accept->data = (struct engine_buffer){0};
    *part_of(&accept->op) = (struct op_part){.is_accept = true};
    *accept_part_of(accept) = (struct accept_part){.acceptor = acceptor, .state = ACCEPT_POSTED};
    list_append(&acceptor->posted, &accept->op);
    acceptor->started++;
    acceptor->port->pending++;
    acceptor->told = false;
    if (acceptor->ready) {
        make_due(acceptor);
    }
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    const struct accept_part *part = accept_part_of(accept);
    if (part->state != ACCEPT_WAITING && part->state != ACCEPT_HUNGRY) {
        return -1;
    }
    return (int64_t)(os_now_ms() - part->connected_at_ms);
}

static void cancel_later(struct engine_port *port, struct engine_accept *accept) {
    leave(accept);
    uring_defer(port, &accept->op, ENGINE_E_CANCELLED);
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct accept_part *part = accept_part_of(accept);
    struct engine_port *port = acceptor->port;
    switch (part->state) {
    case ACCEPT_POSTED:
        list_remove(&acceptor->posted, &accept->op);
        cancel_later(port, accept);
        break;
    case ACCEPT_WAITING:
        if (!part->cancelled) {
            part->cancelled = true;
            uring_cancel(port, accept, TAG_FIRST_DATA);
        }
        break;
    case ACCEPT_HUNGRY:
        list_remove(&port->hungry, &accept->op);
        engine_close(port->engine, accept->socket, true);
        accept->socket = ENGINE_NO_SOCKET;
        cancel_later(port, accept);
        break;
    case ACCEPT_ENDING:
        break;
    }
}
