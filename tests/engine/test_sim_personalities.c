/* test_sim_personalities.c: what each personality of the simulated engine does differently. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/sim/sim.h"

enum { BUFFER_BYTES = 64, LARGE_BYTES = 400000 };

static const struct berth_address address = {.family = BERTH_FAMILY_IPV4, .port = 7};

static struct {
    struct engine *engine;
    struct engine_port *port;
    struct engine_listener *listener;
    struct engine_acceptor *acceptor;
    struct engine_accept accept;
    struct engine_receive receive;
    struct engine_op send;
    struct sim_peer *peer;
    unsigned completions;
    int64_t result;
    unsigned received;
    unsigned buffers;
} it;

static bool buffer_take(void *context, struct engine_buffer *buffer) {
    uint8_t *bytes = malloc(BUFFER_BYTES);
    (void)context;
    assert_non_null(bytes);
    it.buffers++;
    *buffer = (struct engine_buffer){bytes, bytes, BUFFER_BYTES};
    return true;
}

static void buffer_give(void *context, void *owner) {
    (void)context;
    it.buffers--;
    free(owner);
}

static void on_complete(struct engine_op *op, int64_t result) {
    (void)op;
    it.completions++;
    it.result = result;
}

static void on_received(struct engine_op *op, int64_t result) {
    if (result > 0) {
        it.received += (unsigned)result;
        buffer_give(NULL, engine_received(it.port)->owner);
    } else {
        on_complete(op, result);
    }
}

static void on_starved(struct engine_acceptor *acceptor, void *context) {
    (void)acceptor;
    (void)context;
}

static void run_until_complete(void) {
    for (unsigned i = 0; it.completions == 0; i++) {
        assert_true(i < 10000);
        engine_port_run(it.port, 1000);
    }
    assert_int_equal(it.completions, 1);
    it.completions = 0;
}

static void let_arrive(void) {
    sim_advance(engine_now_ms() + 10, NULL, NULL);
}

/* A listener in a calm world, and an acceptor. */
static void begin(enum sim_personality personality, bool reuse) {
    struct sim_options options = sim_options_calm(personality, 1);
    struct engine_options engine = {0};
    struct engine_port_options port = {.buffers = {NULL, BUFFER_BYTES, buffer_take, buffer_give},
                                       .receive_buffers = 4,
                                       .receive_buffers_max = 4};
    struct engine_listen_options listen = {
        .address = address, .acceptors = 1, .reuse_sockets = reuse};
    memset(&it, 0, sizeof(it));
    options.pending_send = 0;
    sim_world_create(&options);
    it.engine = engine_create(&engine, NULL);
    it.port = engine_port_create(it.engine, &port, NULL);
    it.listener = engine_listener_open(it.engine, &listen, NULL);
    assert_non_null(it.listener);
    assert_true(engine_listener_start(it.listener, NULL));
    it.acceptor = engine_acceptor_create(it.port, it.listener, 0, on_starved, NULL, NULL);
    assert_non_null(it.acceptor);
    it.accept.op.complete = on_complete;
    it.receive.op.complete = on_received;
    it.send.complete = on_complete;
}

static void end(void) {
    engine_acceptor_destroy(it.acceptor);
    engine_listener_close(it.listener);
    engine_port_destroy(it.port);
    engine_destroy(it.engine);
    assert_int_equal(it.buffers, 0);
    sim_world_destroy();
}

static void accept_one(void) {
    it.accept.home = NULL;
    engine_accept(it.acceptor, &it.accept);
    it.peer = sim_peer_connect(&address, NULL);
    run_until_complete();
    assert_int_equal(it.result, 0);
    assert_true(it.accept.home || engine_attach(it.port, &it.accept.socket, NULL));
}

static void receive_to_the_end(void) {
    engine_receive_start(it.port, it.accept.socket, &it.receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    run_until_complete();
}

/* -- the tests ------------------------------------------------------------- */

static void test_sim_iocp_accepts_on_one_port_and_the_others_on_each(void **state) {
    (void)state;
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        begin((enum sim_personality)i, false);
        const struct engine_traits *traits = engine_traits(it.engine);
        assert_string_equal(traits->name, sim_personality_name((enum sim_personality)i));
        assert_int_equal(traits->accept_on_workers, i != SIM_IOCP);
        assert_int_equal(engine_acceptor_fall_back(it.acceptor), i == SIM_IOCP);
        assert_int_equal(engine_acceptor_is_plain(it.acceptor), i == SIM_IOCP);
        end();
    }
}

