/* iocp_datagram.c: datagrams, by WSARecvMsg and WSASendMsg.
 *
 * A few receives are posted at a time, each into a buffer of its own; IP_PKTINFO gives the address
 * that each datagram was sent to. An answer must come from that address, or the client's own filter
 * discards it. On Windows the sender chooses the source address with the same control message. A
 * test detects a system that ignores it (as Wine does); there a separate socket is bound to each
 * address, when the first datagram has come to that address.
 *
 * WSAECONNRESET on a receive reports an ICMP "port unreachable" for some earlier datagram and does
 * not concern this receive. SIO_UDP_CONNRESET switches it off; where it comes all the same it is
 * ignored.
 *
 * These sockets do not skip packets (FILE_SKIP_COMPLETION_PORT_ON_SUCCESS): for a datagram that is
 * larger than its buffer, systems differ in what they skip, as libuv and Go have found. So a
 * receive that succeeds at once completes by its packet like any other. One that fails at once, and
 * the oversized datagram is a failure (WSAEMSGSIZE), may leave a packet or not: by the I/O
 * manager's rules it does for WSAEMSGSIZE, a warning, and does not for errors. If there is one, it
 * is in the port when the call returns. So the engine queues a packet of its own after it, with the
 * key IOCP_KEY_SETTLED. The receive is over when that packet comes; the other packet is ignored.
 *
 * A socket belongs to one port permanently. A further receiver on another port, which exists while
 * the thread of the first one is stalled, cancels the receives that are posted there, and then
 * polls the socket. */
#include "engine/iocp/iocp.h"

#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "os/os_windows.h"

#ifndef SIO_UDP_CONNRESET
#define SIO_UDP_CONNRESET _WSAIOW(IOC_VENDOR, 12)
#endif
#ifndef SIO_UDP_NETRESET
#define SIO_UDP_NETRESET _WSAIOW(IOC_VENDOR, 15)
#endif

enum {
    RECEIVES_POSTED = 8, /* at a time, on each socket */
    SOCKETS_MAX = 64,    /* one a local address, where the sender cannot choose its address */
    CONTROL_BYTES = WSA_CMSG_SPACE(sizeof(IN6_PKTINFO)),
    LOOKS_MAX = 32, /* datagrams that a further receiver takes from one socket in one pass */
    TRIAL_WAIT_MS = 250,
    ERRORS_AT_ONCE = 64, /* of a receive, in a row */
};

struct control {
    _Alignas(WSACMSGHDR) char room[CONTROL_BYTES];
};

/* A socket, and the destination address of its datagrams, where that is always the same. */
struct udp_socket {
    SOCKET socket;
    struct berth_address address;
};

/* The sockets of a listener, and what they support. */
struct iocp_datagrams {
    LPFN_WSARECVMSG receive;
    LPFN_WSASENDMSG send;
    bool needs_sockets; /* the sender cannot choose its address */
    /* Held shared while a thread uses one of the sockets, so that none of them is closed meanwhile.
     */
    SRWLOCK lock;
    struct udp_socket sockets[SOCKETS_MAX]; /* under the lock; bound to one address each */
    unsigned socket_count;
    atomic_uint receivers; /* how many were created */
    bool closed;           /* all sockets were closed, to end their receives */
};

/* One receive. */
struct slot {
    struct slot *next; /* in receiver->slots */
    struct engine_op op;
    struct engine_receiver *receiver;
    SOCKET socket;
    bool waiting_for_buffer; /* waits for memory */
    bool failed;             /* when it was posted: its packet is ignored */
    bool is_unsettled;       /* and the IOCP_KEY_SETTLED packet could not be queued */
    int64_t result;          /* of that failure */
    unsigned errors;         /* since its last datagram */
    WSAMSG message;
    WSABUF vector;
    SOCKADDR_STORAGE from;
    struct control control;
    struct engine_buffer buffer;
};

struct engine_receiver {
    struct engine_receiver *prev; /* in port->receivers */
    struct engine_receiver *next;
    struct engine_port *port;
    struct engine_listener *listener;
    engine_datagram_fn *received;
    engine_datagram_lost_fn *lost;
    void *context;
    struct slot *slots;
    unsigned posted; /* slots that the system or the loop has */
    bool is_further; /* has no receives posted: it polls */
    bool stopping;
    uint64_t stopping_ms; /* since when */
    struct engine_op *stopped;
};

