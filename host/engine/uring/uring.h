/* uring.h: what the files of the io_uring engine share; private to them. */
#ifndef BERTH_HOST_ENGINE_URING_URING_H
#define BERTH_HOST_ENGINE_URING_URING_H

#include "engine/linux/linux.h"
#include "engine/uring/uring_calls.h"

/* What a completion is about, in the low bits of its user_data; the rest is a pointer. */
enum tag {
    TAG_IGNORED = 0,
    TAG_WAKE = 1,        /* the port's eventfd */
    TAG_RECEIVE = 2,     /* struct engine_receive */
    TAG_SEND = 3,        /* struct engine_op: the socket can be written */
    TAG_ACCEPT = 4,      /* struct engine_acceptor: clients have come */
    TAG_FIRST_DATA = 5,  /* struct engine_accept: the client's first data */
    TAG_CONNECT = 6,     /* struct engine_connect */
    TAG_RING_ACCEPT = 7, /* struct ring_accept: it has a client */
    TAG_MASK = 7,
};

enum {
    URING_BUFFER_GROUP = 0,   /* the one of the port's ring of buffers */
    URING_SUBMISSIONS = 512,  /* entries; a full queue is submitted and goes on */
    URING_COMPLETIONS = 8192, /* entries; the kernel keeps what does not fit */
};

struct uring_port {
    struct engine_port common; /* first, so that one is the other */
    struct io_uring ring;
    uint64_t wake_value; /* the read of wake_fd stores here */

    /* Provided buffers: slot i of the ring is `slots[i]`, or empty when its owner is NULL. */
    struct io_uring_buf_ring *buffer_ring;
    unsigned buffer_entries; /* of the ring; the most there can be */
    unsigned buffer_target;  /* how many should be in it now */
    unsigned buffer_first;   /* buffer_target at the start */
    unsigned buffer_count;   /* how many are in it */
    struct engine_buffer *slots;
    uint16_t *empty_slots; /* a stack of those without a buffer */
    unsigned empty_count;
    bool grown;        /* in this turn */
    bool buffers_lost; /* the ring could not be registered again, for want of memory */
    bool wake_lost;    /* the read of the eventfd has failed: it is begun again at late_ms */

    /* The burst: how much one receive delivers before other receives get their turn. 0 bytes: the
     * kernel has no such limit, and the receive is cancelled after burst_max buffers in a lap. */
    uint32_t burst_bytes;
    uint8_t burst_max;

    bool refused;      /* the kernel has refused the last submission, and that is logged */
    uint8_t file_byte; /* reads of files store here; only their completion matters */

    /* A lap ends when all completions are handled that were ready when it began. Mostly it is as
     * long as a turn. */
    uint8_t lap;
    uint32_t lap_end; /* in completions handled */
    uint32_t handled; /* completions, of all time */

    bool saturated; /* the last turn has handled so many completions that more are queued */
    unsigned completions_since_poll; /* completions since the last look for new clients */
    unsigned new_clients;            /* of these: clients that the ring has accepted */
    uint32_t turn;                   /* counts how often the kernel was waited for */
    unsigned cancelling;             /* accepts in the ring that are being cancelled */
    struct op_list early;            /* receives to be tried before what waits in the ring */

    /* Sockets without a descriptor; see uring_direct.c. */
    struct direct_slot *direct_slots;
    unsigned direct_count; /* how many slots there are */
    unsigned direct_free;  /* the first free slot; direct_count: there is none */
    unsigned direct_used;  /* how many slots are in use */
    unsigned direct_late;  /* the first slot that is still to be emptied; direct_count: none */
    bool direct_late_notified;
    struct direct_message *messages; /* of sends that are not submitted yet */
    unsigned message_next;
};

enum { RING_ACCEPTS_MAX = 8 }; /* of one acceptor */

enum ring_accept_state { RING_ACCEPT_IDLE, RING_ACCEPT_ARMED, RING_ACCEPT_CANCELLING };

/* An accept that waits in the ring, with room for the client's address. */
struct ring_accept {
    struct uring_acceptor *acceptor;
    union system_address remote;
    socklen_t size;
    enum ring_accept_state state;
    uint32_t cancelled_turn; /* the port's turn in which it was last cancelled */
};

