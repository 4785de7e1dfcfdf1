/* datagrams.h: the UDP side of a listener: its receivers, what they bring and what is sent.
 *
 * A receiver works on each worker where the engine accepts there, else on one. Owner: the listener.
 * Threads: as each function says. */
#ifndef BERTH_HOST_NET_DATAGRAMS_H
#define BERTH_HOST_NET_DATAGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/datagram.h"

struct error;
struct listener;
struct listener_address;

/* Receives from now on. [control] */
bool datagrams_start(struct listener *listener, struct listener_address *address,
                     struct error *error);

/* No datagram reaches the plugin once it returns. [control]; not started: fine */
void datagrams_stop(struct listener *listener, struct listener_address *address);

/* berth_datagram_host.send() [any] */
int32_t datagrams_send(struct listener *listener, const struct berth_address *local,
                       const struct berth_address *remote, const struct berth_slice *data);

#endif
