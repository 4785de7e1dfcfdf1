/* The counters of a listener: each can be read, and totals are the sums of what was counted. */
#include "unit.h"

#include "net/lib/listener_counters.h"

enum { NUMBERS = sizeof(struct listener_counters) / sizeof(atomic_ullong) };

static const struct listener_counter *counter_named(const char *name) {
    for (size_t i = 0; i < listener_counter_count(); i++) {
        if (strcmp(listener_counter_at(i)->name, name) == 0) {
            return listener_counter_at(i);
        }
    }
    fail_msg("no counter is called %s", name);
    return NULL;
}

/* Neither success nor a cancelled accept is a failed one, and no accept sends a file. */
static bool is_never_counted(size_t number) {
    size_t first = offsetof(struct listener_counters, accept_failed) / sizeof(atomic_ullong);
    return number >= first && number < first + ENGINE_ERRORS &&
           (number < first + 3 || number == first + (size_t)-ENGINE_E_FILE_SHORT);
}

static void test_listener_counters_every_number_can_be_read_by_itself(void **state) {
    (void)state;
    for (size_t number = 0; number < NUMBERS; number++) {
        unsigned readers = 0;
        for (size_t i = 0; i < listener_counter_count(); i++) {
            const struct listener_counter *counter = listener_counter_at(i);
            readers += counter->count == 1 && counter->first == number;
        }
        assert_int_equal(readers, is_never_counted(number) ? 0 : 1);
    }
}

static void test_listener_counters_names_are_unique_and_have_a_meaning(void **state) {
    (void)state;
    for (size_t i = 0; i < listener_counter_count(); i++) {
        assert_ptr_equal(counter_named(listener_counter_at(i)->name), listener_counter_at(i));
        assert_true(strlen(listener_counter_at(i)->meaning) > 0);
    }
}

static void test_listener_counters_sum_counts_all_of_an_array(void **state) {
    struct listener_counters counters = {0};
    (void)state;
    listener_count(&counters.refused[LISTENER_REFUSED_RATE]);
    listener_count(&counters.refused[LISTENER_REFUSED_HOST]);
    listener_count(&counters.refused[LISTENER_REFUSED_HOST]);
    assert_int_equal(listener_counter_read(counter_named("refused"), &counters), 3);
    assert_int_equal(listener_counter_read(counter_named("refused_host"), &counters), 2);
    assert_int_equal(listener_counter_read(counter_named("refused_access"), &counters), 0);
}

static void test_listener_counters_add_keeps_what_there_was(void **state) {
    struct listener_counters total = {0};
    struct listener_counters more = {0};
    struct listener_traffic traffic[2] = {0};
    (void)state;
    listener_count(&total.accepted);
    listener_count(&more.accepted);
    listener_count(&more.plugin_faults);
    listener_counters_add(&total, &more);
    assert_int_equal(listener_counter_read(counter_named("accepted"), &total), 2);
    assert_int_equal(listener_counter_read(counter_named("plugin_faults"), &total), 1);
    listener_traffic_add(&traffic[0].received[0], 3);
    listener_traffic_add(&traffic[1].received[0], 4);
    listener_traffic_add(&traffic[1].sent[1], 5);
    atomic_store(&total.bytes_received, 10);
    listener_counters_add_traffic(&total, traffic, 2);
    assert_int_equal(listener_counter_read(counter_named("bytes_received"), &total), 17);
    assert_int_equal(listener_counter_read(counter_named("bytes_sent"), &total), 0);
    assert_int_equal(listener_counter_read(counter_named("outbound_bytes_sent"), &total), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_listener_counters_every_number_can_be_read_by_itself),
        cmocka_unit_test(test_listener_counters_names_are_unique_and_have_a_meaning),
        cmocka_unit_test(test_listener_counters_sum_counts_all_of_an_array),
        cmocka_unit_test(test_listener_counters_add_keeps_what_there_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
