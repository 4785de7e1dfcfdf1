/* epoll.c: waiting by epoll, where io_uring is refused.
 *
 * One epoll instance a port. Everything is tried first, and the descriptor is watched only when the
 * attempt finds nothing: most first requests are there already. An armed receive stays registered,
 * level-triggered: an event is one attempt with one buffer, and data that is left causes the next
 * event. So a connection that sends much gets one buffer a turn. Batches are small for the same
 * reason.
 *
 * epoll has one registration a descriptor, and a receive and a send may wait for the same one. So
 * the port has a table of what is watched, by the number of the descriptor. An entry is one word,
 * as all ports together may have many: the operations that wait are linked to each other. Only the
 * port's thread changes the table. A registration ends before its socket is closed, as the number
 * may at once be another socket's, on another port. Only an accept whose event has come leaves its
 * registration in place, disabled (EPOLLONESHOT), since the connection may stay on this port. So
 * what the table says of a registration is a guess, and epoll's own answer (EEXIST, ENOENT)
 * corrects it. An event of this turn for which no operation waits any more is ignored.
 *
 * Listening sockets are watched edge-triggered: clients may queue for long while a limit leaves no
 * room, and engine_acceptor.clients records that they do. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/linux/linux.h"

enum {
    EVENTS_MAX = 64,  /* a turn: few, so that new connections are not starved */
    WATCHES_MIN = 64, /* the table's size at first */
    REFUSED_PAUSE_MS = 20,
};

/* What waits for a descriptor: one operation that reads (a receive, an accept for its first data)
 * and one that writes (a send, a connect), either or both, linked by op_private.next: an operation
 * that waits is in no other list. The lowest bit says whether the descriptor is registered, as far
 * as is known. */
struct watch {
    uintptr_t word;
};

enum { WATCH_REGISTERED = 1 };

/* In epoll_event.data beside the descriptor: a listening socket, which is not in the table. */
#define LISTENING (UINT64_C(1) << 32)

struct epoll_port {
    struct engine_port common; /* first, so that one is the other */
    int fd;
    struct watch *watches; /* by descriptor */
    unsigned watch_count;
    struct op_list attempts; /* armed receives to be tried in this turn */
    struct epoll_event events[EVENTS_MAX];
    unsigned event_count;
    bool refused; /* the system has refused the last wait, and that is logged */
};

static struct epoll_port *epoll_of(struct engine_port *port) {
    return (struct epoll_port *)port;
}

/* -- the table ------------------------------------------------------------- */

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

static struct engine_op *epoll_waiting(const struct watch *watch) {
    return (struct engine_op *)(watch->word & ~(uintptr_t)WATCH_REGISTERED);
}

static bool is_registered(const struct watch *watch) {
    return (watch->word & WATCH_REGISTERED) != 0;
}

static bool is_reader(struct engine_op *op) {
    return op_private_of(op)->is_receive || op_private_of(op)->is_accept;
}

static struct engine_op *watch_find(const struct epoll_port *port, int fd, bool reader) {
    struct engine_op *op =
        (unsigned)fd < port->watch_count ? epoll_waiting(&port->watches[fd]) : NULL;
    while (op && is_reader(op) != reader) {
        op = op_private_of(op)->next;
    }
    return op;
}

static uint32_t wanted_events(const struct watch *watch) {
    uint32_t events = 0;
    for (struct engine_op *op = epoll_waiting(watch); op; op = op_private_of(op)->next) {
        if (op_private_of(op)->is_accept) {
            /* The connection may go to another port: this one gets no more events of it. */
            return EPOLLIN | EPOLLRDHUP | EPOLLONESHOT;
        }
        events |= is_reader(op) ? (uint32_t)EPOLLIN | EPOLLRDHUP : (uint32_t)EPOLLOUT;
    }
    return events;
}

