/* Outbound connections on the simulated engine: which address is tried when, who wins, and what
 * becomes of the others. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/sim/sim.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "plugin/outbound.h"
#include "plugin/plugin_events.h"

enum {
    PORT = 7,
    NEXT_ATTEMPT_MS = 250, /* the Connection Attempt Delay of RFC 8305 */
    WAIT_MS = 60000,
};

static char diary[1024];
static struct server *server;
static struct listener *listener;
static struct sim_peer *client;
static struct connection *made; /* the outbound connection of the test */
static uint64_t told_ms;        /* when `connected` was called */

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
    told_ms = engine_now_ms();
    note("connected", status);
}

/* -- a world with one client ----------------------------------------------- */

static void turn_of(const struct engine_port *port) {
    for (unsigned i = 0; i < server->started; i++) { /* the worker, or who accepts for it */
        if (!port || server->workers[i].port == port) {
            server_turn(server, i);
        }
    }
}

static bool step(uint64_t until_ms) {
    struct engine_port *port;
    enum sim_next next = sim_step(until_ms, &port);
    if (next == SIM_RUN_PORT) {
        turn_of(port);
    }
    return next != SIM_IDLE;
}

/* The next thing that happens by then: at this moment, or later. False: nothing does, and it is
 * that time. */
static bool go_on(uint64_t until_ms) {
    if (step(engine_now_ms()) || server_work(server)) {
        return true;
    }
    int next_ms = server_next_ms(server);
    uint64_t next = next_ms >= 0 ? engine_now_ms() + (uint64_t)next_ms : UINT64_MAX;
    if (step(next < until_ms ? next : until_ms)) {
        return true;
    }
    turn_of(NULL); /* their timers */
    return engine_now_ms() < until_ms;
}

static void drive(void *context, const char *what) {
    (void)context;
    (void)what;
    go_on(engine_now_ms() + 1);
}

static void wait_ms(uint64_t ms) {
    uint64_t until_ms = engine_now_ms() + ms;
    while (go_on(until_ms)) {
    }
}

static void on_idle(void) {}

static struct connection *first_of(const struct worker *worker) {
    uint32_t slot = 0;
    return worker_next(worker, &slot);
}

static struct berth_address v4(uint8_t number) {
    return (struct berth_address){
        .family = BERTH_FAMILY_IPV4, .port = PORT, .bytes = {127, 0, 0, number}};
}

static struct berth_address v6(void) {
    return (struct berth_address){.family = BERTH_FAMILY_IPV6, .port = PORT, .bytes = {[15] = 1}};
}

static int set_up_in(enum sim_personality personality) {
    static const struct server_driver driver = {.step = drive};
    struct sim_options world = sim_options_calm(personality, 1);
    struct server_options options = {.driver = &driver,
                                     .workers = 1,
                                     .buffer_bytes = 4096,
                                     .buffers_retained_max = 64,
                                     .turn_receive_bytes = 65536,
                                     .turn_send_bytes = 262144,
                                     .connections_max = 100,
                                     .posts_max = 2,
                                     .work = {.threads_max = 1, .queue_max = 4, .idle_ms = 1000},
                                     .hooks = &plugin_server_hooks,
                                     .idle = on_idle};
    struct berth_address any = {.family = BERTH_FAMILY_IPV4};
    struct listener_options one = {.name = "calls",
                                   .config_json = "{}",
                                   .plugin = &caller,
                                   .hooks = &plugin_listener_hooks,
                                   .addresses = &any,
                                   .address_count = 1,
                                   .pool_initial = 1,
                                   .pool_low = 1,
                                   .pool_high = 1,
                                   .backlog = 5,
                                   .connections_max = 50,
                                   .outbound_max = 10,
                                   .message_bytes = 1000,
                                   .send_queue_bytes = 8192,
                                   .linger_bytes = 1048576,
                                   .send_queue_pieces = 64,
                                   .close_timeout_ms = 60000};
    struct error error;
    world.latency_min_us = world.latency_max_us = world.completion_max_us = 0;
    sim_world_create(&world);
    diary[0] = '\0';
    made = NULL;
    server = server_create(&options, &error);
    listener = server ? listener_create(server, &one, NULL, &error) : NULL;
    if (!listener || !listener_start(listener, &error)) {
        return -1;
    }
    struct berth_address to = listener_address(listener, 0);
    client = sim_peer_connect(&to, NULL);
    wait_ms(1);
    return first_of(&server->workers[0]) ? 0 : -1;
}

