/* Passes received bytes to the plugin.
 *
 * A plugin sees what arrived and returns how much of it is consumed. Usually that is all of it, and
 * the plugin reads the buffer that the kernel wrote into: no byte is copied. A rest is kept as
 * `pending` and passed again together with the next arrival, in one slice. That needs a copy: of
 * the arrival into the space after the rest where it fits, else of both into a larger buffer.
 *
 * While a connection is held, bytes of a receive that was already in flight are kept in `pending`,
 * too. */
#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "net/lib/send_queue.h"

/* Clears bytes that no code will read any more in a buffer that goes back to its pool and then to
 * any connection: they may be a password. Bytes that were consumed are the plugin's
 * responsibility. */
static void connection_receive_forget(const struct berth_slice *slice) {
    if (buffer_is_exclusive(slice->buffer)) {
        memset(slice->bytes, 0, slice->size);
    }
}

void connection_drop_pending(struct connection *connection) {
    struct berth_slice *pending = &connection->io->pending;
    if (pending->buffer) {
        connection_receive_forget(pending);
        buffer_release(pending->buffer);
        *pending = (struct berth_slice){0};
    }
}

/* The rest and space for `more` bytes in a buffer that only the rest uses. A full buffer is
 * doubled, so that growing costs O(1) a byte. A buffer that the plugin also holds need not be full:
 * if it were doubled, a small rest that follows bytes being sent would double it at every
 * arrival. */
static bool pending_make_room(struct connection *connection, uint32_t more) {
    struct berth_slice *pending = &connection->io->pending;
    struct berth_buffer *buffer = pending->buffer;
    const uint8_t *end = buffer->bytes + buffer->capacity;
    bool exclusive = buffer_is_exclusive(buffer);
    if (exclusive) {
        if ((size_t)(end - (pending->bytes + pending->size)) >= more) {
            return true;
        }
        if (buffer->capacity - pending->size >= more) {
            uint8_t *old_end = pending->bytes + pending->size;
            memmove(buffer->bytes, pending->bytes, pending->size);
            pending->bytes = buffer->bytes;
            memset(pending->bytes + pending->size, 0,
                   (size_t)(old_end - (pending->bytes + pending->size)));
            return true;
        }
    }
    uint64_t needed = (uint64_t)pending->size + more;
    uint64_t grown = (uint64_t)buffer->capacity * (exclusive ? 2 : 1);
    uint64_t capacity = needed > grown ? needed : grown;
    struct berth_buffer *larger = capacity <= UINT32_MAX ? buffer_create((uint32_t)capacity) : NULL;
    if (!larger) {
        return false;
    }
    memcpy(larger->bytes, pending->bytes, pending->size);
    connection_receive_forget(pending);
    buffer_release(buffer);
    pending->buffer = larger;
    pending->bytes = larger->bytes;
    return true;
}

/* Appends what arrived to what is pending. Takes over the reference. */
static bool pending_append(struct connection *connection, const struct berth_slice *arrived) {
    if (!connection_need_io(connection)) {
        buffer_release(arrived->buffer);
        return false;
    }
    struct berth_slice *pending = &connection->io->pending;
    if (!pending->buffer) {
        *pending = *arrived;
        return true;
    }
    bool room = pending_make_room(connection, arrived->size);
    if (room) {
        memcpy(pending->bytes + pending->size, arrived->bytes, arrived->size);
        pending->size += arrived->size;
    }
    connection_receive_forget(arrived);
    buffer_release(arrived->buffer);
    return room;
}

/* Passes `data`, whose reference is the connection's, to the plugin and keeps what is not
 * consumed. */
