/* test_iocp_faults.c: the IOCP engine on a Winsock that misbehaves (winsock_faults.h). After every
 * fault the listener and the connections must go on as engine.h says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "winsock_faults.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/engine_iocp.h"

enum {
    BUFFER_BYTES = 512, /* small, so that a flood is many of them */
    FLOOD_BUFFERS = 60,
    RUNS_MAX = 200, /* of 50 ms: how long anything may take that does happen */
    RECEIVED_MAX = 1 << 16,
};

/* -- fixture -------------------------------------------------------------------------------------
 */

struct world {
    struct engine *engine;
    struct engine_port *port;
    struct engine_listener *listener;
    struct engine_acceptor *acceptor;
    unsigned buffers_left; /* how many more the source lends */
    unsigned buffers_out;
    unsigned starved;
};

static bool buffer_take(void *context, struct engine_buffer *buffer) {
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

static void buffer_give(void *context, void *owner) {
    struct world *world = context;
    alloc_free(owner);
    world->buffers_left++;
    world->buffers_out--;
}

static void starved(struct engine_acceptor *acceptor, void *context) {
    struct world *world = context;
    assert_ptr_equal(acceptor, world->acceptor);
    world->starved++;
}

static const struct berth_address loopback = {BERTH_FAMILY_IPV4, 0, 0, {127, 0, 0, 1}};

static void world_open(struct world *world) {
    struct error error = {{0}};
    memset(world, 0, sizeof(*world));
    world->buffers_left = 1000;
    world->engine = engine_iocp_create(&winsock_faults, &error);
    assert_non_null(world->engine);
    struct engine_port_options port_options = {
        .buffers = {world, BUFFER_BYTES, buffer_take, buffer_give},
    };
    world->port = engine_port_create(world->engine, &port_options, &error);
    assert_non_null(world->port);
    struct engine_listen_options options = {
        .address = loopback, .backlog = 50, .acceptors = 1, .no_delay = true};
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

static int setup(void **state) {
    static struct world world;
    faults_reset();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    world_open(&world);
    *state = &world;
    return 0;
}

/* The same on a machine whose provider does not allow skipping packets. */
static int setup_without_skipping(void **state) {
    static struct world world;
    faults_reset();
    faults_fail(FAULT_SET_MODES, 0, 1, ERROR_INVALID_PARAMETER);
    world_open(&world);
    assert_false(world.engine->skip_success);
    *state = &world;
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    return 0;
}

static bool run_until(struct world *world, const bool *done) {
    for (int i = 0; i < RUNS_MAX && !*done; i++) {
        engine_port_run(world->port, 50);
    }
    return *done;
}

static void run_some(struct world *world) {
    for (int i = 0; i < 6; i++) {
        engine_port_run(world->port, 20);
    }
}

/* -- clients: blocking sockets of the system ----------------------------------------------------
 */

static SOCKET client_connect(struct world *world) {
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

static void client_send(SOCKET client, const char *text) {
    assert_int_equal(send(client, text, (int)strlen(text), 0), (int)strlen(text));
}

static void client_expect(SOCKET client, const char *text) {
    char bytes[256];
    size_t size = strlen(text);
    for (size_t got = 0; got < size;) {
        int n = recv(client, bytes + got, (int)(size - got), 0);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(bytes, text, size);
}

/* -- the server's side ---------------------------------------------------------------------------
 */

struct accepted {
    struct engine_accept accept;
    bool done;
    int64_t result;
};

static void accept_complete(struct engine_op *op, int64_t result) {
    struct accepted *accepted =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_accept, op), struct accepted, accept);
    assert_false(accepted->done);
    accepted->done = true;
    accepted->result = result;
}

static void accept_start(struct world *world, struct accepted *accepted, bool with_data) {
    memset(accepted, 0, sizeof(*accepted));
    accepted->accept.op.complete = accept_complete;
    accepted->accept.with_data = with_data;
    engine_accept(world->acceptor, &accepted->accept);
    assert_false(accepted->done);
}

static void accept_close(struct world *world, struct accepted *accepted) {
    if (accepted->accept.data.owner) {
        buffer_give(world, accepted->accept.data.owner);
    }
    engine_close(world->engine, accepted->accept.socket, true);
}

/* A client comes, says something and is accepted: the listener is in good health. */
static void expect_accepting(struct world *world) {
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

struct connection {
    struct world *world;
    SOCKET client;
    struct engine_socket socket;
    struct engine_receive receive;
    struct engine_op send;
    char received[RECEIVED_MAX];
    size_t size;
    unsigned deliveries;
    unsigned stop_at; /* stop the receive at this delivery; 0: never */
    bool ended;
    int64_t result;
    bool sent;
    int64_t send_result;
};

static void receive_complete(struct engine_op *op, int64_t result) {
    struct connection *connection =
        CONTAINER_OF(CONTAINER_OF(op, struct engine_receive, op), struct connection, receive);
    assert_false(connection->ended);
    if (result <= 0) {
        connection->ended = true;
        connection->result = result;
        return;
    }
    assert_int_equal(connection->receive.data.size, result);
    memcpy(connection->received + connection->size, connection->receive.data.bytes, (size_t)result);
    connection->size += (size_t)result;
    buffer_give(connection->world, connection->receive.data.owner);
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

static struct connection *connection_open(struct world *world) {
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
    assert_true(engine_attach(world->port, connection->socket, NULL));
    return connection;
}

static void connection_close(struct connection *connection) {
    engine_close(connection->world->engine, connection->socket, true);
    closesocket(connection->client);
    alloc_free(connection);
}

static void receive_start(struct connection *connection, enum engine_receive_mode mode) {
    connection->ended = false;
    engine_receive_start(connection->world->port, connection->socket, &connection->receive, mode);
    assert_false(connection->ended);
}

static void expect_received(struct connection *connection, const char *text) {
    size_t size = strlen(text);
    for (int i = 0; i < RUNS_MAX && connection->size < size && !connection->ended; i++) {
        engine_port_run(connection->world->port, 50);
    }
    assert_int_equal(connection->size, size);
    assert_memory_equal(connection->received, text, size);
    connection->size = 0;
}

static void expect_stopped(struct connection *connection) {
    engine_receive_stop(connection->world->port, connection->socket, &connection->receive);
    assert_false(connection->ended);
    assert_true(run_until(connection->world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_CANCELLED);
}

/* -- accepting -----------------------------------------------------------------------------------
 */

static void test_accept_succeeding_at_once_completes_through_the_port(void **state) {
    struct world *world = *state;
    for (int with_data = 0; with_data <= 1; with_data++) {
        SOCKET client = client_connect(world);
        client_send(client, "now");
        struct accepted accepted;
        faults_at_once(FAULT_ACCEPT, 1);
        accept_start(world, &accepted, with_data);
        assert_int_equal(faults_injected(FAULT_ACCEPT), 1 + with_data);
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, with_data ? 3 : 0);
        assert_true((accepted.accept.data.owner != NULL) == (bool)with_data);
        accept_close(world, &accepted);
        closesocket(client);
    }
    expect_accepting(world);
}

static void test_accept_failing_to_post_completes_with_no_resources(void **state) {
    struct world *world = *state;
    static const struct {
        enum fault_call call;
        int code;
    } faults[] = {{FAULT_ACCEPT, WSAENOBUFS},
                  {FAULT_SOCKET, WSAEMFILE},
                  {FAULT_SOCKET, WSAENOBUFS},
                  {FAULT_ACCEPT, ERROR_NO_SYSTEM_RESOURCES}};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct accepted accepted;
        faults_fail(faults[i].call, 0, 1, faults[i].code);
        accept_start(world, &accepted, i % 2);
        assert_int_equal(engine_accept_connected_ms(&accepted.accept), -1);
        engine_accept_cancel(world->acceptor, &accepted.accept); /* too late, and harmless */
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
        assert_null(accepted.accept.data.owner);
        expect_accepting(world);
    }
}

static void test_accept_without_memory_completes_with_no_resources(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    unsigned before = world->buffers_left;
    world->buffers_left = 0;
    accept_start(world, &accepted, true);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
    world->buffers_left = before;

    alloc_fail_after(0, false);
    accept_start(world, &accepted, false);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
    expect_accepting(world);
}

static void test_accept_completing_with_an_error_leaves_the_listener_accepting(void **state) {
    struct world *world = *state;
    static const struct {
        int code;
        int64_t result;
    } faults[] = {{ERROR_NETNAME_DELETED, ENGINE_E_RESET}, {ERROR_UNEXP_NET_ERR, ENGINE_E_RESET},
                  {WSAECONNRESET, ENGINE_E_RESET},         {ERROR_SEM_TIMEOUT, ENGINE_E_TIMED_OUT},
                  {WSAENOBUFS, ENGINE_E_NO_RESOURCES},     {12345, ENGINE_E_OTHER}};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct accepted accepted;
        faults_complete(FAULT_ACCEPT, 1, faults[i].code);
        accept_start(world, &accepted, true);
        SOCKET client = client_connect(world);
        client_send(client, "x");
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, faults[i].result);
        assert_null(accepted.accept.data.owner);
        assert_true(accepted.accept.socket.handle == ENGINE_NO_SOCKET.handle);
        closesocket(client);
        expect_accepting(world);
    }
}

static void test_accept_failing_to_open_the_socket_completes_with_an_error(void **state) {
    struct world *world = *state;
    for (unsigned pass = 0; pass < 2; pass++) { /* the context, then TCP_NODELAY */
        struct accepted accepted;
        accept_start(world, &accepted, false);
        SOCKET client = client_connect(world);
        faults_fail(FAULT_SETSOCKOPT, pass, 1, WSAENOTCONN);
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, ENGINE_E_RESET);
        closesocket(client);
    }
    expect_accepting(world);
}

