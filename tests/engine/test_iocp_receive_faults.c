/* test_iocp_receive_faults.c: the IOCP engine on a Winsock that misbehaves (winsock_faults.h),
 * receiving and sending. After every fault the connection must go on as engine.h says. */
#include "iocp_world.h"

enum { FLOOD_BUFFERS = 60 };

/* -- receiving ------------------------------------------------------------- */

static void start_with_buffer_for_a_while(struct connection *connection) {
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
}

static void start_with_no_bytes(struct connection *connection) {
    unsigned before = connection->world->buffers_left;
    connection->world->buffers_left = 0;
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    connection->world->buffers_left = before;
}

static void start_buffered(struct connection *connection) {
    receive_start(connection, ENGINE_RECEIVE_BUFFERED);
}

static void receive_in_all_ways(struct world *world, void (*inject)(void)) {
    static void (*const ways[])(struct connection *) = {start_with_buffer_for_a_while,
                                                        start_with_no_bytes, start_buffered};
    for (size_t i = 0; i < ARRAY_COUNT(ways); i++) {
        struct connection *connection = connection_open(world);
        client_send(connection->client, "before");
        inject();
        ways[i](connection);
        expect_received(connection, "before");
        client_send(connection->client, "after");
        expect_received(connection, "after");
        expect_stopped(connection);

        client_send(connection->client, "again");
        inject();
        ways[i](connection);
        expect_received(connection, "again");
        shutdown(connection->client, SD_SEND);
        assert_true(run_until(world, &connection->ended));
        assert_int_equal(connection->result, 0);
        connection_close(connection);
    }
}

static void inject_receive_at_once(void) {
    faults_at_once(FAULT_RECEIVE, 1);
}

static void inject_receive_later(void) {
    faults_later(FAULT_RECEIVE, 1);
}

static void test_receive_succeeding_at_once_delivers_everything(void **state) {
    receive_in_all_ways(*state, inject_receive_at_once);
    assert_true(faults_injected(FAULT_RECEIVE) > 0);
}

static void test_receive_completing_later_delivers_everything(void **state) {
    receive_in_all_ways(*state, inject_receive_later);
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
        assert_true(connection->deliveries - before <= world->port->burst_max + 1);
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
    unsigned injected = faults_injected(FAULT_READ);
    start_with_no_bytes(connection);
    client_send(connection->client, "read");
    expect_received(connection, "read");
    assert_int_equal(faults_injected(FAULT_READ), injected + 1);
    expect_stopped(connection);
    connection_close(connection);
}

static void test_receive_goes_on_when_the_port_could_not_be_waited_on(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_fail(FAULT_PORT_WAIT, 0, 3, ERROR_NO_SYSTEM_RESOURCES);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    client_send(connection->client, "waits");
    expect_received(connection, "waits");
    assert_int_equal(faults_injected(FAULT_PORT_WAIT), 3);
    expect_stopped(connection);
    connection_close(connection);
}