/* -- sockets --------------------------------------------------------------- */

static bool iocp_datagram_load(const struct winsock_table *winsock, SOCKET socket, GUID guid,
                               void *function, DWORD size) {
    DWORD returned = 0;
    return winsock->ioctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof(guid), function,
                          size, &returned, NULL, NULL) == 0;
}

SOCKET iocp_datagram_open(const struct winsock_table *winsock, int family) {
    SOCKET socket = winsock->socket(family, SOCK_DGRAM, IPPROTO_UDP, NULL, 0,
                                    WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    static const DWORD controls[] = {SIO_UDP_CONNRESET, SIO_UDP_NETRESET};
    BOOL reports = FALSE;
    DWORD returned = 0;
    for (size_t i = 0; socket != INVALID_SOCKET && i < ARRAY_COUNT(controls); i++) {
        winsock->ioctl(socket, controls[i], &reports, sizeof(reports), NULL, 0, &returned, NULL,
                       NULL); /* where it is unknown, the errors are ignored */
    }
    return socket;
}

static bool ask_for_addresses(const struct winsock_table *winsock, SOCKET socket, int family,
                              bool dual_stack) {
    if (family == AF_INET || dual_stack) {
        bool asked = iocp_socket_option(winsock, socket, IPPROTO_IP, IP_PKTINFO, 1);
        if (family == AF_INET && !asked) {
            return false;
        }
    }
    return family == AF_INET || iocp_socket_option(winsock, socket, IPPROTO_IPV6, IPV6_PKTINFO, 1);
}

static int to_system(const struct engine_listener *listener, const struct berth_address *from,
                     SOCKADDR_STORAGE *to) {
    return listener->family == AF_INET ? windows_address_to_system(from, to)
                                       : windows_address_to_system6(from, to);
}

/* -- sending --------------------------------------------------------------- */

static DWORD iocp_datagram_write_source(struct control *control,
                                        const struct engine_listener *listener,
                                        const struct berth_address *local) {
    WSACMSGHDR *header = (WSACMSGHDR *)control->room;
    memset(control, 0, sizeof(*control));
    if (local->family == BERTH_FAMILY_IPV4) {
        IN_PKTINFO info = {0};
        memcpy(&info.ipi_addr, local->bytes, 4);
        *header = (WSACMSGHDR){WSA_CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO};
        memcpy(WSA_CMSG_DATA(header), &info, sizeof(info));
        return WSA_CMSG_SPACE(sizeof(info));
    }
    (void)listener;
    IN6_PKTINFO info = {.ipi6_ifindex = local->scope_id};
    memcpy(&info.ipi6_addr, local->bytes, 16);
    *header = (WSACMSGHDR){WSA_CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO};
    memcpy(WSA_CMSG_DATA(header), &info, sizeof(info));
    return WSA_CMSG_SPACE(sizeof(info));
}

static int64_t send_by(const struct engine_listener *listener, SOCKET socket,
                       const struct berth_address *local, const struct berth_address *remote,
                       const uint8_t *bytes, uint32_t size) {
    SOCKADDR_STORAGE to;
    struct control control;
    WSABUF vector = {size, (char *)(uintptr_t)bytes}; /* a send only reads */
    WSAMSG message = {.name = (struct sockaddr *)&to, .lpBuffers = &vector, .dwBufferCount = 1};
    DWORD sent = 0;
    message.namelen = to_system(listener, remote, &to);
    if (local) {
        message.Control =
            (WSABUF){iocp_datagram_write_source(&control, listener, local), control.room};
    }
    if (listener->datagrams->send(socket, &message, 0, &sent, NULL, NULL) == 0) {
        return 0;
    }
    unsigned long code = (unsigned long)listener->engine->winsock->last_error();
    if (local && (code == WSAEINVAL || code == WSAEADDRNOTAVAIL)) {
        /* It is not a valid source (a broadcast address, or one that was removed): the system
         * chooses. */
        return send_by(listener, socket, NULL, remote, bytes, size);
    }
    return code == WSAEWOULDBLOCK ? ENGINE_E_NO_RESOURCES : iocp_error(code);
}

/* The socket that is bound to this address, or INVALID_SOCKET. Under the lock. */
static SOCKET find_socket(struct iocp_datagrams *datagrams, const struct berth_address *local) {
    SOCKET found = INVALID_SOCKET;
    for (unsigned i = 0; i < datagrams->socket_count && found == INVALID_SOCKET; i++) {
        if (address_equal(&datagrams->sockets[i].address, local)) {
            found = datagrams->sockets[i].socket;
        }
    }
    return found;
}

/* Under the lock. */
static int64_t send_locked(struct engine_listener *listener, const struct berth_address *local,
                           const struct berth_address *remote, const uint8_t *bytes,
                           uint32_t size) {
    struct iocp_datagrams *datagrams = listener->datagrams;
    if (datagrams->closed) {
        return ENGINE_E_CANCELLED;
    }
    if (remote->family == BERTH_FAMILY_IPV6
            ? listener->family != AF_INET6
            : listener->family != AF_INET && !listener->dual_stack) {
        return ENGINE_E_UNREACHABLE;
    }
    bool chooses = address_is_any(&listener->address) && local->family != BERTH_FAMILY_NONE &&
                   !address_is_any(local) && !address_is_group(local);
    if (chooses && datagrams->needs_sockets) {
        SOCKET own = find_socket(datagrams, local);
        if (own != INVALID_SOCKET) {
            return send_by(listener, own, NULL, remote, bytes, size);
        }
        chooses = false; /* it has no socket: then the system chooses */
    }
    return send_by(listener, listener->socket, chooses ? local : NULL, remote, bytes, size);
}

int64_t engine_datagram_send(struct engine_listener *listener, const struct berth_address *local,
                             const struct berth_address *remote, const uint8_t *bytes,
                             uint32_t size) {
    AcquireSRWLockShared(&listener->datagrams->lock);
    int64_t result = send_locked(listener, local, remote, bytes, size);
    ReleaseSRWLockShared(&listener->datagrams->lock);
    return result;
}

int64_t engine_receiver_send(struct engine_receiver *receiver, const struct berth_address *local,
                             const struct berth_address *remote, const struct engine_buffer *data) {
    const struct engine_buffer_source *source = &receiver->port->buffers;
    int64_t result =
        engine_datagram_send(receiver->listener, local, remote, data->bytes, data->size);
    source->give(source->context, data->owner);
    return result;
}

/* -- receiving ------------------------------------------------------------- */

static struct slot *iocp_datagram_slot_of(struct iocp_op *op) {
    return CONTAINER_OF(CONTAINER_OF(op, struct engine_op, opaque), struct slot, op);
}

static void iocp_datagram_give_buffer(struct slot *slot) {
    const struct engine_buffer_source *source = &slot->receiver->port->buffers;
    if (slot->buffer.owner) {
        source->give(source->context, slot->buffer.owner);
        slot->buffer = (struct engine_buffer){0};
    }
}

/* The last receive has completed: the receiver ends. */
static void end_when_idle(struct engine_receiver *receiver) {
    if (!receiver->stopping || receiver->posted > 0) {
        return;
    }
    while (receiver->slots) {
        struct slot *slot = receiver->slots;
        receiver->slots = slot->next;
        if (iocp_op_of(&slot->op)->kind != IOCP_ABANDONED) {
            alloc_free(slot);
        }
    }
    DL_DELETE(receiver->port->receivers, receiver);
    engine_port_post(receiver->port, receiver->stopped);
    alloc_free(receiver);
}

static void iocp_datagram_wait_for_buffer(struct slot *slot) {
    iocp_datagram_give_buffer(slot);
    slot->waiting_for_buffer = true;
    slot->receiver->port->receivers_waiting_for_buffer = true;
}

static void set_message(struct slot *slot) {
    slot->vector = (WSABUF){slot->buffer.size, (char *)slot->buffer.bytes};
    slot->message = (WSAMSG){
        .name = (struct sockaddr *)&slot->from,
        .namelen = sizeof(slot->from),
        .lpBuffers = &slot->vector,
        .dwBufferCount = 1,
        .Control = {sizeof(slot->control), slot->control.room},
    };
}

/* The receive failed when it was posted. */
static void iocp_datagram_settle(struct slot *slot) {
    struct engine_port *port = slot->receiver->port;
    slot->is_unsettled = !port->engine->winsock->port_post(port->iocp, 0, IOCP_KEY_SETTLED,
                                                           &iocp_op_of(&slot->op)->overlapped);
    port->receivers_waiting_for_buffer |= slot->is_unsettled;
}

/* Afterwards the system has the receive, or its packet is queued, or it waits for memory. */
static void iocp_datagram_post(struct slot *slot) {
    struct engine_receiver *receiver = slot->receiver;
    struct engine_port *port = receiver->port;
    const struct engine_buffer_source *source = &port->buffers;
    slot->waiting_for_buffer = false;
    if (!source->take(source->context, &slot->buffer)) {
        slot->buffer = (struct engine_buffer){0};
        iocp_datagram_wait_for_buffer(slot);
        return;
    }
    set_message(slot);
    struct iocp_op *op = iocp_op_of(&slot->op);
    DWORD bytes = 0;
    iocp_start(port, op, IOCP_DATAGRAM, slot->socket);
    receiver->posted++;
    slot->failed = false;
    if (receiver->listener->datagrams->receive(slot->socket, &slot->message, &bytes,
                                               &op->overlapped, NULL) == 0) {
        return;
    }
    unsigned long code = (unsigned long)port->engine->winsock->last_error();
    if (code == WSA_IO_PENDING) {
        return;
    }
    slot->failed = true;
    slot->result = code == WSAEMSGSIZE ? (int64_t)slot->buffer.size : iocp_error(code);
    slot->message.dwFlags |= code == WSAEMSGSIZE ? MSG_TRUNC : 0;
    iocp_datagram_settle(slot);
}

static bool add_socket(struct engine_receiver *receiver, SOCKET socket) {
    for (int i = 0; i < RECEIVES_POSTED; i++) {
        struct slot *slot = alloc_zeroed(sizeof(*slot));
        if (!slot) {
            return i > 0; /* fewer suffice */
        }
        slot->receiver = receiver;
        slot->socket = socket;
        slot->next = receiver->slots;
        receiver->slots = slot;
        iocp_datagram_post(slot);
    }
    return true;
}

/* Binds to one address in addition to the socket for all addresses. Windows permits that as it is.
 * Where a plain bind fails, as under Wine, both sockets must permit sharing; then a program of any
 * user can bind there, too. */
static bool bind_beside(const struct engine_listener *listener, SOCKET socket,
                        const struct sockaddr *address, int size) {
    const struct winsock_table *winsock = listener->engine->winsock;
    return winsock->bind(socket, address, size) == 0 ||
           (iocp_socket_option(winsock, listener->socket, SOL_SOCKET, SO_REUSEADDR, 1) &&
            iocp_socket_option(winsock, socket, SOL_SOCKET, SO_REUSEADDR, 1) &&
            winsock->bind(socket, address, size) == 0);
}

/* Datagrams come to an address that has no socket of its own yet, and answers need one. */
static void make_socket(struct engine_receiver *receiver, const struct berth_address *local) {
    struct engine_listener *listener = receiver->listener;
    struct iocp_datagrams *datagrams = listener->datagrams;
    const struct winsock_table *winsock = listener->engine->winsock;
    int family = local->family == BERTH_FAMILY_IPV6 ? AF_INET6 : listener->family;
    SOCKADDR_STORAGE storage;
    /* Only this thread adds sockets. */
    if (find_socket(datagrams, local) != INVALID_SOCKET || datagrams->socket_count == SOCKETS_MAX) {
        return;
    }
    SOCKET socket = iocp_datagram_open(winsock, family);
    int size = to_system(listener, local, &storage);
    if (socket != INVALID_SOCKET &&
        (family == AF_INET ||
         iocp_socket_option(winsock, socket, IPPROTO_IPV6, IPV6_V6ONLY, !listener->dual_stack)) &&
        ask_for_addresses(winsock, socket, family, listener->dual_stack) &&
        bind_beside(listener, socket, (struct sockaddr *)&storage, size) &&
        iocp_attach(receiver->port, socket, false)) {
        AcquireSRWLockExclusive(&datagrams->lock);
        datagrams->sockets[datagrams->socket_count++] = (struct udp_socket){socket, *local};
        ReleaseSRWLockExclusive(&datagrams->lock);
        add_socket(receiver, socket);
        return;
    }
    char text[BERTH_ADDRESS_TEXT_MAX];
    address_format(local, text, sizeof(text));
    log_limited(LOG_KIND_NETWORK, LOG_LEVEL_DEBUG, NULL,
                "network: no socket for answers from %s: error %d", text, winsock->last_error());
    if (socket != INVALID_SOCKET) {
        winsock->close(socket);
    }
}

static struct berth_address iocp_datagram_sent_to(struct slot *slot) {
    struct berth_address local = slot->receiver->listener->address;
    WSACMSGHDR *header = WSA_CMSG_FIRSTHDR(&slot->message);
    if (header && header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
        IN_PKTINFO info;
        memcpy(&info, WSA_CMSG_DATA(header), sizeof(info));
        local.family = BERTH_FAMILY_IPV4;
        local.scope_id = 0;
        memset(local.bytes, 0, sizeof(local.bytes));
        memcpy(local.bytes, &info.ipi_addr, 4);
    } else if (header && header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
        IN6_PKTINFO info;
        memcpy(&info, WSA_CMSG_DATA(header), sizeof(info));
        local.family = BERTH_FAMILY_IPV6;
        memcpy(local.bytes, &info.ipi6_addr, 16);
        local.scope_id = address_is_link_local(&local) ? info.ipi6_ifindex : 0;
        address_unmap(&local);
    }
    return local;
}

static void iocp_datagram_deliver(struct slot *slot, uint32_t size) {
    struct engine_receiver *receiver = slot->receiver;
    struct engine_datagram datagram = {
        .local = iocp_datagram_sent_to(slot),
        .remote = windows_address((struct sockaddr *)&slot->from),
        .data = slot->buffer,
        .truncated = (slot->message.dwFlags & MSG_TRUNC) != 0,
    };
    datagram.data.size = size;
    slot->buffer = (struct engine_buffer){0};
    if (receiver->listener->datagrams->needs_sockets &&
        address_is_any(&receiver->listener->address) && !receiver->is_further) {
        make_socket(receiver, &datagram.local);
    }
    receiver->received(receiver, &datagram, receiver->context);
}

/* An error concerns an earlier answer, and a pause would only lose datagrams; but an error that
 * comes each time, as when the network is down, would use a whole processor. */
static bool fails_for_good(struct slot *slot, int64_t result) {
    slot->errors = result < 0 ? slot->errors + 1 : 0;
    if (slot->errors == ERRORS_AT_ONCE) {
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_WARN, NULL,
                    "network: receiving datagrams has failed %d times in a row (%s): it is tried "
                    "again from time to time",
                    ERRORS_AT_ONCE, engine_error_text(result));
    }
    return slot->errors >= ERRORS_AT_ONCE;
}

