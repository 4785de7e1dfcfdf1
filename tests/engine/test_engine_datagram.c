/* Datagrams: what engine.h promises of them, on every engine. Two listeners of the engine talk to
 * each other. */
#include "conformance.h"

enum { GOT_MAX = 256 };

struct got {
    struct berth_address local;
    struct berth_address remote;
    uint32_t size;
    bool truncated;
    uint8_t first;
};

struct end {
    struct world *world;
    struct engine_listener *listener;
    struct engine_receiver *receiver;
    struct berth_address address;
    bool echoes;
    struct got got[GOT_MAX];
    unsigned count;
    unsigned lost;
    struct engine_op stopped;
    bool is_stopped;
};

static void on_received(struct engine_receiver *receiver, const struct engine_datagram *datagram,
                        void *context) {
    struct end *end = context;
    assert_false(end->is_stopped);
    assert_true(end->count < GOT_MAX);
    end->got[end->count++] = (struct got){
        .local = datagram->local,
        .remote = datagram->remote,
        .size = datagram->data.size,
        .truncated = datagram->truncated,
        .first = datagram->data.size > 0 ? datagram->data.bytes[0] : 0,
    };
    if (end->echoes) { /* the buffer goes along */
        engine_receiver_send(receiver, &datagram->local, &datagram->remote, &datagram->data);
    } else {
        source_give(end->world, datagram->data.owner);
    }
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    struct end *end = context;
    (void)receiver;
    end->lost++;
}

static void on_stopped(struct engine_op *op, int64_t result) {
    struct end *end = CONTAINER_OF(op, struct end, stopped);
    assert_int_equal(result, 0);
    end->is_stopped = true;
}

static void end_open(struct world *world, struct end *end, const struct berth_address *at,
                     bool echoes) {
    struct error error;
    struct engine_listen_options options = {.address = *at, .acceptors = 1, .datagrams = true};
    *end = (struct end){.world = world, .echoes = echoes};
    end->stopped.complete = on_stopped;
    end->listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(end->listener);
    end->address = engine_listener_address(end->listener);
    assert_int_not_equal(end->address.port, 0);
    end->receiver =
        engine_receiver_create(world->port, end->listener, 0, on_received, on_lost, end, &error);
    assert_non_null(end->receiver);
}

static void end_close(struct end *end) {
    engine_receiver_stop(end->receiver, &end->stopped);
    RUN_UNTIL(end->world, end->is_stopped);
    engine_listener_close(end->listener);
}

static void send_to(struct end *from, const struct end *to, const uint8_t *bytes, uint32_t size) {
    assert_int_equal(
        engine_datagram_send(from->listener, &from->address, &to->address, bytes, size), 0);
}

static void talk(struct world *world, const struct berth_address *at) {
    static const uint32_t sizes[] = {1, 100, 0, BUFFER_BYTES, 1400};
    static uint8_t bytes[BUFFER_BYTES];
    struct end asks;
    struct end answers;
    end_open(world, &asks, at, false);
    end_open(world, &answers, at, true);
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        bytes[0] = (uint8_t)(i + 1);
        send_to(&asks, &answers, bytes, sizes[i]);
        RUN_UNTIL(world, asks.count > i);
        assert_int_equal(asks.got[i].size, sizes[i]);
        assert_int_equal(asks.got[i].first, sizes[i] > 0 ? i + 1 : 0);
        assert_false(asks.got[i].truncated);
        assert_true(address_equal(&answers.got[i].remote, &asks.address));
        assert_true(address_equal(&answers.got[i].local, &answers.address));
        assert_true(address_equal(&asks.got[i].remote, &answers.address));
        assert_true(address_equal(&asks.got[i].local, &asks.address));
    }
    end_close(&asks);
    end_close(&answers);
}

static void test_datagrams_come_with_both_addresses_and_go_back(void **state) {
    talk(*state, &loopback_v4);
    talk(*state, &loopback_v6);
}

static void test_datagram_longer_than_a_buffer_is_truncated_and_says_so(void **state) {
    static uint8_t bytes[2 * BUFFER_BYTES];
    struct world *world = *state;
    struct end asks;
    struct end answers;
    end_open(world, &asks, &loopback_v4, false);
    end_open(world, &answers, &loopback_v4, false);
    send_to(&asks, &answers, bytes, BUFFER_BYTES + 1);
    send_to(&asks, &answers, bytes, 7);
    RUN_UNTIL(world, answers.count == 2);
    assert_true(answers.got[0].truncated);
    assert_int_equal(answers.got[0].size, BUFFER_BYTES);
    assert_false(answers.got[1].truncated);
    assert_int_equal(answers.got[1].size, 7);
    end_close(&asks);
    end_close(&answers);
}

static void test_datagrams_in_a_burst_come_in_order_over_several_turns(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    end_open(world, &asks, &loopback_v4, false);
    end_open(world, &answers, &loopback_v4, true);
    for (unsigned i = 0; i < 100; i++) {
        uint8_t byte = (uint8_t)i;
        send_to(&asks, &answers, &byte, 1);
    }
    RUN_UNTIL(world, asks.count == 100); /* loopback loses none of so few */
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(answers.got[i].first, i);
        assert_int_equal(asks.got[i].first, i);
    }
    end_close(&asks);
    end_close(&answers);
}

