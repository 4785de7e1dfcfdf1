/* The invariants of a connection after connection_run_pending(), beyond the combinations of its
 * state; and its description in one line. */
#include <stdio.h>

#include "base/address.h"
#include "base/assert.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/lib/send_queue.h"
#include "net/lib/timers.h"

enum { LINE_BYTES = 512 };

static void connection_check_expect(const struct connection *connection, bool fact,
                                    const char *text) {
    char line[LINE_BYTES];
    char whole[LINE_BYTES * 2];
    if (!fact) {
        connection_describe(connection, line, sizeof(line));
        snprintf(whole, sizeof(whole), "%s; %s", text, line);
        assert_failed(whole, __FILE__, __LINE__);
    }
}

static bool has_queue(const struct connection *connection) {
    return !send_queue_is_empty(&connection->io->queue);
}

static bool is_sending(const struct connection *connection) {
    return has_queue(connection) || connection->state.send != CONNECTION_SEND_IDLE;
}

/* Every wait has an end. */
static void check_deadline(const struct connection *connection) {
    const struct connection_state *state = &connection->state;
    bool waits_for_room = state->entry == CONNECTION_ENTRY_CAPACITY;
    bool runs = !waits_for_room && timer_is_running(&connection->deadline);
    connection_check_expect(
        connection,
        state->life != CONNECTION_ACCEPTED || waits_for_room ||
            (connection_state_is_pending(*state) && runs),
        "an accepted connection waits for room, or has a deadline for what is awaited of it");
    connection_check_expect(connection, state->life != CONNECTION_DRAINING || runs,
                            "a draining connection has a deadline");
    connection_check_expect(connection,
                            !connection_is_ending(connection) ||
                                !connection_is_in_flight(connection) || runs,
                            "a connection that is cancelled has a deadline for what is in flight");
}

static void connection_check_receive(const struct connection *connection) {
    const struct connection_state *state = &connection->state;
    bool wanted = state->peer == CONNECTION_PEER_SENDING && state->held == 0;
    switch (state->life) {
    case CONNECTION_ACCEPTED:
    case CONNECTION_OPEN:
        connection_check_expect(connection, !wanted || state->receive != CONNECTION_RECEIVE_IDLE,
                                "a connection that nothing holds receives");
        connection_check_expect(connection, wanted || state->receive != CONNECTION_RECEIVE_ARMED,
                                "a connection that is held does not receive");
        break;
    case CONNECTION_DRAINING:
        connection_check_expect(connection,
                                state->peer == CONNECTION_PEER_SENDING ||
                                    state->receive == CONNECTION_RECEIVE_IDLE,
                                "nothing is received after the peer's FIN");
        connection_check_expect(connection, !connection->io->pending.buffer,
                                "a draining connection keeps nothing for the plugin");
        break;
    default:
        connection_check_expect(connection, state->receive != CONNECTION_RECEIVE_ARMED,
                                "the receive of a cancelled connection is stopped");
    }
    connection_check_expect(connection,
                            (state->held & CONNECTION_HELD_BY_IO_PERMIT) == 0 ||
                                connection->resources->io_permit != NULL,
                            "a connection that waits for its turn has one to wait for");
}

static void connection_check_send(const struct connection *connection) {
    const struct connection_state *state = &connection->state;
    connection_check_expect(
        connection, connection->io == conn_io_none() || connection->io->connection == connection,
        "the traffic is the connection's own");
    connection_check_expect(connection,
                            state->send == CONNECTION_SEND_IDLE || has_queue(connection),
                            "what is being sent stands in the queue");
    if (connection_is_ending(connection)) {
        connection_check_expect(connection, state->send != CONNECTION_SEND_PENDING,
                                "the send of a cancelled connection is cancelled");
        return;
    }
    connection_check_expect(connection,
                            !has_queue(connection) || state->send == CONNECTION_SEND_PENDING ||
                                connection->dirty || connection->resources->io_permit,
                            "what is queued is being sent, or will be");
}

/* The limits at which reading pauses; it resumes at half of them. */
static void check_full(const struct connection *connection) {
    const struct listener_options *options = &connection_listener(connection)->options;
    const struct send_queue *queue = &connection->io->queue;
    bool is_full =
        queue->bytes >= options->send_queue_bytes || queue->pieces >= options->send_queue_pieces;
    if (connection->dirty || connection->state.life != CONNECTION_OPEN) {
        return;
    }
    connection_check_expect(connection, !is_full || connection->state.queue_full,
                            "a full send queue is noted");
    connection_check_expect(connection, has_queue(connection) || !connection->state.queue_full,
                            "an empty send queue is not full");
    connection_check_expect(connection, (queue->pieces > 0) == has_queue(connection),
                            "pieces are counted");
}

/* What the last callbacks have requested is carried out by the next run. */
static void check_progress(const struct connection *connection) {
    const struct connection_state *state = &connection->state;
    bool fin_came = state->peer != CONNECTION_PEER_SENDING;
    bool notified = connection_state_peer_is_notified(*state);
    if (connection->dirty) {
        return;
    }
    if (state->life == CONNECTION_OPEN) {
        connection_check_expect(connection, !state->redeliver || state->held != 0,
                                "what may be shown to the plugin again has been");
        connection_check_expect(connection, !fin_came || notified || state->held != 0,
                                "the plugin is told of the peer's FIN");
        connection_check_expect(connection,
                                is_sending(connection) || state->local != CONNECTION_LOCAL_SHUTDOWN,
                                "our FIN follows the queue");
        connection_check_expect(connection,
                                is_sending(connection) ||
                                    state->local != CONNECTION_LOCAL_FIN_SENT || !notified,
                                "a connection ends when both FINs are told");
    }
    if (state->life == CONNECTION_DRAINING && !is_sending(connection)) {
        connection_check_expect(connection,
                                !fin_came && state->closing == CONNECTION_CLOSING_LINGER,
                                "a connection with nothing to send and to await ends");
        connection_check_expect(connection, state->local == CONNECTION_LOCAL_FIN_SENT,
                                "a connection that awaits the peer's FIN has sent its own");
    }
}

void connection_check(const struct connection *connection) {
    const char *fault = connection_state_fault(connection->state);
    connection_check_expect(connection, fault == NULL, fault ? fault : "");
    check_deadline(connection);
    connection_check_receive(connection);
    connection_check_send(connection);
    check_full(connection);
    check_progress(connection);
}

void connection_describe(const struct connection *connection, char *text, size_t size) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    char state[LINE_BYTES / 2];
    const struct send_queue *queue = &connection->io->queue;
    size_t used = 0;
    address_format(&connection->remote, peer, sizeof(peer));
    connection_state_describe(connection->state, state, sizeof(state));
    text_append(text, size, &used, "connection %llu %s %s: %s; %llu bytes received, %llu sent",
                (unsigned long long)connection->public.id,
                connection->state.entry == CONNECTION_ENTRY_OUTBOUND ? "to" : "from", peer, state,
                (unsigned long long)connection->bytes_received,
                (unsigned long long)connection->bytes_sent);
    if (has_queue(connection)) {
        text_append(text, size, &used, ", %llu queued in %u pieces",
                    (unsigned long long)queue->bytes + queue->file_bytes, queue->pieces);
    }
}
