/* The plugin: what the host tells it is compared with what it must be told. */
#include "host_in_world.h"
#include "net/listen/listener.h"
#include "outbound_by_chance.h"
#include "rule.h"
#include "world.h"

void callback_begin(const char *name) {
    RULE(world.callbacks == 0, "callbacks do not overlap: %s", name);
    world.callbacks++;
}

void callback_end(void) {
    world.callbacks--;
}

static struct conversation *find_conversation(struct berth_conn *conn, bool is_last) {
    struct conversation *conversation = ((struct view *)conn->state)->conversation;
    RULE(conversation && conversation->conn == conn, "opened comes first");
    RULE(!conversation->has_closed, "closed comes last: client %u", conversation->number);
    RULE(!conversation->is_ending || is_last,
         "nothing but closed comes once a connection begins to end: client %u",
         conversation->number);
    return conversation;
}

static struct conversation *conversation_of(struct berth_conn *conn) {
    return find_conversation(conn, false);
}

static struct outbound *outbound_of(const struct berth_conn *conn) {
    return ((const struct view *)conn->state)->outbound;
}

static struct open_listener *listener_of(const struct berth_conn *conn) {
    return conn->listener->state;
}

static void BERTH_CALL on_opened(struct berth_conn *conn) {
    struct view *view = conn->state;
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    callback_begin("opened");
    RULE(view && !view->conversation, "the state is zero before opened");
    conn->host->conn_info(conn, &info);
    unsigned number = info.remote.port - (unsigned)FIRST_PORT;
    RULE(number < world.conversation_count, "the client's address is told");
    struct conversation *conversation = &world.conversations[number];
    RULE(proxy_address_is_right(conversation, &info.remote),
         "the client's address is told: client %u", number);
    const struct listener *listener = (const struct listener *)conn->listener;
    RULE(!atomic_load(&listener->paused), "a listener that is paused admits nobody: client %u",
         number);
    RULE(conn->host->draining(conn->listener) != BERTH_DRAINING_REPLACED || world.memory_failed,
         "a generation that is replaced admits nobody: client %u", number);
    RULE(!client_is_denied(conversation), "\"deny\" lets none of those in: client %u", number);
    RULE(!conversation->is_garbage, "a wrong PROXY header lets nobody in: client %u", number);
    RULE(!conversation->has_opened, "opened comes once: client %u", number);
    view->conversation = conversation;
    conversation->conn = conn;
    conversation->conn_id = conn->id;
    conversation->has_opened = true;
    world.opened++;
    listener_of(conn)->accepted++;
    limits_note_opened(conversation);
    services_pulse(conversation);
    services_use(conversation);
    callback_end();
}

/* How many of the bytes it takes. */
static uint32_t take(struct conversation *conversation, uint32_t size) {
    uint32_t taken = sim_random(4) == 0 ? (uint32_t)sim_random(size + 1ULL) : size;
    conversation->consumed += taken;
    if (size - taken > 0 && taken == 0) { /* else it would be told of the same at every byte */
        conversation->wanted = 0;
    }
    return taken;
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    if (outbound_of(conn)) {
        return outbound_received(outbound_of(conn), data);
    }
    struct conversation *conversation = conversation_of(conn);
    callback_begin("received");
    unsigned number = conversation->number;
    RULE(!conversation->has_called_close, "nothing is delivered after close: client %u", number);
    RULE(!conversation->is_paused, "nothing is delivered while paused: client %u", number);
    RULE(data->size > 0, "received has bytes: client %u", number);
    RULE(data->size >= conversation->wanted || conversation->peer_has_closed ||
             conversation->consumed + data->size == conversation->sent || conversation->is_over ||
             !conversation->began_quiet, /* a reset can be read as a FIN */
         "want_at_least: client %u: %u of %u", number, data->size, conversation->wanted);
    conversation->wanted = 0; /* it is for one call only */
    RULE(conversation->consumed + data->size <= conversation->sent,
         "bytes are conserved: more than client %u sent", number);
    RULE(stream_has(number, STREAM_OF_CLIENT, conversation->consumed, data->bytes, data->size),
         "bytes are in order: client %u, from %llu on", number,
         (unsigned long long)conversation->consumed);
    RULE(conversation->consumed + data->size >= conversation->offered,
         "what is not consumed comes again: client %u", number);
    conversation->offered = conversation->consumed + data->size;
    conversation->is_resumed = false;
    conversation->due_us = 0;
    keep_by_chance(conversation, data);
    services_use(conversation);
    uint32_t taken = take(conversation, data->size);
    callback_end();
    return taken;
}

static void BERTH_CALL on_filled(struct berth_conn *conn) {
    if (outbound_of(conn)) {
        return;
    }
    struct conversation *conversation = conversation_of(conn);
    callback_begin("filled");
    RULE(!conversation->is_filled, "filled and drained come in turns: client %u",
         conversation->number);
    conversation->is_filled = true;
    callback_end();
}

