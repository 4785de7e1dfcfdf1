/* plugin_post.h: messages of plugins to the workers (berth/host.h).
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_POST_H
#define BERTH_HOST_PLUGIN_PLUGIN_POST_H

#include <stdint.h>

#include "berth/host.h"

struct listener;
struct plugin_stats;
struct server;

/* berth_host.post(); `posts` of the stats is incremented, and decremented at delivery. */
int32_t plugin_post(struct server *server, uint64_t id, berth_post_fn function, void *argument,
                    struct plugin_stats *stats);

/* berth_host.post_worker() */
int32_t plugin_post_worker(struct listener *listener, uint32_t index, berth_worker_fn function,
                           void *argument);

#endif
