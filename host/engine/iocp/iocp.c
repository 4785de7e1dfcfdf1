/* iocp.c: the engine on Windows' I/O completion ports. This file has the engine, its ports and the
 * loop; iocp_accept.c, _receive.c, _send.c and _connect.c have the operations.
 *
 * How it works. A port is an IOCP that only its own thread waits on, so a completion is handled on
 * the thread that posted the operation and only the queue of posts needs a lock. An operation that
 * must not run now, because its completion would run before the caller's call returns or because
 * others need their turn, goes to the port's `ready` queue and runs in the next pass.
 *
 * Synchronous success. Where the provider is an IFS one (all of Microsoft's), sockets are set to
 * leave no packet in the port when an operation succeeds at once; the result is then used at the
 * call, at most burst_max times in a row. That is decided once for the engine and not for each
 * socket, since a socket of this interface is a bare handle without memory for such a flag. The
 * listening socket is left in the ordinary mode: an accept could not complete inline anyway. So are
 * datagram sockets (iocp_datagram.c).
 *
 * Receiving. An idle connection waits with a WSARecv of no bytes, which pins no memory; when it
 * completes there is data to read, or the end, and a non-blocking recv finds out which. Sockets are
 * therefore non-blocking, which has no effect on overlapped calls. A connection that is new or has
 * just received data has a buffer posted for a limited time, which saves the second call
 * (iocp_armed_buffer.c).
 *
 * Lifetimes. Every field of an operation is written before the system call that starts it: the
 * completion may come before the call returns. No socket is closed with an operation in flight: the
 * owner cancels (CancelIoEx), waits for the completion, then closes. For an operation that does not
 * complete after the cancel, iocp_cancel.c has a second way and a deadline.
 *
 * What only a real Windows can show, because Wine 8 does it differently or not at all:
 *  - Synchronous success under load: Wine completes most operations asynchronously. The fault table
 *    of the tests forces both, in either mode.
 *  - FD_ACCEPT together with AcceptEx: that it is raised when connections queue, that it is not
 *    raised while a posted AcceptEx takes them, and that calling WSAEventSelect again raises it
 *    again while they still queue (documented as persistence of network events; acceptor_rearm
 *    relies on it). Wine raises it again only at the next accept.
 *  - That an accepted socket that inherits the event selection of the listening socket is not
 *    disturbed by it: FD_ACCEPT alone never happens on a connection.
 *  - Cancelling an AcceptEx whose client is connected and silent: that CancelIoEx alone ends it,
 *    and that the client sees a reset and not a FIN. Either way the connection ends.
 *  - Reuse of sockets: after Wine's DisconnectEx a socket does not work, so the self-test at the
 *    start turns reuse off there. The tests run reuse on a Winsock table that corrects this
 *    (winsock_faults.h).
 *  - accept() together with WSAEventSelect after a fall back: that it re-enables FD_ACCEPT
 *    (documented).
 *  - A listening socket of a process that has crashed, passed on by WSADuplicateSocket: that
 *    clients queue on it meanwhile, and that FD_ACCEPT reports them to the next process. It
 *    stays bound to a completion port that is gone, so accept() takes its clients from then on.
 *  - That a dual-stack AcceptEx needs IPV6_V6ONLY off on the accepting socket as well: it is
 *    switched off there to be safe.
 *  - TransmitPackets, which Wine lacks: that it takes memory and files mixed, each at its
 *    offset, and that a file that shrinks meanwhile gives code 38. The tests imitate it over
 *    real sockets. Whether the client editions of Windows really run only two transmits at a
 *    time.
 *  - How long ConnectEx tries a port that nothing listens on (some two seconds: Windows repeats
 *    its SYN although it was answered with an RST; on loopback SIO_TCP_INITIAL_RTO prevents
 *    that; Wine does not have it), and that it completes at once or with part of the first data.
 *    What SO_REUSE_UNICASTPORT does: Wine 8 and 10 accept it.
 *  - Which of 64, 1236 and 10054 a reset gives in each state; all are ENGINE_E_RESET.
 *  - WSAENOBUFS when the non-paged pool runs out; all performance figures; layered providers
 *    that are not IFS (synchronous success is then off; the tests run that way, too). */
#include "engine/iocp/iocp.h"

#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "os/os_windows.h"

