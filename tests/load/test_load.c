/* The load client's arithmetic: percentiles within their bound, a pace that no server can slow
 * down, noise that no round block fits twice. */
#include "unit.h"

#include <stdlib.h>

#include "histogram.h"
#include "pace.h"
#include "pattern.h"
#include "result.h"

static struct histogram histogram, other;

static int set_up(void **state) {
    (void)state;
    histogram_init(&histogram);
    histogram_init(&other);
    return 0;
}

static void assert_within_bound(uint64_t found, uint64_t exact) {
    assert_true(found >= exact);
    assert_true(found - exact <= exact / HISTOGRAM_PARTS);
}

static void test_histogram_with_nothing_recorded_is_all_zero(void **state) {
    (void)state;
    assert_int_equal(histogram_percentile(&histogram, 50), 0);
    assert_int_equal(histogram_percentile(&histogram, 100), 0);
    assert_true(histogram_mean(&histogram) == 0);
}

static void test_histogram_each_value_alone_is_read_back_exactly(void **state) {
    (void)state;
    for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++) {
        for (int more = -1; more <= 1; more++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)more;
            histogram_init(&histogram);
            histogram_record(&histogram, value);
            assert_int_equal(histogram_percentile(&histogram, 50), value);
            assert_int_equal(histogram.min, value);
        }
    }
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* Over six decades, each as likely as the others. */
static void test_histogram_percentiles_are_within_the_bound(void **state) {
    enum { COUNT = 20000 };
    static const double percents[] = {0.01, 1, 10, 50, 90, 99, 99.9, 99.99, 100};
    static uint64_t values[COUNT];
    (void)state;
    srand(7);
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t decade = 1;
        for (int j = rand() % 6; j > 0; j--) {
            decade *= 10;
        }
        values[i] = decade * (uint64_t)(100 + rand() % 900);
        histogram_record(&histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (size_t i = 0; i < ARRAY_COUNT(percents); i++) {
        size_t rank = (size_t)(percents[i] / 100 * COUNT);
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        assert_within_bound(histogram_percentile(&histogram, percents[i]), exact);
    }
    assert_int_equal(histogram.max, values[COUNT - 1]);
    assert_int_equal(histogram_percentile(&histogram, 100), values[COUNT - 1]);
}

static void test_histogram_longer_than_it_can_tell_counts_as_the_longest(void **state) {
    (void)state;
    histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(histogram.count, 1);
    assert_int_equal(histogram.max, (UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1);
}

static void test_histogram_merged_says_the_same_as_one(void **state) {
    static struct histogram both;
    (void)state;
    histogram_init(&both);
    for (uint64_t i = 1; i <= 1000; i++) {
        histogram_record(i % 3 ? &histogram : &other, i * i);
        histogram_record(&both, i * i);
    }
    histogram_merge(&histogram, &other);
    assert_memory_equal(&histogram, &both, sizeof(both));
}

static void test_pace_hands_out_every_moment_once_and_never_early(void **state) {
    struct pace pace;
    uint64_t due_ns;
    (void)state;
    pace_start(&pace, 1000, 5000);
    assert_true(pace_take(&pace, 5000, &due_ns));
    assert_int_equal(due_ns, 5000);
    assert_false(pace_take(&pace, 1004999, &due_ns));
    assert_true(pace_take(&pace, 3005000, &due_ns)); /* late: those that were missed come first */
    assert_int_equal(due_ns, 1005000);
    assert_true(pace_take(&pace, 3005000, &due_ns));
    assert_true(pace_take(&pace, 3005000, &due_ns));
    assert_int_equal(due_ns, 3005000);
    assert_false(pace_take(&pace, 3005000, &due_ns));
}

static void test_pace_without_a_rate_is_always_due(void **state) {
    struct pace pace;
    uint64_t due_ns;
    (void)state;
    pace_start(&pace, 0, 100);
    for (uint64_t now_ns = 100; now_ns < 200; now_ns++) {
        assert_true(pace_take(&pace, now_ns, &due_ns));
        assert_int_equal(due_ns, now_ns);
    }
}

/* Ten seconds at a thousand a second. The server needs 10 us for each, but for one second it does
 * nothing. Who waits for it sees one slow message in nine thousand; on the clock one in ten is. */
static void test_pace_shows_the_omission_that_waiting_hides(void **state) {
    const uint64_t end_ns = 10000000000, stall_ns = 4000000000, stalled_ns = 1000000000;
    struct pace pace;
    uint64_t due_ns, free_ns = 0;
    (void)state;
    pace_start(&pace, 1000, 0);
    while (pace_next_ns(&pace) < end_ns) {
        uint64_t next_ns = pace_next_ns(&pace);
        uint64_t now_ns = next_ns > free_ns ? next_ns : free_ns;
        assert_true(pace_take(&pace, now_ns, &due_ns));
        free_ns = now_ns + 10000;
        if (now_ns >= stall_ns && now_ns < stall_ns + 1000000) {
            free_ns = now_ns + stalled_ns;
        }
        histogram_record(&histogram, free_ns - due_ns); /* from when it was due */
        histogram_record(&other, free_ns - now_ns);     /* from when it was sent */
    }
    assert_int_equal(histogram.count, 10000);
    assert_true(histogram_percentile(&other, 99.9) < 20000);
    assert_true(histogram_percentile(&histogram, 50) < 20000);
    assert_in_range(histogram_percentile(&histogram, 95), 400000000, 600000000);
    assert_in_range(histogram_percentile(&histogram, 99), 850000000, 950000000);
    assert_in_range(histogram_percentile(&histogram, 99.9), 980000000, 1010000000);
}

static void test_pace_counts_what_was_not_taken(void **state) {
    struct pace pace;
    uint64_t due_ns;
    (void)state;
    pace_start(&pace, 1000, 5000);
    assert_int_equal(pace_left_before(&pace, 5000), 0);
    assert_int_equal(pace_left_before(&pace, 5001), 1);
    assert_int_equal(pace_left_before(&pace, 1005000), 1);
    assert_int_equal(pace_left_before(&pace, 1000000001), 1000);
    for (unsigned i = 0; i < 400; i++) {
        assert_true(pace_take(&pace, UINT64_MAX, &due_ns));
    }
    assert_int_equal(pace_left_before(&pace, 1000000001), 600);
    assert_int_equal(pace_left_before(&pace, due_ns), 0);
    pace_start(&pace, 0, 5000);
    assert_int_equal(pace_left_before(&pace, 1000000001), 0);
}

static void test_histogram_many_at_once_are_as_many_alone(void **state) {
    (void)state;
    histogram_record_many(&histogram, 4711, 3);
    histogram_record_many(&histogram, 7, 0);
    for (unsigned i = 0; i < 3; i++) {
        histogram_record(&other, 4711);
    }
    assert_memory_equal(&histogram, &other, sizeof(other));
}

static void test_pattern_comes_back_equal_only_at_its_place(void **state) {
    static uint8_t bytes[3 * PATTERN_PIECE_MAX];
    (void)state;
    pattern_start();
    for (uint64_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = *pattern_at(5, 1000 + i);
    }
    assert_int_equal(pattern_compare(5, 1000, bytes, sizeof(bytes)), sizeof(bytes));
    bytes[150001] ^= 0x10;
    assert_int_equal(pattern_compare(5, 1000, bytes, sizeof(bytes)), 150001);
    for (size_t block = 64; block <= PATTERN_PIECE_MAX; block *= 2) {
        assert_true(pattern_compare(5, 1000 + block, bytes, 64) < 64);
        assert_true(pattern_compare(6, 1000, bytes, 64) < 64);
    }
}

static void test_result_keeps_the_words_of_the_first_errors(void **state) {
    static struct result left, right;
    (void)state;
    result_init(&left);
    result_init(&right);
    result_error(&left, "one of %d", 1);
    for (int i = 0; i < 2 * RESULT_ERRORS_MAX; i++) {
        result_error(&right, "other %d", i);
    }
    result_merge(&left, &right);
    assert_int_equal(left.errors, 1 + 2 * RESULT_ERRORS_MAX);
    assert_string_equal(left.first_errors[0], "one of 1");
    assert_string_equal(left.first_errors[RESULT_ERRORS_MAX - 1], "other 6");
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_histogram_with_nothing_recorded_is_all_zero),
        TEST(test_histogram_each_value_alone_is_read_back_exactly),
        TEST(test_histogram_percentiles_are_within_the_bound),
        TEST(test_histogram_longer_than_it_can_tell_counts_as_the_longest),
        TEST(test_histogram_merged_says_the_same_as_one),
        TEST(test_pace_hands_out_every_moment_once_and_never_early),
        TEST(test_histogram_many_at_once_are_as_many_alone),
        TEST(test_pace_without_a_rate_is_always_due),
        TEST(test_pace_counts_what_was_not_taken),
        TEST(test_pace_shows_the_omission_that_waiting_hides),
        TEST(test_pattern_comes_back_equal_only_at_its_place),
        TEST(test_result_keeps_the_words_of_the_first_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
