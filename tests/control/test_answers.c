/* Answers of the control channel, and what else is written as JSON, as each of their allocations
 * fails in turn: whole, or an error; and nothing is lost. */
#include "unit.h"

#include <cjson/cJSON.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/guard.h"
#include "control/requests.h"
#include "control/runtime.h"
#include "control/service.h"
#include "control/supervise.h"
#include "manifest/errors.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "manifest/ready.h"
#include "net/listen/listener.h"
#include "net_world.h"
#include "os/os.h"
#include "os/os_child.h"
#include "plugin/module.h"
#include "plugin/plugin_events.h"
#include "plugin/plugin_stats.h"

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    (void)conn;
    return data->size;
}

static const char manifest_text[] =
    "{\"manifest\": 1, \"listeners\": {\"one\": {\"address\": \"127.0.0.1:0\", \"plugin\": "
    "\"echo\"},"
    " \"two\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"other\"}}}";

static struct service service;
static struct config_snapshot config_snapshot;
static struct module module;
static char file[] = "echo.so";
static struct listener_generation generation;

static struct listener *make_listener(void) {
    static const struct berth_address address = {.family = BERTH_FAMILY_IPV4,
                                                 .bytes = {127, 0, 0, 1}};
    struct listener_options options = {.name = "one",
                                       .config_json = "{}",
                                       .plugin = &module.plugin,
                                       .hooks = &plugin_listener_hooks,
                                       .stats = module.stats,
                                       .addresses = &address,
                                       .address_count = 1,
                                       .pool_initial = 1,
                                       .pool_low = 1,
                                       .pool_high = 1,
                                       .backlog = 10,
                                       .connections_max = 10,
                                       .message_bytes = 65536,
                                       .send_queue_bytes = 65536,
                                       .linger_bytes = 1048576,
                                       .send_queue_pieces = 4096};
    struct error error;
    struct listener *listener = listener_create(net_world_server(), &options, NULL, &error);
    assert_non_null(listener);
    return listener;
}

static struct supervised supervised; /* no parent, but in the supervised part */

static int set_up(void **state) {
    struct manifest_errors errors = {0};
    (void)state;
    json_setup();
    if (net_world_start(1) != 0) {
        return -1;
    }
    config_snapshot.manifest =
        manifest_parse("m.json", manifest_text, sizeof(manifest_text) - 1, &errors);
    snprintf(module.id, sizeof(module.id), "echo");
    module.plugin = (struct berth_plugin){.name = "Echo", .version = "1.0.0", .received = received};
    module.file = file;
    module.stats = plugin_stats_create("echo", 1);
    service.runtime.server = net_world_server();
    service.runtime.supervised = &supervised;
    service.runtime.config_snapshot = &config_snapshot;
    service.runtime.modules = module.prev = &module;
    generation = (struct listener_generation){.listener = make_listener(),
                                              .module = &module,
                                              .config_snapshot = &config_snapshot,
                                              .from = &config_snapshot.manifest->listeners[0],
                                              .number = 1};
    service.runtime.serving = generation.prev = &generation;
    return config_snapshot.manifest && module.stats ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    listener_destroy(generation.listener);
    plugin_stats_close(module.stats);
    manifest_destroy(config_snapshot.manifest);
    return net_world_end();
}

/* Whether both have the same members, whatever their numbers. */
static bool is_alike(const cJSON *one, const cJSON *other) {
    const cJSON *left = one->child;
    const cJSON *right = other->child;
    bool alike = one->type == other->type;
    for (; alike && left && right; left = left->next, right = right->next) {
        bool same_name = !left->string || (right->string && !strcmp(left->string, right->string));
        alike = same_name && is_alike(left, right);
    }
    return alike && !left && !right;
}

/* An answer that is not the whole one says that it is an error, and why. */
static void check_answer(const cJSON *whole, char *text) {
    assert_non_null(text);
    cJSON *answer = cJSON_Parse(text);
    assert_non_null(answer);
    if (cJSON_IsTrue(cJSON_GetObjectItem(answer, "ok"))) {
        assert_true(is_alike(whole, answer));
    } else {
        const cJSON *errors = cJSON_GetObjectItem(answer, "errors");
        assert_true(cJSON_GetArraySize(errors) > 0);
        if (!strstr(cJSON_GetArrayItem(errors, 0)->valuestring, "out of memory")) {
            fail_msg("%s", text);
        }
    }
    cJSON_Delete(answer);
    cJSON_free(text);
}

