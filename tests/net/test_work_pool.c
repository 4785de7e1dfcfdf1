/* The pool of threads: whose work comes next, and who finds room. One thread, held by a first work
 * until all others wait: then the order in which they run is the pool's. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "net/lib/work_pool.h"
#include "os/os.h"

enum { JOBS_MAX = 256, QUEUE_MAX = 100 };

struct job {
    struct work work;
    char name;
};

static struct work_pool *pool;
static struct work_lane lanes[4];
static struct job jobs[JOBS_MAX];
static unsigned job_count;
static char order[JOBS_MAX + 1];
static unsigned done_count; /* read behind the pool's end */
static atomic_bool gate_open;
static atomic_bool held;

static void run_job(struct work *work) {
    order[done_count++] = CONTAINER_OF(work, struct job, work)->name;
}

static void hold(struct work *work) {
    (void)work;
    atomic_store(&held, true);
    while (!atomic_load(&gate_open)) {
        /* it takes no longer than the test does */
    }
}

static bool submit_to(unsigned lane, uint64_t client, char name, uint32_t lane_max,
                      uint32_t client_max) {
    const struct work_source source = {&lanes[lane], client, lane_max, client_max};
    struct job *job = &jobs[job_count++];
    *job = (struct job){.work = {.run = run_job, .skip = run_job}, .name = name};
    return work_pool_submit(pool, &source, &job->work);
}

static bool submit(unsigned lane, uint64_t client, char name) {
    return submit_to(lane, client, name, QUEUE_MAX, QUEUE_MAX);
}

static int set_up(void **state) {
    static struct work first = {.run = hold, .skip = hold};
    const struct work_pool_options options = {
        .threads_min = 1, .threads_max = 1, .queue_max = QUEUE_MAX, .idle_ms = 1000};
    const struct work_source source = {&lanes[3], 0, QUEUE_MAX, QUEUE_MAX};
    struct error error;
    (void)state;
    memset(lanes, 0, sizeof(lanes));
    memset(order, 0, sizeof(order));
    job_count = 0;
    done_count = 0;
    atomic_store(&gate_open, false);
    atomic_store(&held, false);
    pool = work_pool_create(&options, false, &error);
    if (!pool || !work_pool_submit(pool, &source, &first)) {
        return -1;
    }
    while (!atomic_load(&held)) {
        /* it takes no longer than the test does */
    }
    return 0;
}

/* Lets all run, and waits for it. */
static void finish(void) {
    atomic_store(&gate_open, true);
    work_pool_destroy(pool);
    pool = NULL;
}

static int tear_down(void **state) {
    (void)state;
    if (pool) {
        finish();
    }
    return alloc_live() == 0 ? 0 : -1;
}

static void test_work_pool_one_client_is_served_in_order(void **state) {
    (void)state;
    for (char name = 'a'; name <= 'f'; name++) {
        assert_true(submit(0, 7, name));
    }
    finish();
    assert_string_equal(order, "abcdef");
}

static void test_work_pool_listeners_take_turns(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_true(submit(0, 7, 'a'));
    }
    assert_true(submit(1, 7, 'b'));
    assert_true(submit(1, 7, 'b'));
    assert_true(submit(2, 7, 'c'));
    finish();
    assert_memory_equal(order, "abcaba", 6);
    assert_int_equal(strlen(order), 53);
}

/* Two clients of one queue are possible; three that have three queues are found soon. */
static void test_work_pool_clients_of_a_listener_take_turns(void **state) {
    uint64_t other = 8;
    uint64_t third = 1000;
    (void)state;
    while (lanes[0].queues < 3) {
        for (int i = 0; i < 3 && lanes[0].queues == 0; i++) {
            assert_true(submit(0, 7, 'a'));
        }
        assert_true(submit(0, lanes[0].queues == 1 ? other++ : third++, 'b'));
    }
    unsigned later = lanes[0].waiting - 3; /* of those that share a queue with one before */
    finish();
    assert_int_equal(strlen(order), later + 3);
    /* In the first round each of the three is served once: no `a` twice before the others. */
    unsigned first_round_a = 0;
    for (int i = 0; i < 3; i++) {
        first_round_a += order[i] == 'a';
    }
    assert_int_equal(first_round_a, 1);
}

static void test_work_pool_full_of_one_listener_has_room_for_another(void **state) {
    (void)state;
    for (int i = 0; i < QUEUE_MAX; i++) {
        assert_true(submit(0, 7, 'a'));
    }
    assert_false(submit(0, 7, 'x'));
    for (int i = 0; i < QUEUE_MAX / 2; i++) { /* its part, of two */
        assert_true(submit(1, 7, 'b'));
    }
    assert_false(submit(1, 7, 'x'));
    assert_int_equal(work_lane_waiting(pool, &lanes[1]), QUEUE_MAX / 2);
    finish();
    assert_null(strchr(order, 'x'));
    assert_memory_equal(order, "abab", 4);
}

static void test_work_pool_full_of_one_client_has_room_for_another(void **state) {
    uint64_t client = 8;
    (void)state;
    for (int i = 0; i < QUEUE_MAX; i++) {
        assert_true(submit(0, 7, 'a'));
    }
    while (lanes[0].queues < 2) { /* one that does not share the queue of the first */
        submit(0, client++, 'b');
        assert_in_range(client, 8, 100);
    }
    finish();
    assert_non_null(memchr(order, 'b', 2));
}

static void test_work_pool_bounds_a_listener_and_a_client(void **state) {
    (void)state;
    assert_true(submit_to(0, 7, 'a', 3, 2));
    assert_true(submit_to(0, 7, 'a', 3, 2));
    assert_false(submit_to(0, 7, 'x', 3, 2)); /* of the client */
    assert_true(submit_to(1, 7, 'b', 1, 9));
    assert_false(submit_to(1, 7, 'x', 1, 9)); /* of the listener */
    finish();
    assert_string_equal(order, "aba");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_work_pool_one_client_is_served_in_order),
        TEST(test_work_pool_listeners_take_turns),
        TEST(test_work_pool_clients_of_a_listener_take_turns),
        TEST(test_work_pool_full_of_one_listener_has_room_for_another),
        TEST(test_work_pool_full_of_one_client_has_room_for_another),
        TEST(test_work_pool_bounds_a_listener_and_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
