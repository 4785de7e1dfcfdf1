/* datagrams.h: the UDP side of a listener: its receivers, what they bring and what is sent.
 *
 * A receiver works on each worker where the engine accepts there, else on one; while that one
 * stalls, another worker receives for it. Owner: the door.
 * Threads: as each function says. */
#ifndef BERTH_HOST_NET_DATAGRAMS_H
#define BERTH_HOST_NET_DATAGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/datagram.h"
#include "net/describe.h"

struct error;
struct listener;
struct door;
struct worker;

/* Receives from now on. [control] */
bool datagrams_start(struct door *door, struct listener *listener, struct error *error);

/* Datagrams go to that listener from now on. [control]; not started: fine */
void datagrams_turn(struct door *door, struct listener *listener);

/* No datagram reaches the plugin once it returns. [control]; not started: fine */
void datagrams_stop(struct door *door);

/* The worker's receivers begin or end to receive for workers that stall. On its thread. */
void datagrams_cover(struct worker *worker);

/* One line on each receiver that the worker has for that listener. On its thread. */
void datagram_receivers_describe(const struct worker *worker, const struct listener *listener,
                                 describe_fn *tell, void *context);

/* berth_datagram_host.send() [any] */
int32_t datagrams_send(struct listener *listener, const struct berth_address *from,
                       const struct berth_address *to, const struct berth_slice *data);

#endif
