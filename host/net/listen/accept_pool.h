/* accept_pool.h: the accepts posted on one listening socket, kept between watermarks.
 *
 * On Windows there is one pool for each address, on the acceptor's thread; where workers accept for
 * themselves there is one for each address and worker. In both cases:
 *
 *   - `initial` accepts are posted at the start, and again whenever fewer than `low` are left;
 *   - if clients queue while none is free (FD_ACCEPT), more are posted, up to `high`;
 *   - on a tick, accepts that failed are posted again, and clients that have been connected for
 *     first_data_timeout_ms without sending data are reset (SO_CONNECT_TIME);
 *   - while a limit leaves no capacity none are posted, and clients wait in the backlog.
 *
 * Silent clients. An accept that completes with the first data is held by a client that sends
 * nothing, and `high` such clients hold all accepts (L. Holgate, "AcceptEx and accept on data";
 * Apache httpd's AcceptFilter data). Resetting them when their time is up is not enough: until then
 * a client that does send data would wait. So the last eighth of `high` is reserved for accepts
 * without data. The first data of their clients is awaited by a connection, which costs its memory
 * and not an accept (connection_admit.c); `accept.pending_max` bounds their number.
 *
 * Shortage. When a resource of the system runs out, accepting pauses for a time that doubles up to
 * a second, or until a connection ends. That is logged once for each episode, which lasts until
 * nothing has failed for a while. If accepts fail repeatedly for another reason, the listener falls
 * back to plain accepts.
 *
 * Stalls. Where every worker accepts for itself, the clients of all listeners that a worker accepts
 * would wait while it stalls in a callback. So the next worker that does not stall covers it: each
 * of its pools has another pool on the socket of the stalled worker, for the time of the stall.
 * That pool accepts without data, so that it holds no client when it ends. Where an acceptor thread
 * accepts, accepts that were posted for a worker that stalls are posted again for another one.
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

/* Later clients are for that listener, with its policy and limits: another generation of the same
 * listener, or itself with other options. */
void accept_pool_serve(struct accept_pool *pool, struct listener *listener);

/* Cancels every accept, frees the pool, then counts `done` down. */
void accept_pool_stop(struct accept_pool *pool, struct latch *done);

/* Workers begin to stall, or continue: makes the worker's pools accept the clients of the workers
 * that it is to cover, and of no others. */
void accept_pools_cover(struct worker *worker);

/* Asserts what holds of it between two turns. */
void accept_pool_check(const struct accept_pool *pool);

void accept_pools_check(const struct worker *worker); /* all of the worker's */

/* One line on it. The other writes one line for each pool that the worker has for that listener. On
 * its thread. */
void accept_pool_describe(const struct accept_pool *pool, char *text, size_t size);
void accept_pools_describe(const struct worker *worker, const struct listener *listener,
                           describe_fn *tell, void *context);

/* A limit may have capacity again: the worker's pools that post nothing for lack of it go on. */
void accept_pools_capacity_freed(struct worker *worker);

#endif
