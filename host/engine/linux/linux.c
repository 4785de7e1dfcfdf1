/* linux.c: what the engines on Linux have in common (see linux.h).
 *
 * io_uring is the first choice. Containers, hardened kernels and old ones refuse it or a part of
 * it, and memory for its rings may be limited: there all ports use epoll. The choice is made once
 * at the start, and one line of the log says why. */
#include "engine/linux/linux.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "os/os.h"

enum {
    DESCRIPTORS_LEAST = 16, /* with fewer the host cannot serve any clients */
    /* Sockets of a port whose table is full keep their descriptors. They leave so many to sockets
     * of other ports, which need a descriptor only until they are registered. */
    DESCRIPTORS_PASSING = 8,
    PORT_DESCRIPTORS = 2, /* the ring or the epoll instance, and the eventfd */
    BUFFER_RETRY_MS = 10, /* between two attempts to get memory to receive into */
    WAKE_TRIES = 100,     /* of a write that is interrupted or fails */
};

int64_t linux_translate(int code) {
    switch (code) {
    case 0:
        return 0;
    case ECANCELED:
        return ENGINE_E_CANCELLED;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case EPROTO:
        return ENGINE_E_RESET;
    case ETIMEDOUT:
        return ENGINE_E_TIMED_OUT;
    case ECONNREFUSED:
        return ENGINE_E_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
        return ENGINE_E_UNREACHABLE;
    case EADDRNOTAVAIL: /* connect: no local port is free */
    case EAGAIN:        /* likewise */
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC: /* epoll: the limit of watched descriptors */
        return ENGINE_E_NO_RESOURCES;
    default:
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_DEBUG, NULL, "network: error %d (%s)", code,
                    strerror(code));
        return ENGINE_E_OTHER;
    }
}

const char *linux_reason(int code) {
    switch (code) {
    case EMFILE:
        return "the process has no descriptor left (ulimit -n, LimitNOFILE=)";
    case ENFILE:
        return "the system has no descriptor left (fs.file-max)";
    case ENOBUFS:
    case ENOMEM:
        return "memory is short";
    case ENOSPC:
        return "epoll may watch no more (fs.epoll.max_user_watches)";
    default:
        return strerror(code);
    }
}

/* -- lists of operations --------------------------------------------------- */

void list_append(struct op_list *list, struct engine_op *op) {
    op_private_of(op)->next = NULL;
    if (list->last) {
        op_private_of(list->last)->next = op;
    } else {
        list->first = op;
    }
    list->last = op;
}

void list_prepend(struct op_list *list, struct engine_op *op) {
    op_private_of(op)->next = list->first;
    list->first = op;
    if (!list->last) {
        list->last = op;
    }
}

struct engine_op *list_take(struct op_list *list) {
    struct engine_op *op = list->first;
    if (op) {
        list->first = op_private_of(op)->next;
        if (!list->first) {
            list->last = NULL;
        }
    }
    return op;
}

void list_remove(struct op_list *list, struct engine_op *op) {
    struct engine_op *before = NULL;
    struct engine_op *at = list->first;
    while (at != op) {
        before = at;
        at = op_private_of(at)->next;
    }
    if (before) {
        op_private_of(before)->next = op_private_of(op)->next;
    } else {
        list->first = op_private_of(op)->next;
    }
    if (list->last == op) {
        list->last = before;
    }
}

void linux_complete(struct engine_port *port, struct engine_op *op, int64_t result) {
    port->pending--;
    port->ran++;
    op->complete(op, result);
}

void linux_defer(struct engine_port *port, struct engine_op *op, int64_t result) {
    ASSERT(result <= 0 && result > -ENGINE_ERRORS);
    op_private_of(op)->result = (int8_t)result;
    list_append(&port->deferred, op);
}

/* -- the engine ------------------------------------------------------------ */

/* How many descriptors the engine may have open: the limit of the process without those that are
 * open already and those that are reserved. */
static unsigned descriptors_max(const struct engine_options *options) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT_MAX) {
        return UINT_MAX;
    }
    unsigned taken = options->descriptors_reserved;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        taken++;
    }
    if (folder) {
        closedir(folder);
    }
    return limit.rlim_cur > taken ? (unsigned)limit.rlim_cur - taken : 0;
}

bool linux_descriptor_take(struct engine_port *port) {
    struct engine *engine = port->engine;
    bool stays = port->number > 0 && port->engine->backend->registered->is_full(port);
    if (atomic_fetch_add_explicit(&engine->descriptors, 1, memory_order_relaxed) <
        engine->descriptors_max - (stays ? DESCRIPTORS_PASSING : 0)) {
        return true;
    }
    linux_descriptor_give(engine);
    return false;
}

