/* linux.h: what the engines on Linux share, and what each of them does in its own way;
 * private to them.
 *
 * linux.c         the choice of an engine, ports and their loop, posts, sockets, sending
 * linux_listen.c  listening sockets
 * linux_accept.c  accepting
 * linux_send.c    sending memory and files, connecting
 * linux_datagram.c  datagrams
 * linux_calls.h, uring_calls.h  the calls that all of them make
 * uring.c, uring_receive.c   over io_uring
 * uring_probe.c                     whether the system lets us have it
 * uring_accept.c                    accepts that wait in the ring
 * uring_direct.c                    sockets without a descriptor
 * epoll.c                           over epoll, where io_uring is refused
 *
 * Everything is tried at once, without blocking; an engine is what waits until it can go on. */
#ifndef BERTH_HOST_ENGINE_LINUX_LINUX_H
#define BERTH_HOST_ENGINE_LINUX_LINUX_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/macros.h"
#include "engine/engine.h"
#include "engine/linux/linux_calls.h"
#include "os/os_linux_address.h"

/* How an engine waits. Everything runs on the port's thread. */
struct linux_backend {
    const char *name;
    /* Of an acceptor: the engine's own part lies behind the common one. */
    size_t acceptor_bytes;

    /* The engine's own part of a port, whose common part is set up. */
    struct engine_port *(*port_alloc)(void);
    bool (*port_init)(struct engine_port *port, const struct engine_port_options *options,
                      struct error *error);
    void (*port_fini)(struct engine_port *port);

    /* Waits for something to handle, then handles what there is, a bounded batch of it. */
    void (*wait)(struct engine_port *port, int timeout_ms);
    void (*handle)(struct engine_port *port);
    /* Lets what waits for a buffer go on, as far as there are some. */
    void (*feed)(struct engine_port *port);
    /* Gives back buffers that are held for receives to come. NULL: there are none. */
    void (*trim)(struct engine_port *port);

    /* Until clients come: linux_accept_ready(), once for every arrival at the least. False: not
     * possible, the code is in errno. The second one lets go of the listening socket here and now,
     * and of the acceptor when acceptor->polling is false. A receiver's has no part of the engine's
     * behind it. */
    bool (*clients_await)(struct engine_acceptor *acceptor);
    void (*clients_forget)(struct engine_acceptor *acceptor);
    /* Accepts were posted, served or cancelled: the engine may accept more clients by itself, or
     * fewer. NULL: it accepts none, clients_await() tells of all. */
    void (*accepts_changed)(struct engine_acceptor *acceptor);
    /* Asserts what holds of its part of an acceptor between two turns. NULL: it has none. */
    void (*acceptor_check)(const struct engine_acceptor *acceptor);

    /* Whether what an accepted client has said already is better looked for than waited for, now.
     * NULL: always. */
    bool (*looks_at_once)(const struct engine_port *port);

    /* Until an accepted client speaks: linux_first_data_try() or _end(). The second one ends that,
     * with linux_first_data_end() in due time, or linux_first_data_forgotten() now. */
    void (*first_data_await)(struct engine_port *port, struct engine_accept *accept);
    void (*first_data_forget)(struct engine_port *port, struct engine_accept *accept);

    /* Until bytes come, again and again; and no more, which is completed in due time. Of one that
     * waits for the peer's FIN alone (is_end) they need not be delivered. */
    void (*receive_arm)(struct engine_port *port, struct engine_receive *receive);
    void (*receive_disarm)(struct engine_port *port, struct engine_receive *receive);

    /* Until the connection stands or not: linux_connected(); the second one ends that, with
     * linux_connected() in due time, or linux_connect_failed() now. */
    void (*connect_start)(struct engine_port *port, struct engine_connect *connect);
    void (*connect_cancel)(struct engine_port *port, struct engine_connect *connect);

    /* Until a byte of a file is in memory: linux_complete() with 0; ended by send_disarm(). NULL:
     * there is no such way, and who sends it waits for the disk. */
    void (*file_await)(struct engine_port *port, struct engine_op *op, int file, uint64_t offset);

    /* Until the socket can be written: linux_complete() with 0. */
    void (*send_arm)(struct engine_port *port, struct engine_op *op);
    void (*send_disarm)(struct engine_port *port, struct engine_op *op);

    const struct linux_registered *registered; /* NULL: every socket has a descriptor */
};

/* Sockets that are registered with a port and have no descriptor: the engine alone can use them.
 * See linux_has_descriptor(). */