/* The receive is over. */
static void iocp_datagram_finish(struct engine_port *port, struct iocp_op *op, int64_t result) {
    struct slot *slot = iocp_datagram_slot_of(op);
    struct engine_receiver *receiver = slot->receiver;
    iocp_unstart(port, op);
    port->ran++;
    if (result >= 0 && !receiver->stopping) {
        iocp_datagram_deliver(slot, (uint32_t)result);
    }
    iocp_datagram_give_buffer(slot);
    receiver->posted--; /* not before: the function that it calls may stop it */
    if (receiver->stopping) {
        end_when_idle(receiver);
    } else if (fails_for_good(slot, result) || result == ENGINE_E_NO_RESOURCES) {
        iocp_datagram_wait_for_buffer(slot); /* it is posted again, but not at once */
    } else {
        iocp_datagram_post(slot);
    }
}

void iocp_datagram_settled(struct engine_port *port, struct iocp_op *op) {
    if (op->kind != IOCP_ABANDONED) {
        iocp_datagram_finish(port, op, iocp_datagram_slot_of(op)->result);
    }
}

void iocp_datagram_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    if (iocp_datagram_slot_of(op)->failed) {
        return;
    }
    unsigned long code = iocp_op_error(port, op);
    if (code == WSAEMSGSIZE || code == ERROR_MORE_DATA) {
        iocp_datagram_slot_of(op)->message.dwFlags |= MSG_TRUNC;
        iocp_datagram_finish(port, op, iocp_datagram_slot_of(op)->buffer.size);
    } else {
        iocp_datagram_finish(port, op, code ? iocp_error(code) : (int64_t)bytes);
    }
}

