/* timer.h: the extension "berth.timer/1": one-shot timers on a connection or a listener.
 *
 * Timers are monotonic, with a resolution of some milliseconds, and never early. Setting and
 * cancelling cost a few instructions, so a timer may be moved at every packet. The use of a timer
 * that was destroyed, or whose connection has ended, is a fault of the plugin (buffer.h) and does
 * nothing; so is the use of a connection's timer on another thread than the connection's. */
#ifndef BERTH_TIMER_H
#define BERTH_TIMER_H

#include "connection.h"

BERTH_BEGIN_DECLS

#define BERTH_TIMER_ID "berth.timer/1"

struct berth_timer; /* the host's */

/* The function of a connection's timer. [conn] */
typedef void(BERTH_CALL *berth_timer_fn)(struct berth_timer *timer, void *argument);

/* The function of a listener's timer. `worker` is the worker that runs it, the same at every call:
 * the connections of the listener whose `worker` is this one may be used. [worker] */
typedef void(BERTH_CALL *berth_listener_timer_fn)(struct berth_timer *timer,
                                                  const struct berth_listener *listener,
                                                  uint32_t worker, void *argument);

struct berth_timer_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Creates a timer of the connection, not running. It is freed with the connection. Its function
     * runs on the connection's worker, and never after the connection has begun to end. NULL: no
     * memory, or "limits.timers" is reached. [conn] */
    struct berth_timer *(BERTH_CALL *create_for_conn)(struct berth_conn *conn,
                                                      berth_timer_fn function, void *argument);

    /* The same for a listener, within its `listener_open`. The function runs on one worker, while
     * other workers run callbacks, and never after `listener_close` has begun. The timer is freed
     * after that. [control] */
    struct berth_timer *(BERTH_CALL *create_for_listener)(const struct berth_listener *listener,
                                                          berth_listener_timer_fn function,
                                                          void *argument);

    /* Runs the function once, after delay_ms. A running timer is moved. Of a connection: [conn]; of
     * a listener: [any]. */
    void(BERTH_CALL *start)(struct berth_timer *timer, uint64_t delay_ms);

    /* Afterwards the function does not run, except that of a listener's timer which is running on
     * its worker at that moment. A timer that is not running is left unchanged. Threads as start().
     */
    void(BERTH_CALL *stop)(struct berth_timer *timer);

    /* Frees a connection's timer before the connection ends, also from within its function. A
     * listener's timer is left unchanged. NULL is legal. [conn] */
    void(BERTH_CALL *destroy)(struct berth_timer *timer);
};

BERTH_END_DECLS

#endif
