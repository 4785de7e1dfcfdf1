/* send_queue.h: the slices and runs of files that wait to be sent on one connection, in order.
 *
 * Small copies are gathered in the last buffer while it has space, so that a plugin that writes
 * line by line uses one piece and not many. The nodes come from a free list of the worker.
 *
 * Owner: the connection that embeds it. Threads: its worker's only. */
#ifndef BERTH_HOST_NET_LIB_SEND_QUEUE_H
#define BERTH_HOST_NET_LIB_SEND_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/buffer.h"
#include "engine/engine.h"

struct berth_file;
struct buffer_pool;
struct send_node;

/* Free nodes, shared by the queues of a worker. */
struct send_nodes {
    struct send_node *free;
    uint32_t free_count;
    uint32_t free_max;
};

struct send_queue {
    struct send_node *first;
    struct send_node *last;
    uint64_t bytes;      /* in memory */
    uint64_t file_bytes; /* of files, which cost no memory */
    uint32_t pieces;
};

static inline bool send_queue_is_empty(const struct send_queue *queue) {
    return !queue->first;
}

void send_nodes_fini(struct send_nodes *nodes);

/* Appends a slice; takes over its reference, also on failure. False: no memory. */
bool send_queue_add(struct send_queue *queue, struct send_nodes *nodes,
                    const struct berth_slice *slice);

/* Appends a run of a file; takes over its reference, also on failure. False: no memory. */
bool send_queue_add_file(struct send_queue *queue, struct send_nodes *nodes,
                         struct berth_file *file, uint64_t offset, uint64_t size);

/* Appends a copy of the bytes. False: no memory; nothing was appended then. */
bool send_queue_add_copy(struct send_queue *queue, struct send_nodes *nodes,
                         struct buffer_pool *pool, const void *bytes, uint32_t size);

/* Fills at most ENGINE_PIECES_MAX pieces from the front; returns how many. */
unsigned send_queue_gather(const struct send_queue *queue, struct engine_piece *pieces);

/* The first `bytes` bytes are sent: releases what is no longer needed. */
void send_queue_consume(struct send_queue *queue, struct send_nodes *nodes, uint64_t bytes);

/* Releases everything. */
void send_queue_clear(struct send_queue *queue, struct send_nodes *nodes);

#endif
