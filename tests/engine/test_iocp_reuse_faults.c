/* test_iocp_reuse_faults.c: sockets that are used again, on a Winsock where that works whatever the
 * system below does, and on one that misbehaves (winsock_faults.h). */
#include "iocp_world.h"

static bool is_closed(struct engine_socket socket) {
    int type;
    int size = sizeof(type);
    return getsockopt((SOCKET)socket.handle, SOL_SOCKET, SO_TYPE, (char *)&type, &size) != 0 &&
           WSAGetLastError() == WSAENOTSOCK;
}

/* A connection whose peer has closed and that is given back. Its socket. */
static struct engine_socket recycle_one(struct world *world) {
    struct connection *connection = connection_open(world);
    struct engine_socket socket = connection->socket;
    receive_start(connection, ENGINE_RECEIVE_ZERO_BYTE);
    closesocket(connection->client);
    assert_true(run_until(world, &connection->ended));
    assert_int_equal(connection->result, 0);
    engine_recycle(world->port, socket);
    alloc_free(connection);
    return socket;
}

/* The next accept for the port gets `socket` again, and it works. */
static void expect_used_again(struct world *world, struct engine_socket socket) {
    struct accepted accepted;
    accept_start_at(world, &accepted, true, world->port);
    SOCKET client = client_connect(world);
    client_send(client, "hello");
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 5);
    assert_memory_equal(accepted.accept.data.bytes, "hello", 5);
    assert_true(accepted.accept.socket.handle == socket.handle);
    assert_ptr_equal(accepted.accept.home, world->port);
    struct engine_op send = {0};
    struct engine_piece piece = {.bytes = (const uint8_t *)"world", .size = 5};
    send.complete = accepted.accept.op.complete;
    if (world->engine->skip_success) {
        assert_int_equal(engine_send(world->port, accepted.accept.socket, &send, &piece, 1), 5);
        client_expect(client, "world");
        assert_int_equal(engine_shutdown_send(world->port, accepted.accept.socket), 0);
        char byte;
        assert_int_equal(recv(client, &byte, 1, 0), 0);
    }
    accept_close(world, &accepted);
    closesocket(client);
}

/* The next accept for `home` gets a new one. */
static void expect_fresh(struct world *world, struct engine_port *home) {
    struct accepted accepted;
    accept_start_at(world, &accepted, true, home);
    SOCKET client = client_connect(world);
    client_send(client, "hello");
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 5);
    assert_null(accepted.accept.home);
    accept_close(world, &accepted);
    closesocket(client);
}

/* -- what the trial finds -------------------------------------------------- */

static void test_trial_here_finds_out_without_leaving_anything(void **state) {
    struct world *world = *state;
    const char *text = engine_traits(world->engine)->socket_reuse;
    if (world->engine->reuse == IOCP_REUSE_OFF) {
        assert_memory_equal(text, "off: DisconnectEx: ", strlen("off: DisconnectEx: "));
        assert_non_null(strstr(text, "; TransmitFile: "));
        struct engine_socket socket = recycle_one(world);
        assert_true(is_closed(socket));
    } else {
        assert_true(strcmp(text, "DisconnectEx") == 0 || strcmp(text, "TransmitFile") == 0);
        expect_used_again(world, recycle_one(world));
    }
}

static void test_trial_takes_the_first_way_that_works(void **state) {
    struct world *world = *state;
    struct error error;
    assert_int_equal(world->engine->reuse, IOCP_REUSE_DISCONNECT);
    assert_string_equal(engine_traits(world->engine)->socket_reuse, "DisconnectEx");
    faults_mend_reuse(FAULT_TRANSMIT);
    faults_fail(FAULT_DISCONNECT, 0, 1, WSAEOPNOTSUPP);
    struct engine *engine = engine_iocp_create(&winsock_faults, &error);
    assert_non_null(engine);
    assert_int_equal(engine->reuse, IOCP_REUSE_TRANSMIT);
    assert_string_equal(engine_traits(engine)->socket_reuse, "TransmitFile");
    engine_destroy(engine);
}

/* Whatever call of the trial fails, the engine starts, and says that nothing is used again. */
static void test_trial_every_failing_call_only_turns_it_off(void **state) {
    static const enum fault_call calls[] = {FAULT_BIND, FAULT_LISTEN, FAULT_CONNECT, FAULT_ACCEPT,
                                            FAULT_READ, FAULT_SEND,   FAULT_SHUTDOWN};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        for (unsigned pass = 0; pass < 2; pass++) {
            struct error error;
            unsigned before = faults_injected(calls[i]);
            faults_fail(calls[i], pass, 100, WSAENOBUFS);
            struct engine *engine = engine_iocp_create(&winsock_faults, &error);
            assert_non_null(engine);
            if (faults_injected(calls[i]) > before) {
                assert_int_equal(engine->reuse, IOCP_REUSE_OFF);
            }
            engine_destroy(engine);
            faults_fail(calls[i], 0, 0, 0);
        }
    }
}

/* -- two lives ------------------------------------------------------------- */