/* Receives from a socket that another port's receiver may have closed. 0, or the code. */
static int receive_now(struct slot *slot, SOCKET socket, DWORD *bytes) {
    struct iocp_datagrams *datagrams = slot->receiver->listener->datagrams;
    AcquireSRWLockShared(&datagrams->lock);
    int code = WSAEWOULDBLOCK;
    if (!datagrams->closed) {
        code = datagrams->receive(socket, &slot->message, bytes, NULL, NULL) == 0
                   ? 0
                   : slot->receiver->port->engine->winsock->last_error();
    }
    ReleaseSRWLockShared(&datagrams->lock);
    return code;
}

/* Receives the datagrams that one socket has. The further receiver's slot is only the memory for
 * them. */
static void iocp_datagram_look(struct engine_receiver *receiver, SOCKET socket) {
    const struct engine_buffer_source *source = &receiver->port->buffers;
    struct slot *slot = receiver->slots;
    for (int i = 0; i < LOOKS_MAX && !receiver->stopping; i++) {
        DWORD bytes = 0;
        if (!source->take(source->context, &slot->buffer)) {
            slot->buffer = (struct engine_buffer){0};
            return; /* the next pass polls again */
        }
        set_message(slot);
        int code = receive_now(slot, socket, &bytes);
        if (code == WSAEMSGSIZE) {
            slot->message.dwFlags |= MSG_TRUNC;
            bytes = slot->buffer.size;
        } else if (code != 0) {
            iocp_datagram_give_buffer(slot);
            if (code == WSAEWOULDBLOCK) {
                return;
            }
            continue; /* it concerns an earlier answer */
        }
        receiver->port->ran++;
        iocp_datagram_deliver(slot, bytes);
        iocp_datagram_give_buffer(slot);
    }
}

