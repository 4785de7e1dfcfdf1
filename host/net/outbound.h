/* outbound.h: connections that a plugin asks for (berth/connect.h).
 *
 *     name ─► resolved on the work pool ─► attempts, one after the other ─► connection ─►
 * connected()
 *
 * A host with several addresses is tried the way of RFC 8305 (Happy Eyeballs): the families take
 * turns, and the next attempt begins when one has failed or has taken long; the first to succeed
 * wins. Owner: itself, until the last of it has completed; the connection that asked may end
 * before. Threads: the worker of that connection. */
#ifndef BERTH_HOST_NET_OUTBOUND_H
#define BERTH_HOST_NET_OUTBOUND_H

#include <stdint.h>

#include "berth/connect.h"

struct connection;

int32_t outbound_connect(struct connection *asker, const struct berth_connect_request *request,
                         berth_connected_fn connected, void *argument);

#endif
