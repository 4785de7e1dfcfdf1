/* net_world.h: a server with a listener, on the real engine of this system (or the one that
 * TEST_ENGINE names), for a plugin that is a part of the test. */
#ifndef BERTH_TESTS_NET_NET_WORLD_H
#define BERTH_TESTS_NET_NET_WORLD_H

#include <stdbool.h>

#include "berth/plugin.h"
#include "engine/engine.h"
#include "peer.h"

struct server_driver;

/* Who drives the servers that are started from now on; NULL: threads. And a step of the driver, or
 * a little time without one. */
void net_world_drive(const struct server_driver *by);
void net_world_pause(void);

/* For cmocka's set-up and tear-down: 0, or -1 when it fails, or when memory was not given back. */
int net_world_start(unsigned workers);
int net_world_end(void);

/* Serves the plugin, whose host functions are `send` and no others, on loopback; and ends that with
 * all its connections. */
void net_world_serve(const struct berth_plugin *plugin, bool on_data,
                     enum engine_receive_mode mode);
void net_world_serve_end(void);

struct peer net_world_client(void); /* connected */

struct server *net_world_server(void);
struct listener *net_world_listener(void);

/* Whether each worker accepts its own clients; else another thread does. */
bool net_world_accepts_on_workers(void);

#endif
