/* The machines of a connection's state: the moves that each may make, and that the combinations
 * which its table calls legal are exactly those that the moves can reach. */
#include "unit.h"

#include <stdlib.h>
#include <string.h>

#include "net/conn/connection_state.h"

/* -- each machine ---------------------------------------------------------- */

static void test_connection_state_life_moves_are_exactly_those_of_the_table(void **state) {
    static const struct {
        enum connection_life from;
        enum connection_life to;
        enum connection_entry entry; /* with which `from` and `to` are legal */
    } allowed[] = {
        {CONNECTION_ACCEPTED, CONNECTION_DRAINING, CONNECTION_ENTRY_REFUSED},
        {CONNECTION_ACCEPTED, CONNECTION_CANCELLING, CONNECTION_ENTRY_REFUSED},
        {CONNECTION_OPEN, CONNECTION_DRAINING, CONNECTION_ENTRY_ADMITTED},
        {CONNECTION_OPEN, CONNECTION_CANCELLING, CONNECTION_ENTRY_ADMITTED},
        {CONNECTION_DRAINING, CONNECTION_CANCELLING, CONNECTION_ENTRY_REFUSED},
        {CONNECTION_DRAINING, CONNECTION_CANCELLING, CONNECTION_ENTRY_ADMITTED},
        {CONNECTION_CANCELLING, CONNECTION_CLOSED, CONNECTION_ENTRY_REFUSED},
        {CONNECTION_CANCELLING, CONNECTION_CLOSED, CONNECTION_ENTRY_ADMITTED},
    };
    static const enum connection_entry entries[] = {CONNECTION_ENTRY_REFUSED,
                                                    CONNECTION_ENTRY_ADMITTED};
    (void)state;
    for (unsigned from = 0; from < CONNECTION_LIFE_COUNT; from++) {
        for (unsigned to = 0; to < CONNECTION_LIFE_COUNT; to++) {
            for (size_t entry = 0; entry < ARRAY_COUNT(entries); entry++) {
                struct connection_state now = {.life = from & 7u, .entry = entries[entry] & 7u};
                bool expected = false;
                if (connection_state_fault(now)) {
                    continue; /* never so */
                }
                for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
                    expected |= allowed[i].from == from && allowed[i].to == to &&
                                allowed[i].entry == entries[entry];
                }
                assert_int_equal(connection_state_may_move(now, CONNECTION_LIFE, to), expected);
            }
        }
    }
}

static void test_connection_state_opens_when_it_is_admitted(void **state) {
    struct connection_state now = {0};
    (void)state;
    assert_false(connection_state_may_move(now, CONNECTION_LIFE, CONNECTION_OPEN));
    assert_true(connection_state_may_move(now, CONNECTION_ENTRY, CONNECTION_ENTRY_ADMITTED));
    connection_state_open(&now, CONNECTION_ENTRY_ADMITTED);
    assert_int_equal(now.life, CONNECTION_OPEN);
    assert_int_equal(now.entry, CONNECTION_ENTRY_ADMITTED);
    assert_true(connection_state_is_known(now));
}

static void test_connection_state_waiting_for_room_holds_the_receive(void **state) {
    struct connection_state now = {0};
    (void)state;
    connection_state_enter(&now, CONNECTION_ENTRY_CAPACITY);
    assert_int_equal(now.held, CONNECTION_HELD_BY_LIMIT);
    assert_false(connection_state_may_move(now, CONNECTION_HOLD_LIMIT, false));
    assert_false(connection_state_may_move(now, CONNECTION_LIFE, CONNECTION_CANCELLING));
    connection_state_enter(&now, CONNECTION_ENTRY_NONE);
    assert_int_equal(now.held, 0);
    assert_true(connection_state_may_move(now, CONNECTION_LIFE, CONNECTION_CANCELLING));
}

