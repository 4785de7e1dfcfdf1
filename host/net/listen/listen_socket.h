/* listen_socket.h: one address of a listener: its listening socket, and what accepts or receives
 * there.
 *
 * A listen socket outlives the generations of its listener: a new one takes it over while clients
 * come in, and none of them finds it closed. Owner: the listeners that share it, by references.
 * Threads: [control]; what is in it is read by the worker that an accept pool or receiver works on.
 */
#ifndef BERTH_HOST_NET_LISTEN_LISTEN_SOCKET_H
#define BERTH_HOST_NET_LISTEN_LISTEN_SOCKET_H

#include <stdbool.h>

#include "engine/engine.h"

struct accept_pool;
struct datagram_receiver;
struct error;
struct listener;
struct server;

struct listen_socket {
    struct server *server;
    struct engine_listen_options options; /* as it was opened, with the port that was asked for */
    struct engine_listener *socket;
    struct accept_pool **pools;          /* one an acceptor; NULL until started */
    struct datagram_receiver *receivers; /* in their place, of UDP */
    unsigned references;
};

/* Binds, with one reference for the caller. The error names the address. */
struct listen_socket *listen_socket_open(struct server *server,
                                         const struct engine_listen_options *options,
                                         struct error *error);

/* Lets clients in, to that listener. */
bool listen_socket_start(struct listen_socket *listen_socket, struct listener *listener,
                         struct error *error);

/* From now on they come in to that one, and the socket is as its options say. Nobody is lost
 * between the two. */
void listen_socket_switch_generation(struct listen_socket *listen_socket, struct listener *listener,
                                     const struct engine_listen_options *options);

void listen_socket_acquire(struct listen_socket *listen_socket);
void listen_socket_release(
    struct listen_socket *listen_socket); /* the last one closes it; NULL is legal */

/* If its datagrams come to that listener, and not to a later generation of it, none does from now
 * on; the socket stays, for what is still sent. */
void listen_socket_stop_receiving(struct listen_socket *listen_socket,
                                  const struct listener *listener);

/* The address with the actual port. */
struct berth_address listen_socket_address(const struct listen_socket *listen_socket);

#endif
