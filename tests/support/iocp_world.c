#include "iocp_world.h"

/* -- fixture --------------------------------------------------------------- */

bool buffer_take(void *context, struct engine_buffer *buffer) {
    struct world *world = context;
    if (world->buffers_left == 0) {
        return false;
    }
    buffer->bytes = alloc_zeroed(BUFFER_BYTES);
    buffer->owner = buffer->bytes;
    buffer->size = BUFFER_BYTES;
    world->buffers_left--;
    world->buffers_out++;
    return buffer->owner != NULL;
}

void buffer_give(void *context, void *owner) {
    struct world *world = context;
    alloc_free(owner);
    world->buffers_left++;
    world->buffers_out--;
}

uint8_t *buffer_bytes(void *owner) {
    return owner;
}

void starved(struct engine_acceptor *acceptor, void *context) {
    struct world *world = context;
    assert_ptr_equal(acceptor, world->acceptor);
    world->starved++;
}

const struct berth_address loopback = {BERTH_FAMILY_IPV4, 0, 0, {127, 0, 0, 1}};

static void world_open(struct world *world) {
    struct error error = {0};
    memset(world, 0, sizeof(*world));
    world->buffers_left = 1000;
    world->engine = engine_iocp_create(&winsock_faults, &error);
    assert_non_null(world->engine);
    struct engine_port_options port_options = {
        .buffers = {world, BUFFER_BYTES, buffer_take, buffer_give, buffer_bytes},
        .burst_buffers = 4,
    };
    world->port = engine_port_create(world->engine, &port_options, &error);
    assert_non_null(world->port);
    struct engine_listen_options options = {.address = loopback,
                                            .backlog = 50,
                                            .acceptors = 1,
                                            .sockets = {.no_delay = true},
                                            .reuse_sockets = true};
    world->listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(world->listener);
    assert_true(engine_listener_start(world->listener, &error));
    world->acceptor =
        engine_acceptor_create(world->port, world->listener, 0, starved, world, &error);
    assert_non_null(world->acceptor);
}

static void world_close(struct world *world) {
    engine_acceptor_destroy(world->acceptor);
    engine_listener_close(world->listener);
    assert_int_equal(engine_port_pending(world->port), 0);
    engine_port_destroy(world->port);
    engine_destroy(world->engine);
    assert_int_equal(world->buffers_out, 0);
}

int setup(void **state) {
    static struct world world;
    faults_reset();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    world_open(&world);
    *state = &world;
    return 0;
}

int setup_after(void **state, void (*prepare)(void)) {
    static struct world world;
    faults_reset();
    prepare();
    world_open(&world);
    *state = &world;
    return 0;
}

/* The same on a machine whose provider does not allow skipping packets. */
int setup_without_skipping(void **state) {
    static struct world world;
    faults_reset();
    faults_fail(FAULT_SET_MODES, 0, 1, ERROR_INVALID_PARAMETER);
    world_open(&world);
    assert_false(world.engine->skip_success);
    *state = &world;
    return 0;
}

static int setup_reusing(void **state, enum fault_call call, bool skipping) {
    static struct world world;
    faults_reset();
    faults_mend_reuse(call);
    if (!skipping) {
        faults_fail(FAULT_SET_MODES, 0, 1, ERROR_INVALID_PARAMETER);
    }
    world_open(&world);
    assert_int_equal(world.engine->skip_success, skipping);
    *state = &world;
    return 0;
}

int setup_disconnecting(void **state) {
    return setup_reusing(state, FAULT_DISCONNECT, true);
}

int setup_disconnecting_without_skipping(void **state) {
    return setup_reusing(state, FAULT_DISCONNECT, false);
}

int setup_transmitting(void **state) {
    return setup_reusing(state, FAULT_TRANSMIT, true);
}

int teardown(void **state) {
    world_close(*state);
    return 0;
}

bool run_until(struct world *world, const bool *done) {
    for (int i = 0; i < RUNS_MAX && !*done; i++) {
        engine_port_run(world->port, 50);
    }
    return *done;
}

void run_some(struct world *world) {
    for (int i = 0; i < 6; i++) {
        engine_port_run(world->port, 20);
    }
}

/* -- clients: blocking sockets of the system ------------------------------- */

SOCKET client_connect(struct world *world) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons(engine_listener_address(world->listener).port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    SOCKET client = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    assert_true(client != INVALID_SOCKET);
    assert_int_equal(connect(client, (struct sockaddr *)&to, sizeof(to)), 0);
    DWORD timeout_ms = 10000;
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, (char *)&timeout_ms, sizeof(timeout_ms));
    return client;
}

