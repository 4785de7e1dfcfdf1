/* connection_state.h: the life of a connection: one enum and one table of allowed moves.
 *
 *         ┌──────────────────►┐
 *     accepted ─► open ─► draining ─► cancelling ─► closed
 *         └─────────┴───────────────────►┘
 *
 * One that is refused goes from accepted to draining when there is something to tell its client.
 *
 * Every end leads through cancelling, which waits until no operation is in flight.
 *
 * Threads: the connection's worker. */
#ifndef BERTH_HOST_NET_CONNECTION_STATE_H
#define BERTH_HOST_NET_CONNECTION_STATE_H

#include <stdbool.h>

enum connection_state {
    CONNECTION_ACCEPTED,   /* we own the socket; the plugin has not heard of it */
    CONNECTION_OPEN,       /* the plugin is told what arrives, and may send */
    CONNECTION_DRAINING,   /* the queue is sent, then a FIN; we wait for the peer's */
    CONNECTION_CANCELLING, /* what is in flight is called off */
    CONNECTION_CLOSED,     /* nothing is in flight, the socket is gone */
    CONNECTION_STATE_COUNT,
};

bool connection_state_may_move(enum connection_state from, enum connection_state to);

/* The state's name, for logs. */
const char *connection_state_name(enum connection_state state);

#endif
