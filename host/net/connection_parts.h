/* connection_parts.h: what a connection has only at times, so that one that is idle costs little.
 *
 * A connection without a part points to an empty one that nobody may write to: what it has can be
 * read without asking. Before something is added it takes a part of its own.
 *
 * Owner: the connection that has it. Threads: its worker's only. */
#ifndef BERTH_HOST_NET_CONNECTION_PARTS_H
#define BERTH_HOST_NET_CONNECTION_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/buffer.h"
#include "engine/engine.h"
#include "net/send_queue.h"

struct berth_timer;
struct connection;
struct outbound;
struct plugin_work;
struct turn;

/* While bytes of it wait here: to be sent, or to be consumed. */
struct traffic {
    struct connection *connection;
    struct engine_op send;
    struct send_queue queue;
    struct berth_slice pending; /* received and not consumed; buffer NULL when there is none */
    struct traffic *next;       /* at rest */
};

/* Parts at rest, shared by the connections of a worker: an echo takes one and gives it back. */
struct traffic_pool {
    struct traffic *free;
    uint32_t free_count;
    uint32_t free_max;
};

/* What it has asked the host for, and what few connections have. */
struct extras {
    struct berth_timer *timers; /* utlist, and how many */
    uint32_t timer_count;
    struct plugin_work *works;  /* utlist */
    struct outbound *outbounds; /* utlist */
    struct turn *turn;          /* NULL as long as it never needed one */
    uint32_t lingered;          /* draining: bytes that were read and thrown away */
};

/* Those of a connection that has none. */
struct traffic *traffic_none(void);
struct extras *extras_none(void);

/* Make sure that the connection has a part of its own. False: no memory. */
bool connection_need_traffic(struct connection *connection);
bool connection_need_extras(struct connection *connection);

/* Let the part go if there is nothing in it. */
void connection_drop_traffic(struct connection *connection);
void connection_drop_extras(struct connection *connection);

void traffic_pool_fini(struct traffic_pool *pool);

#endif
