/* The timing wheel: never early, in order over all levels, movable, and cheap to leave. */
#include "unit.h"

#include <stdlib.h>
#include <time.h>

#include "net/lib/timers.h"

struct probe {
    struct timer timer;
    uint64_t fired_ms; /* 0: not yet */
    unsigned count;
};

static struct timers wheel;
static uint64_t clock_ms;

static void on_fire(struct timer *timer) {
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    probe->fired_ms = clock_ms;
    probe->count++;
}

static int set_up(void **state) {
    (void)state;
    clock_ms = 123456789;
    timers_init(&wheel, clock_ms);
    return 0;
}

/* Jumps from one proposed wake-up to the next, as a worker does. */
static void run_until(uint64_t end_ms) {
    while (clock_ms < end_ms) {
        int next = timers_next_ms(&wheel, clock_ms);
        uint64_t to =
            next < 0 || clock_ms + (uint64_t)next > end_ms ? end_ms : clock_ms + (uint64_t)next;
        clock_ms = to > clock_ms ? to : clock_ms + 1;
        timers_run(&wheel, clock_ms);
    }
}

static void test_timers_each_level_fires_within_a_tick_and_never_early(void **state) {
    static const uint64_t delays[] = {0,        1,        3,         4,      5,       255,
                                      256,      257,      1000,      16383,  16384,   16385,
                                      1048575,  1048576,  99999,     900000, 3600000, 67108863,
                                      67108865, 86400000, 4294967296};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(delays); i++) {
        struct probe probe = {.timer.fire = on_fire};
        uint64_t start_ms = clock_ms;
        timers_start(&wheel, &probe.timer, clock_ms, delays[i]);
        assert_true(timer_is_running(&probe.timer));
        run_until(start_ms + delays[i] + 2 * TIMERS_TICK_MS);
        assert_int_equal(probe.count, 1);
        assert_true(probe.fired_ms >= start_ms + delays[i]);
        assert_true(probe.fired_ms <= start_ms + delays[i] + 2 * TIMERS_TICK_MS);
        assert_false(timer_is_running(&probe.timer));
        assert_int_equal(wheel.count, 0);
    }
}

static void test_timers_many_at_random_fire_once_each_and_never_early(void **state) {
    enum { COUNT = 5000, SPAN_MS = 300000 };
    static struct probe probes[COUNT];
    static uint64_t due_ms[COUNT];
    (void)state;
    srand(7);
    memset(probes, 0, sizeof(probes));
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t delay_ms = (uint64_t)rand() % SPAN_MS;
        probes[i].timer.fire = on_fire;
        due_ms[i] = clock_ms + delay_ms;
        timers_start(&wheel, &probes[i].timer, clock_ms, delay_ms);
    }
    run_until(clock_ms + SPAN_MS + 2 * TIMERS_TICK_MS);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].count, 1);
        assert_true(probes[i].fired_ms >= due_ms[i]);
        assert_true(probes[i].fired_ms <= due_ms[i] + 2 * TIMERS_TICK_MS);
    }
}

static void test_timers_stopped_one_does_not_fire(void **state) {
    struct probe probe = {.timer.fire = on_fire};
    (void)state;
    timers_start(&wheel, &probe.timer, clock_ms, 50);
    timers_stop(&wheel, &probe.timer);
    timers_stop(&wheel, &probe.timer); /* twice is fine */
    run_until(clock_ms + 1000);
    assert_int_equal(probe.count, 0);
    assert_int_equal(timers_next_ms(&wheel, clock_ms), -1);
}

static void test_timers_started_again_is_moved(void **state) {
    struct probe probe = {.timer.fire = on_fire};
    uint64_t start_ms = clock_ms;
    (void)state;
    timers_start(&wheel, &probe.timer, clock_ms, 50);
    timers_start(&wheel, &probe.timer, clock_ms, 5000);
    assert_int_equal(wheel.count, 1);
    run_until(start_ms + 6000);
    assert_int_equal(probe.count, 1);
    assert_true(probe.fired_ms >= start_ms + 5000);
}

static struct probe victim;

static void stop_victim(struct timer *timer) {
    on_fire(timer);
    timers_stop(&wheel, &victim.timer);
}

static void test_timers_one_that_fires_may_stop_another_of_its_tick(void **state) {
    struct probe killer = {.timer.fire = stop_victim};
    (void)state;
    victim = (struct probe){.timer.fire = on_fire};
    timers_start(&wheel, &killer.timer, clock_ms, 100);
    timers_start(&wheel, &victim.timer, clock_ms, 100);
    run_until(clock_ms + 1000);
    assert_int_equal(killer.count, 1);
    assert_int_equal(victim.count, 0);
}

