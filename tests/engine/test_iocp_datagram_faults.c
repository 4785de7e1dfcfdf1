/* Datagrams on a Winsock that does what Wine does not: chooses sources, reports resets and
 * truncation as errors, is out of memory, completes at once or later. */
#include "iocp_world.h"

enum { GOT_MAX = 64 };

struct end {
    struct world *world;
    struct engine_listener *listener;
    struct engine_receiver *receiver;
    struct berth_address local; /* of the last one */
    char got[GOT_MAX];          /* the first byte of each */
    unsigned count;
    bool truncated; /* the last one */
    bool came;
    struct engine_op stopped;
    bool is_stopped;
};

static void on_received(struct engine_receiver *receiver, const struct engine_datagram *datagram,
                        void *context) {
    struct end *end = context;
    assert_true(end->count < GOT_MAX);
    end->got[end->count++] = (char)datagram->data.bytes[0];
    end->local = datagram->local;
    end->truncated = datagram->truncated;
    end->came = true;
    engine_receiver_send(receiver, &datagram->local, &datagram->remote, &datagram->data);
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    (void)receiver;
    (void)context;
    fail();
}

static void on_stopped(struct engine_op *op, int64_t result) {
    (void)result;
    CONTAINER_OF(op, struct end, stopped)->is_stopped = true;
}

static void end_open(struct world *world, struct end *end, bool any) {
    struct error error;
    struct engine_listen_options options = {.address = loopback, .acceptors = 1, .datagrams = true};
    if (any) {
        options.address = (struct berth_address){.family = BERTH_FAMILY_IPV4};
    }
    *end = (struct end){.world = world};
    end->stopped.complete = on_stopped;
    end->listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(end->listener);
    end->receiver =
        engine_receiver_create(world->port, end->listener, 0, on_received, on_lost, end, &error);
    assert_non_null(end->receiver);
}

static void end_close(struct end *end) {
    engine_receiver_stop(end->receiver, &end->stopped);
    assert_true(run_until(end->world, &end->is_stopped));
    engine_listener_close(end->listener);
}

static SOCKET asker(void) {
    SOCKET socket = WSASocketW(AF_INET, SOCK_DGRAM, IPPROTO_UDP, NULL, 0, 0);
    DWORD patience_ms = 10000;
    assert_int_not_equal(socket, INVALID_SOCKET);
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, (char *)&patience_ms, sizeof(patience_ms));
    return socket;
}

static void ask(SOCKET socket, const struct end *end, const char *bytes, int size) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(engine_listener_address(end->listener).port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(sendto(socket, bytes, size, 0, (struct sockaddr *)&to, sizeof(to)), size);
}

/* Asks, and runs until it is answered; answers to what was asked before may come first. */
static void expect_answer(SOCKET socket, struct end *end, char byte) {
    char answer[2 * BUFFER_BYTES] = {0};
    end->came = false;
    ask(socket, end, &byte, 1);
    while (!memchr(end->got, byte, end->count)) { /* receives may complete in another order */
        end->came = false;
        assert_true(run_until(end->world, &end->came));
    }
    do {
        assert_true(recv(socket, answer, sizeof(answer), 0) > 0);
    } while (answer[0] != byte);
}

static void test_source_is_chosen_where_that_works(void **state) {
    struct end end;
    SOCKET socket = asker();
    faults_honour_source();
    end_open(*state, &end, true);
    expect_answer(socket, &end, 'a');
    assert_string_equal(faults_source(), "127.0.0.1");
    expect_answer(socket, &end, 'b');
    end_close(&end);
    closesocket(socket);
}

static void test_source_that_is_ignored_gets_a_socket_an_address(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, true);
    unsigned before = faults_calls(FAULT_SOCKET);
    for (char byte = 'a'; byte < 'f'; byte++) {
        expect_answer(socket, &end, byte);
        assert_string_equal(faults_source(), ""); /* its own socket needs none */
    }
    assert_int_equal(faults_calls(FAULT_SOCKET), before + 1);
    end_close(&end);
    closesocket(socket);
}

static void test_socket_for_an_address_that_cannot_be_had_is_done_without(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, true);
    faults_fail(FAULT_SOCKET, 0, 2, WSAEMFILE);
    expect_answer(socket, &end, 'a');
    faults_fail(FAULT_BIND, 0, 2, WSAEADDRINUSE);
    expect_answer(socket, &end, 'b');
    expect_answer(socket, &end, 'c');
    end_close(&end);
    closesocket(socket);
}

static void test_bound_to_one_address_no_source_is_chosen(void **state) {
    struct end end;
    SOCKET socket = asker();
    faults_honour_source();
    end_open(*state, &end, false);
    expect_answer(socket, &end, 'a');
    assert_string_equal(faults_source(), "");
    end_close(&end);
    closesocket(socket);
}