enum {
    BATCH_MAX = 64,
    /* The longest single wait. When the packet that announces a post, or a starved acceptor, cannot
     * be queued for lack of memory, the port finds them after this time. */
    WAIT_MAX_MS = 1000,
    /* How soon receives that found no memory try again, and files that wait for the transmits of
     * other ports; nothing reports when either is available. */
    WAITING_FOR_BUFFER_MS = 10,
    /* How soon a plain accept checks for clients whose event may not come. */
    DOUBT_WAIT_MS = 50,
    /* How soon a receiver that has nothing posted polls again. */
    LOOK_WAIT_MS = 10,
    /* How long the port is idle, after many accepts, before FD_ACCEPT is re-enabled. */
    REARM_WAIT_MS = 20,

    /* The values of engine->cancel_close_ms, a tick long, and engine->cancel_abandon_ms: what a
       close does not end within the second one never ends. */
    CANCEL_CLOSE_MS = 1000,
    CANCEL_ABANDON_MS = 5000,

    /* Between two waits that fail with an error. */
    REFUSED_PAUSE_MS = 100,

    /* Not in mingw-w64's winerror.h. */
    HANDLES_CLOSED = 676, /* ERROR_HANDLES_CLOSED: the handle went with the operation on it */
};

/* -- codes ----------------------------------------------------------------- */

int64_t iocp_error(unsigned long code) {
    switch (code) {
    case ERROR_OPERATION_ABORTED: /* 995, also WSA_OPERATION_ABORTED */
    case WSAECANCELLED:
    case HANDLES_CLOSED:
        return ENGINE_E_CANCELLED;
    case ERROR_NETNAME_DELETED:    /* 64: what AcceptEx and WSARecv report for a reset */
    case ERROR_UNEXP_NET_ERR:      /* 59: Wine, for a client that was reset in the backlog */
    case ERROR_BROKEN_PIPE:        /* 109 */
    case ERROR_CONNECTION_ABORTED: /* 1236: ended by this machine */
    case ERROR_GRACEFUL_DISCONNECT:
    case ERROR_CONNECTION_INVALID:
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case WSAENOTCONN: /* from calls on a connection that was reset */
    case WSAEDISCON:
    case WSAESHUTDOWN:
        return ENGINE_E_RESET;
    case ERROR_SEM_TIMEOUT: /* 121 */
    case WSAETIMEDOUT:
    case WSAENETRESET: /* keep-alive got no answer */
    case ERROR_TIMEOUT:
        return ENGINE_E_TIMED_OUT;
    case ERROR_CONNECTION_REFUSED:
    case WSAECONNREFUSED:
    case ERROR_PORT_UNREACHABLE:
        return ENGINE_E_REFUSED;
    case ERROR_NETWORK_UNREACHABLE:
    case ERROR_HOST_UNREACHABLE:
    case ERROR_PROTOCOL_UNREACHABLE:
    case ERROR_BAD_NETPATH:
    case WSAENETUNREACH:
    case WSAEHOSTUNREACH:
    case WSAEADDRNOTAVAIL: /* connect: not a valid address of a host */
    case WSAEAFNOSUPPORT:  /* connect: no IPv6 here */
    case WSAENETDOWN:
    case WSAEHOSTDOWN:
        return ENGINE_E_UNREACHABLE;
    case WSAENOBUFS:
    case WSAEMFILE:
    case WSAEWOULDBLOCK:         /* too many overlapped operations are under way */
    case WSAEPROVIDERFAILEDINIT: /* a provider could not be loaded, mostly for lack of memory */
    case WSAEPROCLIM:
    case WSAEADDRINUSE: /* connect: no port is left for it */
    case ERROR_TOO_MANY_OPEN_FILES:
    case ERROR_NOT_ENOUGH_MEMORY: /* also WSA_NOT_ENOUGH_MEMORY */
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NONPAGED_SYSTEM_RESOURCES:
    case ERROR_PAGED_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA:
        return ENGINE_E_NO_RESOURCES;
    case ERROR_HANDLE_EOF:
        return ENGINE_E_FILE_SHORT;
    default: {
        char text[512];
        windows_error_text(code, text, sizeof(text));
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_WARN, NULL, "network: %s", text);
        return ENGINE_E_OTHER;
    }
    }
}

