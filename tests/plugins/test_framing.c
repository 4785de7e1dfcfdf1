/* Framing: each way of marking messages, at its edges, and what a peer may not say. */
#include "unit.h"

#include "berth/framing.h"

static int32_t by_length(const struct berth_length_framing *framing, const char *bytes,
                         uint32_t size, struct berth_frame *frame) {
    return berth_frame_by_length(framing, (const uint8_t *)bytes, size, frame);
}

static void expect_frame(const struct berth_frame *frame, uint32_t size, uint32_t body_offset,
                         uint32_t body_size) {
    assert_int_equal(frame->size, size);
    assert_int_equal(frame->body_offset, body_offset);
    assert_int_equal(frame->body_size, body_size);
}

static void test_framing_length_of_any_width_and_order(void **state) {
    static const char bytes[] = "\x03\0\0\0\0\0\0\0\0\x03"
                                "abc";
    (void)state;
    for (uint32_t width = 1; width <= 8; width++) {
        struct berth_frame frame;
        /* Least significant byte first: the three is in front. */
        struct berth_length_framing little = {
            .length_bytes = width, .flags = BERTH_LENGTH_LITTLE_ENDIAN, .frame_max = 100};
        assert_int_equal(by_length(&little, bytes, 13, &frame), BERTH_FRAME_WHOLE);
        expect_frame(&frame, width + 3, width, 3);
        /* Most significant first: it is the last. */
        struct berth_length_framing big = {
            .length_offset = 10 - width, .length_bytes = width, .frame_max = 100};
        assert_int_equal(by_length(&big, bytes, 13, &frame), BERTH_FRAME_WHOLE);
        expect_frame(&frame, 13, 10, 3);
        assert_int_equal(by_length(&big, bytes, 12, &frame), BERTH_FRAME_PART);
        assert_int_equal(frame.want, 13);
        assert_int_equal(by_length(&big, bytes, 9, &frame), BERTH_FRAME_PART);
        assert_int_equal(frame.want, 10);
        assert_int_equal(by_length(&big, bytes, 0, &frame), BERTH_FRAME_PART);
        assert_int_equal(frame.want, 10);
    }
}

