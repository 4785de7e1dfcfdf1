/* The table of a connection's life: which moves are allowed, and that no other is. */
#include "unit.h"

#include "net/connection_state.h"

static void test_connection_state_allowed_moves_are_exactly_those_of_the_table(void **state) {
    static const struct {
        enum connection_state from;
        enum connection_state to;
    } allowed[] = {
        {CONNECTION_ACCEPTED, CONNECTION_OPEN},     {CONNECTION_ACCEPTED, CONNECTION_CANCELLING},
        {CONNECTION_ACCEPTED, CONNECTION_DRAINING}, {CONNECTION_OPEN, CONNECTION_DRAINING},
        {CONNECTION_OPEN, CONNECTION_CANCELLING},   {CONNECTION_DRAINING, CONNECTION_CANCELLING},
        {CONNECTION_CANCELLING, CONNECTION_CLOSED},
    };
    (void)state;
    unsigned found = 0;
    for (int from = 0; from < CONNECTION_STATE_COUNT; from++) {
        for (int to = 0; to < CONNECTION_STATE_COUNT; to++) {
            bool expected = false;
            for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
                expected |= (int)allowed[i].from == from && (int)allowed[i].to == to;
            }
            assert_int_equal(connection_state_may_move(from, to), expected);
            found += expected;
        }
    }
    assert_int_equal(found, ARRAY_COUNT(allowed));
}

static void test_connection_state_every_state_reaches_closed(void **state) {
    (void)state;
    for (int from = 0; from < CONNECTION_CANCELLING; from++) {
        assert_true(connection_state_may_move(from, CONNECTION_CANCELLING));
    }
    assert_true(connection_state_may_move(CONNECTION_CANCELLING, CONNECTION_CLOSED));
}

static void test_connection_state_out_of_range_is_refused(void **state) {
    (void)state;
    assert_false(connection_state_may_move(CONNECTION_STATE_COUNT, CONNECTION_OPEN));
    assert_false(connection_state_may_move(CONNECTION_OPEN, CONNECTION_STATE_COUNT));
    assert_string_equal(connection_state_name(CONNECTION_STATE_COUNT), "unknown");
    assert_string_equal(connection_state_name(CONNECTION_DRAINING), "draining");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_state_allowed_moves_are_exactly_those_of_the_table),
        cmocka_unit_test(test_connection_state_every_state_reaches_closed),
        cmocka_unit_test(test_connection_state_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
