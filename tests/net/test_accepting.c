/* Accepting with everything real but the plugin: the engine of this system, its workers, clients on
 * loopback. What happens must be in the counters, exactly; and what the control channel does to a
 * listener is done here by hand. */
#include "unit.h"

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "engine_under_test.h"
#include "net/conn/connection.h"
#include "net/lib/admission.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "os/os.h"
#include "peer.h"
#include "plugin/plugin_events.h"

enum {
    PATIENCE_MS = 30000, /* for what must happen; seldom needed */
    QUIET_MS = 300,      /* for what must not */
    HIGH = 16,
    FIRST_DATA_MS = 1000,
};

/* -- the plugin ------------------------------------------------------------ */

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}

static const char busy_text[] = "busy";

static uint32_t BERTH_CALL on_busy(const struct berth_listener *listener,
                                   const struct berth_busy *busy_for, uint8_t *answer,
                                   uint32_t capacity) {
    (void)busy_for;
    (void)listener;
    (void)capacity;
    memcpy(answer, busy_text, sizeof(busy_text) - 1);
    return sizeof(busy_text) - 1;
}

static int32_t BERTH_CALL host_send(struct berth_conn *conn, const void *bytes, uint32_t size) {
    return connection_send(connection_of(conn), bytes, size);
}

static const struct berth_host host = {.struct_size = sizeof(host), .send = host_send};

static const struct berth_plugin echo = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "echo",
    .name = "Echo",
    .version = "1",
    .received = on_received,
    .busy = on_busy,
};

/* -- a server and a listener ----------------------------------------------- */

static struct server *server;
static struct listener *listener;
static struct berth_address address = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}};
static struct listener_options options;

static void on_idle(void) {}

static int set_up(void **state) {
    struct engine_options engine = engine_under_test(512);
    struct server_options server_options = {.engine = engine.engine,
                                            .direct_descriptors = engine.direct_descriptors,
                                            .workers = 2,
                                            .buffer_bytes = 4096,
                                            .buffers_retained_max = 64,
                                            .turn_receive_bytes = 65536,
                                            .turn_send_bytes = 262144,
                                            .connections_max = 1000,
                                            .posts_max = 16,
                                            .descriptors_reserved = 0,
                                            .hooks = &plugin_server_hooks,
                                            .idle = on_idle};
    struct error error;
    (void)state;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    options = (struct listener_options){
        .name = "tested",
        .config_json = "{}",
        .plugin = &echo,
        .hooks = &plugin_listener_hooks,
        .host = &host,
        .addresses = &address,
        .address_count = 1,
        .sockets = {.no_delay = true},
        .pool_initial = HIGH,
        .pool_low = HIGH / 2,
        .pool_high = HIGH,
        .backlog = 200,
        .first_data_timeout_ms = FIRST_DATA_MS,
        .pending_max = 1000,
        .refusing_max = 100,
        .connections_max = 500,
        .message_bytes = 65536,
        .send_queue_bytes = 65536,
        .linger_bytes = 1048576,
        .send_queue_pieces = 4096,
        .close_timeout_ms = 5000,
    };
    server = server_create(&server_options, &error);
    return server ? 0 : -1;
}

static void start(void) {
    struct error error;
    listener = listener_create(server, &options, NULL, &error);
    assert_non_null(listener);
    assert_true(listener_start(listener, &error));
}

#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t wait_start_ms = os_now_ms();                                                      \
        while (!(condition)) {                                                                     \
            assert_true(os_now_ms() - wait_start_ms < PATIENCE_MS);                                \
            peer_pause(2);                                                                         \
        }                                                                                          \
    } while (0)

static int tear_down(void **state) {
    (void)state;
    if (listener) {
        listener_stop_accepting(listener);
        listener_abort_all(listener);
        WAIT_UNTIL(atomic_load(&listener->references) == 0);
        if (atomic_load(&listener->connections) + atomic_load(&listener->pending) +
                atomic_load(&listener->waiting) + atomic_load(&listener->refusing) +
                atomic_load(&server->connections) !=
            0) {
            return -1;
        }
        listener_destroy(listener);
        listener = NULL;
    }
    server_destroy(server);
    return alloc_live() == 0 ? 0 : -1;
}

/* -- clients --------------------------------------------------------------- */

static struct peer client(void) {
    struct peer peer;
    struct berth_address to = listener_address(listener, 0);
    assert_true(peer_connect(&peer, &to));
    return peer;
}

/* Whoever is refused may be reset before connect() has returned. */
static bool may_connect(struct peer *peer) {
    struct berth_address to = listener_address(listener, 0);
    return peer_connect(peer, &to);
}

static void say(struct peer peer) {
    assert_true(peer_send(peer, "hello", 5));
}

