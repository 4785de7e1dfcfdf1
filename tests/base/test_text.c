/* Text of any origin, made safe for logs and terminals. */
#include "unit.h"

#include "base/text.h"

static const char *safe(const char *text) {
    static char out[256];
    return text_safe(out, sizeof(out), text);
}

static void test_text_ordinary_characters_stay(void **state) {
    (void)state;
    assert_string_equal(safe("plain \"text\" \\ ~"), "plain \"text\" \\ ~");
    assert_string_equal(safe("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
                        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    assert_string_equal(safe(""), "");
}

static void test_text_control_characters_are_escaped(void **state) {
    (void)state;
    assert_string_equal(safe("a\nb\tc\x1b[2J\x7f"), "a\\u000ab\\u0009c\\u001b[2J\\u007f");
    assert_string_equal(safe("\xc2\x80|\xc2\x9b|\xc2\x9f|\xc2\xa0"),
                        "\\u0080|\\u009b|\\u009f|\xc2\xa0");
}

static void test_text_separators_and_directions_are_escaped(void **state) {
    (void)state;
    assert_string_equal(safe("\xe2\x80\xa8\xe2\x80\xa9"), "\\u2028\\u2029");
    assert_string_equal(safe("\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9"),
                        "\\u202a\\u202e\\u2066\\u2069");
    assert_string_equal(safe("\xe2\x80\x8e\xe2\x80\x8f\xd8\x9c"), "\\u200e\\u200f\\u061c");
    assert_string_equal(safe("\xe2\x80\xa7"), "\xe2\x80\xa7"); /* U+2027, beside them */
}

/* As the Unicode Standard advises: one U+FFFD for each maximal ill-formed part. */
static void test_text_ill_formed_sequences_are_replaced(void **state) {
    static const struct {
        const char *text;
        const char *safe;
    } all[] = {
        {"caf\xe9", "caf\xef\xbf\xbd"},
        {"\x9b[2J", "\xef\xbf\xbd[2J"}, /* C1 as a byte alone */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82z", "\xef\xbf\xbdz"},
        {"\xf0\x9f\x98", "\xef\xbf\xbd"},
        {"\xff\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        assert_string_equal(safe(all[i].text), all[i].safe);
    }
}

static void test_text_is_cut_after_a_whole_piece(void **state) {
    char out[8];
    (void)state;
    assert_string_equal(text_safe(out, sizeof(out), "ab\x1b[2J"), "ab");
    assert_string_equal(text_safe(out, sizeof(out), "a\x1b[2J"), "a\\u001b");
    assert_string_equal(text_safe(out, 5, "a\xe2\x82\xac"), "a\xe2\x82\xac");
    assert_string_equal(text_safe(out, 4, "a\xe2\x82\xac"), "a");
}

static void test_text_whole_leaves_out_what_was_cut(void **state) {
    (void)state;
    assert_int_equal(text_whole("abc", 3), 3);
    assert_int_equal(text_whole("ab\xc3\xa9", 4), 4);
    assert_int_equal(text_whole("ab\xc3\xa9", 3), 2);
    assert_int_equal(text_whole("\xf0\x9f\x98\x80", 3), 0);
    assert_int_equal(text_whole("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(text_whole("a\xff", 2), 2); /* wrong, but not cut */
    assert_int_equal(text_whole("\x80\x80\x80\x80", 4), 4);
    assert_int_equal(text_whole("", 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_ordinary_characters_stay),
        cmocka_unit_test(test_text_control_characters_are_escaped),
        cmocka_unit_test(test_text_separators_and_directions_are_escaped),
        cmocka_unit_test(test_text_ill_formed_sequences_are_replaced),
        cmocka_unit_test(test_text_is_cut_after_a_whole_piece),
        cmocka_unit_test(test_text_whole_leaves_out_what_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
