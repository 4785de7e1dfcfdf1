/* Connections whose cancelled operations do not complete: their socket is closed with these in
 * flight, and what does not end even then keeps its memory. */
#include "connection_world.h"

#include "base/alloc.h"

#include "fake_engine.h"

/* What is abandoned is never freed: it stays reachable here. */
static struct connection *abandoned;

static struct connection *cancelled_one(struct worker *worker, bool sends) {
    in_received = sends ? echo : NULL;
    fake_socket(0)->send_room = 0;
    struct connection *connection = adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    connection_end(connection, BERTH_CLOSED_BY_PLUGIN, false);
    worker_run_pending(worker);
    assert_true(fake_socket(0)->receive_stopping);
    assert_true(timer_is_running(&connection->deadline));
    return connection;
}

static void steps_lost(struct worker *worker, void *argument) {
    (void)argument;
    struct connection *connection = cancelled_one(worker, true);
    connection_deadline(&connection->deadline);
    assert_int_equal(fake_socket(0)->closed_in_flight, 1);
    assert_false(fake_socket(0)->open);
    assert_true(fake_socket(0)->reset);
    assert_string_equal(diary, "opened received:x "); /* not before all is back */
    fake_run_stopped();
}

static void test_connection_whose_cancels_are_lost_is_closed_in_flight(void **state) {
    (void)state;
    on_worker(steps_lost);
    assert_string_equal(diary, "opened received:x closed:1 ");
}

static void steps_without_memory(struct worker *worker, void *argument) {
    (void)argument;
    fake_socket(0)->refuse_close = 2;
    struct connection *connection = cancelled_one(worker, false);
    for (unsigned tries = 1; tries <= 3; tries++) {
        assert_true(fake_socket(0)->open);
        timers_stop(&worker->timers, &connection->deadline); /* as it fires */
        connection_deadline(&connection->deadline);
        assert_int_equal(fake_socket(0)->closed_in_flight, tries);
        assert_int_equal(timer_is_running(&connection->deadline), tries < 3);
    }
    fake_run_stopped();
}

static void test_connection_that_cannot_be_closed_in_flight_is_tried_again(void **state) {
    (void)state;
    on_worker(steps_without_memory);
    assert_string_equal(diary, "opened received:x closed:1 ");
}

static void steps_completes_in_time(struct worker *worker, void *argument) {
    (void)argument;
    cancelled_one(worker, true);
    fake_run_stopped();
    assert_int_equal(fake_socket(0)->closed_in_flight, 0);
    assert_false(fake_socket(0)->open);
}

static void test_connection_whose_cancels_complete_is_closed_as_ever(void **state) {
    (void)state;
    on_worker(steps_completes_in_time);
    assert_string_equal(diary, "opened received:x closed:1 ");
}

static void steps_abandoned(struct worker *worker, void *argument) {
    (void)argument;
    abandoned = cancelled_one(worker, true);
    connection_deadline(&abandoned->deadline);
    fake_end(0, ENGINE_E_ABANDONED);
    assert_string_equal(diary, "opened received:x ");
    fake_send_end(0, ENGINE_E_ABANDONED);
    assert_string_equal(diary, "opened received:x closed:1 ");
    assert_int_equal(worker->connection_count, 0);
    /* The system may still write there. */
    assert_true(abandoned->is_abandoned);
    assert_non_null(abandoned->io->send.complete);
    assert_false(send_queue_is_empty(&abandoned->io->queue));
}

static void test_connection_that_is_abandoned_ends_and_keeps_its_memory(void **state) {
    (void)state;
    on_worker(steps_abandoned);
}

/* What is left is what was abandoned. */
static int tear_down_abandoned(void **state) {
    return tear_down(state) != 0 && alloc_live() > 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_connection_whose_cancels_are_lost_is_closed_in_flight,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_connection_that_cannot_be_closed_in_flight_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connection_whose_cancels_complete_is_closed_as_ever,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connection_that_is_abandoned_ends_and_keeps_its_memory,
                                        set_up, tear_down_abandoned), /* the last one */
    };
    return cmocka_run_group_tests_name("connection_cancel", tests, NULL, NULL);
}
