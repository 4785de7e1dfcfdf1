/* engine_uring_accept.c: posted accepts, as AcceptEx has them, over one multishot accept.
 *
 * The kernel's multishot accept brings connections for as long as accepts are posted; each takes the
 * oldest post. When the posts run out it is cancelled; what it still brings is held, as if it were
 * still in the backlog, and goes to the next posts before anything else.
 *
 * An accept with data tries to receive at once: a client that connects and speaks in one go costs no
 * second wake-up. Only where nothing is there yet is the socket polled.
 *
 * An address has a listening socket for every worker (SO_REUSEPORT), between which the kernel spreads
 * the clients. The first is bound without that option, so that a foreign socket on the port is an
 * error and not a partner, and gets it afterwards so that its siblings may join; a stranger's bind
 * finds the same wall, unless it is a process of the same user that asks for SO_REUSEPORT too. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/engine_uring.h"

enum {
    BIND_TRIES = 20,        /* a killed process's ring holds its ports for some 15 ms */
    BIND_RETRY_MS = 10,
    HELD_MAX = 4096,        /* connections the kernel brings after the posts have run out */
};

struct engine_listener {
    struct berth_address address;
    unsigned backlog;
    unsigned count;
    int fds[];
};

struct held {
    int fd;
    int64_t since_ms;
};

struct engine_acceptor {
    struct engine_port *port;
    const struct engine_listener *listener;
    engine_starved_fn *starved;
    void *context;
    struct engine_acceptor *next_unchecked;
    int fd;
    struct op_list posted;
    struct held *held; /* a ring of held_capacity */
    unsigned held_first;
    unsigned held_count;
    unsigned held_capacity;
    bool unchecked;
    bool accept_armed;
    bool accept_cancelling;
    bool poll_armed;
    bool clients_queue;    /* the poll found some */
    bool starved_reported; /* until another accept is posted */
    bool exhausted;        /* out of descriptors or memory: quiet until another accept is posted */
    bool destroyed;        /* freed when the kernel has let go of it */
};

/* What engine_accept.opaque holds. */
struct accept_part {
    struct engine_acceptor *acceptor;
    int64_t since_ms; /* when its client connected */
    int fd;           /* its client, or -1 */
    bool queued;      /* in acceptor->posted */
    bool waiting;     /* for the first data, in the kernel */
    bool cancelled;
};
_Static_assert(sizeof(struct accept_part) <= sizeof(((struct engine_accept *)0)->opaque), "it fits");

static struct accept_part *accept_part(const struct engine_accept *accept) {
    return (struct accept_part *)(void *)(uintptr_t)accept->opaque;
}