static void test_connection_state_fin_of_the_peer_is_first_or_second(void **state) {
    struct connection_state now = {.life = CONNECTION_OPEN, .entry = CONNECTION_ENTRY_ADMITTED};
    struct connection_state later = now;
    (void)state;
    connection_state_peer_fin(&now);
    connection_state_set_local(&now, CONNECTION_LOCAL_FIN_SENT);
    connection_state_notify_peer_fin(&now);
    assert_true(connection_state_peer_was_first(now));
    assert_true(connection_state_peer_is_notified(now));
    connection_state_set_local(&later, CONNECTION_LOCAL_FIN_SENT);
    connection_state_peer_fin(&later);
    assert_false(connection_state_peer_is_notified(later));
    connection_state_notify_peer_fin(&later);
    assert_false(connection_state_peer_was_first(later));
    assert_true(connection_state_peer_is_notified(later));
}

static void test_connection_state_draining_shows_nothing_again(void **state) {
    struct connection_state now = {.life = CONNECTION_OPEN, .entry = CONNECTION_ENTRY_ADMITTED};
    (void)state;
    connection_state_set_redeliver(&now, true);
    connection_state_drain(&now);
    assert_int_equal(now.redeliver, false);
}

static void test_connection_state_holds_are_apart(void **state) {
    struct connection_state now = {.life = CONNECTION_OPEN, .entry = CONNECTION_ENTRY_ADMITTED};
    (void)state;
    connection_state_hold(&now, CONNECTION_HELD_BY_PLUGIN);
    connection_state_hold(&now, CONNECTION_HELD_BY_PLUGIN);
    connection_state_set_queue_full(&now, true);
    connection_state_hold(&now, CONNECTION_HELD_BY_QUEUE);
    connection_state_hold(&now, CONNECTION_HELD_BY_IO_PERMIT);
    assert_false(connection_state_may_move(now, CONNECTION_QUEUE_FULL, false));
    connection_state_release(&now, CONNECTION_HELD_BY_QUEUE);
    connection_state_release(&now, CONNECTION_HELD_BY_QUEUE);
    assert_int_equal(now.held, CONNECTION_HELD_BY_PLUGIN | CONNECTION_HELD_BY_IO_PERMIT);
    assert_true(connection_state_may_move(now, CONNECTION_QUEUE_FULL, false));
}

/* -- all combinations ------------------------------------------------------ */

/* The combinations of values by number, whether they are legal or not. */
static unsigned combination_count(void) {
    unsigned count = 1;
    for (unsigned i = 0; i < CONNECTION_MACHINES; i++) {
        count *= connection_state_count(i);
    }
    return count;
}

static unsigned number_of(struct connection_state state) {
    unsigned number = 0;
    for (unsigned i = 0; i < CONNECTION_MACHINES; i++) {
        number = number * connection_state_count(i) + connection_state_get(state, i);
    }
    return number;
}

static struct connection_state combination(unsigned number) {
    unsigned values[CONNECTION_MACHINES];
    for (unsigned i = CONNECTION_MACHINES; i-- > 0;) {
        values[i] = number % connection_state_count(i);
        number /= connection_state_count(i);
    }
    return (struct connection_state){
        .life = values[CONNECTION_LIFE] & 7u,
        .entry = values[CONNECTION_ENTRY] & 7u,
        .peer = values[CONNECTION_PEER] & 7u,
        .local = values[CONNECTION_LOCAL] & 3u,
        .closing = values[CONNECTION_CLOSING] & 3u,
        .receive = values[CONNECTION_RECEIVE] & 3u,
        .send = values[CONNECTION_SEND] & 3u,
        .held = (values[CONNECTION_HOLD_PLUGIN] * CONNECTION_HELD_BY_PLUGIN |
                 values[CONNECTION_HOLD_QUEUE] * CONNECTION_HELD_BY_QUEUE |
                 values[CONNECTION_HOLD_LIMIT] * CONNECTION_HELD_BY_LIMIT |
                 values[CONNECTION_HOLD_IO_PERMIT] * CONNECTION_HELD_BY_IO_PERMIT) &
                0xffu,
        .queue_full = values[CONNECTION_QUEUE_FULL] & 1u,
        .redeliver = values[CONNECTION_REDELIVER] & 1u,
    };
}