static void test_accept_with_a_fin_and_no_data_completes_with_zero(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, true);
    SOCKET client = client_connect(world);
    shutdown(client, SD_SEND);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 0);
    assert_null(accepted.accept.data.owner);
    accept_close(world, &accepted);
    closesocket(client);
}

static void test_accept_cancelled_ends_its_silent_client(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, true);
    SOCKET client = client_connect(world);
    run_some(world);
    assert_false(accepted.done);
    assert_true(engine_accept_connected_ms(&accepted.accept) >= 0);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    assert_false(accepted.done);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    char byte;
    assert_true(recv(client, &byte, 1, 0) <= 0);
    assert_int_not_equal(WSAGetLastError(), WSAETIMEDOUT);
    closesocket(client);

    accept_start(world, &accepted, true); /* nobody came */
    assert_int_equal(engine_accept_connected_ms(&accepted.accept), -1);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    expect_accepting(world);
}

/* Windows drops such a client or completes the accept with 64, Wine completes it with 59. */
static void test_accept_of_a_client_reset_in_the_backlog_goes_on(void **state) {
    struct world *world = *state;
    SOCKET client = client_connect(world);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client, SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof(linger));
    closesocket(client);
    struct accepted accepted;
    accept_start(world, &accepted, true);
    run_some(world);
    if (!accepted.done) {
        engine_accept_cancel(world->acceptor, &accepted.accept);
        assert_true(run_until(world, &accepted.done));
    }
    assert_true(accepted.result == ENGINE_E_RESET || accepted.result == ENGINE_E_CANCELLED);
    assert_null(accepted.accept.data.owner);
    expect_accepting(world);
}