static struct engine_accept *accept_of(struct engine_op *op) {
    return CONTAINER_OF(op, struct engine_accept, op);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* -- addresses ----------------------------------------------------------------------------------- */

union socket_address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static socklen_t to_system(const struct berth_address *address, union socket_address *system) {
    memset(system, 0, sizeof(*system));
    if (address->family == BERTH_FAMILY_IPV4) {
        system->four.sin_family = AF_INET;
        system->four.sin_port = htons(address->port);
        memcpy(&system->four.sin_addr, address->bytes, 4);
        return sizeof(system->four);
    }
    system->six.sin6_family = AF_INET6;
    system->six.sin6_port = htons(address->port);
    system->six.sin6_scope_id = address->scope_id;
    memcpy(&system->six.sin6_addr, address->bytes, 16);
    return sizeof(system->six);
}

static struct berth_address from_system(const union socket_address *system) {
    struct berth_address address = {0};
    if (system->any.sa_family == AF_INET) {
        address.family = BERTH_FAMILY_IPV4;
        address.port = ntohs(system->four.sin_port);
        memcpy(address.bytes, &system->four.sin_addr, 4);
    } else if (system->any.sa_family == AF_INET6) {
        address.family = BERTH_FAMILY_IPV6;
        address.port = ntohs(system->six.sin6_port);
        address.scope_id = system->six.sin6_scope_id;
        memcpy(address.bytes, &system->six.sin6_addr, 16);
        address_unmap(&address);
    }
    return address;
}

static struct berth_address local_address(int fd) {
    union socket_address system = {0};
    socklen_t size = sizeof(system);
    getsockname(fd, &system.any, &size); /* a failure leaves it unknown */
    return from_system(&system);
}

static struct berth_address remote_address(int fd) {
    union socket_address system = {0};
    socklen_t size = sizeof(system);
    getpeername(fd, &system.any, &size); /* fails for one that has gone already: unknown */
    return from_system(&system);
}

/* -- listeners ----------------------------------------------------------------------------------- */

static bool set_option(int fd, int level, int name, int value, const char *what,
                       struct error *error) {
    if (setsockopt(fd, level, name, &value, sizeof(value)) != 0) {
        return error_set(error, "%s: %s", what, strerror(errno));
    }
    return true;
}

static const char *bind_reason(int code) {
    switch (code) {
    case EADDRINUSE:
        return "address in use";
    case EADDRNOTAVAIL:
        return "address not available on this machine";
    case EACCES:
        return "access denied (ports below 1024 need the capability CAP_NET_BIND_SERVICE)";
    case EAFNOSUPPORT:
        return "address family not supported by this machine";
    default:
        return strerror(code);
    }
}

static bool bind_patiently(int fd, const struct berth_address *address, struct error *error) {
    union socket_address system;
    socklen_t size = to_system(address, &system);
    for (int i = 1; bind(fd, &system.any, size) != 0; i++) {
        if (errno != EADDRINUSE || i == BIND_TRIES) {
            return error_set(error, "%s", bind_reason(errno));
        }
        struct timespec pause = {.tv_nsec = BIND_RETRY_MS * 1000000L};
        nanosleep(&pause, NULL);
    }
    return true;
}

static int open_socket(const struct engine_listen_options *options,
                       const struct berth_address *address, bool first, struct error *error) {
    bool six = address->family == BERTH_FAMILY_IPV6;
    int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        error_set(error, "%s", bind_reason(errno));
        return -1;
    }
    bool shared = options->acceptors > 1;
    if (!set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR", error) ||
        (six && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6_only, "IPV6_V6ONLY",
                            error)) ||
        (shared && !first && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", error)) ||
        /* Accepted sockets inherit it. */
        (options->no_delay && !set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY", error)) ||
        !bind_patiently(fd, address, error) ||
        (shared && first && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT", error))) {
        close(fd);
        return -1;
    }
    return fd;
}

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    (void)engine;
    struct engine_listener *listener =
        alloc_zeroed(sizeof(*listener) + options->acceptors * sizeof(listener->fds[0]));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->address = options->address;
    listener->backlog = options->backlog;
    for (; listener->count < options->acceptors; listener->count++) {
        bool first = listener->count == 0;
        int fd = open_socket(options, &listener->address, first, error);
        if (fd < 0) {
            engine_listener_close(listener);
            return NULL;
        }
        listener->fds[listener->count] = fd;
        if (first) { /* the others go to the port it got */
            struct berth_address actual = local_address(fd);
            listener->address.port = actual.port;
        }
    }
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    for (unsigned i = 0; i < listener->count; i++) {
        if (listen(listener->fds[i], (int)listener->backlog) != 0) {
            return error_set(error, "%s", bind_reason(errno));
        }
    }
    return true;
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    for (unsigned i = 0; i < listener->count; i++) {
        /* A ring that is just letting go of it holds the file a moment longer: this ends the
         * listening now. */
        shutdown(listener->fds[i], SHUT_RDWR);
        close(listener->fds[i]);
    }
    alloc_free(listener);
}

/* -- acceptors ----------------------------------------------------------------------------------- */

/* To be looked at when the turn is over: a callback may post again what a completion took. */
static void uncheck(struct engine_acceptor *acceptor) {
    if (!acceptor->unchecked) {
        acceptor->unchecked = true;
        acceptor->next_unchecked = acceptor->port->unchecked;
        acceptor->port->unchecked = acceptor;
    }
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
    acceptor->fd = listener->fds[index];
    uncheck(acceptor); /* clients may queue before the first accept is posted */
    return acceptor;
}

static struct held held_take(struct engine_acceptor *acceptor) {
    struct held held = acceptor->held[acceptor->held_first];
    acceptor->held_first = (acceptor->held_first + 1) % acceptor->held_capacity;
    acceptor->held_count--;
    return held;
}

static bool held_grow(struct engine_acceptor *acceptor) {
    unsigned capacity = acceptor->held_capacity ? acceptor->held_capacity * 2 : 64;
    struct held *grown =
        capacity <= HELD_MAX ? alloc_array(capacity, sizeof(*acceptor->held)) : NULL;
    if (!grown) {
        return false;
    }
    unsigned count = acceptor->held_count;
    for (unsigned i = 0; i < count; i++) {
        grown[i] = held_take(acceptor);
    }
    alloc_free(acceptor->held);
    acceptor->held = grown;
    acceptor->held_first = 0;
    acceptor->held_count = count;
    acceptor->held_capacity = capacity;
    return true;
}

static void hold(struct engine_acceptor *acceptor, int fd) {
    if (acceptor->held_count == acceptor->held_capacity && !held_grow(acceptor)) {
        log_warn(NULL, "io_uring: a connection was accepted and there is no room to hold it: reset");
        engine_close(acceptor->port->engine, (struct engine_socket){fd}, true);
        return;
    }
    unsigned place = (acceptor->held_first + acceptor->held_count) % acceptor->held_capacity;
    acceptor->held[place] = (struct held){fd, now_ms()};
    acceptor->held_count++;
}

static void free_acceptor(struct engine_acceptor *acceptor) {
    if (!acceptor->accept_armed && !acceptor->poll_armed && !acceptor->unchecked) {
        alloc_free(acceptor->held);
        alloc_free(acceptor);
    }
}

static void disarm(struct engine_acceptor *acceptor) {
    if (acceptor->accept_armed && !acceptor->accept_cancelling) {
        acceptor->accept_cancelling = true;
        uring_cancel(acceptor->port, acceptor, TAG_ACCEPT);
    }
}

void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (!acceptor) {
        return;
    }
    ASSERT(!acceptor->posted.first);
    while (acceptor->held_count > 0) {
        engine_close(acceptor->port->engine, (struct engine_socket){held_take(acceptor).fd}, true);
    }
    acceptor->destroyed = true;
    disarm(acceptor);
    if (acceptor->poll_armed) {
        uring_cancel(acceptor->port, acceptor, TAG_STARVED);
    }
    free_acceptor(acceptor);
}