static int set_up(void **state) {
    (void)state;
    return set_up_in(SIM_URING);
}

static int set_up_iocp(void **state) {
    (void)state;
    return set_up_in(SIM_IOCP);
}

static void end_all(void) {
    if (client) {
        sim_peer_reset(client);
        client = NULL;
    }
    wait_ms(1);
    listener_abort_all(listener);
    wait_ms(1);
}

/* Whether all has ended that holds the listener. */
static bool stop_all(void) {
    end_all();
    listener_stop_accepting(listener);
    wait_ms(10000);
    return atomic_load(&listener->references) == 0 && atomic_load(&listener->outbound) == 0;
}

static void destroy_all(void) {
    listener_destroy(listener);
    server_destroy(server);
    sim_world_destroy();
}

static int tear_down(void **state) {
    (void)state;
    if (!stop_all()) {
        return -1;
    }
    destroy_all();
    return alloc_live() == 0 ? 0 : -1;
}

/* What is left is what was abandoned. */
static int tear_down_abandoned(void **state) {
    (void)state;
    if (!stop_all()) {
        return -1;
    }
    destroy_all();
    return alloc_live() > 0 ? 0 : -1;
}

/* -- calls ----------------------------------------------------------------- */

static const char *host; /* to call */

static void steps_call(struct worker *worker, void *argument) {
    static const char first[] = "first";
    struct berth_connect_request request = {
        .struct_size = sizeof(request), .timeout_ms = 50000, .host = host, .port = PORT};
    struct berth_buffer *buffer = buffer_take(worker->buffers);
    (void)argument;
    memcpy(buffer->bytes, first, sizeof(first) - 1);
    buffer_pass(buffer);
    request.first_data =
        (struct berth_slice){buffer_given(buffer), buffer->bytes, sizeof(first) - 1, 0};
    assert_int_equal(outbound_connect(first_of(worker), &request, on_connected, diary), BERTH_OK);
}

static void call(const char *whom) {
    host = whom;
    worker_call(&server->workers[0], steps_call, NULL);
}

static void on_accepted(struct sim_server *at, struct sim_peer *peer, void *context) {
    struct sim_peer **accepted = context;
    (void)at;
    assert_null(*accepted);
    *accepted = peer;
}

static void serve(const struct berth_address *address, struct sim_peer **accepted) {
    const struct sim_server_options options = {.address = *address,
                                               .backlog = 5,
                                               .is_silent = accepted == NULL,
                                               .accepted = accepted ? on_accepted : NULL,
                                               .context = accepted};
    assert_non_null(sim_server_open(&options));
}

