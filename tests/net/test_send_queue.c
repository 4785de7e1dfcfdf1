/* The send queue: order, gathering, partial consumption, references, and failing allocation. */
#include "unit.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "net/lib/buffer.h"
#include "net/lib/send_queue.h"

enum { BYTES = 4096 };

struct fixture {
    struct buffer_pool *pool;
    struct send_nodes nodes;
    struct send_queue queue;
};

static int set_up(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->pool = buffer_pool_create(BYTES, 8);
    fixture->nodes.free_max = 4;
    *state = fixture;
    return fixture->pool ? 0 : -1;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    send_queue_clear(&fixture->queue, &fixture->nodes);
    send_nodes_fini(&fixture->nodes);
    buffer_pool_close(fixture->pool);
    free(fixture);
    return alloc_live() == 0 ? 0 : -1;
}

static struct berth_slice slice_of(struct fixture *fixture, const char *text) {
    struct berth_buffer *buffer = buffer_take(fixture->pool);
    assert_non_null(buffer);
    memcpy(buffer->bytes, text, strlen(text));
    return (struct berth_slice){buffer, buffer->bytes, (uint32_t)strlen(text), 0};
}

/* What would be sent now, at most `capacity` bytes. */
static size_t gathered(struct fixture *fixture, char *text, size_t capacity) {
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    unsigned count = send_queue_gather(&fixture->queue, pieces);
    size_t length = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_true(length + pieces[i].size < capacity);
        memcpy(text + length, pieces[i].bytes, pieces[i].size);
        length += pieces[i].size;
    }
    text[length] = '\0';
    return length;
}

static void test_send_queue_slices_and_copies_keep_their_order(void **state) {
    struct fixture *fixture = *state;
    char text[256];
    struct berth_slice first = slice_of(fixture, "one ");
    struct berth_slice third = slice_of(fixture, "three ");
    assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &first));
    assert_true(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "two ", 4));
    assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &third));
    assert_true(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "four", 4));
    gathered(fixture, text, sizeof(text));
    assert_string_equal(text, "one two three four");
    assert_int_equal(fixture->queue.bytes, 18);
}

static void test_send_queue_small_copies_share_a_buffer(void **state) {
    struct fixture *fixture = *state;
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    for (int i = 0; i < 100; i++) {
        assert_true(
            send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "0123456789", 10));
    }
    assert_int_equal(send_queue_gather(&fixture->queue, pieces), 1);
    assert_int_equal(pieces[0].size, 1000);
}

static void test_send_queue_copy_larger_than_a_buffer_is_whole(void **state) {
    struct fixture *fixture = *state;
    static uint8_t large[BYTES * 3 + 17];
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    for (size_t i = 0; i < sizeof(large); i++) {
        large[i] = (uint8_t)(i * 31);
    }
    assert_true(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "x", 1));
    assert_true(
        send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, large, sizeof(large)));
    assert_int_equal(fixture->queue.bytes, sizeof(large) + 1);
    assert_int_equal(send_queue_gather(&fixture->queue, pieces), 2);
    assert_memory_equal(pieces[0].bytes + 1, large, pieces[0].size - 1);
    assert_memory_equal(pieces[1].bytes, large + pieces[0].size - 1, pieces[1].size);
}

static void test_send_queue_gathers_no_more_than_the_engine_takes(void **state) {
    struct fixture *fixture = *state;
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    for (int i = 0; i < ENGINE_PIECES_MAX + 5; i++) {
        struct berth_slice slice = slice_of(fixture, "ab");
        assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &slice));
    }
    assert_int_equal(send_queue_gather(&fixture->queue, pieces), ENGINE_PIECES_MAX);
}

static void test_send_queue_consumed_byte_by_byte_shrinks_from_the_front(void **state) {
    struct fixture *fixture = *state;
    char text[64];
    struct berth_slice first = slice_of(fixture, "abc");
    struct berth_slice second = slice_of(fixture, "def");
    assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &first));
    assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &second));
    static const char whole[] = "abcdef";
    for (size_t i = 0; i < 6; i++) {
        gathered(fixture, text, sizeof(text));
        assert_string_equal(text, whole + i);
        send_queue_consume(&fixture->queue, &fixture->nodes, 1);
    }
    assert_int_equal(fixture->queue.bytes, 0);
    assert_null(fixture->queue.first);
    assert_null(fixture->queue.last);
    assert_int_equal(buffer_pool_free(fixture->pool), 2); /* both references are given back */
}

static void test_send_queue_copy_after_partial_consumption_appends_behind(void **state) {
    struct fixture *fixture = *state;
    char text[64];
    assert_true(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "hello ", 6));
    send_queue_consume(&fixture->queue, &fixture->nodes, 2);
    assert_true(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, "world", 5));
    gathered(fixture, text, sizeof(text));
    assert_string_equal(text, "llo world");
}

static void test_send_queue_empty_slice_is_released_and_not_queued(void **state) {
    struct fixture *fixture = *state;
    struct berth_slice slice = slice_of(fixture, "");
    assert_true(send_queue_add(&fixture->queue, &fixture->nodes, &slice));
    assert_null(fixture->queue.first);
    assert_int_equal(buffer_pool_free(fixture->pool), 1);
}

static void
test_send_queue_failing_allocation_appends_nothing_and_loses_no_reference(void **state) {
    struct fixture *fixture = *state;
    struct berth_slice slice = slice_of(fixture, "abc");
    buffer_acquire(slice.buffer);
    alloc_fail_after(0, true);
    assert_false(send_queue_add(&fixture->queue, &fixture->nodes, &slice));
    alloc_fail_after(-1, false);
    assert_true(buffer_is_exclusive(slice.buffer)); /* it consumed its reference, and only that */
    buffer_release(slice.buffer);
    static const uint8_t large[BYTES * 2];
    for (long countdown = 0; countdown < 3; countdown++) {
        alloc_fail_after(countdown, true);
        assert_false(send_queue_add_copy(&fixture->queue, &fixture->nodes, fixture->pool, large,
                                         sizeof(large)));
        alloc_fail_after(-1, false);
        assert_int_equal(fixture->queue.bytes, 0);
        send_nodes_fini(&fixture->nodes);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_send_queue_slices_and_copies_keep_their_order),
        TEST(test_send_queue_small_copies_share_a_buffer),
        TEST(test_send_queue_copy_larger_than_a_buffer_is_whole),
        TEST(test_send_queue_gathers_no_more_than_the_engine_takes),
        TEST(test_send_queue_consumed_byte_by_byte_shrinks_from_the_front),
        TEST(test_send_queue_copy_after_partial_consumption_appends_behind),
        TEST(test_send_queue_empty_slice_is_released_and_not_queued),
        TEST(test_send_queue_failing_allocation_appends_nothing_and_loses_no_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
