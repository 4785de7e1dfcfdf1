/* accept_pool.h: the accepts posted on one listening socket, kept between watermarks.
 *
 * On Windows there is one pool an address, on the acceptor's thread; where workers accept for
 * themselves there is one an address and worker. Either way:
 *
 *   - `initial` accepts are posted at the start, and again whenever fewer than `low` are left;
 *   - clients that queue while none is free (FD_ACCEPT) bring more, up to `high`;
 *   - on a tick of one second, accepts that failed are posted again, and clients that have been
 *     connected for first_data_timeout_ms without a word are cut (SO_CONNECT_TIME). That is the
 * cure of accept-on-data's weakness (L. Holgate, "AcceptEx and accept on data"; Apache httpd's
 *     AcceptFilter data), which lets silent clients take all the accepts there are;
 *   - a connection for which a limit leaves no room is held, unseen by the plugin, until there is,
 *     and no more accepts are posted meanwhile: others wait in the backlog.
 *
 * Owner: the listener. Threads: those of the worker it was created on. */
#ifndef BERTH_HOST_NET_ACCEPT_POOL_H
#define BERTH_HOST_NET_ACCEPT_POOL_H

#include <stdbool.h>
#include <stdint.h>

struct accept_pool;
struct engine_listener;
struct error;
struct latch;
struct listener;
struct worker;

/* Posts the first accepts. `index`: which of the socket's acceptors. */
struct accept_pool *accept_pool_create(struct worker *worker, struct listener *listener,
                                       struct engine_listener *socket, unsigned index,
                                       struct error *error);

/* Cancels every accept, closes what is held, frees the pool, then counts `done` down. */
void accept_pool_stop(struct accept_pool *pool, struct latch *done);

/* A limit may have room again: all pools of the worker look at what they hold. */
void accept_pools_room_made(struct worker *worker);

#endif
