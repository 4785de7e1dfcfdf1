#include "sim_echo.h"

#include "sim_clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/macros.h"

enum {
    PORTS_MAX = 4,
    ACCEPTS = 4, /* posted on each acceptor */
    BUFFER_BYTES = 512,
    STEPS_MAX = 4000000,
    END_MS = 4000000, /* virtual: later than any time-out of the world */
    RETRY_US = 50000, /* of an accept that failed */
};

/* -- the server ------------------------------------------------------------ */

struct chunk {
    struct chunk *next;
    uint8_t *owner;
    uint32_t size;
    uint32_t sent;
};

struct server;

struct connection {
    struct server *server;
    unsigned port;
    struct engine_socket socket;
    struct engine_receive receive;
    struct engine_op send;
    struct engine_op enter;
    struct chunk *first;
    struct chunk *last;
    bool is_receiving;
    bool is_sending;
    bool is_finished; /* the peer's FIN has come */
    bool is_broken;
};

struct acceptor {
    struct server *server;
    struct engine_acceptor *acceptor;
    struct slot {
        struct acceptor *acceptor;
        struct engine_accept accept;
        struct sim_timer again;
        bool is_posted;
    } slots[ACCEPTS];
};

struct server {
    struct engine *engine;
    struct engine_listener *listener;
    struct engine_port *ports[PORTS_MAX];
    unsigned port_count;
    struct acceptor acceptors[PORTS_MAX];
    unsigned acceptor_count;
    unsigned buffers;
    unsigned connections;
    bool is_stopping;
    struct sim_echo_result result;
};

static bool buffer_take(void *context, struct engine_buffer *buffer) {
    struct server *server = context;
    uint8_t *bytes = malloc(BUFFER_BYTES);
    assert_non_null(bytes);
    server->buffers++;
    *buffer = (struct engine_buffer){bytes, bytes, BUFFER_BYTES};
    return true;
}

static void buffer_give(void *context, void *owner) {
    struct server *server = context;
    assert_true(server->buffers > 0);
    server->buffers--;
    free(owner);
}

static uint8_t *buffer_bytes(void *owner) {
    return owner;
}

static struct engine_port *port_of(const struct connection *connection) {
    return connection->server->ports[connection->port];
}

static void connection_go_on(struct connection *connection);

static void drop_first(struct connection *connection) {
    struct chunk *chunk = connection->first;
    connection->first = chunk->next;
    buffer_give(connection->server, chunk->owner);
    free(chunk);
}

static void connection_end(struct connection *connection) {
    struct server *server = connection->server;
    while (connection->first) {
        drop_first(connection);
    }
    if (connection->is_broken) {
        engine_close(server->engine, connection->socket, true);
    } else {
        engine_recycle(port_of(connection), connection->socket);
    }
    server->connections--;
    free(connection);
}

static void take_sent(struct connection *connection, int64_t sent) {
    if (sent < 0) {
        connection->is_broken = true;
        return;
    }
    connection->first->sent += (uint32_t)sent;
    assert_true(connection->first->sent <= connection->first->size);
    if (connection->first->sent == connection->first->size) {
        drop_first(connection);
    }
}

static void on_sent(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, send);
    assert_true(connection->is_sending);
    connection->is_sending = false;
    take_sent(connection, result);
    connection_go_on(connection);
}

/* Whatever can be done now; it may be freed within. */
static void connection_go_on(struct connection *connection) {
    while (connection->first && !connection->is_sending && !connection->is_broken) {
        const struct chunk *chunk = connection->first;
        struct engine_piece piece = {.bytes = chunk->owner + chunk->sent,
                                     .size = chunk->size - chunk->sent};
        int64_t sent =
            engine_send(port_of(connection), connection->socket, &connection->send, &piece, 1);
        connection->is_sending = sent == ENGINE_PENDING;
        if (!connection->is_sending) {
            take_sent(connection, sent);
        }
    }
    if (connection->is_broken && connection->is_sending) {
        engine_send_cancel(port_of(connection), connection->socket, &connection->send);
    }
    if (connection->is_broken && connection->is_receiving) {
        engine_receive_stop(port_of(connection), connection->socket, &connection->receive);
    }
    if (connection->is_sending || connection->is_receiving) {
        return;
    }
    if (!connection->is_broken &&
        engine_shutdown_send(port_of(connection), connection->socket) < 0) {
        connection->is_broken = true;
    }
    connection_end(connection);
}

