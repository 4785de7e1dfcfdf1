/* connection_state.h: the state of a connection: a few small machines, the moves each of them may
 * make, and one table of the combinations that are legal.
 *
 * life      accepted ─► open ─► draining ─► cancelling ─► closed; cancelling follows each of the
 *           first three, and a refused connection goes from accepted to draining
 * entry     the steps between the accept and the limits: a PROXY header, the first data, capacity
 *           under a limit; then whether the connection is admitted, refused, or the host's own
 * peer      the peer's FIN, and whether the plugin has been notified of it
 * local     our FIN
 * closing   whether the close waits for the peer's FIN, and whether it is a reset
 * receive   the engine's receive operation
 * send      the engine's send operation
 *
 * The rest are flags: the reasons to receive nothing at present (holds), the full send queue, and
 * received bytes that the plugin is to see again.
 *
 * Only connection_state.c writes them. Every setter asserts that the move is allowed; in builds
 * with checks it asserts the whole combination, too.
 *
 * Threads: the connection's worker. */
#ifndef BERTH_HOST_NET_CONN_CONNECTION_STATE_H
#define BERTH_HOST_NET_CONN_CONNECTION_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum connection_life {
    CONNECTION_ACCEPTED,   /* the host owns the socket; the plugin does not know the connection */
    CONNECTION_OPEN,       /* the plugin gets what arrives, and may send */
    CONNECTION_DRAINING,   /* the send queue is sent, then a FIN; the peer's FIN is awaited */
    CONNECTION_CANCELLING, /* what is in flight is cancelled */
    CONNECTION_CLOSED,     /* nothing is in flight, the socket is closed */
    CONNECTION_LIFE_COUNT,
};

enum connection_entry {
    CONNECTION_ENTRY_NONE,         /* between two steps; or ended during admission */
    CONNECTION_ENTRY_PROXY_HEADER, /* the PROXY header is awaited; counts in listener->pending */
    CONNECTION_ENTRY_FIRST_DATA,   /* the first data is awaited; counts in listener->pending */
    CONNECTION_ENTRY_CAPACITY,     /* capacity under a limit is awaited; in worker->waiting */
    CONNECTION_ENTRY_ADMITTED,     /* counts under the limits; `opened` has been called */
    CONNECTION_ENTRY_REFUSED,      /* is sent the busy answer; counts in listener->refusing */
    CONNECTION_ENTRY_OUTBOUND,     /* made for the plugin; counts in listener->outbound */
    CONNECTION_ENTRY_COUNT,
};

enum connection_peer {
    CONNECTION_PEER_SENDING,
    CONNECTION_PEER_FIN_FIRST, /* its FIN has arrived, before ours was sent */
    CONNECTION_PEER_FIN_SECOND,
    CONNECTION_PEER_FIN_FIRST_NOTIFIED, /* and the plugin has been notified */
    CONNECTION_PEER_FIN_SECOND_NOTIFIED,
    CONNECTION_PEER_COUNT,
};

enum connection_local {
    CONNECTION_LOCAL_SENDING,
    CONNECTION_LOCAL_SHUTDOWN, /* a FIN follows the send queue */
    CONNECTION_LOCAL_FIN_SENT,
    CONNECTION_LOCAL_COUNT,
};

enum connection_closing {
    CONNECTION_CLOSING_LINGER,      /* after our FIN the peer's is awaited */
    CONNECTION_CLOSING_SKIP_LINGER, /* no wait: the close follows the send queue */
    CONNECTION_CLOSING_RESET,
    CONNECTION_CLOSING_COUNT,
};

enum connection_receive {
    CONNECTION_RECEIVE_IDLE,
    CONNECTION_RECEIVE_ARMED,
    CONNECTION_RECEIVE_STOPPING, /* its last completion is awaited */
    CONNECTION_RECEIVE_COUNT,
};

enum connection_send {
    CONNECTION_SEND_IDLE,
    CONNECTION_SEND_PENDING,
    CONNECTION_SEND_CANCELLING, /* its completion is awaited */
    CONNECTION_SEND_COUNT,
};

/* Why nothing is received at present; any one of them is enough. */
#define CONNECTION_HELD_BY_PLUGIN 1u
#define CONNECTION_HELD_BY_QUEUE 2u     /* the send queue is full */
#define CONNECTION_HELD_BY_LIMIT 4u     /* it waits for capacity under a limit */
#define CONNECTION_HELD_BY_IO_PERMIT 8u /* it waits for an I/O permit */

