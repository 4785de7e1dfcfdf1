/* The control thread waits for what never comes, and no plugin is the reason: in a process of its
 * own, which is this program with a word that says how. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/guard.h"
#include "net/lib/latch.h"
#include "os/os_process.h"
#include "plugin/callback_guard.h"
#include "plugin/crash_report.h"

enum { HANG_MS = 300, PATIENCE_MS = 30000, MOMENT_MS = 1500 };

static int wait_for_ever(const char *how) {
    const uint32_t hang_ms = strcmp(how, "hang") == 0 ? HANG_MS : 0;
    static struct guard guard;
    const struct stall_watchdog_options watch = {
        .hang_ms = hang_ms, .tick = guard_tick, .context = &guard};
    struct error error;
    struct latch latch;
    crash_report_start(NULL, NULL);
    guard_configure(&guard, 0, hang_ms);
    if (!stall_watchdog_start(&watch, &error)) {
        return 2;
    }
    if (strcmp(how, "stop") == 0) {
        guard_stop(&guard, true);
    }
    latch_init(&latch, 1);
    latch_wait_noted(&latch, &guard.waits, "a worker");
    return 0;
}

static struct os_process_result run(const char *how, int timeout_ms) {
    char self[OS_PATH_MAX];
    struct error error;
    struct os_process_result result;
    assert_true(os_executable_path(self, sizeof(self), &error));
    const char *const arguments[] = {self, how, NULL};
    if (!os_process_run(arguments, -1, timeout_ms, 4096, &result, &error)) {
        fail_msg("%s", error.message);
    }
    alloc_free(result.output);
    return result;
}

static void test_guard_wait_without_an_end_is_a_crash(void **state) {
    (void)state;
    struct os_process_result result = run("hang", PATIENCE_MS);
    assert_false(result.timed_out);
    assert_true(result.end[0] != '\0' || (result.code != 0 && result.code != 1));
}

static void test_guard_wait_has_no_limit_where_hangs_have_none(void **state) {
    (void)state;
    assert_true(run("never", MOMENT_MS).timed_out);
}

static void test_guard_wait_without_a_limit_ends_with_a_stop(void **state) {
    (void)state;
    struct os_process_result result = run("stop", PATIENCE_MS);
    assert_false(result.timed_out);
    assert_int_equal(result.code, 1);
    assert_string_equal(result.end, "");
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_wait_without_an_end_is_a_crash),
        cmocka_unit_test(test_guard_wait_has_no_limit_where_hangs_have_none),
        cmocka_unit_test(test_guard_wait_without_a_limit_ends_with_a_stop),
    };
    if (count > 1) {
        return wait_for_ever(arguments[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
