/* Lines of the log: whole in both formats, whatever a message contains. */
#include "unit.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static char last[LOG_LINE_MAX + 1];
static size_t last_size;
static unsigned written;
static bool admits;
static enum log_kind asked;

static void sink_write(enum log_level level, const char *line, size_t size) {
    (void)level;
    assert_true(size <= LOG_LINE_MAX);
    memcpy(last, line, size);
    last[size] = '\0';
    last_size = size;
    written++;
}

static bool sink_admit(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                       const char *text, size_t size) {
    (void)level;
    (void)subject;
    (void)text;
    (void)size;
    asked = kind;
    return admits;
}

static void sink_flush(unsigned timeout_ms) {
    (void)timeout_ms;
}

static const struct log_sink sink = {sink_write, sink_admit, sink_flush};

static int set_up(void **state) {
    (void)state;
    log_set_sink(&sink);
    written = 0;
    admits = true;
    asked = LOG_KIND_NONE;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    log_set_sink(NULL);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    return 0;
}

static const char *after_time(void) {
    assert_int_equal(last[last_size - 1], '\n');
    return strchr(last, ' ') + 1;
}

static cJSON *parsed(void) {
    const char *end = NULL;
    cJSON *object = cJSON_ParseWithOpts(last, &end, false);
    assert_non_null(object);
    assert_string_equal(end, "\n");
    return object;
}

static const char *member(const cJSON *object, const char *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static double number(const cJSON *object, const char *key) {
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static const struct log_place place = {"/etc/b.json", "/host", 3, 7};
static const struct log_subject everything = {
    .plugin = "p",
    .listener = "l",
    .peer = "127.0.0.1:4000",
    .connection = 17,
    .reason = "deny",
    .place = &place,
};

static void test_log_text_line_names_its_subject(void **state) {
    (void)state;
    log_info(NULL, "%s", "hello");
    assert_string_equal(after_time(), "info hello\n");
    log_warn(&everything, "%d", 5);
    assert_string_equal(after_time(), "warn listener=l plugin=p 127.0.0.1:4000: "
                                      "/etc/b.json:3:7: /host: 5\n");
}

static void test_log_json_line_has_its_subject_as_members(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_error(&everything, "a \"word\"\n\\ \x1b[2J caf\xe9");
    cJSON *object = parsed();
    assert_string_equal(member(object, "level"), "error");
    assert_string_equal(member(object, "plugin"), "p");
    assert_string_equal(member(object, "listener"), "l");
    assert_string_equal(member(object, "peer"), "127.0.0.1:4000");
    assert_int_equal(number(object, "connection"), 17);
    assert_string_equal(member(object, "reason"), "deny");
    assert_string_equal(member(object, "file"), "/etc/b.json");
    assert_int_equal(number(object, "line"), 3);
    assert_int_equal(number(object, "column"), 7);
    assert_string_equal(member(object, "pointer"), "/host");
    assert_string_equal(member(object, "message"), "a \"word\"\n\\ \x1b[2J caf\xef\xbf\xbd");
    cJSON_Delete(object);
    assert_null(strchr(last, '\x1b'));
}

static void test_log_members_without_a_value_are_left_out(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info(NULL, "x");
    cJSON *object = parsed();
    assert_int_equal(cJSON_GetArraySize(object), 3); /* time, level, message */
    cJSON_Delete(object);
}

/* What is left of `text`, a pattern that is repeated, must be whole patterns at its front. */
static void check_cut(const char *pattern, size_t size) {
    char *text = malloc(size);
    size_t length = strlen(pattern);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++) {
        text[i] = pattern[i % length];
    }
    log_text(LOG_KIND_PLUGIN, LOG_LEVEL_INFO, &everything, text, size);
    cJSON *object = parsed();
    const char *message = member(object, "message");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, "cut")));
    assert_int_equal(strlen(message) % length, 0);
    assert_memory_equal(message, text, strlen(message));
    assert_int_equal(strlen(message) + (size_t)number(object, "left_out"), size);
    assert_true(strlen(message) >= 300);
    cJSON_Delete(object);
    free(text);
}

