/* Lines that clients can cause: so many pass in a window, and the rest is counted and told. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/log.h"
#include "os/log_limit.h"

static char told[4096];
static unsigned lines_told;

static void sink_write(enum log_level level, const char *line, size_t size) {
    (void)level;
    assert_true(size < sizeof(told));
    memcpy(told, line, size);
    told[size] = '\0';
    lines_told++;
}

static int set_up(void **state) {
    static const struct log_sink sink = {.write = sink_write};
    (void)state;
    log_set_sink(&sink);
    log_limit_init();
    log_limit_configure(3, 1000);
    told[0] = '\0';
    lines_told = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    log_limit_tick(0, true);
    log_limit_fini();
    log_set_sink(NULL);
    assert_int_equal(alloc_live(), 0);
    return 0;
}

static const struct log_subject one = {.listener = "one", .plugin = "p"};
static const struct log_subject two = {.listener = "two", .plugin = "p"};

static bool admit(enum log_kind kind, const struct log_subject *subject, const char *text,
                  uint64_t now_ms) {
    bool begins;
    return log_limit_admit(kind, LOG_LEVEL_INFO, subject, text, strlen(text), now_ms, &begins);
}

/* How many of so many alike pass. */
static unsigned pass(enum log_kind kind, const struct log_subject *subject, const char *text,
                     unsigned count, uint64_t now_ms) {
    unsigned passed = 0;
    for (unsigned i = 0; i < count; i++) {
        passed += admit(kind, subject, text, now_ms);
    }
    return passed;
}

static void test_limit_lets_some_pass_and_tells_of_the_rest_when_the_window_ends(void **state) {
    (void)state;
    assert_int_equal(pass(LOG_KIND_REFUSED, &one, "refused by x", 315, 5000), 3);
    assert_int_equal(log_limit_tick(5400, false), 600);
    assert_int_equal(lines_told, 0);
    log_limit_tick(6000, false);
    assert_int_equal(lines_told, 1);
    assert_non_null(strstr(told, "info listener=one plugin=p "));
    assert_non_null(strstr(told, "\xe2\x80\xa6 312 more like this within 1000 ms: refused by x\n"));
    assert_int_equal(log_limit_held_back(), 312);
}

static void test_limit_tells_before_the_first_line_of_the_next_window(void **state) {
    (void)state;
    assert_int_equal(pass(LOG_KIND_CUT, &one, "cut", 10, 0), 3);
    assert_int_equal(pass(LOG_KIND_CUT, &one, "cut", 10, 1000), 3);
    assert_int_equal(lines_told, 1);
    assert_non_null(strstr(told, " 7 more like this"));
}

static void test_limit_says_that_something_is_to_be_told_once_a_window(void **state) {
    bool begins;
    unsigned begun = 0;
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        log_limit_admit(LOG_KIND_CUT, LOG_LEVEL_INFO, &one, "x", 1, 7, &begins);
        begun += begins;
    }
    assert_int_equal(begun, 1);
}

static void test_limit_counts_listeners_kinds_and_levels_by_themselves(void **state) {
    bool begins;
    (void)state;
    assert_int_equal(pass(LOG_KIND_CUT, &one, "x", 5, 0), 3);
    assert_int_equal(pass(LOG_KIND_CUT, &two, "x", 5, 0), 3);
    assert_int_equal(pass(LOG_KIND_REFUSED, &one, "x", 5, 0), 3);
    assert_int_equal(pass(LOG_KIND_REFUSED, NULL, "x", 5, 0), 3);
    assert_true(log_limit_admit(LOG_KIND_CUT, LOG_LEVEL_WARN, &one, "x", 1, 0, &begins));
}

static void test_limit_tells_lines_of_a_plugin_apart_by_how_they_begin(void **state) {
    (void)state;
    assert_int_equal(pass(LOG_KIND_PLUGIN, &one, "log-in failed: user \"a\"", 9, 0), 3);
    assert_int_equal(pass(LOG_KIND_PLUGIN, &one, "logged in: user \"a\"", 2, 0), 2);
    assert_int_equal(pass(LOG_KIND_PLUGIN, &one, "log-in failed: user \"b\"", 9, 0), 0);
}

/* A client that decides how a line begins cannot make any number of kinds. */
static void test_limit_of_a_plugin_is_bounded_whatever_lines_begin_with(void **state) {
    unsigned passed = 0;
    (void)state;
    for (unsigned i = 0; i < 26 * 26 * 26; i++) {
        char text[4] = {(char)('a' + i % 26), (char)('a' + i / 26 % 26), (char)('a' + i / 676), 0};
        passed += admit(LOG_KIND_PLUGIN, &one, text, 0);
    }
    assert_true(passed <= 32 * 3);
}

static void test_limit_of_no_lines_is_none(void **state) {
    (void)state;
    log_limit_configure(0, 1000);
    assert_int_equal(pass(LOG_KIND_CUT, &one, "x", 100, 0), 100);
    assert_int_equal(log_limit_held_back(), 0);
}

static void test_limit_forgets_windows_that_have_ended(void **state) {
    (void)state;
    assert_int_equal(pass(LOG_KIND_CUT, &one, "x", 1, 0), 1);
    assert_true(log_limit_tick(10, false) > 0);
    assert_int_equal(log_limit_tick(1000, false), -1);
    assert_int_equal(alloc_live(), 0);
    assert_int_equal(lines_told, 0);
}

static void test_limit_without_memory_still_limits(void **state) {
    (void)state;
    for (long allocation = 0; allocation < 3; allocation++) { /* a window, a table, its buckets */
        uint64_t now_ms = 10000 * (uint64_t)allocation;
        alloc_fail_after(allocation, true);
        assert_int_equal(pass(LOG_KIND_CUT, &one, "x", 10, now_ms), 3);
        alloc_fail_after(-1, false);
        log_limit_tick(now_ms + 1000, false);
        assert_non_null(strstr(told, " 7 more like this"));
        assert_int_equal(alloc_live(), 0);
        told[0] = '\0';
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_limit_lets_some_pass_and_tells_of_the_rest_when_the_window_ends, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_limit_tells_before_the_first_line_of_the_next_window,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_says_that_something_is_to_be_told_once_a_window,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_counts_listeners_kinds_and_levels_by_themselves,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_tells_lines_of_a_plugin_apart_by_how_they_begin,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_of_a_plugin_is_bounded_whatever_lines_begin_with,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_of_no_lines_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_forgets_windows_that_have_ended, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_limit_without_memory_still_limits, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("log_limit", tests, NULL, NULL);
}