static void BERTH_CALL on_drained(struct berth_conn *conn) {
    if (outbound_of(conn)) {
        return;
    }
    struct conversation *conversation = conversation_of(conn);
    callback_begin("drained");
    RULE(conversation->is_filled, "drained comes after filled: client %u", conversation->number);
    conversation->is_filled = false;
    services_use(conversation);
    callback_end();
}

static void BERTH_CALL on_peer_closed(struct berth_conn *conn) {
    if (outbound_of(conn)) {
        outbound_peer_closed(outbound_of(conn));
        return;
    }
    struct conversation *conversation = conversation_of(conn);
    callback_begin("peer_closed");
    RULE(!conversation->peer_has_closed, "peer_closed comes once: client %u", conversation->number);
    RULE(conversation->offered == conversation->sent || !conversation->began_quiet ||
             conversation->is_over || conversation->temper > TEMPER_POLITE,
         "peer_closed comes when all is shown: client %u, %llu of %llu", conversation->number,
         (unsigned long long)conversation->offered, (unsigned long long)conversation->sent);
    conversation->peer_has_closed = true;
    services_use(conversation);
    if (sim_random(2) == 0) {
        services_close(conversation);
    }
    callback_end();
}

static uint32_t BERTH_CALL on_closing(struct berth_conn *conn, uint32_t reason) {
    if (outbound_of(conn)) {
        return BERTH_CLOSING_CLOSE;
    }
    struct conversation *conversation = conversation_of(conn);
    callback_begin("closing");
    RULE(reason == BERTH_CLOSED_TIMEOUT || reason == BERTH_CLOSED_STOPPING,
         "closing has a reason: %u", reason);
    uint32_t answer = (uint32_t)sim_random(3);
    if (answer == BERTH_CLOSING_ABORT) {
        conversation->was_killed = conversation->is_ending = true;
    }
    if (answer != BERTH_CLOSING_KEEP) {
        conversation_closes(conversation);
    }
    callback_end();
    return answer;
}

/* Ends that can lose bytes. */
static bool loses(uint32_t reason) {
    return reason != BERTH_CLOSED_BY_PLUGIN && reason != BERTH_CLOSED_BY_PEER;
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    if (outbound_of(conn)) {
        outbound_closed(outbound_of(conn));
        return;
    }
    struct conversation *conversation = find_conversation(conn, true);
    callback_begin("closed");
    RULE(reason >= BERTH_CLOSED_BY_PLUGIN && reason <= BERTH_CLOSED_ERROR,
         "closed has a reason: %u", reason);
    RULE(reason != BERTH_CLOSED_FAULT, "the plugin is not at fault: client %u",
         conversation->number);
    RULE(reason != BERTH_CLOSED_ABORTED || conversation->was_killed,
         "closed by abort() comes after it: client %u", conversation->number);
    RULE(reason != BERTH_CLOSED_FILE_SHORT || conversation->short_at > 0 ||
             (conversation->has_sent_file && !conversation->began_quiet),
         "closed by a file that is short comes after one: client %u", conversation->number);
    RULE(reason != BERTH_CLOSED_BY_PLUGIN || conversation->has_called_close,
         "closed by the plugin comes after close(): client %u", conversation->number);
    RULE(reason != BERTH_CLOSED_BY_PEER || conversation->peer_has_closed ||
             conversation->has_called_close,
         "closed by the peer comes after its FIN: client %u", conversation->number);
    conversation->has_closed = true;
    conversation->was_killed |= loses(reason);
    world.closed++;
    world.opened_of[conversation->number % ADDRESSES]--;
    listener_of(conn)->accepted--;
    kept_end(conversation);
    services_end(conversation);
    conversation->conn = NULL;
    callback_end();
}

/* No client is told here, and no connection is opened for it. */
static uint32_t BERTH_CALL on_busy(const struct berth_listener *listener,
                                   const struct berth_busy *busy_for, uint8_t *answer,
                                   uint32_t capacity) {
    (void)busy_for;
    callback_begin("busy");
    RULE(((const struct listener *)listener)->options.refuse_at_limit,
         "busy comes where clients are refused");
    RULE(capacity >= world.busy_bytes, "a busy answer has its room: %u bytes", capacity);
    stream_fill(BUSY, STREAM_OF_PLUGIN, 0, answer, world.busy_bytes);
    world.busy_calls++;
    callback_end();
    return world.busy_bytes;
}

const struct berth_plugin checking_plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .conn_state_size = sizeof(struct view),
    .id = "checking",
    .name = "Checking",
    .version = "1.0.0",
    .load = host_on_load,
    .unload = host_on_unload,
    .listener_open = host_on_listener_open,
    .listener_close = host_on_listener_close,
    .opened = on_opened,
    .received = on_received,
    .filled = on_filled,
    .drained = on_drained,
    .peer_closed = on_peer_closed,
    .closing = on_closing,
    .closed = on_closed,
    .busy = on_busy,
    .datagram = datagrams_on_datagram,
};
