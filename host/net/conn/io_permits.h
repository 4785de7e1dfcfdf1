/* io_permits.h: how many connections of a listener may receive and send at a time
 * ("limits.active_io").
 *
 * A bulk server with many clients keeps its throughput when it serves some of them at a time, with
 * full buffers, while the others wait ("Network Programming for Microsoft Windows", chapter 6). A
 * connection asks for a permit when bytes arrive or are to be sent, and holds it until all of its
 * bytes are sent; then the next one in the queue gets it. A connection whose peer does not read
 * delays the others only for a moment: its permit passes on, and its operations stay in flight.
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
    uint32_t max;          /* 0: no limit, and no permit is needed */
    struct os_mutex mutex; /* of all that follows, and of the permits' states */
    uint32_t taken;
    struct io_permit *holders; /* utlist, the longest holder first */
    struct io_permit *waiting; /* utlist, first come first served */

    /* The permit that `owner` asked for is granted. On its worker. */
    void (*comes)(struct worker *worker, void *owner);
    /* The message that io_permits_leave() has reported is done. */
    void (*over)(struct io_permits *io_permits);
};

void io_permits_init(struct io_permits *io_permits, uint32_t max,
                     void (*comes)(struct worker *worker, void *owner),
                     void (*over)(struct io_permits *io_permits));
void io_permits_fini(struct io_permits *io_permits);
void io_permits_configure(struct io_permits *io_permits,
                          uint32_t max); /* while no other function of it runs */

/* Whether the connection `owner` may receive and send now. False: `comes` is called later. *permit
 * is its own, NULL at first. */
bool io_permits_ask(struct io_permits *io_permits, struct io_permit **io_permit,
                    struct worker *worker, void *owner);

/* Its bytes arrived or were sent. It has nothing more to do. A permit of NULL is legal. */
void io_permits_progress(struct io_permit *io_permit);
void io_permits_end(struct io_permit *io_permit);

/* The owner ends, and so does its permit. True: a message is in flight, and the permits must stay
 * until `over` is called. */
bool io_permits_leave(struct io_permit *io_permit);

#endif