static void test_sim_iocp_alone_accepts_with_a_recycled_socket(void **state) {
    (void)state;
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        begin((enum sim_personality)i, true);
        accept_one();
        assert_null(it.accept.home);
        sim_peer_close(it.peer);
        receive_to_the_end();
        assert_int_equal(it.result, 0);
        engine_recycle(it.port, it.accept.socket);
        accept_one();
        assert_true((it.accept.home == it.port) == (i == SIM_IOCP));
        engine_close(it.engine, it.accept.socket, true);
        sim_peer_close(it.peer);
        end();
    }
}

static void test_sim_reset_throws_away_what_iocp_has_not_received(void **state) {
    (void)state;
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        begin((enum sim_personality)i, false);
        accept_one();
        assert_int_equal(sim_peer_send(it.peer, "early", 5), 5);
        let_arrive();
        sim_peer_reset(it.peer);
        let_arrive();
        receive_to_the_end();
        assert_int_equal(it.result, ENGINE_E_RESET);
        assert_int_equal(it.received, i == SIM_IOCP ? 0 : 5);
        engine_close(it.engine, it.accept.socket, false);
        end();
    }
}

static void test_sim_reset_may_be_read_as_a_fin(void **state) {
    (void)state;
    begin(SIM_IOCP, false);
    sim_world_options()->reset_as_fin = SIM_ALWAYS;
    accept_one();
    sim_peer_reset(it.peer);
    let_arrive();
    receive_to_the_end();
    assert_int_equal(it.result, 0);
    struct engine_piece piece = {.bytes = (const uint8_t *)"?", .size = 1};
    assert_int_equal(engine_send(it.port, it.accept.socket, &it.send, &piece, 1), ENGINE_E_RESET);
    engine_close(it.engine, it.accept.socket, false);
    end();
}

/* Larger than the window: what is pending completes whole, in part, or asks to try again. */
static void test_sim_pending_send_completes_as_the_system_does_it(void **state) {
    static uint8_t bytes[LARGE_BYTES];
    static uint8_t room[LARGE_BYTES];
    (void)state;
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        begin((enum sim_personality)i, false);
        accept_one();
        struct engine_piece piece = {.bytes = bytes, .size = LARGE_BYTES};
        int64_t sent = engine_send(it.port, it.accept.socket, &it.send, &piece, 1);
        if (i == SIM_IOCP) {
            assert_int_equal(sent, ENGINE_PENDING);
        } else {
            assert_in_range(sent, 1, LARGE_BYTES - 1);
            assert_int_equal(engine_send(it.port, it.accept.socket, &it.send, &piece, 1),
                             ENGINE_PENDING);
        }
        for (unsigned turn = 0; it.completions == 0; turn++) {
            assert_true(turn < 1000);
            sim_peer_receive(it.peer, room, sizeof(room));
            engine_port_run(it.port, 10);
        }
        assert_int_equal(it.completions, 1);
        if (i == SIM_IOCP) {
            assert_int_equal(it.result, LARGE_BYTES);
        } else {
            assert_in_range(it.result, 0, LARGE_BYTES - 1);
        }
        engine_close(it.engine, it.accept.socket, true);
        sim_peer_close(it.peer);
        end();
    }
}

static void on_guest(struct sim_server *server, struct sim_peer *peer, void *context) {
    (void)server;
    (void)context;
    it.peer = peer;
}

static void test_sim_iocp_alone_sends_first_data_with_the_connect(void **state) {
    (void)state;
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        begin((enum sim_personality)i, false);
        struct sim_server_options options = {.address = address, .accepted = on_guest};
        options.address.port = 80;
        struct sim_server *server = sim_server_open(&options);
        struct engine_connect connect = {
            .op.complete = on_complete,
            .remote = options.address,
            .first_data = {.bytes = (const uint8_t *)"hello", .size = 5},
        };
        engine_connect(it.port, &connect);
        run_until_complete();
        assert_int_equal(it.result, i == SIM_IOCP ? 5 : 0);
        engine_close(it.engine, connect.socket, true);
        sim_peer_close(it.peer);
        sim_server_close(server);
        end();
    }
}

/* -- cancels that are lost ------------------------------------------------- */

