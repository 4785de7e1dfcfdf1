/* linux.h: what the engines on Linux share, and the interface that each of them implements; private
 * to them.
 *
 * linux.c         the choice of an engine, ports and their loop, posts, sockets, sending
 * linux_listen.c  listening sockets
 * linux_accept.c  accepting
 * linux_send.c    sending memory and files, connecting
 * linux_datagram.c  datagrams
 * linux_calls.h, uring_calls.h  the system calls and the calls of liburing
 * uring.c, uring_receive.c   over io_uring
 * uring_probe.c                     whether the system allows it
 * uring_accept.c                    accepts that wait in the ring
 * uring_direct.c                    sockets without a descriptor
 * epoll.c                           over epoll, where io_uring is refused
 *
 * Every operation is tried at once, without blocking. An engine waits until it can go on. */
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
    /* The size of an acceptor: the engine's own part follows the common one. */
    size_t acceptor_bytes;

    /* Allocates a port; init and fini are of the engine's own part, after the common part is set
     * up. */
    struct engine_port *(*port_alloc)(void);
    bool (*port_init)(struct engine_port *port, const struct engine_port_options *options,
                      struct error *error);
    void (*port_fini)(struct engine_port *port);

    /* Waits for something to handle; then handles a bounded batch of it. */
    void (*wait)(struct engine_port *port, int timeout_ms);
    void (*handle)(struct engine_port *port);
    /* Continues operations that wait for a buffer, as far as there are buffers. */
    void (*feed)(struct engine_port *port);
    /* Gives back buffers that are held for future receives. NULL: the engine holds none. */
    void (*trim)(struct engine_port *port);

    /* Waits for clients: calls linux_accept_ready() at least once for every arrival. False: not
     * possible, the code is in errno. The second one releases the listening socket before it
     * returns, and the acceptor when acceptor->polling is false. The acceptor of a receiver has no
     * part of the engine's own. */
    bool (*clients_await)(struct engine_acceptor *acceptor);
    void (*clients_forget)(struct engine_acceptor *acceptor);
    /* Accepts were posted, served or cancelled: the engine may accept more clients by itself, or
     * fewer. NULL: it accepts none, clients_await() reports all. */
    void (*accepts_changed)(struct engine_acceptor *acceptor);
    /* Asserts what holds of the engine's part of an acceptor between two turns. NULL: it has no
     * such part. */
    void (*acceptor_check)(const struct engine_acceptor *acceptor);

    /* Whether the first data of an accepted client is tried at once, before it is waited for. NULL:
     * always. */
    bool (*looks_at_once)(const struct engine_port *port);

    /* Waits for the first data of an accepted client: calls linux_first_data_try() or _end(). The
     * second one ends the wait: with linux_first_data_end() later, or with
     * linux_first_data_forgotten() before it returns. */
    void (*first_data_await)(struct engine_port *port, struct engine_accept *accept);
    void (*first_data_forget)(struct engine_port *port, struct engine_accept *accept);

    /* Delivers bytes whenever they come; the second one ends that, and the completion comes later.
     * For a receive that waits for the peer's FIN alone (is_end) they need not be delivered. */
    void (*receive_arm)(struct engine_port *port, struct engine_receive *receive);
    void (*receive_disarm)(struct engine_port *port, struct engine_receive *receive);

    /* Waits until the connection is established or has failed: calls linux_connected(). The second
     * one ends the wait: with linux_connected() later, or with linux_connect_failed() before it
     * returns. */
    void (*connect_start)(struct engine_port *port, struct engine_connect *connect);
    void (*connect_cancel)(struct engine_port *port, struct engine_connect *connect);

    /* Waits until a byte of a file is in memory: calls linux_complete() with 0; send_disarm() ends
     * the wait. NULL: the engine cannot do that, and sendfile() blocks for the disk. */
    void (*file_await)(struct engine_port *port, struct engine_op *op, int file, uint64_t offset);

    /* Waits until the socket can be written: calls linux_complete() with 0. */
    void (*send_arm)(struct engine_port *port, struct engine_op *op);
    void (*send_disarm)(struct engine_port *port, struct engine_op *op);

    const struct linux_registered *registered; /* NULL: every socket has a descriptor */
};

/* Sockets that are registered with a port and have no descriptor. Only the engine can use them.
 * See linux_has_descriptor(). */
