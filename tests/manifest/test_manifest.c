/* The manifest in memory: defaults, every value of a full example, and memory that fails at every
 * point. What the language allows is tested by the corpus (tests/manifest/test_manifest_corpus.py).
 */
#include "unit.h"

#include "base/alloc.h"
#include "manifest/manifest.h"

static const char least[] = "{\"manifest\": 1, \"listeners\": {\"a\": {\"address\": \"[::1]:7\","
                            " \"plugin\": \"echo\"}}}";

/* The example of the design, as it stands there. */
static const char full[] =
    "{\n"
    "  \"$schema\": \"berth.schema.json\",\n"
    "  \"manifest\": 1,\n"
    "  \"host\": { \"name\": \"berth\", \"workers\": \"auto\", \"plugins\": \"plugins\", "
    "\"drain_timeout_ms\": 10000,\n"
    "            \"limits\": { \"connections\": 50000 }, \"buffers\": { \"bytes\": 4096, "
    "\"retained_max\": 1024 },\n"
    "            \"log\": { \"level\": \"info\", \"format\": \"text\" } },\n"
    "  \"listeners\": {\n"
    "    \"echo-on-data\": {\n"
    "      \"address\": \"127.0.0.1:5001\",\n"
    "      \"plugin\": \"echo\",\n"
    "      \"accept\": { \"when\": \"data\", \"pool\": { \"initial\": 16, \"low\": 16, \"high\": "
    "128 }, "
    "\"backlog\": 200,\n"
    "                  \"first_data_timeout_ms\": 5000, \"reuse_sockets\": true },\n"
    "      \"limits\": { \"connections\": 10000, \"per_client\": 200 },\n"
    "      \"receive\": \"zero-byte\",\n"
    "      \"allow\": [\"10.0.0.0/8\", \"::1\"], \"deny\": [\"10.1.0.0/16\"],\n"
    "      \"config\": { \"deep\": [1, \"two\"] }\n"
    "    }\n"
    "  }\n"
    "}\n";

static struct manifest *parse(const char *text, struct manifest_errors *errors) {
    return manifest_parse("m.json", text, strlen(text), errors);
}

static void test_manifest_least_gets_every_default(void **state) {
    struct manifest_errors errors;
    struct manifest *manifest = parse(least, &errors);
    (void)state;
    assert_non_null(manifest);
    assert_int_equal(errors.count, 0);
    assert_string_equal(manifest->host.name, "berth");
    assert_string_equal(manifest->host.plugins, "plugins");
    assert_int_equal(manifest->host.workers, 0);
    assert_int_equal(manifest->host.drain_timeout_ms, 10000);
    assert_int_equal(manifest->host.limits.connections, 50000);
    assert_int_equal(manifest->host.limits.posts, 65536);
    assert_int_equal(manifest->host.limits.descriptors_reserved, 32);
    assert_int_equal(manifest->host.direct_descriptors, 0);
    assert_int_equal(manifest->host.buffers.bytes, 16384);
    assert_int_equal(manifest->host.buffers.retained_max, 1024);
    assert_int_equal(manifest->host.turn.receive_bytes, 65536);
    assert_int_equal(manifest->host.turn.send_bytes, 262144);
    assert_int_equal(manifest->host.log.level, LOG_LEVEL_INFO);
    assert_int_equal(manifest->host.log.format, LOG_FORMAT_TEXT);
    assert_int_equal(manifest->listener_count, 1);
    const struct manifest_listener *one = &manifest->listeners[0];
    assert_string_equal(one->name, "a");
    assert_string_equal(one->plugin, "echo");
    assert_int_equal(one->address_count, 1);
    assert_int_equal(one->addresses[0].port, 7);
    assert_false(one->v6_only);
    assert_int_equal(one->accept.when, MANIFEST_ACCEPT_CONNECT);
    assert_int_equal(one->accept.pool.initial, 16);
    assert_int_equal(one->accept.pool.low, 16);
    assert_int_equal(one->accept.pool.high, 128);
    assert_int_equal(one->accept.backlog, 0);
    assert_int_equal(one->accept.first_data_timeout_ms, 5000);
    assert_int_equal(one->accept.pending_max, 4096);
    assert_int_equal(one->accept.at_limit, MANIFEST_LIMIT_BACKLOG);
    assert_true(one->accept.reuse_sockets);
    assert_int_equal(one->limits.connections, 10000);
    assert_int_equal(one->limits.per_client, 0);
    assert_int_equal(one->limits.accept_rate_per_client.per_second, 0);
    assert_int_equal(one->limits.clients_remembered, 65536);
    assert_int_equal(one->limits.refusing, 256);
    assert_int_equal(one->allow_count, 0);
    assert_int_equal(one->deny_count, 0);
    assert_int_equal(one->limits.message_bytes, 65536);
    assert_int_equal(one->limits.send_queue_bytes, 1048576);
    assert_int_equal(one->limits.linger_bytes, 16777216);
    assert_int_equal(one->close_timeout_ms, 5000);
    assert_true(one->no_delay);
    assert_int_equal(one->receive, MANIFEST_RECEIVE_ZERO_BYTE);
    assert_string_equal(one->config_json, "{}");
    manifest_destroy(manifest);
}