static void test_recycled_socket_is_used_again_and_again(void **state) {
    struct world *world = *state;
    for (int life = 0; life < 3; life++) {
        struct engine_socket socket = recycle_one(world);
        run_some(world);
        expect_used_again(world, socket);
    }
    expect_fresh(world, world->port); /* none is left */
}

static void test_recycled_socket_is_kept_from_other_ports_and_listeners(void **state) {
    struct world *world = *state;
    struct engine_socket socket = recycle_one(world);
    run_some(world);
    expect_fresh(world, NULL);
    struct error error;
    struct engine_port_options options = {
        .buffers = {world, BUFFER_BYTES, buffer_take, buffer_give, buffer_bytes}};
    struct engine_port *other = engine_port_create(world->engine, &options, &error);
    assert_non_null(other);
    expect_fresh(world, other);
    engine_port_destroy(other);
    struct connection *connection = connection_open(world);
    struct engine_socket stranger = connection->socket;
    stranger.origin += 1000; /* of a listener that there is not */
    closesocket(connection->client);
    engine_recycle(world->port, stranger);
    assert_true(is_closed(stranger));
    alloc_free(connection);
    expect_used_again(world, socket);
}

static void test_recycled_socket_is_closed_where_the_option_is_off(void **state) {
    struct world *world = *state;
    world->listener->reuse_sockets = false;
    struct engine_socket socket = recycle_one(world);
    assert_true(is_closed(socket));
    world->listener->reuse_sockets = true;
}

/* -- other options --------------------------------------------------------- */

static const struct engine_listen_options plain = {.acceptors = 1, .reuse_sockets = true};

static DWORD option(struct world *world, struct engine_socket socket, int level, int name) {
    DWORD value = 0;
    int size = sizeof(value);
    assert_int_equal(world->engine->winsock->getsockopt((SOCKET)socket.handle, level, name,
                                                        (char *)&value, &size),
                     0);
    return value;
}

/* What was switched on for it stays on, so it is not used where that is off. */
static void test_recycled_socket_of_other_options_is_not_used_again(void **state) {
    struct world *world = *state;
    struct engine_socket kept = recycle_one(world);
    struct connection *late = connection_open(world); /* of the time before, and given back after */
    struct engine_socket later = late->socket;
    run_some(world);
    engine_listener_configure(world->listener, &plain);
    assert_true(is_closed(kept));
    receive_start(late, ENGINE_RECEIVE_ZERO_BYTE);
    closesocket(late->client);
    assert_true(run_until(world, &late->ended));
    engine_recycle(world->port, later);
    alloc_free(late);
    run_some(world);
    assert_true(is_closed(later));
    expect_fresh(world, world->port);
    struct engine_socket now = recycle_one(world);
    run_some(world);
    engine_listener_configure(world->listener, &plain); /* nothing changes */
    expect_used_again(world, now);
}

/* Posted before, with a socket that has what is off now. */
static void test_accept_with_a_used_socket_has_the_options_of_the_reload(void **state) {
    struct world *world = *state;
    struct engine_listen_options much = plain;
    much.sockets = (struct engine_socket_options){.no_delay = true,
                                                  .reset_on_close = true,
                                                  .keepalive_idle_s = 60,
                                                  .keepalive_interval_s = 10,
                                                  .receive_bytes = 300000,
                                                  .send_bytes = 300000};
    engine_listener_configure(world->listener, &much);
    struct engine_socket socket = recycle_one(world);
    run_some(world);
    struct accepted accepted;
    accept_start_at(world, &accepted, false, world->port);
    /* The second life is another socket of the system below: as the first one was. */
    const struct winsock_table *winsock = world->engine->winsock;
    assert_true(iocp_set_options(winsock, (SOCKET)socket.handle, &much.sockets));
    engine_listener_configure(world->listener, &plain);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.accept.socket.handle, socket.handle);
    assert_int_equal(option(world, socket, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(option(world, socket, SOL_SOCKET, SO_KEEPALIVE), 0);
    assert_int_equal(option(world, socket, SOL_SOCKET, SO_RCVBUF), world->engine->receive_bytes);
    assert_int_equal(option(world, socket, SOL_SOCKET, SO_SNDBUF), world->engine->send_bytes);
    assert_int_equal(option(world, socket, SOL_SOCKET, SO_LINGER) & 0xffff, 0);
    accept_close(world, &accepted);
    closesocket(client);
}

/* listen() again changes nothing, and is not asked to. */
static void test_listener_with_another_backlog_does_not_listen_again(void **state) {
    struct world *world = *state;
    struct engine_listen_options options = plain;
    unsigned before = faults_calls(FAULT_LISTEN);
    options.backlog = 7;
    assert_true(engine_traits(world->engine)->backlog_is_fixed);
    engine_listener_configure(world->listener, &options);
    assert_int_equal(faults_calls(FAULT_LISTEN), before);
    expect_accepting(world);
}

static void test_recycled_sockets_are_kept_up_to_the_cap(void **state) {
    struct world *world = *state;
    for (unsigned i = 0; i < IOCP_REUSABLE_MAX; i++) {
        recycle_one(world);
    }
    run_some(world);
    assert_int_equal(world->listener->reusable_count, IOCP_REUSABLE_MAX);
    struct engine_socket surplus = recycle_one(world);
    assert_true(is_closed(surplus));
}

static void test_recycled_by_transmit_file_is_used_again(void **state) {
    struct world *world = *state;
    assert_int_equal(world->engine->reuse, IOCP_REUSE_TRANSMIT);
    struct engine_socket socket = recycle_one(world);
    run_some(world);
    assert_true(faults_calls(FAULT_TRANSMIT) > 0);
    expect_used_again(world, socket);
}

/* -- what goes wrong ------------------------------------------------------- */

static void test_disconnect_that_ends_later_keeps_the_socket(void **state) {
    struct world *world = *state;
    faults_later(FAULT_DISCONNECT, 1);
    struct engine_socket socket = recycle_one(world);
    run_some(world);
    assert_int_equal(engine_port_pending(world->port), 0);
    expect_used_again(world, socket);
}

static void test_disconnect_that_fails_closes_the_socket(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_DISCONNECT, 0, 1, WSAENOTCONN);
    struct engine_socket at_once = recycle_one(world);
    assert_true(is_closed(at_once));
    faults_later(FAULT_DISCONNECT, 1);
    faults_complete(FAULT_DISCONNECT, 1, ERROR_NETNAME_DELETED);
    struct engine_socket later = recycle_one(world);
    run_some(world);
    assert_true(is_closed(later));
    struct connection *connection = connection_open(world);
    struct engine_socket without_memory = connection->socket;
    closesocket(connection->client);
    alloc_fail_after(0, false);
    engine_recycle(world->port, without_memory);
    alloc_fail_after(-1, false);
    assert_true(is_closed(without_memory));
    alloc_free(connection);
    assert_int_equal(engine_port_pending(world->port), 0);
    assert_int_equal(world->listener->reusable_count, 0);
}

