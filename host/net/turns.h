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

struct connection;
struct turn;

struct turns {
    uint32_t max;          /* 0: no limit, and nobody asks */
    struct os_mutex mutex; /* of all that follows, and of the turns' states */
    uint32_t taken;
    struct turn *holders; /* utlist, those longest in it first */
    struct turn *waiting; /* utlist, first come first served */
};

void turns_init(struct turns *turns, uint32_t max);
void turns_fini(struct turns *turns);
void turns_configure(struct turns *turns, uint32_t max); /* while no other function of it runs */

/* Whether the connection may receive and send now. False: connection_turn_comes() tells when. */
bool turns_ask(struct connection *connection);

/* It has got on: bytes came, or went. */
void turns_progress(struct connection *connection);

/* It has nothing more to do. */
void turns_end(struct connection *connection);

/* It is gone. */
void turns_leave(struct connection *connection);

#endif