static void hear(struct peer peer) {
    char text[8];
    assert_int_equal(peer_receive(peer, text, sizeof(text)), 5);
    assert_memory_equal(text, "hello", 5);
}

static void close_all(struct peer *peers, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        peer_close(peers[i]);
    }
}

/* Reads to the end: the busy answer, or the reset. */
static bool hears_busy(struct peer peer) {
    char text[8];
    ptrdiff_t size = peer_receive(peer, text, sizeof(text));
    if (size <= 0) {
        assert_true(size == PEER_RESET || peer_resets_look_like_fins());
        return false;
    }
    assert_int_equal(size, 4);
    assert_memory_equal(text, busy_text, 4);
    assert_int_equal(peer_receive(peer, text, sizeof(text)), PEER_FIN);
    return true;
}

static unsigned long long count(const atomic_ullong *counter) {
    return atomic_load(counter);
}

static unsigned long long refused(enum listener_refusal why) {
    return count(&listener->counters.refused[why]);
}

/* -- counters -------------------------------------------------------------- */

static void test_counters_of_ordinary_connections_are_exact(void **state) {
    const struct listener_counters *counters;
    (void)state;
    for (int on_data = 0; on_data < 2; on_data++) {
        options.accept_on_data = on_data;
        start();
        counters = &listener->counters;
        for (int i = 0; i < 40; i++) {
            struct peer peer = client();
            say(peer);
            hear(peer);
            peer_close(peer);
        }
        WAIT_UNTIL(count(&counters->closed) == 40);
        assert_int_equal(count(&counters->accepted), 40);
        assert_int_equal(count(&counters->opened), 40);
        assert_int_equal(count(&counters->first_data_timeouts), 0);
        assert_int_equal(count(&counters->ended_silent), 0);
        assert_int_equal(count(&counters->reused), 0);
        assert_int_equal(count(&counters->shortages), 0);
        for (int i = 0; i < LISTENER_REFUSALS; i++) {
            assert_int_equal(refused(i), 0);
        }
        for (int i = 0; i < ENGINE_ERRORS; i++) {
            assert_int_equal(count(&counters->accept_failed[i]), 0);
        }
        WAIT_UNTIL(atomic_load(&listener->references) == 0);
        listener_stop_accepting(listener);
        listener_destroy(listener);
        listener = NULL;
    }
}

static void test_silent_clients_are_cut_and_counted_and_speakers_are_served(void **state) {
    struct peer silent[4 * HIGH];
    (void)state;
    options.accept_on_data = true;
    start();
    uint64_t began_ms = os_now_ms();
    for (unsigned i = 0; i < ARRAY_COUNT(silent); i++) {
        silent[i] = client();
    }
    for (int i = 0; i < 50; i++) {
        struct peer peer = client();
        say(peer);
        hear(peer);
        peer_close(peer);
    }
    const struct listener_counters *counters = &listener->counters;
    for (unsigned i = 0; i < ARRAY_COUNT(silent); i++) {
        char byte;
        assert_true(peer_receive(silent[i], &byte, 1) <= 0);
    }
    assert_true(os_now_ms() - began_ms >= FIRST_DATA_MS);
    WAIT_UNTIL(count(&counters->first_data_timeouts) == ARRAY_COUNT(silent));
    assert_int_equal(count(&counters->opened), 50);
    assert_int_equal(atomic_load(&listener->pending), 0);
    close_all(silent, ARRAY_COUNT(silent));
}

static void test_clients_that_leave_without_a_word_are_counted(void **state) {
    struct peer silent[3 * HIGH];
    (void)state;
    options.accept_on_data = true;
    options.first_data_timeout_ms = 60000;
    start();
    for (unsigned i = 0; i < ARRAY_COUNT(silent); i++) {
        silent[i] = client();
    }
    close_all(silent, ARRAY_COUNT(silent));
    WAIT_UNTIL(count(&listener->counters.ended_silent) == ARRAY_COUNT(silent));
    assert_int_equal(count(&listener->counters.opened), 0);
    assert_int_equal(count(&listener->counters.first_data_timeouts), 0);
}

static void test_refused_clients_are_counted_by_the_limit(void **state) {
    struct peer served[3];
    (void)state;
    options.refuse_at_limit = true;
    options.connections_max = 3;
    start();
    for (unsigned i = 0; i < 3; i++) {
        served[i] = client();
        say(served[i]);
        hear(served[i]);
    }
    for (int i = 0; i < 10; i++) {
        struct peer peer = client();
        assert_true(hears_busy(peer));
        peer_close(peer);
    }
    assert_int_equal(refused(LISTENER_REFUSED_LISTENER), 10);
    assert_int_equal(count(&listener->counters.answered_busy), 10);
    assert_int_equal(count(&listener->counters.accepted), 13);
    assert_int_equal(count(&listener->counters.opened), 3);
    close_all(served, 3);
}