static void test_accept_on_a_dual_stack_listener_shows_ipv4_clients_as_such(void **state) {
    struct world *world = *state;
    struct error error = {{0}};
    struct engine_listen_options options = {
        .address = {.family = BERTH_FAMILY_IPV6}, .backlog = 5, .acceptors = 1};
    struct engine_listener *ipv4 = world->listener;
    struct engine_acceptor *ipv4_acceptor = world->acceptor;
    world->listener = engine_listener_open(world->engine, &options, &error);
    if (!world->listener && strcmp(error.message, "address family not supported") == 0) {
        world->listener = ipv4;
        skip(); /* no IPv6 on this machine */
    }
    assert_non_null(world->listener);
    assert_true(engine_listener_start(world->listener, &error));
    world->acceptor =
        engine_acceptor_create(world->port, world->listener, 0, starved, world, &error);
    assert_non_null(world->acceptor);
    expect_accepting(world);
    engine_acceptor_destroy(world->acceptor);
    engine_listener_close(world->listener);
    world->listener = ipv4;
    world->acceptor = ipv4_acceptor;
}

static void test_acceptor_without_accepts_is_starved_once_for_each_post(void **state) {
    struct world *world = *state;
    SOCKET clients[3];
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = client_connect(world);
    }
    for (int i = 0; i < RUNS_MAX && world->starved == 0; i++) {
        engine_port_run(world->port, 50);
    }
    run_some(world);
    assert_int_equal(world->starved, 1);
    /* A failed post is none, and does not make the event come again and again. */
    struct accepted accepted;
    faults_fail(FAULT_ACCEPT, 0, 1, WSAENOBUFS);
    accept_start(world, &accepted, false);
    assert_true(run_until(world, &accepted.done));
    run_some(world);
    assert_int_equal(world->starved, 1);
    for (unsigned i = 0; i < ARRAY_COUNT(clients); i++) {
        accept_start(world, &accepted, false);
        assert_true(run_until(world, &accepted.done));
        accept_close(world, &accepted);
        bool more = i + 1 < ARRAY_COUNT(clients);
        for (int j = 0; more && j < RUNS_MAX && world->starved < i + 2; j++) {
            engine_port_run(world->port, 50);
        }
        run_some(world);
        assert_int_equal(world->starved, more ? i + 2 : i + 1);
        closesocket(clients[i]);
    }
    expect_accepting(world);
}

