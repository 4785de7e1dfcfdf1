/* io_permits.h: how many connections of a listener may receive and send at a time
 * ("limits.active_io").
 *
 * A bulk server with many clients keeps its pace when it serves some of them at a time, with full
 * buffers, and lets the others wait ("Network Programming for Microsoft Windows", chapter 6). A
 * connection asks for a permit when bytes come or are to be sent, and has it until all that it was
 * to send is sent; then the next one in the queue has it. One whose peer does not read keeps the
 * others waiting for a moment only: its permit passes on, and what it has under way stays so.
 *
 * Owner: the listener. Threads: the connections' workers. */
#ifndef BERTH_HOST_NET_CONN_IO_PERMITS_H
#define BERTH_HOST_NET_CONN_IO_PERMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

struct io_permit;
struct worker;

struct io_permits {
    uint32_t max;          /* 0: no limit, and nobody asks */
    struct os_mutex mutex; /* of all that follows, and of the permits' states */
    uint32_t taken;
    struct io_permit *holders; /* utlist, those longest in it first */
    struct io_permit *waiting; /* utlist, first come first served */

    /* What `owner` had asked for has come. On its worker. */
    void (*comes)(struct worker *worker, void *owner);
    /* That which io_permits_leave() has told of is over. */
    void (*over)(struct io_permits *io_permits);
};

void io_permits_init(struct io_permits *io_permits, uint32_t max,
                     void (*comes)(struct worker *worker, void *owner),
                     void (*over)(struct io_permits *io_permits));
void io_permits_fini(struct io_permits *io_permits);
void io_permits_configure(struct io_permits *io_permits,
                          uint32_t max); /* while no other function of it runs */

/* Whether the connection `owner` may receive and send now. False: `comes` tells when. *permit is
 * its own, NULL at first. */
bool io_permits_ask(struct io_permits *io_permits, struct io_permit **io_permit,
                    struct worker *worker, void *owner);

/* It has got on: bytes came, or went. It has nothing more to do. A permit of NULL is legal. */
void io_permits_progress(struct io_permit *io_permit);
void io_permits_end(struct io_permit *io_permit);

/* It is gone, and so is its permit. True: a message is under way, and the permits must stay until
 * `over` is called. */
bool io_permits_leave(struct io_permit *io_permit);

#endif
