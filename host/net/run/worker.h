/* worker.h: an I/O thread: its completion port, its buffers, its timers, its connections.
 *
 * What a callback does to connections (send, close, pause, …) only marks them; worker_run_pending()
 * then carries it out, after the callback's frame is gone and still in the same turn. So nothing of
 * the host runs beneath a plugin's feet, and all that one callback sends leaves in one system call.
 *
 * Owner: the server. Threads: the worker's own, unless a function says [any] or [control]. */
#ifndef BERTH_HOST_NET_RUN_WORKER_H
#define BERTH_HOST_NET_RUN_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "net/conn/worker_core.h"

struct error;

/* Starts the thread and waits until its port stands. [control] */
bool worker_start(struct worker *worker, struct server *server, unsigned index,
                  struct error *error);

/* Ends the thread; it has no connections and no pools any more. [control] */
void worker_stop(struct worker *worker);

/* Of a driven server: one turn without a wait; whether anything ran. And how long it is to its next
 * timer, 0 when there is something to do, negative without either. */
bool worker_drive(struct worker *worker);
int worker_next_ms(struct worker *worker);

/* One line on it. [any] */
void worker_describe(const struct worker *worker, char *text, size_t size);

#endif