static void test_acceptor_with_silent_clients_only_is_starved(void **state) {
    struct world *world = *state;
    struct accepted accepted[2];
    SOCKET clients[3];
    accept_start(world, &accepted[0], true);
    accept_start(world, &accepted[1], true);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        run_some(world);
        assert_int_equal(world->starved, 0);
        clients[i] = client_connect(world);
    }
    for (int i = 0; i < RUNS_MAX && world->starved == 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(world->starved, 1);
    client_send(clients[2], "hello");
    struct accepted third;
    accept_start(world, &third, true);
    assert_true(run_until(world, &third.done));
    assert_int_equal(third.result, 5);
    accept_close(world, &third);
    for (size_t i = 0; i < ARRAY_COUNT(accepted); i++) {
        engine_accept_cancel(world->acceptor, &accepted[i].accept);
        assert_true(run_until(world, &accepted[i].done));
    }
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        closesocket(clients[i]);
    }
    expect_accepting(world);
}

static void test_starved_is_told_although_the_wake_up_failed(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_PORT_POST, 0, 1000, WSAENOBUFS);
    SOCKET client = client_connect(world);
    for (int i = 0; i < RUNS_MAX && world->starved == 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(world->starved, 1);
    closesocket(client);
    struct accepted accepted;
    accept_start(world, &accepted, false);
    assert_true(run_until(world, &accepted.done));
    if (accepted.result >= 0) {
        accept_close(world, &accepted);
    }
}

/* -- receiving -----------------------------------------------------------------------------------
 */

static void receive_in_both_modes(struct world *world, void (*inject)(void)) {
    static const enum engine_receive_mode modes[] = {ENGINE_RECEIVE_ZERO_BYTE,
                                                     ENGINE_RECEIVE_BUFFERED};
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct connection *connection = connection_open(world);
        client_send(connection->client, "before");
        inject();
        receive_start(connection, modes[i]);
        expect_received(connection, "before");
        client_send(connection->client, "after");
        expect_received(connection, "after");
        expect_stopped(connection);

        client_send(connection->client, "again");
        inject();
        receive_start(connection, modes[i]);
        expect_received(connection, "again");
        shutdown(connection->client, SD_SEND);
        assert_true(run_until(world, &connection->ended));
        assert_int_equal(connection->result, 0);
        connection_close(connection);
    }
}

static void inject_receive_at_once(void) { faults_at_once(FAULT_RECEIVE, 1); }

static void inject_receive_later(void) { faults_later(FAULT_RECEIVE, 1); }

static void test_receive_succeeding_at_once_delivers_everything(void **state) {
    receive_in_both_modes(*state, inject_receive_at_once);
    assert_true(faults_injected(FAULT_RECEIVE) > 0);
}

static void test_receive_completing_later_delivers_everything(void **state) {
    receive_in_both_modes(*state, inject_receive_later);
}