void linux_descriptor_give(struct engine *engine) {
    atomic_fetch_sub_explicit(&engine->descriptors, 1, memory_order_relaxed);
}

bool engine_file_take(struct engine *engine) {
    unsigned room = engine->descriptors_max;
    room =
        room < UINT_MAX - engine->reserved_for_files ? room + engine->reserved_for_files : UINT_MAX;
    bool few = atomic_fetch_add(&engine->files, 1) < engine->descriptors_max / 2;
    if (atomic_fetch_add(&engine->descriptors, 1) < room && few) {
        return true;
    }
    engine_file_give(engine);
    return false;
}

void engine_file_give(struct engine *engine) {
    atomic_fetch_sub(&engine->files, 1);
    linux_descriptor_give(engine);
}

static bool check_descriptors(const struct engine *engine, const struct engine_options *options,
                              struct error *error) {
    if (engine->descriptors_max >= DESCRIPTORS_LEAST) {
        return true;
    }
    return error_set(
        error,
        "the process may open too few descriptors (ulimit -n, LimitNOFILE=) beside the "
        "%u that host.limits.descriptors_reserved sets apart",
        options->descriptors_reserved);
}

static bool is_automatic(const struct engine_options *options) {
    return !options->engine || strcmp(options->engine, "auto") == 0;
}

static bool linux_choose(struct engine *engine, const struct engine_options *options,
                         struct error *error) {
    struct error why = {0};
    engine->backend = &linux_epoll;
    if (!is_automatic(options)) {
        if (strcmp(options->engine, linux_epoll.name) == 0) {
            return true;
        }
        if (strcmp(options->engine, linux_uring.name) != 0) {
            return error_set(error,
                             "there is no engine \"%s\" on Linux: \"io_uring\" and \"epoll\" are",
                             options->engine);
        }
    }
    if (linux_uring_probe(engine, &why)) {
        engine->backend = &linux_uring;
        return true;
    }
    if (is_automatic(options)) {
        log_info(NULL, "engine epoll: %s", why.message);
        return true;
    }
    return error_set(error, "%s; or set host.engine to \"auto\" or \"epoll\"", why.message);
}

/* Registers sockets with their ports where options->direct_descriptors asks for it. Where the
 * system cannot do that it is an error if the engine was chosen by name, and else a warning. */
static bool configure_registered(struct engine *engine, const struct engine_options *options,
                                 struct error *error) {
    struct rlimit limit = {0};
    struct error why = {0};
    if (options->direct_descriptors == 0) {
        return true;
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    if (options->direct_descriptors > limit.rlim_cur) {
        return error_set(error,
                         "host.direct_descriptors: %u, but a worker registers no more sockets than "
                         "the process may open descriptors, %llu (ulimit -n, LimitNOFILE=): "
                         "have more host.workers",
                         options->direct_descriptors, (unsigned long long)limit.rlim_cur);
    }
    if (!engine->backend->registered) {
        error_set(&why, "engine %s has no direct descriptors, io_uring does",
                  engine->backend->name);
    } else if (engine->backend->registered->configure(engine, options->direct_descriptors, &why)) {
        return true;
    }
    if (is_automatic(options)) {
        log_warn(NULL, "host.direct_descriptors has no effect: %s", why.message);
        return true;
    }
    return error_set(error, "host.direct_descriptors: %s", why.message);
}

struct engine *engine_create(const struct engine_options *options, struct error *error) {
    struct engine *engine = alloc_zeroed(sizeof(*engine));
    struct error why = {0};
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    engine->inherited_sockets = options->inherited_sockets;
    engine->descriptors_max = descriptors_max(options);
    engine->reserved_for_files = options->descriptors_reserved / 2;
    if (!check_descriptors(engine, options, &why) || !linux_choose(engine, options, &why)) {
        *error = why;
        alloc_free(engine);
        return NULL;
    }
    if (!configure_registered(engine, options, &why)) {
        *error = why;
        alloc_free(engine);
        return NULL;
    }
    engine->traits = (struct engine_traits){
        .name = engine->backend->name,
        .socket_reuse = "off: a new socket costs no more on Linux",
        .accept_on_workers = true,
        .fallback =
            is_automatic(options) && engine->backend == &linux_uring ? linux_epoll.name : NULL,
    };
    return engine;
}

void engine_destroy(struct engine *engine) {
    alloc_free(engine);
}

const struct engine_traits *engine_traits(const struct engine *engine) {
    return &engine->traits;
}

/* -- ports: posts from other threads --------------------------------------- */

void linux_posts_unwoken(struct engine_port *port, const char *what, int code) {
    if (!atomic_exchange(&port->unwoken, true)) {
        log_error(NULL, "%s: %s: this worker is late for what others tell it until that works",
                  what, strerror(code));
    }
}

void linux_posts_woken(struct engine_port *port) {
    if (atomic_load_explicit(&port->unwoken, memory_order_relaxed)) {
        atomic_store(&port->unwoken, false); /* the caller takes earlier posts after this */
    }
}

static void linux_wake(struct engine_port *port) {
    const uint64_t one = 1;
    unsigned tries = 0;
    while (linux_calls.write(port->wake_fd, &one, sizeof(one)) < 0 &&
           errno != EAGAIN) { /* EAGAIN: the counter is full, so the port is woken already */
        if (++tries == WAKE_TRIES) {
            linux_posts_unwoken(port, "waking a worker by its eventfd", errno);
            return;
        }
    }
}

void engine_port_post(struct engine_port *port, struct engine_op *op) {
    atomic_fetch_add_explicit(&port->posting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&port->post_count, 1, memory_order_relaxed);
    struct engine_op *top = atomic_load_explicit(&port->posts, memory_order_relaxed);
    do {
        op_private_of(op)->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&port->posts, &top, op, memory_order_acq_rel,
                                                    memory_order_relaxed));
    if (!top || atomic_load_explicit(&port->unwoken, memory_order_relaxed)) {
        linux_wake(port); /* else the thread that pushed the first one has done so */
    }
    atomic_fetch_sub_explicit(&port->posting, 1, memory_order_release); /* the last access */
}