void client_send(SOCKET client, const char *text) {
    assert_int_equal(send(client, text, (int)strlen(text), 0), (int)strlen(text));
}

void client_expect(SOCKET client, const char *text) {
    char bytes[256];
    size_t size = strlen(text);
    for (size_t got = 0; got < size;) {
        int n = recv(client, bytes + got, (int)(size - got), 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(bytes, text, size);
}

/* -- the server's side ----------------------------------------------------- */

static void accept_complete(struct engine_op *op, int64_t result) {
    struct accepted *accepted =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_accept, op), struct accepted, accept);
    assert_false(accepted->done);
    accepted->done = true;
    accepted->result = result;
}

void accept_start(struct world *world, struct accepted *accepted, bool with_data) {
    accept_start_at(world, accepted, with_data, NULL);
}

void accept_start_at(struct world *world, struct accepted *accepted, bool with_data,
                     struct engine_port *home) {
    memset(accepted, 0, sizeof(*accepted));
    accepted->accept.op.complete = accept_complete;
    accepted->accept.with_data = with_data;
    accepted->accept.home = home;
    engine_accept(world->acceptor, &accepted->accept);
    assert_false(accepted->done);
}

void accept_close(struct world *world, struct accepted *accepted) {
    if (accepted->accept.data.owner) {
        buffer_give(world, accepted->accept.data.owner);
    }
    engine_close(world->engine, accepted->accept.socket, true);
}

/* A client comes, says something and is accepted: the listener is in good health. */
void expect_accepting(struct world *world) {
    struct accepted accepted;
    accept_start(world, &accepted, true);
    SOCKET client = client_connect(world);
    client_send(client, "hello");
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 5);
    assert_memory_equal(accepted.accept.data.bytes, "hello", 5);
    assert_int_equal(accepted.accept.remote.family, BERTH_FAMILY_IPV4);
    assert_int_equal(accepted.accept.local.port, engine_listener_address(world->listener).port);
    accept_close(world, &accepted);
    closesocket(client);
}

static void receive_complete(struct engine_op *op, int64_t result) {
    struct connection *connection =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_receive, op), struct connection, receive);
    assert_false(connection->ended);
    if (result <= 0) {
        connection->ended = true;
        connection->result = result;
        return;
    }
    const struct engine_buffer *data = engine_received(connection->world->port);
    assert_int_equal(data->size, result);
    memcpy(connection->received + connection->size, data->bytes, (size_t)result);
    connection->size += (size_t)result;
    buffer_give(connection->world, data->owner);
    if (++connection->deliveries == connection->stop_at) {
        engine_receive_stop(connection->world->port, connection->socket, &connection->receive);
        engine_receive_stop(connection->world->port, connection->socket, &connection->receive);
        assert_false(connection->ended);
    }
}

static void send_complete(struct engine_op *op, int64_t result) {
    struct connection *connection = CONTAINER_OF(op, struct connection, send);
    assert_false(connection->sent);
    connection->sent = true;
    connection->send_result = result;
}

struct connection *connection_open(struct world *world) {
    struct connection *connection = alloc_zeroed(sizeof(*connection));
    struct accepted accepted;
    accept_start(world, &accepted, false);
    connection->client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 0);
    connection->world = world;
    connection->socket = accepted.accept.socket;
    connection->receive.op.complete = receive_complete;
    connection->send.complete = send_complete;
    assert_true(engine_attach(world->port, &connection->socket, NULL));
    return connection;
}

void connection_close(struct connection *connection) {
    engine_close(connection->world->engine, connection->socket, true);
    closesocket(connection->client);
    alloc_free(connection);
}

void receive_start(struct connection *connection, enum engine_receive_mode mode) {
    connection->ended = false;
    engine_receive_start(connection->world->port, connection->socket, &connection->receive, mode,
                         true);
    assert_false(connection->ended);
}

void expect_received(struct connection *connection, const char *text) {
    size_t size = strlen(text);
    for (int i = 0; i < RUNS_MAX && connection->size < size && !connection->ended; i++) {
        engine_port_run(connection->world->port, 50);
    }
    assert_int_equal(connection->size, size);
    assert_memory_equal(connection->received, text, size);
    connection->size = 0;
}

void expect_stopped(struct connection *connection) {
    engine_receive_stop(connection->world->port, connection->socket, &connection->receive);
    assert_false(connection->ended);
    assert_true(run_until(connection->world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_CANCELLED);
}
