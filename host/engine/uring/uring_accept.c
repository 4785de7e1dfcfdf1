/* uring_accept.c: accepts that wait in the ring.
 *
 * They work as AcceptEx does: an accept is posted, it has room for the client's address, and it
 * completes with the client's socket, so that taking a client costs no system call. (A multishot
 * accept has no address, which would cost a call for each client, and takes clients for which no
 * accept is posted: a listener that is slow to post would hold descriptors for clients that can as
 * well wait in the kernel's backlog.) Measured in raw loops (tests/bench/PROFILE.md, Short-lived
 * connections): such single accepts take 1.03 of the time of a multishot accept without addresses,
 * a poll and accept4() take 1.13.
 *
 * An accept in the ring belongs to no posted one in particular: its client goes to the accept that
 * was posted first. There are never more accepts in the ring than posted ones, and only half as
 * many where few are posted (RING_SHARE). So some are left for accept4(), which takes clients while
 * the completion queue is long (linux_accept_poll_now()). A cancelled accept therefore may have to
 * wait until an accept in the ring has ended, which may still get a client.
 *
 * The kernel wakes one waiting accept for each client. An accept that was woken and takes no
 * client, because it is cancelled or descriptors have run out, wakes no other. Then another accept
 * is armed, which looks for clients at once; where there are enough already, one is cancelled so
 * that the new one takes its place.
 *
 * A cancel does not find an accept that has just been armed or woken and is about to look for
 * clients. So it is cancelled once more in the next turn, when it has looked.
 *
 * Of several accepts that wait for one socket the kernel wakes only one, and its ring may belong to
 * a thread that is stalled. So a further acceptor of a socket puts no accepts into its ring: the
 * kernel wakes every poll.
 *
 * An accept in the ring reserves a descriptor of the process. Where descriptors are short there are
 * no accepts in the ring (DESCRIPTORS_SHARE). Where there are none, a poll reports that clients
 * have come: then accept4() takes them, or starved() reports that no accept is posted. The same
 * holds on kernels whose accepts cannot wait first. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "engine/uring/uring.h"

enum {
    /* The ring's share: one in so many of the posted accepts waits in the ring. The others are left
     * for accept4(), which finds new clients while the completion queue is long. With this share a
     * short-lived connection costs 0.13 calls of accept4() instead of 1.71
     * (tests/bench/PROFILE.md, Short-lived connections). */
    RING_SHARE = 2,
    /* The descriptors' share: accepts wait in the ring only while not more than one in so many of
     * the descriptors is in use, because each of them reserves one before its client comes. */
    DESCRIPTORS_SHARE = 2,
};

/* -- polling --------------------------------------------------------------- */

static void poll_for_clients(struct engine_acceptor *acceptor) {
    struct io_uring_sqe *sqe = uring_sqe(uring_of(acceptor->port));
    if (acceptor->receiver) {
        io_uring_prep_poll_multishot(sqe, acceptor->fd, POLLIN);
    } else {
        io_uring_prep_poll_add(sqe, acceptor->fd, POLLIN);
    }
    uring_mark(sqe, acceptor, TAG_ACCEPT);
    acceptor->polling = true;
}

bool uring_clients_await(struct engine_acceptor *acceptor) {
    poll_for_clients(acceptor);
    return true;
}

/* While the poll is armed the kernel holds a reference to the listening socket, even after it is
 * closed. So the cancel is submitted at once, and the port is free once the listener is closed. */
void uring_clients_forget(struct engine_acceptor *acceptor) {
    struct uring_port *port = uring_of(acceptor->port);
    ASSERT(acceptor->submitted == 0);
    if (acceptor->polling) {
        uring_cancel(port, acceptor, TAG_ACCEPT);
        uring_submit(port);
        while (uring_calls.submit_and_get_events(&port->ring) == -EINTR) {
        }
    }
}

void uring_clients_came(struct engine_acceptor *acceptor, int32_t result, uint32_t flags) {
    bool is_open = acceptor->life != LINUX_ACCEPTOR_DESTROYED;
    acceptor->polling = (flags & IORING_CQE_F_MORE) != 0;
    if (result < 0 && is_open && !acceptor->polling) {
        acceptor->clients = LINUX_CLIENTS_RETRY; /* at once it would fail again */
        linux_make_late(acceptor->port);
        return;
    }
    linux_accept_ready(acceptor);
    if (acceptor->receiver && is_open && !acceptor->polling) {
        poll_for_clients(acceptor);
    }
}

/* -- accepts in the ring --------------------------------------------------- */

static struct uring_acceptor *acceptor_of(struct engine_acceptor *acceptor) {
    ASSERT(!acceptor->receiver);
    return (struct uring_acceptor *)acceptor;
}

static unsigned accepts_wanted(const struct engine_acceptor *acceptor) {
    struct engine *engine = acceptor->port->engine;
    unsigned used = atomic_load_explicit(&engine->descriptors, memory_order_relaxed);
    if (acceptor->is_further || !engine->uring_accepts ||
        used > engine->descriptors_max / DESCRIPTORS_SHARE) {
        return 0;
    }
    unsigned share = (acceptor->posted_count + RING_SHARE - 1) / RING_SHARE;
    return share < RING_ACCEPTS_MAX ? share : RING_ACCEPTS_MAX;
}

