/* timer.h: the extension "berth.timer/1": one-shot timers on a connection or a listener.
 *
 * Monotonic, with a resolution of some milliseconds; never early. Setting and cancelling cost a few
 * instructions, so a timer may be moved at every packet. */
#ifndef BERTH_TIMER_H
#define BERTH_TIMER_H

#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_TIMER_ID "berth.timer/1"

struct berth_timer; /* the host's */

typedef void(BERTH_CALL *berth_timer_fn)(struct berth_timer *timer, void *argument);

struct berth_timer_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* A timer of the connection, not running. It is freed with the connection; its function runs on
     * the connection's worker, never after `closed`. NULL: no memory, or a limit. [conn] */
    struct berth_timer *(BERTH_CALL *create_for_conn)(struct berth_conn *conn,
                                                      berth_timer_fn function, void *argument);

    /* The same for a listener: runs on one worker, freed after listener_close. [control] */
    struct berth_timer *(BERTH_CALL *create_for_listener)(const struct berth_listener *listener,
                                                          berth_timer_fn function, void *argument);

    /* Runs the function once, in delay_ms. A running timer is moved. [conn], [worker] */
    void(BERTH_CALL *start)(struct berth_timer *timer, uint64_t delay_ms);

    /* After it the function does not run. A timer that is not running is left as it is. */
    void(BERTH_CALL *stop)(struct berth_timer *timer);
};

BERTH_END_DECLS

#endif
