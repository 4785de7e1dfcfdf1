/* door.h: one address of a listener: its listening socket, and what accepts or receives there.
 *
 * A door outlives the generations of its listener: a new one takes it over while clients come in,
 * and none of them finds it closed. Owner: the listeners that share it, by references. Threads:
 * [control]; what is in it is read by the worker that an accept pool or receiver works on. */
#ifndef BERTH_HOST_NET_DOOR_H
#define BERTH_HOST_NET_DOOR_H

#include <stdbool.h>

#include "engine/engine.h"

struct accept_pool;
struct datagram_receiver;
struct error;
struct listener;
struct server;

struct door {
    struct server *server;
    struct engine_listen_options options; /* as it was opened, with the port that was asked for */
    struct engine_listener *socket;
    struct accept_pool **pools;          /* one an acceptor; NULL until started */
    struct datagram_receiver *receivers; /* in their place, of UDP */
    unsigned references;
};

/* Binds, with one reference for the caller. The error names the address. */
struct door *door_open(struct server *server, const struct engine_listen_options *options,
                       struct error *error);

/* Lets clients in, to that listener. */
bool door_start(struct door *door, struct listener *listener, struct error *error);

/* From now on they come in to that one, and the socket is as its options say. Nobody is lost
 * between the two. */
void door_turn(struct door *door, struct listener *listener,
               const struct engine_listen_options *options);

void door_acquire(struct door *door);
void door_release(struct door *door); /* the last one closes it; NULL is legal */

/* If its datagrams come to that listener, and not to a later generation of it, none does from now
 * on; the socket stays, for what is still sent. */
void door_stop_receiving(struct door *door, const struct listener *listener);

/* The address with the actual port. */
struct berth_address door_address(const struct door *door);

#endif