static struct ring_accept *accept_in_state(struct uring_acceptor *acceptor,
                                           enum ring_accept_state state) {
    for (unsigned i = 0; i < RING_ACCEPTS_MAX; i++) {
        if (acceptor->accepts[i].state == state) {
            return &acceptor->accepts[i];
        }
    }
    return NULL;
}

/* The new accept looks for clients at once, so no queued client is missed. */
static bool accept_arm(struct uring_acceptor *acceptor) {
    struct engine_acceptor *common = &acceptor->common;
    struct ring_accept *accept = accept_in_state(acceptor, RING_ACCEPT_IDLE);
    if (!accept || !linux_descriptor_take(common->port)) {
        return false;
    }
    accept->acceptor = acceptor;
    accept->size = sizeof(accept->remote);
    accept->state = RING_ACCEPT_ARMED;
    common->submitted++;
    acceptor->is_unsure = false;
    struct io_uring_sqe *sqe = uring_sqe(uring_of(common->port));
    /* Not SOCK_NONBLOCK: the ring does not wait for such a socket. All other calls have a flag
     * like MSG_DONTWAIT. */
    io_uring_prep_accept(sqe, common->fd, &accept->remote.any, &accept->size, SOCK_CLOEXEC);
    uring_wait_first(sqe);
    uring_mark(sqe, accept, TAG_RING_ACCEPT);
    return true;
}

static void accept_cancel_submit(struct uring_port *port, struct ring_accept *accept) {
    accept->cancelled_turn = port->turn;
    uring_cancel(port, accept, TAG_RING_ACCEPT);
}

static void accept_cancel(struct uring_acceptor *acceptor) {
    struct uring_port *port = uring_of(acceptor->common.port);
    struct ring_accept *accept = accept_in_state(acceptor, RING_ACCEPT_ARMED);
    if (accept) {
        accept->state = RING_ACCEPT_CANCELLING;
        acceptor->cancelling++;
        port->cancelling++;
        accept_cancel_submit(port, accept);
    }
}

/* The cancel itself completes, so there is another turn in any case. */
void uring_ring_accepts_cancel_again(struct uring_port *port) {
    struct engine_acceptor *common = port->cancelling > 0 ? port->common.acceptors : NULL;
    for (; common; common = common->next) {
        if (common->receiver) {
            continue;
        }
        struct uring_acceptor *acceptor = acceptor_of(common);
        for (unsigned i = 0; acceptor->cancelling > 0 && i < RING_ACCEPTS_MAX; i++) {
            struct ring_accept *accept = &acceptor->accepts[i];
            if (accept->state == RING_ACCEPT_CANCELLING && accept->cancelled_turn != port->turn) {
                accept_cancel_submit(port, accept);
            }
        }
    }
}

void uring_accepts_changed(struct engine_acceptor *common) {
    if (common->life == LINUX_ACCEPTOR_DESTROYED) {
        return;
    }
    struct uring_acceptor *acceptor = acceptor_of(common);
    unsigned wanted = accepts_wanted(common);
    while (common->submitted < wanted && accept_arm(acceptor)) {
    }
    while (common->submitted - acceptor->cancelling > common->posted_count) {
        accept_cancel(acceptor);
    }
    if (acceptor->is_unsure && acceptor->cancelling == 0) {
        accept_cancel(acceptor);
    }
    if (common->submitted == 0 && !common->polling && common->clients == LINUX_CLIENTS_NONE) {
        poll_for_clients(common);
    }
}

void uring_ring_accept_completed(struct uring_port *port, struct ring_accept *accept,
                                 int32_t result) {
    struct uring_acceptor *acceptor = accept->acceptor;
    bool was_cancelled = accept->state == RING_ACCEPT_CANCELLING;
    acceptor->common.submitted--;
    acceptor->cancelling -= was_cancelled;
    port->cancelling -= was_cancelled;
    accept->state = RING_ACCEPT_IDLE;
    if (result >= 0) {
        port->new_clients++;
        linux_client_came(&acceptor->common, result, &accept->remote);
    } else {
        acceptor->is_unsure = true;
        linux_descriptor_give(port->common.engine);
        linux_client_missed(&acceptor->common, -result);
    }
}

void uring_acceptor_check(const struct engine_acceptor *common) {
    const struct uring_acceptor *acceptor = (const struct uring_acceptor *)common;
    unsigned submitted = 0;
    unsigned cancelling = 0;
    for (unsigned i = 0; i < RING_ACCEPTS_MAX; i++) {
        submitted += acceptor->accepts[i].state != RING_ACCEPT_IDLE;
        cancelling += acceptor->accepts[i].state == RING_ACCEPT_CANCELLING;
    }
    ASSERT(common->submitted == submitted);
    ASSERT(acceptor->cancelling == cancelling);
}