static void test_receive_succeeding_at_once_for_long_lets_others_run(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    /* Each receive fills its buffer and the FIN follows, so that all succeed at once to the end. */
    static char flood[FLOOD_BUFFERS * BUFFER_BYTES];
    memset(flood, 'f', sizeof(flood));
    assert_int_equal(send(connection->client, flood, sizeof(flood), 0), sizeof(flood));
    shutdown(connection->client, SD_SEND);
    faults_at_once(FAULT_RECEIVE, 1000);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    for (int i = 0; i < RUNS_MAX && !connection->ended; i++) {
        unsigned before = connection->deliveries;
        engine_port_run(world->port, 50);
        assert_true(connection->deliveries - before <= IOCP_INLINE_MAX + 1);
    }
    assert_true(connection->ended);
    assert_int_equal(connection->result, 0);
    assert_int_equal(connection->size, sizeof(flood));
    connection_close(connection);
}

static void test_receive_failing_to_post_for_memory_goes_on(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    /* With a buffer: falls back to no bytes. That too: waits and tries again. */
    for (unsigned failures = 1; failures <= 3; failures++) {
        faults_fail(FAULT_RECEIVE, 0, failures, WSAENOBUFS);
        receive_start(connection, ENGINE_RECEIVE_BUFFERED);
        client_send(connection->client, "hello");
        expect_received(connection, "hello");
        expect_stopped(connection);
        faults_fail(FAULT_RECEIVE, 0, failures, WSAENOBUFS);
        receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
        client_send(connection->client, "again");
        expect_received(connection, "again");
        expect_stopped(connection);
    }
    faults_fail(FAULT_READ, 0, 1, WSAENOBUFS);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    client_send(connection->client, "read");
    expect_received(connection, "read");
    expect_stopped(connection);
    connection_close(connection);
}

static void test_receive_completing_without_memory_goes_on(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_complete(FAULT_RECEIVE, 1, WSAENOBUFS);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    client_send(connection->client, "hello");
    expect_received(connection, "hello");
    expect_stopped(connection);
    connection_close(connection);
}

static void test_receive_completing_with_an_error_ends_with_it(void **state) {
    struct world *world = *state;
    static const struct {
        int code;
        int64_t result;
    } faults[] = {
        {ERROR_NETNAME_DELETED, ENGINE_E_RESET},
        {ERROR_CONNECTION_ABORTED, ENGINE_E_RESET},
        {WSAECONNRESET, ENGINE_E_RESET},
        {WSAECONNABORTED, ENGINE_E_RESET},
        {676, ENGINE_E_CANCELLED},
        {ERROR_OPERATION_ABORTED, ENGINE_E_CANCELLED},
        {ERROR_SEM_TIMEOUT, ENGINE_E_TIMED_OUT},
        {WSAENETRESET, ENGINE_E_TIMED_OUT},
        {WSAEHOSTUNREACH, ENGINE_E_UNREACHABLE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct connection *connection = connection_open(world);
        faults_complete(FAULT_RECEIVE, 1, faults[i].code);
        receive_start(connection, i % 2 ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE);
        client_send(connection->client, "x");
        assert_true(run_until(world, &connection->ended));
        assert_int_equal(connection->result, faults[i].result);
        assert_int_equal(connection->size, 0);
        assert_int_equal(world->buffers_out, 0);
        connection_close(connection);
    }
}

static void test_receive_failing_at_start_completes_from_the_loop(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_fail(FAULT_RECEIVE, 0, 1, WSAECONNRESET);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_RESET);
    faults_fail(FAULT_READ, 0, 1, WSAECONNRESET);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    client_send(connection->client, "x");
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_RESET);
    connection_close(connection);
}

static void test_receive_stopped_in_its_completion_ends_after_it(void **state) {
    struct world *world = *state;
    for (int mode = 0; mode <= 1; mode++) {
        struct connection *connection = connection_open(world);
        connection->stop_at = 1;
        receive_start(connection, mode ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE);
        client_send(connection->client, "hello");
        assert_true(run_until(world, &connection->ended));
        assert_int_equal(connection->result, ENGINE_E_CANCELLED);
        assert_int_equal(connection->deliveries, 1);
        connection_close(connection);
    }
}

static void test_receive_stopped_before_its_late_completion_ends_once(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_hold();
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    client_send(connection->client, "late");
    for (int i = 0; i < RUNS_MAX && faults_held() == 0; i++) {
        engine_port_run(world->port, 20);
    }
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    faults_release_reversed();
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_CANCELLED);
    assert_int_equal(connection->size, 4); /* what came first is not lost */
    connection_close(connection);
}

