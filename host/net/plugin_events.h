/* plugin_events.h: how the rooms below call plugins: each call is noted and timed (plugin_call.h).
 *
 * Threads: as the hooks say. */
#ifndef BERTH_HOST_NET_PLUGIN_EVENTS_H
#define BERTH_HOST_NET_PLUGIN_EVENTS_H

#include "net/listener_core.h"
#include "net/server_core.h"

extern const struct listener_hooks plugin_listener_hooks;
extern const struct server_hooks plugin_server_hooks;

#endif
