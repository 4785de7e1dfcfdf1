/* outbound_by_chance.h: the plugin's connections to an upstream server, and that server. */
#ifndef BERTH_TESTS_SIM_OUTBOUND_BY_CHANCE_H
#define BERTH_TESTS_SIM_OUTBOUND_BY_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/buffer.h"
#include "berth/connection.h"

struct conversation;

/* One that was asked for, until it is closed or has failed. */
struct outbound;

void upstream_start(void);
void upstream_stop(void); /* when the world is gone */
void outbound_ask(struct conversation *asker);

uint32_t outbound_received(struct outbound *outbound, const struct berth_slice *data);
void outbound_peer_closed(struct outbound *outbound);
void outbound_closed(struct outbound *outbound);

#endif
