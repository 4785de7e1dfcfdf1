/* timer.h: the extension "berth.timer/1": one-shot timers on a connection or a listener.
 *
 * Monotonic, with a resolution of some milliseconds; never early. Setting and cancelling cost a few
 * instructions, so a timer may be moved at every packet. A timer that was destroyed, or whose
 * connection has ended, is nobody's: its use is a fault of the plugin (buffer.h) and does nothing;
 * so is that of a connection's timer on another thread than the connection's. */
#ifndef BERTH_TIMER_H
#define BERTH_TIMER_H

#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_TIMER_ID "berth.timer/1"

struct berth_timer; /* the host's */

/* What a timer of a connection runs. [conn] */
typedef void(BERTH_CALL *berth_timer_fn)(struct berth_timer *timer, void *argument);

/* What a timer of a listener runs, on that worker, the same at every call: the connections of the
 * listener whose `worker` is this one may be touched. [worker] */
typedef void(BERTH_CALL *berth_listener_timer_fn)(struct berth_timer *timer,
                                                  const struct berth_listener *listener,
                                                  uint32_t worker, void *argument);

struct berth_timer_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* A timer of the connection, not running. It is freed with the connection; its function runs on
     * the connection's worker, never once the connection begins to end. NULL: no memory, or
     * "limits.timers" are reached. [conn] */
    struct berth_timer *(BERTH_CALL *create_for_conn)(struct berth_conn *conn,
                                                      berth_timer_fn function, void *argument);

    /* The same for a listener, from within its `listener_open`: its function runs on one worker,
     * beside all others, and never once `listener_close` has begun. It is freed after that.
     * [control] */
    struct berth_timer *(BERTH_CALL *create_for_listener)(const struct berth_listener *listener,
                                                          berth_listener_timer_fn function,
                                                          void *argument);

    /* Runs the function once, in delay_ms. A running timer is moved. That of a connection: [conn];
     * of a listener: [any]. */
    void(BERTH_CALL *start)(struct berth_timer *timer, uint64_t delay_ms);

    /* After it the function does not run, unless that of a listener's timer is just running on its
     * worker. A timer that is not running is left as it is. Threads as start(). */
    void(BERTH_CALL *stop)(struct berth_timer *timer);

    /* Frees a connection's timer before the connection ends, also from within its function; a
     * listener's is left as it is. NULL is legal. [conn] */
    void(BERTH_CALL *destroy)(struct berth_timer *timer);
};

BERTH_END_DECLS

#endif
