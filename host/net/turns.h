/* turns.h: how many connections of a listener may receive and send at a time ("limits.active_io").
 *
 * A bulk server with many clients keeps its pace when it serves some of them at a time, with full
 * buffers, and lets the others wait ("Network Programming for Microsoft Windows", chapter 6). A
 * connection asks for a turn when bytes come or are to be sent, and has it until all that it was
 * to send is sent; then the next one in the queue has it. One whose peer does not read keeps the
 * others waiting for a moment only: its turn passes on, and what it has under way stays so.
 *
 * Owner: the listener. Threads: the connections' workers. */
#ifndef BERTH_HOST_NET_TURNS_H
#define BERTH_HOST_NET_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

struct turn;
struct worker;

struct turns {
    uint32_t max;          /* 0: no limit, and nobody asks */
    struct os_mutex mutex; /* of all that follows, and of the turns' states */
    uint32_t taken;
    struct turn *holders; /* utlist, those longest in it first */
    struct turn *waiting; /* utlist, first come first served */

    /* What `owner` had asked for has come. On its worker. */
    void (*comes)(struct worker *worker, void *owner);
    /* That which turns_leave() has told of is over. */
    void (*over)(struct turns *turns);
};

void turns_init(struct turns *turns, uint32_t max,
                void (*comes)(struct worker *worker, void *owner),
                void (*over)(struct turns *turns));
void turns_fini(struct turns *turns);
void turns_configure(struct turns *turns, uint32_t max); /* while no other function of it runs */

/* Whether the connection `owner` may receive and send now. False: `comes` tells when. *turn is its
 * own, NULL at first. */
bool turns_ask(struct turns *turns, struct turn **turn, struct worker *worker, void *owner);

/* It has got on: bytes came, or went. It has nothing more to do. A turn of NULL is legal. */
void turns_progress(struct turn *turn);
void turns_end(struct turn *turn);

/* It is gone, and so is its turn. True: a message is under way, and the turns must stay until
 * `over` is called. */
bool turns_leave(struct turn *turn);

#endif