struct linux_registered {
    /* Has every port to come register up to `count` sockets. False: the error says why not. */
    bool (*configure)(struct engine *engine, unsigned count, struct error *error);
    /* Registers the socket with the port and closes its descriptor. Without room for it the socket
     * keeps that. */
    void (*add)(struct engine_port *port, struct engine_socket *socket);
    bool (*is_full)(struct engine_port *port);
    void (*close)(struct engine *engine, struct engine_socket socket, bool reset);
    int64_t (*shutdown_send)(struct engine_port *port, struct engine_socket socket);
    /* engine_send(), or engine_send_and_fin(). */
    int64_t (*send)(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count, bool is_last);
};

extern const struct linux_backend linux_uring;
extern const struct linux_backend linux_epoll;

/* Whether the system lets us have io_uring, and which parts of it, by trying all that a port uses.
 * False: the error says what it refuses, why, and the remedy. */
bool linux_uring_probe(struct engine *engine, struct error *error);

enum { LINUX_PORTS_MAX = 128 }; /* with registered sockets; more have none */
_Static_assert((int)LINUX_PORTS_MAX >= (int)ENGINE_PORTS_MAX, "those of one server have them");
enum { LINUX_BURST_MAX = 31 }; /* what op_private.burst counts to */

struct engine {
    const struct linux_backend *backend;
    struct engine_traits traits;
    unsigned uring_flags;     /* of rings: those that this kernel takes */
    bool uring_limits_bursts; /* a multishot receive can be told when to end */
    bool uring_accepts;       /* a single accept can be told to wait before it tries */

    /* Of the process, as far as the engine opens and closes them; at descriptors_max it accepts no
     * more, and what is left is for others. */
    atomic_uint descriptors;
    atomic_uint files;           /* of plugins; counted in `descriptors`, too */
    unsigned reserved_for_files; /* they may have when connections have all others */
    unsigned descriptors_max;
    const struct inherited_sockets *inherited_sockets; /* of listening sockets, or NULL */

    /* Sockets that each port may register; 0: none. The ports that do are found by their number,
     * less one. */
    unsigned registered_max;
    _Atomic(struct engine_port *) ports[LINUX_PORTS_MAX];
};

/* The opaque part of an operation. Every connection has one: it is kept small. */
struct BERTH_MAY_ALIAS op_private {
    struct engine_op *next; /* in the one list it is in */
    int fd;
    int8_t result;               /* of a deferred completion: 0, or ENGINE_E_* */
    bool is_accept : 1;          /* it is a struct engine_accept's */
    bool is_receive : 1;         /* it is a struct engine_receive's */
    bool is_connect : 1;         /* it is a struct engine_connect's */
    bool armed : 1;              /* the engine waits for it */
    bool stopping : 1;           /* the owner asked for the last completion */
    bool waiting_for_buffer : 1; /* a receive that waits for a buffer */
    bool warmed : 1;             /* a send that waited for its file: now it goes ahead */
    bool is_end : 1;             /* a receive that waits for the peer's FIN and for nothing else */
    bool is_first : 1;           /* a receive of a peer who may have spoken already */
    bool early : 1;              /* a receive that is to be tried before it is armed */
    bool greedy : 1;   /* a receive that gets one buffer a turn, as its peer sends so much */
    uint8_t burst : 5; /* buffers that a receive without a limit has delivered in the lap; of a
                        * send: twice the pauses it has made, and 1 more while it makes one */
    union {
        uint8_t wait; /* what the send of a registered socket waits for; the engine's */
        uint8_t lap;  /* the ring's, when a receive was armed, or delivered */
    };
};
_Static_assert(sizeof(struct op_private) <= sizeof(((struct engine_op *)0)->opaque),
               "engine_op.opaque is too small");

static inline struct op_private *op_private_of(struct engine_op *op) {
    return (struct op_private *)op->opaque;
}

struct op_list {
    struct engine_op *first;
    struct engine_op *last;
};

void list_append(struct op_list *list, struct engine_op *op);
void list_prepend(struct op_list *list, struct engine_op *op);
struct engine_op *list_take(struct op_list *list);
void list_remove(struct op_list *list, struct engine_op *op);

enum { LINUX_WARM_RUNS = 64 };

/* A run of a file that was in memory when it was asked about last. */
struct linux_warm_run {
    intptr_t file;
    uint64_t last; /* byte of it */
    uint64_t asked_ms;
};

