/* server.h: starts and ends the engine and its workers.
 *
 * Owner: the verb that runs the host. Threads: [control], unless a function says otherwise. */
#ifndef BERTH_HOST_NET_RUN_SERVER_H
#define BERTH_HOST_NET_RUN_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conn/server_core.h"
#include "net/lib/describe.h"

struct error;

struct server *server_create(const struct server_options *options, struct error *error);
void server_destroy(struct server *server); /* no listener is left; NULL is legal */

/* -- a driven server, for its driver ------------------------------------------
 *
 * One turn of worker `index` (of server->started), without a wait. Returns whether anything ran. */
bool server_turn(struct server *server, unsigned index);
/* Runs one piece of the blocking work that waits. False: none waits. */
bool server_work(struct server *server);
/* The time until the first timer of any worker; 0 also if a worker has something to do in its next
 * turn; negative: there is none. */
int server_next_ms(struct server *server);

/* -- any server ------------------------------------------------------------ */

/* Whether all workers respond: each runs a function that is posted to it now within the time. A
 * worker that does not is in a callback that stalls. [control] */
bool server_answers(struct server *server, uint32_t timeout_ms);

/* One line on it. The other adds a line for each of its workers. [any] */
void server_describe(const struct server *server, char *text, size_t size);
void server_describe_whole(const struct server *server, describe_fn *tell, void *context);

#endif
