/* What plugins hand over: references that they do not hold, slices that are not inside their
 * buffer, handles from before. Each is a fault that ends the connection and nothing else. */
#include "connection_world.h"

#include <stdio.h>

#include "base/error.h"
#include "fake_engine.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"
#include "net/lib/plugin_slice.h"

/* -- handles --------------------------------------------------------------- */

static struct berth_buffer *lent(struct worker *worker, struct berth_buffer **given) {
    struct berth_buffer *buffer = buffer_take(worker->buffers);
    assert_non_null(buffer);
    *given = buffer_given(buffer);
    return buffer;
}

static void steps_lent(struct worker *worker, void *argument) {
    struct berth_buffer *given;
    struct berth_buffer *buffer = lent(worker, &given);
    (void)argument;
    assert_false(buffer_plugin_releases(given)); /* the host's own reference */
    assert_true(buffer_is_exclusive(buffer));
    assert_true(buffer_plugin_acquires(given));
    assert_false(buffer_is_exclusive(buffer));
    assert_true(buffer_plugin_releases(given));
    assert_false(buffer_plugin_releases(given));
    assert_true(buffer_is_exclusive(buffer));
    buffer_release(buffer);
}

static void test_buffer_lent_is_not_released_by_the_plugin(void **state) {
    (void)state;
    on_worker(steps_lent);
}

static void steps_at_home(struct worker *worker, void *argument) {
    struct berth_buffer *given;
    struct berth_buffer *buffer = lent(worker, &given);
    (void)argument;
    buffer_pass(buffer);
    assert_true(buffer_plugin_releases(given)); /* the last: it goes home */
    assert_false(buffer_plugin_releases(given));
    assert_false(buffer_plugin_acquires(given));
    struct berth_buffer *again = buffer_take(worker->buffers); /* another connection's now */
    assert_ptr_equal(again, buffer);
    assert_false(buffer_plugin_releases(given));
    assert_false(buffer_plugin_acquires(given));
    assert_true(buffer_is_exclusive(again));
    buffer_pass(again); /* and a plugin's again: the old handle is none of it all the same */
    assert_false(buffer_plugin_releases(given));
    assert_true(buffer_plugin_releases(buffer_given(again)));
}

static void test_buffer_handle_from_before_it_went_home_is_none(void **state) {
    (void)state;
    on_worker(steps_at_home);
}

static void steps_made_to_measure(struct worker *worker, void *argument) {
    struct berth_buffer *buffer = buffer_create(4 * BUFFER_BYTES);
    (void)worker;
    (void)argument;
    buffer_pass(buffer);
    struct berth_buffer *given = buffer_given(buffer);
    assert_true(buffer_plugin_releases(given)); /* freed */
    assert_false(buffer_plugin_releases(given));
    assert_false(buffer_plugin_acquires(given));
}

static void test_buffer_freed_is_still_told_by_its_handle(void **state) {
    (void)state;
    on_worker(steps_made_to_measure);
}

static void steps_both(struct worker *worker, void *argument) {
    struct berth_buffer *given;
    struct berth_buffer *buffer = lent(worker, &given);
    (void)argument;
    assert_true(buffer_plugin_acquires(given));
    struct berth_slice slice = {given, buffer->bytes, 4, 0};
    struct berth_slice taken;
    assert_null(plugin_slice_take(&slice, &taken));
    assert_ptr_equal(taken.buffer, buffer);
    assert_false(buffer_plugin_releases(given)); /* it is handed over */
    assert_non_null(plugin_slice_take(&slice, &taken));
    buffer_release(buffer); /* what was lent; what is to be sent is still there */
    assert_true(buffer_is_exclusive(buffer));
    buffer_release(buffer);
}

static void test_buffer_handed_over_is_the_hosts(void **state) {
    (void)state;
    on_worker(steps_both);
}

/* -- slices ---------------------------------------------------------------- */

static void steps_slices(struct worker *worker, void *argument) {
    static const struct {
        ptrdiff_t offset;
        uint32_t size;
        uint32_t reserved;
        bool good;
    } cases[] = {
        {0, BUFFER_BYTES, 0, true},          {BUFFER_BYTES, 0, 0, true},
        {BUFFER_BYTES - 1, 1, 0, true},      {0, 0, 0, true},
        {0, BUFFER_BYTES + 1, 0, false},     {1, BUFFER_BYTES, 0, false},
        {BUFFER_BYTES, 1, 0, false},         {-1, 1, 0, false},
        {-1, BUFFER_BYTES, 0, false},        {1, UINT32_MAX, 0, false},
        {-16, UINT32_MAX, 0, false},         {0, 4, 1, false},
        {0, 0, UINT32_C(0x80000000), false},
    };
    (void)argument;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct berth_buffer *given;
        struct berth_buffer *buffer = lent(worker, &given);
        struct berth_slice taken;
        assert_true(buffer_plugin_acquires(given));
        struct berth_slice slice = {given, buffer->bytes + cases[i].offset, cases[i].size,
                                    cases[i].reserved};
        const char *wrong = plugin_slice_take(&slice, &taken);
        assert_int_equal(wrong == NULL, cases[i].good);
        if (cases[i].good) {
            buffer_release(taken.buffer);
        }
        assert_true(buffer_is_exclusive(buffer)); /* the reference is consumed in any case */
        buffer_release(buffer);
    }
}

