/* test_iocp_plain_faults.c: an acceptor that has fallen back to plain accepts, on a Winsock that
 * misbehaves (winsock_faults.h). It must do all that it did before. */
#include "iocp_world.h"

static int setup_fallen_back(void **state) {
    setup(state);
    struct world *world = *state;
    return engine_acceptor_fall_back(world->acceptor) ? 0 : -1;
}

/* A client is accepted and speaks both ways. */
static void expect_serving(struct world *world) {
    unsigned before = faults_calls(FAULT_ACCEPT);
    struct connection *connection = connection_open(world);
    assert_int_equal(faults_calls(FAULT_ACCEPT), before); /* without AcceptEx */
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    client_send(connection->client, "hello");
    expect_received(connection, "hello");
    struct engine_piece piece = {.bytes = (const uint8_t *)"world", .size = 5};
    int64_t sent = engine_send(world->port, connection->socket, &connection->send, &piece, 1);
    assert_true(sent == 5 || sent == ENGINE_PENDING);
    client_expect(connection->client, "world");
    if (sent == ENGINE_PENDING) {
        assert_true(run_until(world, &connection->sent));
    }
    expect_stopped(connection);
    connection_close(connection);
}

static void test_plain_accept_serves_clients(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 5; i++) {
        expect_serving(world);
    }
}

static void test_plain_accept_tells_both_addresses(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, false);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    struct sockaddr_in of_client;
    int size = sizeof(of_client);
    assert_int_equal(getsockname(client, (struct sockaddr *)&of_client, &size), 0);
    assert_int_equal(accepted.accept.remote.port, ntohs(of_client.sin_port));
    assert_int_equal(accepted.accept.local.port, engine_listener_address(world->listener).port);
    assert_int_equal(accepted.accept.local.bytes[0], 127);
    assert_null(accepted.accept.home);
    accept_close(world, &accepted);
    closesocket(client);
}

static void test_plain_accept_makes_sockets_that_no_child_inherits(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    DWORD flags = HANDLE_FLAG_INHERIT;
    accept_start(world, &accepted, false);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    BOOL known = GetHandleInformation((HANDLE)(SOCKET)accepted.accept.socket.handle, &flags);
    assert_true(known);
    assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
    accept_close(world, &accepted);
    closesocket(client);
}

static void test_plain_accept_takes_clients_that_came_before_it(void **state) {
    struct world *world = *state;
    SOCKET clients[4];
    struct accepted accepted[4];
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = client_connect(world);
    }
    run_some(world);
    assert_int_equal(world->starved, 1);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        accept_start(world, &accepted[i], false);
    }
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        assert_true(run_until(world, &accepted[i].done));
        assert_int_equal(accepted[i].result, 0);
        accept_close(world, &accepted[i]);
        closesocket(clients[i]);
    }
}

static void test_plain_accept_cancelled_completes_and_takes_nobody(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, false);
    assert_int_equal(engine_accept_connected_ms(&accepted.accept), -1);
    run_some(world);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    assert_false(accepted.done);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    expect_serving(world);
}

static void test_plain_accept_of_a_client_that_is_gone_waits_for_the_next(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, false);
    faults_fail(FAULT_PLAIN_ACCEPT, 0, 3, WSAECONNRESET);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 0);
    assert_int_equal(faults_injected(FAULT_PLAIN_ACCEPT), 3);
    accept_close(world, &accepted);
    closesocket(client);
    /* One that is gone before its options are set is closed, and the accept goes on. */
    accept_start(world, &accepted, false);
    faults_fail(FAULT_SETSOCKOPT, 0, 1, WSAENOTCONN);
    SOCKET lost = client_connect(world);
    run_some(world);
    assert_false(accepted.done);
    client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    accept_close(world, &accepted);
    closesocket(lost);
    closesocket(client);
}

/* What Wine does when a client is taken just before its event: that event is for nobody, and it is
 * the last one until somebody is accepted. */
static void test_plain_accept_finds_the_client_after_an_event_for_nobody(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_start(world, &accepted, false);
    run_some(world);
    assert_false(accepted.done);
    faults_fail(FAULT_PLAIN_ACCEPT, 0, 1, WSAEWOULDBLOCK);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 0);
    assert_int_equal(faults_injected(FAULT_PLAIN_ACCEPT), 1);
    accept_close(world, &accepted);
    closesocket(client);
    expect_serving(world);
}

static void test_plain_accept_without_resources_says_so_and_goes_on(void **state) {
    struct world *world = *state;
    static const int codes[] = {WSAEMFILE, WSAENOBUFS};
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        struct accepted accepted;
        faults_fail(FAULT_PLAIN_ACCEPT, 0, 1, codes[i]);
        accept_start(world, &accepted, false);
        SOCKET client = client_connect(world);
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
        accept_start(world, &accepted, false); /* takes the client that waits still */
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, 0);
        accept_close(world, &accepted);
        closesocket(client);
    }
}

static void test_accepts_posted_before_the_fall_back_are_served_too(void **state) {
    struct world *world = *state;
    struct accepted before;
    struct accepted after;
    accept_start(world, &before, true);
    assert_true(engine_acceptor_fall_back(world->acceptor));
    accept_start(world, &after, false);
    run_some(world);
    SOCKET clients[2];
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        clients[i] = client_connect(world);
        client_send(clients[i], "x");
    }
    assert_true(run_until(world, &before.done));
    assert_int_equal(before.result, 1);
    assert_true(run_until(world, &after.done));
    assert_int_equal(after.result, 0);
    accept_close(world, &before);
    accept_close(world, &after);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        closesocket(clients[i]);
    }
}

#define FALLEN_BACK(test) cmocka_unit_test_setup_teardown(test, setup_fallen_back, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        FALLEN_BACK(test_plain_accept_serves_clients),
        FALLEN_BACK(test_plain_accept_tells_both_addresses),
        FALLEN_BACK(test_plain_accept_makes_sockets_that_no_child_inherits),
        FALLEN_BACK(test_plain_accept_takes_clients_that_came_before_it),
        FALLEN_BACK(test_plain_accept_cancelled_completes_and_takes_nobody),
        FALLEN_BACK(test_plain_accept_of_a_client_that_is_gone_waits_for_the_next),
        FALLEN_BACK(test_plain_accept_finds_the_client_after_an_event_for_nobody),
        FALLEN_BACK(test_plain_accept_without_resources_says_so_and_goes_on),
        ONE_WAY(test_accepts_posted_before_the_fall_back_are_served_too),
    };
    return cmocka_run_group_tests_name("iocp_plain_faults", tests, NULL, NULL);
}