/* Marks all that follow from `now` and are new, and puts them into the list. */
static unsigned follow(struct connection_state now, bool *reached, unsigned *list, unsigned count) {
    for (unsigned machine = 0; machine < CONNECTION_MACHINES; machine++) {
        for (unsigned to = 0; to < connection_state_count(machine); to++) {
            struct connection_state next = now;
            if (!connection_state_may_move(now, machine, to)) {
                continue;
            }
            connection_state_move(&next, machine, to);
            assert_int_equal(connection_state_get(next, machine), to);
            if (!reached[number_of(next)]) {
                reached[number_of(next)] = true;
                list[count++] = number_of(next);
            }
        }
    }
    return count;
}

static void test_connection_state_legal_combinations_are_those_that_are_reached(void **state) {
    unsigned all = combination_count();
    bool *reached = calloc(all, sizeof(*reached));
    unsigned *list = calloc(all, sizeof(*list));
    struct connection_state first = {0};
    unsigned count = 1;
    unsigned legal = 0;
    (void)state;
    assert_non_null(reached);
    assert_non_null(list);
    list[0] = number_of(first);
    reached[list[0]] = true;
    for (unsigned i = 0; i < count; i++) {
        count = follow(combination(list[i]), reached, list, count);
    }
    for (unsigned i = 0; i < all; i++) {
        const char *fault = connection_state_fault(combination(i));
        if ((fault == NULL) != reached[i]) {
            char text[320];
            connection_state_describe(combination(i), text, sizeof(text));
            print_error("%s: %s, but %s\n", text, fault ? fault : "legal",
                        reached[i] ? "reached" : "not reached");
        }
        assert_int_equal(fault == NULL, reached[i]);
        legal += fault == NULL;
    }
    assert_int_equal(legal, count);
    assert_in_range(legal, 2, all / 20); /* the table says something */
    free(list);
    free(reached);
}

/* From everywhere there is a way to `closed`. */
static void test_connection_state_every_legal_one_can_be_cancelled_and_closed(void **state) {
    (void)state;
    for (unsigned i = 0; i < combination_count(); i++) {
        struct connection_state now = combination(i);
        if (connection_state_fault(now) || now.life == CONNECTION_CLOSED) {
            continue;
        }
        if (now.life < CONNECTION_CANCELLING) {
            if (connection_state_is_pending(now) || now.entry == CONNECTION_ENTRY_CAPACITY) {
                connection_state_enter(&now, CONNECTION_ENTRY_NONE);
            }
            connection_state_cancel(&now);
        }
        if (now.receive != CONNECTION_RECEIVE_IDLE) {
            connection_state_set_receive(&now, CONNECTION_RECEIVE_IDLE);
        }
        if (now.send != CONNECTION_SEND_IDLE) {
            connection_state_set_send(&now, CONNECTION_SEND_IDLE);
        }
        connection_state_close(&now);
        assert_null(connection_state_fault(now));
    }
}

