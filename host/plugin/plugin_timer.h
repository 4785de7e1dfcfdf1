/* plugin_timer.h: the timers of plugins (berth/timer.h).
 *
 * The timers of a connection run on its worker and end with it. The timers of a listener run on one
 * worker too, but may be started and stopped on any thread: the request is recorded, and a post to
 * the worker carries it out. Owner: the connection or the listener. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_TIMER_H
#define BERTH_HOST_PLUGIN_PLUGIN_TIMER_H

#include <stdint.h>

#include "berth/timer.h"

struct connection;
struct listener;

/* NULL: no memory, or limits.timers are reached. [conn] and [control] */
struct berth_timer *plugin_timer_create(struct connection *connection, berth_timer_fn function,
                                        void *argument);
struct berth_timer *plugin_timer_create_listener(struct listener *listener,
                                                 berth_listener_timer_fn function, void *argument);

void plugin_timer_start(struct berth_timer *timer, uint64_t delay_ms);
void plugin_timer_stop(struct berth_timer *timer);
void plugin_timer_destroy(struct berth_timer *timer);

/* The listener is open: timers that were started in `listener_open` run from now on. [control] */
void plugin_timers_release(struct listener *listener);

/* No function of the listener's timers runs from now on. [control] */
void plugin_timers_stop_listener(struct listener *listener);

/* Frees the listener's timers. [control], when nothing else uses the listener any more */
void plugin_timers_free_listener(struct listener *listener);

#endif
