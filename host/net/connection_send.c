#include <stddef.h>

#include "base/assert.h"
#include "base/log.h"
#include "net/buffer.h"
#include "net/connection.h"
#include "net/listener.h"
#include "net/worker.h"

/* Past so many times the limit at which reading pauses, the connection is cut: a plugin that sends
 * of its own accord would fill the memory otherwise. */
enum { HARD_CAP_FACTOR = 4 };

/* Whether more may be queued. What is refused is a send to a queue that is past the cap already,
 * not one that passes it: an answer may be as long as it must. */
static int32_t check_send(struct connection *connection) {
    if (connection_is_ending(connection)) {
        return BERTH_E_GONE;
    }
    if (connection->state != CONNECTION_OPEN || connection->fin_wanted) {
        return BERTH_E_STATE;
    }
    const struct listener *listener = connection->listener;
    uint64_t cap = (uint64_t)listener->options.send_queue_bytes * HARD_CAP_FACTOR;
    if (connection->queue.bytes >= cap) {
        log_warn(&listener->subject,
                 "connection %llu cut: the plugin queued more than %llu bytes (four times "
                 "limits.send_queue_bytes)",
                 (unsigned long long)connection->public.id, (unsigned long long)cap);
        connection_end(connection, BERTH_CLOSED_LIMIT, true);
        return BERTH_E_LIMIT;
    }
    return BERTH_OK;
}

int32_t connection_send(struct connection *connection, const void *bytes, uint32_t size) {
    int32_t status = check_send(connection);
    if (status != BERTH_OK || size == 0) {
        return status;
    }
    struct worker *worker = connection->worker;
    if (!send_queue_add_copy(&connection->queue, &worker->nodes, worker->buffers, bytes, size)) {
        return BERTH_E_NO_MEMORY;
    }
    worker_unsettle(worker, connection);
    return BERTH_OK;
}

int32_t connection_send_slices(struct connection *connection, const struct berth_slice *slices,
                               uint32_t count) {
    int32_t status = check_send(connection);
    struct worker *worker = connection->worker;
    for (uint32_t i = 0; i < count; i++) {
        if (status != BERTH_OK) {
            buffer_release(slices[i].buffer);
        } else if (!send_queue_add(&connection->queue, &worker->nodes, &slices[i])) {
            /* Some of the slices are queued and this one is lost: the stream cannot go on. */
            connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
            status = BERTH_E_NO_MEMORY;
        }
    }
    worker_unsettle(worker, connection);
    return status;
}

static void account_sent(struct connection *connection, uint64_t bytes) {
    connection->bytes_sent += bytes;
    send_queue_consume(&connection->queue, &connection->worker->nodes, bytes);
    if (bytes > 0 && connection->state == CONNECTION_DRAINING) {
        /* The peer still reads: its time to take the rest begins anew. */
        timers_start(&connection->worker->timers, &connection->deadline, os_now_ms(),
                     connection->listener->options.close_timeout_ms);
    }
}

static void send_failed(struct connection *connection, int64_t result) {
    uint32_t reason = result == ENGINE_E_TIMED_OUT      ? BERTH_CLOSED_TIMEOUT
                      : result == ENGINE_E_NO_RESOURCES ? BERTH_CLOSED_OUT_OF_MEMORY
                                                        : BERTH_CLOSED_RESET;
    connection_end(connection, reason, true);
}

void connection_flush(struct connection *connection) {
    while (connection->queue.bytes > 0 && !connection->send_pending) {
        struct engine_piece pieces[ENGINE_PIECES_MAX];
        unsigned count = send_queue_gather(&connection->queue, pieces);
        int64_t result = engine_send(connection->worker->port, connection->socket,
                                     &connection->send, pieces, count);
        if (result >= 0) {
            account_sent(connection, (uint64_t)result);
        } else if (result == ENGINE_PENDING) {
            connection->send_pending = true;
        } else {
            send_failed(connection, result);
            return;
        }
    }
}

void connection_sent(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, send);
    struct worker *worker = connection->worker;
    connection->send_pending = false;
    connection->send_cancelling = false;
    if (result >= 0) {
        account_sent(connection, (uint64_t)result);
    } else if (result != ENGINE_E_CANCELLED) {
        send_failed(connection, result);
    }
    worker_unsettle(worker, connection);
    worker_settle(worker);
}

/* Reading pauses while the queue is full, and goes on when it has fallen to half. */
void connection_update_queue_hold(struct connection *connection) {
    const struct listener *listener = connection->listener;
    if (connection->queue.bytes >= listener->options.send_queue_bytes) {
        connection->held |= CONNECTION_HELD_BY_QUEUE;
    } else if ((connection->held & CONNECTION_HELD_BY_QUEUE) != 0 &&
               connection->queue.bytes <= listener->options.send_queue_bytes / 2) {
        connection->held &= (uint8_t)~CONNECTION_HELD_BY_QUEUE;
        if (listener->plugin->drained) {
            listener->plugin->drained(&connection->public);
        }
    }
}
