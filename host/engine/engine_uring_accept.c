/* engine_uring_accept.c: accepts that wait in the ring, each in a place of its own.
 *
 * As with AcceptEx: an accept is posted, it has room for the client's address, and it completes
 * with the client's socket, so that taking a client costs no system call. (A multishot accept has
 * no address, which would be a call, and takes clients whom nobody has posted an accept for: a
 * listener that is slow to post would hold descriptors where the kernel's backlog holds nothing.)
 *
 * A place belongs to no accept in particular: who comes is given to the one that was posted first.
 * There are never more of them than accepts, and half as many where there are few, so that
 * accept4() may be called for others while the ring's line is long (linux_accept_hurry()). A
 * cancelled accept therefore may have to wait until the ring has let go of a place, to which a
 * client may still come.
 *
 * The kernel wakes one waiting place for each client. A place that was woken and then takes nobody,
 * as it is recalled or descriptors have run out, has told no other: then another one is put up,
 * which looks at once, and where there are enough, one is recalled for it.
 *
 * The kernel does not find a place that has just been put up or woken and is about to look: it is
 * recalled once more in the next turn, when it has looked.
 *
 * Of several places that wait for one socket the kernel wakes only one, and its ring may belong to
 * a thread that stands still. So a further acceptor of a socket has none: a poll is always woken.
 *
 * A place holds a descriptor of the process in reserve. Where those get short there are none, and
 * where there is none a poll tells that clients have come: for accept4(), or to be told that no
 * accept is posted. So it is on kernels whose accepts cannot wait first. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "engine/engine_uring.h"

enum {
    PLACES_SHARE = 2,      /* of the posted accepts, one in so many has a place */
    DESCRIPTORS_SHARE = 2, /* and only while not more than one in so many descriptors is in use */
};

/* -- without places ---------------------------------------------------------------------------- */

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

/* While the poll is armed the kernel keeps the listening socket, whoever closes it: the cancel is
 * submitted here and now, so that the port is free once the listener is closed. */
void uring_clients_forget(struct engine_acceptor *acceptor) {
    struct uring_port *port = uring_of(acceptor->port);
    ASSERT(acceptor->waiting == 0);
    if (acceptor->polling) {
        uring_cancel(port, acceptor, TAG_ACCEPT);
        uring_submit(port);
        while (uring_calls.submit_and_get_events(&port->ring) == -EINTR) {
        }
    }
}

void uring_clients_came(struct engine_acceptor *acceptor, int32_t result, uint32_t flags) {
    acceptor->polling = (flags & IORING_CQE_F_MORE) != 0;
    if (result < 0 && !acceptor->destroyed && !acceptor->polling) {
        acceptor->late = true; /* at once it would fail again */
        linux_make_late(acceptor->port);
        return;
    }
    linux_accept_ready(acceptor);
    if (acceptor->receiver && !acceptor->destroyed && !acceptor->polling) {
        poll_for_clients(acceptor);
    }
}

/* -- places ------------------------------------------------------------------------------------ */

static unsigned places_wanted(const struct engine_acceptor *acceptor) {
    struct engine *engine = acceptor->port->engine;
    unsigned used = atomic_load_explicit(&engine->descriptors, memory_order_relaxed);
    if (acceptor->is_further || !engine->uring_accepts ||
        used > engine->descriptors_max / DESCRIPTORS_SHARE) {
        return 0;
    }
    unsigned share = (acceptor->posted_count + PLACES_SHARE - 1) / PLACES_SHARE;
    return share < LINUX_PLACES ? share : LINUX_PLACES;
}

static struct linux_place *place_that(struct engine_acceptor *acceptor, bool is_waiting) {
    for (unsigned i = 0; i < LINUX_PLACES; i++) {
        struct linux_place *place = &acceptor->places[i];
        if (place->is_waiting == is_waiting && !place->is_recalled) {
            return place;
        }
    }
    return NULL;
}

/* It looks for clients at once: nobody who queues goes unseen. */
static bool put_up(struct engine_acceptor *acceptor) {
    struct linux_place *place = place_that(acceptor, false);
    if (!place || !linux_descriptor_take(acceptor->port)) {
        return false;
    }
    place->acceptor = acceptor;
    place->size = sizeof(place->remote);
    place->is_waiting = true;
    acceptor->waiting++;
    acceptor->unsure = false;
    struct io_uring_sqe *sqe = uring_sqe(uring_of(acceptor->port));
    /* Not SOCK_NONBLOCK: the ring would not wait for such a socket, and all else says DONTWAIT. */
    io_uring_prep_accept(sqe, acceptor->fd, &place->remote.any, &place->size, SOCK_CLOEXEC);
    uring_wait_first(sqe);
    uring_mark(sqe, place, TAG_PLACE);
    return true;
}

static void ask_for_the_end(struct uring_port *port, struct linux_place *place) {
    place->recalled_turn = port->turn;
    uring_cancel(port, place, TAG_PLACE);
}

static void recall(struct engine_acceptor *acceptor) {
    struct uring_port *port = uring_of(acceptor->port);
    struct linux_place *place = place_that(acceptor, true);
    if (place) {
        place->is_recalled = true;
        acceptor->recalled++;
        port->recalled++;
        ask_for_the_end(port, place);
    }
}

/* What is asked of the kernel completes, so that there is another turn in any case. */
void uring_recall_again(struct uring_port *port) {
    struct engine_acceptor *acceptor = port->recalled > 0 ? port->common.acceptors : NULL;
    for (; acceptor; acceptor = acceptor->next) {
        for (unsigned i = 0; acceptor->recalled > 0 && i < LINUX_PLACES; i++) {
            struct linux_place *place = &acceptor->places[i];
            if (place->is_recalled && place->recalled_turn != port->turn) {
                ask_for_the_end(port, place);
            }
        }
    }
}

static bool nobody_tells(const struct engine_acceptor *acceptor) {
    return acceptor->waiting == 0 && !acceptor->polling && !acceptor->ready && !acceptor->late &&
           (acceptor->posted.first || !acceptor->told);
}

void uring_accepts_changed(struct engine_acceptor *acceptor) {
    if (acceptor->destroyed) {
        return;
    }
    unsigned wanted = places_wanted(acceptor);
    while (acceptor->waiting < wanted && put_up(acceptor)) {
    }
    while (acceptor->waiting - acceptor->recalled > acceptor->posted_count) {
        recall(acceptor);
    }
    if (acceptor->unsure && acceptor->recalled == 0) {
        recall(acceptor);
    }
    if (nobody_tells(acceptor)) {
        poll_for_clients(acceptor);
    }
}

void uring_place_completed(struct uring_port *port, struct linux_place *place, int32_t result) {
    struct engine_acceptor *acceptor = place->acceptor;
    acceptor->waiting--;
    acceptor->recalled -= place->is_recalled;
    port->recalled -= place->is_recalled;
    place->is_waiting = false;
    place->is_recalled = false;
    if (result >= 0) {
        port->newcomers++;
        linux_client_came(acceptor, result, &place->remote);
    } else {
        linux_descriptor_give(port->common.engine);
        linux_client_missed(acceptor, -result);
    }
}
