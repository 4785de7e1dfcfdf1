/* test_iocp_cancel_faults.c: the IOCP engine on a Winsock that loses cancels (winsock_faults.h).
 * Every operation ends all the same: by the close of its socket, or by being abandoned, after which
 * a packet of it may still come. */
#include "iocp_world.h"

#include "os/os.h"

enum { CLOSE_MS = 60, ABANDON_MS = 120, FLOOD = 1 << 20 };

static struct world *hurry(void **state) {
    struct world *world = *state;
    world->engine->cancel_close_ms = CLOSE_MS;
    world->engine->cancel_abandon_ms = ABANDON_MS;
    faults_ignore_cancels(true);
    return world;
}

/* Nothing more is pending; whatever the system still has of it may come. */
static void expect_nothing_pending(struct world *world) {
    for (int i = 0; i < RUNS_MAX && engine_port_pending(world->port) > 0; i++) {
        engine_port_run(world->port, 20);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    faults_ignore_cancels(false);
    faults_release_reversed();
    run_some(world);
    assert_int_equal(engine_port_pending(world->port), 0);
}

static bool sees_the_end(SOCKET client) {
    char byte;
    return recv(client, &byte, 1, 0) <= 0;
}

/* -- accepts --------------------------------------------------------------- */

static void test_accept_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    struct world *world = hurry(state);
    struct accepted accepted;
    accept_start(world, &accepted, true);
    SOCKET client = client_connect(world);
    run_some(world);
    assert_true(engine_accept_connected_ms(&accepted.accept) >= 0);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    assert_int_equal(faults_ignored_cancels(), 1);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    assert_int_equal(accepted.accept.socket.handle, ENGINE_NO_SOCKET.handle);
    assert_true(sees_the_end(client));
    closesocket(client);
    expect_nothing_pending(world);
    expect_accepting(world);
}

/* The client speaks before its socket is closed: it is served. */
static void test_accept_whose_cancel_comes_too_late_is_delivered(void **state) {
    struct world *world = hurry(state);
    struct accepted accepted;
    world->engine->cancel_close_ms = 5000;
    accept_start(world, &accepted, true);
    SOCKET client = client_connect(world);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    client_send(client, "late");
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 4);
    accept_close(world, &accepted);
    closesocket(client);
}

static void test_accept_that_never_ends_is_abandoned(void **state) {
    struct world *world = hurry(state);
    struct accepted accepted[2];
    for (int i = 0; i < 2; i++) {
        accept_start(world, &accepted[i], i == 0);
    }
    faults_hold();
    for (int i = 0; i < 2; i++) {
        engine_accept_cancel(world->acceptor, &accepted[i].accept);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(run_until(world, &accepted[i].done));
        assert_int_equal(accepted[i].result, ENGINE_E_ABANDONED);
    }
    world->buffers_out--; /* the first one's is the system's for ever */
    assert_int_equal(faults_held(), 2);
    expect_nothing_pending(world);
    expect_accepting(world);
}

/* -- connects -------------------------------------------------------------- */

struct attempt {
    struct engine_connect connect;
    bool done;
    int64_t result;
};

static void attempt_complete(struct engine_op *op, int64_t result) {
    struct attempt *attempt = CONTAINER_OF(op, struct attempt, connect.op);
    assert_false(attempt->done);
    attempt->done = true;
    attempt->result = result;
}

/* Connected by the system, and not known to be: its packet is held. */
static void attempt_cancel(struct world *world, struct attempt *attempt) {
    *attempt = (struct attempt){.connect.op.complete = attempt_complete,
                                .connect.remote = engine_listener_address(world->listener)};
    faults_hold();
    engine_connect(world->port, &attempt->connect);
    run_some(world);
    engine_connect_cancel(world->port, &attempt->connect);
    engine_connect_cancel(world->port, &attempt->connect);
    assert_int_equal(faults_ignored_cancels(), 1);
    assert_false(attempt->done);
}