unsigned long iocp_op_error(struct engine_port *port, struct iocp_op *op) {
    if (op->overlapped.Internal == 0) {
        return 0; /* STATUS_SUCCESS: the common case costs no call */
    }
    if (op->socket == ENGINE_NO_SOCKET.handle) {
        return ERROR_OPERATION_ABORTED; /* whatever the status is: its socket was closed to end it
                                         */
    }
    const struct winsock_table *winsock = port->engine->winsock;
    DWORD bytes = 0;
    DWORD flags = 0;
    if (winsock->overlapped_result((SOCKET)op->socket, &op->overlapped, &bytes, FALSE, &flags)) {
        return 0;
    }
    return (unsigned long)winsock->last_error();
}

/* -- the engine ------------------------------------------------------------ */

/* Whether sockets like `probe` can skip packets. An LSP that is not an IFS provider has handles of
 * its own, for which packets come in any mode: hence both checks. */
static bool skip_success_works(const struct winsock_table *winsock, SOCKET probe) {
    WSAPROTOCOL_INFOW protocol = {0};
    int size = sizeof(protocol);
    return winsock->getsockopt(probe, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&protocol, &size) ==
               0 &&
           (protocol.dwServiceFlags1 & XP1_IFS_HANDLES) &&
           winsock->set_modes((HANDLE)probe,
                              FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE);
}

/* The buffer sizes of a new socket. 0: unknown. */
static void buffers_probe(struct engine *engine, SOCKET probe) {
    int size = sizeof(DWORD);
    engine->winsock->getsockopt(probe, SOL_SOCKET, SO_RCVBUF, (char *)&engine->receive_bytes,
                                &size);
    size = sizeof(DWORD);
    engine->winsock->getsockopt(probe, SOL_SOCKET, SO_SNDBUF, (char *)&engine->send_bytes, &size);
}

/* The engine uses what sockets of both families support: a socket of this interface does not have
 * its family. A connect has it. */
static void providers_probe(struct engine *engine) {
    static const int families[IOCP_FAMILIES] = {AF_INET, AF_INET6};
    const struct winsock_table *winsock = engine->winsock;
    struct winsock_connectex connectex[IOCP_FAMILIES] = {0};
    unsigned found = 0;
    engine->skip_success = true;
    for (unsigned i = 0; i < IOCP_FAMILIES; i++) {
        SOCKET probe = iocp_socket_open(winsock, families[i]);
        if (probe == INVALID_SOCKET) { /* no IPv6 here: it does not count */
            engine->skip_success &= winsock->last_error() == WSAEAFNOSUPPORT;
            continue;
        }
        engine->skip_success = engine->skip_success && skip_success_works(winsock, probe);
        winsock_connectex_load(winsock, probe, &connectex[found]);
        buffers_probe(engine, probe);
        engine->connect_ex[i] = connectex[found].connect_ex;
        winsock->close(probe);
        found++;
    }
    const struct winsock_connectex *first = &connectex[0];
    const struct winsock_connectex *last = &connectex[found > 1 ? 1 : 0];
    if (first->transmit_file == last->transmit_file) {
        engine->transmit_file = first->transmit_file;
    }
    if (first->transmit_packets == last->transmit_packets) {
        engine->transmit_packets = first->transmit_packets;
    }
}

struct engine *engine_iocp_create(const struct winsock_table *winsock, struct error *error) {
    struct engine *engine = alloc_zeroed(sizeof(*engine));
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    WSADATA data;
    int code = winsock->startup(MAKEWORD(2, 2), &data);
    if (code != 0) {
        windows_error_set(error, (unsigned long)code);
        error_prefix(error, "Winsock does not start: ");
        alloc_free(engine);
        return NULL;
    }
    engine->winsock = winsock;
    engine->traits = (struct engine_traits){
        .name = "iocp",
        .socket_reuse = engine->reuse_text,
        .accept_on_workers = false,
        .backlog_is_fixed = true,
    };
    engine->cancel_close_ms = CANCEL_CLOSE_MS;
    engine->cancel_abandon_ms = CANCEL_ABANDON_MS;
    providers_probe(engine);
    iocp_send_init(engine);
    iocp_reuse_init(engine);
    return engine;
}

