#include <stddef.h>

#include "base/assert.h"
#include "base/log.h"
#include "net/conn/connection.h"
#include "net/conn/io_permits.h"
#include "net/conn/listener_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"
#include "net/lib/plugin_slice.h"

enum {
    /* Past this many times the limit at which reading pauses, the connection is aborted: otherwise
     * a plugin that sends on its own initiative would fill the memory. */
    HARD_CAP_FACTOR = 4,
    /* What one callback queues counts only after it has returned, and after the system has taken
     * what it takes at once. A callback that never stops must not fill the memory either. */
    CALLBACK_FACTOR = 64,
    CALLBACK_BYTES = 64 * 1024 * 1024,
    CALLBACK_PIECES = 65536,
};

/* Whether the queue has reached `times` times the limits. */
static bool queue_reaches(const struct connection *connection, uint32_t times) {
    const struct listener_options *options = &connection_listener(connection)->options;
    return connection->io->queue.bytes >= (uint64_t)options->send_queue_bytes * times ||
           connection->io->queue.pieces >= (uint64_t)options->send_queue_pieces * times;
}

static void cut_full_queue(struct connection *connection, const char *why) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, peer);
    subject.reason = "send_queue";
    listener_count(&connection_listener(connection)->counters.queues_cut);
    log_limited(LOG_KIND_CUT, LOG_LEVEL_INFO, &subject,
                "connection %llu cut: %llu bytes in %u pieces wait to be sent: %s",
                (unsigned long long)connection->public.id,
                (unsigned long long)connection->io->queue.bytes, connection->io->queue.pieces, why);
    connection_end(connection, BERTH_CLOSED_LIMIT, true);
}

/* Whether the running callback has queued more than any callback may. */
static bool callback_overflows(const struct connection *connection) {
    const struct send_queue *queue = &connection->io->queue;
    const struct listener_options *options = &connection_listener(connection)->options;
    uint64_t bytes_max = (uint64_t)options->send_queue_bytes * CALLBACK_FACTOR;
    uint64_t pieces_max = (uint64_t)options->send_queue_pieces * CALLBACK_FACTOR;
    return queue->bytes >= (bytes_max > CALLBACK_BYTES ? bytes_max : CALLBACK_BYTES) ||
           queue->pieces >= (pieces_max > CALLBACK_PIECES ? pieces_max : CALLBACK_PIECES);
}

/* Whether more may be queued. A send is refused if the queue was past the cap after the previous
 * callbacks had returned; one callback may send an answer longer than the cap. */
static int32_t connection_send_check_send(struct connection *connection) {
    if (connection_is_ending(connection)) {
        return BERTH_E_GONE;
    }
    if (connection->state.life != CONNECTION_OPEN ||
        connection->state.local != CONNECTION_LOCAL_SENDING) {
        return BERTH_E_STATE;
    }
    if (connection->over_cap && queue_reaches(connection, HARD_CAP_FACTOR)) {
        cut_full_queue(connection, "the plugin sends on past four times limits.send_queue_bytes "
                                   "or limits.send_queue_pieces");
        return BERTH_E_LIMIT;
    }
    if (callback_overflows(connection)) {
        cut_full_queue(connection, "one callback of the plugin sends without an end");
        return BERTH_E_LIMIT;
    }
    return BERTH_OK;
}

int32_t connection_send(struct connection *connection, const void *bytes, uint32_t size) {
    int32_t status = connection_send_check_send(connection);
    if (status != BERTH_OK || size == 0) {
        return status;
    }
    if (!bytes) {
        connection_listener(connection)
            ->options.hooks->fault(connection, "send() was given no bytes");
        return BERTH_E_INVALID;
    }
    struct worker *worker = connection_worker(connection);
    if (!connection_need_io(connection) ||
        !send_queue_add_copy(&connection->io->queue, &worker->nodes, worker->buffers, bytes,
                             size)) {
        return BERTH_E_NO_MEMORY;
    }
    worker_mark_dirty(worker, connection);
    return BERTH_OK;
}

bool connection_queue(struct connection *connection, const struct berth_slice *slice) {
    if (!connection_need_io(connection)) {
        buffer_release(slice->buffer);
        return false;
    }
    return send_queue_add(&connection->io->queue, &connection_worker(connection)->nodes, slice);
}