static void test_datagrams_to_a_port_that_is_gone_disturb_no_others(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    struct end gone;
    end_open(world, &asks, &loopback_v4, false);
    end_open(world, &answers, &loopback_v4, true);
    end_open(world, &gone, &loopback_v4, false);
    struct end address = gone;
    end_close(&gone);
    for (unsigned i = 0; i < 5; i++) {
        engine_datagram_send(asks.listener, &asks.address, &address.address, (uint8_t *)"?", 1);
        send_to(&asks, &answers, (uint8_t *)"!", 1);
        RUN_UNTIL(world, asks.count == i + 1);
    }
    end_close(&asks);
    end_close(&answers);
}

static void test_datagram_without_memory_is_lost_or_waits_and_the_next_one_comes(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    end_open(world, &asks, &loopback_v4, false);
    end_open(world, &answers, &loopback_v4, false);
    unsigned limit = world->buffers_limit;
    send_to(&asks, &answers, (uint8_t *)"1", 1);
    RUN_UNTIL(world, answers.count == 1);
    world->buffers_limit = 0;
    send_to(&asks, &answers, (uint8_t *)"2", 1);
    run_quietly(world);
    world->buffers_limit = limit;
    send_to(&asks, &answers, (uint8_t *)"3", 1);
    RUN_UNTIL(world, answers.count > 1 && answers.got[answers.count - 1].first == '3');
    assert_int_equal(answers.count + answers.lost, 3);
    end_close(&asks);
    end_close(&answers);
}

static void test_datagram_to_another_family_is_unreachable(void **state) {
    struct world *world = *state;
    struct end asks;
    struct berth_address other = loopback_v6;
    other.port = 9;
    end_open(world, &asks, &loopback_v4, false);
    assert_int_equal(engine_datagram_send(asks.listener, &asks.address, &other, (uint8_t *)"?", 1),
                     ENGINE_E_UNREACHABLE);
    end_close(&asks);
}

static void test_datagram_ports_are_not_shared_with_others(void **state) {
    struct world *world = *state;
    struct end one;
    struct error error;
    end_open(world, &one, &loopback_v4, false);
    struct engine_listen_options options = {
        .address = one.address, .acceptors = 1, .datagrams = true};
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_string_equal(error.message, "address in use");
    end_close(&one);
}

/* The thread of the socket's own port stands still: another port takes what comes. */
static void test_datagrams_of_a_port_that_stands_still_come_to_a_further_receiver(void **state) {
    struct world *world = *state;
    struct world beside = {.engine = world->engine, .buffers_limit = UINT32_MAX};
    struct engine_port_options options = port_options(&beside);
    struct error error;
    struct end asks;
    struct end answers;
    struct end further = {.world = &beside, .echoes = true, .stopped.complete = on_stopped};
    end_open(world, &asks, &loopback_v4, false);
    end_open(world, &answers, &loopback_v4, false);
    run_quietly(world);
    beside.port = engine_port_create(world->engine, &options, &error);
    assert_non_null(beside.port);
    further.receiver = engine_receiver_create(beside.port, answers.listener, 0, on_received,
                                              on_lost, &further, &error);
    assert_non_null(further.receiver);
    for (uint8_t i = 1; i <= 3; i++) {
        send_to(&asks, &answers, &i, 1);
        RUN_UNTIL(&beside, further.count == i);
        assert_int_equal(further.got[i - 1].first, i);
        assert_true(address_equal(&further.got[i - 1].remote, &asks.address));
    }
    engine_receiver_stop(further.receiver, &further.stopped);
    RUN_UNTIL(&beside, further.is_stopped);
    engine_port_destroy(beside.port);
    assert_int_equal(beside.buffers_out, 0);

    run_quietly(world);
    assert_int_equal(answers.count, 0);
    assert_int_equal(asks.count, 3);
    send_to(&asks, &answers, (const uint8_t *)"again", 5);
    RUN_UNTIL(world, answers.count == 1);
    end_close(&asks);
    end_close(&answers);
}

#define BARE(test) cmocka_unit_test_setup_teardown(test, setup_bare, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        BARE(test_datagrams_come_with_both_addresses_and_go_back),
        BARE(test_datagram_longer_than_a_buffer_is_truncated_and_says_so),
        BARE(test_datagrams_in_a_burst_come_in_order_over_several_turns),
        BARE(test_datagrams_to_a_port_that_is_gone_disturb_no_others),
        BARE(test_datagram_without_memory_is_lost_or_waits_and_the_next_one_comes),
        BARE(test_datagram_to_another_family_is_unreachable),
        BARE(test_datagrams_of_a_port_that_stands_still_come_to_a_further_receiver),
        BARE(test_datagram_ports_are_not_shared_with_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
