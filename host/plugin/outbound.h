/* outbound.h: connections that a plugin asks for (berth/connect.h).
 *
 *     name ─► resolved on the work pool ─► attempts, one after the other ─► connection ─►
 * connected()
 *
 * A host with several addresses is tried the way of RFC 8305 (Happy Eyeballs): the families take
 * turns, and the next attempt begins when one has failed or has taken long; the first to succeed
 * wins. Owner: itself, until the last of it has completed; the connection that asked, if there is
 * one, may end before. Threads: its worker. */
#ifndef BERTH_HOST_PLUGIN_OUTBOUND_H
#define BERTH_HOST_PLUGIN_OUTBOUND_H

#include <stdint.h>

#include "berth/connect.h"

struct connection;
struct listener;
struct worker;

enum { OUTBOUND_NAME_BYTES_MAX = 255 }; /* of a host's name */

int32_t outbound_connect(struct connection *asker, const struct berth_connect_request *request,
                         berth_connected_fn connected, void *argument);

/* Without an asker: for the listener, on the worker whose thread this is. */
int32_t outbound_connect_for_listener(struct listener *listener, struct worker *worker,
                                      const struct berth_connect_request *request,
                                      berth_connected_fn connected, void *argument);

/* The listener takes no more connections: what was asked for without an asker is called off on that
 * worker, and the plugin told. Returns how much that was. */
uint32_t outbound_call_off(struct worker *worker, struct listener *listener);

#endif
