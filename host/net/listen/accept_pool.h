/* accept_pool.h: the accepts posted on one listening socket, kept between watermarks.
 *
 * On Windows there is one pool an address, on the acceptor's thread; where workers accept for
 * themselves there is one an address and worker. Either way:
 *
 *   - `initial` accepts are posted at the start, and again whenever fewer than `low` are left;
 *   - clients that queue while none is free (FD_ACCEPT) bring more, up to `high`;
 *   - on a tick, accepts that failed are posted again, and clients that have been connected for
 *     first_data_timeout_ms without a word are cut (SO_CONNECT_TIME);
 *   - while a limit leaves no room none are posted, and clients wait in the backlog.
 *
 * Silent clients. An accept that completes with the first data is taken by a client that says
 * nothing, and `high` of those take all there are (L. Holgate, "AcceptEx and accept on data";
 * Apache httpd's AcceptFilter data). Cutting them when their time is up is half of the cure; until
 * then a client that does speak would wait. So the last eighth of `high` is kept for accepts
 * without data: what they take is awaited as a connection, at the cost of its memory and not of an
 * accept (connection_admit.c), and `accept.pending_max` bounds it.
 *
 * Shortage. When a resource of the system runs out, accepting pauses for a time that doubles up to
 * a second, or until a connection ends. That is logged once an episode, which lasts until nothing
 * has failed for a while. Accepts that fail for no such reason, again and again, make the listener
 * fall back to the plainest way of accepting.
 *
 * Stalls. Where every worker accepts for itself, the clients of one that stalls in a callback would
 * wait with it, of all listeners. So the next worker that goes on covers it: each of its pools has
 * another one at work on the socket of the one that stalls, which lasts as long as the stall. It
 * accepts without data, so that it has no client when it ends. Where an acceptor thread accepts,
 * accepts that were posted for a worker that stalls are posted anew for another one.
 *
 * Owner: the listener. Threads: those of the worker it was created on. */
#ifndef BERTH_HOST_NET_LISTEN_ACCEPT_POOL_H
#define BERTH_HOST_NET_LISTEN_ACCEPT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/lib/describe.h"

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

/* Clients that come from now on are for that listener, with its policy and limits: another
 * generation of the one there was, or itself with other options. */
void accept_pool_serve(struct accept_pool *pool, struct listener *listener);

/* Cancels every accept, frees the pool, then counts `done` down. */
void accept_pool_stop(struct accept_pool *pool, struct latch *done);

/* Workers begin to stall, or go on: has the worker's pools accept the clients of those whom it is
 * to cover, and of no others. */
void accept_pools_cover(struct worker *worker);

/* Asserts what holds of it between two turns. */
void accept_pool_check(const struct accept_pool *pool);

void accept_pools_check(const struct worker *worker); /* of all that the worker has */

/* One line on it, and one on each that the worker has for that listener. On its thread. */
void accept_pool_describe(const struct accept_pool *pool, char *text, size_t size);
void accept_pools_describe(const struct worker *worker, const struct listener *listener,
                           describe_fn *tell, void *context);

/* A limit may have room again: the worker's pools that post nothing for want of it go on. */
void accept_pools_capacity_freed(struct worker *worker);

#endif