static void test_reset_of_an_earlier_answer_is_ignored(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, false);
    faults_complete(FAULT_RECEIVE_FROM, 1, WSAECONNRESET);
    ask(socket, &end, "x", 1); /* whatever came with it is not ours to see */
    run_some(*state);
    faults_fail(FAULT_RECEIVE_FROM, 0, 3, WSAECONNRESET);
    for (char byte = 'a'; byte < 'o'; byte++) {
        expect_answer(socket, &end, byte);
    }
    end_close(&end);
    closesocket(socket);
}

/* Whatever an error says of an earlier answer, there are as many receives posted after it. */
static void test_receive_that_fails_is_posted_again_at_once(void **state) {
    static const int codes[] = {WSAENETRESET, WSAEHOSTUNREACH, WSAETIMEDOUT, WSAEINVAL};
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, false);
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        unsigned before = faults_calls(FAULT_RECEIVE_FROM);
        faults_complete(FAULT_RECEIVE_FROM, 1, codes[i]);
        ask(socket, &end, "x", 1);
        for (int k = 0; k < 20 && faults_calls(FAULT_RECEIVE_FROM) == before; k++) {
            engine_port_run(((struct world *)*state)->port, 10);
        }
        assert_int_equal(faults_calls(FAULT_RECEIVE_FROM), before + 1);
        assert_false(((struct world *)*state)->port->receivers_waiting_for_buffer);
        expect_answer(socket, &end, (char)('a' + i));
    }
    end_close(&end);
    closesocket(socket);
}

/* Each of the eight receives fails some 70 times where it is posted: not all of that at once. */
static void test_receive_that_fails_for_good_does_not_use_up_a_processor(void **state) {
    struct world *world = *state;
    struct end end;
    SOCKET socket = asker();
    faults_fail(FAULT_RECEIVE_FROM, 0, 560, WSAEINVAL);
    end_open(world, &end, false);
    for (int i = 0; i < 1000 && !world->port->receivers_waiting_for_buffer; i++) {
        engine_port_run(world->port, 0);
    }
    assert_true(world->port->receivers_waiting_for_buffer);
    assert_true(faults_injected(FAULT_RECEIVE_FROM) < 560);
    expect_answer(socket, &end, 'a');
    end_close(&end);
    closesocket(socket);
}

static void test_truncation_reported_as_an_error_is_truncation(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, false);
    faults_complete(FAULT_RECEIVE_FROM, 1, WSAEMSGSIZE);
    end.came = false;
    ask(socket, &end, "t", 1);
    assert_true(run_until(*state, &end.came));
    assert_true(end.truncated);
    expect_answer(socket, &end, 'a');
    assert_false(end.truncated);
    end_close(&end);
    closesocket(socket);
}

static void test_receives_without_memory_come_back(void **state) {
    struct world *world = *state;
    struct end end;
    SOCKET socket = asker();
    faults_fail(FAULT_RECEIVE_FROM, 0, 8, WSAENOBUFS);
    end_open(world, &end, false);
    expect_answer(socket, &end, 'a');
    unsigned left = world->buffers_left;
    world->buffers_left = 0;
    ask(socket, &end, "b", 1); /* those that are posted have theirs */
    run_some(world);
    world->buffers_left = left;
    expect_answer(socket, &end, 'c');
    end_close(&end);
    closesocket(socket);
}

static void test_send_without_room_is_told(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, false);
    struct berth_address to = loopback;
    to.port = 9;
    faults_fail(FAULT_SEND_TO, 0, 1, WSAEWOULDBLOCK);
    assert_int_equal(engine_datagram_send(end.listener, &loopback, &to, (uint8_t *)"x", 1),
                     ENGINE_E_NO_RESOURCES);
    faults_fail(FAULT_SEND_TO, 0, 1, WSAENETUNREACH);
    assert_int_equal(engine_datagram_send(end.listener, &loopback, &to, (uint8_t *)"x", 1),
                     ENGINE_E_UNREACHABLE);
    expect_answer(socket, &end, 'a');
    end_close(&end);
    closesocket(socket);
}

static void test_receives_at_once_and_later_are_the_same(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, false);
    for (char byte = 'a'; byte < 'z'; byte++) {
        if (byte % 2 == 0) {
            faults_later(FAULT_RECEIVE_FROM, 1);
        }
        ask(socket, &end, "!", 1); /* so that the next receive finds one waiting */
        expect_answer(socket, &end, byte);
    }
    end_close(&end);
    closesocket(socket);
}