struct uring_acceptor {
    struct engine_acceptor common; /* first, so that one is the other; never a receiver's */
    struct ring_accept accepts[RING_ACCEPTS_MAX]; /* common.submitted of them are not idle */
    unsigned cancelling;                          /* of those */
    bool is_unsure; /* a client may queue for which no accept in the ring was woken */
};

static inline struct uring_port *uring_of(struct engine_port *port) {
    return (struct uring_port *)port;
}

/* -- uring.c --------------------------------------------------------------- */

/* A submission entry, marked with a tagged pointer. Never NULL: a full queue is submitted first. */
struct io_uring_sqe *uring_sqe(struct uring_port *port);
void uring_mark(struct io_uring_sqe *sqe, void *pointer, enum tag tag);

/* Submits all entries. */
void uring_submit(struct uring_port *port);

/* Sets the socket of a prepared entry. `fd` is that of an operation: a descriptor, or a slot. */
static inline void uring_aim(struct io_uring_sqe *sqe, int fd) {
    sqe->fd = fd & ~LINUX_REGISTERED;
    sqe->flags |= (fd & LINUX_REGISTERED) != 0 ? IOSQE_FIXED_FILE : 0;
}

/* Begins to read the port's eventfd, which wakes the port for posts. */
void uring_arm_wake(struct uring_port *port);

/* Cancels the entry that was submitted with that mark; its own completion says how it ended. */
void uring_cancel(struct uring_port *port, void *pointer, enum tag tag);

/* Ends a multishot receive after so many bytes. The kernel's name of the member is `optlen`;
 * liburing 2.3 names only another member of the same union. */
static inline void uring_limit_receive(struct io_uring_sqe *sqe, uint32_t bytes) {
    sqe->file_index = bytes;
}

/* Makes an accept wait for a client before it tries; liburing 2.3 does not define the flag. */
static inline void uring_wait_first(struct io_uring_sqe *sqe) {
    sqe->ioprio |= 1U << 2; /* IORING_ACCEPT_POLL_FIRST */
}

/* -- uring_accept.c -------------------------------------------------------- */

bool uring_clients_await(struct engine_acceptor *acceptor);
void uring_clients_forget(struct engine_acceptor *acceptor);
void uring_accepts_changed(struct engine_acceptor *acceptor);

void uring_acceptor_check(const struct engine_acceptor *acceptor);

void uring_clients_came(struct engine_acceptor *acceptor, int32_t result, uint32_t flags);
/* Cancels once more the accepts that have not ended since they were cancelled. */
void uring_ring_accepts_cancel_again(struct uring_port *port);
void uring_ring_accept_completed(struct uring_port *port, struct ring_accept *accept,
                                 int32_t result);

/* -- uring_direct.c -------------------------------------------------------- */

extern const struct linux_registered uring_registered;

bool uring_direct_init(struct uring_port *port, unsigned count, struct error *error);
void uring_direct_fini(struct uring_port *port);

/* A send of a socket in the table has completed, or the wait before it has. */
void uring_direct_sent(struct uring_port *port, struct engine_op *op, int32_t result);
void uring_direct_cancel(struct uring_port *port, struct engine_op *op);

/* -- uring_receive.c ------------------------------------------------------- */

bool uring_buffers_init(struct uring_port *port, const struct engine_port_options *options,
                        struct error *error);
void uring_buffers_fini(struct uring_port *port);
void uring_buffers_trim(struct engine_port *port);

void uring_receive_arm(struct engine_port *port, struct engine_receive *receive);
void uring_receive_disarm(struct engine_port *port, struct engine_receive *receive);
void uring_receive_early(struct uring_port *port); /* tries the receives of port->early */
void uring_receive_completed(struct uring_port *port, struct engine_receive *receive,
                             int32_t result, uint32_t flags);

bool uring_looks_at_once(const struct engine_port *port);
void uring_first_data_await(struct engine_port *port, struct engine_accept *accept);
void uring_first_data_forget(struct engine_port *port, struct engine_accept *accept);
void uring_first_data_completed(struct uring_port *port, struct engine_accept *accept,
                                int32_t result, uint32_t flags);

void uring_feed(struct engine_port *port);

#endif