static void test_connect_that_succeeds_after_its_close_was_cancelled(void **state) {
    struct world *world = hurry(state);
    struct attempt attempt;
    unsigned before = faults_calls(FAULT_CLOSE);
    world->engine->cancel_abandon_ms = 60000;
    attempt_cancel(world, &attempt);
    for (int i = 0; i < RUNS_MAX && faults_calls(FAULT_CLOSE) == before; i++) {
        engine_port_run(world->port, 20);
    }
    faults_release_reversed();
    assert_true(run_until(world, &attempt.done));
    assert_int_equal(attempt.result, ENGINE_E_CANCELLED);
    assert_int_equal(attempt.connect.socket.handle, ENGINE_NO_SOCKET.handle);
    assert_int_equal(faults_calls(FAULT_CLOSE), before + 1);
    expect_nothing_pending(world);
}

static void test_connect_that_never_ends_is_abandoned(void **state) {
    struct world *world = hurry(state);
    struct attempt attempt;
    unsigned before = faults_calls(FAULT_CLOSE);
    attempt_cancel(world, &attempt);
    assert_true(run_until(world, &attempt.done));
    assert_int_equal(attempt.result, ENGINE_E_ABANDONED);
    assert_int_equal(faults_calls(FAULT_CLOSE), before + 1);
    expect_nothing_pending(world);
}

/* -- connections ----------------------------------------------------------- */

static void connection_free(struct connection *connection) {
    assert_int_equal(connection->socket.handle, ENGINE_NO_SOCKET.handle);
    closesocket(connection->client);
    alloc_free(connection);
}

static bool close_in_flight(struct connection *connection, bool receives, bool sends) {
    return engine_close_in_flight(connection->world->port, &connection->socket,
                                  receives ? &connection->receive : NULL,
                                  sends ? &connection->send : NULL);
}

static void receive_is_closed(void **state, enum engine_receive_mode mode) {
    struct world *world = hurry(state);
    struct connection *connection = connection_open(world);
    receive_start(connection, mode);
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    run_some(world);
    assert_false(connection->ended);
    assert_true(close_in_flight(connection, true, false));
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_CANCELLED);
    assert_true(sees_the_end(connection->client));
    connection_free(connection);
    expect_nothing_pending(world);
}

static void test_receive_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    receive_is_closed(state, ENGINE_RECEIVE_BUFFERED);
}

static void test_receive_of_no_bytes_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    receive_is_closed(state, ENGINE_RECEIVE_ZERO_BYTE);
}

/* Completions that wait to be run may be among them: nothing is closed before they are. */
static void test_socket_is_closed_when_the_completions_that_came_are_run(void **state) {
    struct world *world = hurry(state);
    struct connection *connection = connection_open(world);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    world->port->is_saturated = true; /* as the pass before has left it */
    assert_false(close_in_flight(connection, true, false));
    assert_true(connection->socket.handle != ENGINE_NO_SOCKET.handle);
    run_some(world);
    assert_false(world->port->is_saturated);
    assert_true(close_in_flight(connection, true, false));
    assert_true(run_until(world, &connection->ended));
    connection_free(connection);
    /* Not for ever, however much comes. */
    connection = connection_open(world);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    world->port->is_saturated = true;
    world->engine->cancel_close_ms = 0;
    assert_true(close_in_flight(connection, true, false));
    assert_true(run_until(world, &connection->ended));
    connection_free(connection);
    expect_nothing_pending(world);
}

/* More than the connection takes: the send is pending. */
static void send_flood(struct connection *connection, unsigned pieces) {
    static uint8_t bytes[FLOOD];
    struct engine_piece all[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < pieces; i++) {
        all[i] = (struct engine_piece){.bytes = bytes, .size = sizeof(bytes)};
    }
    int64_t result = 0;
    for (int i = 0; i < RUNS_MAX && result >= 0; i++) {
        result = engine_send(connection->world->port, connection->socket, &connection->send, all,
                             pieces);
    }
    assert_int_equal(result, ENGINE_PENDING);
    run_some(connection->world);
    assert_false(connection->sent);
    engine_send_cancel(connection->world->port, connection->socket, &connection->send);
    run_some(connection->world);
    assert_false(connection->sent);
}