static void assert_heard(struct sim_peer *peer, const char *text) {
    char bytes[32];
    assert_non_null(peer);
    assert_int_equal(sim_peer_receive(peer, bytes, sizeof(bytes)), strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

/* -- the tests ------------------------------------------------------------- */

static void test_outbound_connection_to_itself_is_refused(void **state) {
    (void)state;
    sim_world_options()->connect_to_itself = SIM_ALWAYS;
    call("127.0.0.9");
    wait_ms(1);
    assert_null(made);
    assert_string_equal(diary, "connected:-10 ");
    assert_int_equal(sim_sockets(), 1); /* the asker's */
}

static void test_outbound_literal_address_takes_its_first_data_along(void **state) {
    struct berth_address address = v4(9);
    struct sim_peer *accepted = NULL;
    (void)state;
    sim_world_options()->short_send = SIM_ALWAYS; /* the connect takes only some of it along */
    serve(&address, &accepted);
    call("127.0.0.9");
    wait_ms(10);
    assert_string_equal(diary, "connected:0 ");
    assert_int_equal(made->public.flags, BERTH_CONN_OUTBOUND);
    assert_int_equal(made->bytes_sent, 5);
    assert_heard(accepted, "first");
}

/* The families take turns, and none takes the first data along: several may arrive. */
static void test_outbound_slow_addresses_are_overtaken(void **state) {
    struct berth_address first = v4(1);
    struct berth_address third = v4(2);
    struct berth_address second = v6();
    struct sim_peer *accepted = NULL;
    (void)state;
    sim_name_add("some.host", &first);
    sim_name_add("some.host", &third);
    sim_name_add("some.host", &second);
    serve(&first, NULL);
    serve(&second, NULL);
    serve(&third, &accepted);
    uint64_t called_ms = engine_now_ms();
    call("some.host");
    wait_ms(WAIT_MS);
    assert_string_equal(diary, "connected:0 ");
    assert_in_range(told_ms - called_ms, 2 * NEXT_ATTEMPT_MS, 3 * NEXT_ATTEMPT_MS - 1);
    assert_heard(accepted, "first");
    assert_int_equal(sim_sockets(), 2); /* the other attempts are over */
    end_all();
    assert_string_equal(diary, "connected:0 closed:3 outbound closed:6 ");
}

static void test_outbound_tells_the_last_reason_when_all_have_failed(void **state) {
    struct berth_address one = v4(1);
    struct berth_address other = v4(2);
    (void)state;
    sim_name_add("some.host", &one);
    sim_name_add("some.host", &other);
    sim_address_fails(&one, ENGINE_E_UNREACHABLE);
    uint64_t called_ms = engine_now_ms();
    call("some.host");
    wait_ms(1);
    assert_string_equal(diary, "connected:-10 ");
    assert_in_range(told_ms - called_ms, 0, NEXT_ATTEMPT_MS - 1); /* the next begins at once */
}

static void test_outbound_asker_that_ends_first_is_told_before_it_is_closed(void **state) {
    struct berth_address address = v4(9);
    (void)state;
    serve(&address, NULL);
    call("127.0.0.9");
    wait_ms(1);
    end_all();
    assert_string_equal(diary, "connected:-8 closed:3 ");
    assert_int_equal(sim_sockets(), 0);
}

static void test_outbound_name_without_an_address_is_unreachable(void **state) {
    (void)state;
    call("some.host");
    wait_ms(1);
    assert_string_equal(diary, "connected:-11 ");
}

static void steps_limit(struct worker *worker, void *argument) {
    struct berth_connect_request request = {
        .struct_size = sizeof(request), .host = "127.0.0.9", .port = PORT};
    (void)argument;
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
    struct berth_address address = v4(9);
    (void)state;
    serve(&address, NULL);
    worker_call(&server->workers[0], steps_limit, NULL);
}

/* What a driver beneath Winsock never gives back: its memory is never freed, nor its first data,
 * which the system may still send. The simulator looks at it when its world ends. */
static void test_outbound_attempt_that_is_abandoned_keeps_its_memory(void **state) {
    struct berth_address address = v4(9);
    (void)state;
    sim_world_options()->cancel_lost = SIM_ALWAYS;
    sim_world_options()->cancel_abandoned = SIM_ALWAYS;
    serve(&address, NULL);
    call("127.0.0.9");
    wait_ms(1);
    end_all();
    assert_string_equal(diary, "connected:-8 closed:3 ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_outbound_connection_to_itself_is_refused),
        cmocka_unit_test_setup_teardown(test_outbound_literal_address_takes_its_first_data_along,
                                        set_up_iocp, tear_down),
        TEST(test_outbound_slow_addresses_are_overtaken),
        TEST(test_outbound_tells_the_last_reason_when_all_have_failed),
        TEST(test_outbound_asker_that_ends_first_is_told_before_it_is_closed),
        TEST(test_outbound_name_without_an_address_is_unreachable),
        TEST(test_outbound_is_limited_and_checked),
        cmocka_unit_test_setup_teardown(test_outbound_attempt_that_is_abandoned_keeps_its_memory,
                                        set_up_iocp, tear_down_abandoned), /* the last one */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
