/* plugin_events.h: how net/ calls plugins: each call is recorded and timed (callback_guard.h).
 *
 * Threads: as the hooks say. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_EVENTS_H
#define BERTH_HOST_PLUGIN_PLUGIN_EVENTS_H

#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"

extern const struct listener_hooks plugin_listener_hooks;
extern const struct server_hooks plugin_server_hooks;

#endif