struct linux_registered {
    /* From now on every new port registers up to `count` sockets. False: the error says why not. */
    bool (*configure)(struct engine *engine, unsigned count, struct error *error);
    /* Registers the socket with the port and closes its descriptor. Without room for it the socket
     * keeps its descriptor. */
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

/* Whether the system allows io_uring, and which parts of it, by trying all that a port uses. False:
 * the error says what it refuses, why, and the remedy. */
bool linux_uring_probe(struct engine *engine, struct error *error);

enum { LINUX_PORTS_MAX = 128 }; /* with registered sockets; more have none */
_Static_assert((int)LINUX_PORTS_MAX >= (int)ENGINE_PORTS_MAX, "those of one server have them");
enum { LINUX_BURST_MAX = 31 }; /* the maximum of op_private.burst */

struct engine {
    const struct linux_backend *backend;
    struct engine_traits traits;
    unsigned uring_flags;     /* of rings: those that this kernel takes */
    bool uring_limits_bursts; /* a multishot receive can be limited to a number of bytes */
    bool uring_accepts;       /* a single accept can wait for a client before it tries */

    /* Open descriptors of the process, as far as the engine opens and closes them. At
     * descriptors_max it accepts no more; the rest is reserved for others. */
    atomic_uint descriptors;
    atomic_uint files;           /* of plugins; counted in `descriptors`, too */
    unsigned reserved_for_files; /* files may be opened when connections have all others */
    unsigned descriptors_max;
    const struct inherited_sockets *inherited_sockets; /* of listening sockets, or NULL */

    /* How many sockets each port may register; 0: none. A port that does is in `ports` at its
     * number less one. */
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
    bool warmed : 1;             /* a send that has waited for its file: it does not ask again */
    bool is_end : 1;             /* a receive that waits for the peer's FIN and for nothing else */
    bool is_first : 1;           /* a receive whose peer may have sent data already */
    bool early : 1;              /* a receive that is to be tried before it is armed */
    bool greedy : 1;   /* a receive that gets one buffer at a time, as its peer sends so much */
    uint8_t burst : 5; /* buffers that a receive without a limit has delivered in the lap; of a
                        * send: twice the pauses it has made, and 1 more during a pause */
    union {
        uint8_t wait; /* what the send of a registered socket waits for; defined by the engine */
        uint8_t lap;  /* the port's lap in which a receive was armed, or has delivered */
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

/* The read-ahead run cache. An entry is a run of a file, a chunk that is sent by one call, that was
 * in memory when preadv2() was last asked about it. For ARMED_BUFFER_MS it is taken to be there
 * still, which saves that call for files that are sent again and again: so the 6.2 system calls of
 * an HTTP response of 100 KiB contain no preadv2 (tests/bench/PROFILE.md, Files over HTTP). */
struct linux_warm_run {
    intptr_t file;
    uint64_t last; /* byte of it */
    uint64_t asked_ms;
};

/* The common part of a port; the engine's own part follows it. */
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
    int wake_fd;         /* an eventfd: written when the stack is no longer empty */
    atomic_bool unwoken; /* the eventfd has failed: until it works every turn looks for posts */

    struct op_list
        waiting_for_buffer; /* operations that found no buffer to receive into; served in order */

    unsigned number; /* in engine->ports, from 1; 0: it registers no sockets */

    struct engine_acceptor *acceptors;
    bool acceptors_due; /* something happened to one of them */

    /* When everything that the system had no memory for is tried again; 0: there is nothing. */
    uint64_t late_ms;

