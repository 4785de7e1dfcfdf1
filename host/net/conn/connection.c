#include "net/conn/connection.h"

#include <stddef.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn/io_permits.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"

enum {
    /* A peer that still has bytes to take may pause for this many times close_timeout_ms (a minute
     * by default, as web servers allow). A peer that has taken all of them owes its FIN within
     * close_timeout_ms. */
    CLOSE_PAUSE_FACTOR = 12,
    SEND_TIMEOUT_S_MAX = 4095, /* the largest value that connection.send_timeout_s can hold */
    /* How long cancelled operations have to complete before their socket is closed. */
    CANCEL_MS = 1000,
};

/* -- the end --------------------------------------------------------------- */

void connection_end(struct connection *connection, uint32_t reason, bool reset) {
    if (connection_is_ending(connection)) {
        return;
    }
    if (connection->reason == 0) {
        connection->reason = (uint8_t)reason;
    }
    if (connection->state.entry == CONNECTION_ENTRY_CAPACITY) {
        listener_count(&connection_listener(connection)->counters.ended_waiting);
    }
    connection_leave_entry(connection);
    connection_state_cancel(&connection->state);
    if (reset) {
        connection_state_set_closing(&connection->state, CONNECTION_CLOSING_RESET);
    }
    timers_stop(&connection_worker(connection)->timers, &connection->deadline);
    connection_tell_attached(connection, ATTACHMENT_ENDING);
    worker_mark_dirty(connection_worker(connection), connection);
}

struct log_subject connection_subject(const struct connection *connection, char *peer) {
    struct log_subject subject = connection_listener(connection)->subject;
    address_format(&connection->remote, peer, BERTH_ADDRESS_TEXT_MAX);
    subject.peer = peer;
    subject.connection = connection->public.id;
    return subject;
}

void connection_log_timeout(const struct connection *connection, const char *field) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    if (log_enabled(LOG_LEVEL_DEBUG)) {
        struct log_subject subject = connection_subject(connection, peer);
        subject.reason = field;
        log_limited(LOG_KIND_TIMEOUT, LOG_LEVEL_DEBUG, &subject, "connection %llu closed by %s",
                    (unsigned long long)connection->public.id, field);
    }
}

uint32_t connection_reason_of(int64_t result) {
    switch (result) {
    case ENGINE_E_RESET:
        return BERTH_CLOSED_RESET;
    case ENGINE_E_TIMED_OUT:
        return BERTH_CLOSED_TIMEOUT;
    case ENGINE_E_NO_RESOURCES:
        return BERTH_CLOSED_OUT_OF_MEMORY;
    case ENGINE_E_FILE_SHORT:
        return BERTH_CLOSED_FILE_SHORT;
    default:
        return BERTH_CLOSED_ERROR;
    }
}

void connection_defer_deadline(struct connection *connection) {
    uint64_t now_ms = worker_now_ms(connection_worker(connection));
    connection->unacked = UINT32_MAX; /* not read yet */
    connection->active_ms = (uint32_t)now_ms;
    timers_start(&connection_worker(connection)->timers, &connection->deadline, now_ms,
                 connection_listener(connection)->options.close_timeout_ms);
}

void connection_drain(struct connection *connection) {
    connection_state_drain(&connection->state);
    connection_drop_pending(connection);
    connection_defer_deadline(connection);
    worker_mark_dirty(connection_worker(connection), connection);
}

/* The bytes that the system holds and the peer has not acknowledged, without the FIN. Also 0 where
 * the system does not report them: it then delivers them in its own time. */
static uint32_t connection_unacked_bytes(const struct connection *connection) {
    uint64_t bytes = 0;
    engine_unacked_bytes(connection_worker(connection)->port, connection->socket, &bytes);
    bytes -= connection->state.local == CONNECTION_LOCAL_FIN_SENT && bytes > 0 ? 1 : 0;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX - 1;
}

/* The peer may have been informed of the close and may still send. What is not read any more stays
 * in the system's buffer, and blocks the peer. */
