/* The other ends of a testbed's connections: clients, upstream servers, datagram senders. */
#include <utlist.h>

#include "base/alloc.h"
#include "devkit/layer.h"
#include "devkit/testbed_private.h"
#include "net/conn/connection.h"

enum { CHUNK_BYTES = 65536 };

struct testbed_conn {
    struct testbed *bed;
    struct testbed_conn *next;
    struct sim_peer *peer; /* NULL once it has reset the connection */
    uint16_t port;         /* identifies the connection in the layer */
    bool is_upstream;
    struct bytes said;   /* to send, not yet accepted by the network */
    struct bytes output; /* received */
    bool finishes;       /* a FIN follows `said` */
    bool finished;
    bool saw_fin;
    bool is_reset;
    bool is_done;            /* nothing more is received or sent */
    struct layer_conn *side; /* the server's side, once passed to the plugin */
};

/* -- the clients' side ----------------------------------------------------- */

static bool testbed_clients_pump(struct testbed_conn *conn) {
    bool any = false;
    if (!conn->peer) {
        return false;
    }
    if (sim_peer_state(conn->peer) != SIM_PEER_CONNECTED) {
        conn->is_reset |= sim_peer_state(conn->peer) == SIM_PEER_REFUSED;
        return false;
    }
    while (conn->said.size > 0) {
        int64_t taken = sim_peer_send(conn->peer, conn->said.data, conn->said.size);
        if (taken <= 0) {
            break;
        }
        bytes_drop_front(&conn->said, (size_t)taken);
        any = true;
    }
    if (conn->finishes && !conn->finished && conn->said.size == 0) {
        conn->finished = true;
        sim_peer_shutdown_send(conn->peer);
        any = true;
    }
    return any;
}

/* Checks the bytes just received and a few before them. */
static void look_at_answer(struct testbed *bed, const struct bytes *all, size_t size) {
    enum { BEFORE = 7 };
    size = size + BEFORE < all->size ? size + BEFORE : all->size;
    layer_answer(bed, all->data + all->size - size, size);
}

static bool testbed_clients_take(struct testbed_conn *conn) {
    static uint8_t chunk[CHUNK_BYTES];
    uint32_t most = conn->bed->options.taken_at_a_time;
    if (conn->saw_fin || conn->is_reset) {
        return false;
    }
    int64_t size = sim_peer_receive(conn->peer, chunk,
                                    most > 0 && most < sizeof(chunk) ? most : sizeof(chunk));
    if (size > 0 && bytes_add(&conn->output, chunk, (size_t)size)) {
        look_at_answer(conn->bed, &conn->output, (size_t)size);
    }
    conn->saw_fin = size == SIM_PEER_FIN;
    conn->is_reset = size == SIM_PEER_RESET;
    return size != SIM_PEER_NOTHING;
}

static struct layer_conn *testbed_clients_host_side(struct testbed_conn *conn) {
    struct layer_conn *one;
    DL_FOREACH(conn->side ? NULL : conn->bed->layer_conns, one) {
        if (one->peer_port == conn->port) {
            conn->side = one;
            break;
        }
    }
    return conn->side;
}

/* The server has closed and waits for the client's FIN; the client has nothing more to send. */
static bool testbed_clients_answer_fin(struct testbed_conn *conn) {
    const struct layer_conn *one =
        conn->saw_fin && !conn->finishes ? testbed_clients_host_side(conn) : NULL;
    bool drains =
        one && !one->is_over && connection_of(one->conn)->state.life == CONNECTION_DRAINING;
    conn->finishes |= drains;
    return drains;
}

bool testbed_clients_act(struct testbed *bed) {
    bool any = false;
    for (struct testbed_conn *conn = bed->conns; conn; conn = conn->next) {
        if (!conn->is_done) {
            any |= testbed_clients_pump(conn);
            any |= testbed_clients_take(conn);
            any |= testbed_clients_answer_fin(conn);
            conn->is_done = conn->is_reset || (conn->saw_fin && conn->finished);
        }
    }
    return any;
}

/* -- clients --------------------------------------------------------------- */

static void testbed_clients_free_conn(struct testbed_conn *conn) {
    if (conn->peer) {
        sim_peer_close(conn->peer);
    }
    bytes_free(&conn->said);
    bytes_free(&conn->output);
    alloc_free(conn);
}

void testbed_clients_free(struct testbed *bed) {
    while (bed->conns) {
        struct testbed_conn *conn = bed->conns;
        bed->conns = conn->next;
        testbed_clients_free_conn(conn);
    }
    if (bed->upstream) {
        sim_server_close(bed->upstream);
    }
    if (bed->datagrams_peer) {
        sim_datagrams_close(bed->datagrams_peer);
    }
    bytes_free(&bed->datagrams);
}

