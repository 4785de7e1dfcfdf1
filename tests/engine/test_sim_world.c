/* test_sim_world.c: the simulated engine's own promises: a number reproduces everything, each seed
 * is another world, nothing is lost or doubled in any of them, and who breaks the contract of
 * engine.h is found out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/macros.h"
#include "sim_echo.h"

enum { SEEDS = 60, CLIENTS = 12, PORTS = 3 };

static const enum sim_personality personalities[] = {SIM_IOCP, SIM_URING, SIM_EPOLL};

/* -- seeds ----------------------------------------------------------------- */

static void test_sim_of_one_seed_gives_one_trace(void **state) {
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(personalities); i++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct sim_options options = sim_options_hostile(personalities[i], seed);
            struct sim_echo_result one = sim_echo_run(&options, PORTS, CLIENTS, true);
            struct sim_echo_result other = sim_echo_run(&options, PORTS, CLIENTS, true);
            assert_true(one.trace_hash == other.trace_hash);
            assert_true(one.virtual_ms == other.virtual_ms &&
                        one.clients.bytes == other.clients.bytes);
            assert_int_equal(one.served, other.served);
            assert_int_equal(one.clients.completed, other.clients.completed);
            assert_int_equal(one.clients.failed, other.clients.failed);
        }
    }
}

static void test_sim_of_another_seed_gives_another_trace(void **state) {
    uint64_t hashes[SEEDS];
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_options options = sim_options_calm(SIM_URING, seed);
        hashes[seed] = sim_echo_run(&options, PORTS, 2, false).trace_hash;
        for (uint64_t other = 0; other < seed; other++) {
            assert_true(hashes[seed] != hashes[other]);
        }
    }
}

static void test_sim_of_another_personality_gives_another_trace(void **state) {
    (void)state;
    struct sim_options options[SIM_PERSONALITIES];
    uint64_t hashes[SIM_PERSONALITIES];
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        options[i] = sim_options_calm(personalities[i], 1);
        hashes[i] = sim_echo_run(&options[i], PORTS, CLIENTS, false).trace_hash;
    }
    assert_true(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[2] != hashes[0]);
}

/* -- worlds ---------------------------------------------------------------- */

static void test_sim_calm_world_serves_every_client(void **state) {
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(personalities); i++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_options options = sim_options_calm(personalities[i], seed);
            struct sim_echo_result result = sim_echo_run(&options, PORTS, CLIENTS, false);
            assert_int_equal(result.clients.completed, CLIENTS);
            assert_int_equal(result.served, CLIENTS);
        }
    }
}

/* Whatever is late, cut into pieces or held up: all of it arrives. */
static void test_sim_rough_world_serves_every_client(void **state) {
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(personalities); i++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_options options = sim_options_rough(personalities[i], seed);
            struct sim_echo_result result = sim_echo_run(&options, PORTS, CLIENTS, false);
            assert_int_equal(result.clients.completed, CLIENTS);
        }
    }
}

static void test_sim_hostile_world_ends_every_client(void **state) {
    unsigned completed = 0;
    unsigned failed = 0;
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(personalities); i++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_options options = sim_options_hostile(personalities[i], seed);
            memset(options.faults[SIM_LISTEN], 0, sizeof(options.faults[SIM_LISTEN]));
            struct sim_echo_result result = sim_echo_run(&options, PORTS, CLIENTS, true);
            completed += result.clients.completed;
            failed += result.clients.failed;
        }
    }
    assert_true(completed > 0 && failed > 0);
}

/* -- the contract ---------------------------------------------------------- */

struct bench {
    struct engine *engine;
    struct engine_port *port;
    struct engine_listener *listener;
    struct engine_acceptor *acceptor;
    struct engine_accept accept;
    struct sim_peer *peer;
    unsigned completions;
    int64_t result;
    char violation[512];
    unsigned violations;
};

static struct bench bench;

static void on_violation(const char *text, void *context) {
    (void)context;
    bench.violations++;
    snprintf(bench.violation, sizeof(bench.violation), "%s", text);
}

static void on_complete(struct engine_op *op, int64_t result) {
    (void)op;
    bench.completions++;
    bench.result = result;
}

static void on_starved(struct engine_acceptor *acceptor, void *context) {
    (void)acceptor;
    (void)context;
}

static bool no_buffer(void *context, struct engine_buffer *buffer) {
    (void)context;
    (void)buffer;
    return false;
}

static void no_give(void *context, void *owner) {
    (void)context;
    (void)owner;
}

