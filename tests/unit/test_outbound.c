/* Outbound connections against an engine made of nothing: which address is tried when, who wins,
 * and what becomes of the others. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fake_engine.h"
#include "net/buffer.h"
#include "net/connection.h"
#include "net/listener.h"
#include "net/outbound.h"
#include "net/plugin_events.h"
#include "net/server.h"
#include "net/worker.h"

static char diary[1024];
static struct server *server;
static struct listener *listener;
static struct connection *made; /* the outbound connection of the test */
static const struct berth_address any_address = {.family = BERTH_FAMILY_IPV4};

static void note(const char *text, int32_t number) {
    size_t length = strlen(diary);
    snprintf(diary + length, sizeof(diary) - length, "%s:%d ", text, (int)number);
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    (void)conn;
    note("received", (int32_t)data->size);
    return data->size;
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    note((conn->flags & BERTH_CONN_OUTBOUND) != 0 ? "outbound closed" : "closed", (int32_t)reason);
}

static const struct berth_plugin caller = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "caller",
    .name = "Caller",
    .version = "1",
    .received = on_received,
    .closed = on_closed,
};

static void BERTH_CALL on_connected(struct berth_conn *conn, int32_t status, void *argument) {
    assert_ptr_equal(argument, diary);
    assert_int_equal(conn != NULL, status == BERTH_OK);
    made = conn ? connection_of(conn) : NULL;
    note("connected", status);
}

static void on_idle(void) {}

static int set_up(void **state) {
    struct server_options options = {.workers = 1,
                                     .buffer_bytes = 4096,
                                     .buffers_retained_max = 64,
                                     .turn_receive_bytes = 65536,
                                     .turn_send_bytes = 262144,
                                     .connections_max = 100,
                                     .posts_max = 2,
                                     .work = {.threads_max = 1, .queue_max = 4, .idle_ms = 1000},
                                     .hooks = &plugin_server_hooks,
                                     .idle = on_idle};
    struct listener_options one = {.name = "calls",
                                   .config_json = "{}",
                                   .plugin = &caller,
                                   .hooks = &plugin_listener_hooks,
                                   .addresses = &any_address,
                                   .address_count = 1,
                                   .connections_max = 50,
                                   .outbound_max = 10,
                                   .message_bytes = 1000,
                                   .send_queue_bytes = 8192,
                                   .linger_bytes = 1048576,
                                   .send_queue_pieces = 64,
                                   .close_timeout_ms = 60000};
    struct error error;
    (void)state;
    fake_reset();
    *fake_connects() = (struct fake_connects){0};
    diary[0] = '\0';
    made = NULL;
    server = server_create(&options, &error);
    listener = server ? listener_create(server, &one, NULL, &error) : NULL;
    return listener ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    if (atomic_load(&listener->references) > 0 || atomic_load(&listener->outbound) > 0) {
        return -1;
    }
    listener_destroy(listener);
    server_destroy(server);
    return alloc_live() == 0 ? 0 : -1;
}

static void on_worker(void (*steps)(struct worker *worker, void *argument)) {
    worker_call(&server->workers[0], steps, NULL);
}

static void count_attempts(struct worker *worker, void *argument) {
    (void)worker;
    *(unsigned *)argument = fake_connects()->count;
}

/* Waits, on the control thread, until so many attempts have begun. */
static void wait_for_attempts(unsigned count) {
    uint64_t patience_ms = os_now_ms() + 60000;
    for (unsigned begun = 0; begun < count;) {
        assert_true(os_now_ms() < patience_ms);
        worker_call(&server->workers[0], count_attempts, &begun);
    }
}

static void adopt(struct worker *worker) {
    struct engine_accept accept = {.socket = {0}, .remote = any_address};
    listener_refer(listener);
    atomic_fetch_add(&worker->load, 1);
    connection_adopt(worker, listener, &accept, 0, false);
}

static struct connection *first_of(const struct worker *worker) {
    uint32_t slot = 0;
    return worker_next(worker, &slot);
}

