/* Schemas when memory is short; what they mean is tested by tests/manifest/test_schema.py. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/manifest.h"
#include "manifest/schema.h"
#include "unit.h"

static const char text[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"a\"],\"properties\":{"
    "\"a\":{\"type\":\"string\",\"pattern\":\"^(x|y)+$\"},\"b\":{\"enum\":[1,\"two\"]},"
    "\"c\":{\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"anyOf\":[{\"const\":1},{\"const\":"
    "2}]}}}}";
static const char good[] = "{\"a\":\"xy\",\"b\":1,\"c\":[1,2]}";
static const char bad[] = "{\"a\":\"z\",\"b\":3,\"c\":[1,1,3],\"d\":0}";

static void test_schema_every_failing_allocation_is_survived_without_a_leak(void **state) {
    (void)state;
    bool made = false;
    for (long countdown = 0; !made; countdown++) {
        struct error error = {0};
        long live = alloc_live();
        assert_true(countdown < 10000);
        alloc_fail_after(countdown, false);
        struct schema *schema = schema_create(text, &error);
        alloc_fail_after(-1, false);
        made = schema != NULL;
        assert_true(made || strstr(error.message, "out of memory"));
        schema_destroy(schema);
        assert_int_equal(alloc_live(), live);
    }
}

/* What fits is not refused in other words, and what does not is not taken. */
static void test_schema_check_without_memory_is_no_verdict(void **state) {
    const char *const values[] = {good, bad};
    char words[1024];
    (void)state;
    struct schema *schema = schema_create(text, NULL);
    assert_non_null(schema);
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        bool whole = false;
        for (long countdown = 0; !whole; countdown++) {
            long live = alloc_live();
            assert_true(countdown < 1000);
            alloc_fail_after(countdown, false);
            bool fits = schema_check_text(schema, values[i], words, sizeof(words));
            alloc_fail_after(-1, false);
            whole = fits || !strstr(words, "out of memory");
            assert_true(!fits || values[i] == good);
            assert_int_equal(alloc_live(), live);
        }
        assert_int_equal(strlen(words) == 0, values[i] == good);
    }
    schema_destroy(schema);
}

static void test_schema_of_the_manifest_is_whole_or_not_there(void **state) {
    const struct schema_part parts[] = {{"one", text}, {"two", NULL}};
    (void)state;
    bool made = false;
    for (long countdown = 0; !made; countdown++) {
        long live = alloc_live();
        assert_true(countdown < 1000000);
        alloc_fail_after(countdown, false);
        char *whole = schema_of_manifest(parts, ARRAY_COUNT(parts));
        alloc_fail_after(-1, false);
        made = whole != NULL;
        assert_true(!made || (strstr(whole, "\"one\"") && strstr(whole, "uniqueItems")));
        alloc_free(whole);
        assert_int_equal(alloc_live(), live);
        countdown += countdown / 16; /* there are thousands of them */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema_every_failing_allocation_is_survived_without_a_leak),
        cmocka_unit_test(test_schema_check_without_memory_is_no_verdict),
        cmocka_unit_test(test_schema_of_the_manifest_is_whole_or_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
