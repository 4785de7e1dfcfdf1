#include "outbound_by_chance.h"

#include <stdlib.h>
#include <utlist.h>

#include "berth/connect.h"
#include "host_in_world.h"
#include "net/listen/listener.h"
#include "rule.h"
#include "world.h"

enum {
    UPSTREAM = 900,     /* the number of the streams, which all these connections have */
    ANSWER_BYTES = 300, /* few, as a world can let each byte travel alone */
    ASKED_BYTES = 200,
    CONNECT_MS = 3000,
    REFUSED = 200000, /* millionths */
};

#define NAME "upstream.test"

/* -- the server ------------------------------------------------------------ */

struct upstream {
    struct upstream *prev, *next;
    uint64_t sent;
    uint64_t received;
    uint64_t size;
};

static struct berth_address address;
static struct berth_address second; /* of one that refuses nobody */
static struct upstream *upstreams;

static void end(struct sim_peer *peer, struct upstream *upstream) {
    sim_peer_on_change(peer, NULL, NULL);
    sim_peer_close(peer);
    DL_DELETE(upstreams, upstream);
    free(upstream);
}

static void upstream_writes(struct sim_peer *peer, struct upstream *upstream) {
    uint8_t bytes[ANSWER_BYTES];
    while (upstream->sent < upstream->size) {
        uint64_t size = upstream->size - upstream->sent;
        stream_fill(UPSTREAM, STREAM_OF_CLIENT, upstream->sent, bytes, size);
        int64_t sent = sim_peer_send(peer, bytes, size);
        if (sent <= 0) {
            return;
        }
        upstream->sent += (uint64_t)sent;
        if (upstream->sent == upstream->size) {
            sim_peer_shutdown_send(peer);
        }
    }
}

static void upstream_goes_on(struct sim_peer *peer, void *context) {
    struct upstream *upstream = context;
    uint8_t bytes[ASKED_BYTES];
    int64_t size;
    while ((size = sim_peer_receive(peer, bytes, sizeof(bytes))) > 0) {
        RULE(stream_has(UPSTREAM, STREAM_OF_PLUGIN, upstream->received, bytes, (uint64_t)size),
             "bytes are in order: the upstream server received others at %llu",
             (unsigned long long)upstream->received);
        upstream->received += (uint64_t)size;
    }
    if (size == SIM_PEER_FIN || size == SIM_PEER_RESET) {
        end(peer, upstream);
    } else {
        upstream_writes(peer, upstream);
    }
}

static void on_client(struct sim_server *server, struct sim_peer *peer, void *context) {
    struct upstream *upstream = calloc(1, sizeof(*upstream));
    (void)server;
    (void)context;
    RULE(upstream, "there is memory for the model");
    DL_APPEND(upstreams, upstream);
    upstream->size = 1 + sim_random(ANSWER_BYTES);
    sim_peer_on_change(peer, upstream_goes_on, upstream);
    upstream_goes_on(peer, upstream);
}

static struct berth_address open_server(uint32_t refuse) {
    struct sim_server_options options = {
        .address = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}},
        .backlog = 100,
        .refuse = refuse,
        .accepted = on_client,
    };
    struct sim_server *server = sim_server_open(&options);
    RULE(server, "an upstream server can be opened");
    return sim_server_address(server);
}

/* A name has two addresses, and nobody listens at the first one. */
void upstream_start(void) {
    struct berth_address nobody = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 9}};
    address = open_server(REFUSED);
    second = open_server(0);
    sim_name_add(NAME, &nobody);
    sim_name_add(NAME, &second);
}

void upstream_stop(void) {
    while (upstreams) { /* connected so late that no FIN has come */
        struct upstream *upstream = upstreams;
        DL_DELETE(upstreams, upstream);
        free(upstream);
    }
}

/* -- the plugin's side ----------------------------------------------------- */

struct outbound {
    struct conversation *asker;
    struct open_listener *listener;
    struct berth_conn *conn;
    uint64_t given;
    uint64_t consumed;
    bool peer_has_closed;
    bool is_by_name;
    bool began_quiet;
};

static void give(struct outbound *outbound) {
    uint8_t bytes[ASKED_BYTES];
    uint32_t size = (uint32_t)(1 + sim_random(sizeof(bytes)));
    stream_fill(UPSTREAM, STREAM_OF_PLUGIN, outbound->given, bytes, size);
    if (outbound->conn->host->send(outbound->conn, bytes, size) == BERTH_OK) {
        outbound->given += size;
        world.outbound_given += size;
    }
}

