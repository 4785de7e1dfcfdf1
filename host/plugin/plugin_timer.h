/* plugin_timer.h: the timers of plugins (berth/timer.h).
 *
 * Those of a connection live on its worker and end with it. Those of a listener live on one worker
 * too, but may be started and stopped from anywhere: what is wanted is noted, and a post to the
 * worker carries it out. Owner: the connection or the listener. */
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

/* It is open: those that were started in `listener_open` run from now on. [control] */
void plugin_timers_release(struct listener *listener);

/* No function of theirs runs from now on. [control] */
void plugin_timers_stop_listener(struct listener *listener);

/* Frees them. [control], where nobody else uses the listener any more */
void plugin_timers_free_listener(struct listener *listener);

#endif
