/* linux_datagram.c: datagrams, the same on io_uring and epoll.
 *
 * The engine reports that some have come, as it does for clients of a listening socket; recvmmsg()
 * takes a batch of them, each with the address it was sent to. Datagrams that are sent while a
 * batch is handled, mostly the answers to it, are sent by one sendmmsg() at its end. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "engine/linux/linux.h"

enum { BATCH_MAX = 32 }; /* datagrams a turn, so that they do not starve connections */

/* Room for the control messages of both families, which come together with an IPv4 datagram to an
 * IPv6 socket. */
struct control {
    _Alignas(struct cmsghdr) uint8_t
        room[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct answer {
    union system_address remote;
    struct control control;
    struct iovec vector;
    void *owner; /* of the bytes */
};

struct engine_receiver {
    struct engine_acceptor acceptor; /* first, so that one is the other */
    engine_datagram_fn *received;
    engine_datagram_lost_fn *lost;
    void *context;
    struct engine_op *stopped;
    bool in_batch; /* datagrams that are sent wait for the end of the batch */

    struct engine_buffer buffers[BATCH_MAX];
    struct mmsghdr messages[BATCH_MAX];
    struct iovec vectors[BATCH_MAX];
    union system_address remotes[BATCH_MAX];
    struct control controls[BATCH_MAX];

    struct mmsghdr to_send[BATCH_MAX];
    struct answer answers[BATCH_MAX];
    unsigned answer_count;
};

struct engine_receiver *engine_receiver_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_datagram_fn *received,
                                               engine_datagram_lost_fn *lost, void *context,
                                               struct error *error) {
    struct engine_receiver *receiver = alloc_zeroed(sizeof(*receiver));
    if (!receiver) {
        error_set(error, "out of memory");
        return NULL;
    }
    receiver->received = received;
    receiver->lost = lost;
    receiver->context = context;
    receiver->acceptor.receiver = receiver;
    if (!linux_acceptor_init(&receiver->acceptor, port, listener, index, error)) {
        alloc_free(receiver);
        return NULL;
    }
    linux_accept_ready(&receiver->acceptor); /* some may have come before the socket was watched */
    return receiver;
}

void engine_receiver_stop(struct engine_receiver *receiver, struct engine_op *stopped) {
    receiver->stopped = stopped;
    receiver->acceptor.port->pending++;
    linux_acceptor_end(&receiver->acceptor);
}

void linux_receiver_free(struct engine_receiver *receiver) {
    linux_defer(receiver->acceptor.port, receiver->stopped, 0);
    alloc_free(receiver);
}

/* -- sending --------------------------------------------------------------- */

static socklen_t linux_datagram_write_source(struct control *control,
                                             const struct engine_listener *listener,
                                             const struct berth_address *local) {
    struct cmsghdr *header = (struct cmsghdr *)control->room;
    memset(control, 0, sizeof(*control));
    if (!listener->v6) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->bytes, 4);
        *header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
        memcpy(CMSG_DATA(header), &info, sizeof(info));
        return CMSG_SPACE(sizeof(info));
    }
    struct in6_pktinfo info = {.ipi6_ifindex = local->scope_id};
    if (!address_is_group(local)) { /* else the system chooses an address of that interface */
        union system_address mapped;
        linux_address_to_system6(local, &mapped);
        info.ipi6_addr = mapped.v6.sin6_addr;
    }
    *header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(info)), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
    memcpy(CMSG_DATA(header), &info, sizeof(info));
    return CMSG_SPACE(sizeof(info));
}

static void linux_datagram_prepare(struct answer *answer, struct msghdr *message,
                                   const struct engine_listener *listener,
                                   const struct berth_address *local,
                                   const struct berth_address *remote, const uint8_t *bytes,
                                   uint32_t size) {
    *message = (struct msghdr){.msg_name = &answer->remote,
                               .msg_iov = &answer->vector,
                               .msg_iovlen = 1,
                               .msg_control = answer->control.room};
    message->msg_namelen = listener->v6 ? linux_address_to_system6(remote, &answer->remote)
                                        : linux_address_to_system(remote, &answer->remote);
    bool is_group = address_is_group(local) && local->scope_id == 0;
    if (local->family != BERTH_FAMILY_NONE && !address_is_any(local) && !is_group) {
        message->msg_controllen = linux_datagram_write_source(&answer->control, listener, local);
    }
    answer->vector.iov_base = (void *)(uintptr_t)bytes; /* sendmsg only reads them */
    answer->vector.iov_len = size;
}

