/* listen_socket.h: one address of a listener: its listening socket, with its accept pools or its
 * receivers.
 *
 * A listen socket outlives the generations of its listener: a new one takes it over while clients
 * connect, and it is never closed in between. Owner: the listeners that share it, by references.
 * Threads: [control]; its members are read by the workers that its accept pools or receivers run
 * on. */
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
    struct accept_pool **pools;          /* one for each acceptor; NULL until started */
    struct datagram_receiver *receivers; /* for UDP, instead of pools */
    unsigned references;
};

/* Binds, with one reference for the caller. The error names the address. */
struct listen_socket *listen_socket_open(struct server *server,
                                         const struct engine_listen_options *options,
                                         struct error *error);

/* Starts to accept clients for that listener. */
bool listen_socket_start(struct listen_socket *listen_socket, struct listener *listener,
                         struct error *error);

/* Later clients go to that listener, and the socket gets its options. No client is lost between the
 * two. */
void listen_socket_switch_generation(struct listen_socket *listen_socket, struct listener *listener,
                                     const struct engine_listen_options *options);

void listen_socket_acquire(struct listen_socket *listen_socket);
void listen_socket_release(
    struct listen_socket *listen_socket); /* the last one closes it; NULL is legal */

/* If its datagrams go to that listener, and not to a later generation, none does from now on. The
 * socket stays open for what is still sent. */
void listen_socket_stop_receiving(struct listen_socket *listen_socket,
                                  const struct listener *listener);

/* The address with the actual port. */
struct berth_address listen_socket_address(const struct listen_socket *listen_socket);

#endif