/* Registers with epoll the events that the watch wants. False: the code is in errno. */
static bool watch_register(struct epoll_port *port, int fd) {
    struct watch *watch = &port->watches[fd];
    struct epoll_event event = {.events = wanted_events(watch), .data.u64 = (unsigned)fd};
    bool registered = is_registered(watch);
    int first = registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    int second = registered ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    watch->word &= ~(uintptr_t)WATCH_REGISTERED;
    if (event.events == 0) {
        if (registered) {
            linux_calls.epoll_ctl(port->fd, EPOLL_CTL_DEL, fd,
                                  NULL); /* fails if the guess was wrong, which does no harm */
        }
        return true;
    }
    if (linux_calls.epoll_ctl(port->fd, first, fd, &event) == 0 ||
        ((errno == EEXIST || errno == ENOENT) &&
         linux_calls.epoll_ctl(port->fd, second, fd, &event) == 0)) {
        watch->word |= WATCH_REGISTERED;
        return true;
    }
    return false;
}

/* Takes the operation out of the table; what is registered stays as it is. */
static void watch_unlink(struct epoll_port *port, int fd, struct engine_op *op) {
    struct watch *watch = &port->watches[fd];
    struct engine_op *first = epoll_waiting(watch);
    uintptr_t registered = watch->word & WATCH_REGISTERED;
    if (first == op) {
        watch->word = (uintptr_t)op_private_of(op)->next | registered;
    } else {
        ASSERT(op_private_of(first)->next == op);
        op_private_of(first)->next = op_private_of(op)->next;
    }
    op_private_of(op)->next = NULL;
}

/* From now on epoll reports when the operation can go on. False: not possible, the code is in
 * errno.
 */
static bool watch_join(struct epoll_port *port, int fd, struct engine_op *op) {
    if (!table_reach(port, fd)) {
        errno = ENOMEM;
        return false;
    }
    struct watch *watch = &port->watches[fd];
    op_private_of(op)->next = epoll_waiting(watch);
    watch->word = (uintptr_t)op | (watch->word & WATCH_REGISTERED);
    if (watch_register(port, fd)) {
        return true;
    }
    int code = errno;
    watch_unlink(port, fd, op);
    errno = code;
    return false;
}

static void watch_leave(struct epoll_port *port, int fd, struct engine_op *op) {
    watch_unlink(port, fd, op);
    watch_register(port, fd);
}

/* -- ports ----------------------------------------------------------------- */

static struct engine_port *epoll_port_alloc(void) {
    return alloc_zeroed(sizeof(struct epoll_port));
}

static void epoll_port_fini(struct engine_port *common) {
    struct epoll_port *port = epoll_of(common);
    linux_calls.close(port->fd);
    alloc_free(port->watches);
}

static bool epoll_port_init(struct engine_port *common, const struct engine_port_options *options,
                            struct error *error) {
    struct epoll_port *port = epoll_of(common);
    (void)options; /* buffers are taken one by one, when there is something to receive */
    port->fd = linux_calls.epoll_create1(EPOLL_CLOEXEC);
    if (port->fd < 0) {
        return error_set(error, "creating an epoll instance: %s", linux_reason(errno));
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (unsigned)common->wake_fd};
    if (linux_calls.epoll_ctl(port->fd, EPOLL_CTL_ADD, common->wake_fd, &event) != 0) {
        error_set(error, "watching an eventfd: %s", linux_reason(errno));
    } else {
        return true;
    }
    epoll_port_fini(common);
    return false;
}

/* As with the ring: the caller calls again, after a pause. */
static void epoll_note_refusal(struct epoll_port *port, int code) {
    if (!port->refused) {
        port->refused = true;
        log_error(NULL, "epoll_wait: %s: this worker stands still until the system takes the call",
                  strerror(code));
    }
    linux_calls.poll(NULL, 0, REFUSED_PAUSE_MS);
}

static void wait_for_events(struct engine_port *common, int timeout_ms) {
    struct epoll_port *port = epoll_of(common);
    int count = linux_calls.epoll_wait(port->fd, port->events, EVENTS_MAX,
                                       port->attempts.first ? 0 : timeout_ms);
    port->event_count = count > 0 ? (unsigned)count : 0;
    if (count >= 0) {
        port->refused = false;
    } else if (errno != EINTR) { /* EINTR: the caller calls again */
        epoll_note_refusal(port, errno);
    }
}

/* -- receiving ------------------------------------------------------------- */

static struct engine_receive *epoll_receive_of(struct engine_op *op) {
    return CONTAINER_OF(op, struct engine_receive, op);
}