static void test_send_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    struct world *world = hurry(state);
    struct connection *connection = connection_open(world);
    send_flood(connection, ENGINE_PIECES_MAX);
    assert_true(close_in_flight(connection, false, true));
    assert_true(run_until(world, &connection->sent));
    assert_int_equal(connection->send_result, ENGINE_E_CANCELLED);
    connection_free(connection);
    expect_nothing_pending(world);
}

static void test_connection_that_never_ends_is_abandoned(void **state) {
    struct world *world = hurry(state);
    struct connection *connection = connection_open(world);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    send_flood(connection, ENGINE_PIECES_MAX);
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    faults_hold();
    assert_true(close_in_flight(connection, true, true));
    assert_true(run_until(world, &connection->ended));
    assert_true(run_until(world, &connection->sent));
    assert_int_equal(connection->result, ENGINE_E_ABANDONED);
    assert_int_equal(connection->send_result, ENGINE_E_ABANDONED);
    assert_int_equal(faults_held(), 2);
    world->buffers_out--; /* the receive's */
    expect_nothing_pending(world);
    connection_free(connection);
}

/* -- files ----------------------------------------------------------------- */

static HANDLE file_open(void) {
    wchar_t folder[MAX_PATH];
    wchar_t name[MAX_PATH];
    assert_int_not_equal(GetTempPathW(MAX_PATH, folder), 0);
    assert_int_not_equal(GetTempFileNameW(folder, L"can", 0, name), 0);
    HANDLE file = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS,
                              FILE_FLAG_DELETE_ON_CLOSE, NULL);
    assert_ptr_not_equal(file, INVALID_HANDLE_VALUE);
    SetFilePointer(file, FLOOD, NULL, FILE_BEGIN);
    assert_true(SetEndOfFile(file));
    return file;
}

static void file_is_closed(void **state, bool never) {
    struct world *world = hurry(state);
    struct connection *connection = connection_open(world);
    HANDLE file = file_open();
    struct engine_piece piece = {.file = (intptr_t)file, .size = FLOOD};
    int64_t result = 0;
    for (int i = 0; i < RUNS_MAX && result >= 0; i++) {
        result = engine_send(world->port, connection->socket, &connection->send, &piece, 1);
        for (int k = 0; k < 4 && result == ENGINE_PENDING; k++) {
            engine_port_run(world->port, 20);
            result = connection->sent ? 0 : ENGINE_PENDING;
        }
        connection->sent = false;
    }
    assert_int_equal(result, ENGINE_PENDING);
    engine_send_cancel(world->port, connection->socket, &connection->send);
    run_some(world);
    assert_false(connection->sent);
    if (never) {
        faults_hold();
    }
    assert_true(close_in_flight(connection, false, true));
    assert_true(run_until(world, &connection->sent));
    assert_int_equal(connection->send_result, never ? ENGINE_E_ABANDONED : ENGINE_E_CANCELLED);
    expect_nothing_pending(world);
    connection_free(connection);
    CloseHandle(file);
}

static void test_transmit_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    assert_non_null(((struct world *)*state)->engine->transmit_packets);
    file_is_closed(state, false);
}

static void test_transmit_that_never_ends_is_abandoned(void **state) {
    assert_non_null(((struct world *)*state)->engine->transmit_packets);
    file_is_closed(state, true);
}

/* -- disconnects ----------------------------------------------------------- */

static void disconnect_stalls(struct world *world) {
    struct connection *connection = connection_open(world);
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
    shutdown(connection->client, SD_SEND);
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, 0);
    faults_stall_disconnects(true);
    engine_recycle(world->port, connection->socket);
    faults_stall_disconnects(false);
    assert_int_equal(engine_port_pending(world->port), 1);
    closesocket(connection->client);
    alloc_free(connection);
}