/* -- one accept ---------------------------------------------------------------------------------- */

/* Its way through the engine ends: at once in a turn of the loop, else in the next one. */
static void complete(struct engine_accept *accept, int64_t result, bool in_turn) {
    struct engine_port *port = accept_part(accept)->acceptor->port;
    if (in_turn) {
        port->pending--;
        accept->op.complete(&accept->op, result);
    } else {
        uring_defer(port, &accept->op, result);
    }
}

static void complete_failed(struct engine_accept *accept, int64_t result, bool in_turn) {
    struct accept_part *part = accept_part(accept);
    if (part->fd >= 0) {
        engine_close(part->acceptor->port->engine, (struct engine_socket){part->fd}, true);
        part->fd = -1;
    }
    accept->socket = ENGINE_NO_SOCKET;
    complete(accept, result, in_turn);
}

static void complete_connected(struct engine_accept *accept, int64_t result, bool in_turn) {
    struct accept_part *part = accept_part(accept);
    accept->socket = (struct engine_socket){part->fd};
    accept->remote = remote_address(part->fd);
    /* A listener on one address knows what its connections have; one on all must ask. */
    accept->local = part->acceptor->listener->address;
    if (address_is_any(&accept->local)) {
        accept->local = local_address(part->fd);
    }
    part->fd = -1;
    complete(accept, result, in_turn);
}

