/* plugin_datagram.h: datagrams that plugins send (berth/datagram.h).
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_DATAGRAM_H
#define BERTH_HOST_PLUGIN_PLUGIN_DATAGRAM_H

#include <stdint.h>

#include "berth/datagram.h"

struct listener;

/* berth_datagram_host.send() */
int32_t plugin_datagram_send(struct listener *listener, const struct berth_address *from,
                             const struct berth_address *to, const struct berth_slice *data);

#endif
