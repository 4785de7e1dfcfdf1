/* datagrams.h: the UDP side of a listener: its receivers, received datagrams and answers.
 *
 * A receiver works on each worker where the engine accepts there, else on one; while that one
 * stalls, another worker receives for it. Owner: the listen socket. Threads: as each function says.
 */
#ifndef BERTH_HOST_NET_LISTEN_DATAGRAMS_H
#define BERTH_HOST_NET_LISTEN_DATAGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/datagram.h"
#include "net/lib/describe.h"

struct datagram_receiver;
struct engine_buffer;
struct engine_listener;
struct error;
struct listener;
struct server;
struct worker;

/* Receives from that socket from now on. *receivers must be stopped also if this fails.
 * [control] */
bool datagrams_start(struct engine_listener *socket, struct listener *listener,
                     struct datagram_receiver **receivers, struct error *error);

/* Later datagrams go to that listener. [control]; NULL is legal */
void datagrams_switch_generation(struct datagram_receiver *receivers, struct listener *listener);

/* Whether the datagrams go to that listener. [control]; NULL is legal */
bool datagrams_come_to(const struct datagram_receiver *receivers, const struct listener *listener);

/* When it returns, no more datagrams reach the plugin, and the receivers are freed. [control]; NULL
 * is legal */
void datagrams_stop(struct server *server, struct datagram_receiver *receivers);

/* The worker's receivers begin or stop to receive for workers that stall. On its thread. */
void datagrams_cover(struct worker *worker);

/* One line on each receiver that the worker has for that listener. On its thread. */
void datagram_receivers_describe(const struct worker *worker, const struct listener *listener,
                                 describe_fn *tell, void *context);

/* Sends through the receiver whose datagram is being passed to the plugin on this thread, which
 * takes over the buffer's reference. False: no datagram of that listener is being passed. [any] */
bool datagrams_answer(const struct listener *listener, const struct berth_address *from,
                      const struct berth_address *to, const struct engine_buffer *data,
                      int64_t *result);

#endif
