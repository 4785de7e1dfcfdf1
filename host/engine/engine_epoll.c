/* engine_epoll.c: waiting by epoll, where io_uring is refused.
 *
 * One epoll instance a port. Everything is tried first, and the descriptor is watched only when the
 * attempt finds nothing: most first requests are there already. An armed receive stays registered,
 * level-triggered: an event is one attempt with one buffer, and what is left brings the next event,
 * so a flood gets its turn and no more. Batches are small for the same reason.
 *
 * epoll knows one registration a descriptor, and a receive and a send may be waiting on the same,
 * so the port has a table of what is watched, by the number of the descriptor. It is only ever
 * changed by the port's thread. A registration ends before its socket is closed, as the number may
 * at once be another socket's, on another port. Only an accept that was heard of leaves one behind,
 * dumb, since whoever gets the connection may live on this port: so what the table says of a
 * registration is a guess, and epoll's own answer (EEXIST, ENOENT) corrects it. An event of this
 * turn that nobody waits for any more is ignored.
 *
 * Listening sockets are watched edge-triggered: clients may queue for long while a limit leaves no
 * room, and accepting remembers that they do. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/macros.h"
#include "engine/engine_linux.h"

enum {
    EVENTS_MAX = 64,  /* a turn: few, so that new connections are not starved */
    WATCHES_MIN = 64, /* the table's size at first */
};

/* What waits for a descriptor. */
struct watch {
    struct engine_acceptor *acceptor;
    struct engine_accept *accept; /* for its first data */
    struct engine_receive *receive;
    struct engine_op *send;
    bool is_registered; /* as far as we know */
};

struct epoll_port {
    struct engine_port common; /* first, so that one is the other */
    int fd;
    struct watch *watches; /* by descriptor */
    unsigned watch_count;
    struct op_list attempts; /* armed receives to be tried in this turn */
    struct epoll_event events[EVENTS_MAX];
    unsigned event_count;
};

static struct epoll_port *epoll_of(struct engine_port *port) {
    return (struct epoll_port *)port;
}

/* -- the table ----------------------------------------------------------------------------------
 */

static bool table_reach(struct epoll_port *port, int fd) {
    unsigned count = port->watch_count > 0 ? port->watch_count : WATCHES_MIN;
    while (count <= (unsigned)fd) {
        count *= 2;
    }
    if (count == port->watch_count) {
        return true;
    }
    struct watch *watches = alloc_resize(port->watches, count * sizeof(*watches));
    if (!watches) {
        return false;
    }
    memset(watches + port->watch_count, 0, (count - port->watch_count) * sizeof(*watches));
    port->watches = watches;
    port->watch_count = count;
    return true;
}

static uint32_t wanted_events(const struct watch *watch) {
    if (watch->acceptor) {
        return EPOLLIN | EPOLLET;
    }
    if (watch->accept) {
        /* Whoever gets the connection may live on another port: nothing is heard here any more. */
        return EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;
    }
    uint32_t events = 0;
    if (watch->receive) {
        events |= EPOLLIN | EPOLLRDHUP;
    }
    if (watch->send) {
        events |= EPOLLOUT;
    }
    return events;
}

/* Tells epoll what the watch is for. False: the code is in errno. */
static bool watch_register(struct epoll_port *port, int fd) {
    struct watch *watch = &port->watches[fd];
    struct epoll_event event = {.events = wanted_events(watch), .data.fd = fd};
    int first = watch->is_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int second = watch->is_registered ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (event.events == 0) {
        if (watch->is_registered) {
            epoll_ctl(port->fd, EPOLL_CTL_DEL, fd, NULL); /* perhaps it was only a guess */
        }
        watch->is_registered = false;
        return true;
    }
    watch->is_registered =
        epoll_ctl(port->fd, first, fd, &event) == 0 ||
        ((errno == EEXIST || errno == ENOENT) && epoll_ctl(port->fd, second, fd, &event) == 0);
    return watch->is_registered;
}

/* Nobody waits for something to read any more. */
static void watch_leave(struct epoll_port *port, int fd) {
    port->watches[fd].receive = NULL;
    port->watches[fd].accept = NULL;
    watch_register(port, fd);
}

/* -- ports ------------------------------------------------------------------------------------- */

