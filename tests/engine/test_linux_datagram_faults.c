/* test_linux_datagram_faults.c: the Linux engines on calls that fail (linux_faults.h), with
 * datagrams. */
#include "linux_world.h"

#include <errno.h>

enum { BATCH = 20 };

struct end {
    struct world *world;
    struct engine_listener *listener;
    struct engine_receiver *receiver;
    struct berth_address address;
    bool echoes;
    unsigned count;
    unsigned lost;
    struct engine_op stopped;
    bool is_stopped;
};

static void on_received(struct engine_receiver *receiver, const struct engine_datagram *datagram,
                        void *context) {
    struct end *end = context;
    end->count++;
    if (end->echoes) {
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

static bool end_open(struct world *world, struct end *end, bool echoes, struct error *error) {
    struct engine_listen_options options = {
        .address = loopback_v4, .acceptors = 1, .datagrams = true};
    *end = (struct end){.world = world, .echoes = echoes, .stopped.complete = on_stopped};
    end->listener = engine_listener_open(world->engine, &options, error);
    assert_non_null(end->listener);
    end->address = engine_listener_address(end->listener);
    end->receiver =
        engine_receiver_create(world->port, end->listener, 0, on_received, on_lost, end, error);
    return end->receiver != NULL;
}

static void end_close(struct end *end) {
    engine_receiver_stop(end->receiver, &end->stopped);
    RUN_UNTIL(end->world, end->is_stopped);
    engine_listener_close(end->listener);
}

static int64_t send_one(struct end *from, const struct end *to) {
    return engine_datagram_send(from->listener, &from->address, &to->address,
                                (const uint8_t *)"hello", 5);
}

/* Questions and echoes, all of them. */
static void expect_talking_datagrams(struct end *asks, struct end *answers) {
    unsigned before = asks->count;
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(send_one(asks, answers), 0);
    }
    RUN_UNTIL(asks->world, asks->count == before + BATCH);
}

static void open_both(struct world *world, struct end *asks, struct end *answers) {
    struct error error = {0};
    assert_true(end_open(world, asks, false, &error));
    assert_true(end_open(world, answers, true, &error));
    expect_talking_datagrams(asks, answers);
}

static void test_datagrams_that_there_is_no_memory_for_wait(void **state) {
    static const int codes[] = {ENOMEM, ENOBUFS, EINTR, ECONNREFUSED, EHOSTUNREACH};
    struct world *world = *state;
    struct end asks;
    struct end answers;
    open_both(world, &asks, &answers);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        unsigned injected = faults_injected(FAULT_RECEIVE_FROM);
        faults_fail(FAULT_RECEIVE_FROM, 0, 3, codes[i]);
        expect_talking_datagrams(&asks, &answers);
        assert_int_equal(faults_injected(FAULT_RECEIVE_FROM), injected + 3);
    }
    end_close(&asks);
    end_close(&answers);
}

static void test_datagrams_without_memory_do_not_make_the_port_spin(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    open_both(world, &asks, &answers);
    faults_fail(FAULT_RECEIVE_FROM, 0, FAULT_ALWAYS, ENOMEM);
    assert_int_equal(send_one(&asks, &answers), 0);
    expect_no_spinning(world);
    faults_fail(FAULT_RECEIVE_FROM, 0, 0, 0);
    unsigned before = asks.count;
    RUN_UNTIL(world, asks.count == before + 1);
    /* Nor while there is none to throw them away with. */
    world->buffers_limit = 0;
    faults_fail(FAULT_RECEIVE, 0, FAULT_ALWAYS, ENOMEM);
    assert_int_equal(send_one(&asks, &answers), 0);
    expect_no_spinning(world);
    faults_fail(FAULT_RECEIVE, 0, 0, 0);
    RUN_UNTIL(world, answers.lost > 0);
    world->buffers_limit = UINT32_MAX;
    expect_talking_datagrams(&asks, &answers);
    end_close(&asks);
    end_close(&answers);
}

static void test_datagrams_whose_poll_fails_come_and_the_port_does_not_spin(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    if (!on_ring()) {
        skip();
    }
    faults_complete(IORING_OP_POLL_ADD, 0, FAULT_ALWAYS, ENOMEM);
    struct error error = {0};
    assert_true(end_open(world, &asks, false, &error));
    assert_true(end_open(world, &answers, true, &error));
    expect_no_spinning(world);
    expect_talking_datagrams(&asks, &answers);
    faults_complete(IORING_OP_POLL_ADD, 0, 0, 0);
    expect_talking_datagrams(&asks, &answers);
    run_quietly(world);
    expect_talking_datagrams(&asks, &answers);
    end_close(&asks);
    end_close(&answers);
}