static unsigned sockets_of(struct engine_receiver *receiver, SOCKET sockets[1 + SOCKETS_MAX]) {
    struct iocp_datagrams *datagrams = receiver->listener->datagrams;
    unsigned count = 0;
    AcquireSRWLockShared(&datagrams->lock);
    sockets[count++] = receiver->listener->socket;
    for (unsigned i = 0; i < datagrams->socket_count; i++) {
        sockets[count++] = datagrams->sockets[i].socket;
    }
    ReleaseSRWLockShared(&datagrams->lock);
    return count;
}

/* The sockets are closed only after the last receiver has ended. */
static void look_at_all(struct engine_receiver *receiver) {
    SOCKET sockets[1 + SOCKETS_MAX];
    unsigned count = sockets_of(receiver, sockets);
    receiver->posted++; /* the function that it calls may stop it */
    for (unsigned i = 0; i < count; i++) {
        iocp_datagram_look(receiver, sockets[i]);
    }
    receiver->posted--;
    end_when_idle(receiver);
}

static void look_further(struct engine_port *port) {
    struct engine_receiver *receiver;
    struct engine_receiver *next;
    DL_FOREACH_SAFE(port->receivers, receiver, next) {
        if (receiver->is_further) {
            look_at_all(receiver);
        }
    }
}