static struct engine_port *port_alloc(void) {
    return alloc_zeroed(sizeof(struct epoll_port));
}

static void port_fini(struct engine_port *common) {
    struct epoll_port *port = epoll_of(common);
    close(port->fd);
    alloc_free(port->watches);
}

static bool port_init(struct engine_port *common, const struct engine_port_options *options,
                      struct error *error) {
    struct epoll_port *port = epoll_of(common);
    (void)options; /* buffers are taken one by one, when there is something to receive */
    port->fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->fd < 0) {
        return error_set(error, "creating an epoll instance: %s", strerror(errno));
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = common->wake_fd};
    if (!table_reach(port, common->wake_fd)) {
        error_set(error, "out of memory");
    } else if (epoll_ctl(port->fd, EPOLL_CTL_ADD, common->wake_fd, &event) != 0) {
        error_set(error, "watching an eventfd: %s", strerror(errno));
    } else {
        return true;
    }
    port_fini(common);
    return false;
}

static void wait_for_events(struct engine_port *common, int timeout_ms) {
    struct epoll_port *port = epoll_of(common);
    int count =
        epoll_wait(port->fd, port->events, EVENTS_MAX, port->attempts.first ? 0 : timeout_ms);
    port->event_count = count > 0 ? (unsigned)count : 0; /* EINTR: the caller comes again */
}

/* -- receiving --------------------------------------------------------------------------------- */

static struct engine_receive *receive_of(struct engine_op *op) {
    return CONTAINER_OF(op, struct engine_receive, op);
}

static void receive_end(struct epoll_port *port, struct engine_receive *receive, int64_t result) {
    struct op_part *part = part_of(&receive->op);
    if ((unsigned)part->fd < port->watch_count) {
        watch_leave(port, part->fd);
    }
    part->armed = false;
    linux_complete(&port->common, &receive->op, result);
}

/* It was tried and there was nothing: from now on epoll tells. */
static void receive_watch(struct epoll_port *port, struct engine_receive *receive) {
    int fd = part_of(&receive->op)->fd;
    if (!table_reach(port, fd)) {
        receive_end(port, receive, ENGINE_E_NO_RESOURCES);
        return;
    }
    struct watch *watch = &port->watches[fd];
    if (watch->receive == receive && watch->is_registered) {
        return;
    }
    watch->receive = receive;
    if (!watch_register(port, fd)) {
        receive_end(port, receive, linux_translate(errno));
    }
}

/* There is no memory for it: it is tried again with the others that wait, and not before. */
static void receive_starve(struct epoll_port *port, struct engine_receive *receive) {
    struct op_part *part = part_of(&receive->op);
    if ((unsigned)part->fd < port->watch_count) {
        watch_leave(port, part->fd);
    }
    part->armed = false;
    part->hungry = true;
    list_append(&port->common.hungry, &receive->op);
}

static void attempt_later(struct epoll_port *port, struct engine_receive *receive) {
    part_of(&receive->op)->armed = true;
    list_append(&port->attempts, &receive->op);
}

static void receive_deliver(struct epoll_port *port, struct engine_receive *receive,
                            struct engine_buffer buffer, ssize_t size) {
    struct op_part *part = part_of(&receive->op);
    bool is_watched =
        (unsigned)part->fd < port->watch_count && port->watches[part->fd].receive == receive;
    buffer.size = (uint32_t)size;
    receive->data = buffer;
    part->armed = false; /* a stop from within the callback waits for its return */
    port->common.ran++;
    receive->op.complete(&receive->op, size);
    if (part->stopping) {
        if (is_watched) {
            watch_leave(port, part->fd);
        }
        linux_defer(&port->common, &receive->op, ENGINE_E_CANCELLED);
    } else if (is_watched) {
        part->armed = true;
    } else {
        attempt_later(port, receive);
    }
}

static void receive_attempt(struct epoll_port *port, struct engine_receive *receive) {
    const struct engine_buffer_source *source = &port->common.source;
    struct op_part *part = part_of(&receive->op);
    struct engine_buffer buffer;
    if (part->stopping) {
        receive_end(port, receive, ENGINE_E_CANCELLED);
        return;
    }
    if (!source->take(source->context, &buffer)) {
        receive_starve(port, receive);
        return;
    }
    ssize_t size = recv(part->fd, buffer.bytes, buffer.size, MSG_DONTWAIT);
    if (size > 0) {
        receive_deliver(port, receive, buffer, size);
        return;
    }
    int code = size < 0 ? errno : 0;
    source->give(source->context, buffer.owner);
    if (code == EAGAIN || code == EINTR) {
        receive_watch(port, receive);
    } else {
        receive_end(port, receive, linux_translate(code)); /* 0 is the peer's FIN */
    }
}