/* The values of the machines above, in the bits that the connection has space for. What every
 * message reads has a byte of its own, or shares it with few others, so that few instructions read
 * it. */
struct connection_state {
    uint32_t life : 3;
    uint32_t entry : 3;
    uint32_t local : 2;

    uint32_t peer : 3;
    uint32_t closing : 2;
    uint32_t receive : 2;
    uint32_t redeliver : 1; /* pending bytes may go to the plugin again */

    uint32_t send : 2;
    uint32_t queue_full : 1; /* since the queue reached a limit; `drained` is owed */
    uint32_t unused : 5;

    uint32_t held : 8; /* CONNECTION_HELD_… */
};

/* The machines by number, for tables and for code that iterates over them. */
enum connection_machine {
    CONNECTION_LIFE,
    CONNECTION_ENTRY,
    CONNECTION_PEER,
    CONNECTION_LOCAL,
    CONNECTION_CLOSING,
    CONNECTION_RECEIVE,
    CONNECTION_SEND,
    CONNECTION_HOLD_PLUGIN,
    CONNECTION_HOLD_QUEUE,
    CONNECTION_HOLD_LIMIT,
    CONNECTION_HOLD_IO_PERMIT,
    CONNECTION_QUEUE_FULL,
    CONNECTION_REDELIVER,
    CONNECTION_MACHINES,
};

static inline bool connection_state_is_ending(struct connection_state state) {
    return state.life >= CONNECTION_CANCELLING;
}

static inline bool connection_state_is_pending(struct connection_state state) {
    return state.entry == CONNECTION_ENTRY_PROXY_HEADER ||
           state.entry == CONNECTION_ENTRY_FIRST_DATA;
}

/* Whether the plugin has been called for it, and is owed `closed`. */
static inline bool connection_state_is_known(struct connection_state state) {
    return state.entry == CONNECTION_ENTRY_ADMITTED || state.entry == CONNECTION_ENTRY_OUTBOUND;
}

static inline bool connection_state_peer_is_notified(struct connection_state state) {
    return state.peer >= CONNECTION_PEER_FIN_FIRST_NOTIFIED;
}

static inline bool connection_state_peer_was_first(struct connection_state state) {
    return state.peer == CONNECTION_PEER_FIN_FIRST ||
           state.peer == CONNECTION_PEER_FIN_FIRST_NOTIFIED;
}

/* -- the moves ------------------------------------------------------------- */

void connection_state_drain(struct connection_state *state);
void connection_state_cancel(struct connection_state *state);
void connection_state_close(struct connection_state *state);

/* A step of the admission; waiting for capacity also holds the receive. */
void connection_state_enter(struct connection_state *state, enum connection_entry entry);

/* The end of the admission, as admitted or outbound: open. */
void connection_state_open(struct connection_state *state, enum connection_entry entry);

void connection_state_peer_fin(struct connection_state *state);
void connection_state_notify_peer_fin(struct connection_state *state);
void connection_state_set_local(struct connection_state *state, enum connection_local local);
void connection_state_set_closing(struct connection_state *state, enum connection_closing closing);
void connection_state_set_receive(struct connection_state *state, enum connection_receive receive);
void connection_state_set_send(struct connection_state *state, enum connection_send send);

/* One of HELD_BY_PLUGIN, HELD_BY_QUEUE and HELD_BY_IO_PERMIT. */
void connection_state_hold(struct connection_state *state, unsigned held);
void connection_state_release(struct connection_state *state, unsigned held);

void connection_state_set_queue_full(struct connection_state *state, bool queue_full);
void connection_state_set_redeliver(struct connection_state *state, bool redeliver);

/* -- the tables, for checks and tests -------------------------------------- */

unsigned connection_state_get(struct connection_state state, enum connection_machine machine);
unsigned connection_state_count(enum connection_machine machine); /* of its values */

/* Whether a setter may make this move, and leaves a legal combination. */
bool connection_state_may_move(struct connection_state state, enum connection_machine machine,
                               unsigned to);

/* Makes the move, by its setter. */
void connection_state_move(struct connection_state *state, enum connection_machine machine,
                           unsigned to);

/* The rule that the combination breaks; NULL: it is legal. */
const char *connection_state_fault(struct connection_state state);

/* The name of a machine, and of one of its values; "unknown" beyond them. */
const char *connection_machine_name(enum connection_machine machine);
const char *connection_state_name(enum connection_machine machine, unsigned value);

/* "open, admitted, receive armed, hold-plugin": the life, the entry, and what differs from the
 * initial state. */
void connection_state_describe(struct connection_state state, char *text, size_t size);

#endif