static bool linux_datagram_fits(const struct engine_listener *listener,
                                const struct berth_address *remote) {
    return remote->family == BERTH_FAMILY_IPV4 ||
           (remote->family == BERTH_FAMILY_IPV6 && listener->v6);
}

static int send_message(int fd, const struct msghdr *message) {
    ssize_t sent;
    do {
        sent = linux_calls.sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

/* Tries once more without the source address when nothing can be sent from that address (the
 * broadcast address of a network, one that is gone): then the system chooses. 0, or an errno. */
static int linux_datagram_send_one(int fd, struct msghdr *message) {
    int code = send_message(fd, message);
    bool is_source = code == EINVAL || code == EADDRNOTAVAIL || code == ENETUNREACH;
    if (!is_source || message->msg_controllen == 0) {
        return code;
    }
    message->msg_controllen = 0;
    return send_message(fd, message);
}

int64_t engine_datagram_send(struct engine_listener *listener, const struct berth_address *local,
                             const struct berth_address *remote, const uint8_t *bytes,
                             uint32_t size) {
    struct answer answer;
    struct msghdr message;
    if (!linux_datagram_fits(listener, remote)) {
        return ENGINE_E_UNREACHABLE;
    }
    linux_datagram_prepare(&answer, &message, listener, local, remote, bytes, size);
    int code = linux_datagram_send_one(listener->sockets[0], &message);
    return code == EAGAIN ? ENGINE_E_NO_RESOURCES : linux_translate(code);
}

/* sendmmsg() stops at a datagram that fails. That one is tried by itself, and the others follow. */
static void send_answers(struct engine_receiver *receiver) {
    const struct engine_buffer_source *source = &receiver->acceptor.port->source;
    unsigned done = 0;
    while (done < receiver->answer_count) {
        int sent = linux_calls.sendmmsg(receiver->acceptor.fd, receiver->to_send + done,
                                        receiver->answer_count - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            done += (unsigned)sent;
        } else {
            linux_datagram_send_one(receiver->acceptor.fd, &receiver->to_send[done++].msg_hdr);
        }
    }
    for (unsigned i = 0; i < receiver->answer_count; i++) {
        source->give(source->context, receiver->answers[i].owner);
    }
    receiver->answer_count = 0;
}

int64_t engine_receiver_send(struct engine_receiver *receiver, const struct berth_address *local,
                             const struct berth_address *remote, const struct engine_buffer *data) {
    struct engine_listener *listener = receiver->acceptor.listener;
    const struct engine_buffer_source *source = &receiver->acceptor.port->source;
    if (!receiver->in_batch || !linux_datagram_fits(listener, remote)) {
        int64_t result = engine_datagram_send(listener, local, remote, data->bytes, data->size);
        source->give(source->context, data->owner);
        return result;
    }
    unsigned index = receiver->answer_count++;
    linux_datagram_prepare(&receiver->answers[index], &receiver->to_send[index].msg_hdr, listener,
                           local, remote, data->bytes, data->size);
    receiver->answers[index].owner = data->owner;
    if (receiver->answer_count == BATCH_MAX) {
        send_answers(receiver);
    }
    return 0;
}

/* -- receiving ------------------------------------------------------------- */

/* ipi_spec_dst is a local address also where the datagram was sent to a network's broadcast address
 * or to an IPv4 group. */
static void read_v4(struct berth_address *local, struct cmsghdr *header) {
    struct in_pktinfo info;
    memcpy(&info, CMSG_DATA(header), sizeof(info));
    local->family = BERTH_FAMILY_IPV4;
    local->scope_id = 0;
    memset(local->bytes, 0, sizeof(local->bytes));
    memcpy(local->bytes, &info.ipi_spec_dst, 4);
}

static void read_v6(struct berth_address *local, struct cmsghdr *header) {
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(header), sizeof(info));
    local->family = BERTH_FAMILY_IPV6;
    memcpy(local->bytes, &info.ipi6_addr, 16);
    local->scope_id = address_is_link_local(local) ? info.ipi6_ifindex : 0;
    address_unmap(local);
}

static struct berth_address linux_datagram_sent_to(struct engine_receiver *receiver,
                                                   struct msghdr *message) {
    struct berth_address local = receiver->acceptor.listener->address;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    for (; header; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
            read_v4(&local, header);
            break;
        }
        if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
            read_v6(&local, header);
        }
    }
    return local;
}

