/* worker.h: an I/O thread: its completion port, its buffers, its timers, its connections.
 *
 * What a callback does to connections (send, close, pause, …) only marks them; worker_run_pending()
 * then carries it out, after the callback's frame is gone and still in the same turn of the worker.
 * So no host code changes a connection inside a plugin's call, and all that one callback sends goes
 * out in one system call.
 *
 * Owner: the server. Threads: the worker's own, unless a function says [any] or [control]. */
#ifndef BERTH_HOST_NET_RUN_WORKER_H
#define BERTH_HOST_NET_RUN_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "net/conn/worker_core.h"

struct error;

/* Starts the thread and waits until its port is open. [control] */
bool worker_start(struct worker *worker, struct server *server, unsigned index,
                  struct error *error);

/* Ends the thread, which has no connections and no pools any more. [control] */
void worker_stop(struct worker *worker);

/* For a driven server: runs one turn without a wait; returns whether anything ran. The other: the
 * time until its next timer, 0 if there is something to do, negative if neither. */
bool worker_drive(struct worker *worker);
int worker_next_ms(struct worker *worker);

/* One line on it. [any] */
void worker_describe(const struct worker *worker, char *text, size_t size);

#endif
