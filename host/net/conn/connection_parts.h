/* connection_parts.h: what a connection has only at times, so that an idle one needs little memory.
 *
 * A connection without a part points to an empty one that is read-only, so members can be read
 * without a check. Before something is added the connection takes a part of its own.
 *
 * Owner: the connection that has it. Threads: its worker's only. */
#ifndef BERTH_HOST_NET_CONN_CONNECTION_PARTS_H
#define BERTH_HOST_NET_CONN_CONNECTION_PARTS_H

#include <stddef.h>
#include <stdint.h>

#include "berth/buffer.h"
#include "engine/engine.h"
#include "net/lib/send_queue.h"

struct attachment;
struct connection;
struct io_permit;

/* Used while bytes wait here to be sent or to be consumed. */
struct conn_io {
    struct connection *connection;
    struct engine_op send;
    struct send_queue queue;
    struct berth_slice pending; /* received and not consumed; buffer NULL when there is none */
    struct conn_io *next;       /* in the pool */
};

/* Free parts, shared by the connections of a worker: an echo takes one and gives it back. */
struct conn_io_pool {
    struct conn_io *free;
    uint32_t free_count;
    uint32_t free_max;
};

/* How far a connection has got with its end. */
enum attachment_stage {
    ATTACHMENT_ENDING, /* it begins to end */
    ATTACHMENT_ENDED,  /* nothing is in flight; its plugin has not been called for `closed` yet */
    ATTACHMENT_CLOSED, /* `closed` was called: what is still attached must detach itself now */
};

struct attachment_kind {
    void (*on_end)(struct attachment *one, enum attachment_stage stage);
    void (*describe)(const struct attachment *one, char *text, size_t size); /* in one line */
};

/* Something that lives no longer than the connection, or has to be notified of its end. It is
 * embedded in what the plugin has asked for. */
struct attachment {
    struct attachment *prev;
    struct attachment *next;
    const struct attachment_kind *kind;
};

/* What it has asked the host for, and members that few connections need. */
struct conn_resources {
    struct attachment *attachments; /* utlist */
    struct attachment *next;        /* while all of them are notified: the next one */
    uint32_t timer_count;           /* attachments that count for limits.timers */
    uint32_t lingered;              /* draining: bytes that were read and discarded */
    struct io_permit *io_permit;    /* NULL until it first needs one */
};

/* The read-only parts of a connection without its own. */
struct conn_io *conn_io_none(void);
struct conn_resources *conn_resources_none(void);

/* A free one or a new one, for the caller to fill in; NULL: no memory. */
struct conn_io *conn_io_take(struct conn_io_pool *pool);
void conn_io_give(struct conn_io_pool *pool, struct conn_io *io); /* as empty as a new one */

void conn_io_pool_fini(struct conn_io_pool *pool);

#endif
