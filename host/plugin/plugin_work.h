/* plugin_work.h: blocking work that a plugin submits (berth/work.h).
 *
 * Owner: itself, until `done` has run. A work keeps the listener, and so the plugin's code, alive;
 * the connection may end before it. Threads: the connection's worker, unless stated otherwise. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_WORK_H
#define BERTH_HOST_PLUGIN_PLUGIN_WORK_H

#include <stdint.h>

#include "berth/work.h"
#include "net/lib/work_pool.h"

struct connection;
struct listener;

int32_t plugin_work_submit(struct connection *connection, berth_work_fn work,
                           berth_work_done_fn done, void *argument);

/* [any], as long as the listener cannot be freed: in a callback, or while a work of it is left */
int32_t plugin_work_submit_listener(struct listener *listener, berth_work_fn work,
                                    berth_work_done_fn done, void *argument);

/* The source of a work: a client, or with NULL the listener itself. [any] */
struct work_source plugin_work_source(struct listener *listener,
                                      const struct berth_address *client);

#endif