    struct linux_warm_run warm_runs[LINUX_WARM_RUNS]; /* by a hash of file and chunk */
};

/* Asserts what holds of a port between two turns. */
void linux_port_check(const struct engine_port *port);

void linux_run_posts(struct engine_port *port); /* the eventfd has been read */
/* The eventfd cannot be read or written: from now on every turn looks for posts, too. */
void linux_posts_unwoken(struct engine_port *port, const char *what, int code);
void linux_posts_woken(struct engine_port *port); /* it was written, and read */

void linux_make_late(struct engine_port *port); /* something is to be tried again, see late_ms */

/* Complete op: the first one now, from within engine_port_run(); the second one at the next turn.
 */
void linux_complete(struct engine_port *port, struct engine_op *op, int64_t result);
void linux_defer(struct engine_port *port, struct engine_op *op, int64_t result);

/* Delivers that buffer to the receive's owner. It is not the last completion: the receive stays
 * with the engine. */
void linux_deliver(struct engine_port *port, struct engine_receive *receive,
                   struct engine_buffer buffer, uint32_t size);

int64_t linux_translate(int code); /* ENGINE_E_* for an errno */
/* The reason in words, with the remedy where an operator has one. */
const char *linux_reason(int code);

/* Counts one descriptor more for a socket of that port; false: the rest is reserved. The second one
 * counts one less, for a descriptor that is closed or did not become a socket. */
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

/* Makes the socket blocking again. The ring does not wait for a non-blocking one, which sending a
 * file has made it. */
void linux_make_waitable(int fd);

/* Whether the next chunk of the file would have to come from the disk, judged by its last byte. The
 * second one has it read, after which the send is tried again. */
bool linux_file_is_cold(struct engine_port *port, struct engine_op *op,
                        const struct engine_piece *piece);
int64_t linux_file_read_ahead(struct engine_port *port, struct engine_socket socket,
                              struct engine_op *op, const struct engine_piece *piece);
/* Sends a chunk of the file to the descriptor: bytes, 0 for a file that has ended, or -1. */
ssize_t linux_file_send(int fd, const struct engine_piece *piece);

/* The attempt to connect has ended: 0, or an errno. Completes it. */
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
    const struct inherited_sockets *inherited_sockets; /* NULL: not handed to the next process */
    unsigned kept;                                     /* how many sockets it was given */
    char name[192];                                    /* of the listener there */
    atomic_uint acceptors;                             /* that were created */
    unsigned count;
    int sockets[]; /* one an acceptor */
};

/* False: the code is in errno. */
bool linux_set_options(int fd, const struct engine_socket_options *options);

/* `otherwise`: the result where the system has no memory for the answer. */
struct berth_address linux_local_address(int fd, const struct berth_address *otherwise);

/* -- linux_accept.c -------------------------------------------------------- */

/* What is known of the queue of a listening socket: of its clients, or of its datagrams. */
enum linux_clients {
    LINUX_CLIENTS_NONE,      /* the engine reports when some come */
    LINUX_CLIENTS_MAY_QUEUE, /* the queue is read when there is an accept for them */
    LINUX_CLIENTS_NOTIFIED,  /* some queue, and starved() was called: an accept is awaited */
    LINUX_CLIENTS_RETRY,     /* the system had no memory: read again at port->late_ms */
};

enum linux_acceptor_life {
    LINUX_ACCEPTOR_OPEN,
    LINUX_ACCEPTOR_SERVING,   /* accepts are being completed, from linux_accept_check() */
    LINUX_ACCEPTOR_DESTROYED, /* it is freed when the engine has released it */
};

struct engine_acceptor {
    struct engine_acceptor *prev; /* in port->acceptors */
    struct engine_acceptor *next;
    struct engine_port *port;
    struct engine_listener *listener;
    engine_starved_fn *starved;
    void *context;
    struct op_list posted;  /* accepts without a client */
    struct op_list leaving; /* cancelled accepts that may still get a client of `submitted` */
    unsigned posted_count;  /* in the first list */
    unsigned leaving_count; /* in the second */
    unsigned started;       /* accepts not yet completed */
    unsigned submitted;     /* clients that the engine accepts by itself: no more than posted and
                             * leaving */
    int fd;                 /* the listener's */
    enum linux_clients clients;
    enum linux_acceptor_life life;
    bool polling;                     /* the engine waits for clients */
    bool due;                         /* to be served in this turn or the next */
    bool is_further;                  /* the socket has another acceptor already */
    struct engine_receiver *receiver; /* of datagrams, which it is the first member of; or NULL */
};

/* The common part of an acceptor and a receiver: watches the listener's socket. False: the error
 * is set. */
bool linux_acceptor_init(struct engine_acceptor *acceptor, struct engine_port *port,
                         struct engine_listener *listener, unsigned index, struct error *error);
void linux_acceptor_end(struct engine_acceptor *acceptor); /* it is freed later */
void linux_acceptor_make_due(struct engine_acceptor *acceptor);

/* For an engine whose events come in one queue, which is long now: looks for clients of one of the
 * acceptors in this turn, of another one each time. */
void linux_accept_poll_now(struct engine_port *port);

/* Clients have come, or the engine has released the acceptor. */
void linux_accept_ready(struct engine_acceptor *acceptor);

/* An accept that the engine makes by itself has ended; acceptor->submitted does not count it any
 * more. The first one: with a client, whose descriptor is counted. The second one: with an errno.
 */
void linux_client_came(struct engine_acceptor *acceptor, int fd,
                       const union system_address *remote);
void linux_client_missed(struct engine_acceptor *acceptor, int code);

/* The first data of an accept may be there, or there may be a buffer for it: tries it. */
void linux_first_data_try(struct engine_accept *accept);
/* It has been received, into accept->data: `result` bytes; 0 is the FIN, less an errno. */
void linux_first_data_end(struct engine_accept *accept, int result);
/* The wait for it has ended, as its accept was cancelled: the completion follows. */
void linux_first_data_forgotten(struct engine_accept *accept);
/* It waits for a buffer. */
void linux_first_data_wait_for_buffer(struct engine_accept *accept);

/* port->late_ms has come: tries again the acceptors that the system had no memory for. */
void linux_accept_late(struct engine_port *port);

/* Takes the clients that have come, and calls starved() where too few accepts are posted. */
void linux_accept_check(struct engine_port *port);

/* -- linux_datagram.c ------------------------------------------------------ */

/* Takes a batch of the datagrams that have come. */
void linux_datagrams_take(struct engine_receiver *receiver);

/* The engine has released it. */
void linux_receiver_free(struct engine_receiver *receiver);

/* Frees the acceptors that the engine has not released. All are destroyed: asserted. */
void linux_acceptors_fini(struct engine_port *port);

#endif
