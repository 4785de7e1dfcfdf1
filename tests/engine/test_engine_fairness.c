/* test_engine_fairness.c: the conformance suite's part on what one connection gets in a turn while
 * its peer sends as fast as it can. */
#include "conformance.h"

enum {
    GREEDY = 128,
    POLITE = 64,                     /* more than the kernel hands out at a time */
    AHEAD_BYTES = 16 * BUFFER_BYTES, /* that each of them has sent and nobody has received */
    WARM_UP_TURNS = 6,
    POLITE_TURNS = 60, /* others may be served before them, but not for ever */
};

static bool more_is_sent;

/* What was received is sent anew: there is always as much. */
static void on_greedy(struct engine_op *op, int64_t result) {
    static uint8_t bytes[BUFFER_BYTES];
    struct link *link = CONTAINER_OF(op, struct link, receive.op);
    if (result <= 0) {
        link->ends++;
        link->end = result;
        return;
    }
    source_give(link->world, engine_received(link->world->port)->owner);
    link->deliveries++;
    if (more_is_sent) {
        assert_true(peer_send(link->peer, bytes, (size_t)result));
    }
}

static void open_greedy(struct world *world, struct link **links) {
    static uint8_t bytes[AHEAD_BYTES];
    more_is_sent = true;
    for (unsigned i = 0; i < GREEDY; i++) {
        links[i] = link_open(world);
        links[i]->receive.op.complete = on_greedy;
        assert_true(peer_send(links[i]->peer, bytes, sizeof(bytes)));
    }
    for (unsigned i = 0; i < GREEDY; i++) {
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
}

static void close_greedy(struct link **links) {
    more_is_sent = false;
    for (unsigned i = 0; i < GREEDY; i++) {
        link_stop(links[i]);
        link_close(links[i]);
    }
}

/* One turn. The most that one of them was delivered in it. */
static unsigned run_turn(struct world *world, struct link **links) {
    unsigned most = 0;
    for (unsigned i = 0; i < GREEDY; i++) {
        links[i]->deliveries = 0;
    }
    engine_port_run(world->port, RUN_MS);
    for (unsigned i = 0; i < GREEDY; i++) {
        most = links[i]->deliveries > most ? links[i]->deliveries : most;
    }
    return most;
}

static bool all_received(struct link **links, unsigned count) {
    for (unsigned i = 0; i < POLITE; i++) {
        if (links[i]->deliveries < count) {
            return false;
        }
    }
    return true;
}

static void test_receives_beside_greedy_ones_have_their_turn(void **state) {
    struct world *world = *state;
    struct link *greedy[GREEDY];
    struct link *polite[POLITE];
    for (unsigned i = 0; i < POLITE; i++) {
        polite[i] = link_open(world);
        link_receive(polite[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
    run_quietly(world); /* they wait */
    open_greedy(world, greedy);
    for (unsigned i = 0; i < WARM_UP_TURNS; i++) {
        run_turn(world, greedy);
    }
    for (unsigned round = 1; round <= 3; round++) {
        unsigned turns = 0;
        for (unsigned i = 0; i < POLITE; i++) {
            assert_true(peer_send(polite[i]->peer, "please", 6));
        }
        while (!all_received(polite, round)) {
            assert_true(++turns <= POLITE_TURNS);
            run_turn(world, greedy);
        }
    }
    for (unsigned i = 0; i < POLITE; i++) {
        link_stop(polite[i]);
        link_close(polite[i]);
    }
    close_greedy(greedy);
}

/* One that was put off may go on and then be heard of again, in the same turn. */
static void expect_shares_of(struct world *world, unsigned buffers) {
    struct link *greedy[GREEDY];
    unsigned served[GREEDY] = {0};
    open_greedy(world, greedy);
    for (unsigned i = 0; i < WARM_UP_TURNS; i++) {
        run_turn(world, greedy); /* the system may give more before it is told */
    }
    for (unsigned turn = 0; turn < POLITE_TURNS; turn++) {
        assert_in_range(run_turn(world, greedy), 0, 2 * buffers);
        for (unsigned i = 0; i < GREEDY; i++) {
            served[i] += greedy[i]->deliveries;
        }
    }
    for (unsigned i = 0; i < GREEDY; i++) {
        assert_int_not_equal(served[i], 0);
    }
    close_greedy(greedy);
}

static void test_greedy_receive_gets_a_small_share_of_each_turn(void **state) {
    expect_shares_of(*state, BURST_BUFFERS);
}

static void test_greedy_receive_gets_as_little_as_the_port_is_told(void **state) {
    expect_shares_of(*state, 1);
}

#define TEST(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_receives_beside_greedy_ones_have_their_turn, setup_roomy),
        TEST(test_greedy_receive_gets_a_small_share_of_each_turn, setup_roomy),
        TEST(test_greedy_receive_gets_as_little_as_the_port_is_told, setup_strict),
    };
    return cmocka_run_group_tests_name("engine: fairness", tests, NULL, NULL);
}
