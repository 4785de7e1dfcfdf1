/* outbound.h: connections that a plugin requests (berth/connect.h).
 *
 *     name ─► resolved on the work pool ─► attempts, one after the other ─► connection ─►
 * connected()
 *
 * The addresses of a host are tried as in RFC 8305 (Happy Eyeballs): the families alternate, and
 * the next attempt begins when one has failed or after a delay; the first attempt to succeed is
 * used. Owner: itself, until its last operation has completed; the connection that requested it, if
 * there is one, may end before. Threads: its worker. */
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

/* Requested by the listener, not by a connection; on the worker of the calling thread. */
int32_t outbound_connect_for_listener(struct listener *listener, struct worker *worker,
                                      const struct berth_connect_request *request,
                                      berth_connected_fn connected, void *argument);

/* The listener accepts no more connections: cancels on that worker what the listener itself has
 * requested, and notifies the plugin. Returns how many were cancelled. */
uint32_t outbound_call_off(struct worker *worker, struct listener *listener);

#endif
