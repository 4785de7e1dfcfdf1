/* A server without threads, on the real engine: its workers and its blocking work go on where the
 * driver says so, and nowhere else. */
#include "net_world.h"
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/error.h"
#include "net/conn/connection.h"
#include "net/lib/latch.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "os/os.h"
#include "plugin/plugin_post.h"
#include "plugin/plugin_timer.h"
#include "plugin/plugin_work.h"

enum { WORKERS = 2, DELAY_MS = 40, PATIENCE_MS = 30000 };

/* -- the driver ------------------------------------------------------------ */

static struct {
    uintptr_t thread;
    unsigned steps;
    bool holds_work;  /* no blocking work runs */
    unsigned resting; /* bits of workers that get no turn */
    const char *what; /* the last one waited for */
} drive;

static void step(void *context, const char *what) {
    struct server *server = net_world_server();
    bool ran = false;
    (void)context;
    assert_true(os_thread_id() == drive.thread);
    assert_null(worker_current());
    drive.steps++;
    drive.what = what ? what : drive.what;
    for (unsigned i = 0; server && i < server->started; i++) {
        ran |= (drive.resting >> i & 1) == 0 && server_turn(server, i);
    }
    ran |= server && !drive.holds_work && server_work(server);
    if (!ran) {
        peer_pause(1);
    }
}

#define DRIVE_UNTIL(condition)                                                                     \
    do {                                                                                           \
        uint64_t drive_start_ms = engine_now_ms();                                                 \
        while (!(condition)) {                                                                     \
            assert_true(engine_now_ms() - drive_start_ms < PATIENCE_MS);                           \
            step(NULL, NULL);                                                                      \
        }                                                                                          \
    } while (0)

static void drive_a_while(void) {
    for (int i = 0; i < 30; i++) {
        step(NULL, NULL);
    }
}

/* -- the plugin, and a client on a thread of its own ----------------------- */

static struct {
    unsigned received;
    unsigned closed;
    unsigned works;
    unsigned done;
    unsigned fired;
    unsigned posted;
    uint64_t fired_ms;
    bool submits;
} seen;

static void note_worker(void) {
    assert_true(os_thread_id() == drive.thread);
    assert_non_null(worker_current());
}

static void BERTH_CALL work(void *argument) {
    (void)argument;
    assert_null(worker_current()); /* as on a thread of the pool */
    seen.works++;
}

static void BERTH_CALL done(struct berth_conn *conn, int32_t status, void *argument) {
    (void)argument;
    note_worker();
    assert_non_null(conn);
    assert_int_equal(status, BERTH_OK);
    seen.done++;
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    note_worker();
    seen.received++;
    if (seen.submits) {
        assert_int_equal(plugin_work_submit(connection_of(conn), work, done, NULL), BERTH_OK);
    }
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    (void)conn;
    (void)reason;
    note_worker();
    seen.closed++;
}

static const struct berth_plugin plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "driven",
    .name = "Driven",
    .version = "1",
    .received = on_received,
    .closed = on_closed,
};

struct client {
    struct os_thread thread;
    struct berth_address to;
    atomic_bool stays; /* as long as this is so */
    atomic_bool ended;
    bool heard;
};

static void client_main(void *argument) {
    struct client *client = argument;
    struct peer peer;
    char bytes[5];
    size_t got = 0;
    ptrdiff_t piece = 0;
    client->heard = peer_connect(&peer, &client->to) && peer_send(peer, "hello", 5);
    while (client->heard && got < 5 && (piece = peer_receive(peer, bytes + got, 5 - got)) > 0) {
        got += (size_t)piece;
    }
    client->heard = client->heard && got == 5 && memcmp(bytes, "hello", 5) == 0;
    while (atomic_load(&client->stays)) {
        peer_pause(2);
    }
    peer_shutdown_send(peer);
    client->heard = client->heard && peer_receive(peer, bytes, 5) == PEER_FIN;
    peer_close(peer);
    atomic_store(&client->ended, true);
}

static void client_start(struct client *client) {
    struct error error;
    client->to = listener_address(net_world_listener(), 0);
    assert_true(os_thread_start(&client->thread, "client", client_main, client, &error));
}

static int set_up(void **state) {
    static const struct server_driver driver = {.step = step};
    (void)state;
    memset(&seen, 0, sizeof(seen));
    memset(&drive, 0, sizeof(drive));
    drive.thread = os_thread_id();
    net_world_drive(&driver);
    return net_world_start(WORKERS);
}

static int tear_down(void **state) {
    (void)state;
    int code = net_world_end();
    net_world_drive(NULL);
    return code;
}

/* -- the tests ------------------------------------------------------------- */