static void call(struct worker *worker, const char *host, const char *first) {
    struct berth_connect_request request = {
        .struct_size = sizeof(request), .timeout_ms = 50000, .host = host, .port = 7};
    adopt(worker);
    if (first) {
        struct berth_buffer *buffer = buffer_take(worker->buffers);
        uint32_t size = (uint32_t)strlen(first);
        memcpy(buffer->bytes, first, size);
        buffer_pass(buffer);
        request.first_data = (struct berth_slice){buffer_given(buffer), buffer->bytes, size, 0};
    }
    assert_int_equal(outbound_connect(first_of(worker), &request, on_connected, diary), BERTH_OK);
}

static void resolves_to(const uint16_t *families, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        fake_connects()->resolved[i] =
            (struct berth_address){.family = families[i], .bytes = {(uint8_t)(i + 1)}};
    }
    fake_connects()->resolved_count = count;
}

static void steps_call_a_name(struct worker *worker, void *argument) {
    (void)argument;
    call(worker, "some.host", "first");
}

static void steps_call_an_address(struct worker *worker, void *argument) {
    (void)argument;
    call(worker, "192.0.2.1", "first");
}

static int64_t cancelled_result = ENGINE_E_CANCELLED; /* of attempts */

static void steps_all_end(struct worker *worker, void *argument) {
    (void)argument;
    fake_run_stopped();
    while (first_of(worker)) {
        connection_end(first_of(worker), BERTH_CLOSED_RESET, true);
        worker_settle(worker);
        fake_run_stopped();
    }
    for (unsigned i = 0; i < fake_connects()->count; i++) {
        if (fake_connects()->runs[i]) {
            fake_connected(i, 40, cancelled_result);
        }
    }
}

/* -- the tests -----------------------------------------------------------------------------------
 */

static void steps_partly_sent(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(fake_connects()->begun[0]->first_data.size, 5);
    fake_connected(0, 1, 2); /* the connect took "fi" along */
    assert_string_equal(diary, "connected:0 ");
    assert_int_equal(made->public.flags, BERTH_CONN_OUTBOUND);
    assert_int_equal(fake_socket(1)->sent_size, 3);
    assert_memory_equal(fake_socket(1)->sent, "rst", 3);
    assert_int_equal(made->bytes_sent, 5);
}

static void steps_to_itself(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_connects()->to_itself = true;
    fake_connected(0, 1, 0);
    fake_connects()->to_itself = false;
    assert_null(made);
    assert_false(fake_socket(1)->open);
}

static void test_outbound_connection_to_itself_is_refused(void **state) {
    (void)state;
    on_worker(steps_call_an_address);
    wait_for_attempts(1);
    on_worker(steps_to_itself);
    char expected[32];
    snprintf(expected, sizeof(expected), "connected:%d ", BERTH_E_REFUSED);
    assert_string_equal(diary, expected);
    on_worker(steps_all_end);
}

static void test_outbound_literal_address_takes_its_first_data_along(void **state) {
    (void)state;
    on_worker(steps_call_an_address);
    wait_for_attempts(1);
    on_worker(steps_partly_sent);
    on_worker(steps_all_end);
}

static void steps_third_wins(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    /* The families take turns, and none takes the first data along: several may arrive. */
    static const uint8_t order[] = {1, 3, 2};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(fake_connects()->begun[i]->remote.bytes[0], order[i]);
        assert_int_equal(fake_connects()->begun[i]->remote.port, 7);
        assert_int_equal(fake_connects()->begun[i]->first_data.size, 0);
    }
    fake_connected(2, 1, 0);
    assert_string_equal(diary, "connected:0 ");
    assert_true(fake_connects()->cancelled[0] && fake_connects()->cancelled[1]);
    assert_memory_equal(fake_socket(1)->sent, "first", 5);
    fake_connected(0, 2, 0); /* too late: closed */
    assert_false(fake_socket(2)->open);
    fake_connected(1, 3, ENGINE_E_CANCELLED);
}

static void test_outbound_slow_addresses_are_overtaken(void **state) {
    static const uint16_t families[] = {BERTH_FAMILY_IPV6, BERTH_FAMILY_IPV6, BERTH_FAMILY_IPV4};
    (void)state;
    resolves_to(families, 3);
    on_worker(steps_call_a_name);
    wait_for_attempts(3);
    on_worker(steps_third_wins);
    on_worker(steps_all_end);
    assert_string_equal(diary, "connected:0 closed:3 outbound closed:3 ");
}

