/* The time that workers go by. */
#include "net_world.h"
#include "unit.h"

#include <stdatomic.h>

#include "net/lib/timers.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"

enum { LONG_MS = 120, DELAY_MS = 60, PATIENCE_MS = 20000 };

static struct timer timer;
static uint64_t started_ms;
static _Atomic uint64_t fired_ms;

static int set_up(void **state) {
    (void)state;
    return net_world_start(1);
}

static int tear_down(void **state) {
    (void)state;
    return net_world_end();
}

static void call(void (*function)(struct worker *worker, void *argument)) {
    worker_call(&net_world_server()->workers[0], function, NULL);
}

static void spend_in_callback(void) {
    struct plugin_thread *thread = callback_guard_begin(NULL, NULL, NULL, PLUGIN_RECEIVED);
    peer_pause(LONG_MS);
    callback_guard_end(thread);
}

static void look_twice(struct worker *worker, void *argument) {
    uint64_t first_ms = worker_now_ms(worker);
    (void)argument;
    peer_pause(LONG_MS);
    assert_true(worker_now_ms(worker) == first_ms);
}

static void test_clock_asked_twice_in_a_turn_is_read_once(void **state) {
    (void)state;
    call(look_twice);
}

static void look_around_a_callback(struct worker *worker, void *argument) {
    uint64_t before_ms = worker_now_ms(worker);
    (void)argument;
    spend_in_callback();
    assert_true(worker_now_ms(worker) >= before_ms + LONG_MS - 1);
}

static void test_clock_after_a_long_callback_is_not_old(void **state) {
    (void)state;
    call(look_around_a_callback);
}

static void look_within_a_callback(struct worker *worker, void *argument) {
    uint64_t before_ms = worker_now_ms(worker);
    (void)argument;
    struct plugin_thread *thread = callback_guard_begin(NULL, NULL, NULL, PLUGIN_RECEIVED);
    assert_true(worker_now_ms(worker) >= before_ms);
    peer_pause(LONG_MS);
    assert_true(worker_now_ms(worker) >= before_ms + LONG_MS - 1);
    callback_guard_end(thread);
}

static void test_clock_asked_late_in_a_callback_is_not_that_of_its_begin(void **state) {
    (void)state;
    call(look_within_a_callback);
}

static void look_again(struct worker *worker, void *argument) {
    *(uint64_t *)argument = worker_now_ms(worker);
}

static void test_clock_after_a_wait_is_not_that_before_it(void **state) {
    uint64_t first_ms = 0;
    uint64_t second_ms = 0;
    (void)state;
    worker_call(&net_world_server()->workers[0], look_again, &first_ms);
    peer_pause(LONG_MS);
    worker_call(&net_world_server()->workers[0], look_again, &second_ms);
    assert_true(second_ms >= first_ms + LONG_MS - 1);
}

static void on_timer(struct timer *one) {
    (void)one;
    atomic_store(&fired_ms, engine_now_ms());
}

static void start_after_a_long_callback(struct worker *worker, void *argument) {
    (void)argument;
    worker_now_ms(worker);
    spend_in_callback();
    timer.fire = on_timer;
    started_ms = engine_now_ms();
    timers_start(&worker->timers, &timer, worker_now_ms(worker), DELAY_MS);
}

static void test_clock_timer_started_after_a_long_callback_is_not_early(void **state) {
    (void)state;
    atomic_store(&fired_ms, 0);
    call(start_after_a_long_callback);
    uint64_t until_ms = engine_now_ms() + PATIENCE_MS;
    while (atomic_load(&fired_ms) == 0 && engine_now_ms() < until_ms) {
        peer_pause(2);
    }
    assert_true(atomic_load(&fired_ms) >= started_ms + DELAY_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_asked_twice_in_a_turn_is_read_once),
        cmocka_unit_test(test_clock_after_a_long_callback_is_not_old),
        cmocka_unit_test(test_clock_asked_late_in_a_callback_is_not_that_of_its_begin),
        cmocka_unit_test(test_clock_after_a_wait_is_not_that_before_it),
        cmocka_unit_test(test_clock_timer_started_after_a_long_callback_is_not_early),
    };
    return cmocka_run_group_tests_name("clock", tests, set_up, tear_down);
}