static void test_receives_without_buffers_are_served_in_order(void **state) {
    struct world *world = *state;
    struct connection *connections[3];
    for (size_t i = 0; i < ARRAY_COUNT(connections); i++) {
        connections[i] = connection_open(world);
    }
    unsigned before = world->buffers_left;
    world->buffers_left = 0;
    for (size_t i = 0; i < ARRAY_COUNT(connections); i++) {
        receive_start(connections[i], i == 1 ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE);
        client_send(connections[i]->client, "hungry");
        run_some(world);
        assert_int_equal(connections[i]->size, 0);
    }
    /* One that waits for memory can be stopped. */
    expect_stopped(connections[1]);
    world->buffers_left = before;
    expect_received(connections[0], "hungry");
    expect_received(connections[2], "hungry");
    expect_stopped(connections[0]);
    expect_stopped(connections[2]);
    for (size_t i = 0; i < ARRAY_COUNT(connections); i++) {
        connection_close(connections[i]);
    }
}

/* -- sending -------------------------------------------------------------------------------------
 */

static int64_t send_hello(struct connection *connection) {
    static const struct engine_piece pieces[] = {{(const uint8_t *)"hel", 3},
                                                 {(const uint8_t *)"lo", 2}};
    connection->sent = false;
    return engine_send(connection->world->port, connection->socket, &connection->send, pieces,
                       ARRAY_COUNT(pieces));
}

static void expect_sent(struct connection *connection, int64_t returned) {
    if (returned == ENGINE_PENDING) {
        assert_true(run_until(connection->world, &connection->sent));
        assert_int_equal(connection->send_result, 5);
    } else {
        assert_int_equal(returned, 5);
        run_some(connection->world);
        assert_false(connection->sent);
    }
    client_expect(connection->client, "hello");
}

static void test_send_succeeding_at_once_has_no_completion(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    for (int i = 0; i < 3; i++) {
        faults_at_once(FAULT_SEND, 1);
        int64_t returned = send_hello(connection);
        assert_int_equal(returned, world->engine->skip_success ? 5 : ENGINE_PENDING);
        expect_sent(connection, returned);
    }
    assert_int_equal(faults_injected(FAULT_SEND), 3);
    connection_close(connection);
}

static void test_send_completing_later_tells_the_bytes(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_later(FAULT_SEND, 1);
    int64_t returned = send_hello(connection);
    assert_int_equal(returned, ENGINE_PENDING);
    expect_sent(connection, returned);
    expect_sent(connection, send_hello(connection));
    connection_close(connection);
}

static void test_send_failing_returns_the_error_and_has_no_completion(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_fail(FAULT_SEND, 0, 1, WSAENOBUFS);
    assert_int_equal(send_hello(connection), ENGINE_E_NO_RESOURCES);
    faults_fail(FAULT_SEND, 0, 1, WSAECONNABORTED);
    assert_int_equal(send_hello(connection), ENGINE_E_RESET);
    run_some(world);
    assert_false(connection->sent);
    assert_int_equal(engine_port_pending(world->port), 0);
    expect_sent(connection, send_hello(connection));
    faults_fail(FAULT_SHUTDOWN, 0, 1, WSAENOTCONN);
    assert_int_equal(engine_shutdown_send(world->port, connection->socket), ENGINE_E_RESET);
    connection_close(connection);
}

static void test_send_completing_with_an_error_tells_it(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_later(FAULT_SEND, 1);
    faults_complete(FAULT_SEND, 1, ERROR_NETNAME_DELETED);
    assert_int_equal(send_hello(connection), ENGINE_PENDING);
    assert_true(run_until(world, &connection->sent));
    assert_int_equal(connection->send_result, ENGINE_E_RESET);
    connection_close(connection);
}