static void allow_two(void *argument) {
    (void)argument;
    server->options.connections_max = 2;
}

static void test_refused_by_the_host_and_by_the_client_are_told_apart(void **state) {
    (void)state;
    options.refuse_at_limit = true;
    options.per_client.connections_max = 2;
    start();
    struct peer served[2];
    for (unsigned i = 0; i < 2; i++) {
        served[i] = client();
        say(served[i]);
        hear(served[i]);
    }
    struct peer surplus = client();
    assert_true(hears_busy(surplus));
    peer_close(surplus);
    assert_int_equal(refused(LISTENER_REFUSED_PER_CLIENT), 1);
    assert_int_equal(client_table_counts(&listener->admission->clients).clients, 1);
    server_stop_the_world(server, allow_two, NULL);
    surplus = client();
    assert_true(hears_busy(surplus));
    peer_close(surplus);
    assert_int_equal(refused(LISTENER_REFUSED_HOST), 1);
    close_all(served, 2);
    WAIT_UNTIL(client_table_counts(&listener->admission->clients).clients == 0);
}

static void test_refused_by_rate_and_lists_are_counted(void **state) {
    static const struct address_prefix nobody = {.address = {.family = BERTH_FAMILY_IPV4},
                                                 .bits = 32};
    (void)state;
    options.per_client =
        (struct client_limits){.rate_per_second = 1, .rate_burst = 5, .idle_max = 10};
    start();
    unsigned served = 0;
    for (int i = 0; i < 20; i++) {
        struct peer peer;
        char text[8];
        if (may_connect(&peer)) {
            served += peer_send(peer, "hello", 5) && peer_receive(peer, text, sizeof(text)) == 5;
            peer_close(peer);
        }
    }
    assert_true(served >= 5);
    WAIT_UNTIL(count(&listener->counters.opened) + refused(LISTENER_REFUSED_RATE) == 20);
    assert_int_equal(count(&listener->counters.opened), served);
    assert_true(client_table_counts(&listener->admission->clients).clients <= 1);
    WAIT_UNTIL(atomic_load(&listener->references) == 0);
    listener_stop_accepting(listener);
    listener_destroy(listener);

    options.per_client = (struct client_limits){0};
    options.access = (struct access_list){.allow = &nobody, .allow_count = 1};
    start();
    for (int i = 0; i < 5; i++) {
        struct peer peer;
        char byte;
        if (may_connect(&peer)) {
            assert_true(peer_receive(peer, &byte, 1) <= 0);
            peer_close(peer);
        }
    }
    WAIT_UNTIL(refused(LISTENER_REFUSED_ACCESS) == 5);
    assert_int_equal(count(&listener->counters.opened), 0);
}

static void test_who_waits_at_a_limit_and_leaves_is_counted(void **state) {
    (void)state;
    options.connections_max = 1;
    options.accept_on_data = true;
    start();
    struct peer served = client();
    say(served);
    hear(served);
    struct peer waiting = client();
    say(waiting);
    WAIT_UNTIL(atomic_load(&listener->waiting) == 1);
    peer_pause(QUIET_MS);
    assert_int_equal(count(&listener->counters.opened), 1);
    peer_close(served);
    hear(waiting);
    assert_int_equal(atomic_load(&listener->waiting), 0);
    assert_int_equal(count(&listener->counters.opened), 2);
    struct peer cut = client();
    say(cut);
    WAIT_UNTIL(atomic_load(&listener->waiting) == 1);
    listener_stop_accepting(listener);
    WAIT_UNTIL(count(&listener->counters.ended_waiting) == 1);
    char byte;
    assert_true(peer_receive(cut, &byte, 1) <= 0);
    peer_close(cut);
    peer_close(waiting);
}

static void test_low_water_is_counted_and_high_water_kept(void **state) {
    struct peer peers[60];
    (void)state;
    options.pool_initial = 4;
    options.pool_low = 2;
    options.pool_high = 8;
    start();
    for (unsigned i = 0; i < ARRAY_COUNT(peers); i++) {
        peers[i] = client();
        say(peers[i]);
        hear(peers[i]);
    }
    assert_true(count(&listener->counters.pool_low) >= 1);
    assert_true(count(&listener->counters.pool_low) <= ARRAY_COUNT(peers));
    assert_int_equal(count(&listener->counters.opened), ARRAY_COUNT(peers));
    close_all(peers, ARRAY_COUNT(peers));
}

/* -- pause and resume ------------------------------------------------------ */