/* Takes as many buffers as there are, but at most a batch. */
static unsigned take_buffers(struct engine_receiver *receiver) {
    const struct engine_buffer_source *source = &receiver->acceptor.port->source;
    unsigned count = 0;
    while (count < BATCH_MAX && source->take(source->context, &receiver->buffers[count])) {
        receiver->vectors[count] =
            (struct iovec){receiver->buffers[count].bytes, receiver->buffers[count].size};
        receiver->messages[count].msg_hdr =
            (struct msghdr){.msg_name = &receiver->remotes[count],
                            .msg_namelen = sizeof(receiver->remotes[count]),
                            .msg_iov = &receiver->vectors[count],
                            .msg_iovlen = 1,
                            .msg_control = receiver->controls[count].room,
                            .msg_controllen = sizeof(receiver->controls[count])};
        count++;
    }
    return count;
}

static void give_buffers(struct engine_receiver *receiver, unsigned from, unsigned count) {
    const struct engine_buffer_source *source = &receiver->acceptor.port->source;
    for (unsigned i = from; i < count; i++) {
        source->give(source->context, receiver->buffers[i].owner);
    }
}

static void linux_datagram_deliver(struct engine_receiver *receiver, unsigned index) {
    struct mmsghdr *message = &receiver->messages[index];
    struct engine_datagram datagram = {
        .local = linux_datagram_sent_to(receiver, &message->msg_hdr),
        .remote = linux_address(&receiver->remotes[index]),
        .data = receiver->buffers[index],
        .truncated = (message->msg_hdr.msg_flags & MSG_TRUNC) != 0,
    };
    datagram.data.size = message->msg_len;
    receiver->acceptor.port->ran++;
    receiver->received(receiver, &datagram, receiver->context);
}

/* An error concerns one datagram, or one that was sent before, and the next call can succeed. Only
 * when the system has no memory it would fail again at once, so that is tried again later. */
static void linux_datagram_note_failure(struct engine_acceptor *acceptor, int code) {
    bool is_empty = code == EAGAIN;
    bool is_shortage = !is_empty && linux_translate(code) == ENGINE_E_NO_RESOURCES;
    if (is_empty) {
        acceptor->clients = LINUX_CLIENTS_NONE;
    } else if (is_shortage) {
        acceptor->clients = LINUX_CLIENTS_RETRY;
        linux_make_late(acceptor->port);
    }
}

/* Without memory one datagram is discarded, so that those after it can be received later. */
static void throw_away(struct engine_receiver *receiver) {
    uint8_t byte;
    if (linux_calls.recv(receiver->acceptor.fd, &byte, sizeof(byte), MSG_DONTWAIT) >= 0) {
        receiver->lost(receiver, receiver->context);
    } else {
        linux_datagram_note_failure(&receiver->acceptor, errno);
    }
}

void linux_datagrams_take(struct engine_receiver *receiver) {
    struct engine_acceptor *acceptor = &receiver->acceptor;
    if (acceptor->clients != LINUX_CLIENTS_MAY_QUEUE ||
        acceptor->life == LINUX_ACCEPTOR_DESTROYED) {
        return;
    }
    unsigned count = take_buffers(receiver);
    int received = 0;
    if (count == 0) {
        throw_away(receiver);
    } else {
        received =
            linux_calls.recvmmsg(acceptor->fd, receiver->messages, count, MSG_DONTWAIT, NULL);
        if (received < 0) {
            linux_datagram_note_failure(acceptor, errno);
            received = 0;
        }
    }
    give_buffers(receiver, (unsigned)received, count);
    receiver->in_batch = true;
    int delivered = 0;
    /* A callback may stop the receiver. */
    while (delivered < received && acceptor->life != LINUX_ACCEPTOR_DESTROYED) {
        linux_datagram_deliver(receiver, (unsigned)delivered++);
    }
    give_buffers(receiver, (unsigned)delivered, (unsigned)received);
    send_answers(receiver);
    receiver->in_batch = false;
    if (acceptor->clients == LINUX_CLIENTS_MAY_QUEUE) {
        linux_acceptor_make_due(acceptor);
    }
}