static bool queue_file(struct connection *connection, const struct berth_piece *piece) {
    uint64_t size = file_run(piece->file, piece->offset, piece->size);
    if (!connection_need_io(connection)) {
        file_release(piece->file);
        return false;
    }
    return send_queue_add_file(&connection->io->queue, &connection_worker(connection)->nodes,
                               piece->file, piece->offset, size);
}

/* A part of a message is queued and a part is lost: the stream cannot continue. */
static int32_t break_off(struct connection *connection) {
    connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
    return BERTH_E_NO_MEMORY;
}

int32_t connection_send_slices(struct connection *connection, const struct berth_slice *slices,
                               uint32_t count) {
    int32_t status = connection_send_check_send(connection);
    struct worker *worker = connection_worker(connection);
    const char *wrong = NULL;
    if (count > 1 && plugin_slices_ask_more(slices, count)) {
        plugin_slices_drop(slices, count);
        return BERTH_E_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct berth_slice slice;
        const char *why = plugin_slice_take(&slices[i], &slice);
        if (why) {
            wrong = why != plugin_slice_unknown ? why : wrong;
            status = wrong ? BERTH_E_INVALID : BERTH_E_UNSUPPORTED;
        } else if (status != BERTH_OK) {
            buffer_release(slice.buffer);
        } else if (!connection_queue(connection, &slice)) {
            status = break_off(connection);
        }
    }
    if (wrong) {
        connection_listener(connection)
            ->options.hooks->fault(connection, "send_slices() was given a slice %s", wrong);
        return BERTH_E_INVALID;
    }
    worker_mark_dirty(worker, connection);
    return status;
}

int32_t connection_send_pieces(struct connection *connection, const struct berth_piece *pieces,
                               uint32_t count) {
    int32_t status = connection_send_check_send(connection);
    struct worker *worker = connection_worker(connection);
    const char *wrong = NULL;
    if (count > 1 && plugin_pieces_ask_more(pieces, count)) {
        plugin_pieces_drop(pieces, count);
        return BERTH_E_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct berth_piece piece;
        const char *why = plugin_piece_take(&pieces[i], &piece);
        if (why) {
            wrong = why != plugin_slice_unknown ? why : wrong;
            status = wrong ? BERTH_E_INVALID : BERTH_E_UNSUPPORTED;
        } else if (status != BERTH_OK) {
            buffer_release(piece.memory.buffer);
            file_release(piece.file);
        } else {
            bool queued = piece.file ? queue_file(connection, &piece)
                                     : connection_queue(connection, &piece.memory);
            status = queued ? BERTH_OK : break_off(connection);
        }
    }
    if (wrong) {
        connection_listener(connection)
            ->options.hooks->fault(connection, "send_pieces() was given a piece %s", wrong);
        return BERTH_E_INVALID;
    }
    worker_mark_dirty(worker, connection);
    return status;
}

static void account_sent(struct connection *connection, uint64_t bytes) {
    connection->bytes_sent += bytes;
    connection_count_sent(connection, bytes);
    connection_note_activity(connection);
    io_permits_progress(connection->resources->io_permit);
    send_queue_consume(&connection->io->queue, &connection_worker(connection)->nodes, bytes);
    if (bytes > 0 && connection->state.life == CONNECTION_DRAINING) {
        /* The peer still reads: its time to take the rest starts again. */
        connection_defer_deadline(connection);
    }
}

/* What exists of the file is sent. The client sees an end before the length that it expects, and
 * none of the bytes before it is lost to a reset. */
static void file_was_short(struct connection *connection) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, peer);
    subject.reason = "file_short";
    listener_count(&connection_listener(connection)->counters.files_short);
    log_limited(LOG_KIND_CUT, LOG_LEVEL_WARN, &subject,
                "connection %llu closed: a file that is sent has become shorter meanwhile; %llu "
                "bytes of it are missing",
                (unsigned long long)connection->public.id,
                (unsigned long long)connection->io->queue.file_bytes);
    send_queue_clear(&connection->io->queue, &connection_worker(connection)->nodes);
    if (connection->state.life == CONNECTION_OPEN) {
        connection_finish(connection, BERTH_CLOSED_FILE_SHORT);
    }
    connection->reason = BERTH_CLOSED_FILE_SHORT;
}