void linux_run_posts(struct engine_port *port) {
    struct engine_op *top = atomic_exchange_explicit(&port->posts, NULL, memory_order_acquire);
    struct engine_op *oldest = NULL;
    while (top) { /* the stack has the newest on top */
        struct engine_op *below = op_private_of(top)->next;
        op_private_of(top)->next = oldest;
        oldest = top;
        top = below;
    }
    while (oldest) {
        struct engine_op *op = oldest;
        oldest = op_private_of(op)->next;
        atomic_fetch_sub_explicit(&port->post_count, 1, memory_order_relaxed);
        port->ran++;
        op->complete(op, 0);
    }
}

/* -- ports: life ----------------------------------------------------------- */

struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error) {
    struct engine_port *port = engine->backend->port_alloc();
    if (!port) {
        error_set(error, "out of memory");
        return NULL;
    }
    port->engine = engine;
    port->source = options->buffers;
    port->wake_fd = linux_calls.eventfd(0, EFD_CLOEXEC);
    if (port->wake_fd < 0) {
        error_set(error, "eventfd: %s", linux_reason(errno));
        goto fail_port;
    }
    if (!engine->backend->port_init(port, options, error)) {
        goto fail_wake;
    }
    atomic_fetch_add(&engine->descriptors, PORT_DESCRIPTORS);
    return port;

fail_wake:
    linux_calls.close(port->wake_fd);
fail_port:
    alloc_free(port);
    return NULL;
}

void engine_port_destroy(struct engine_port *port) {
    if (!port) {
        return;
    }
    ASSERT(engine_port_pending(port) == 0);
    /* A post may have run before engine_port_post() has returned on its thread, which still uses
     * the port. */
    while (atomic_load_explicit(&port->posting, memory_order_acquire) > 0) {
        sched_yield();
    }
    port->engine->backend->port_fini(port);
    linux_acceptors_fini(port);
    linux_calls.close(port->wake_fd);
    atomic_fetch_sub(&port->engine->descriptors, PORT_DESCRIPTORS);
    alloc_free(port);
}

unsigned engine_port_pending(const struct engine_port *port) {
    return port->pending + atomic_load_explicit(&port->post_count, memory_order_relaxed);
}

/* -- ports: the loop ------------------------------------------------------- */

static void run_deferred(struct engine_port *port) {
    struct op_list list = port->deferred;
    port->deferred = (struct op_list){0};
    for (struct engine_op *op = list_take(&list); op; op = list_take(&list)) {
        linux_complete(port, op, op_private_of(op)->result);
    }
}

/* How long the port may sleep: not at all while there is work that needs no kernel; and not long
 * while it waits for memory, of which there is no notification, or while it cannot be woken. */
static int linux_wait_limit(const struct engine_port *port, int timeout_ms) {
    if (port->deferred.first || port->acceptors_due) {
        return 0;
    }
    bool looks = port->waiting_for_buffer.first || port->late_ms > 0 ||
                 atomic_load_explicit(&port->unwoken, memory_order_relaxed);
    if (looks && (timeout_ms < 0 || timeout_ms > BUFFER_RETRY_MS)) {
        return BUFFER_RETRY_MS;
    }
    return timeout_ms;
}