static void test_disconnect_that_never_ends_is_ended_by_its_deadline(void **state) {
    struct world *world = *state;
    faults_stall_disconnects(true);
    struct engine_socket socket = recycle_one(world);
    faults_stall_disconnects(false);
    assert_int_equal(engine_port_pending(world->port), 1);
    assert_false(is_closed(socket));
    for (int i = 0; i < RUNS_MAX && engine_port_pending(world->port) > 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    assert_true(is_closed(socket));
}

static void test_disconnect_that_outlives_its_listener_closes_the_socket(void **state) {
    struct world *world = *state;
    struct engine_socket kept = recycle_one(world);
    run_some(world);
    faults_stall_disconnects(true);
    struct engine_socket socket = recycle_one(world);
    faults_stall_disconnects(false);
    engine_acceptor_destroy(world->acceptor);
    world->acceptor = NULL;
    engine_listener_close(world->listener);
    world->listener = NULL;
    assert_true(is_closed(kept));
    for (int i = 0; i < RUNS_MAX && engine_port_pending(world->port) > 0; i++) {
        engine_port_run(world->port, 50);
    }
    assert_true(is_closed(socket));
}

static void test_accept_that_a_used_socket_spoils_takes_a_fresh_one(void **state) {
    struct world *world = *state;
    recycle_one(world);
    run_some(world);
    struct accepted accepted;
    faults_fail(FAULT_ACCEPT, 0, 1, WSAEINVAL);
    accept_start_at(world, &accepted, false, world->port);
    SOCKET client = client_connect(world);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, 0);
    assert_null(accepted.accept.home);
    accept_close(world, &accepted);
    closesocket(client);
    assert_int_equal(world->listener->reusable_count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        DISCONNECTING(test_recycled_socket_of_other_options_is_not_used_again),
        DISCONNECTING(test_accept_with_a_used_socket_has_the_options_of_the_reload),
        ONE_WAY(test_listener_with_another_backlog_does_not_listen_again),
        BOTH_WAYS(test_trial_here_finds_out_without_leaving_anything),
        DISCONNECTING(test_trial_takes_the_first_way_that_works),
        ONE_WAY(test_trial_every_failing_call_only_turns_it_off),
        DISCONNECTING(test_recycled_socket_is_used_again_and_again),
        DISCONNECTING(test_recycled_socket_is_kept_from_other_ports_and_listeners),
        DISCONNECTING(test_recycled_socket_is_closed_where_the_option_is_off),
        DISCONNECTING(test_recycled_sockets_are_kept_up_to_the_cap),
        cmocka_unit_test_setup_teardown(test_recycled_by_transmit_file_is_used_again,
                                        setup_transmitting, teardown),
        DISCONNECTING(test_disconnect_that_ends_later_keeps_the_socket),
        DISCONNECTING(test_disconnect_that_fails_closes_the_socket),
        DISCONNECTING(test_disconnect_that_never_ends_is_ended_by_its_deadline),
        DISCONNECTING(test_disconnect_that_outlives_its_listener_closes_the_socket),
        DISCONNECTING(test_accept_that_a_used_socket_spoils_takes_a_fresh_one),
    };
    return cmocka_run_group_tests_name("iocp_reuse_faults", tests, NULL, NULL);
}