static void test_receive_completing_without_memory_goes_on(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_complete(FAULT_RECEIVE, 1, WSAENOBUFS);
    start_with_no_bytes(connection);
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
        (i % 2 ? start_buffered : start_with_no_bytes)(connection);
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
    start_with_no_bytes(connection);
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

/* -- buffers for a while --------------------------------------------------- */

enum { TRIES_MAX = 20 };

/* Runs until no receive has a buffer. */
static void expect_cold(struct world *world) {
    for (int i = 0; i < RUNS_MAX && world->buffers_out > 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(world->buffers_out, 0);
    assert_int_equal(world->port->armed_buffer_count, 0);
}

static void test_receive_of_one_that_goes_on_takes_one_call(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    unsigned before = 0;
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    for (int tries = 0; tries < TRIES_MAX; tries++) { /* a machine that is slow is no soon client */
        before = faults_calls(FAULT_READ);
        for (int i = 0; i < 3; i++) {
            client_send(connection->client, "more");
            expect_received(connection, "more");
        }
        if (faults_calls(FAULT_READ) == before) {
            break;
        }
    }
    assert_int_equal(faults_calls(FAULT_READ), before);
    expect_stopped(connection);
    assert_int_equal(world->buffers_out, 0);
    connection_close(connection);
}

static void test_receive_of_one_that_is_silent_has_no_buffer(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    unsigned before = faults_calls(FAULT_READ);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    expect_cold(world);
    client_send(connection->client, "at last");
    expect_received(connection, "at last");
    assert_int_equal(faults_calls(FAULT_READ), before + 1);
    assert_int_equal(world->buffers_out, 0); /* who took long has none for what comes next */
    for (int tries = 0; tries < TRIES_MAX && world->buffers_out == 0; tries++) {
        client_send(connection->client, "and more");
        expect_received(connection, "and more");
    }
    assert_int_equal(world->buffers_out, 1); /* who then went on has one again */
    expect_cold(world);
    shutdown(connection->client, SD_SEND);
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, 0);
    connection_close(connection);
}

static void test_receive_starved_gets_the_buffer_of_a_silent_one(void **state) {
    struct world *world = *state;
    struct connection *silent = connection_open(world);
    struct connection *hungry = connection_open(world);
    unsigned before = world->buffers_left;
    world->buffers_left = 1;
    receive_start(silent, ENGINE_RECEIVE_ZERO_BYTE);
    receive_start(hungry, ENGINE_RECEIVE_ZERO_BYTE);
    assert_int_equal(world->buffers_left, 0);
    client_send(hungry->client, "hungry");
    expect_received(hungry, "hungry");
    client_send(silent->client, "still there");
    expect_received(silent, "still there");
    world->buffers_left += before - 1;
    expect_stopped(silent);
    expect_stopped(hungry);
    connection_close(silent);
    connection_close(hungry);
}

/* A receive that has got data, of which the port has not heard when it takes the buffer back. */
static struct connection *open_cooled_too_late(struct world *world) {
    struct connection *connection = connection_open(world);
    faults_hold();
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    assert_int_equal(world->buffers_out, 1);
    client_send(connection->client, "late");
    for (int i = 0; i < RUNS_MAX && (faults_held() == 0 || world->port->armed_buffer_count > 0);
         i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(faults_held(), 1);
    assert_int_equal(world->port->armed_buffer_count, 0);
    assert_int_equal(connection->size, 0);
    return connection;
}

static void test_receive_whose_buffer_is_taken_too_late_loses_nothing(void **state) {
    struct connection *connection = open_cooled_too_late(*state);
    faults_release_reversed();
    expect_received(connection, "late");
    client_send(connection->client, "and more");
    expect_received(connection, "and more");
    expect_stopped(connection);
    connection_close(connection);
}

static void test_receive_stopped_while_its_buffer_is_taken_ends_once(void **state) {
    struct world *world = *state;
    struct connection *connection = open_cooled_too_late(world);
    engine_receive_stop(world->port, connection->socket, &connection->receive);
    faults_release_reversed();
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_CANCELLED);
    assert_int_equal(connection->size, 4);
    connection_close(connection);
}

static void test_receive_whose_connection_is_reset_while_its_buffer_is_taken_ends(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    faults_hold();
    faults_complete(FAULT_RECEIVE, 1, WSAECONNRESET);
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    for (int i = 0; i < RUNS_MAX && faults_held() == 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(faults_held(), 1); /* what came of its being cancelled */
    faults_release_reversed();
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, ENGINE_E_RESET);
    connection_close(connection);
}

/* -- sending --------------------------------------------------------------- */

static int64_t send_hello(struct connection *connection) {
    static const struct engine_piece pieces[] = {{.bytes = (const uint8_t *)"hel", .size = 3},
                                                 {.bytes = (const uint8_t *)"lo", .size = 2}};
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

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_receive_succeeding_at_once_delivers_everything),
        BOTH_WAYS(test_receive_completing_later_delivers_everything),
        BOTH_WAYS(test_receive_succeeding_at_once_for_long_lets_others_run),
        BOTH_WAYS(test_receive_failing_to_post_for_memory_goes_on),
        BOTH_WAYS(test_receive_goes_on_when_the_port_could_not_be_waited_on),
        BOTH_WAYS(test_receive_completing_without_memory_goes_on),
        BOTH_WAYS(test_receive_completing_with_an_error_ends_with_it),
        BOTH_WAYS(test_receive_failing_at_start_completes_from_the_loop),
        BOTH_WAYS(test_receive_stopped_in_its_completion_ends_after_it),
        BOTH_WAYS(test_receive_stopped_before_its_late_completion_ends_once),
        BOTH_WAYS(test_receives_without_buffers_are_served_in_order),
        BOTH_WAYS(test_receive_of_one_that_goes_on_takes_one_call),
        BOTH_WAYS(test_receive_of_one_that_is_silent_has_no_buffer),
        BOTH_WAYS(test_receive_starved_gets_the_buffer_of_a_silent_one),
        BOTH_WAYS(test_receive_whose_buffer_is_taken_too_late_loses_nothing),
        BOTH_WAYS(test_receive_stopped_while_its_buffer_is_taken_ends_once),
        BOTH_WAYS(test_receive_whose_connection_is_reset_while_its_buffer_is_taken_ends),
        BOTH_WAYS(test_send_succeeding_at_once_has_no_completion),
        BOTH_WAYS(test_send_completing_later_tells_the_bytes),
        BOTH_WAYS(test_send_failing_returns_the_error_and_has_no_completion),
        BOTH_WAYS(test_send_completing_with_an_error_tells_it),
        BOTH_WAYS(test_completions_late_and_reordered_find_their_operations),
    };
    return cmocka_run_group_tests_name("iocp_transfer_faults", tests, NULL, NULL);
}