static void receive_arm(struct engine_port *port, struct engine_receive *receive) {
    attempt_later(epoll_of(port), receive);
}

/* In the list of attempts it is ended when its turn comes. */
static void receive_disarm(struct engine_port *common, struct engine_receive *receive) {
    struct epoll_port *port = epoll_of(common);
    struct op_part *part = part_of(&receive->op);
    if ((unsigned)part->fd < port->watch_count && port->watches[part->fd].receive == receive) {
        watch_leave(port, part->fd);
        part->armed = false;
        linux_defer(common, &receive->op, ENGINE_E_CANCELLED);
    }
}

/* Those that are put into the list meanwhile have their turn next time. */
static void run_attempts(struct epoll_port *port) {
    struct op_list list = port->attempts;
    port->attempts = (struct op_list){0};
    for (struct engine_op *op = list_take(&list); op; op = list_take(&list)) {
        receive_attempt(port, receive_of(op));
    }
}

/* -- what else is waited for --------------------------------------------------------------------
 */

static bool clients_await(struct engine_acceptor *acceptor) {
    struct epoll_port *port = epoll_of(acceptor->port);
    if (!table_reach(port, acceptor->fd)) {
        errno = ENOMEM;
        return false;
    }
    port->watches[acceptor->fd].acceptor = acceptor;
    acceptor->polling = watch_register(port, acceptor->fd);
    if (!acceptor->polling) {
        port->watches[acceptor->fd].acceptor = NULL;
    }
    return acceptor->polling;
}

static void clients_forget(struct engine_acceptor *acceptor) {
    struct epoll_port *port = epoll_of(acceptor->port);
    port->watches[acceptor->fd].acceptor = NULL;
    watch_register(port, acceptor->fd);
    acceptor->polling = false;
}

static void first_data_await(struct engine_port *common, struct engine_accept *accept) {
    struct epoll_port *port = epoll_of(common);
    int fd = (int)accept->socket.handle;
    if (table_reach(port, fd)) {
        port->watches[fd].accept = accept;
        if (watch_register(port, fd)) {
            return;
        }
        port->watches[fd].accept = NULL;
    }
    linux_first_data_starve(accept); /* tried again with the others that wait for memory */
}

static void first_data_forget(struct engine_port *common, struct engine_accept *accept) {
    watch_leave(epoll_of(common), (int)accept->socket.handle);
    linux_first_data_forgotten(accept);
}

static void send_arm(struct engine_port *common, struct engine_op *op) {
    struct epoll_port *port = epoll_of(common);
    int fd = part_of(op)->fd;
    if (table_reach(port, fd)) {
        port->watches[fd].send = op;
        if (watch_register(port, fd)) {
            return;
        }
        port->watches[fd].send = NULL;
    }
    part_of(op)->armed = false;
    linux_defer(common, op, ENGINE_E_NO_RESOURCES);
}

static void send_disarm(struct engine_port *common, struct engine_op *op) {
    struct epoll_port *port = epoll_of(common);
    int fd = part_of(op)->fd;
    port->watches[fd].send = NULL;
    watch_register(port, fd);
    part_of(op)->armed = false;
    linux_defer(common, op, ENGINE_E_CANCELLED);
}

static struct engine_connect *connect_of(struct engine_op *op) {
    return CONTAINER_OF(op, struct engine_connect, op);
}

static void connect_end(struct engine_port *port, struct engine_connect *connect, int code) {
    fcntl((int)connect->socket.handle, F_SETFL, 0); /* for what the engines share */
    linux_connected(port, connect, code);
}

/* The descriptor can be written, or has an error: whichever it was, the socket tells. */
static void send_ready(struct epoll_port *port, int fd) {
    struct engine_op *op = port->watches[fd].send;
    port->watches[fd].send = NULL;
    watch_register(port, fd);
    part_of(op)->armed = false;
    if (part_of(op)->is_connect) {
        int code = 0;
        socklen_t size = sizeof(code);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
        connect_end(&port->common, connect_of(op), code);
    } else {
        linux_complete(&port->common, op, 0);
    }
}