/* The common part of a port; the engine's own lies behind it. */
struct engine_port {
    struct engine *engine;
    struct engine_buffer_source source;
    struct engine_buffer received; /* see engine_received() */
    unsigned pending;              /* operations started and not completed, without the posts */
    unsigned ran;                  /* callbacks of this turn */

    /* Completions that need no kernel: run at the next turn, so that nothing completes inline. */
    struct op_list deferred;

    /* Posts: a stack that any thread pushes to and the port takes as a whole. */
    _Atomic(struct engine_op *) posts;
    atomic_uint post_count;
    atomic_uint posting; /* threads that are in engine_port_post() now */
    int wake_fd;         /* an eventfd: counts up when the stack is no longer empty */
    atomic_bool unwoken; /* the system has refused that: from then on every turn looks, too */

    struct op_list
        waiting_for_buffer; /* what found no buffer to receive into, first come first served */

    unsigned number; /* in engine->ports, from 1; 0: it registers no sockets */

    struct engine_acceptor *acceptors;
    bool acceptors_due; /* something happened to one of them */

    /* What the system has no memory for is tried again then, all of it; 0: there is nothing. */
    uint64_t late_ms;

    struct linux_warm_run warm_runs[LINUX_WARM_RUNS]; /* by a number made of file and byte */
};

/* Asserts what holds of it between two turns. */
void linux_port_check(const struct engine_port *port);

void linux_run_posts(struct engine_port *port); /* the eventfd has been read */
/* It cannot be, or cannot be written: from now on every turn looks for posts, too. */
void linux_posts_unwoken(struct engine_port *port, const char *what, int code);
void linux_posts_woken(struct engine_port *port); /* it was written, and read */

void linux_make_late(struct engine_port *port); /* something is to be tried again, see late_ms */

/* Completes op now, from within engine_port_run(); and at the next turn. */
void linux_complete(struct engine_port *port, struct engine_op *op, int64_t result);
void linux_defer(struct engine_port *port, struct engine_op *op, int64_t result);

/* Tells the receive's owner of that buffer, which is not its last completion: it stays ours. */
void linux_deliver(struct engine_port *port, struct engine_receive *receive,
                   struct engine_buffer buffer, uint32_t size);

int64_t linux_translate(int code); /* ENGINE_E_* for an errno */
/* The reason in words, with the remedy where an operator has one. */
const char *linux_reason(int code);

/* Counts one descriptor more for a socket of that port, unless what is left is reserved; and one
 * less, of one that is closed or did not become a socket. */
bool linux_descriptor_take(struct engine_port *port);
void linux_descriptor_give(struct engine *engine);

/* -- sockets --------------------------------------------------------------- */

/* The handle of a registered socket is above all descriptors. */
enum { LINUX_REGISTERED = 1 << 30 };

static inline bool linux_fd_is_descriptor(int fd) {
    return fd < LINUX_REGISTERED;
}

static inline bool linux_has_descriptor(struct engine_socket socket) {
    return linux_fd_is_descriptor(socket.handle);
}

/* -- linux_send.c ---------------------------------------------------------- */

/* After a file was sent the ring may have refused to wait for this socket: now it will. */
void linux_make_waitable(int fd);

/* Whether the next chunk of the file would have to come from the disk, as far as its last byte
 * tells; and has it read, after which the send is tried again. */
bool linux_file_is_cold(struct engine_port *port, struct engine_op *op,
                        const struct engine_piece *piece);
int64_t linux_file_read_ahead(struct engine_port *port, struct engine_socket socket,
                              struct engine_op *op, const struct engine_piece *piece);
/* Sends a chunk of the file to the descriptor: bytes, 0 for a file that has ended, or -1. */
ssize_t linux_file_send(int fd, const struct engine_piece *piece);

/* The attempt has come to an end: 0, or an errno. Completes it. */
void linux_connected(struct engine_port *port, struct engine_connect *connect, int code);
/* The same from outside the run loop: the completion follows. */
void linux_connect_failed(struct engine_port *port, struct engine_connect *connect, int code);

/* -- linux_listen.c -------------------------------------------------------- */

struct engine_listener {
    struct engine *engine;
    struct berth_address address;
    bool any_address; /* clients may have come to different ones */
    bool v6;
    bool is_counted; /* in engine->descriptors */
    int backlog;
    const struct inherited_sockets *inherited_sockets; /* NULL: they end with this process */
    unsigned kept;                                     /* how many it has */
    char name[192];                                    /* for it */
    atomic_uint acceptors;                             /* that were created */
    unsigned count;
    int sockets[]; /* one an acceptor */
};