void connection_linger(struct connection *connection, uint32_t bytes) {
    struct listener *listener = connection_listener(connection);
    uint32_t limit = listener->options.linger_bytes;
    if (!connection_need_resources(connection)) {
        connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true); /* no timer could bound it */
        return;
    }
    uint32_t *lingered = &connection->resources->lingered;
    bool was_within = *lingered <= limit;
    *lingered += bytes < UINT32_MAX - *lingered ? bytes : UINT32_MAX - *lingered;
    if (!was_within || *lingered <= limit) {
        return;
    }
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, peer);
    subject.reason = "linger_bytes";
    listener_count(&listener->counters.lingers_cut);
    log_limited(LOG_KIND_CUT, LOG_LEVEL_INFO, &subject,
                "connection %llu: its client sent more than %u bytes after the close "
                "(limits.linger_bytes): no more is read",
                (unsigned long long)connection->public.id, limit);
    if (connection->state.local == CONNECTION_LOCAL_FIN_SENT &&
        connection_unacked_bytes(connection) == 0) {
        connection_end(connection, BERTH_CLOSED_LIMIT, true);
    }
}

void connection_close(struct connection *connection) {
    connection_finish(connection, connection->state.peer != CONNECTION_PEER_SENDING
                                      ? BERTH_CLOSED_BY_PEER
                                      : BERTH_CLOSED_BY_PLUGIN);
}

void connection_close_at_once(struct connection *connection) {
    if (connection->state.life == CONNECTION_OPEN) {
        connection_close(connection);
        connection_state_set_closing(&connection->state, CONNECTION_CLOSING_SKIP_LINGER);
    }
}

void connection_close_with_timeout(struct connection *connection, uint32_t send_timeout_ms) {
    uint32_t seconds = send_timeout_ms / 1000 + (send_timeout_ms % 1000 > 0 ? 1 : 0);
    if (connection->state.life == CONNECTION_OPEN) {
        connection->send_timeout_s = seconds < SEND_TIMEOUT_S_MAX ? seconds : SEND_TIMEOUT_S_MAX;
        connection_close(connection);
    }
}

void connection_finish(struct connection *connection, uint32_t reason) {
    if (connection->state.life != CONNECTION_OPEN) {
        return;
    }
    if (connection->reason == 0) {
        connection->reason = (uint8_t)reason;
    }
    connection_drain(connection);
}

int32_t connection_shutdown_send(struct connection *connection) {
    if (connection->state.life != CONNECTION_OPEN) {
        return connection_is_ending(connection) ? BERTH_E_GONE : BERTH_E_STATE;
    }
    if (connection->state.local == CONNECTION_LOCAL_SENDING) {
        connection_state_set_local(&connection->state, CONNECTION_LOCAL_SHUTDOWN);
    }
    worker_mark_dirty(connection_worker(connection), connection);
    return BERTH_OK;
}

/* Whether an operation that has to complete still uses its socket. */
bool connection_is_in_flight(const struct connection *connection) {
    return connection->socket.handle != ENGINE_NO_SOCKET.handle &&
           (connection->state.receive != CONNECTION_RECEIVE_IDLE ||
            connection->state.send != CONNECTION_SEND_IDLE);
}

static void cancel_operations(struct connection *connection) {
    if (connection->state.receive == CONNECTION_RECEIVE_ARMED) {
        connection_stop_receive(connection);
    }
    if (connection->state.send == CONNECTION_SEND_PENDING) {
        connection_state_set_send(&connection->state, CONNECTION_SEND_CANCELLING);
        engine_send_cancel(connection_worker(connection)->port, connection->socket,
                           &connection->io->send);
    }
    if (connection_is_in_flight(connection) && !timer_is_running(&connection->deadline)) {
        struct worker *worker = connection_worker(connection);
        timers_start(&worker->timers, &connection->deadline, worker_now_ms(worker), CANCEL_MS);
    }
}

/* A cancel did not complete what is in flight. */
static void connection_close_in_flight(struct connection *connection) {
    struct worker *worker = connection_worker(connection);
    const struct connection_state *state = &connection->state;
    if (!engine_close_in_flight(
            worker->port, &connection->socket,
            state->receive != CONNECTION_RECEIVE_IDLE ? &connection->receive : NULL,
            state->send != CONNECTION_SEND_IDLE ? &connection->io->send : NULL)) {
        timers_start(&worker->timers, &connection->deadline, worker_now_ms(worker), CANCEL_MS);
    } else if (connection->socket.handle == ENGINE_NO_SOCKET.handle &&
               state->closing != CONNECTION_CLOSING_RESET) {
        connection_state_set_closing(&connection->state, CONNECTION_CLOSING_RESET);
    }
}