static void wait_for_data(struct engine_accept *accept) {
    struct accept_part *part = accept_part(accept);
    struct io_uring_sqe *sqe = uring_sqe(part->acceptor->port);
    io_uring_prep_poll_add(sqe, part->fd, POLLIN | POLLRDHUP);
    uring_mark(sqe, accept, TAG_FIRST_DATA);
    part->waiting = true;
}

static void try_first_data(struct engine_accept *accept, bool in_turn) {
    struct accept_part *part = accept_part(accept);
    struct engine_buffer_source *source = &part->acceptor->port->source;
    struct engine_buffer buffer;
    ssize_t size;
    if (!source->take(source->context, &buffer)) {
        complete_failed(accept, ENGINE_E_NO_RESOURCES, in_turn);
        return;
    }
    do {
        size = recv(part->fd, buffer.bytes, buffer.size, MSG_DONTWAIT);
    } while (size < 0 && errno == EINTR);
    int code = errno;
    if (size > 0) {
        buffer.size = (uint32_t)size;
        accept->data = buffer;
        complete_connected(accept, size, in_turn);
        return;
    }
    source->give(source->context, buffer.owner);
    if (size == 0) {
        complete_connected(accept, 0, in_turn);
    } else if (code == EAGAIN) {
        wait_for_data(accept);
    } else {
        complete_failed(accept, uring_translate(code), in_turn);
    }
}

/* The accept gets its client. */
static void begin(struct engine_accept *accept, struct held client, bool in_turn) {
    struct accept_part *part = accept_part(accept);
    part->fd = client.fd;
    part->since_ms = client.since_ms;
    accept->data = (struct engine_buffer){0};
    if (accept->with_data) {
        try_first_data(accept, in_turn);
    } else {
        complete_connected(accept, 0, in_turn);
    }
}

static struct engine_accept *take_posted(struct engine_acceptor *acceptor) {
    struct engine_op *op = list_take(&acceptor->posted);
    if (!op) {
        return NULL;
    }
    accept_part(accept_of(op))->queued = false;
    return accept_of(op);
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    *part_of(&accept->op) = (struct op_part){0};
    *accept_part(accept) = (struct accept_part){.acceptor = acceptor, .fd = -1};
    acceptor->port->pending++;
    acceptor->starved_reported = false;
    acceptor->exhausted = false;
    if (acceptor->held_count > 0 && !acceptor->posted.first) {
        begin(accept, held_take(acceptor), false);
        return;
    }
    accept_part(accept)->queued = true;
    list_append(&acceptor->posted, &accept->op);
    uncheck(acceptor);
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    const struct accept_part *part = accept_part(accept);
    return part->fd >= 0 ? now_ms() - part->since_ms : -1;
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    struct accept_part *part = accept_part(accept);
    if (part->queued) {
        list_remove(&acceptor->posted, &accept->op);
        part->queued = false;
        uncheck(acceptor);
        complete_failed(accept, ENGINE_E_CANCELLED, false);
    } else if (part->waiting && !part->cancelled) {
        part->cancelled = true;
        uring_cancel(acceptor->port, accept, TAG_FIRST_DATA);
    }
}

void uring_first_data_completed(struct engine_accept *accept, int32_t result) {
    struct accept_part *part = accept_part(accept);
    part->waiting = false;
    if (part->cancelled) {
        complete_failed(accept, ENGINE_E_CANCELLED, true);
    } else if (result < 0) {
        complete_failed(accept, uring_translate(-result), true);
    } else {
        try_first_data(accept, true);
    }
}

/* -- the multishot accept -------------------------------------------------------------------------- */