static void steps_fail_all(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_connected(0, 1, ENGINE_E_UNREACHABLE); /* the next begins at once */
    assert_int_equal(fake_connects()->count, 2);
    assert_string_equal(diary, "");
    fake_connected(1, 1, ENGINE_E_REFUSED);
}

static void test_outbound_tells_the_last_reason_when_all_have_failed(void **state) {
    static const uint16_t families[] = {BERTH_FAMILY_IPV4, BERTH_FAMILY_IPV4};
    (void)state;
    resolves_to(families, 2);
    on_worker(steps_call_a_name);
    wait_for_attempts(1);
    on_worker(steps_fail_all);
    assert_string_equal(diary, "connected:-10 ");
    on_worker(steps_all_end);
}

static void test_outbound_asker_that_ends_first_is_told_before_it_is_closed(void **state) {
    (void)state;
    on_worker(steps_call_an_address);
    wait_for_attempts(1);
    on_worker(steps_all_end);
    assert_string_equal(diary, "connected:-8 closed:3 ");
    assert_true(fake_connects()->cancelled[0]);
}

static struct engine_connect *abandoned; /* its memory is never freed */

static void steps_abandon(struct worker *worker, void *argument) {
    steps_all_end(worker, argument);
    abandoned = fake_connects()->begun[0];
    assert_true(fake_connects()->cancelled[0]);
}

static void steps_look_at_abandoned(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_memory_equal(abandoned->first_data.bytes, "first", 5); /* the system may still send it */
}

static void test_outbound_attempt_that_is_abandoned_keeps_its_memory(void **state) {
    (void)state;
    on_worker(steps_call_an_address);
    wait_for_attempts(1);
    cancelled_result = ENGINE_E_ABANDONED;
    on_worker(steps_abandon);
    on_worker(steps_look_at_abandoned);
    cancelled_result = ENGINE_E_CANCELLED;
}

static void look_at_diary(struct worker *worker, void *argument) {
    (void)worker;
    *(bool *)argument = diary[0] != '\0';
}

static void test_outbound_name_without_an_address_is_unreachable(void **state) {
    (void)state;
    on_worker(steps_call_a_name);
    uint64_t patience_ms = os_now_ms() + 60000;
    bool told = false;
    while (!told && os_now_ms() < patience_ms) {
        worker_call(&server->workers[0], look_at_diary, &told);
    }
    assert_string_equal(diary, "connected:-11 ");
    on_worker(steps_all_end);
}

static void steps_limit(struct worker *worker, void *argument) {
    struct berth_connect_request request = {
        .struct_size = sizeof(request), .host = "192.0.2.1", .port = 7};
    (void)argument;
    adopt(worker);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(outbound_connect(first_of(worker), &request, on_connected, diary),
                         BERTH_OK);
    }
    assert_int_equal(outbound_connect(first_of(worker), &request, on_connected, diary),
                     BERTH_E_LIMIT);
    request.port = 0;
    assert_int_equal(outbound_connect(first_of(worker), &request, on_connected, diary),
                     BERTH_E_INVALID);
}

static void test_outbound_is_limited_and_checked(void **state) {
    (void)state;
    on_worker(steps_limit);
    wait_for_attempts(10);
    on_worker(steps_all_end);
}

/* What is left is what was abandoned. */
static int tear_down_abandoned(void **state) {
    return tear_down(state) != 0 && alloc_live() > 0 ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_outbound_connection_to_itself_is_refused),
        TEST(test_outbound_literal_address_takes_its_first_data_along),
        TEST(test_outbound_slow_addresses_are_overtaken),
        TEST(test_outbound_tells_the_last_reason_when_all_have_failed),
        TEST(test_outbound_asker_that_ends_first_is_told_before_it_is_closed),
        TEST(test_outbound_name_without_an_address_is_unreachable),
        TEST(test_outbound_is_limited_and_checked),
        cmocka_unit_test_setup_teardown(test_outbound_attempt_that_is_abandoned_keeps_its_memory,
                                        set_up, tear_down_abandoned), /* the last one */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