static bool is_watched(const struct epoll_port *port, struct engine_receive *receive) {
    return watch_find(port, op_private_of(&receive->op)->fd, true) == &receive->op;
}

static void receive_unwatch(struct epoll_port *port, struct engine_receive *receive) {
    if (is_watched(port, receive)) {
        watch_leave(port, op_private_of(&receive->op)->fd, &receive->op);
    }
    op_private_of(&receive->op)->armed = false;
}

static void receive_end(struct epoll_port *port, struct engine_receive *receive, int64_t result) {
    receive_unwatch(port, receive);
    linux_complete(&port->common, &receive->op, result);
}

/* There is no memory for the receive: it is tried again with the others that wait, and not before.
 */
static void epoll_receive_wait_for_buffer(struct epoll_port *port, struct engine_receive *receive) {
    receive_unwatch(port, receive);
    op_private_of(&receive->op)->waiting_for_buffer = true;
    list_append(&port->common.waiting_for_buffer, &receive->op);
}

/* 0 is the peer's FIN. Without memory, the system's or the host's, the receive waits. */
static void epoll_receive_failed(struct epoll_port *port, struct engine_receive *receive,
                                 int code) {
    int64_t result = linux_translate(code);
    if (result == ENGINE_E_NO_RESOURCES) {
        epoll_receive_wait_for_buffer(port, receive);
    } else {
        receive_end(port, receive, result);
    }
}

/* The receive was tried and found nothing: from now on epoll reports when to try again. */
static void receive_watch(struct epoll_port *port, struct engine_receive *receive) {
    if (!is_watched(port, receive) &&
        !watch_join(port, op_private_of(&receive->op)->fd, &receive->op)) {
        epoll_receive_failed(port, receive, errno);
    }
}

static void attempt_later(struct epoll_port *port, struct engine_receive *receive) {
    op_private_of(&receive->op)->armed = true;
    list_append(&port->attempts, &receive->op);
}

static void epoll_receive_deliver(struct epoll_port *port, struct engine_receive *receive,
                                  struct engine_buffer buffer, ssize_t size) {
    struct op_private *private = op_private_of(&receive->op);
    private->armed = false; /* a stop from within the callback waits for its return */
    linux_deliver(&port->common, receive, buffer, (uint32_t)size);
    if (private->stopping) {
        receive_unwatch(port, receive);
        linux_defer(&port->common, &receive->op, ENGINE_E_CANCELLED);
    } else if (is_watched(port, receive)) {
        private->armed = true;
    } else {
        attempt_later(port, receive);
    }
}

static void receive_attempt(struct epoll_port *port, struct engine_receive *receive) {
    const struct engine_buffer_source *source = &port->common.source;
    struct op_private *private = op_private_of(&receive->op);
    struct engine_buffer buffer;
    if (private->stopping) {
        receive_end(port, receive, ENGINE_E_CANCELLED);
        return;
    }
    if (!source->take(source->context, &buffer)) {
        epoll_receive_wait_for_buffer(port, receive);
        return;
    }
    ssize_t size = linux_calls.recv(private->fd, buffer.bytes, buffer.size, MSG_DONTWAIT);
    if (size > 0) {
        epoll_receive_deliver(port, receive, buffer, size);
        return;
    }
    int code = size < 0 ? errno : 0;
    source->give(source->context, buffer.owner);
    if (code == EAGAIN || code == EINTR) {
        receive_watch(port, receive);
    } else {
        epoll_receive_failed(port, receive, code);
    }
}

static void receive_arm(struct engine_port *port, struct engine_receive *receive) {
    attempt_later(epoll_of(port), receive);
}

/* A receive that is in the list of attempts ends when it would be tried. */
static void receive_disarm(struct engine_port *common, struct engine_receive *receive) {
    struct epoll_port *port = epoll_of(common);
    if (is_watched(port, receive)) {
        receive_unwatch(port, receive);
        linux_defer(common, &receive->op, ENGINE_E_CANCELLED);
    }
}

/* Receives that are added meanwhile are tried in the next turn. */
static void run_attempts(struct epoll_port *port) {
    struct op_list list = port->attempts;
    port->attempts = (struct op_list){0};
    for (struct engine_op *op = list_take(&list); op; op = list_take(&list)) {
        receive_attempt(port, epoll_receive_of(op));
    }
}