/* Out of something: one accept says so, and the rest stays quiet until another one is posted. */
static void run_out(struct engine_acceptor *acceptor, int code) {
    struct engine_accept *accept = take_posted(acceptor);
    acceptor->exhausted = true;
    if (accept) {
        complete_failed(accept, uring_translate(code), true);
    }
}

void uring_accept_completed(struct engine_acceptor *acceptor, int32_t result, uint32_t flags) {
    if ((flags & IORING_CQE_F_MORE) == 0) {
        acceptor->accept_armed = false;
        acceptor->accept_cancelling = false;
        acceptor->port->pending--;
    }
    uncheck(acceptor);
    if (result >= 0 && acceptor->destroyed) {
        engine_close(acceptor->port->engine, (struct engine_socket){result}, true);
    } else if (result >= 0) {
        /* Those that are held came first. */
        struct engine_accept *accept = acceptor->held_count > 0 ? NULL : take_posted(acceptor);
        if (accept) {
            begin(accept, (struct held){result, now_ms()}, true);
        } else {
            hold(acceptor, result);
        }
    } else if (uring_translate(-result) == ENGINE_E_NO_RESOURCES) {
        run_out(acceptor, -result);
    }
    /* Any other error belongs to a client that is gone (accept(2)), or is our own cancelling. */
}

void uring_starved_completed(struct engine_acceptor *acceptor) {
    acceptor->poll_armed = false;
    acceptor->clients_queue = true;
    acceptor->port->pending--;
    uncheck(acceptor);
}

static void arm_accept(struct engine_acceptor *acceptor) {
    struct io_uring_sqe *sqe = uring_sqe(acceptor->port);
    io_uring_prep_multishot_accept(sqe, acceptor->fd, NULL, NULL, SOCK_CLOEXEC);
    uring_mark(sqe, acceptor, TAG_ACCEPT);
    acceptor->accept_armed = true;
    acceptor->port->pending++;
}

static void arm_poll(struct engine_acceptor *acceptor) {
    struct io_uring_sqe *sqe = uring_sqe(acceptor->port);
    io_uring_prep_poll_add(sqe, acceptor->fd, POLLIN);
    uring_mark(sqe, acceptor, TAG_STARVED);
    acceptor->poll_armed = true;
    acceptor->port->pending++;
}

/* Posts that came while clients were held take those. */
static void serve_held(struct engine_acceptor *acceptor) {
    while (acceptor->held_count > 0 && acceptor->posted.first) {
        struct held client = held_take(acceptor);
        begin(take_posted(acceptor), client, true);
    }
}

static void report_starved(struct engine_acceptor *acceptor) {
    bool queue = acceptor->held_count > 0 || acceptor->clients_queue;
    acceptor->clients_queue = false;
    if (queue && !acceptor->starved_reported) {
        acceptor->starved_reported = true;
        acceptor->starved(acceptor, acceptor->context);
    }
}

static void check(struct engine_acceptor *acceptor) {
    if (acceptor->destroyed) {
        free_acceptor(acceptor);
        return;
    }
    serve_held(acceptor);
    if (acceptor->posted.first) {
        acceptor->clients_queue = false;
        if (!acceptor->accept_armed && !acceptor->exhausted) {
            arm_accept(acceptor);
        }
        return;
    }
    disarm(acceptor);
    /* May post, which brings the acceptor here again, or destroy it: nothing follows. */
    if (acceptor->held_count > 0 || acceptor->clients_queue) {
        report_starved(acceptor);
    } else if (!acceptor->accept_armed && !acceptor->poll_armed && !acceptor->starved_reported) {
        arm_poll(acceptor);
    }
}

void uring_accept_check(struct engine_port *port) {
    while (port->unchecked) {
        struct engine_acceptor *acceptor = port->unchecked;
        port->unchecked = acceptor->next_unchecked;
        acceptor->unchecked = false;
        check(acceptor);
    }
}