static void begin_lost_cancel(void) {
    begin(SIM_IOCP, false);
    sim_world_options()->cancel_lost = SIM_ALWAYS;
    accept_one();
    engine_receive_start(it.port, it.accept.socket, &it.receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    engine_receive_stop(it.port, it.accept.socket, &it.receive);
    engine_port_run(it.port, 100000);
    assert_int_equal(it.completions, 0);
}

static void test_sim_cancel_that_is_lost_is_ended_by_closing(void **state) {
    (void)state;
    begin_lost_cancel();
    assert_true(engine_close_in_flight(it.port, &it.accept.socket, &it.receive, NULL));
    assert_int_equal(it.accept.socket.handle, ENGINE_NO_SOCKET.handle);
    assert_int_equal(it.completions, 0); /* not from within */
    run_until_complete();
    assert_int_equal(it.result, ENGINE_E_RESET);
    sim_peer_close(it.peer);
    end();
}

static void test_sim_operation_that_nothing_ends_is_abandoned(void **state) {
    (void)state;
    begin_lost_cancel();
    sim_world_options()->cancel_abandoned = SIM_ALWAYS;
    uint64_t start_ms = engine_now_ms();
    assert_true(engine_close_in_flight(it.port, &it.accept.socket, &it.receive, NULL));
    run_until_complete();
    assert_int_equal(it.result, ENGINE_E_ABANDONED);
    assert_int_equal(engine_now_ms() - start_ms, 1000);
    sim_check();
    sim_peer_close(it.peer);
    end();
}

/* What one close makes ready is no reason to put the next one off. */
static void test_sim_sockets_of_lost_cancels_are_closed_in_one_turn(void **state) {
    (void)state;
    begin_lost_cancel();
    struct engine_accept first = it.accept;
    struct engine_receive second = {.op.complete = on_received};
    struct sim_peer *first_peer = it.peer;
    accept_one();
    engine_receive_start(it.port, it.accept.socket, &second, ENGINE_RECEIVE_ZERO_BYTE, true);
    engine_receive_stop(it.port, it.accept.socket, &second);
    engine_port_run(it.port, 100000);
    assert_int_equal(it.completions, 0);
    assert_true(engine_close_in_flight(it.port, &first.socket, &it.receive, NULL));
    assert_true(engine_close_in_flight(it.port, &it.accept.socket, &second, NULL));
    while (it.completions < 2) {
        assert_int_not_equal(engine_port_run(it.port, 1000), 0);
    }
    sim_peer_close(first_peer);
    sim_peer_close(it.peer);
    end();
}

static void test_sim_cancel_of_an_accept_that_is_lost_is_late(void **state) {
    (void)state;
    begin(SIM_IOCP, false);
    sim_world_options()->cancel_lost = SIM_ALWAYS;
    uint64_t start_ms = engine_now_ms();
    engine_accept(it.acceptor, &it.accept);
    engine_accept_cancel(it.acceptor, &it.accept);
    run_until_complete();
    assert_int_equal(it.result, ENGINE_E_CANCELLED);
    assert_int_equal(engine_now_ms() - start_ms, 1000);
    end();
}

static void test_sim_peer_may_finish_with_what_it_sends(void **state) {
    (void)state;
    begin(SIM_EPOLL, false);
    accept_one();
    sim_world_options()->half_close = SIM_ALWAYS;
    assert_int_equal(sim_peer_send(it.peer, "last", 4), 4);
    assert_int_equal(sim_peer_send(it.peer, "more", 4), SIM_PEER_FINISHED);
    receive_to_the_end();
    assert_int_equal(it.result, 0);
    assert_int_equal(it.received, 4);
    engine_close(it.engine, it.accept.socket, false);
    sim_peer_close(it.peer);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_iocp_accepts_on_one_port_and_the_others_on_each),
        cmocka_unit_test(test_sim_iocp_alone_accepts_with_a_recycled_socket),
        cmocka_unit_test(test_sim_reset_throws_away_what_iocp_has_not_received),
        cmocka_unit_test(test_sim_reset_may_be_read_as_a_fin),
        cmocka_unit_test(test_sim_pending_send_completes_as_the_system_does_it),
        cmocka_unit_test(test_sim_iocp_alone_sends_first_data_with_the_connect),
        cmocka_unit_test(test_sim_cancel_that_is_lost_is_ended_by_closing),
        cmocka_unit_test(test_sim_sockets_of_lost_cancels_are_closed_in_one_turn),
        cmocka_unit_test(test_sim_operation_that_nothing_ends_is_abandoned),
        cmocka_unit_test(test_sim_cancel_of_an_accept_that_is_lost_is_late),
        cmocka_unit_test(test_sim_peer_may_finish_with_what_it_sends),
    };
    return cmocka_run_group_tests_name("personalities of the simulated engine", tests, NULL, NULL);
}