static void keep(struct connection *connection, const struct engine_buffer *data) {
    struct chunk *chunk = calloc(1, sizeof(*chunk));
    assert_non_null(chunk);
    chunk->owner = data->owner;
    chunk->size = data->size;
    if (connection->first) {
        connection->last->next = chunk;
    } else {
        connection->first = chunk;
    }
    connection->last = chunk;
}

static void on_received(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, receive.op);
    assert_true(connection->is_receiving);
    if (result > 0) {
        keep(connection, engine_received(port_of(connection)));
    } else {
        connection->is_receiving = false;
        connection->is_finished = result == 0;
        connection->is_broken = connection->is_broken || result < 0;
    }
    connection_go_on(connection);
}

static void on_enter(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, enter);
    struct engine_port *port = port_of(connection);
    assert_int_equal(result, 0);
    connection->receive.op.complete = on_received;
    connection->send.complete = on_sent;
    connection->is_receiving = true;
    engine_receive_start(port, connection->socket, &connection->receive,
                         sim_random(2) ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE,
                         !connection->first);
    if (connection->first) {
        connection_go_on(connection);
    }
}

static void post(struct slot *slot) {
    slot->accept.with_data = sim_random(2) == 1;
    slot->accept.home = NULL;
    slot->is_posted = true;
    engine_accept(slot->acceptor->acceptor, &slot->accept);
}

static void post_again(struct sim_timer *timer) {
    struct slot *slot = CONTAINER_OF(timer, struct slot, again);
    if (!slot->acceptor->server->is_stopping) {
        post(slot);
    }
}

static unsigned index_of(const struct server *server, const struct engine_port *port) {
    unsigned index = 0;
    while (server->ports[index] != port) {
        index++;
    }
    return index;
}

static void enter(struct server *server, struct engine_accept *accept) {
    struct connection *connection = calloc(1, sizeof(*connection));
    assert_non_null(connection);
    connection->server = server;
    connection->socket = accept->socket;
    connection->enter.complete = on_enter;
    connection->port =
        accept->home ? index_of(server, accept->home) : (unsigned)sim_random(server->port_count);
    if (accept->data.owner) {
        keep(connection, &accept->data);
    }
    if (!accept->home && !engine_attach(port_of(connection), &connection->socket, NULL)) {
        while (connection->first) {
            drop_first(connection);
        }
        engine_close(server->engine, connection->socket, true);
        free(connection);
        return;
    }
    server->connections++;
    server->result.served++;
    engine_port_post(port_of(connection), &connection->enter);
}

static void on_accepted(struct engine_op *op, int64_t result) {
    struct slot *slot = CONTAINER_OF(op, struct slot, accept.op);
    struct server *server = slot->acceptor->server;
    slot->is_posted = false;
    if (result >= 0) {
        enter(server, &slot->accept);
    }
    if (server->is_stopping) {
        return;
    }
    if (result < 0) {
        sim_timer_set(&slot->again, sim_now_us() + RETRY_US);
    } else {
        post(slot);
    }
}

static void on_starved(struct engine_acceptor *acceptor, void *context) {
    (void)acceptor;
    (void)context;
}

