/* engine_uring.h: what the files of the io_uring engine share; private to them.
 *
 * engine_uring.c          the ring, its loop, posts, sending
 * engine_uring_listen.c   listening sockets
 * engine_uring_accept.c   accepting
 * engine_uring_receive.c  receiving, and the ring of provided buffers */
#ifndef BERTH_HOST_ENGINE_ENGINE_URING_H
#define BERTH_HOST_ENGINE_ENGINE_URING_H

#include <liburing.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "engine/engine.h"

struct engine {
    struct engine_traits traits;
    unsigned setup_flags; /* those that this kernel takes */
    bool limits_bursts;   /* a multishot receive can be told when to end */

    /* Of the process, as far as the engine opens and closes them; at descriptors_max it accepts no
     * more, and what is left is for others. */
    atomic_uint descriptors;
    unsigned descriptors_max;
};

/* What a completion is about, in the low bits of its user_data; the rest is a pointer. */
enum tag {
    TAG_IGNORED = 0,
    TAG_WAKE = 1,       /* the port's eventfd */
    TAG_RECEIVE = 2,    /* struct engine_receive */
    TAG_SEND = 3,       /* struct engine_op: the socket can be written */
    TAG_ACCEPT = 4,     /* struct engine_acceptor: clients have come */
    TAG_FIRST_DATA = 5, /* struct engine_accept: the client's first data */
    TAG_MASK = 7,
};

enum { URING_BUFFER_GROUP = 0 }; /* the one of the port's ring of buffers */

/* The opaque part of an operation. */
struct __attribute__((__may_alias__)) op_part {
    struct engine_op *next; /* in the one list it is in */
    int64_t result;         /* of a deferred completion */
    int fd;
    bool is_accept; /* it is a struct engine_accept's */
    bool armed;     /* the kernel has it */
    bool stopping;  /* the owner asked for the last completion */
    bool hungry;    /* a receive that waits for a buffer */
};
_Static_assert(sizeof(struct op_part) <= sizeof(((struct engine_op *)0)->opaque),
               "engine_op.opaque is too small");

static inline struct op_part *part_of(struct engine_op *op) {
    return (struct op_part *)op->opaque;
}

struct op_list {
    struct engine_op *first;
    struct engine_op *last;
};

struct engine_port {
    struct io_uring ring;
    struct engine *engine;
    struct engine_buffer_source source;
    unsigned pending; /* operations started and not completed, without the posts */
    unsigned ran;     /* callbacks of this turn */

    /* Completions that need no kernel: run at the next turn, so that nothing completes inline. */
    struct op_list deferred;

    /* Posts: a stack that any thread pushes to and the port takes as a whole. */
    _Atomic(struct engine_op *) posts;
    atomic_uint post_count;
    atomic_uint posting; /* threads that are in engine_port_post() now */
    int wake_fd;
    uint64_t wake_value; /* what the read of wake_fd goes to */

    /* Provided buffers: slot i of the ring is `slots[i]`, or empty when its owner is NULL. */
    struct io_uring_buf_ring *buffer_ring;
    unsigned buffer_entries; /* of the ring; the most there can be */
    unsigned buffer_target;  /* how many should be in it now */
    unsigned buffer_count;   /* how many are */
    struct engine_buffer *slots;
    uint16_t *empty_slots; /* a stack of those without a buffer */
    unsigned empty_count;
    uint32_t burst_bytes;  /* one receive delivers before others get their turn; 0: no limit */
    struct op_list hungry; /* what found no buffer to receive into, first come first served */
    bool grown;            /* in this turn */

    struct engine_acceptor *acceptors;
    bool acceptors_due; /* something happened to one of them */
};

/* -- engine_uring.c ---------------------------------------------------------------------------- */

/* A submission entry, marked with a tagged pointer. Never NULL: a full queue is submitted first. */
struct io_uring_sqe *uring_sqe(struct engine_port *port);
void uring_mark(struct io_uring_sqe *sqe, void *pointer, enum tag tag);

/* Ends a multishot receive after so many bytes: the member `optlen`, which liburing 2.3 knows only
 * by the name of its union. */
static inline void uring_limit_receive(struct io_uring_sqe *sqe, uint32_t bytes) {
    sqe->file_index = bytes;
}

/* Asks the kernel to end what was submitted with that mark; its own completion says so. */
void uring_cancel(struct engine_port *port, void *pointer, enum tag tag);

/* Completes op now, from within engine_port_run(); and at the next turn. */
void uring_complete(struct engine_port *port, struct engine_op *op, int64_t result);
void uring_defer(struct engine_port *port, struct engine_op *op, int64_t result);

/* ENGINE_E_* for an errno. */
int64_t uring_translate(int code);

void list_append(struct op_list *list, struct engine_op *op);
void list_prepend(struct op_list *list, struct engine_op *op);
struct engine_op *list_take(struct op_list *list);
void list_remove(struct op_list *list, struct engine_op *op);

/* -- engine_uring_listen.c --------------------------------------------------------------------- */

struct engine_listener {
    struct engine *engine;
    struct berth_address address;
    bool any_address; /* clients may have come to different ones */
    bool is_counted;  /* in engine->descriptors */
    int backlog;
    unsigned count;
    int sockets[]; /* one an acceptor */
};

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct berth_address uring_address(const union system_address *from);
struct berth_address uring_local_address(int fd);

/* -- engine_uring_accept.c --------------------------------------------------------------------- */

void uring_accept_ready(struct engine_acceptor *acceptor, uint32_t flags);
void uring_first_data_completed(struct engine_accept *accept, int32_t result, uint32_t flags);
void uring_first_data_arm(struct engine_accept *accept);

/* Takes the clients that have come, and tells the acceptors that have too few accepts. */
void uring_accept_check(struct engine_port *port);

/* Frees the acceptors that the kernel has not let go of. All are destroyed: asserted. */
void uring_acceptors_fini(struct engine_port *port);

/* -- engine_uring_receive.c -------------------------------------------------------------------- */

bool uring_buffers_init(struct engine_port *port, const struct engine_port_options *options,
                        struct error *error);
void uring_buffers_fini(struct engine_port *port);
void uring_buffers_refill(struct engine_port *port);

/* The buffer that a completion with these flags has filled; the caller owns it. */
struct engine_buffer uring_buffer_taken(struct engine_port *port, uint32_t flags);

/* Gives back the buffer, if any, that came with a completion without data. */
void uring_buffer_unused(struct engine_port *port, uint32_t flags);

/* Lets op, a receive or an accept, wait for a buffer; and lets those that wait go on, as far as
 * there are some. */
void uring_starve(struct engine_port *port, struct engine_op *op);
void uring_feed_hungry(struct engine_port *port);

void uring_receive_completed(struct engine_port *port, struct engine_receive *receive,
                             int32_t result, uint32_t flags);

#endif