static void test_connection_state_illegal_ones_are_found(void **state) {
    static const struct connection_state illegal[] = {
        {.life = CONNECTION_OPEN},
        {.life = CONNECTION_ACCEPTED, .entry = CONNECTION_ENTRY_ADMITTED},
        {.life = CONNECTION_DRAINING, .entry = CONNECTION_ENTRY_FIRST_DATA},
        {.life = CONNECTION_CANCELLING, .entry = CONNECTION_ENTRY_CAPACITY},
        {.entry = CONNECTION_ENTRY_CAPACITY},
        {.entry = CONNECTION_ENTRY_FIRST_DATA, .held = CONNECTION_HELD_BY_LIMIT},
        {.entry = CONNECTION_ENTRY_FIRST_DATA, .send = CONNECTION_SEND_PENDING},
        {.life = CONNECTION_OPEN,
         .entry = CONNECTION_ENTRY_ADMITTED,
         .closing = CONNECTION_CLOSING_RESET},
        {.life = CONNECTION_OPEN,
         .entry = CONNECTION_ENTRY_ADMITTED,
         .peer = CONNECTION_PEER_FIN_SECOND},
        {.life = CONNECTION_OPEN,
         .entry = CONNECTION_ENTRY_ADMITTED,
         .held = CONNECTION_HELD_BY_QUEUE},
        {.life = CONNECTION_DRAINING,
         .entry = CONNECTION_ENTRY_ADMITTED,
         .send = CONNECTION_SEND_CANCELLING},
        {.life = CONNECTION_CANCELLING,
         .entry = CONNECTION_ENTRY_REFUSED,
         .peer = CONNECTION_PEER_FIN_FIRST_NOTIFIED},
        {.life = CONNECTION_CLOSED,
         .entry = CONNECTION_ENTRY_ADMITTED,
         .receive = CONNECTION_RECEIVE_STOPPING},
        {.life = CONNECTION_LIFE_COUNT},
        {.receive = CONNECTION_RECEIVE_COUNT},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(illegal); i++) {
        assert_non_null(connection_state_fault(illegal[i]));
    }
}

/* -- in words -------------------------------------------------------------- */

static void test_connection_state_describes_itself(void **state) {
    char text[320];
    char cut[12];
    struct connection_state now = {
        .life = CONNECTION_DRAINING,
        .entry = CONNECTION_ENTRY_ADMITTED,
        .local = CONNECTION_LOCAL_FIN_SENT,
        .receive = CONNECTION_RECEIVE_ARMED,
        .held = CONNECTION_HELD_BY_PLUGIN,
    };
    (void)state;
    connection_state_describe(now, text, sizeof(text));
    assert_string_equal(text, "draining, admitted, local fin-sent, receive armed, hold-plugin");
    connection_state_describe(now, cut, sizeof(cut));
    assert_string_equal(cut, "draining, a");
    connection_state_describe((struct connection_state){0}, text, sizeof(text));
    assert_string_equal(text, "accepted, none");
}

static void test_connection_state_out_of_range_is_refused(void **state) {
    struct connection_state now = {0};
    (void)state;
    assert_false(connection_state_may_move(now, CONNECTION_LIFE, CONNECTION_LIFE_COUNT));
    assert_false(connection_state_may_move(now, CONNECTION_LIFE, 1000));
    assert_string_equal(connection_state_name(CONNECTION_LIFE, CONNECTION_LIFE_COUNT), "unknown");
    assert_string_equal(connection_state_name(CONNECTION_MACHINES, 0), "unknown");
    assert_string_equal(connection_machine_name(CONNECTION_MACHINES), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_state_life_moves_are_exactly_those_of_the_table),
        cmocka_unit_test(test_connection_state_opens_when_it_is_admitted),
        cmocka_unit_test(test_connection_state_waiting_for_room_holds_the_receive),
        cmocka_unit_test(test_connection_state_fin_of_the_peer_is_first_or_second),
        cmocka_unit_test(test_connection_state_draining_shows_nothing_again),
        cmocka_unit_test(test_connection_state_holds_are_apart),
        cmocka_unit_test(test_connection_state_legal_combinations_are_those_that_are_reached),
        cmocka_unit_test(test_connection_state_every_legal_one_can_be_cancelled_and_closed),
        cmocka_unit_test(test_connection_state_illegal_ones_are_found),
        cmocka_unit_test(test_connection_state_describes_itself),
        cmocka_unit_test(test_connection_state_out_of_range_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