static void test_framing_length_may_count_the_header_or_leave_out_a_trailer(void **state) {
    struct berth_frame frame;
    (void)state;
    struct berth_length_framing whole = {.length_bytes = 2, .adjust = -2, .frame_max = 100};
    assert_int_equal(by_length(&whole,
                               "\0\x05"
                               "abc",
                               5, &frame),
                     BERTH_FRAME_WHOLE);
    expect_frame(&frame, 5, 2, 3);
    assert_int_equal(by_length(&whole, "\0\x02", 2, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 2, 2, 0);
    assert_int_equal(by_length(&whole, "\0\x01", 2, &frame), BERTH_E_INVALID);
    assert_int_equal(by_length(&whole, "\0\0", 2, &frame), BERTH_E_INVALID);
    struct berth_length_framing checksum = {.length_bytes = 1, .adjust = 2, .frame_max = 100};
    assert_int_equal(by_length(&checksum,
                               "\x01"
                               "acc",
                               4, &frame),
                     BERTH_FRAME_WHOLE);
    expect_frame(&frame, 4, 1, 3);
}

static void test_framing_length_above_the_limit_is_refused_before_it_is_used(void **state) {
    struct berth_frame frame;
    (void)state;
    struct berth_length_framing framing = {.length_bytes = 8, .frame_max = 20};
    assert_int_equal(by_length(&framing, "\0\0\0\0\0\0\0\x0c", 8, &frame), BERTH_FRAME_PART);
    assert_int_equal(frame.want, 20);
    assert_int_equal(by_length(&framing, "\0\0\0\0\0\0\0\x0d", 8, &frame), BERTH_E_LIMIT);
    assert_int_equal(by_length(&framing, "\0\0\0\x01\0\0\0\0", 8, &frame), BERTH_E_LIMIT);
    assert_int_equal(by_length(&framing, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, &frame),
                     BERTH_E_LIMIT);
    framing.adjust = INT32_MIN;
    assert_int_equal(by_length(&framing, "\0\0\0\0\x80\0\0\x01", 8, &frame), BERTH_FRAME_PART);
    assert_int_equal(frame.want, 9);
    framing.adjust = INT32_MAX;
    framing.frame_max = UINT32_MAX;
    assert_int_equal(by_length(&framing, "\0\0\0\0\xff\xff\xff\xff", 8, &frame), BERTH_E_LIMIT);
}

static void test_framing_length_that_cannot_be_described_is_invalid(void **state) {
    struct berth_frame frame;
    (void)state;
    struct berth_length_framing none = {.frame_max = 10};
    struct berth_length_framing wide = {.length_bytes = 9, .frame_max = 100};
    struct berth_length_framing narrow = {.length_offset = 8, .length_bytes = 4, .frame_max = 11};
    struct berth_length_framing far = {
        .length_offset = UINT32_MAX, .length_bytes = 8, .frame_max = UINT32_MAX};
    assert_int_equal(by_length(&none, "xxxxxxxxxxxx", 12, &frame), BERTH_E_INVALID);
    assert_int_equal(by_length(&wide, "xxxxxxxxxxxx", 12, &frame), BERTH_E_INVALID);
    assert_int_equal(by_length(&narrow, "xxxxxxxxxxxx", 12, &frame), BERTH_E_INVALID);
    assert_int_equal(by_length(&far, "xxxxxxxxxxxx", 12, &frame), BERTH_E_INVALID);
}

static int32_t by_delimiter(const char *delimiter, uint32_t frame_max, const char *text,
                            uint32_t *searched, struct berth_frame *frame) {
    struct berth_delimiter_framing framing = {delimiter, (uint32_t)strlen(delimiter), frame_max};
    return berth_frame_by_delimiter(&framing, (const uint8_t *)text, (uint32_t)strlen(text),
                                    searched, frame);
}

static void test_framing_delimiter_ends_a_frame(void **state) {
    struct berth_frame frame;
    uint32_t searched = 0;
    (void)state;
    assert_int_equal(by_delimiter("\r\n", 100, "ab\rc\r\nde\r\n", &searched, &frame),
                     BERTH_FRAME_WHOLE);
    expect_frame(&frame, 6, 0, 4);
    assert_int_equal(by_delimiter("\n", 100, "\n", &searched, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 1, 0, 0);
    assert_int_equal(by_delimiter("aab", 100, "aaab", &searched, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 4, 0, 1);
}

static void test_framing_delimiter_that_comes_byte_by_byte_is_searched_once(void **state) {
    static const char text[] = "hello\r\r\n";
    struct berth_frame frame;
    uint32_t searched = 0;
    (void)state;
    for (uint32_t size = 0; size < sizeof(text) - 1; size++) {
        char there[sizeof(text)] = "";
        memcpy(there, text, size);
        assert_int_equal(by_delimiter("\r\n", 100, there, &searched, &frame), BERTH_FRAME_PART);
        assert_int_equal(frame.want, size + 1);
        assert_true(searched + 1 >= size); /* all but what may be the delimiter's beginning */
    }
    assert_int_equal(by_delimiter("\r\n", 100, text, &searched, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 8, 0, 6);
    assert_int_equal(searched, 0);
}

static void test_framing_delimiter_that_does_not_come_is_a_limit(void **state) {
    struct berth_frame frame;
    uint32_t searched = 0;
    (void)state;
    assert_int_equal(by_delimiter("\r\n", 6, "abcd\r\n", &searched, &frame), BERTH_FRAME_WHOLE);
    assert_int_equal(by_delimiter("\r\n", 6, "abcde", &searched, &frame), BERTH_FRAME_PART);
    searched = 0;
    assert_int_equal(by_delimiter("\r\n", 6, "abcde\r", &searched, &frame), BERTH_E_LIMIT);
    searched = 0;
    assert_int_equal(by_delimiter("\r\n", 6, "abcde\r\n", &searched, &frame), BERTH_E_LIMIT);
    searched = 0;
    assert_int_equal(by_delimiter("\r\n", 1, "a", &searched, &frame), BERTH_E_INVALID);
    assert_int_equal(by_delimiter("", 10, "a", &searched, &frame), BERTH_E_INVALID);
}

static void test_framing_fixed_frames_are_counted_off(void **state) {
    struct berth_frame frame;
    (void)state;
    assert_int_equal(berth_frame_fixed(4, 3, &frame), BERTH_FRAME_PART);
    assert_int_equal(frame.want, 4);
    assert_int_equal(berth_frame_fixed(4, 4, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 4, 0, 4);
    assert_int_equal(berth_frame_fixed(4, 9, &frame), BERTH_FRAME_WHOLE);
    expect_frame(&frame, 4, 0, 4);
    assert_int_equal(berth_frame_fixed(0, 9, &frame), BERTH_E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing_length_of_any_width_and_order),
        cmocka_unit_test(test_framing_length_may_count_the_header_or_leave_out_a_trailer),
        cmocka_unit_test(test_framing_length_above_the_limit_is_refused_before_it_is_used),
        cmocka_unit_test(test_framing_length_that_cannot_be_described_is_invalid),
        cmocka_unit_test(test_framing_delimiter_ends_a_frame),
        cmocka_unit_test(test_framing_delimiter_that_comes_byte_by_byte_is_searched_once),
        cmocka_unit_test(test_framing_delimiter_that_does_not_come_is_a_limit),
        cmocka_unit_test(test_framing_fixed_frames_are_counted_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