static void leave_turns(struct connection *connection) {
    struct io_permit *io_permit = connection->resources->io_permit;
    connection->resources->io_permit = NULL;
    if (io_permits_leave(io_permit)) {
        listener_ref(connection_listener(connection)); /* until io_permits reports `over` */
    }
}

/* Nothing is in flight: the socket is closed, the plugin gets its last callback, the memory is
 * freed. */
static void connection_free(struct connection *connection) {
    struct worker *worker = connection_worker(connection);
    struct listener *listener = connection_listener(connection);
    bool reset = connection->state.closing == CONNECTION_CLOSING_RESET;
    connection_state_close(&connection->state);
    worker_clear_dirty(connection); /* no service that `closed` calls may list it again */
    if (!reset && connection_state_peer_was_first(connection->state) &&
        send_queue_is_empty(&connection->io->queue)) {
        engine_recycle(worker->port, connection->socket);
    } else {
        engine_close(worker->server->engine, connection->socket, reset);
    }
    connection->socket = ENGINE_NO_SOCKET;
    if (!connection->is_abandoned) {
        send_queue_clear(&connection->io->queue, &worker->nodes);
    }
    connection_drop_pending(connection);
    connection_drop_io(connection);
    connection_tell_attached(connection, ATTACHMENT_ENDED);
    if (connection->resources->io_permit) {
        leave_turns(connection);
    }
    if (connection_state_is_known(connection->state)) {
        listener_count(&listener->counters.closed);
        if (listener->plugin->closed) {
            listener->options.hooks->closed(connection);
        }
    }
    connection_tell_attached(connection, ATTACHMENT_CLOSED);
    timers_stop(&worker->timers, &connection->deadline);
    worker_unregister(worker, connection);
    atomic_fetch_sub(&worker->load, 1);
    if (connection->state.entry == CONNECTION_ENTRY_REFUSED) {
        atomic_fetch_sub(&listener->refusing, 1);
    }
    if (connection->state.entry == CONNECTION_ENTRY_OUTBOUND) {
        atomic_fetch_sub(&listener->outbound, 1);
    }
    if (connection->state.entry == CONNECTION_ENTRY_ADMITTED) {
        listener_release(listener, &connection->remote, worker_now_ms(worker));
    }
    connection_drop_resources(connection);
    ASSERT(connection->resources == conn_resources_none());
    ASSERT(connection->io == conn_io_none() || connection->is_abandoned);
    local_address_release(connection->local);
    connection_free_state(connection);
    if (!connection->is_abandoned) {
        alloc_free(connection);
    }
    listener_unref(listener);
}

/* -- the host wants it closed ---------------------------------------------- */

/* Asks the plugin's operation; returns `absent` if the plugin does not have it. */
static uint32_t ask_plugin(struct connection *connection, uint32_t reason, uint32_t absent) {
    const struct listener *listener = connection_listener(connection);
    return listener->plugin->closing ? listener->options.hooks->closing(connection, reason)
                                     : absent;
}

/* Whether the connection goes on. */
static bool close_unless_kept(struct connection *connection, uint32_t reason, uint32_t absent) {
    uint32_t answer = ask_plugin(connection, reason, absent);
    if (answer == BERTH_CLOSING_KEEP) {
        return true;
    }
    if (answer == BERTH_CLOSING_ABORT) {
        connection_end(connection, reason, true);
    } else {
        connection_finish(connection, reason);
    }
    return false;
}

void connection_ask_to_close(struct connection *connection) {
    if (connection->state.life == CONNECTION_OPEN) {
        close_unless_kept(connection, BERTH_CLOSED_STOPPING, BERTH_CLOSING_KEEP);
    }
}

void connection_watch_idle(struct connection *connection) {
    uint32_t timeout_ms = connection_listener(connection)->options.idle_timeout_ms;
    if (timeout_ms > 0) {
        uint64_t now_ms = worker_now_ms(connection_worker(connection));
        connection->active_ms = (uint32_t)now_ms;
        timers_start(&connection_worker(connection)->timers, &connection->deadline, now_ms,
                     timeout_ms);
    }
}