static void connection_receive_pass(struct connection *connection, struct berth_slice data) {
    struct listener *listener = connection_listener(connection);
    connection->want = 1; /* each call states again what it needs */
    uint32_t consumed = listener->options.hooks->received(connection, &data);
    if (connection->state.life != CONNECTION_OPEN) { /* the plugin closed or aborted it meanwhile */
        data.bytes += consumed < data.size ? consumed : data.size;
        data.size -= consumed < data.size ? consumed : data.size;
        connection_receive_forget(&data);
        buffer_release(data.buffer);
        return;
    }
    if (consumed > data.size) {
        listener_count(&listener->counters.plugin_faults);
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = connection_subject(connection, peer);
        log_limited(
            LOG_KIND_FAULT, LOG_LEVEL_ERROR, &subject,
            "fault of the plugin: received() consumed %u of %u bytes; connection %llu is cut",
            consumed, data.size, (unsigned long long)connection->public.id);
        buffer_release(data.buffer);
        connection_end(connection, BERTH_CLOSED_FAULT, true);
        return;
    }
    data.bytes += consumed;
    data.size -= consumed;
    if (data.size == 0) {
        buffer_release(data.buffer);
        return;
    }
    if (!connection_need_io(connection)) {
        buffer_release(data.buffer);
        connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
        return;
    }
    connection->io->pending = data;
    if (connection->state.held == 0 && data.size > listener->options.message_bytes) {
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = connection_subject(connection, peer);
        subject.reason = "message_bytes";
        log_limited(LOG_KIND_CUT, LOG_LEVEL_INFO, &subject,
                    "connection %llu cut: a message is longer than %u bytes (limits.message_bytes)",
                    (unsigned long long)connection->public.id, listener->options.message_bytes);
        connection_end(connection, BERTH_CLOSED_LIMIT, true);
    }
}

/* Passes what is pending, if it is enough for the plugin or no more will arrive. */
static void connection_receive_pass_pending(struct connection *connection) {
    const struct berth_slice *pending = &connection->io->pending;
    bool enough =
        pending->size >= connection->want || connection->state.peer != CONNECTION_PEER_SENDING;
    if (connection->state.held != 0 || pending->size == 0 || !enough) {
        return;
    }
    struct berth_slice data = *pending;
    connection->io->pending = (struct berth_slice){0};
    connection_receive_pass(connection, data);
}

void connection_deliver(struct connection *connection, struct berth_slice *arrived) {
    connection->bytes_received += arrived->size;
    connection_count_received(connection, arrived->size);
    connection_note_activity(connection);
    if (connection->state.life != CONNECTION_OPEN &&
        connection->state.life != CONNECTION_ACCEPTED) {
        buffer_release(arrived->buffer); /* NULL where the engine has discarded the bytes */
        if (connection->state.life == CONNECTION_DRAINING) {
            connection_linger(connection, arrived->size);
        }
        return;
    }
    if (connection->state.life == CONNECTION_OPEN && connection->state.held == 0 &&
        !connection_may_go_on(connection)) {
        connection_state_hold(&connection->state, CONNECTION_HELD_BY_IO_PERMIT);
    }
    if (connection->state.life == CONNECTION_OPEN && !connection->io->pending.buffer &&
        connection->state.held == 0 && arrived->size >= connection->want) {
        connection_receive_pass(connection, *arrived);
        return;
    }
    if (!pending_append(connection, arrived)) {
        connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
        return;
    }
    if (connection->state.life == CONNECTION_ACCEPTED) {
        connection_admit_data(connection);
        return;
    }
    connection_state_set_redeliver(&connection->state, connection->state.held != 0);
    connection_receive_pass_pending(connection);
}

void connection_redeliver(struct connection *connection) {
    if (connection->state.redeliver && connection->state.held == 0) {
        connection_state_set_redeliver(&connection->state, false);
        connection_receive_pass_pending(connection);
    }
}

void connection_notify_peer_closed(struct connection *connection) {
    if (connection->state.peer == CONNECTION_PEER_SENDING ||
        connection_state_peer_is_notified(connection->state) || connection->state.held != 0 ||
        connection->state.redeliver) {
        return;
    }
    connection_state_notify_peer_fin(&connection->state);
    connection_drop_pending(connection);
    if (connection_listener(connection)->plugin->peer_closed) {
        connection_listener(connection)->options.hooks->peer_closed(connection);
    } else {
        connection_close(connection);
    }
    worker_mark_dirty(connection_worker(connection), connection);
}

