/* work.h: the extension "berth.work/1": blocking work off the I/O threads. */
#ifndef BERTH_WORK_H
#define BERTH_WORK_H

#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_WORK_ID "berth.work/1"

/* Runs on a thread of the pool; may block. It gets its argument only. [any] */
typedef void(BERTH_CALL *berth_work_fn)(void *argument);

/* Runs exactly once for every accepted work, on the connection's worker (on one of the workers, and
 * with conn NULL, for a work of a listener):
 *   BERTH_OK           the work ran; `conn` exists, though close() may have been called meanwhile
 *   BERTH_E_GONE       it ran, but the connection has ended; conn is NULL, `closed` has been called
 *   BERTH_E_CANCELLED  it never ran, as the connection began to end first, or the host stops; conn
 *                      is NULL
 * The plugin frees the argument here and nowhere else. [conn] */
typedef void(BERTH_CALL *berth_work_done_fn)(struct berth_conn *conn, int32_t status,
                                             void *argument);

struct berth_work_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Queues `work` for the pool ("host.work" of the manifest). The pool serves listeners round
     * robin, and the clients of a listener likewise; the works of one client run in order. A work
     * is not accepted when this fails: BERTH_E_LIMIT when "host.work.queue_max" works wait already,
     * or "limits.works" or "limits.works_per_client" of them, or no thread can be created;
     * BERTH_E_GONE; BERTH_E_NO_MEMORY; BERTH_E_INVALID: a function is missing. The listener and the
     * plugin's code stay until `done` has run. [conn] */
    int32_t(BERTH_CALL *submit)(struct berth_conn *conn, berth_work_fn work,
                                berth_work_done_fn done, void *argument);

    /* The same without a connection: for datagrams, and for work that must be done even if its
     * client leaves. `done` runs on one worker, with conn NULL and BERTH_OK, or BERTH_E_CANCELLED.
     * A stop waits for it: it is not cancelled before the host itself ends.
     * May be called from any thread, also from one of the plugin's own, from the return of
     * `listener_open` until `listener_close` begins: what was accepted is done before that. Before
     * that time it returns BERTH_E_STATE, and from then on BERTH_E_GONE until `listener_close` has
     * returned. Afterwards the listener does not exist, and the plugin must have ended its threads.
     * [any] */
    int32_t(BERTH_CALL *submit_for_listener)(const struct berth_listener *listener,
                                             berth_work_fn work, berth_work_done_fn done,
                                             void *argument);
};

BERTH_END_DECLS

#endif