void connection_note_activity(struct connection *connection) {
    if (connection_listener(connection)->options.idle_timeout_ms > 0) {
        connection->active_ms = (uint32_t)worker_now_ms(connection_worker(connection));
    }
}

/* The timer is not moved at every packet. When it fires, it checks how long ago the last one
 * was. */
static void check_idle(struct connection *connection) {
    uint32_t timeout_ms = connection_listener(connection)->options.idle_timeout_ms;
    uint64_t now = worker_now_ms(connection_worker(connection));
    uint32_t idle_ms = (uint32_t)now - connection->active_ms;
    if (idle_ms < timeout_ms) {
        timers_start(&connection_worker(connection)->timers, &connection->deadline, now,
                     timeout_ms - idle_ms);
        return;
    }
    if (close_unless_kept(connection, BERTH_CLOSED_TIMEOUT, BERTH_CLOSING_CLOSE)) {
        if (connection->state.life == CONNECTION_OPEN) {
            connection_watch_idle(connection);
        }
        return;
    }
    listener_count(&connection_listener(connection)->counters.idle_timeouts);
    connection_log_timeout(connection, "idle_timeout_ms");
}

/* For how much longer the peer may take none of the bytes that are left for it; 0: no longer. */
static uint32_t patience_ms(const struct connection *connection, uint64_t now_ms) {
    uint32_t idle_ms = (uint32_t)now_ms - connection->active_ms;
    uint32_t pause_ms =
        connection_listener(connection)->options.close_timeout_ms * CLOSE_PAUSE_FACTOR;
    uint32_t given_ms = connection->send_timeout_s * 1000U;
    uint32_t timeout_ms = given_ms > pause_ms ? given_ms : pause_ms;
    return idle_ms < timeout_ms ? timeout_ms - idle_ms : 0;
}

/* A peer that takes the bytes, however slowly and with pauses, gets all of them. If it has all of
 * them and only keeps its own side open, the connection is closed without a reset. */
static void check_drained(struct connection *connection) {
    uint32_t left = connection_unacked_bytes(connection);
    if (left > 0 && left < connection->unacked) {
        connection_defer_deadline(connection);
        connection->unacked = left;
        return;
    }
    uint64_t now_ms = worker_now_ms(connection_worker(connection));
    uint32_t patience = patience_ms(connection, now_ms);
    if (patience > 0 && (left > 0 || connection->state.local != CONNECTION_LOCAL_FIN_SENT)) {
        uint32_t close_ms = connection_listener(connection)->options.close_timeout_ms;
        connection->unacked = left > 0 ? left : connection->unacked;
        timers_start(&connection_worker(connection)->timers, &connection->deadline, now_ms,
                     patience < close_ms ? patience
                     : close_ms > 100    ? close_ms
                                         : 100);
        return;
    }
    connection_end(connection, BERTH_CLOSED_TIMEOUT,
                   connection->state.local != CONNECTION_LOCAL_FIN_SENT || left > 0);
}

void connection_deadline(struct timer *timer) {
    struct connection *connection = CONTAINER_OF(timer, struct connection, deadline);
    if (connection->state.life == CONNECTION_OPEN) {
        check_idle(connection);
        return;
    }
    if (connection->state.life == CONNECTION_DRAINING) {
        check_drained(connection);
        return;
    }
    if (connection->state.life == CONNECTION_CANCELLING) {
        connection_close_in_flight(connection);
        return;
    }
    if (connection->state.life == CONNECTION_ACCEPTED) {
        connection_entry_timed_out(connection);
    }
    connection_end(connection, BERTH_CLOSED_TIMEOUT, true);
}

/* -- run pending ----------------------------------------------------------- */