/* Systems differ in what they skip for these sockets: nothing is to be skipped. */
static void test_socket_of_datagrams_skips_no_packets(void **state) {
    struct end end;
    SOCKET socket = asker();
    end_open(*state, &end, true); /* and one for 127.0.0.1 */
    expect_answer(socket, &end, 'a');
    struct connection *connection = connection_open(*state);
    assert_int_equal(faults_skipping(SOCK_STREAM), ((struct world *)*state)->engine->skip_success);
    assert_int_equal(faults_skipping(SOCK_DGRAM), 0);
    connection_close(connection);
    end_close(&end);
    closesocket(socket);
}

/* Whether a packet follows or not: each is delivered once, and as many receives are posted. */
static void test_datagram_too_large_at_once_is_delivered_once(void **state, bool with_packet) {
    struct world *world = *state;
    struct end end;
    SOCKET socket = asker();
    end_open(world, &end, false);
    for (unsigned round = 1; round <= 4; round++) {
        faults_oversize_at_once(1, with_packet);
        for (int i = 0; i < 9; i++) { /* there are eight receives: one that is posted again finds */
            ask(socket, &end, "!", 1); /* the ninth */
        }
        for (int i = 0; i < RUNS_MAX && end.count < 9 * round; i++) {
            engine_port_run(world->port, 50);
        }
        run_some(world);
        assert_int_equal(end.count, 9 * round);
        assert_int_equal(faults_oversized(), round);
        assert_int_equal(engine_port_pending(world->port), 8);
    }
    end_close(&end);
    closesocket(socket);
}

static void test_datagram_too_large_at_once_with_a_packet(void **state) {
    test_datagram_too_large_at_once_is_delivered_once(state, true);
}

static void test_datagram_too_large_at_once_without_a_packet(void **state) {
    test_datagram_too_large_at_once_is_delivered_once(state, false);
}

/* What settles a receive cannot be queued: it is tried again. */
static void test_receive_that_fails_without_memory_for_its_packet_comes_back(void **state) {
    struct world *world = *state;
    struct end end;
    SOCKET socket = asker();
    faults_fail(FAULT_RECEIVE_FROM, 0, 8, WSAECONNRESET);
    faults_fail(FAULT_PORT_POST, 0, 20, ERROR_NOT_ENOUGH_MEMORY);
    end_open(world, &end, false);
    assert_true(faults_injected(FAULT_PORT_POST) == 8);
    expect_answer(socket, &end, 'a');
    assert_int_equal(engine_port_pending(world->port), 8);
    end_close(&end);
    closesocket(socket);
}

/* No datagram is still ending there: another try would only share the port with somebody. */
static void test_port_of_datagrams_that_is_refused_is_not_tried_again(void **state) {
    struct world *world = *state;
    struct error error = {0};
    struct engine_listen_options options = {.address = loopback, .acceptors = 1, .datagrams = true};
    faults_fail(FAULT_BIND, 0, 1, WSAEADDRINUSE);
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_string_equal(error.message, "address in use");
    faults_fail(FAULT_BIND, 0, 1, WSAEACCES);
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_non_null(strstr(error.message, "excludedportrange protocol=udp"));
}

static void test_provider_without_the_functions_is_refused(void **state) {
    struct world *world = *state;
    struct error error;
    struct engine_listen_options options = {.address = loopback, .acceptors = 1, .datagrams = true};
    faults_withhold(FAULT_RECEIVE_FROM);
    assert_null(engine_listener_open(world->engine, &options, &error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_source_is_chosen_where_that_works),
        ONE_WAY(test_source_that_is_ignored_gets_a_socket_an_address),
        ONE_WAY(test_socket_for_an_address_that_cannot_be_had_is_done_without),
        ONE_WAY(test_bound_to_one_address_no_source_is_chosen),
        BOTH_WAYS(test_reset_of_an_earlier_answer_is_ignored),
        BOTH_WAYS(test_receive_that_fails_is_posted_again_at_once),
        BOTH_WAYS(test_receive_that_fails_for_good_does_not_use_up_a_processor),
        BOTH_WAYS(test_truncation_reported_as_an_error_is_truncation),
        BOTH_WAYS(test_receives_without_memory_come_back),
        ONE_WAY(test_send_without_room_is_told),
        BOTH_WAYS(test_receives_at_once_and_later_are_the_same),
        BOTH_WAYS(test_socket_of_datagrams_skips_no_packets),
        BOTH_WAYS(test_datagram_too_large_at_once_with_a_packet),
        BOTH_WAYS(test_datagram_too_large_at_once_without_a_packet),
        ONE_WAY(test_receive_that_fails_without_memory_for_its_packet_comes_back),
        ONE_WAY(test_port_of_datagrams_that_is_refused_is_not_tried_again),
        ONE_WAY(test_provider_without_the_functions_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
