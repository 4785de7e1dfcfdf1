/* test_failing_allocations.c: a host's whole life as its allocations fail, one of them each time,
 * or all from one on (host_life.h).
 *
 * A life has more than a thousand. As many are tried as are quick, another part of them each time;
 * BERTH_TEST_ALLOCATION names a single one. */
#include "base/alloc.h"
#include "host_life.h"

enum { END_ALLOCATIONS = 16 }; /* the stop has few */

static void begin(const struct life_plan *plan, bool at_end) {
    long passes = at_end ? (plan->lasts ? 0 : plan->number % END_ALLOCATIONS) : plan->number;
    alloc_fail_after(passes, plan->lasts);
}

static void end(void) {
    alloc_fail_after(-1, false);
}

static void live_with_each(bool lasts) {
    const struct life_plan plan = {.begin = begin, .end = end, .lasts = lasts};
    host_live(NULL); /* what is allocated once for all lives */
    long total = -alloc_total();
    host_live(NULL);
    total += alloc_total();
    assert_in_range(total, 100, 100000);
    host_live_each(&plan, total, "BERTH_TEST_ALLOCATION");
}

static void test_life_in_which_an_allocation_fails_goes_on_and_loses_nothing(void **state) {
    (void)state;
    live_with_each(false);
}

static void test_life_in_which_all_fail_from_one_on_goes_on_when_they_do_not(void **state) {
    (void)state;
    live_with_each(true);
}

int main(int argc, char **argv) {
    host_life_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_in_which_an_allocation_fails_goes_on_and_loses_nothing),
        cmocka_unit_test(test_life_in_which_all_fail_from_one_on_goes_on_when_they_do_not),
    };
    return cmocka_run_group_tests_name("failing_allocations", tests, NULL, NULL);
}
