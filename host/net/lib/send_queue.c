#include "net/lib/send_queue.h"

#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"

struct send_node {
    struct send_node *next;
    struct berth_slice slice; /* of memory, when there is no file */
    struct berth_file *file;
    uint64_t offset;
    uint64_t left; /* of the run of the file */
    bool ours; /* the host's own copy, which no other code writes or keeps: may be appended to */
};

static uint64_t node_size(const struct send_node *node) {
    return node->file ? node->left : node->slice.size;
}

static struct send_node *node_take(struct send_nodes *nodes) {
    struct send_node *node = nodes->free;
    if (node) {
        nodes->free = node->next;
        nodes->free_count--;
        *node = (struct send_node){0};
        return node;
    }
    return alloc_zeroed(sizeof(*node));
}

static void node_give(struct send_nodes *nodes, struct send_node *node) {
    buffer_release(node->slice.buffer);
    file_release(node->file);
    if (nodes->free_count >= nodes->free_max) {
        alloc_free(node);
        return;
    }
    node->next = nodes->free;
    nodes->free = node;
    nodes->free_count++;
}

void send_nodes_fini(struct send_nodes *nodes) {
    while (nodes->free) {
        struct send_node *next = nodes->free->next;
        alloc_free(nodes->free);
        nodes->free = next;
    }
    nodes->free_count = 0;
}

static void send_queue_append(struct send_queue *queue, struct send_node *node) {
    node->next = NULL;
    if (queue->last) {
        queue->last->next = node;
    } else {
        queue->first = node;
    }
    queue->last = node;
    queue->bytes += node->slice.size;
    queue->file_bytes += node->left;
    queue->pieces++;
}

bool send_queue_add(struct send_queue *queue, struct send_nodes *nodes,
                    const struct berth_slice *slice) {
    if (slice->size == 0) {
        buffer_release(slice->buffer);
        return true;
    }
    struct send_node *node = node_take(nodes);
    if (!node) {
        buffer_release(slice->buffer);
        return false;
    }
    node->slice = *slice;
    send_queue_append(queue, node);
    return true;
}

bool send_queue_add_file(struct send_queue *queue, struct send_nodes *nodes,
                         struct berth_file *file, uint64_t offset, uint64_t size) {
    struct send_node *node = size > 0 ? node_take(nodes) : NULL;
    if (!node) {
        file_release(file);
        return size == 0;
    }
    node->file = file;
    node->offset = offset;
    node->left = size;
    send_queue_append(queue, node);
    return true;
}

/* The free space after the last slice, if that is a copy of the host's own. The part that may be in
 * flight is not touched: only bytes after it are written. */
static uint32_t room_in_last(const struct send_queue *queue) {
    const struct send_node *last = queue->last;
    if (!last || !last->ours) {
        return 0;
    }
    const struct berth_slice *slice = &last->slice;
    return (uint32_t)(slice->buffer->bytes + slice->buffer->capacity -
                      (slice->bytes + slice->size));
}

bool send_queue_add_copy(struct send_queue *queue, struct send_nodes *nodes,
                         struct buffer_pool *pool, const void *bytes, uint32_t size) {
    const uint8_t *from = bytes;
    uint32_t in_last = room_in_last(queue);
    in_last = in_last < size ? in_last : size;
    uint32_t rest = size - in_last;

    struct send_node *node = NULL;
    struct berth_buffer *buffer = NULL;
    if (rest > 0) { /* all that can fail happens before anything is appended */
        node = node_take(nodes);
        buffer = node ? buffer_take(pool) : NULL;
        if (buffer && buffer->capacity < rest) {
            buffer_release(buffer);
            buffer = buffer_create(rest);
        }
        if (!buffer) {
            if (node) {
                node_give(nodes, node);
            }
            return false;
        }
    }
    if (in_last > 0) {
        struct berth_slice *slice = &queue->last->slice;
        memcpy(slice->bytes + slice->size, from, in_last);
        slice->size += in_last;
        queue->bytes += in_last;
    }
    if (node) {
        memcpy(buffer->bytes, from + in_last, rest);
        node->slice = (struct berth_slice){buffer, buffer->bytes, rest, 0};
        node->ours = true;
        send_queue_append(queue, node);
    }
    return true;
}

unsigned send_queue_gather(const struct send_queue *queue, struct engine_piece *pieces) {
    unsigned count = 0;
    for (const struct send_node *node = queue->first; node && count < ENGINE_PIECES_MAX;
         node = node->next) {
        pieces[count++] = (struct engine_piece){
            .bytes = node->file ? NULL : node->slice.bytes,
            .size = node_size(node),
            .file = node->file ? node->file->file.handle : -1,
            .offset = node->offset,
        };
    }
    return count;
}

void send_queue_consume(struct send_queue *queue, struct send_nodes *nodes, uint64_t bytes) {
    ASSERT(bytes <= queue->bytes + queue->file_bytes);
    while (bytes > 0) {
        struct send_node *node = queue->first;
        ASSERT(node);
        uint64_t size = node_size(node);
        uint64_t gone = bytes < size ? bytes : size;
        bytes -= gone;
        if (node->file) {
            queue->file_bytes -= gone;
            node->offset += gone;
            node->left -= gone;
        } else {
            queue->bytes -= gone;
            node->slice.bytes += gone;
            node->slice.size -= (uint32_t)gone;
        }
        if (gone == size) {
            queue->first = node->next;
            queue->last = queue->first ? queue->last : NULL;
            queue->pieces--;
            node_give(nodes, node);
        }
    }
}

void send_queue_clear(struct send_queue *queue, struct send_nodes *nodes) {
    send_queue_consume(queue, nodes, queue->bytes + queue->file_bytes);
}