static struct testbed_conn *testbed_clients_add_conn(struct testbed *bed, struct sim_peer *peer,
                                                     bool is_upstream) {
    struct testbed_conn *conn = peer ? alloc_zeroed(sizeof(*conn)) : NULL;
    struct testbed_conn **last = &bed->conns;
    if (!conn) {
        return NULL;
    }
    conn->bed = bed;
    conn->peer = peer;
    conn->is_upstream = is_upstream;
    conn->port = is_upstream ? sim_peer_remote(peer).port : sim_peer_local(peer).port;
    while (*last) {
        last = &(*last)->next;
    }
    *last = conn;
    return conn;
}

struct testbed_conn *testbed_connect(struct testbed *bed) {
    struct berth_address to = testbed_loopback(bed->port);
    const struct sim_peer_options options = {.window = bed->options.taken_at_a_time};
    if (!bed->is_open) {
        return NULL;
    }
    struct testbed_conn *conn =
        testbed_clients_add_conn(bed, sim_peer_connect(&to, &options), false);
    if (conn && !testbed_has_given_up()) {
        testbed_settle_some(bed);
    }
    return conn;
}

void testbed_client_send(struct testbed_conn *conn, const void *bytes, size_t size) {
    if (!conn->finishes && !conn->is_reset && !testbed_has_given_up()) {
        bytes_add(&conn->said, bytes, size);
        testbed_settle_some(conn->bed);
    }
}

void testbed_client_finish(struct testbed_conn *conn) {
    conn->finishes = true;
    testbed_settle_some(conn->bed);
}

void testbed_client_reset(struct testbed_conn *conn) {
    if (conn->peer) {
        sim_peer_reset(conn->peer);
        conn->peer = NULL;
        conn->is_reset = true;
    }
    testbed_settle_some(conn->bed);
}

const uint8_t *testbed_output(const struct testbed_conn *conn, size_t *size) {
    *size = conn->output.size;
    return conn->output.data;
}

void testbed_output_clear(struct testbed_conn *conn) {
    conn->output.size = 0;
}

enum testbed_state testbed_conn_state(struct testbed_conn *conn) {
    const struct layer_conn *one = testbed_clients_host_side(conn);
    if (conn->is_reset) {
        return TESTBED_RESET;
    }
    if (conn->saw_fin && (!one || one->is_over)) {
        return TESTBED_CLOSED;
    }
    return conn->saw_fin ? TESTBED_FINISHED : TESTBED_OPEN;
}

/* -- upstream, datagrams --------------------------------------------------- */

static void testbed_clients_on_upstream(struct sim_server *server, struct sim_peer *peer,
                                        void *context) {
    (void)server;
    if (!testbed_clients_add_conn(context, peer, true)) {
        sim_peer_close(peer);
    }
}

void testbed_upstream_expect(struct testbed *bed, bool expected) {
    const struct sim_server_options options = {.address = testbed_loopback(0),
                                               .backlog = 16,
                                               .accepted = testbed_clients_on_upstream,
                                               .context = bed};
    if (expected && !bed->upstream) {
        bed->upstream = sim_server_open(&options);
    }
    bed->upstream_expected = expected && bed->upstream;
}

struct testbed_conn *testbed_upstream(struct testbed *bed, unsigned index) {
    for (struct testbed_conn *conn = bed->conns; conn; conn = conn->next) {
        if (conn->is_upstream && index-- == 0) {
            return conn;
        }
    }
    return NULL;
}

static void testbed_clients_on_datagram(struct sim_datagrams *socket, void *context) {
    static uint8_t bytes[CHUNK_BYTES];
    struct testbed *bed = context;
    struct berth_address from;
    int64_t size;
    while ((size = sim_datagrams_receive(socket, &from, bytes, sizeof(bytes))) >= 0) {
        if (bytes_add(&bed->datagrams, bytes, (size_t)size)) {
            look_at_answer(bed, &bed->datagrams, (size_t)size);
        }
    }
}

void testbed_datagram(struct testbed *bed, const void *bytes, size_t size) {
    struct berth_address to = testbed_loopback(bed->port);
    if (!bed->options.datagrams || testbed_has_given_up()) {
        return;
    }
    if (!bed->datagrams_peer) {
        bed->datagrams_peer =
            sim_datagrams_open(testbed_loopback(0), testbed_clients_on_datagram, bed);
    }
    if (bed->datagrams_peer) {
        sim_datagrams_send(bed->datagrams_peer, &to, bytes, size);
        testbed_settle_some(bed);
    }
}

const uint8_t *testbed_datagrams(const struct testbed *bed, size_t *size) {
    *size = bed->datagrams.size;
    return bed->datagrams.data;
}

void testbed_datagrams_clear(struct testbed *bed) {
    bed->datagrams.size = 0;
}