void iocp_receivers_check(struct engine_port *port) {
    struct engine_receiver *receiver;
    if (port->receivers_further > 0) {
        look_further(port);
    }
    if (!port->receivers_waiting_for_buffer) {
        return;
    }
    port->receivers_waiting_for_buffer = false;
    DL_FOREACH(port->receivers, receiver) {
        for (struct slot *slot = receiver->slots; slot; slot = slot->next) {
            if (slot->is_unsettled) {
                iocp_datagram_settle(slot);
            } else if (slot->waiting_for_buffer && !receiver->stopping) {
                iocp_datagram_post(slot);
            }
        }
    }
}

/* One slot, for one datagram at a time. Cancels the receives of the other port, which would take
 * datagrams meanwhile; they complete there. */
static bool receiver_start_further(struct engine_receiver *receiver) {
    const struct winsock_table *winsock = receiver->port->engine->winsock;
    SOCKET sockets[1 + SOCKETS_MAX];
    receiver->slots = alloc_zeroed(sizeof(*receiver->slots));
    if (!receiver->slots) {
        return false;
    }
    receiver->slots->receiver = receiver;
    receiver->slots->socket = INVALID_SOCKET;
    unsigned count = sockets_of(receiver, sockets);
    for (unsigned i = 0; i < count; i++) {
        winsock->cancel((HANDLE)sockets[i], NULL);
    }
    receiver->port->receivers_further++;
    return true;
}

