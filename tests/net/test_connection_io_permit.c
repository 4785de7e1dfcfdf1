/* What one connection is sent in a turn of its worker. */
#include "connection_world.h"

#include "fake_engine.h"

enum { LONG_ANSWER = 25 * BUFFER_BYTES, ONE_SEND = ENGINE_PIECES_MAX * BUFFER_BYTES };

static uint32_t sent_in_the_turn;

static void send_a_long_answer(struct worker *worker, void *argument) {
    static const uint8_t part[BUFFER_BYTES];
    (void)argument;
    listener->options.send_queue_bytes = LONG_ANSWER;
    struct connection *connection = adopt(worker, 1, NULL);
    for (unsigned i = 0; i < LONG_ANSWER / BUFFER_BYTES; i++) {
        assert_int_equal(connection_send(connection, part, sizeof(part)), BERTH_OK);
    }
    worker_run_pending(worker);
    worker_run_pending(worker); /* still the same turn */
    sent_in_the_turn = fake_socket(1)->sent_size;
}

static void expect_the_long_answer(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(fake_socket(1)->sent_size, LONG_ANSWER);
    fake_end(1, ENGINE_E_RESET);
}

static void test_connection_is_sent_no_more_in_a_turn_than_it_may(void **state) {
    (void)state;
    server->options.turn_send_bytes = BUFFER_BYTES;
    on_worker(send_a_long_answer);
    assert_int_equal(sent_in_the_turn, ONE_SEND);
    on_worker(expect_the_long_answer); /* a later turn */
}

static void test_connection_is_sent_all_at_once_where_it_may(void **state) {
    (void)state;
    on_worker(send_a_long_answer);
    assert_int_equal(sent_in_the_turn, LONG_ANSWER);
    on_worker(expect_the_long_answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_connection_is_sent_no_more_in_a_turn_than_it_may,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_connection_is_sent_all_at_once_where_it_may, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
