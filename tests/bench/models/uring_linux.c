/* Echo with io_uring, as little as it can be: one ring of one thread, a multishot accept, a
 * multishot receive for each client into 64 provided buffers, plain descriptors, and each send
 * tried at once with send(2). This is the floor that the host is measured against.
 *
 * What a send does not take is copied to the heap and its buffer goes back, so that clients which
 * do not read hold none of the 64. Then the client's receive is cancelled, and when that has come
 * to its end the ring sends the rest, and only then is there a receive again.
 *
 * With --close-after, receives are single: closing a socket that the ring still receives from would
 * send no FIN.
 *
 * A completion's user data is what was asked for and the descriptor. A descriptor is closed only
 * when nothing asked for it is left, so that none can mean the next client. */
#include "model_linux.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENTRIES 1024
#define COMPLETIONS 32768
#define BUFFERS 64
#define BUFFER_GROUP 1

enum asked { ASKED_ACCEPT, ASKED_WAIT, ASKED_RECEIVE, ASKED_SEND, ASKED_CANCEL };

struct peer {
    uint64_t echoed;
    uint8_t *rest;
    size_t rest_at, rest_size;
    uint8_t pending; /* asked for and not yet at its end */
    bool receiving, cancelling;
    bool finished; /* has sent all it will */
    bool served;   /* has got all it will */
    bool broken;
};

static struct io_uring ring;
static struct io_uring_buf_ring *provided;
static struct model_options options;
static struct peer *peers; /* by descriptor */
static uint8_t *buffers;
static int listener;

static struct io_uring_sqe *next_entry(void) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (!sqe) {
        model_fail("the ring takes no more");
    }
    return sqe;
}

static uint64_t named(enum asked what, int fd) {
    return (uint64_t)what << 32 | (unsigned)fd;
}

static void ask_accept(void) {
    struct io_uring_sqe *sqe = next_entry();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = named(ASKED_ACCEPT, listener);
}

/* Without descriptors an accept fails at once, whether somebody is there or not. */
static void ask_wait(void) {
    struct io_uring_sqe *sqe = next_entry();
    io_uring_prep_poll_add(sqe, listener, POLLIN);
    sqe->user_data = named(ASKED_WAIT, listener);
}