void connection_received(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, receive.op);
    struct worker *worker = connection_worker(connection);
    if (result > 0) {
        const struct engine_buffer *data = engine_received(worker->port);
        struct berth_slice arrived = {data->owner, data->bytes, (uint32_t)result, 0};
        connection_deliver(connection, &arrived);
    } else {
        connection_state_set_receive(&connection->state, CONNECTION_RECEIVE_IDLE);
        connection->is_abandoned |= result == ENGINE_E_ABANDONED;
        if (result == 0) {
            connection_state_peer_fin(&connection->state);
            if (connection->state.life == CONNECTION_OPEN &&
                connection->io->pending.size < connection->want) {
                /* Passes a rest that is shorter than the plugin wants once more, as the last
                 * bytes. */
                connection_state_set_redeliver(&connection->state, true);
            }
        } else if (result != ENGINE_E_CANCELLED) {
            /* A truncated answer must not look complete. */
            connection_end(connection, connection_reason_of(result),
                           !send_queue_is_empty(&connection->io->queue) ||
                               connection->state.send != CONNECTION_SEND_IDLE);
        }
    }
    worker_mark_dirty(worker, connection);
    worker_run_pending(worker);
}

static void start_receive(struct connection *connection) {
    struct engine_port *port = connection_worker(connection)->port;
    connection_state_set_receive(&connection->state, CONNECTION_RECEIVE_ARMED);
    if (connection->state.life == CONNECTION_DRAINING) {
        engine_receive_drain(port, connection->socket, &connection->receive);
        return;
    }
    engine_receive_start(port, connection->socket, &connection->receive,
                         connection_listener(connection)->options.receive_mode,
                         connection->bytes_received == 0);
}

void connection_stop_receive(struct connection *connection) {
    connection_state_set_receive(&connection->state, CONNECTION_RECEIVE_STOPPING);
    engine_receive_stop(connection_worker(connection)->port, connection->socket,
                        &connection->receive);
}

/* Starts or stops the engine's receive, as state and holds require. While draining, what arrives is
 * read and discarded, within limits.linger_bytes, so that closing does not turn into a reset. */
void connection_update_receive(struct connection *connection) {
    struct connection_state state = connection->state;
    bool wanted = state.peer == CONNECTION_PEER_SENDING &&
                  (state.life == CONNECTION_DRAINING
                       ? connection->resources->lingered <=
                             connection_listener(connection)->options.linger_bytes
                       : state.held == 0);
    if (wanted && state.receive == CONNECTION_RECEIVE_IDLE) {
        start_receive(connection);
    } else if (!wanted && state.receive == CONNECTION_RECEIVE_ARMED) {
        connection_stop_receive(connection);
    }
}

void connection_pause(struct connection *connection) {
    connection_state_hold(&connection->state, CONNECTION_HELD_BY_PLUGIN);
    worker_mark_dirty(connection_worker(connection), connection);
}

void connection_resume(struct connection *connection) {
    if ((connection->state.held & CONNECTION_HELD_BY_PLUGIN) != 0) {
        connection_state_release(&connection->state, CONNECTION_HELD_BY_PLUGIN);
        /* What the plugin left unconsumed, and what arrived meanwhile. */
        connection_state_set_redeliver(&connection->state, true);
        worker_mark_dirty(connection_worker(connection), connection);
    }
}

int32_t connection_want_at_least(struct connection *connection, uint32_t size) {
    if (connection_is_ending(connection)) {
        return BERTH_E_GONE;
    }
    if (size > connection_listener(connection)->options.message_bytes) {
        return BERTH_E_LIMIT;
    }
    if (connection->state.life != CONNECTION_DRAINING) { /* then nothing is delivered any more */
        uint32_t had = connection->want;
        uint32_t pending = connection->io->pending.size;
        connection->want = size > 0 ? size : 1;
        if (pending > 0 && pending < had && pending >= connection->want) {
            connection_state_set_redeliver(&connection->state, true); /* it waited for more */
            worker_mark_dirty(connection_worker(connection), connection);
        }
    }
    return BERTH_OK;
}