static void test_driven_server_serves_on_the_drivers_thread(void **state) {
    struct client clients[4] = {0};
    (void)state;
    net_world_serve(&plugin, false, ENGINE_RECEIVE_ZERO_BYTE);
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        client_start(&clients[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(clients); i++) {
        DRIVE_UNTIL(atomic_load(&clients[i].ended));
        os_thread_join(&clients[i].thread);
        assert_true(clients[i].heard);
    }
    DRIVE_UNTIL(seen.closed == ARRAY_COUNT(clients));
    assert_int_equal(seen.received, ARRAY_COUNT(clients));
    net_world_serve_end();
}

static void test_driven_server_without_turns_does_nothing(void **state) {
    struct client client = {0};
    (void)state;
    net_world_serve(&plugin, false, ENGINE_RECEIVE_ZERO_BYTE);
    client_start(&client);
    peer_pause(100);
    assert_int_equal(seen.received, 0);
    DRIVE_UNTIL(atomic_load(&client.ended));
    os_thread_join(&client.thread);
    assert_true(client.heard);
    net_world_serve_end();
}

static void test_driven_work_runs_where_the_driver_says(void **state) {
    struct client client = {.stays = true};
    (void)state;
    seen.submits = true;
    drive.holds_work = true;
    net_world_serve(&plugin, false, ENGINE_RECEIVE_ZERO_BYTE);
    client_start(&client);
    DRIVE_UNTIL(seen.received == 1);
    drive_a_while();
    assert_int_equal(seen.works, 0);
    assert_int_equal(work_pool_status(net_world_server()->work).waiting, 1);
    assert_int_equal(work_pool_status(net_world_server()->work).threads, 0);
    assert_true(server_work(net_world_server()));
    assert_int_equal(seen.works, 1);
    assert_int_equal(seen.done, 0); /* that is the worker's */
    assert_false(server_work(net_world_server()));
    DRIVE_UNTIL(seen.done == 1);
    atomic_store(&client.stays, false);
    DRIVE_UNTIL(atomic_load(&client.ended));
    os_thread_join(&client.thread);
    net_world_serve_end();
}

static void BERTH_CALL on_timer(struct berth_timer *timer, const struct berth_listener *of,
                                uint32_t worker, void *argument) {
    assert_ptr_equal(of, &net_world_listener()->public);
    assert_true(worker < net_world_listener()->server->options.workers);
    (void)timer;
    (void)argument;
    note_worker();
    seen.fired++;
    seen.fired_ms = engine_now_ms();
}

static void test_driven_timer_says_when_it_is_due(void **state) {
    struct berth_timer *timer;
    (void)state;
    net_world_serve(&plugin, false, ENGINE_RECEIVE_ZERO_BYTE);
    timer = plugin_timer_create_listener(net_world_listener(), on_timer, NULL);
    assert_non_null(timer);
    uint64_t began_ms = engine_now_ms();
    plugin_timer_start(timer, DELAY_MS);
    drive_a_while(); /* the worker hears of it */
    assert_true(server_next_ms(net_world_server()) >= 0);
    DRIVE_UNTIL(seen.fired == 1);
    assert_true(seen.fired_ms >= began_ms + DELAY_MS);
    net_world_serve_end();
}

static void count_call(struct worker *worker, void *argument) {
    assert_true(worker == &net_world_server()->workers[1]);
    *(unsigned *)argument += 1;
}

static void test_driven_wait_of_control_steps_until_it_is_over(void **state) {
    unsigned calls = 0;
    (void)state;
    drive_a_while();
    unsigned before = drive.steps;
    worker_call(&net_world_server()->workers[1], count_call, &calls);
    assert_int_equal(calls, 1);
    assert_true(drive.steps > before);
    assert_string_equal(drive.what, "a worker");
    server_flush(net_world_server());
}

static void note_rest(void *argument) {
    assert_null(worker_current());
    *(unsigned *)argument += 1;
}

static void test_driven_rest_needs_no_turn(void **state) {
    unsigned rests = 0;
    (void)state;
    unsigned before = drive.steps;
    server_stop_the_world(net_world_server(), note_rest, &rests);
    assert_int_equal(rests, 1);
    assert_int_equal(drive.steps, before);
}

static void test_driven_worker_without_turns_does_not_answer(void **state) {
    (void)state;
    drive.resting = 1;
    assert_false(server_answers(net_world_server(), DELAY_MS));
    drive.resting = 0;
    assert_true(server_answers(net_world_server(), PATIENCE_MS));
}

static void BERTH_CALL on_post(const struct berth_listener *listener, uint32_t worker,
                               void *argument) {
    (void)listener;
    (void)argument;
    note_worker();
    assert_int_equal(worker_current()->index, worker);
    seen.posted++;
}

static void post_from_outside(void *argument) {
    *(int32_t *)argument = plugin_post_worker(net_world_listener(), 1, on_post, NULL);
}

static void test_driven_post_of_another_thread_waits_for_a_turn(void **state) {
    struct os_thread thread;
    struct error error;
    int32_t status = BERTH_E_FAILED;
    (void)state;
    net_world_serve(&plugin, false, ENGINE_RECEIVE_ZERO_BYTE);
    assert_true(os_thread_start(&thread, "outside", post_from_outside, &status, &error));
    os_thread_join(&thread);
    assert_int_equal(status, BERTH_OK);
    drive.resting = 2;
    drive_a_while();
    assert_int_equal(seen.posted, 0);
    drive.resting = 0;
    DRIVE_UNTIL(seen.posted == 1);
    net_world_serve_end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_driven_server_serves_on_the_drivers_thread),
        TEST(test_driven_server_without_turns_does_nothing),
        TEST(test_driven_work_runs_where_the_driver_says),
        TEST(test_driven_timer_says_when_it_is_due),
        TEST(test_driven_wait_of_control_steps_until_it_is_over),
        TEST(test_driven_rest_needs_no_turn),
        TEST(test_driven_worker_without_turns_does_not_answer),
        TEST(test_driven_post_of_another_thread_waits_for_a_turn),
    };
    return cmocka_run_group_tests_name("driven", tests, NULL, NULL);
}