static void send_failed(struct connection *connection, int64_t result) {
    if (result == ENGINE_E_FILE_SHORT) {
        file_was_short(connection);
    } else {
        connection_end(connection, connection_reason_of(result), true);
    }
}

/* Sends the front of the queue. If that is all of it and a FIN is next, they are sent together. */
static int64_t connection_send_front(struct connection *connection) {
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    unsigned count = send_queue_gather(&connection->io->queue, pieces);
    bool last = count == connection->io->queue.pieces &&
                connection->state.local != CONNECTION_LOCAL_FIN_SENT &&
                (connection->state.local == CONNECTION_LOCAL_SHUTDOWN ||
                 connection->state.life == CONNECTION_DRAINING);
    return (last ? engine_send_and_fin : engine_send)(connection_worker(connection)->port,
                                                      connection->socket, &connection->io->send,
                                                      pieces, count);
}

void connection_flush(struct connection *connection) {
    uint64_t flushed = 0;
    if (send_queue_is_empty(&connection->io->queue) ||
        connection->state.send != CONNECTION_SEND_IDLE || !connection_may_go_on(connection)) {
        return;
    }
    do {
        int64_t result = connection_send_front(connection);
        if (result == ENGINE_PENDING) {
            connection_state_set_send(&connection->state, CONNECTION_SEND_PENDING);
            return;
        }
        if (result < 0) {
            send_failed(connection, result);
            return;
        }
        account_sent(connection, (uint64_t)result);
        flushed += (uint64_t)result;
        if (send_queue_is_empty(&connection->io->queue)) {
            return;
        }
        /* A client may read as fast as the host sends. */
    } while (flushed < connection_worker(connection)->server->options.turn_send_bytes);
    worker_postpone(connection_worker(connection), connection);
}

void connection_sent(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct conn_io, send)->connection;
    struct worker *worker = connection_worker(connection);
    connection_state_set_send(&connection->state, CONNECTION_SEND_IDLE);
    connection->is_abandoned |= result == ENGINE_E_ABANDONED;
    if (result >= 0) {
        account_sent(connection, (uint64_t)result);
    } else if (result != ENGINE_E_CANCELLED) {
        send_failed(connection, result);
    }
    worker_mark_dirty(worker, connection);
    worker_run_pending(worker);
}

/* Reading resumes once the queue has fallen to half of its limits. */
static void release_queue_hold(struct connection *connection) {
    const struct listener *listener = connection_listener(connection);
    if (connection->io->queue.bytes > listener->options.send_queue_bytes / 2 ||
        connection->io->queue.pieces > listener->options.send_queue_pieces / 2) {
        return;
    }
    connection_state_release(&connection->state, CONNECTION_HELD_BY_QUEUE);
    connection_state_set_queue_full(&connection->state, false);
    if (listener->plugin->drained) {
        listener->options.hooks->drained(connection);
    }
}

/* Reading pauses while the queue is full, and resumes when it has fallen to half. */
void connection_update_queue_hold(struct connection *connection) {
    const struct listener *listener = connection_listener(connection);
    if (queue_reaches(connection, 1)) {
        if (listener->options.close_full_queues) {
            cut_full_queue(connection, "limits.send_queue_full says \"close\"");
            return;
        }
        /* A connection that has used its share of this turn may continue in the next. */
        connection->over_cap = !connection->dirty && queue_reaches(connection, HARD_CAP_FACTOR);
        if (!connection->state.queue_full) {
            connection_state_set_queue_full(&connection->state, true);
            if ((listener->plugin->flags & BERTH_PLUGIN_PACES_ITSELF) == 0) {
                connection_state_hold(&connection->state, CONNECTION_HELD_BY_QUEUE);
            }
            if (listener->plugin->filled) {
                listener->options.hooks->filled(connection);
            }
        }
    } else if (connection->state.queue_full) {
        connection->over_cap = false;
        release_queue_hold(connection);
    }
}