static void test_log_json_message_too_long_is_cut_between_characters(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    check_cut("\n", 3000);
    check_cut("\"", 100000);
    check_cut("\\", 5000);
    check_cut("\xc3\xa9", 10000);
    check_cut("\xf0\x9f\x98\x80", 100000);
    check_cut("\xc2\x9b", 5000);
}

static void test_log_text_message_too_long_says_what_is_left_out(void **state) {
    char text[6000];
    (void)state;
    memset(text, 'x', sizeof(text));
    log_text(LOG_KIND_NONE, LOG_LEVEL_INFO, NULL, text, sizeof(text));
    assert_true(last_size <= LOG_LINE_MAX);
    assert_non_null(strstr(last, "bytes left out)\n"));
}

/* What printf() makes is cut, too, before it comes to the line. */
static void test_log_formatted_message_too_long_is_counted_whole(void **state) {
    static char text[100001];
    (void)state;
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    for (size_t i = 0; i + 1 < sizeof(text); i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    log_info(NULL, "a%s", text);
    cJSON *object = parsed();
    const char *message = member(object, "message");
    assert_null(strstr(message, "\xef\xbf\xbd"));
    assert_int_equal(strlen(message) + (size_t)number(object, "left_out"), sizeof(text));
    cJSON_Delete(object);
}

static void test_log_long_fields_leave_room_for_the_message(void **state) {
    static char path[5000];
    struct log_place far = {.file = path, .pointer = path, .line = 1, .column = 2};
    struct log_subject subject = {.place = &far};
    (void)state;
    memset(path, '\n', sizeof(path) - 1);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_info(&subject, "the message");
    cJSON *object = parsed();
    assert_string_equal(member(object, "message"), "the message");
    cJSON_Delete(object);
}

static void test_log_text_with_a_nul_goes_on_after_it(void **state) {
    (void)state;
    log_text(LOG_KIND_NONE, LOG_LEVEL_INFO, NULL, "a\0b", 3);
    assert_string_equal(after_time(), "info a\\u0000b\n");
}

static void test_log_only_limited_lines_ask_for_admission(void **state) {
    (void)state;
    admits = false;
    log_info(NULL, "always");
    assert_int_equal(written, 1);
    assert_int_equal(asked, LOG_KIND_NONE);
    log_limited(LOG_KIND_REFUSED, LOG_LEVEL_INFO, NULL, "often");
    assert_int_equal(written, 1);
    assert_int_equal(asked, LOG_KIND_REFUSED);
    admits = true;
    log_limited(LOG_KIND_REFUSED, LOG_LEVEL_INFO, NULL, "often");
    assert_int_equal(written, 2);
}

static void test_log_below_the_level_is_not_written(void **state) {
    (void)state;
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    log_info(NULL, "no");
    log_limited(LOG_KIND_CUT, LOG_LEVEL_INFO, NULL, "no");
    log_text(LOG_KIND_NONE, LOG_LEVEL_DEBUG, NULL, "no", 2);
    assert_int_equal(written, 0);
    log_warn(NULL, "yes");
    assert_int_equal(written, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_text_line_names_its_subject),
        cmocka_unit_test(test_log_json_line_has_its_subject_as_members),
        cmocka_unit_test(test_log_members_without_a_value_are_left_out),
        cmocka_unit_test(test_log_json_message_too_long_is_cut_between_characters),
        cmocka_unit_test(test_log_text_message_too_long_says_what_is_left_out),
        cmocka_unit_test(test_log_formatted_message_too_long_is_counted_whole),
        cmocka_unit_test(test_log_long_fields_leave_room_for_the_message),
        cmocka_unit_test(test_log_text_with_a_nul_goes_on_after_it),
        cmocka_unit_test(test_log_only_limited_lines_ask_for_admission),
        cmocka_unit_test(test_log_below_the_level_is_not_written),
    };
    struct CMUnitTest each[ARRAY_COUNT(tests)];
    for (size_t i = 0; i < ARRAY_COUNT(tests); i++) {
        each[i] = tests[i];
        each[i].setup_func = set_up;
        each[i].teardown_func = tear_down;
    }
    return cmocka_run_group_tests_name("log", each, NULL, NULL);
}