struct engine_receiver *engine_receiver_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_datagram_fn *received,
                                               engine_datagram_lost_fn *lost, void *context,
                                               struct error *error) {
    bool is_further = atomic_fetch_add(&listener->datagrams->receivers, 1) > 0;
    (void)index; /* there is one */
    if (!is_further && !iocp_attach(port, listener->socket, false)) {
        windows_error_set(error, (unsigned long)port->engine->winsock->last_error());
        return NULL;
    }
    struct engine_receiver *receiver = alloc_zeroed(sizeof(*receiver));
    if (!receiver) {
        error_set(error, "out of memory");
        return NULL;
    }
    receiver->port = port;
    receiver->listener = listener;
    receiver->received = received;
    receiver->lost = lost;
    receiver->context = context;
    receiver->is_further = is_further;
    DL_APPEND(port->receivers, receiver);
    if (!(is_further ? receiver_start_further(receiver) : add_socket(receiver, listener->socket))) {
        error_set(error, "out of memory");
        DL_DELETE(port->receivers, receiver);
        alloc_free(receiver);
        return NULL;
    }
    return receiver;
}

void engine_receiver_stop(struct engine_receiver *receiver, struct engine_op *stopped) {
    const struct winsock_table *winsock = receiver->port->engine->winsock;
    receiver->stopping = true;
    receiver->stopping_ms = os_now_ms();
    receiver->stopped = stopped;
    receiver->port->receivers_further -= receiver->is_further;
    for (struct slot *slot = receiver->slots; slot && !receiver->is_further; slot = slot->next) {
        winsock->cancel((HANDLE)slot->socket, NULL); /* all operations of the socket */
    }
    end_when_idle(receiver);
}

/* Other threads may be sending on these sockets: the lock waits for them. */
static void iocp_datagram_close_sockets(struct engine_receiver *receiver) {
    const struct winsock_table *winsock = receiver->port->engine->winsock;
    struct engine_listener *listener = receiver->listener;
    struct iocp_datagrams *datagrams = listener->datagrams;
    AcquireSRWLockExclusive(&datagrams->lock);
    datagrams->closed = true;
    for (unsigned i = 0; i < datagrams->socket_count; i++) {
        winsock->close(datagrams->sockets[i].socket);
    }
    datagrams->socket_count = 0;
    winsock->close(listener->socket);
    listener->socket = INVALID_SOCKET;
    ReleaseSRWLockExclusive(&datagrams->lock);
    for (struct slot *slot = receiver->slots; slot; slot = slot->next) {
        iocp_op_of(&slot->op)->socket = ENGINE_NO_SOCKET.handle;
    }
    iocp_cancel_tell_closed("receive of datagrams");
}

/* The slots that the system still has are never freed, nor their buffers. */
static void iocp_datagram_abandon(struct engine_receiver *receiver) {
    for (struct slot *slot = receiver->slots; slot; slot = slot->next) {
        struct iocp_op *op = iocp_op_of(&slot->op);
        if (op->kind == IOCP_DATAGRAM) {
            iocp_unstart(receiver->port, op);
            op->kind = IOCP_ABANDONED;
        }
    }
    receiver->posted = 0;
    iocp_cancel_tell_abandoned("receive of datagrams");
    end_when_idle(receiver);
}