static void ask_receive(int fd) {
    struct io_uring_sqe *sqe = next_entry();
    if (options.close_after > 0) {
        io_uring_prep_recv(sqe, fd, NULL, options.buffer_bytes, 0);
    } else {
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe->user_data = named(ASKED_RECEIVE, fd);
    peers[fd].receiving = true;
    peers[fd].pending++;
}

static void ask_send(int fd) {
    struct peer *peer = &peers[fd];
    struct io_uring_sqe *sqe = next_entry();
    io_uring_prep_send(sqe, fd, peer->rest + peer->rest_at, peer->rest_size - peer->rest_at,
                       MSG_NOSIGNAL);
    sqe->user_data = named(ASKED_SEND, fd);
    peer->pending++;
}

static void ask_cancel(int fd) {
    struct peer *peer = &peers[fd];
    if (peer->receiving && !peer->cancelling) {
        struct io_uring_sqe *sqe = next_entry();
        io_uring_prep_cancel64(sqe, named(ASKED_RECEIVE, fd), 0);
        sqe->user_data = named(ASKED_CANCEL, fd);
        peer->cancelling = true;
        peer->pending++;
    }
}

static void give_back(unsigned id) {
    size_t size = options.buffer_bytes;
    io_uring_buf_ring_add(provided, buffers + id * size, (unsigned)size, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(provided, 1);
}

/* Something that was asked for has ended: what now, when nothing else is under way? */
static void go_on(int fd) {
    struct peer *peer = &peers[fd];
    if (peer->pending > 0) {
        return;
    }
    if (peer->rest && !peer->broken) {
        ask_send(fd);
    } else if (peer->finished || peer->served || peer->broken) {
        free(peer->rest);
        peer->rest = NULL;
        close(fd);
    } else {
        ask_receive(fd);
    }
}

static void give_up(int fd) {
    peers[fd].broken = true;
    ask_cancel(fd);
}

static void count(int fd, size_t sent) {
    struct peer *peer = &peers[fd];
    peer->echoed += sent;
    peer->served = options.close_after > 0 && peer->echoed >= options.close_after && !peer->rest;
}

static void keep(int fd, const uint8_t *bytes, size_t size) {
    struct peer *peer = &peers[fd];
    uint8_t *rest = realloc(peer->rest, peer->rest_size + size);
    if (!rest) {
        give_up(fd);
        return;
    }
    memcpy(rest + peer->rest_size, bytes, size);
    peer->rest = rest;
    peer->rest_size += size;
    ask_cancel(fd);
}

static void echo(int fd, const uint8_t *bytes, size_t size) {
    struct peer *peer = &peers[fd];
    if (peer->served || peer->broken) {
        return;
    }
    if (peer->rest) {
        keep(fd, bytes, size);
        return;
    }
    ssize_t sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        give_up(fd);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if ((size_t)sent < size) {
        keep(fd, bytes + sent, size - (size_t)sent);
    }
    count(fd, (size_t)sent);
}

static void on_received(const struct io_uring_cqe *cqe, int fd) {
    struct peer *peer = &peers[fd];
    if (cqe->res > 0) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        echo(fd, buffers + id * options.buffer_bytes, (size_t)cqe->res);
        give_back(id);
    } else if (cqe->res == 0) {
        peer->finished = true;
    } else if (cqe->res != -ENOBUFS && cqe->res != -ECANCELED) {
        peer->broken = true;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        peer->receiving = false;
        peer->pending--;
        go_on(fd); /* also when no buffer was free: now there are some */
    }
}

static void on_sent(const struct io_uring_cqe *cqe, int fd) {
    struct peer *peer = &peers[fd];
    peer->pending--;
    if (cqe->res <= 0) {
        peer->broken = true;
    } else {
        peer->rest_at += (size_t)cqe->res;
        if (peer->rest_at == peer->rest_size) {
            free(peer->rest);
            peer->rest = NULL;
            peer->rest_at = peer->rest_size = 0;
        }
        count(fd, (size_t)cqe->res);
    }
    go_on(fd);
}

/* Who gets one answer has often sent its question already; then the ring is not needed at all. */
static void adopt(int fd) {
    static uint8_t first[4096];
    peers[fd] = (struct peer){0};
    if (options.close_after > 0) {
        ssize_t size = recv(fd, first, sizeof(first), MSG_DONTWAIT);
        if (size > 0) {
            echo(fd, first, (size_t)size);
        }
        peers[fd].finished = size == 0;
    }
    go_on(fd);
}

static void on_accepted(const struct io_uring_cqe *cqe) {
    if (cqe->res >= 0) {
        adopt(cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        if (cqe->res == -EMFILE || cqe->res == -ENFILE) {
            ask_wait();
        } else {
            ask_accept();
        }
    }
}

/* Accepts or refuses one, as long as descriptors are short. */
static void on_somebody_waits(void) {
    int fd = model_accept(listener, 0);
    if (fd >= 0) {
        adopt(fd);
        ask_accept();
    } else {
        ask_wait();
    }
}

static void handle(const struct io_uring_cqe *cqe) {
    int fd = (int)(uint32_t)cqe->user_data;
    switch ((enum asked)(cqe->user_data >> 32)) {
    case ASKED_RECEIVE:
        on_received(cqe, fd);
        break;
    case ASKED_SEND:
        on_sent(cqe, fd);
        break;
    case ASKED_ACCEPT:
        on_accepted(cqe);
        break;
    case ASKED_WAIT:
        on_somebody_waits();
        break;
    case ASKED_CANCEL:
        peers[fd].cancelling = false;
        peers[fd].pending--;
        go_on(fd);
        break;
    }
}

static void start_ring(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = COMPLETIONS,
    };
    int code = io_uring_queue_init_params(ENTRIES, &ring, &parameters);
    if (code != 0) {
        model_fail("io_uring_setup: %s", strerror(-code));
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    provided = aligned_alloc(page, page);
    buffers = aligned_alloc(page, (BUFFERS * options.buffer_bytes + page - 1) / page * page);
    if (!provided || !buffers) {
        model_fail("no memory");
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)provided, .ring_entries = BUFFERS, .bgid = BUFFER_GROUP};
    io_uring_buf_ring_init(provided);
    code = io_uring_register_buf_ring(&ring, &registration, 0);
    if (code != 0) {
        model_fail("io_uring_register_buf_ring: %s", strerror(-code));
    }
    for (unsigned id = 0; id < BUFFERS; id++) {
        give_back(id);
    }
}

int main(int argc, char **argv) {
    model_options_read(&options, argc, argv);
    peers = calloc((size_t)model_descriptors(), sizeof(*peers));
    if (!peers) {
        model_fail("no memory");
    }
    start_ring();
    listener = model_listen(&options);
    ask_accept();
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe) {
            handle(cqe);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}
