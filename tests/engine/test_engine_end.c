/* test_engine_end.c: the conformance suite's part on waiting for the peer's end of a connection,
 * our own FIN sent. */
#include "conformance.h"

static void link_await_end(struct link *link) {
    assert_int_equal(engine_shutdown_send(link->world->port, link->socket), 0);
    link->ends = 0;
    engine_receive_drain(link->world->port, link->socket, &link->receive);
}

/* `quick`: it comes before anybody can have looked for it; else when the looking has stopped. */
static void end_by_fin(struct world *world, bool quick) {
    struct link *link = link_open(world);
    link_await_end(link);
    if (!quick) {
        run_quietly(world);
        assert_int_equal(link->ends, 0);
    }
    peer_shutdown_send(link->peer);
    RUN_UNTIL(world, link->ends > 0);
    assert_int_equal(link->end, 0);
    assert_int_equal(link->deliveries, 0);
    run_quietly(world);
    assert_int_equal(link->ends, 1);
    link_close(link);
}

static void test_end_comes_with_the_fin(void **state) {
    end_by_fin(*state, true);
    end_by_fin(*state, false);
}

/* What comes in front of it may be delivered or thrown away; either way the receiver is told. */
static void test_end_comes_behind_data_that_nobody_wants(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    assert_true(peer_send(link->peer, "early", 5));
    link_await_end(link);
    for (int i = 0; i < 5; i++) {
        assert_true(peer_send(link->peer, "unwanted", 8));
        run_quietly(world);
        assert_int_equal(link->ends, 0);
    }
    peer_shutdown_send(link->peer);
    RUN_UNTIL(world, link->ends > 0);
    assert_int_equal(link->end, 0);
    assert_int_equal(link->told, 5 + 5 * 8);
    link_close(link);
}

static void test_end_by_a_reset_tells_of_it(void **state) {
    struct world *world = *state;
    for (int late = 0; late < 2; late++) {
        struct link *link = link_open(world);
        link_await_end(link);
        if (late) {
            run_quietly(world);
        }
        peer_reset(link->peer);
        link->peer = NO_PEER;
        RUN_UNTIL(world, link->ends > 0);
        assert_int_equal(link->end, ENGINE_E_RESET);
        link_close(link);
    }
}

static void test_end_that_is_stopped_comes_once(void **state) {
    struct world *world = *state;
    for (int late = 0; late < 2; late++) {
        struct link *link = link_open(world);
        link_await_end(link);
        if (late) {
            run_quietly(world);
        }
        link_stop(link);
        assert_int_equal(link->end, ENGINE_E_CANCELLED);
        run_quietly(world);
        assert_int_equal(link->ends, 1);
        link_close(link);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_end_comes_with_the_fin),
        TEST(test_end_comes_behind_data_that_nobody_wants),
        TEST(test_end_by_a_reset_tells_of_it),
        TEST(test_end_that_is_stopped_comes_once),
    };
    return cmocka_run_group_tests_name("engine: the end", tests, NULL, NULL);
}