void iocp_receivers_end(struct engine_port *port, uint64_t now_ms) {
    struct engine_receiver *receiver;
    struct engine_receiver *next;
    DL_FOREACH_SAFE(port->receivers, receiver, next) {
        if (!receiver->stopping) {
            continue;
        }
        enum iocp_cancel_step step = iocp_cancel_step(
            port, receiver->stopping_ms, receiver->listener->datagrams->closed, now_ms);
        if (step == IOCP_CANCEL_CLOSE) {
            iocp_datagram_close_sockets(receiver);
        } else if (step == IOCP_CANCEL_ABANDON) {
            iocp_datagram_abandon(receiver);
        }
    }
}

/* -- listeners ------------------------------------------------------------- */

/* Whether the sender can choose the source address: tested on loopback, with an address that the
 * system would not choose. The other socket is connected to that address only. */
static bool source_can_be_chosen(struct engine_listener *listener) {
    const struct winsock_table *winsock = listener->engine->winsock;
    struct berth_address any = {.family = BERTH_FAMILY_IPV4};
    struct berth_address odd = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 2}};
    struct berth_address home = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}};
    struct engine_listener trial = *listener;
    SOCKADDR_STORAGE from;
    SOCKADDR_STORAGE to;
    int size = windows_address_to_system(&any, &from);
    char byte = 0;
    bool chosen = false;
    trial.family = AF_INET;
    trial.dual_stack = false;
    SOCKET sender = iocp_datagram_open(winsock, AF_INET);
    SOCKET hearer = iocp_datagram_open(winsock, AF_INET);
    if (sender != INVALID_SOCKET && hearer != INVALID_SOCKET &&
        winsock->bind(sender, (struct sockaddr *)&from, size) == 0 &&
        winsock->getsockname(sender, (struct sockaddr *)&from, &size) == 0) {
        odd.port = windows_address((struct sockaddr *)&from).port;
        size = windows_address_to_system(&home, &to);
        int to_size = sizeof(to);
        if (winsock->bind(hearer, (struct sockaddr *)&to, size) == 0 &&
            winsock->getsockname(hearer, (struct sockaddr *)&to, &to_size) == 0) {
            home.port = windows_address((struct sockaddr *)&to).port;
            size = windows_address_to_system(&odd, &from);
            chosen = winsock->connect(hearer, (struct sockaddr *)&from, size) == 0 &&
                     iocp_socket_option(winsock, hearer, SOL_SOCKET, SO_RCVTIMEO, TRIAL_WAIT_MS) &&
                     send_by(&trial, sender, &odd, &home, (const uint8_t *)"?", 1) == 0 &&
                     winsock->recv(hearer, &byte, 1, 0) == 1;
        }
    }
    if (sender != INVALID_SOCKET) {
        winsock->close(sender);
    }
    if (hearer != INVALID_SOCKET) {
        winsock->close(hearer);
    }
    return chosen;
}

bool iocp_datagrams_init(struct engine_listener *listener) {
    static const GUID receive = WSAID_WSARECVMSG;
    static const GUID send = WSAID_WSASENDMSG;
    const struct winsock_table *winsock = listener->engine->winsock;
    struct iocp_datagrams *datagrams = alloc_zeroed(sizeof(*datagrams));
    if (!datagrams) {
        SetLastError(WSA_NOT_ENOUGH_MEMORY);
        return false;
    }
    listener->datagrams = datagrams;
    InitializeSRWLock(&datagrams->lock);
    if (!iocp_datagram_load(winsock, listener->socket, receive, &datagrams->receive,
                            sizeof(datagrams->receive)) ||
        !iocp_datagram_load(winsock, listener->socket, send, &datagrams->send,
                            sizeof(datagrams->send))) {
        return false;
    }
    return ask_for_addresses(winsock, listener->socket, listener->family, listener->dual_stack);
}

/* Tested before the listener is bound, as the way to bind depends on it. */
bool iocp_datagrams_need_sockets(struct engine_listener *listener, bool any_address) {
    listener->datagrams->needs_sockets = any_address && !source_can_be_chosen(listener);
    return listener->datagrams->needs_sockets;
}

void iocp_datagrams_fini(struct engine_listener *listener) {
    struct iocp_datagrams *datagrams = listener->datagrams;
    if (!datagrams) {
        return;
    }
    for (unsigned i = 0; i < datagrams->socket_count; i++) {
        listener->engine->winsock->close(datagrams->sockets[i].socket);
    }
    alloc_free(datagrams);
}