/* What connect() says at once is told in the next turn, when the descriptor has an event for it. */
static void connect_start(struct engine_port *common, struct engine_connect *attempt) {
    struct epoll_port *port = epoll_of(common);
    union system_address to;
    socklen_t size = linux_address_to_system(&attempt->remote, &to);
    int fd = (int)attempt->socket.handle;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    int code = connect(fd, &to.any, size) == 0 ? 0 : errno;
    if ((code == 0 || code == EINPROGRESS) && table_reach(port, fd)) {
        port->watches[fd].send = &attempt->op;
        if (watch_register(port, fd)) {
            return;
        }
        port->watches[fd].send = NULL;
        code = errno;
    }
    linux_connect_failed(common, attempt, code == EINPROGRESS || code == 0 ? ENOMEM : code);
}

static void connect_cancel(struct engine_port *common, struct engine_connect *connect) {
    struct epoll_port *port = epoll_of(common);
    int fd = (int)connect->socket.handle;
    port->watches[fd].send = NULL;
    watch_register(port, fd);
    linux_connect_failed(common, connect, ECANCELED);
}

/* -- events -------------------------------------------------------------------------------------
 */

static void woken(struct epoll_port *port) {
    uint64_t count;
    ssize_t size = read(port->common.wake_fd, &count, sizeof(count));
    ASSERT(size == (ssize_t)sizeof(count));
    linux_run_posts(&port->common);
}

/* A callback may change the table, end what the same event was for, and even close the descriptor:
 * each part looks anew. */
static void handle_one(struct epoll_port *port, int fd, uint32_t events) {
    if (fd == port->common.wake_fd) {
        woken(port);
        return;
    }
    struct watch *watch = &port->watches[fd];
    if (watch->acceptor) {
        linux_accept_ready(watch->acceptor);
        return;
    }
    bool is_error = (events & (EPOLLERR | EPOLLHUP)) != 0;
    if (watch->send && (is_error || (events & EPOLLOUT) != 0)) {
        send_ready(port, fd);
    }
    bool is_readable = is_error || (events & (EPOLLIN | EPOLLRDHUP)) != 0;
    if (is_readable && port->watches[fd].accept) {
        struct engine_accept *accept = port->watches[fd].accept;
        port->watches[fd].accept = NULL;
        linux_first_data_try(accept);
    } else if (is_readable && port->watches[fd].receive) {
        receive_attempt(port, port->watches[fd].receive);
    }
}

static void handle(struct engine_port *common) {
    struct epoll_port *port = epoll_of(common);
    run_attempts(port);
    for (unsigned i = 0; i < port->event_count; i++) {
        handle_one(port, port->events[i].data.fd, port->events[i].events);
    }
    port->event_count = 0;
}

/* Those that find no memory again are put behind the others, and have had their turn. */
static void feed(struct engine_port *port) {
    unsigned count = 0;
    for (struct engine_op *op = port->hungry.first; op; op = part_of(op)->next) {
        count++;
    }
    while (count-- > 0 && port->hungry.first) { /* a callback may stop some of them */
        struct engine_op *op = list_take(&port->hungry);
        if (part_of(op)->is_accept) {
            linux_first_data_try(CONTAINER_OF(op, struct engine_accept, op));
        } else {
            part_of(op)->hungry = false;
            part_of(op)->armed = true;
            receive_attempt(epoll_of(port), receive_of(op));
        }
    }
}

const struct linux_backend linux_epoll = {
    .name = "epoll",
    .port_alloc = port_alloc,
    .port_init = port_init,
    .port_fini = port_fini,
    .wait = wait_for_events,
    .handle = handle,
    .feed = feed,
    .clients_await = clients_await,
    .clients_forget = clients_forget,
    .first_data_await = first_data_await,
    .first_data_forget = first_data_forget,
    .receive_arm = receive_arm,
    .receive_disarm = receive_disarm,
    .connect_start = connect_start,
    .connect_cancel = connect_cancel,
    .send_arm = send_arm,
    .send_disarm = send_disarm,
};