/* False: the code is in errno. */
bool linux_set_options(int fd, const struct engine_socket_options *options);

/* `otherwise`: where the system has no memory to say it. */
struct berth_address linux_local_address(int fd, const struct berth_address *otherwise);

/* -- linux_accept.c -------------------------------------------------------- */

/* What is known of the clients of a listening socket, or of its datagrams. */
enum linux_clients {
    LINUX_CLIENTS_NONE,      /* the engine tells when some come */
    LINUX_CLIENTS_MAY_QUEUE, /* they are looked for when there is an accept for them */
    LINUX_CLIENTS_NOTIFIED,  /* some queue, and starved() was called for it: an accept is awaited */
    LINUX_CLIENTS_RETRY,     /* the system had no memory: looked for when port->late_ms has come */
};

enum linux_acceptor_life {
    LINUX_ACCEPTOR_OPEN,
    LINUX_ACCEPTOR_SERVING,   /* accepts are being completed, from linux_accept_check() */
    LINUX_ACCEPTOR_DESTROYED, /* it is freed when the engine has let go of it */
};

struct engine_acceptor {
    struct engine_acceptor *prev; /* in port->acceptors */
    struct engine_acceptor *next;
    struct engine_port *port;
    struct engine_listener *listener;
    engine_starved_fn *starved;
    void *context;
    struct op_list posted;  /* accepts without a client */
    struct op_list leaving; /* cancelled: a client may still come, from `submitted` */
    unsigned posted_count;  /* in the first list */
    unsigned leaving_count; /* in the second */
    unsigned started;       /* accepts not yet completed */
    unsigned submitted;     /* clients that the engine accepts by itself: no more than posted and
                             * leaving */
    int fd;                 /* the listener's */
    enum linux_clients clients;
    enum linux_acceptor_life life;
    bool polling;                     /* the engine waits for clients */
    bool due;                         /* to be looked at in this turn or the next */
    bool is_further;                  /* the socket has an acceptor already */
    struct engine_receiver *receiver; /* of datagrams, which it is the first member of; or NULL */
};

/* What an acceptor and a receiver have in common: watches the listener's socket. False: the error
 * is set. */
bool linux_acceptor_init(struct engine_acceptor *acceptor, struct engine_port *port,
                         struct engine_listener *listener, unsigned index, struct error *error);
void linux_acceptor_end(struct engine_acceptor *acceptor); /* it is freed in due time */
void linux_acceptor_make_due(struct engine_acceptor *acceptor);

/* For an engine that hears of everything in one line, which is long: looks for clients of one of
 * the acceptors, another one each time, in this turn. */
void linux_accept_poll_now(struct engine_port *port);

/* Clients have come, or the engine has let go of the acceptor. */
void linux_accept_ready(struct engine_acceptor *acceptor);

/* What became of one that the engine has accepted by itself (acceptor->submitted, which counts it
 * no more): a client, whose descriptor is counted; or none, for an errno. */
void linux_client_came(struct engine_acceptor *acceptor, int fd,
                       const union system_address *remote);
void linux_client_missed(struct engine_acceptor *acceptor, int code);

/* The first data of an accept may be there, or there may be a buffer for it: tries it. */
void linux_first_data_try(struct engine_accept *accept);
/* It has been received, into accept->data: `result` bytes; 0 is the FIN, less an errno. */
void linux_first_data_end(struct engine_accept *accept, int result);
/* It is awaited no more, as its accept was cancelled: the completion follows. */
void linux_first_data_forgotten(struct engine_accept *accept);
/* It waits for a buffer. */
void linux_first_data_wait_for_buffer(struct engine_accept *accept);

/* The system has had time to find memory for those that it had none for. */
void linux_accept_late(struct engine_port *port);

/* Takes the clients that have come, and tells the acceptors that have too few accepts. */
void linux_accept_check(struct engine_port *port);

/* -- linux_datagram.c ------------------------------------------------------ */

/* Takes a batch of the datagrams that have come. */
void linux_datagrams_take(struct engine_receiver *receiver);

/* The engine has let go of it. */
void linux_receiver_free(struct engine_receiver *receiver);

/* Frees the acceptors that the engine has not let go of. All are destroyed: asserted. */
void linux_acceptors_fini(struct engine_port *port);

#endif