static void test_disconnect_whose_cancel_is_lost_ends_with_its_socket(void **state) {
    struct world *world = hurry(state);
    unsigned before = faults_calls(FAULT_CLOSE);
    world->engine->cancel_abandon_ms = 60000;
    disconnect_stalls(world);
    expect_nothing_pending(world);
    assert_int_equal(faults_ignored_cancels(), 1);
    assert_int_equal(faults_calls(FAULT_CLOSE), before + 1);
    assert_int_equal(world->listener->reusable_count, 0);
}

static void test_disconnect_that_never_ends_is_abandoned(void **state) {
    struct world *world = hurry(state);
    disconnect_stalls(world);
    faults_hold();
    expect_nothing_pending(world);
    assert_int_equal(world->listener->reusable_count, 0);
}

/* -- datagrams ------------------------------------------------------------- */

static void on_datagram(struct engine_receiver *receiver, const struct engine_datagram *datagram,
                        void *context) {
    (void)receiver;
    (void)datagram;
    (void)context;
    fail();
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    (void)receiver;
    (void)context;
    fail();
}

static bool stopped;

static void on_stopped(struct engine_op *op, int64_t result) {
    (void)op;
    (void)result;
    stopped = true;
}

static void receiver_is_closed(void **state, bool never) {
    struct world *world = hurry(state);
    struct error error;
    struct engine_listen_options options = {.address = loopback, .acceptors = 1, .datagrams = true};
    static struct engine_op end = {.complete = on_stopped};
    struct berth_address to = loopback;
    struct engine_listener *listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(listener);
    struct engine_receiver *receiver =
        engine_receiver_create(world->port, listener, 0, on_datagram, on_lost, world, &error);
    assert_non_null(receiver);
    unsigned out = world->buffers_out;
    stopped = false;
    if (never) {
        faults_hold();
    }
    engine_receiver_stop(receiver, &end);
    assert_true(run_until(world, &stopped));
    assert_int_equal(world->buffers_out, never ? out : 0);
    world->buffers_out = 0;
    /* Whoever still sends by the listener hears of it, and uses no handle that is gone. */
    to.port = 9;
    assert_int_equal(engine_datagram_send(listener, &loopback, &to, (const uint8_t *)"x", 1),
                     ENGINE_E_CANCELLED);
    engine_listener_close(listener);
    expect_nothing_pending(world);
}

static void test_receives_of_datagrams_whose_cancel_is_lost_end_with_their_socket(void **state) {
    receiver_is_closed(state, false);
}

static void test_receives_of_datagrams_that_never_end_are_abandoned(void **state) {
    receiver_is_closed(state, true);
}

static int setup_with_packets(void **state) {
    return setup_after(state, faults_provide_packets);
}

#define WITH_PACKETS(test) cmocka_unit_test_setup_teardown(test, setup_with_packets, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_accept_whose_cancel_is_lost_ends_with_its_socket),
        ONE_WAY(test_accept_whose_cancel_comes_too_late_is_delivered),
        BOTH_WAYS(test_accept_that_never_ends_is_abandoned),
        BOTH_WAYS(test_connect_that_succeeds_after_its_close_was_cancelled),
        BOTH_WAYS(test_connect_that_never_ends_is_abandoned),
        BOTH_WAYS(test_receive_whose_cancel_is_lost_ends_with_its_socket),
        BOTH_WAYS(test_receive_of_no_bytes_whose_cancel_is_lost_ends_with_its_socket),
        ONE_WAY(test_socket_is_closed_when_the_completions_that_came_are_run),
        BOTH_WAYS(test_send_whose_cancel_is_lost_ends_with_its_socket),
        BOTH_WAYS(test_connection_that_never_ends_is_abandoned),
        WITH_PACKETS(test_transmit_whose_cancel_is_lost_ends_with_its_socket),
        WITH_PACKETS(test_transmit_that_never_ends_is_abandoned),
        DISCONNECTING(test_disconnect_whose_cancel_is_lost_ends_with_its_socket),
        DISCONNECTING(test_disconnect_that_never_ends_is_abandoned),
        BOTH_WAYS(test_receives_of_datagrams_whose_cancel_is_lost_end_with_their_socket),
        BOTH_WAYS(test_receives_of_datagrams_that_never_end_are_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