/* -- what else is waited for ----------------------------------------------- */

/* Listening sockets are not in the table: there are few, and the port has a list of them. */
static bool clients_await(struct engine_acceptor *acceptor) {
    struct epoll_port *port = epoll_of(acceptor->port);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET,
                                .data.u64 = LISTENING | (unsigned)acceptor->fd};
    acceptor->polling = linux_calls.epoll_ctl(port->fd, EPOLL_CTL_ADD, acceptor->fd, &event) == 0;
    return acceptor->polling;
}

static void clients_forget(struct engine_acceptor *acceptor) {
    linux_calls.epoll_ctl(epoll_of(acceptor->port)->fd, EPOLL_CTL_DEL, acceptor->fd, NULL);
    acceptor->polling = false;
}

static void clients_came(struct epoll_port *port, int fd) {
    struct engine_acceptor *acceptor;
    DL_FOREACH(port->common.acceptors, acceptor) {
        if (acceptor->fd == fd && acceptor->polling) {
            linux_accept_ready(acceptor);
        }
    }
}

static void first_data_await(struct engine_port *port, struct engine_accept *accept) {
    if (!watch_join(epoll_of(port), (int)accept->socket.handle, &accept->op)) {
        linux_first_data_wait_for_buffer(
            accept); /* tried again with the others that wait for memory */
    }
}

static void first_data_forget(struct engine_port *port, struct engine_accept *accept) {
    watch_leave(epoll_of(port), (int)accept->socket.handle, &accept->op);
    linux_first_data_forgotten(accept);
}

static void epoll_send_arm(struct engine_port *port, struct engine_op *op) {
    if (!watch_join(epoll_of(port), op_private_of(op)->fd, op)) {
        op_private_of(op)->armed = false;
        linux_defer(port, op, ENGINE_E_NO_RESOURCES);
    }
}

static void epoll_send_disarm(struct engine_port *port, struct engine_op *op) {
    watch_leave(epoll_of(port), op_private_of(op)->fd, op);
    op_private_of(op)->armed = false;
    linux_defer(port, op, ENGINE_E_CANCELLED);
}

static struct engine_connect *epoll_connect_of(struct engine_op *op) {
    return CONTAINER_OF(op, struct engine_connect, op);
}

static void connect_end(struct engine_port *port, struct engine_connect *connect, int code) {
    linux_calls.fcntl((int)connect->socket.handle, F_SETFL, 0); /* blocking, as other sockets */
    linux_connected(port, connect, code);
}

/* The descriptor can be written, or has an error: the next call on the socket finds out which. */
static void send_ready(struct epoll_port *port, int fd, struct engine_op *op) {
    watch_leave(port, fd, op);
    op_private_of(op)->armed = false;
    if (op_private_of(op)->is_connect) {
        int code = 0;
        socklen_t size = sizeof(code);
        bool told = linux_calls.getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0;
        connect_end(&port->common, epoll_connect_of(op), told ? code : errno);
    } else {
        linux_complete(&port->common, op, 0);
    }
}

/* Also a result that connect() has at once is reported in the next turn, by the descriptor's event.
 */
static void epoll_connect_start(struct engine_port *common, struct engine_connect *attempt) {
    union system_address to;
    socklen_t size = linux_address_to_system(&attempt->remote, &to);
    int fd = (int)attempt->socket.handle;
    linux_calls.fcntl(fd, F_SETFL, O_NONBLOCK);
    int code = linux_calls.connect(fd, &to.any, size) == 0 ? 0 : errno;
    if (code == 0 || code == EINPROGRESS || code == EINTR) { /* EINTR: it goes on, connect(2) */
        if (watch_join(epoll_of(common), fd, &attempt->op)) {
            return;
        }
        code = errno;
    }
    linux_connect_failed(common, attempt, code);
}

static void epoll_connect_cancel(struct engine_port *common, struct engine_connect *connect) {
    watch_leave(epoll_of(common), (int)connect->socket.handle, &connect->op);
    linux_connect_failed(common, connect, ECANCELED);
}

/* -- events ---------------------------------------------------------------- */

