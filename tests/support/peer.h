/* peer.h: the other end of the engine's connections in the tests: plain blocking sockets of the
 * system, so that the suite itself includes no system header. peer_linux.c, peer_windows.c.
 *
 * Nothing waits longer than PEER_PATIENCE_MS. Threads: any, one a peer at a time. */
#ifndef BERTH_TESTS_ENGINE_PEER_H
#define BERTH_TESTS_ENGINE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/address.h"

enum {
    PEER_PATIENCE_MS = 20000,
    PEER_FIN = 0,
    PEER_RESET = -1,   /* or any other error of the connection */
    PEER_NOTHING = -2, /* nothing came in time */
};

struct peer {
    intptr_t handle;
};
#define NO_PEER ((struct peer){-1})

/* A connection to an address, "any" meaning loopback. False: refused, or no such address here. */
bool peer_connect(struct peer *peer, const struct berth_address *to);

/* The same with a small receive buffer, so that who sends is soon held up. */
bool peer_connect_small(struct peer *peer, const struct berth_address *to);

/* Binds and listens, willing to share the port where the system knows such a thing. Fills in the
 * port. */
bool peer_listen(struct peer *peer, struct berth_address *at);

struct berth_address peer_address(struct peer peer);

/* Sends it all. False: the connection is gone. */
bool peer_send(struct peer peer, const void *bytes, size_t size);

/* Bytes, at least one, or PEER_*. */
ptrdiff_t peer_receive(struct peer peer, void *bytes, size_t size);

void peer_shutdown_send(struct peer peer);
void peer_close(struct peer peer);
void peer_reset(struct peer peer); /* closes with an RST */

/* Lets the others go on for a while. */
void peer_pause(unsigned ms);

/* True where a reset that comes while nobody receives is later read as a FIN: Wine, whose server
 * has asked for the error by then. */
bool peer_resets_look_like_fins(void);

/* Lets this process have `count` sockets at once. False: it may not, or there is no such limit. */
bool peer_sockets_allow(unsigned count);

/* Lets this process open no more sockets than it has now, until the second call. False: the system
 * knows no such limit. */
bool peer_sockets_forbid(void);
void peer_sockets_forbid_end(void);

#endif
