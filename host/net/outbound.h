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
#include "net/describe.h"

struct connection;
struct outbound;

int32_t outbound_connect(struct connection *asker, const struct berth_connect_request *request,
                         berth_connected_fn connected, void *argument);

/* The connection that asked is gone: what it has asked for is called off, and the plugin told. */
void outbound_leave(struct connection *asker);

/* One line on it, and one on each of a connection's. Its worker's thread. */
void outbound_describe(const struct outbound *one, char *text, size_t size);
void outbounds_describe(const struct connection *connection, describe_fn *tell, void *context);

#endif