static void epoll_woken(struct epoll_port *port) {
    uint64_t count;
    if (linux_calls.read(port->common.wake_fd, &count, sizeof(count)) >= 0) {
        linux_posts_woken(&port->common);
    } /* else epoll reports the eventfd again, and the read is repeated */
    linux_run_posts(&port->common);
}

/* No operation waits for this event. Either it has ended in this turn, or epoll had no memory for
 * the last change of the registration, and would report the event for ever. */
static void tell_again(struct epoll_port *port, int fd) {
    if ((unsigned)fd >= port->watch_count) {
        return;
    }
    struct watch *watch = &port->watches[fd];
    if (!epoll_waiting(watch)) {
        watch->word |= WATCH_REGISTERED; /* whatever the table says: epoll has a registration */
    }
    watch_register(port, fd);
}

/* A callback may change the table, end another operation that the event is for, and even close the
 * descriptor: so each part searches the table again. */
static void epoll_handle_one(struct epoll_port *port, uint64_t data, uint32_t events) {
    int fd = (int)(data & ~LISTENING);
    if (fd == port->common.wake_fd) {
        epoll_woken(port);
        return;
    }
    if ((data & LISTENING) != 0) {
        clients_came(port, fd);
        return;
    }
    bool is_error = (events & (EPOLLERR | EPOLLHUP)) != 0;
    struct engine_op *writer = watch_find(port, fd, false);
    bool may_write = writer && (is_error || (events & EPOLLOUT) != 0);
    if (may_write) {
        send_ready(port, fd, writer);
    }
    struct engine_op *reader = watch_find(port, fd, true);
    if (!reader || !(is_error || (events & (EPOLLIN | EPOLLRDHUP)) != 0)) {
        if (!may_write) {
            tell_again(port, fd);
        }
        return;
    }
    if (op_private_of(reader)->is_accept) {
        watch_unlink(port, fd, reader); /* its registration is disabled now, and stays */
        linux_first_data_try(CONTAINER_OF(reader, struct engine_accept, op));
    } else {
        receive_attempt(port, epoll_receive_of(reader));
    }
}

static void epoll_handle(struct engine_port *common) {
    struct epoll_port *port = epoll_of(common);
    run_attempts(port);
    for (unsigned i = 0; i < port->event_count; i++) {
        epoll_handle_one(port, port->events[i].data.u64, port->events[i].events);
    }
    if (port->event_count == EVENTS_MAX) {
        linux_accept_poll_now(common); /* new clients may be queued after thousands of events */
    }
    port->event_count = 0;
}

static bool has_memory(const struct engine_port *port) {
    struct engine_buffer buffer;
    if (!port->source.take(port->source.context, &buffer)) {
        return false;
    }
    port->source.give(port->source.context, buffer.owner);
    return true;
}

/* Goes on while there is memory: operations that find none keep their order. */
static void epoll_feed(struct engine_port *port) {
    unsigned count = 0;
    for (struct engine_op *op = port->waiting_for_buffer.first; op; op = op_private_of(op)->next) {
        count++;
    }
    /* A callback may stop some of them. */
    while (count-- > 0 && port->waiting_for_buffer.first && has_memory(port)) {
        struct engine_op *op = list_take(&port->waiting_for_buffer);
        if (op_private_of(op)->is_accept) {
            linux_first_data_try(CONTAINER_OF(op, struct engine_accept, op));
        } else {
            op_private_of(op)->waiting_for_buffer = false;
            op_private_of(op)->armed = true;
            receive_attempt(epoll_of(port), epoll_receive_of(op));
        }
    }
}

const struct linux_backend linux_epoll = {
    .name = "epoll",
    .acceptor_bytes = sizeof(struct engine_acceptor),
    .port_alloc = epoll_port_alloc,
    .port_init = epoll_port_init,
    .port_fini = epoll_port_fini,
    .wait = wait_for_events,
    .handle = epoll_handle,
    .feed = epoll_feed,
    .clients_await = clients_await,
    .clients_forget = clients_forget,
    .first_data_await = first_data_await,
    .first_data_forget = first_data_forget,
    .receive_arm = receive_arm,
    .receive_disarm = receive_disarm,
    .connect_start = epoll_connect_start,
    .connect_cancel = epoll_connect_cancel,
    .send_arm = epoll_send_arm,
    .send_disarm = epoll_send_disarm,
};