/* One connection, accepted and attached. */
static int setup(void **state) {
    struct sim_options options = sim_options_calm(SIM_EPOLL, 1);
    struct engine_options engine = {0};
    struct engine_port_options port = {.buffers = {NULL, 1, no_buffer, no_give, NULL}};
    struct engine_listen_options listen = {.address = {.family = BERTH_FAMILY_IPV4, .port = 7},
                                           .acceptors = 1};
    (void)state;
    sim_world_create(&options);
    sim_on_violation(on_violation, NULL);
    bench = (struct bench){.engine = engine_create(&engine, NULL)};
    bench.port = engine_port_create(bench.engine, &port, NULL);
    bench.listener = engine_listener_open(bench.engine, &listen, NULL);
    engine_listener_start(bench.listener, NULL);
    bench.acceptor = engine_acceptor_create(bench.port, bench.listener, 0, on_starved, NULL, NULL);
    bench.accept.op.complete = on_complete;
    engine_accept(bench.acceptor, &bench.accept);
    bench.peer = sim_peer_connect(&listen.address, NULL);
    while (bench.completions == 0) {
        engine_port_run(bench.port, 10);
    }
    assert_int_equal(bench.result, 0);
    assert_true(engine_attach(bench.port, &bench.accept.socket, NULL));
    bench.completions = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    engine_acceptor_destroy(bench.acceptor);
    engine_listener_close(bench.listener);
    engine_port_destroy(bench.port);
    engine_destroy(bench.engine);
    sim_world_destroy();
    return 0;
}

static void expect_violation(const char *part) {
    if (bench.violations == 0 || !strstr(bench.violation, part)) {
        fail_msg("%u violations, the last: \"%s\"", bench.violations, bench.violation);
    }
    bench.violations = 0;
}

static void end_receive(struct engine_receive *receive) {
    engine_receive_stop(bench.port, bench.accept.socket, receive);
    while (engine_port_pending(bench.port) > 0) {
        engine_port_run(bench.port, 10);
    }
    engine_close(bench.engine, bench.accept.socket, false);
    assert_int_equal(bench.violations, 0);
}