static void pause_and_resume(bool on_data) {
    struct peer waiting[30];
    options.accept_on_data = on_data;
    options.backlog = 200;
    start();
    struct peer before = client();
    say(before);
    hear(before);
    for (int round = 0; round < 2; round++) {
        unsigned long long opened = count(&listener->counters.opened);
        listener_pause(listener);
        listener_pause(listener); /* twice is once */
        for (unsigned i = 0; i < ARRAY_COUNT(waiting); i++) {
            waiting[i] = client();
            say(waiting[i]);
        }
        peer_pause(QUIET_MS);
        assert_int_equal(count(&listener->counters.opened), opened);
        say(before); /* connections go on */
        hear(before);
        listener_resume(listener);
        listener_resume(listener);
        for (unsigned i = 0; i < ARRAY_COUNT(waiting); i++) {
            hear(waiting[i]);
        }
        assert_int_equal(count(&listener->counters.opened), opened + ARRAY_COUNT(waiting));
        close_all(waiting, ARRAY_COUNT(waiting));
    }
    peer_close(before);
}

static void test_paused_listener_shows_nothing_new_and_serves_it_when_resumed(void **state) {
    (void)state;
    pause_and_resume(false);
}

static void test_paused_listener_that_accepts_on_data_does_the_same(void **state) {
    (void)state;
    pause_and_resume(true);
}

static void test_paused_listener_refuses_nobody(void **state) {
    (void)state;
    options.refuse_at_limit = true;
    start();
    listener_pause(listener);
    struct peer peer = client();
    say(peer);
    peer_pause(QUIET_MS);
    assert_int_equal(count(&listener->counters.opened), 0);
    listener_resume(listener);
    hear(peer);
    assert_int_equal(count(&listener->counters.answered_busy), 0);
    peer_close(peer);
}

static void test_paused_listener_can_be_stopped(void **state) {
    struct peer peers[5];
    (void)state;
    start();
    listener_pause(listener);
    for (unsigned i = 0; i < ARRAY_COUNT(peers); i++) {
        peers[i] = client();
        say(peers[i]);
    }
    peer_pause(QUIET_MS / 3);
    listener_stop_accepting(listener);
    assert_int_equal(count(&listener->counters.opened), 0);
    for (unsigned i = 0; i < ARRAY_COUNT(peers); i++) {
        char byte;
        assert_true(peer_receive(peers[i], &byte, 1) <= 0);
        peer_close(peers[i]);
    }
}

static void test_paused_with_all_accepts_taken_by_the_silent_goes_on_after(void **state) {
    struct peer silent[3 * HIGH];
    (void)state;
    options.accept_on_data = true;
    options.first_data_timeout_ms = 60000;
    start();
    listener_pause(listener);
    for (unsigned i = 0; i < ARRAY_COUNT(silent); i++) {
        silent[i] = client();
    }
    peer_pause(QUIET_MS);
    listener_resume(listener);
    for (int i = 0; i < 10; i++) {
        struct peer peer = client();
        say(peer);
        hear(peer);
        peer_close(peer);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(silent); i++) {
        say(silent[i]);
        hear(silent[i]);
    }
    close_all(silent, ARRAY_COUNT(silent));
}

/* -- workers --------------------------------------------------------------- */

static void test_long_connections_spread_evenly_over_the_workers(void **state) {
    struct peer peers[200];
    (void)state;
    start();
    for (unsigned i = 0; i < ARRAY_COUNT(peers); i++) {
        peers[i] = client();
        say(peers[i]);
        hear(peers[i]);
    }
    unsigned first = atomic_load(&server->workers[0].load);
    unsigned second = atomic_load(&server->workers[1].load);
    assert_int_equal(first + second, ARRAY_COUNT(peers));
    assert_true(first <= second + 2 && second <= first + 2);
    close_all(peers, ARRAY_COUNT(peers));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_counters_of_ordinary_connections_are_exact),
        TEST(test_silent_clients_are_cut_and_counted_and_speakers_are_served),
        TEST(test_clients_that_leave_without_a_word_are_counted),
        TEST(test_refused_clients_are_counted_by_the_limit),
        TEST(test_refused_by_the_host_and_by_the_client_are_told_apart),
        TEST(test_refused_by_rate_and_lists_are_counted),
        TEST(test_who_waits_at_a_limit_and_leaves_is_counted),
        TEST(test_low_water_is_counted_and_high_water_kept),
        TEST(test_paused_listener_shows_nothing_new_and_serves_it_when_resumed),
        TEST(test_paused_listener_that_accepts_on_data_does_the_same),
        TEST(test_paused_listener_refuses_nobody),
        TEST(test_paused_listener_can_be_stopped),
        TEST(test_paused_with_all_accepts_taken_by_the_silent_goes_on_after),
        TEST(test_long_connections_spread_evenly_over_the_workers),
    };
    return cmocka_run_group_tests_name("accepting", tests, NULL, NULL);
}