static void test_slice_that_is_not_inside_its_buffer_is_wrong(void **state) {
    (void)state;
    on_worker(steps_slices);
}

static void test_slice_without_a_buffer_may_only_be_empty(void **state) {
    struct berth_slice taken;
    struct berth_slice slice = {0};
    (void)state;
    assert_null(plugin_slice_take(&slice, &taken));
    assert_null(taken.buffer);
    slice.size = 1;
    assert_non_null(plugin_slice_take(&slice, &taken));
    slice = (struct berth_slice){.reserved = 1};
    assert_non_null(plugin_slice_take(&slice, &taken));
}

static void test_piece_of_a_run_that_no_file_has_is_wrong(void **state) {
    static const struct {
        uint64_t offset;
        uint64_t size;
        bool good;
    } cases[] = {
        {0, UINT64_MAX, true},
        {0, INT64_MAX, true},
        {INT64_MAX, UINT64_MAX, true},
        {INT64_MAX, 0, true},
        {INT64_MAX, 1, false},
        {1, INT64_MAX, false},
        {(uint64_t)INT64_MAX + 1, 0, false},
        {UINT64_MAX, UINT64_MAX, false},
        {10, UINT64_MAX - 9, false},
    };
    static const char name[] = "test_plugin_slice.tmp";
    FILE *made = fopen(name, "wb");
    (void)state;
    assert_non_null(made);
    fclose(made);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error;
        struct berth_file *file = file_open(name, NULL, &error);
        assert_non_null(file);
        file_pass(file);
        struct berth_piece piece = {
            .file = file_given(file), .offset = cases[i].offset, .size = cases[i].size};
        struct berth_piece taken;
        assert_int_equal(plugin_piece_take(&piece, &taken) == NULL, cases[i].good);
        file_release(taken.file);
        assert_false(file_plugin_holds(piece.file)); /* consumed in any case, and closed */
        assert_false(file_plugin_acquires(piece.file));
        assert_non_null(plugin_piece_take(&piece, &taken));
    }
    remove(name);
}

/* -- the connection -------------------------------------------------------- */

static void send_too_much(struct berth_conn *conn, const struct berth_slice *data) {
    struct berth_slice slice = *data;
    slice.size = BUFFER_BYTES + 1;
    assert_true(buffer_plugin_acquires(data->buffer));
    note("%d ", connection_send_slices(connection_of(conn), &slice, 1));
}

static void send_what_is_lent(struct berth_conn *conn, const struct berth_slice *data) {
    note("%d ", connection_send_slices(connection_of(conn), data, 1));
}

static void send_one_reference_twice(struct berth_conn *conn, const struct berth_slice *data) {
    struct berth_slice slices[] = {*data, *data};
    assert_true(buffer_plugin_acquires(data->buffer));
    note("%d ", connection_send_slices(connection_of(conn), slices, 2));
}

static void steps_faults(struct worker *worker, void *argument) {
    void (*const faults[])(struct berth_conn *, const struct berth_slice *) = {
        send_too_much, send_what_is_lent, send_one_reference_twice};
    (void)argument;
    for (int i = 0; i < (int)ARRAY_COUNT(faults); i++) {
        in_received = echo;
        adopt(worker, 2 * i, NULL);
        in_received = faults[i];
        adopt(worker, 2 * i + 1, NULL);
        arrive(worker, 2 * i + 1, "ab");
        fake_run_stopped();
        in_received = echo;
        arrive(worker, 2 * i, "on"); /* and another connection goes on */
        fake_end(2 * i, 0);
    }
}

static void test_connection_ends_when_the_plugin_hands_over_what_is_wrong(void **state) {
    (void)state;
    on_worker(steps_faults);
    assert_string_equal(diary, "opened opened received:ab -2 closed:9 received:on "
                               "peer_closed closed:2 "
                               "opened opened received:ab -2 closed:9 received:on "
                               "peer_closed closed:2 "
                               "opened opened received:ab -2 closed:9 received:on "
                               "peer_closed closed:2 ");
    assert_int_equal(atomic_load(&listener->counters.plugin_faults), 3);
    /* Nothing of a broken call was sent. */
    for (int i = 1; i < 6; i += 2) {
        assert_int_equal(fake_socket(i)->sent_size, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_buffer_lent_is_not_released_by_the_plugin),
        TEST(test_buffer_handle_from_before_it_went_home_is_none),
        TEST(test_buffer_freed_is_still_told_by_its_handle),
        TEST(test_buffer_handed_over_is_the_hosts),
        TEST(test_slice_that_is_not_inside_its_buffer_is_wrong),
        TEST(test_slice_without_a_buffer_may_only_be_empty),
        TEST(test_piece_of_a_run_that_no_file_has_is_wrong),
        TEST(test_connection_ends_when_the_plugin_hands_over_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