static void test_sim_socket_that_is_used_after_close_is_told(void **state) {
    struct engine_receive receive = {.op.complete = on_complete};
    (void)state;
    engine_close(bench.engine, bench.accept.socket, false);
    assert_int_equal(bench.violations, 0);
    engine_close(bench.engine, bench.accept.socket, false);
    expect_violation("closed before");
    engine_receive_start(bench.port, bench.accept.socket, &receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    expect_violation("closed before");
    assert_int_equal(engine_port_pending(bench.port), 0);
}

static void test_sim_close_with_an_operation_in_flight_is_told(void **state) {
    struct engine_receive receive = {.op.complete = on_complete};
    (void)state;
    engine_receive_start(bench.port, bench.accept.socket, &receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    engine_close(bench.engine, bench.accept.socket, false);
    expect_violation("in flight");
    end_receive(&receive);
}

static void test_sim_second_receive_of_a_socket_is_told(void **state) {
    struct engine_receive receive = {.op.complete = on_complete};
    struct engine_receive other = receive;
    (void)state;
    engine_receive_start(bench.port, bench.accept.socket, &receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    engine_receive_start(bench.port, bench.accept.socket, &other, ENGINE_RECEIVE_ZERO_BYTE, true);
    expect_violation("in flight already");
    end_receive(&receive);
}

static void test_sim_operation_that_is_started_twice_is_told(void **state) {
    struct engine_op op = {.complete = on_complete};
    (void)state;
    engine_port_post(bench.port, &op);
    engine_port_post(bench.port, &op);
    expect_violation("in flight as a post");
    engine_port_run(bench.port, 0);
    assert_int_equal(bench.completions, 1);
    engine_close(bench.engine, bench.accept.socket, false);
}

static void test_sim_operation_whose_memory_changes_is_told(void **state) {
    struct engine_op op = {.complete = on_complete};
    (void)state;
    engine_port_post(bench.port, &op);
    sim_check();
    assert_int_equal(bench.violations, 0);
    struct engine_op before = op;
    memset(&op, 0xdd, sizeof(op));
    sim_check();
    expect_violation("used again");
    op = before;
    engine_port_run(bench.port, 0);
    assert_int_equal(bench.violations, 0);
    assert_int_equal(bench.completions, 1);
    engine_close(bench.engine, bench.accept.socket, false);
}

/* Sends until one is pending. */
static void send_until_pending(struct engine_op *op, uint8_t *bytes, size_t size) {
    struct engine_piece piece = {.bytes = bytes, .size = size};
    while (engine_send(bench.port, bench.accept.socket, op, &piece, 1) != ENGINE_PENDING) {
    }
}

static void test_sim_second_send_of_a_socket_is_told(void **state) {
    static uint8_t bytes[100000];
    struct engine_op op = {.complete = on_complete};
    struct engine_op other = op;
    struct engine_piece piece = {.bytes = bytes, .size = 1};
    (void)state;
    send_until_pending(&op, bytes, sizeof(bytes));
    engine_send(bench.port, bench.accept.socket, &other, &piece, 1);
    expect_violation("in flight");
    engine_close(bench.engine, bench.accept.socket, false);
    expect_violation("in flight");
    engine_send_cancel(bench.port, bench.accept.socket, &op);
    engine_port_run(bench.port, 0);
    assert_int_equal(bench.completions, 1);
    engine_close(bench.engine, bench.accept.socket, true);
}

static void test_sim_bytes_that_change_while_they_are_sent_are_told(void **state) {
    static uint8_t bytes[100000];
    struct engine_op op = {.complete = on_complete};
    (void)state;
    send_until_pending(&op, bytes, sizeof(bytes));
    bytes[10]++;
    engine_send_cancel(bench.port, bench.accept.socket, &op);
    engine_port_run(bench.port, 0);
    expect_violation("were changed");
    engine_close(bench.engine, bench.accept.socket, true);
}

static void test_sim_socket_of_another_port_is_told(void **state) {
    struct engine_port_options options = {.buffers = {NULL, 1, no_buffer, no_give, NULL}};
    struct engine_port *other = engine_port_create(bench.engine, &options, NULL);
    (void)state;
    engine_shutdown_send(other, bench.accept.socket);
    expect_violation("another port");
    assert_false(engine_attach(other, &bench.accept.socket, NULL));
    expect_violation("already");
    engine_close(bench.engine, bench.accept.socket, false);
    engine_port_destroy(other);
}

static void test_sim_port_that_is_destroyed_too_early_is_told(void **state) {
    struct engine_port_options options = {.buffers = {NULL, 1, no_buffer, no_give, NULL}};
    struct engine_port *other = engine_port_create(bench.engine, &options, NULL);
    struct engine_op op = {.complete = on_complete};
    (void)state;
    engine_port_post(other, &op);
    engine_port_destroy(other);
    expect_violation("in flight");
    engine_port_run(other, 0);
    engine_port_destroy(other);
    assert_int_equal(bench.violations, 0);
    engine_close(bench.engine, bench.accept.socket, false);
}

/* -- time ------------------------------------------------------------------ */

static void test_sim_time_passes_only_when_nothing_is_to_be_done(void **state) {
    struct engine_op op = {.complete = on_complete};
    (void)state;
    uint64_t start_ms = engine_now_ms();
    engine_port_post(bench.port, &op);
    assert_int_equal(engine_port_run(bench.port, 1000000), 1);
    assert_int_equal(engine_now_ms(), start_ms);
    assert_int_equal(engine_port_run(bench.port, 1000000), 0);
    assert_true(engine_now_ms() == start_ms + 1000000);
    engine_close(bench.engine, bench.accept.socket, false);
}

#define BENCH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_of_one_seed_gives_one_trace),
        cmocka_unit_test(test_sim_of_another_seed_gives_another_trace),
        cmocka_unit_test(test_sim_of_another_personality_gives_another_trace),
        cmocka_unit_test(test_sim_calm_world_serves_every_client),
        cmocka_unit_test(test_sim_rough_world_serves_every_client),
        cmocka_unit_test(test_sim_hostile_world_ends_every_client),
        BENCH(test_sim_socket_that_is_used_after_close_is_told),
        BENCH(test_sim_close_with_an_operation_in_flight_is_told),
        BENCH(test_sim_second_receive_of_a_socket_is_told),
        BENCH(test_sim_operation_that_is_started_twice_is_told),
        BENCH(test_sim_operation_whose_memory_changes_is_told),
        BENCH(test_sim_second_send_of_a_socket_is_told),
        BENCH(test_sim_bytes_that_change_while_they_are_sent_are_told),
        BENCH(test_sim_socket_of_another_port_is_told),
        BENCH(test_sim_port_that_is_destroyed_too_early_is_told),
        BENCH(test_sim_time_passes_only_when_nothing_is_to_be_done),
    };
    return cmocka_run_group_tests_name("the simulated world", tests, NULL, NULL);
}