/* Those that the channel's own threads give: whole, or none. */
static void fail_each_at(char *(*ask)(const char *request), const char *request, long least) {
    long before = alloc_total();
    char *text = ask(request);
    long allocations = alloc_total() - before;
    assert_non_null(text);
    cJSON *whole = cJSON_Parse(text);
    assert_non_null(whole);
    cJSON_free(text);
    assert_in_range(allocations, least, 10000);
    long live = alloc_live();
    for (long i = 0; i < allocations; i++) {
        alloc_fail_after(i, false);
        char *answer = ask(request);
        alloc_fail_after(-1, false);
        if (answer) {
            cJSON *parsed = cJSON_Parse(answer);
            assert_non_null(parsed);
            assert_true(is_alike(whole, parsed));
            cJSON_Delete(parsed);
            cJSON_free(answer);
        }
        assert_int_equal(alloc_live(), live);
    }
    cJSON_Delete(whole);
}

static char *ask_at_once(const char *request) {
    return requests_answer_at_once(&service, request, strlen(request));
}

static char *ask_busy(const char *request) {
    return requests_answer_busy(&service, request, strlen(request), 60000);
}

static void test_answer_of_the_channel_itself_is_whole_or_none(void **state) {
    (void)state;
    fail_each_at(ask_at_once, IDENTITY_REQUEST, 5);
}

static void test_answer_of_a_busy_host_is_whole_or_none(void **state) {
    static const char *const verbs[] = {"status", "stop", "listeners"};
    (void)state;
    guard_configure(&service.runtime.guard, 0, 0);
    os_sleep_ms(2); /* it has been busy from then on */
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        char request[128];
        snprintf(request, sizeof(request), "{\"berth\":1,\"verb\":\"%s\"}", verbs[i]);
        fail_each_at(ask_busy, request, 8);
    }
}

static void fail_each(const char *verb) {
    char request[128];
    int size = snprintf(request, sizeof(request), "{\"berth\":1,\"verb\":\"%s\"}", verb);
    long before = alloc_total();
    char *text = requests_answer(&service, request, (size_t)size);
    long allocations = alloc_total() - before;
    cJSON *whole = cJSON_Parse(text);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(whole, "ok")));
    cJSON_free(text);
    assert_in_range(allocations, 10, 10000);
    long live = alloc_live();
    for (long i = 0; i < allocations; i++) {
        alloc_fail_after(i, false);
        char *answer = requests_answer(&service, request, (size_t)size);
        alloc_fail_after(-1, false);
        check_answer(whole, answer);
        assert_int_equal(alloc_live(), live);
    }
    cJSON_Delete(whole);
}

static void test_answer_to_status_is_whole_or_an_error(void **state) {
    (void)state;
    fail_each("status");
}

static void test_answer_to_listeners_is_whole_or_an_error(void **state) {
    (void)state;
    fail_each("listeners");
}

static void test_answer_to_plugins_is_whole_or_an_error(void **state) {
    (void)state;
    fail_each("plugins");
}

static void test_answer_without_any_memory_is_none_and_leaks_nothing(void **state) {
    static const char request[] = "{\"berth\":1,\"verb\":\"status\"}";
    long live = alloc_live();
    (void)state;
    alloc_fail_after(0, true);
    char *answer = requests_answer(&service, request, sizeof(request) - 1);
    alloc_fail_after(-1, false);
    assert_null(answer);
    assert_int_equal(alloc_live(), live);
}

static void test_ready_file_is_whole_or_none(void **state) {
    char one[] = "127.0.0.1:1", two[] = "127.0.0.1:2";
    char *addresses[] = {one, two};
    struct ready_listener listener = {.name = "one",
                                      .plugin = "echo",
                                      .version = "1",
                                      .accept = "data",
                                      .addresses = addresses,
                                      .address_count = 2};
    struct ready ready = {.pid = 1,
                          .name = "berth",
                          .version = "1",
                          .engine = "epoll",
                          .socket_reuse = "off",
                          .listeners = &listener,
                          .listener_count = 1};
    (void)state;
    long before = alloc_total();
    char *whole = ready_format(&ready);
    long allocations = alloc_total() - before;
    long live = alloc_live();
    for (long i = 0; i < allocations; i++) {
        alloc_fail_after(i, false);
        char *text = ready_format(&ready);
        alloc_fail_after(-1, false);
        assert_true(!text || strcmp(text, whole) == 0);
        alloc_free(text);
        assert_int_equal(alloc_live(), live);
    }
    alloc_free(whole);
}