/* With the connect, by chance. */
static void give_first(struct outbound *outbound, const struct berth_host *host,
                       struct berth_slice *slice) {
    uint32_t size = (uint32_t)(1 + sim_random(ASKED_BYTES));
    if (sim_random(2) == 0 && host->buffer_create(host, size, slice) == BERTH_OK) {
        stream_fill(UPSTREAM, STREAM_OF_PLUGIN, 0, slice->bytes, size);
        slice->size = size;
        outbound->given = size;
    }
}

static bool is_known_failure(int32_t status) {
    return status == BERTH_E_REFUSED || status == BERTH_E_UNREACHABLE ||
           status == BERTH_E_TIMEOUT || status == BERTH_E_CANCELLED ||
           status == BERTH_E_NO_MEMORY || status == BERTH_E_FAILED;
}

static void BERTH_CALL on_connected(struct berth_conn *conn, int32_t status, void *argument) {
    struct outbound *outbound = argument;
    callback_begin("connected");
    RULE(world.pending > 0 && outbound->listener->answers > 0, "connects are answered once");
    world.pending--;
    outbound->listener->answers--;
    outbound->listener->outbound -= conn == NULL;
    outbound->listener->outbound_late +=
        status == BERTH_E_TIMEOUT || status == BERTH_E_CANCELLED; /* it may go on for a while */
    RULE((status == BERTH_OK) == (conn != NULL), "a connect has a connection if it is OK");
    RULE(conn || is_known_failure(status), "a connect fails for a known reason: %d", status);
    RULE(status == BERTH_OK || status == BERTH_E_CANCELLED || !outbound->is_by_name ||
             !outbound->began_quiet,
         "the second address of a name is tried: %d", status);
    RULE(status != BERTH_E_CANCELLED || !outbound->asker->has_closed,
         "a connect is cancelled before its asker has closed: client %u", outbound->asker->number);
    if (conn) {
        RULE((conn->flags & BERTH_CONN_OUTBOUND) != 0, "an outbound connection says so");
        ((struct view *)conn->state)->outbound = outbound;
        outbound->conn = conn;
        world.connected++;
        world.outbound_given += outbound->given;
        give(outbound);
    } else {
        free(outbound);
    }
    callback_end();
}

void outbound_ask(struct conversation *asker) {
    struct berth_conn *conn = asker->conn;
    const struct berth_connect_host *connect = conn->host->query(conn->host, BERTH_CONNECT_ID);
    struct outbound *outbound = calloc(1, sizeof(*outbound));
    RULE(outbound, "there is memory for the model");
    outbound->asker = asker;
    outbound->listener = conn->listener->state;
    outbound->is_by_name = sim_random(2) == 0;
    outbound->began_quiet = !world.is_faulty;
    struct berth_connect_request request = {.struct_size = sizeof(request),
                                            .timeout_ms = CONNECT_MS,
                                            .host = outbound->is_by_name ? NAME : "127.0.0.1",
                                            .port =
                                                outbound->is_by_name ? second.port : address.port};
    give_first(outbound, conn->host, &request.first_data);
    const struct listener *listener = (const struct listener *)conn->listener;
    unsigned before = atomic_load(&listener->outbound);
    int32_t status = connect->connect(conn, &request, on_connected, outbound);
    RULE(status != BERTH_E_LIMIT || outbound->is_by_name ||
             before >= listener->options.outbound_max,
         "limits.outbound is exact: %u of %u", before, listener->options.outbound_max);
    if (status == BERTH_OK) {
        world.pending++;
        outbound->listener->answers++;
        outbound->listener->outbound++;
        RULE(outbound->listener->outbound <= listener->options.outbound_max,
             "limits.outbound is not exceeded: %u of %u", outbound->listener->outbound,
             listener->options.outbound_max);
    } else {
        RULE(status == BERTH_E_LIMIT || status == BERTH_E_GONE || status == BERTH_E_NO_MEMORY,
             "a connect is refused for a known reason: %d", status);
        free(outbound);
    }
}

uint32_t outbound_received(struct outbound *outbound, const struct berth_slice *data) {
    callback_begin("received");
    RULE(stream_has(UPSTREAM, STREAM_OF_CLIENT, outbound->consumed, data->bytes, data->size),
         "bytes are in order: from the upstream server at %llu",
         (unsigned long long)outbound->consumed);
    outbound->consumed += data->size;
    if (sim_random(10) == 0) {
        give(outbound);
    }
    callback_end();
    return data->size;
}

void outbound_peer_closed(struct outbound *outbound) {
    callback_begin("peer_closed");
    RULE(!outbound->peer_has_closed, "peer_closed comes once: an outbound connection");
    outbound->peer_has_closed = true;
    outbound->conn->host->close(outbound->conn);
    callback_end();
}

void outbound_closed(struct outbound *outbound) {
    callback_begin("closed");
    outbound->listener->outbound--;
    world.connected_closed++;
    free(outbound);
    callback_end();
}