static void server_start(struct server *server, unsigned ports) {
    struct error error = {0};
    struct engine_options engine = {0};
    server->engine = engine_create(&engine, &error);
    assert_non_null(server->engine);
    bool on_workers = engine_traits(server->engine)->accept_on_workers;
    server->port_count = ports;
    server->acceptor_count = on_workers ? ports : 1;
    struct engine_port_options port = {
        .buffers = {server, BUFFER_BYTES, buffer_take, buffer_give, buffer_bytes},
        .receive_buffers = 4,
        .receive_buffers_max = 16,
        .burst_buffers = 3,
    };
    for (unsigned i = 0; i < ports; i++) {
        server->ports[i] = engine_port_create(server->engine, &port, &error);
        assert_non_null(server->ports[i]);
    }
    struct engine_listen_options listen = {
        .address = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}, .port = 7},
        .acceptors = server->acceptor_count,
        .backlog = 16,
        .reuse_sockets = true,
        .sockets = {.keepalive_idle_s = 60, .keepalive_interval_s = 10, .keepalive_probes = 3},
    };
    server->listener = engine_listener_open(server->engine, &listen, &error);
    assert_non_null(server->listener);
    assert_true(engine_listener_start(server->listener, &error));
    for (unsigned i = 0; i < server->acceptor_count; i++) {
        struct acceptor *acceptor = &server->acceptors[i];
        acceptor->server = server;
        acceptor->acceptor = engine_acceptor_create(server->ports[i], server->listener, i,
                                                    on_starved, acceptor, &error);
        assert_non_null(acceptor->acceptor);
        for (unsigned k = 0; k < ACCEPTS; k++) {
            acceptor->slots[k].acceptor = acceptor;
            acceptor->slots[k].accept.op.complete = on_accepted;
            acceptor->slots[k].again.fire = post_again;
            post(&acceptor->slots[k]);
        }
    }
}

static void server_stop_accepting(struct server *server) {
    server->is_stopping = true;
    for (unsigned i = 0; i < server->acceptor_count; i++) {
        for (unsigned k = 0; k < ACCEPTS; k++) {
            struct slot *slot = &server->acceptors[i].slots[k];
            sim_timer_cancel(&slot->again);
            if (slot->is_posted) {
                engine_accept_cancel(server->acceptors[i].acceptor, &slot->accept);
            }
        }
    }
}

static void server_end(struct server *server) {
    for (unsigned i = 0; i < server->acceptor_count; i++) {
        engine_acceptor_destroy(server->acceptors[i].acceptor);
    }
    engine_listener_close(server->listener);
    for (unsigned i = 0; i < server->port_count; i++) {
        assert_int_equal(engine_port_pending(server->ports[i]), 0);
        engine_port_destroy(server->ports[i]);
    }
    assert_int_equal(server->buffers, 0);
    assert_int_equal(sim_sockets(), 0);
    assert_int_equal(sim_operations(), 0);
    engine_destroy(server->engine);
}

/* -- the world ------------------------------------------------------------- */

static bool is_at_rest(const struct server *server) {
    for (unsigned i = 0; i < server->port_count; i++) {
        if (engine_port_pending(server->ports[i]) > 0) {
            return false;
        }
    }
    return server->connections == 0;
}

struct sim_echo_result sim_echo_run(const struct sim_options *options, unsigned ports,
                                    unsigned clients, bool tempers) {
    struct server server = {0};
    static const struct berth_address to = {.family = BERTH_FAMILY_IPV4, .port = 7};
    sim_world_create(options);
    uint64_t start_us = sim_now_us();
    uint64_t end_ms = start_us / 1000 + END_MS;
    server_start(&server, ports);
    struct sim_clients *all = sim_clients_start(&to, clients, tempers);
    for (unsigned step = 0; !server.is_stopping || !is_at_rest(&server); step++) {
        struct engine_port *port;
        assert_true(step < STEPS_MAX);
        enum sim_next next = sim_step(end_ms, &port);
        assert_int_not_equal(next, SIM_IDLE);
        if (next == SIM_RUN_PORT) {
            engine_port_run(port, 0);
            sim_check();
        }
        if (!server.is_stopping && sim_clients_over(all)) {
            server_stop_accepting(&server);
        }
    }
    server_end(&server);
    server.result.trace_hash = sim_trace_hash();
    server.result.virtual_ms = (sim_now_us() - start_us) / 1000;
    server.result.clients = sim_clients_end(all);
    sim_world_destroy();
    return server.result;
}