struct engine *engine_create(const struct engine_options *options, struct error *error) {
    /* Windows sets no limit of descriptors for a process: none are reserved. */
    if (options->engine && strcmp(options->engine, "auto") != 0 &&
        strcmp(options->engine, "iocp") != 0) {
        error_set(error, "there is no engine \"%s\" on Windows: leave host.engine at \"auto\"",
                  options->engine);
        return NULL;
    }
    if (options->direct_descriptors > 0) {
        error_set(error, "host.direct_descriptors is for io_uring on Linux: leave it out, Windows "
                         "sets no limit of descriptors");
        return NULL;
    }
    struct engine *engine = engine_iocp_create(&winsock_system, error);
    if (engine) {
        engine->inherited_sockets = options->inherited_sockets;
    }
    return engine;
}

/* The system does not limit handles. */
bool engine_file_take(struct engine *engine) {
    (void)engine;
    return true;
}

void engine_file_give(struct engine *engine) {
    (void)engine;
}

void engine_destroy(struct engine *engine) {
    if (engine) {
        iocp_reuse_fini(engine);
        engine->winsock->cleanup();
        alloc_free(engine);
    }
}

const struct engine_traits *engine_traits(const struct engine *engine) {
    return &engine->traits;
}

/* -- operations ------------------------------------------------------------ */

void iocp_start(struct engine_port *port, struct iocp_op *op, enum iocp_kind kind, SOCKET socket) {
    *op = (struct iocp_op){.socket = (int32_t)socket, .kind = (uint8_t)kind};
    atomic_fetch_add_explicit(&port->pending, 1, memory_order_relaxed);
}

void iocp_unstart(struct engine_port *port, struct iocp_op *op) {
    op->kind = IOCP_IDLE;
    atomic_fetch_sub_explicit(&port->pending, 1, memory_order_relaxed);
}

void iocp_finish(struct engine_port *port, struct iocp_op *op, int64_t result) {
    struct engine_op *owner = CONTAINER_OF(op, struct engine_op, opaque);
    if (port->closed) {
        iocp_closed_forget(port, op);
    }
    iocp_unstart(port, op);
    port->ran++;
    owner->complete(owner, result);
}

void iocp_defer(struct engine_port *port, struct iocp_op *op, int64_t result) {
    op->queued.result = result;
    DL_APPEND2(port->ready, op, queued.prev, queued.next);
}

/* -- ports ----------------------------------------------------------------- */

struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error) {
    if (options->buffers.capacity <= IOCP_ADDRESSES_ROOM) {
        error_set(error, "buffers of %u bytes are too small for an accept: more than %u are needed",
                  (unsigned)options->buffers.capacity, (unsigned)IOCP_ADDRESSES_ROOM);
        return NULL;
    }
    struct engine_port *port = alloc_zeroed(sizeof(*port));
    if (!port) {
        error_set(error, "out of memory");
        return NULL;
    }
    port->engine = engine;
    port->buffers = options->buffers;
    port->burst_max = options->burst_buffers > 0 ? options->burst_buffers : 1;
    port->iocp = engine->winsock->port_create(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (!port->iocp) {
        windows_error_set(error, GetLastError());
        error_prefix(error, "creating a completion port: ");
        alloc_free(port);
        return NULL;
    }
    os_mutex_init(&port->posts_lock);
    return port;
}

void engine_port_destroy(struct engine_port *port) {
    if (!port) {
        return;
    }
    ASSERT(engine_port_pending(port) == 0);
    ASSERT(port->acceptors == NULL);
    ASSERT(port->receivers == NULL);
    ASSERT(port->armed_buffer_count == 0);
    iocp_reuse_port_remove(port);
    iocp_send_port_remove(port);
    os_mutex_fini(&port->posts_lock);
    CloseHandle(port->iocp);
    alloc_free(port);
}

unsigned engine_port_pending(const struct engine_port *port) {
    return atomic_load_explicit(&port->pending, memory_order_relaxed);
}

/* Posts have a queue of their own instead of one packet each: queuing a packet may fail, a post
 * must not. One packet announces any number of them. */
void engine_port_post(struct engine_port *port, struct engine_op *op) {
    struct iocp_op *post = iocp_op_of(op);
    iocp_start(port, post, IOCP_POST, INVALID_SOCKET);
    os_mutex_lock(&port->posts_lock);
    DL_APPEND2(port->posts, post, queued.prev, queued.next);
    atomic_store_explicit(&port->posts_queued, true, memory_order_relaxed);
    if (!port->posts_waking) {
        /* Under the lock: once the lock is free the port may run the post, and the thread that
         * waits for that may destroy the port. */
        port->posts_waking = port->engine->winsock->port_post(port->iocp, 0, IOCP_KEY_WAKE, NULL);
    }
    os_mutex_unlock(&port->posts_lock);
}

/* A post after this check queues a packet after it, too; otherwise the next pass finds the post. */
static void posts_run(struct engine_port *port) {
    if (!atomic_load_explicit(&port->posts_queued, memory_order_relaxed)) {
        return;
    }
    os_mutex_lock(&port->posts_lock);
    struct iocp_op *posts = port->posts;
    port->posts = NULL;
    atomic_store_explicit(&port->posts_queued, false, memory_order_relaxed);
    port->posts_waking = false;
    os_mutex_unlock(&port->posts_lock);
    while (posts) {
        struct iocp_op *post = posts;
        DL_DELETE2(posts, post, queued.prev, queued.next);
        iocp_finish(port, post, 0);
    }
}

/* Runs what is ready now; what becomes ready meanwhile waits for the next pass. */
static void ready_run(struct engine_port *port) {
    struct iocp_op *ready = port->ready;
    port->ready = NULL;
    while (ready) {
        struct iocp_op *op = ready;
        DL_DELETE2(ready, op, queued.prev, queued.next);
        int64_t result = op->queued.result;
        switch (op->kind) {
        case IOCP_ACCEPT:
            iocp_accept_failed(port, op, result);
            break;
        case IOCP_RECEIVE:
            iocp_receive_resume(port, op, result);
            break;
        case IOCP_CONNECT:
            iocp_connect_resume(port, op, result);
            break;
        default:
            ASSERT(op->kind == IOCP_FILE_SEND);
            iocp_finish(port, op, result);
        }
    }
}

static void entry_run(struct engine_port *port, const OVERLAPPED_ENTRY *entry) {
    if (entry->lpCompletionKey == IOCP_KEY_WAKE) {
        return; /* the pass checks everything in any case */
    }
    struct iocp_op *op = CONTAINER_OF(entry->lpOverlapped, struct iocp_op, overlapped);
    DWORD bytes = entry->dwNumberOfBytesTransferred;
    if (entry->lpCompletionKey == IOCP_KEY_SETTLED) {
        iocp_datagram_settled(port, op);
        return;
    }
    switch (op->kind) {
    case IOCP_ABANDONED: /* it ends late: nothing waits for it */
        break;
    case IOCP_ACCEPT:
        iocp_accept_completed(port, op, bytes);
        break;
    case IOCP_RECEIVE:
        iocp_receive_completed(port, op, bytes);
        break;
    case IOCP_TRANSMIT:
        iocp_transmit_completed(port, op, bytes);
        break;
    case IOCP_CONNECT:
        iocp_connect_completed(port, op, bytes);
        break;
    case IOCP_DATAGRAM:
        iocp_datagram_completed(port, op, bytes);
        break;
    case IOCP_DISCONNECT:
        iocp_disconnect_completed(port, op);
        break;
    default: {
        ASSERT(op->kind == IOCP_SEND);
        unsigned long code = iocp_op_error(port, op);
        iocp_finish(port, op, code ? iocp_error(code) : (int64_t)bytes);
    }
    }
}

/* The port waits all the same, else it would use a whole processor until the system has resources
 * again. */
static void iocp_note_refusal(struct engine_port *port, DWORD code, DWORD wait_ms) {
    if (code == WAIT_TIMEOUT) {
        return;
    }
    if (!port->refused) {
        port->refused = true;
        log_error(NULL,
                  "GetQueuedCompletionStatusEx: error %lu: this worker stands still until the "
                  "system takes the call again; not told of again",
                  code);
    }
    Sleep(wait_ms < REFUSED_PAUSE_MS ? wait_ms : REFUSED_PAUSE_MS);
}

static void iocp_pass(struct engine_port *port, DWORD wait_ms) {
    OVERLAPPED_ENTRY entries[BATCH_MAX];
    ULONG count = 0;
    iocp_receives_feed(port);
    iocp_transmits_feed(port);
    iocp_receivers_check(port);
    ready_run(port);
    if (port->ready || port->ran > 0 || port->plain_due) {
        wait_ms = 0;
    } else if ((port->waiting_for_buffer || port->transmits_waiting ||
                port->receivers_waiting_for_buffer) &&
               wait_ms > WAITING_FOR_BUFFER_MS) {
        wait_ms = WAITING_FOR_BUFFER_MS;
    } else if (port->plain_doubted && wait_ms > DOUBT_WAIT_MS) {
        wait_ms = DOUBT_WAIT_MS;
    }
    if (port->receivers_further > 0 && wait_ms > LOOK_WAIT_MS) {
        wait_ms = LOOK_WAIT_MS;
    }
    if (port->rearm_due && wait_ms > REARM_WAIT_MS) {
        wait_ms = REARM_WAIT_MS;
    }
    /* The count means nothing when the call fails: Wine reports 1 on a time-out. */
    if (!port->engine->winsock->port_wait(port->iocp, entries, BATCH_MAX, &count, wait_ms, FALSE)) {
        iocp_note_refusal(port, GetLastError(), wait_ms);
        count = 0;
    }
    port->is_saturated = count == BATCH_MAX;
    for (ULONG i = 0; i < count; i++) {
        entry_run(port, &entries[i]);
    }
    posts_run(port);
    iocp_acceptors_check(port, count == 0 && wait_ms > 0);
    iocp_cancels_check(port);
    iocp_armed_buffer_check(port);
    if (CHECKS) {
        iocp_port_check(port);
    }
}

unsigned engine_port_run(struct engine_port *port, int timeout_ms) {
    uint64_t deadline = timeout_ms > 0 ? os_now_ms() + (uint64_t)timeout_ms : 0;
    port->ran = 0;
    for (;;) {
        DWORD wait_ms = WAIT_MAX_MS;
        bool last = timeout_ms == 0;
        if (timeout_ms == 0) {
            wait_ms = 0;
        } else if (timeout_ms > 0) {
            uint64_t now = os_now_ms();
            uint64_t left = now < deadline ? deadline - now : 0;
            wait_ms = left < WAIT_MAX_MS ? (DWORD)left : WAIT_MAX_MS;
            last = left == 0;
        }
        iocp_pass(port, wait_ms);
        if (port->ran > 0 || last) {
            return port->ran;
        }
    }
}

/* -- sockets --------------------------------------------------------------- */

bool iocp_attach(struct engine_port *port, SOCKET socket, bool skips_success) {
    const struct winsock_table *winsock = port->engine->winsock;
    HANDLE handle = (HANDLE)socket;
    u_long non_blocking = 1;
    return winsock->ioctlsocket(socket, (long)FIONBIO, &non_blocking) == 0 &&
           winsock->port_create(handle, port->iocp, IOCP_KEY_SOCKET, 0) == port->iocp &&
           (!skips_success || !port->engine->skip_success ||
            winsock->set_modes(handle, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                           FILE_SKIP_SET_EVENT_ON_HANDLE));
}

bool engine_attach(struct engine_port *port, struct engine_socket *socket, struct error *error) {
    return iocp_attach(port, (SOCKET)socket->handle, true) ||
           windows_error_set(error, GetLastError());
}

int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket) {
    const struct winsock_table *winsock = port->engine->winsock;
    if (winsock->shutdown((SOCKET)socket.handle, SD_SEND) == 0) {
        return 0;
    }
    return iocp_error((unsigned long)winsock->last_error());
}

/* Windows has no call for that: SIO_TCP_INFO counts the bytes in flight, and not those that wait to
 * be sent. */
bool engine_unacked_bytes(struct engine_port *port, struct engine_socket socket, uint64_t *bytes) {
    (void)port;
    (void)socket;
    (void)bytes;
    return false;
}

void iocp_socket_close(struct engine *engine, SOCKET socket, bool reset) {
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        engine->winsock->setsockopt(socket, SOL_SOCKET, SO_LINGER, (const char *)&linger,
                                    sizeof(linger));
    }
    engine->winsock->close(socket);
}

void engine_close(struct engine *engine, struct engine_socket socket, bool reset) {
    if (socket.handle != ENGINE_NO_SOCKET.handle) {
        iocp_socket_close(engine, (SOCKET)socket.handle, reset);
    }
}