static void restart(struct timer *timer) {
    on_fire(timer);
    timers_start(&wheel, timer, clock_ms, 100);
}

static void test_timers_one_that_starts_itself_again_is_periodic(void **state) {
    struct probe probe = {.timer.fire = restart};
    (void)state;
    timers_start(&wheel, &probe.timer, clock_ms, 100);
    run_until(clock_ms + 10000);
    assert_in_range(probe.count, 90, 100);
    timers_stop(&wheel, &probe.timer);
}

static void test_timers_clock_that_jumps_fires_all_that_was_missed(void **state) {
    struct probe probes[100];
    (void)state;
    memset(probes, 0, sizeof(probes));
    for (size_t i = 0; i < ARRAY_COUNT(probes); i++) {
        probes[i].timer.fire = on_fire;
        timers_start(&wheel, &probes[i].timer, clock_ms, i * 1000);
    }
    clock_ms += 1000000;
    timers_run(&wheel, clock_ms);
    for (size_t i = 0; i < ARRAY_COUNT(probes); i++) {
        assert_int_equal(probes[i].count, 1);
    }
}

static void test_timers_endless_delay_is_cut_to_the_longest(void **state) {
    struct probe probe = {.timer.fire = on_fire};
    (void)state;
    timers_start(&wheel, &probe.timer, clock_ms, UINT64_MAX);
    run_until(clock_ms + TIMERS_DELAY_MAX_MS + 2 * TIMERS_TICK_MS);
    assert_int_equal(probe.count, 1);
}

static double nanoseconds_each(clock_t since, unsigned count) {
    return (double)(clock() - since) / CLOCKS_PER_SEC * 1e9 / count;
}

/* A million at a time. What one costs is printed, for whoever reads it. */
static void test_timers_million_set_moved_cancelled_and_fired(void **state) {
    enum { MILLION = 1000000, DELAYS_MS = 600000 };
    struct probe *probes = calloc(MILLION, sizeof(*probes));
    unsigned fired = 0;
    (void)state;
    assert_non_null(probes);
    srand(7);
    clock_t began = clock();
    for (unsigned i = 0; i < MILLION; i++) {
        probes[i].timer.fire = on_fire;
        timers_start(&wheel, &probes[i].timer, clock_ms, (uint64_t)rand() % DELAYS_MS);
    }
    double set = nanoseconds_each(began, MILLION);
    assert_int_equal(wheel.count, MILLION);
    began = clock();
    for (unsigned i = 0; i < MILLION; i++) {
        timers_start(&wheel, &probes[i].timer, clock_ms, (uint64_t)rand() % DELAYS_MS);
    }
    double moved = nanoseconds_each(began, MILLION);
    began = clock();
    for (unsigned i = 0; i < MILLION; i += 2) {
        timers_stop(&wheel, &probes[i].timer);
    }
    double cancelled = nanoseconds_each(began, MILLION / 2);
    assert_int_equal(wheel.count, MILLION / 2);
    began = clock();
    run_until(clock_ms + DELAYS_MS + TIMERS_TICK_MS);
    double run = nanoseconds_each(began, MILLION / 2);
    assert_int_equal(wheel.count, 0);
    for (unsigned i = 0; i < MILLION; i++) {
        fired += probes[i].count;
        assert_int_equal(probes[i].count, i % 2);
    }
    assert_int_equal(fired, MILLION / 2);
    print_message("a million timers, each: set %.0f ns, moved %.0f ns, cancelled %.0f ns, run to "
                  "its end %.0f ns\n",
                  set, moved, cancelled, run);
    free(probes);
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_timers_each_level_fires_within_a_tick_and_never_early),
        TEST(test_timers_many_at_random_fire_once_each_and_never_early),
        TEST(test_timers_stopped_one_does_not_fire),
        TEST(test_timers_started_again_is_moved),
        TEST(test_timers_one_that_fires_may_stop_another_of_its_tick),
        TEST(test_timers_one_that_starts_itself_again_is_periodic),
        TEST(test_timers_clock_that_jumps_fires_all_that_was_missed),
        TEST(test_timers_endless_delay_is_cut_to_the_longest),
        TEST(test_timers_million_set_moved_cancelled_and_fired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