/* What is kept of a listener's part of the manifest, and of its "config", is JSON as well. */
static void test_manifest_is_whole_or_refused(void **state) {
    (void)state;
    long before = alloc_total();
    struct manifest_errors errors = {0};
    struct manifest *whole =
        manifest_parse("m.json", manifest_text, sizeof(manifest_text) - 1, &errors);
    long allocations = alloc_total() - before;
    assert_non_null(whole);
    long live = alloc_live();
    for (long i = 0; i < allocations; i++) {
        struct manifest_errors why = {0};
        alloc_fail_after(i, false);
        struct manifest *one =
            manifest_parse("m.json", manifest_text, sizeof(manifest_text) - 1, &why);
        alloc_fail_after(-1, false);
        if (one) {
            assert_int_equal(one->listener_count, whole->listener_count);
            for (size_t n = 0; n < one->listener_count; n++) {
                assert_string_equal(one->listeners[n].json, whole->listeners[n].json);
                assert_string_equal(one->listeners[n].config_json, whole->listeners[n].config_json);
            }
        }
        manifest_destroy(one);
        manifest_errors_fini(&why);
        assert_int_equal(alloc_live(), live);
    }
    manifest_destroy(whole);
}

/* -- under a supervisor, which is this program in its other part
 * -------------------------------------
 */

enum { QUARANTINES = 3, WAIT_MS = 100, WAITS_MAX = 600 };

static void test_answer_of_a_supervised_host_is_whole_or_an_error(void **state) {
    static const char request[] = "{\"berth\":1,\"verb\":\"status\"}";
    (void)state;
    char *text = requests_answer(&service, request, sizeof(request) - 1);
    cJSON *answer = cJSON_Parse(text);
    const cJSON *result = cJSON_GetObjectItem(answer, "result");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(result, "supervised")));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(result, "quarantine")), QUARANTINES);
    cJSON_Delete(answer);
    cJSON_free(text);
    fail_each("status");
}

static void brief(struct os_link *link) {
    for (unsigned i = 0; i <= QUARANTINES; i++) {
        struct supervise_message message = {.kind = i < QUARANTINES ? SUPERVISE_QUARANTINE
                                                                    : SUPERVISE_GO};
        snprintf(message.name, sizeof(message.name), "plugin%u", i);
        snprintf(message.text, sizeof(message.text), "it has crashed");
        assert_true(os_link_send(link, &message, sizeof(message), OS_NO_SOCKET));
    }
}

static void test_supervised_part_passes(void **state) {
    static const char *const arguments[] = {"--supervised", NULL};
    struct error error;
    (void)state;
    assert_true(os_signals_start(&error));
    assert_true(os_child_init(&error));
    struct os_child *child = os_child_start(arguments, 0, &error);
    if (!child) {
        fail_msg("%s", error.message);
    }
    brief(os_child_link(child));
    enum os_child_event event = OS_CHILD_NOTHING;
    for (int waits = 0; event != OS_CHILD_ENDED; waits++) {
        assert_true(waits < WAITS_MAX);
        event = os_child_wait(child, WAIT_MS);
        if (event == OS_CHILD_SAYS) { /* nothing that is of interest here */
            struct supervise_message message;
            intptr_t socket = OS_NO_SOCKET;
            os_link_receive(os_child_link(child), &message, sizeof(message), &socket, WAIT_MS);
            os_child_socket_close(socket);
        }
    }
    struct os_child_end end = os_child_end(child);
    assert_false(end.crashed);
    assert_int_equal(end.code, 0);
    os_child_destroy(child);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const char *supervisor; /* the link to it */

static int set_up_supervised(void **state) {
    struct error error;
    if (!supervisor_client_begin(&supervised, supervisor, &error)) {
        fputs(error.message, stderr);
        return -1;
    }
    return set_up(state);
}

static int tear_down_supervised(void **state) {
    supervisor_client_end(&supervised);
    return tear_down(state);
}

static int run_supervised(const char *link) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answer_of_a_supervised_host_is_whole_or_an_error,
                                        set_up_supervised, tear_down_supervised),
    };
    supervisor = link;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int count, char **arguments) {
    if (count == 3 && strcmp(arguments[1], "--supervised") == 0) {
        return run_supervised(arguments[2]);
    }
    const struct CMUnitTest tests[] = {
        TEST(test_answer_to_status_is_whole_or_an_error),
        TEST(test_answer_to_listeners_is_whole_or_an_error),
        TEST(test_answer_to_plugins_is_whole_or_an_error),
        TEST(test_answer_of_the_channel_itself_is_whole_or_none),
        TEST(test_answer_of_a_busy_host_is_whole_or_none),
        cmocka_unit_test(test_supervised_part_passes),
        TEST(test_answer_without_any_memory_is_none_and_leaks_nothing),
        TEST(test_ready_file_is_whole_or_none),
        TEST(test_manifest_is_whole_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