static void test_completions_late_and_reordered_find_their_operations(void **state) {
    struct world *world = *state;
    struct connection *first = connection_open(world);
    struct connection *second = connection_open(world);
    faults_hold();
    faults_later(FAULT_SEND, 2);
    receive_start(first, ENGINE_RECEIVE_ZERO_BYTE);
    receive_start(second, ENGINE_RECEIVE_BUFFERED);
    client_send(first->client, "one");
    client_send(second->client, "two");
    assert_int_equal(send_hello(first), ENGINE_PENDING);
    assert_int_equal(send_hello(second), ENGINE_PENDING);
    for (int i = 0; i < RUNS_MAX && faults_held() < 4; i++) {
        engine_port_run(world->port, 20);
    }
    assert_int_equal(faults_held(), 4);
    assert_int_equal(first->size + second->size, 0);
    faults_release_reversed();
    expect_received(first, "one");
    expect_received(second, "two");
    assert_true(run_until(world, &first->sent));
    assert_true(run_until(world, &second->sent));
    assert_int_equal(first->send_result, 5);
    assert_int_equal(second->send_result, 5);
    expect_stopped(first);
    expect_stopped(second);
    connection_close(first);
    connection_close(second);
}

/* -- set-up and posts ----------------------------------------------------------------------------
 */

struct posted {
    struct engine_op op;
    bool done;
};

static void post_complete(struct engine_op *op, int64_t result) {
    assert_int_equal(result, 0);
    CONTAINER_OF(op, struct posted, op)->done = true;
}

static void test_post_completes_although_no_packet_could_be_queued(void **state) {
    struct world *world = *state;
    struct posted first = {.op = {.complete = post_complete}};
    struct posted second = {.op = {.complete = post_complete}};
    faults_fail(FAULT_PORT_POST, 0, 2, WSAENOBUFS);
    engine_port_post(world->port, &first.op);
    engine_port_post(world->port, &second.op);
    assert_true(run_until(world, &second.done));
    assert_true(first.done);
}

static void test_attach_failing_says_why(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, false);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    struct error error = {{0}};
    faults_fail(FAULT_PORT_CREATE, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_false(engine_attach(world->port, accepted.accept.socket, &error));
    assert_non_null(strstr(error.message, "Windows error 8"));
    faults_fail(FAULT_SET_MODES, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_false(engine_attach(world->port, accepted.accept.socket, &error));
    accept_close(world, &accepted);
    closesocket(client);
    expect_accepting(world);
}

static void test_acceptor_failing_to_open_says_why_and_leaks_nothing(void **state) {
    struct world *world = *state;
    static const enum fault_call calls[] = {FAULT_PORT_CREATE, FAULT_WAIT_REGISTER,
                                            FAULT_EVENT_SELECT};
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        struct error error = {{0}};
        struct engine_listen_options options = {.address = loopback, .backlog = 5, .acceptors = 1};
        struct engine_listener *listener = engine_listener_open(world->engine, &options, &error);
        assert_non_null(listener);
        faults_fail(calls[i], 0, 1, ERROR_NOT_ENOUGH_MEMORY);
        assert_null(engine_acceptor_create(world->port, listener, 0, starved, world, &error));
        assert_non_null(strstr(error.message, "Windows error 8"));
        alloc_fail_after(0, false);
        assert_null(engine_acceptor_create(world->port, listener, 0, starved, world, &error));
        engine_listener_close(listener);
    }
}

static void test_listener_failing_to_open_gives_the_reason(void **state) {
    struct world *world = *state;
    static const struct {
        enum fault_call call;
        int code;
        const char *text;
    } faults[] = {{FAULT_SOCKET, WSAEAFNOSUPPORT, "address family not supported"},
                  {FAULT_SETSOCKOPT, WSAEACCES, "access denied"},
                  {FAULT_BIND, WSAEADDRINUSE, "address in use"},
                  {FAULT_BIND, WSAEACCES, "access denied"},
                  {FAULT_BIND, WSAEADDRNOTAVAIL, "address not available"},
                  {FAULT_IOCTL, WSAEOPNOTSUPP, "Windows error 10045"}};
    struct engine_listen_options options = {.address = loopback, .backlog = 500, .acceptors = 1};
    struct error error = {{0}};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        faults_fail(faults[i].call, 0, 1, faults[i].code);
        assert_null(engine_listener_open(world->engine, &options, &error));
        assert_non_null(strstr(error.message, faults[i].text));
    }
    alloc_fail_after(0, false);
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_string_equal(error.message, "out of memory");
    options.address = engine_listener_address(world->listener);
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_string_equal(error.message, "address in use");

    options.address = loopback;
    struct engine_listener *listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(listener);
    faults_fail(FAULT_LISTEN, 0, 1, WSAEADDRINUSE);
    assert_false(engine_listener_start(listener, &error));
    assert_string_equal(error.message, "address in use");
    assert_true(engine_listener_start(listener, &error));
    engine_listener_close(listener);
}

