/* work.h: the extension "berth.work/1": blocking work off the I/O threads. */
#ifndef BERTH_WORK_H
#define BERTH_WORK_H

#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_WORK_ID "berth.work/1"

/* Runs on a thread of the pool; may block. Sees only its argument. [any] */
typedef void(BERTH_CALL *berth_work_fn)(void *argument);

/* Runs exactly once for every accepted work, on the connection's worker: BERTH_OK (it ran),
 * BERTH_E_CANCELLED (it never ran), BERTH_E_GONE (it ran, but the connection has ended: conn is
 * NULL). Frees the argument. [conn] */
typedef void(BERTH_CALL *berth_work_done_fn)(struct berth_conn *conn, int32_t status,
                                             void *argument);

struct berth_work_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* BERTH_E_LIMIT when the queue of the pool is full: nothing was accepted. [conn] */
    int32_t(BERTH_CALL *submit)(struct berth_conn *conn, berth_work_fn work,
                                berth_work_done_fn done, void *argument);
};

BERTH_END_DECLS

#endif