/* What is sent while others are handled goes out in one call: one that cannot be is sent alone. */
static void test_answers_that_cannot_be_sent_together_are_sent_alone(void **state) {
    static const int codes[] = {EINTR, EAGAIN, ENOBUFS, EPERM};
    struct world *world = *state;
    struct end asks;
    struct end answers;
    open_both(world, &asks, &answers);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        faults_fail(FAULT_SEND_TO, 0, 2, codes[i]);
        expect_talking_datagrams(&asks, &answers);
    }
    faults_shorten(FAULT_SEND_TO, 5, 1); /* one of all that were to be sent */
    expect_talking_datagrams(&asks, &answers);
    end_close(&asks);
    end_close(&answers);
}

static void test_answer_that_cannot_be_sent_is_lost_and_no_other(void **state) {
    struct world *world = *state;
    struct end asks;
    struct end answers;
    open_both(world, &asks, &answers);
    unsigned before = asks.count;
    for (unsigned i = 0; i < BATCH; i++) {
        assert_int_equal(send_one(&asks, &answers), 0);
    }
    faults_fail(FAULT_SEND_TO, 0, 1, ENOBUFS);
    faults_fail(FAULT_SENDMSG, 0, 1, ENOBUFS);
    RUN_UNTIL(world, asks.count == before + BATCH - 1);
    run_quietly(world);
    assert_int_equal(asks.count, before + BATCH - 1);
    expect_talking_datagrams(&asks, &answers);
    end_close(&asks);
    end_close(&answers);
}

static void test_datagram_that_cannot_be_sent_tells_why(void **state) {
    static const struct {
        int code;
        int64_t result;
    } ends[] = {{EAGAIN, ENGINE_E_NO_RESOURCES},
                {ENOBUFS, ENGINE_E_NO_RESOURCES},
                {ENOMEM, ENGINE_E_NO_RESOURCES},
                {EHOSTUNREACH, ENGINE_E_UNREACHABLE},
                {EPERM, ENGINE_E_OTHER},
                {EINTR, 0},
                {EADDRNOTAVAIL, 0}}; /* sent from another address */
    struct world *world = *state;
    struct end asks;
    struct end answers;
    open_both(world, &asks, &answers);
    for (unsigned i = 0; i < ARRAY_COUNT(ends); i++) {
        unsigned before = asks.count;
        faults_fail(FAULT_SENDMSG, 0, 1, ends[i].code);
        assert_int_equal(send_one(&asks, &answers), ends[i].result);
        if (ends[i].result == 0) {
            RUN_UNTIL(world, asks.count == before + 1);
        }
    }
    expect_talking_datagrams(&asks, &answers);
    end_close(&asks);
    end_close(&answers);
}

static void test_receiver_that_cannot_be_watched_tells_why(void **state) {
    struct world *world = *state;
    struct error error = {0};
    struct end end;
    if (on_ring()) {
        skip();
    }
    faults_fail(FAULT_EPOLL_ADD, 0, 1, ENOSPC);
    assert_false(end_open(world, &end, false, &error));
    assert_non_null(strstr(error.message, "fs.epoll.max_user_watches"));
    engine_listener_close(end.listener);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAULT_TEST_BARE(test_datagrams_that_there_is_no_memory_for_wait),
        FAULT_TEST_BARE(test_datagrams_without_memory_do_not_make_the_port_spin),
        FAULT_TEST_BARE(test_datagrams_whose_poll_fails_come_and_the_port_does_not_spin),
        FAULT_TEST_BARE(test_answers_that_cannot_be_sent_together_are_sent_alone),
        FAULT_TEST_BARE(test_answer_that_cannot_be_sent_is_lost_and_no_other),
        FAULT_TEST_BARE(test_datagram_that_cannot_be_sent_tells_why),
        FAULT_TEST_BARE(test_receiver_that_cannot_be_watched_tells_why),
    };
    return cmocka_run_group_tests_name("linux_datagram_faults", tests, NULL, NULL);
}