static void test_manifest_example_of_the_design_is_read(void **state) {
    struct manifest_errors errors;
    struct manifest *manifest = parse(full, &errors);
    (void)state;
    assert_non_null(manifest);
    const struct manifest_listener *one = &manifest->listeners[0];
    assert_int_equal(manifest->host.buffers.bytes, 4096);
    assert_int_equal(one->accept.when, MANIFEST_ACCEPT_DATA);
    assert_int_equal(one->limits.per_client, 200);
    assert_int_equal(one->line, 8);
    assert_string_equal(one->config_json, "{\"deep\":[1,\"two\"]}");
    manifest_destroy(manifest);
}

static void test_manifest_rates_networks_and_what_follows_the_pool_are_read(void **state) {
    static const char text[] =
        "{\"manifest\":1,\"listeners\":{"
        "\"a\":{\"address\":\"127.0.0.1:1\",\"plugin\":\"echo\",\"accept\":{\"pool\":{\"high\":"
        "1000}},"
        "\"limits\":{\"accept_rate_per_client\":7},\"allow\":[\"10.0.0.0/8\",\"::1\"]},"
        "\"b\":{\"address\":\"127.0.0.1:2\",\"plugin\":\"echo\",\"accept\":{\"at_limit\":"
        "\"refuse\"},"
        "\"limits\":{\"accept_rate_per_client\":{\"burst\":9,\"per_second\":3}},"
        "\"deny\":[\"2001:db8::/32\"]}}}";
    struct manifest_errors errors;
    struct manifest *manifest = parse(text, &errors);
    (void)state;
    assert_non_null(manifest);
    const struct manifest_listener *a = &manifest->listeners[0];
    const struct manifest_listener *b = &manifest->listeners[1];
    assert_int_equal(a->accept.pending_max, 8000);
    assert_int_equal(a->limits.accept_rate_per_client.per_second, 7);
    assert_int_equal(a->limits.accept_rate_per_client.burst, 7);
    assert_int_equal(a->allow_count, 2);
    assert_int_equal(a->allow[0].bits, 8);
    assert_int_equal(a->allow[1].bits, 128);
    assert_int_equal(b->accept.at_limit, MANIFEST_LIMIT_REFUSE);
    assert_int_equal(b->limits.accept_rate_per_client.per_second, 3);
    assert_int_equal(b->limits.accept_rate_per_client.burst, 9);
    assert_int_equal(b->deny_count, 1);
    manifest_destroy(manifest);
}

static void test_manifest_without_a_file_says_so(void **state) {
    struct manifest_errors errors;
    char text[256];
    (void)state;
    assert_null(manifest_load("no/such/file.json", &errors));
    assert_int_equal(errors.count, 1);
    manifest_error_format(&errors.items[0], "no/such/file.json", text, sizeof(text));
    assert_non_null(strstr(text, "no/such/file.json:1:1: /: the file cannot be read: "));
    manifest_errors_fini(&errors);
}

static void test_manifest_nearest_word_is_near(void **state) {
    static const char *const words[] = {"accept", "address", "plugin", "limits"};
    (void)state;
    assert_string_equal(manifest_suggest("acept", words, 4), "accept");
    assert_string_equal(manifest_suggest("adress", words, 4), "address");
    assert_string_equal(manifest_suggest("pulgin", words, 4), "plugin"); /* swapped neighbours */
    assert_string_equal(manifest_suggest("Plugin", words, 4), "plugin");
    assert_null(manifest_suggest("backlog", words, 4));
    assert_null(manifest_suggest("x", words, 4));
}

/* With every single allocation failing, and with all from some point on. */
static void test_manifest_every_failing_allocation_is_survived_without_a_leak(void **state) {
    (void)state;
    for (int all = 0; all < 2; all++) {
        bool read = false;
        for (long countdown = 0; !read; countdown++) {
            struct manifest_errors errors;
            long live = alloc_live();
            assert_true(countdown < 10000);
            alloc_fail_after(countdown, all != 0);
            struct manifest *manifest = parse(full, &errors);
            alloc_fail_after(-1, false);
            read = manifest != NULL;
            if (!read && errors.count > 0) {
                assert_string_equal(errors.items[0].message, "out of memory");
            }
            manifest_destroy(manifest);
            manifest_errors_fini(&errors);
            assert_int_equal(alloc_live(), live);
        }
    }
}

/* What is wrong with it stays wrong when there is no memory to say so. */
static void test_manifest_with_an_error_is_refused_whatever_allocation_fails(void **state) {
    static const char twice[] =
        "{\"manifest\":1,\"listeners\":{\"a\":{\"address\":\"127.0.0.1:1\",\"plugin\":\"echo\"}},"
        "\"listeners\":{\"b\":{\"address\":\"127.0.0.1:2\",\"plugin\":\"echo\"}}}";
    (void)state;
    long live = alloc_live();
    for (long countdown = 0; countdown < 1000; countdown++) {
        struct manifest_errors errors;
        alloc_fail_after(countdown, false);
        assert_null(parse(twice, &errors));
        alloc_fail_after(-1, false);
        manifest_errors_fini(&errors);
        assert_int_equal(alloc_live(), live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest_least_gets_every_default),
        cmocka_unit_test(test_manifest_example_of_the_design_is_read),
        cmocka_unit_test(test_manifest_rates_networks_and_what_follows_the_pool_are_read),
        cmocka_unit_test(test_manifest_without_a_file_says_so),
        cmocka_unit_test(test_manifest_nearest_word_is_near),
        cmocka_unit_test(test_manifest_every_failing_allocation_is_survived_without_a_leak),
        cmocka_unit_test(test_manifest_with_an_error_is_refused_whatever_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