void linux_make_late(struct engine_port *port) {
    if (port->late_ms == 0) {
        port->late_ms = os_now_ms() + BUFFER_RETRY_MS;
    }
}

unsigned engine_port_run(struct engine_port *port, int timeout_ms) {
    const struct linux_backend *backend = port->engine->backend;
    backend->wait(port, linux_wait_limit(port, timeout_ms));
    port->ran = 0;
    run_deferred(port);
    backend->handle(port);
    if (atomic_load_explicit(&port->unwoken, memory_order_relaxed)) {
        linux_run_posts(port);
    }
    if (port->late_ms > 0 && os_now_ms() >= port->late_ms) {
        port->late_ms = 0;
        linux_accept_late(port);
    }
    linux_accept_check(port);
    backend->feed(port);
    if (CHECKS) {
        linux_port_check(port);
    }
    return port->ran;
}

void engine_port_trim(struct engine_port *port) {
    if (port->engine->backend->trim) {
        port->engine->backend->trim(port);
    }
}

/* -- receiving ------------------------------------------------------------- */

const struct engine_buffer *engine_received(const struct engine_port *port) {
    return &port->received;
}

void linux_deliver(struct engine_port *port, struct engine_receive *receive,
                   struct engine_buffer buffer, uint32_t size) {
    buffer.size = size;
    port->received = buffer;
    port->ran++;
    receive->op.complete(&receive->op, size);
}

void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode,
                          bool is_first) {
    (void)mode; /* in every mode a connection holds no buffer while no bytes come */
    *op_private_of(&receive->op) =
        (struct op_private){.fd = (int)socket.handle, .is_receive = true, .is_first = is_first};
    port->pending++;
    port->engine->backend->receive_arm(port, receive);
}

void engine_receive_drain(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive) {
    *op_private_of(&receive->op) = (struct op_private){
        .fd = socket.handle,
        .is_receive = true,
        .is_end = linux_has_descriptor(socket), /* else only the ring can read from it */
    };
    port->pending++;
    port->engine->backend->receive_arm(port, receive);
}

void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive) {
    struct op_private *private = op_private_of(&receive->op);
    (void)socket;
    if (private->stopping) {
        return;
    }
    private->stopping = true;
    if (private->armed) {
        port->engine->backend->receive_disarm(port, receive);
    } else if (private->waiting_for_buffer) {
        list_remove(&port->waiting_for_buffer, &receive->op);
        private->waiting_for_buffer = false;
        linux_defer(port, &receive->op, ENGINE_E_CANCELLED);
    }
    /* Else it is being delivered, and its end follows the delivery. */
}

/* -- sockets --------------------------------------------------------------- */

bool engine_attach(struct engine_port *port, struct engine_socket *socket, struct error *error) {
    (void)error;
    if (port->number > 0) {
        port->engine->backend->registered->add(port, socket);
    }
    return true; /* a descriptor belongs to no port */
}

int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket) {
    if (!linux_has_descriptor(socket)) {
        return port->engine->backend->registered->shutdown_send(port, socket);
    }
    return linux_calls.shutdown((int)socket.handle, SHUT_WR) == 0 ? 0 : linux_translate(errno);
}

/* For a registered socket only the ring could ask, and the answer would come later. */
bool engine_unacked_bytes(struct engine_port *port, struct engine_socket socket, uint64_t *bytes) {
    int count = 0;
    (void)port;
    if (!linux_has_descriptor(socket) ||
        linux_calls.ioctl((int)socket.handle, SIOCOUTQ, &count) != 0) {
        return false;
    }
    *bytes = (uint64_t)count;
    return true;
}

/* A cancel is never lost on Linux, and closing ends no operation: the ring has a reference of its
 * own. The shutdown ends the operations as if the peer had closed. Those of a registered socket are
 * ended by their cancel alone.
 */
bool engine_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                            struct engine_receive *receive, struct engine_op *send) {
    (void)port;
    (void)receive;
    (void)send;
    if (linux_has_descriptor(*socket)) {
        linux_calls.shutdown((int)socket->handle, SHUT_RDWR);
    }
    return true;
}

void engine_close(struct engine *engine, struct engine_socket socket, bool reset) {
    if (socket.handle == ENGINE_NO_SOCKET.handle) {
        return;
    }
    if (!linux_has_descriptor(socket)) {
        engine->backend->registered->close(engine, socket, reset);
        return;
    }
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        linux_calls.setsockopt((int)socket.handle, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    linux_calls.close((int)socket.handle);
    linux_descriptor_give(engine);
}

/* A new socket costs next to nothing on Linux, so sockets are not reused. */
void engine_recycle(struct engine_port *port, struct engine_socket socket) {
    engine_close(port->engine, socket, false);
}
