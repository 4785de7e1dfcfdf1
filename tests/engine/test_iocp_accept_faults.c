/* test_iocp_accept_faults.c: the IOCP engine on a Winsock that misbehaves (winsock_faults.h),
 * starting and accepting. After every fault the listener must go on as engine.h says. */
#include "iocp_world.h"

/* -- accepting ------------------------------------------------------------- */

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
    } faults[] = {{ERROR_NETNAME_DELETED, ENGINE_E_RESET},
                  {ERROR_UNEXP_NET_ERR, ENGINE_E_RESET},
                  {WSAECONNRESET, ENGINE_E_RESET},
                  {WSAECONNABORTED, ENGINE_E_RESET},
                  {ERROR_CONNECTION_ABORTED, ENGINE_E_RESET},
                  {ERROR_SEM_TIMEOUT, ENGINE_E_TIMED_OUT},
                  {WSAENOBUFS, ENGINE_E_NO_RESOURCES},
                  {ERROR_OPERATION_ABORTED, ENGINE_E_CANCELLED},
                  {676, ENGINE_E_CANCELLED}, /* ERROR_HANDLES_CLOSED */
                  {12345, ENGINE_E_OTHER}};
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

/* The FIN comes later, or is there before and the accept succeeds at once. */
static void test_accept_with_a_fin_and_no_data_completes_with_zero(void **state) {
    struct world *world = *state;
    for (int at_once = 0; at_once <= 1; at_once++) {
        struct accepted accepted;
        SOCKET client = client_connect(world);
        if (at_once) {
            shutdown(client, SD_SEND);
            faults_at_once(FAULT_ACCEPT, 1);
        }
        accept_start(world, &accepted, true);
        assert_int_equal(faults_injected(FAULT_ACCEPT), at_once);
        shutdown(client, SD_SEND);
        assert_true(run_until(world, &accepted.done));
        assert_int_equal(accepted.result, 0);
        assert_null(accepted.accept.data.owner);
        assert_int_equal(world->buffers_out, 0);
        assert_int_equal(accepted.accept.remote.family, BERTH_FAMILY_IPV4);
        accept_close(world, &accepted);
        closesocket(client);
    }
    expect_accepting(world);
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
    struct error error = {0};
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

/* More clients queue than accepts are posted, all the time: the event, which would come with each
 * of them, is left alone until the rush is over. */
static void test_acceptor_asks_for_its_event_again_after_a_rush(void **state) {
    struct world *world = *state;
    SOCKET clients[32];
    const unsigned count = ARRAY_COUNT(clients);
    for (unsigned i = 0; i < count; i++) {
        clients[i] = client_connect(world);
    }
    for (int i = 0; i < RUNS_MAX && world->starved == 0; i++) {
        engine_port_run(world->port, 50);
    }
    /* Each has completed when it is posted, so that the port never waits in between. */
    faults_at_once(FAULT_ACCEPT, count - 1);
    unsigned before = faults_calls(FAULT_EVENT_SELECT);
    unsigned told = 0;
    struct accepted accepted;
    for (unsigned i = 0; i + 1 < count; i++) {
        told = world->starved;
        accept_start(world, &accepted, false);
        assert_true(run_until(world, &accepted.done));
        accept_close(world, &accepted);
    }
    assert_true(faults_calls(FAULT_EVENT_SELECT) - before < count / 2);
    for (int i = 0; i < RUNS_MAX && world->starved == told; i++) {
        engine_port_run(world->port, 50);
    }
    assert_true(world->starved > told); /* of the last client, who still queues */
    accept_start(world, &accepted, false);
    assert_true(run_until(world, &accepted.done));
    accept_close(world, &accepted);
    for (unsigned i = 0; i < count; i++) {
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

/* -- set-up and posts ------------------------------------------------------ */

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
    struct error error = {0};
    faults_fail(FAULT_PORT_CREATE, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_false(engine_attach(world->port, &accepted.accept.socket, &error));
    assert_non_null(strstr(error.message, "Windows error 8"));
    faults_fail(FAULT_SET_MODES, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_false(engine_attach(world->port, &accepted.accept.socket, &error));
    accept_close(world, &accepted);
    closesocket(client);
    expect_accepting(world);
}

static void test_acceptor_failing_to_open_says_why_and_leaks_nothing(void **state) {
    struct world *world = *state;
    static const enum fault_call calls[] = {FAULT_PORT_CREATE, FAULT_WAIT_REGISTER,
                                            FAULT_EVENT_SELECT};
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        struct error error = {0};
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
        unsigned count;
    } faults[] = {{FAULT_SOCKET, WSAEAFNOSUPPORT, "address family not supported", 1},
                  {FAULT_SETSOCKOPT, WSAEACCES, "access denied", 1},
                  {FAULT_BIND, WSAEADDRINUSE, "address in use", 2},
                  {FAULT_BIND, WSAEACCES, "excludedportrange protocol=tcp", 1},
                  {FAULT_BIND, WSAEADDRNOTAVAIL, "address not available", 1},
                  {FAULT_IOCTL, WSAEOPNOTSUPP, "Windows error 10045", 1}};
    struct engine_listen_options options = {.address = loopback, .backlog = 500, .acceptors = 1};
    struct error error = {0};
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        faults_fail(faults[i].call, 0, faults[i].count, faults[i].code);
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

/* Connections of an earlier process that are still ending refuse an exclusive bind alone. */
static void test_listener_binds_again_where_an_exclusive_bind_is_refused(void **state) {
    struct world *world = *state;
    struct engine_listen_options options = {.address = loopback, .backlog = 10, .acceptors = 1};
    struct error error = {0};
    BOOL exclusive = TRUE;
    int size = sizeof(exclusive);
    unsigned before = faults_calls(FAULT_BIND);
    faults_fail(FAULT_BIND, 0, 1, WSAEADDRINUSE);
    struct engine_listener *listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(listener);
    assert_int_equal(faults_calls(FAULT_BIND), before + 2);
    assert_int_equal(
        getsockopt(listener->socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (char *)&exclusive, &size),
        0);
    assert_false(exclusive);
    assert_true(engine_listener_start(listener, &error));
    options.address = engine_listener_address(listener);
    assert_null(engine_listener_open(world->engine, &options, &error)); /* it listens there */
    assert_string_equal(error.message, "address in use");
    engine_listener_close(listener);
}

static void test_engine_and_port_failing_to_start_say_why(void **state) {
    struct world *world = *state;
    struct error error = {0};
    faults_fail(FAULT_STARTUP, 0, 1, WSASYSNOTREADY);
    assert_null(engine_iocp_create(&winsock_faults, &error));
    assert_non_null(strstr(error.message, "10091"));
    alloc_fail_after(0, false);
    assert_null(engine_iocp_create(&winsock_faults, &error));

    struct engine_port_options options = {
        .buffers = {world, BUFFER_BYTES, buffer_take, buffer_give, buffer_bytes}};
    faults_fail(FAULT_PORT_CREATE, 0, 1, ERROR_NOT_ENOUGH_MEMORY);
    assert_null(engine_port_create(world->engine, &options, &error));
    assert_non_null(strstr(error.message, "Windows error 8"));
    alloc_fail_after(0, false);
    assert_null(engine_port_create(world->engine, &options, &error));
    options.buffers.capacity = IOCP_ADDRESSES_ROOM;
    assert_null(engine_port_create(world->engine, &options, &error));
    assert_non_null(strstr(error.message, "too small"));
}

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
        ONE_WAY(test_acceptor_asks_for_its_event_again_after_a_rush),
        ONE_WAY(test_acceptor_with_silent_clients_only_is_starved),
        ONE_WAY(test_starved_is_told_although_the_wake_up_failed),
        ONE_WAY(test_post_completes_although_no_packet_could_be_queued),
        ONE_WAY(test_attach_failing_says_why),
        ONE_WAY(test_acceptor_failing_to_open_says_why_and_leaks_nothing),
        ONE_WAY(test_listener_failing_to_open_gives_the_reason),
        ONE_WAY(test_listener_binds_again_where_an_exclusive_bind_is_refused),
        ONE_WAY(test_engine_and_port_failing_to_start_say_why),
    };
    return cmocka_run_group_tests_name("iocp_accept_faults", tests, NULL, NULL);
}
