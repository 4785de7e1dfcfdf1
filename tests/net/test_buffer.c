/* Buffers: references, the pool, the way home from other threads, and failing allocation. */
#include "unit.h"

#include "base/alloc.h"
#include "base/error.h"
#include "net/lib/buffer.h"
#include "os/os.h"

enum { BYTES = 16384, RETAINED = 4 };

static struct buffer_pool *pool_in(void **state) {
    return *state;
}

static int set_up(void **state) {
    *state = buffer_pool_create(BYTES, RETAINED);
    return *state ? 0 : -1;
}

static int tear_down(void **state) {
    buffer_pool_close(*state);
    return alloc_live() == 0 ? 0 : -1; /* every test gives everything back */
}

static void test_buffer_taken_is_page_aligned_with_one_reference(void **state) {
    struct berth_buffer *buffer = buffer_take(pool_in(state));
    assert_non_null(buffer);
    assert_int_equal(buffer->capacity, BYTES);
    assert_int_equal((uintptr_t)buffer->bytes % os_page_bytes(), 0);
    assert_true(buffer_is_exclusive(buffer));
    memset(buffer->bytes, 0xa5, buffer->capacity);
    buffer_release(buffer);
}

static void test_buffer_released_last_is_taken_first(void **state) {
    struct buffer_pool *pool = pool_in(state);
    struct berth_buffer *first = buffer_take(pool);
    struct berth_buffer *second = buffer_take(pool);
    buffer_release(first);
    buffer_release(second);
    struct berth_buffer *again = buffer_take(pool);
    assert_ptr_equal(again, second);
    assert_true(buffer_is_exclusive(again));
    buffer_release(again);
}

static void test_buffer_with_references_stays_until_the_last_release(void **state) {
    struct buffer_pool *pool = pool_in(state);
    struct berth_buffer *buffer = buffer_take(pool);
    buffer_acquire(buffer);
    assert_false(buffer_is_exclusive(buffer));
    buffer_release(buffer);
    assert_int_equal(buffer_pool_free(pool), 0);
    assert_true(buffer_is_exclusive(buffer));
    buffer_release(buffer);
    assert_int_equal(buffer_pool_free(pool), 1);
}

static void test_buffer_pool_retains_no_more_than_its_limit(void **state) {
    struct buffer_pool *pool = pool_in(state);
    struct berth_buffer *buffers[RETAINED * 2];
    for (size_t i = 0; i < ARRAY_COUNT(buffers); i++) {
        buffers[i] = buffer_take(pool);
        assert_non_null(buffers[i]);
    }
    assert_int_equal(buffer_pool_live(pool), RETAINED * 2);
    for (size_t i = 0; i < ARRAY_COUNT(buffers); i++) {
        buffer_release(buffers[i]);
    }
    assert_int_equal(buffer_pool_free(pool), RETAINED);
    assert_int_equal(buffer_pool_live(pool), RETAINED);
}

static void test_buffer_made_to_measure_has_no_home(void **state) {
    struct berth_buffer *buffer = buffer_create(100000);
    assert_non_null(buffer);
    assert_int_equal(buffer->capacity, 100000);
    buffer_release(buffer);
    assert_int_equal(buffer_pool_live(pool_in(state)), 0);
}

static void test_buffer_release_of_null_is_legal(void **state) {
    (void)state;
    buffer_release(NULL);
    buffer_pool_close(NULL);
}

enum { TRAVELLERS = 1000 };

static void release_all(void *argument) {
    struct berth_buffer **buffers = argument;
    for (size_t i = 0; i < TRAVELLERS; i++) {
        buffer_release(buffers[i]);
    }
}

/* Half of the references are dropped here and half there, at the same time. */
static void test_buffer_released_on_another_thread_comes_home(void **state) {
    struct buffer_pool *pool = buffer_pool_create(4096, TRAVELLERS);
    struct berth_buffer *buffers[TRAVELLERS];
    (void)state;
    for (size_t i = 0; i < TRAVELLERS; i++) {
        buffers[i] = buffer_take(pool);
        assert_non_null(buffers[i]);
        buffer_acquire(buffers[i]);
    }
    struct os_thread thread;
    struct error error;
    assert_true(os_thread_start(&thread, "release", release_all, buffers, &error));
    release_all(buffers);
    os_thread_join(&thread);
    assert_int_equal(buffer_pool_live(pool), TRAVELLERS);
    struct berth_buffer *again[TRAVELLERS];
    for (size_t i = 0; i < TRAVELLERS; i++) {
        again[i] = buffer_take(pool);
    }
    assert_int_equal(buffer_pool_live(pool), TRAVELLERS); /* all came home: none was made anew */
    for (size_t i = 0; i < TRAVELLERS; i++) {
        buffer_release(again[i]);
    }
    buffer_pool_close(pool);
}

static void test_buffer_that_outlives_its_pool_is_freed_at_its_release(void **state) {
    struct buffer_pool *pool = buffer_pool_create(BYTES, RETAINED);
    struct berth_buffer *buffer = buffer_take(pool);
    (void)state;
    buffer_pool_close(pool);
    buffer->bytes[0] = 1;
    buffer_release(buffer); /* tear_down sees what is left */
}

static void test_buffer_every_failing_allocation_gives_null_and_loses_nothing(void **state) {
    struct buffer_pool *pool = pool_in(state);
    for (long countdown = 0; countdown < 2; countdown++) {
        alloc_fail_after(countdown, true);
        struct berth_buffer *taken = buffer_take(pool);
        alloc_fail_after(countdown, true);
        struct berth_buffer *created = buffer_create(BYTES);
        alloc_fail_after(-1, false);
        assert_null(taken);
        assert_null(created);
        assert_int_equal(buffer_pool_live(pool), 0);
    }
    alloc_fail_after(0, false);
    assert_null(buffer_pool_create(BYTES, RETAINED));
    alloc_fail_after(-1, false);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_buffer_taken_is_page_aligned_with_one_reference),
        TEST(test_buffer_released_last_is_taken_first),
        TEST(test_buffer_with_references_stays_until_the_last_release),
        TEST(test_buffer_pool_retains_no_more_than_its_limit),
        TEST(test_buffer_made_to_measure_has_no_home),
        TEST(test_buffer_release_of_null_is_legal),
        TEST(test_buffer_released_on_another_thread_comes_home),
        TEST(test_buffer_that_outlives_its_pool_is_freed_at_its_release),
        TEST(test_buffer_every_failing_allocation_gives_null_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