/* The queue is empty: sends a FIN that waited for that, and does an end that waited for that. */
static void send_fin(struct connection *connection) {
    bool draining = connection->state.life == CONNECTION_DRAINING;
    if (!send_queue_is_empty(&connection->io->queue) ||
        connection->state.send != CONNECTION_SEND_IDLE) {
        return;
    }
    if (draining && (connection->state.peer != CONNECTION_PEER_SENDING ||
                     connection->state.closing == CONNECTION_CLOSING_SKIP_LINGER)) {
        /* Closing sends our FIN. The reason is known already. */
        connection_end(connection, BERTH_CLOSED_BY_PEER, false);
        return;
    }
    if (draining ? connection->state.local != CONNECTION_LOCAL_FIN_SENT
                 : connection->state.local == CONNECTION_LOCAL_SHUTDOWN) {
        connection_state_set_local(&connection->state, CONNECTION_LOCAL_FIN_SENT);
        if (engine_shutdown_send(connection_worker(connection)->port, connection->socket) < 0) {
            connection_end(connection, BERTH_CLOSED_RESET, true);
            return;
        }
        if (draining) {
            connection_defer_deadline(connection);
        }
    }
    if (connection->state.local == CONNECTION_LOCAL_FIN_SENT &&
        connection_state_peer_is_notified(connection->state)) {
        connection_end(connection, BERTH_CLOSED_BY_PEER, false); /* nothing can follow */
    }
}

/* Nothing is left to do at present. */
static bool is_quiet(const struct connection *connection) {
    return send_queue_is_empty(&connection->io->queue) &&
           connection->state.send == CONNECTION_SEND_IDLE && !connection->state.redeliver &&
           !connection->dirty;
}

bool connection_ask_for_turn(struct connection *connection) {
    return !connection_need_resources(connection) ||
           io_permits_ask(&connection_listener(connection)->io_permits,
                          &connection->resources->io_permit, connection_worker(connection),
                          connection);
}

void connection_io_permit_granted(struct connection *connection) {
    if ((connection->state.held & CONNECTION_HELD_BY_IO_PERMIT) != 0) {
        connection_state_release(&connection->state, CONNECTION_HELD_BY_IO_PERMIT);
        connection_state_set_redeliver(&connection->state, true);
    }
    worker_mark_dirty(connection_worker(connection), connection);
}

void connection_run_pending(struct connection *connection) {
    if (connection->state.life == CONNECTION_ACCEPTED) {
        connection_run_pending_admission(connection);
    }
    if (!connection_is_ending(connection)) {
        connection_flush(connection);
    }
    if (connection->state.life == CONNECTION_OPEN) {
        connection_update_queue_hold(connection);
    }
    if (connection->state.life == CONNECTION_OPEN && connection->state.redeliver) {
        connection_redeliver(connection);
    }
    if (connection->state.life == CONNECTION_OPEN &&
        connection->state.peer != CONNECTION_PEER_SENDING) {
        connection_notify_peer_closed(connection);
    }
    /* A callback that just ran may have queued more. Then the connection is dirty again, and the
     * FIN waits. */
    if (!connection_is_ending(connection)) {
        send_fin(connection);
    }
    /* A connection that only has to answer before it closes may end in the next round. It needs no
     * receive until then. */
    if (connection->state.life == CONNECTION_DRAINING &&
        connection->state.closing == CONNECTION_CLOSING_SKIP_LINGER && connection->dirty) {
        return;
    }
    if (!connection_is_ending(connection)) {
        connection_update_receive(connection);
        if (connection->resources->io_permit && is_quiet(connection)) {
            io_permits_end(connection->resources->io_permit);
        }
        connection_drop_io(connection);
        if (CHECKS) {
            connection_check(connection);
        }
        return;
    }
    cancel_operations(connection);
    if (CHECKS) {
        connection_check(connection);
    }
    /* A connection that was marked dirty again meanwhile ends when it is run from the list. */
    if (connection->state.receive == CONNECTION_RECEIVE_IDLE &&
        connection->state.send == CONNECTION_SEND_IDLE && !connection->dirty) {
        connection_free(connection);
    }
}

void connection_info(const struct connection *connection, struct berth_conn_info *info) {
    struct berth_conn_info full = {
        .local = connection->local->address,
        .remote = connection->remote,
        .bytes_received = connection->bytes_received,
        .bytes_sent = connection->bytes_sent,
        .bytes_queued = connection->io->queue.bytes + connection->io->queue.file_bytes,
        .opened_ago_ms = engine_now_ms() - connection->opened_ms,
    };
    full.struct_size = info->struct_size < sizeof(full) ? info->struct_size : sizeof(full);
    memcpy(info, &full, full.struct_size);
}