static void test_engine_and_port_failing_to_start_say_why(void **state) {
    struct world *world = *state;
    struct error error = {{0}};
    faults_fail(FAULT_STARTUP, 0, 1, WSASYSNOTREADY);
    assert_null(engine_iocp_create(&winsock_faults, &error));
    assert_non_null(strstr(error.message, "10091"));
    alloc_fail_after(0, false);
    assert_null(engine_iocp_create(&winsock_faults, &error));

    struct engine_port_options options = {
        .buffers = {world, BUFFER_BYTES, buffer_take, buffer_give}};
    faults_fail(FAULT_PORT_CREATE, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_null(engine_port_create(world->engine, &options, &error));
    assert_non_null(strstr(error.message, "Windows error 8"));
    alloc_fail_after(0, false);
    assert_null(engine_port_create(world->engine, &options, &error));
    options.buffers.capacity = IOCP_ADDRESSES_ROOM;
    assert_null(engine_port_create(world->engine, &options, &error));
    assert_non_null(strstr(error.message, "too small"));
}

#define BOTH_WAYS(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, setup, teardown), {                                      \
#test "_without_skipping", test, setup_without_skipping, teardown, NULL                    \
    }
#define ONE_WAY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        ONE_WAY(test_accept_succeeding_at_once_completes_through_the_port),
        ONE_WAY(test_accept_failing_to_post_completes_with_no_resources),
        ONE_WAY(test_accept_without_memory_completes_with_no_resources),
        ONE_WAY(test_accept_completing_with_an_error_leaves_the_listener_accepting),
        ONE_WAY(test_accept_failing_to_open_the_socket_completes_with_an_error),
        ONE_WAY(test_accept_with_a_fin_and_no_data_completes_with_zero),
        ONE_WAY(test_accept_cancelled_ends_its_silent_client),
        ONE_WAY(test_accept_of_a_client_reset_in_the_backlog_goes_on),
        ONE_WAY(test_accept_on_a_dual_stack_listener_shows_ipv4_clients_as_such),
        ONE_WAY(test_acceptor_without_accepts_is_starved_once_for_each_post),
        ONE_WAY(test_acceptor_with_silent_clients_only_is_starved),
        ONE_WAY(test_starved_is_told_although_the_wake_up_failed),
        BOTH_WAYS(test_receive_succeeding_at_once_delivers_everything),
        BOTH_WAYS(test_receive_completing_later_delivers_everything),
        BOTH_WAYS(test_receive_succeeding_at_once_for_long_lets_others_run),
        BOTH_WAYS(test_receive_failing_to_post_for_memory_goes_on),
        BOTH_WAYS(test_receive_completing_without_memory_goes_on),
        BOTH_WAYS(test_receive_completing_with_an_error_ends_with_it),
        BOTH_WAYS(test_receive_failing_at_start_completes_from_the_loop),
        BOTH_WAYS(test_receive_stopped_in_its_completion_ends_after_it),
        BOTH_WAYS(test_receive_stopped_before_its_late_completion_ends_once),
        BOTH_WAYS(test_receives_without_buffers_are_served_in_order),
        BOTH_WAYS(test_send_succeeding_at_once_has_no_completion),
        BOTH_WAYS(test_send_completing_later_tells_the_bytes),
        BOTH_WAYS(test_send_failing_returns_the_error_and_has_no_completion),
        BOTH_WAYS(test_send_completing_with_an_error_tells_it),
        BOTH_WAYS(test_completions_late_and_reordered_find_their_operations),
        ONE_WAY(test_post_completes_although_no_packet_could_be_queued),
        ONE_WAY(test_attach_failing_says_why),
        ONE_WAY(test_acceptor_failing_to_open_says_why_and_leaks_nothing),
        ONE_WAY(test_listener_failing_to_open_gives_the_reason),
        ONE_WAY(test_engine_and_port_failing_to_start_say_why),
    };
    return cmocka_run_group_tests_name("iocp_faults", tests, NULL, NULL);
}
