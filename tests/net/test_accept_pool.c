/* The pool of accepts on an engine made of nothing: its watermarks, what it keeps for those who
 * speak, and what it does when accepting fails. */
#include "unit.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "fake_engine.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "os/os.h"
#include "plugin/plugin_events.h"

enum { PATIENCE_MS = 30000 };

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    (void)conn;
    return data->size;
}

static const struct berth_plugin sink = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "sink",
    .name = "Sink",
    .version = "1",
    .received = on_received,
};

static struct server *server;
static struct listener *listener;
static const struct berth_address any_address = {.family = BERTH_FAMILY_IPV4};
static struct listener_options options;

static void on_idle(void) {}

static int set_up(void **state) {
    struct server_options server_options = {.workers = 1,
                                            .buffer_bytes = 4096,
                                            .buffers_retained_max = 64,
                                            .turn_receive_bytes = 65536,
                                            .turn_send_bytes = 262144,
                                            .connections_max = 1000,
                                            .posts_max = 2,
                                            .hooks = &plugin_server_hooks,
                                            .idle = on_idle};
    struct error error;
    (void)state;
    fake_reset();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    options = (struct listener_options){.name = "pool",
                                        .config_json = "{}",
                                        .plugin = &sink,
                                        .hooks = &plugin_listener_hooks,
                                        .addresses = &any_address,
                                        .address_count = 1,
                                        .pool_initial = 8,
                                        .pool_low = 4,
                                        .pool_high = 32,
                                        .backlog = 5,
                                        .first_data_timeout_ms = 60000,
                                        .pending_max = 100,
                                        .connections_max = 50,
                                        .message_bytes = 4096,
                                        .send_queue_bytes = 4096,
                                        .linger_bytes = 1048576,
                                        .send_queue_pieces = 4096,
                                        .close_timeout_ms = 60000};
    server = server_create(&server_options, &error);
    return server ? 0 : -1;
}

static void start(void) {
    struct error error;
    listener = listener_create(server, &options, NULL, &error);
    assert_non_null(listener);
    assert_true(listener_start(listener, &error));
}

/* Ends what the fake engine has in its hands, as the real one would in its loop. */
static void run_stopped(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_run_stopped();
}

static int tear_down(void **state) {
    (void)state;
    listener_stop_accepting(listener);
    listener_abort_all(listener);
    for (uint64_t start_ms = os_now_ms(); atomic_load(&listener->references) > 0;) {
        worker_call(&server->workers[0], run_stopped, NULL);
        if (os_now_ms() - start_ms > PATIENCE_MS) {
            return -1;
        }
    }
    listener_destroy(listener);
    server_destroy(server);
    return alloc_live() == 0 && !fake_acceptor()->port ? 0 : -1;
}

static void on_worker(void (*steps)(struct worker *worker, void *argument)) {
    worker_call(&server->workers[0], steps, NULL);
}

static unsigned long long count(const atomic_ullong *counter) {
    return atomic_load(counter);
}

/* -- the end --------------------------------------------------------------- */

static void expect_three_late(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_acceptor()->late = 3;
}

static void test_clients_who_come_as_the_pool_stops_are_served(void **state) {
    (void)state;
    start();
    on_worker(expect_three_late);
    listener_stop_accepting(listener);
    assert_int_equal(count(&listener->counters.accepted), 3);
    assert_int_equal(count(&listener->counters.opened), 3);
    for (int i = 0; i < 3; i++) {
        assert_false(fake_socket(i)->reset);
    }
}

static void test_clients_who_come_without_data_as_the_pool_stops_have_not_ended(void **state) {
    (void)state;
    options.accept_on_data = true;
    start();
    on_worker(expect_three_late);
    listener_stop_accepting(listener);
    assert_int_equal(count(&listener->counters.accepted), 3);
    assert_int_equal(count(&listener->counters.ended_silent), 0); /* which a FIN would be */
}

/* -- watermarks ------------------------------------------------------------ */

static void steps_below_low(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(fake_acceptor()->count, 8);
    for (int number = 0; number < 4; number++) { /* 8 to 4: not below the low water yet */
        fake_accept(0, number, NULL);
    }
    assert_int_equal(fake_acceptor()->count, 4);
    assert_int_equal(count(&listener->counters.pool_low), 0);
    fake_accept(0, 4, NULL);
    assert_int_equal(fake_acceptor()->count, 8);
    assert_int_equal(count(&listener->counters.pool_low), 1);
    assert_int_equal(count(&listener->counters.opened), 5);
}

static void test_pool_is_filled_again_when_it_falls_below_low(void **state) {
    (void)state;
    start();
    on_worker(steps_below_low);
}

static void steps_starve(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    static const unsigned expected[] = {16, 24, 32, 32, 32};
    for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
        fake_starve();
        assert_int_equal(fake_acceptor()->count, expected[i]);
    }
    assert_int_equal(fake_acceptor()->most, 32);
    assert_int_equal(count(&listener->counters.pool_high), 2);
}

static void steps_rush(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_starve();
    assert_int_equal(fake_acceptor()->count, 16);
    fake_accept(0, 0, NULL); /* few are left for a rush, which is from 28 on */
    assert_int_equal(fake_acceptor()->count, 32);
    for (int number = 1; number <= 4; number++) {
        fake_accept(0, number, NULL);
    }
    assert_int_equal(fake_acceptor()->count, 28);
    fake_accept(0, 5, NULL);
    assert_int_equal(fake_acceptor()->count, 32);
    assert_int_equal(fake_acceptor()->most, 32);
}

static void test_pool_is_kept_high_while_clients_come_in_a_rush(void **state) {
    (void)state;
    start();
    on_worker(steps_rush);
}

static void test_pool_grows_for_those_who_queue_up_to_high(void **state) {
    (void)state;
    start();
    on_worker(steps_starve);
}

/* -- silent clients -------------------------------------------------------- */

static void steps_silent(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    for (unsigned i = 0; i < fake_acceptor()->count; i++) {
        fake_silence(i, 0);
    }
    for (int i = 0; i < 4; i++) {
        fake_starve();
    }
    assert_int_equal(fake_acceptor()->count, 32);
    assert_int_equal(fake_accepts_with_data(), 28); /* all but an eighth */
    /* Those without data are posted again and again, and never more than `high`. */
    for (int number = 0; number < 30; number++) {
        fake_accept(31, number, NULL);
        assert_int_equal(fake_acceptor()->count, 32);
        assert_int_equal(fake_accepts_with_data(), 28);
    }
    assert_int_equal(atomic_load(&listener->pending), 30);
    assert_int_equal(count(&listener->counters.opened), 0);
    fake_arrive(worker->port, 7, "at last", 7);
    assert_int_equal(count(&listener->counters.opened), 1);
    assert_int_equal(atomic_load(&listener->pending), 29);
    assert_int_equal(fake_acceptor()->most, 32);
}

static void test_pool_serves_speakers_while_the_silent_have_the_rest(void **state) {
    (void)state;
    options.accept_on_data = true;
    start();
    on_worker(steps_silent);
}

static void steps_pending_full(struct worker *worker, void *argument) {
    (void)argument;
    for (int i = 0; i < 4; i++) {
        fake_starve();
    }
    int number = 0;
    while (fake_acceptor()->count > fake_accepts_with_data()) {
        assert_true(number < 20);
        fake_accept(fake_acceptor()->count - 1, number++, NULL);
    }
    /* Ten at the most, and what was posted already. */
    assert_in_range(atomic_load(&listener->pending), 10, 10 + 4);
    assert_int_equal(atomic_load(&listener->pending), number);
    fake_starve();
    assert_int_equal(fake_acceptor()->count, 28);
    for (int i = 0; i < number; i++) {
        fake_arrive(worker->port, i, "x", 1);
    }
    assert_int_equal(atomic_load(&listener->pending), 0);
}

static void steps_posts_again(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(fake_acceptor()->count, 32);
}

static void test_pool_posts_none_while_too_many_are_pending(void **state) {
    (void)state;
    options.accept_on_data = true;
    options.pending_max = 10;
    start();
    on_worker(steps_pending_full);
    on_worker(steps_posts_again);
}

static void steps_sweep(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_silence(0, 60000);
    fake_silence(1, 59999);
    fake_silence(2, 70000);
    fake_starve();
    assert_int_equal(fake_acceptor()->count, 6 + 8);
}

static void steps_swept(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(count(&listener->counters.first_data_timeouts), 2);
    assert_int_equal(count(&listener->counters.accept_failed[-ENGINE_E_CANCELLED]), 0);
}

static void test_pool_cuts_those_whose_time_is_up_and_no_other(void **state) {
    (void)state;
    options.accept_on_data = true;
    start();
    on_worker(steps_sweep);
    on_worker(steps_swept);
}

static void steps_one_accept_only(struct worker *worker, void *argument) {
    (void)argument;
    assert_int_equal(fake_acceptor()->count, 1);
    assert_int_equal(fake_accepts_with_data(), 0); /* one silent client would have it for itself */
    for (int number = 0; number < 5; number++) {
        fake_accept(0, number, NULL);
        assert_int_equal(fake_acceptor()->count, 1);
    }
    assert_int_equal(atomic_load(&listener->pending), 5);
    fake_arrive(worker->port, 3, "hello", 5);
    assert_int_equal(count(&listener->counters.opened), 1);
}

static void test_pool_of_one_is_not_taken_by_one_silent_client(void **state) {
    (void)state;
    options.accept_on_data = true;
    options.pool_initial = options.pool_low = options.pool_high = 1;
    start();
    on_worker(steps_one_accept_only);
}

/* -- limits ---------------------------------------------------------------- */

static void steps_full(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    for (int number = 0; number < 3; number++) {
        fake_accept(0, number, NULL);
    }
    assert_int_equal(count(&listener->counters.opened), 3);
    for (int number = 3; number < 8; number++) { /* those posted before are taken, unseen */
        fake_accept(0, number, NULL);
    }
    assert_int_equal(count(&listener->counters.opened), 3);
    assert_int_equal(atomic_load(&listener->waiting), 5);
    assert_int_equal(fake_acceptor()->count, 0);
    fake_starve();
    assert_int_equal(fake_acceptor()->count, 0);
    fake_end(0, 0);
    fake_end(1, 0);
}

static void steps_still_full(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(count(&listener->counters.opened), 5);
    assert_int_equal(atomic_load(&listener->waiting), 3);
    assert_int_equal(fake_acceptor()->count, 0);
    for (int number = 2; number < 5; number++) {
        fake_end(number, 0);
    }
}

static void steps_room(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_int_equal(count(&listener->counters.opened), 8);
    assert_int_equal(atomic_load(&listener->waiting), 0);
    fake_end(5, 0);
}

static void steps_posting_again(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    assert_true(fake_acceptor()->count >= 8);
}

static void test_pool_posts_none_while_a_limit_leaves_no_room(void **state) {
    (void)state;
    options.connections_max = 3;
    start();
    on_worker(steps_full);
    on_worker(steps_still_full); /* after the kick */
    on_worker(steps_room);
    on_worker(steps_posting_again);
}

/* -- failures -------------------------------------------------------------- */

static void steps_failing_codes(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    static const int64_t results[] = {ENGINE_E_RESET, ENGINE_E_RESET, ENGINE_E_TIMED_OUT,
                                      ENGINE_E_UNREACHABLE};
    for (size_t i = 0; i < ARRAY_COUNT(results); i++) {
        fake_accept_fail(0, results[i]);
    }
    const struct listener_counters *counters = &listener->counters;
    assert_int_equal(count(&counters->accept_failed[-ENGINE_E_RESET]), 2);
    assert_int_equal(count(&counters->accept_failed[-ENGINE_E_TIMED_OUT]), 1);
    assert_int_equal(count(&counters->accept_failed[-ENGINE_E_UNREACHABLE]), 1);
    assert_int_equal(count(&counters->shortages), 0);
    assert_int_equal(fake_acceptor()->count, 4);
    fake_accept(0, 0, NULL);
    assert_int_equal(fake_acceptor()->count, 8); /* it goes on */
    assert_int_equal(count(&counters->accepted), 1);
}

static void steps_abandoned(struct worker *worker, void *argument) {
    struct engine_accept *kept = fake_acceptor()->posted[0];
    (void)worker;
    (void)argument;
    fake_accept_fail(0, ENGINE_E_ABANDONED);
    assert_int_equal(count(&listener->counters.accept_failed[-ENGINE_E_ABANDONED]), 1);
    fake_accept(0, 0, NULL);
    assert_int_equal(count(&listener->counters.accepted), 1);
    assert_non_null(kept->op.complete);
    alloc_free(kept); /* the first in its slot, which nobody else frees */
}

static void test_pool_goes_on_without_an_accept_that_is_abandoned(void **state) {
    (void)state;
    start();
    on_worker(steps_abandoned);
}

static void test_pool_goes_on_after_the_failures_of_clients(void **state) {
    (void)state;
    start();
    on_worker(steps_failing_codes);
}

static void steps_shortage(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    unsigned before = fake_acceptor()->posts;
    while (fake_acceptor()->count > 0) {
        fake_accept_fail(0, ENGINE_E_NO_RESOURCES);
    }
    assert_int_equal(fake_acceptor()->posts, before); /* not at once again */
    fake_starve();
    assert_int_equal(fake_acceptor()->posts, before);
    assert_int_equal(count(&listener->counters.shortages), 1);
}

static unsigned tried;

static void steps_look(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    tried = fake_acceptor()->count;
}

static void wait_for_a_try(void) {
    uint64_t start_ms = os_now_ms();
    for (tried = 0; tried == 0;) {
        on_worker(steps_look);
        assert_true(os_now_ms() - start_ms < PATIENCE_MS);
    }
}

static void steps_accept_one(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_accept(0, 0, NULL);
}

static void test_pool_pauses_in_a_shortage_and_tries_again(void **state) {
    (void)state;
    start();
    for (int i = 0; i < 4; i++) {
        on_worker(steps_shortage); /* one episode, however often it fails */
        wait_for_a_try();
        assert_int_equal(tried, 8);
    }
    on_worker(steps_accept_one);
    on_worker(steps_shortage); /* and also in spite of a success in between */
    wait_for_a_try();
    assert_int_equal(count(&listener->counters.accept_failed[-ENGINE_E_NO_RESOURCES]), 4 * 8 + 7);
}

static void steps_shortage_and_an_end(struct worker *worker, void *argument) {
    steps_shortage(worker, argument);
    fake_end(0, 0); /* its descriptor may be what is needed */
}

static void test_pool_in_a_shortage_tries_again_when_a_connection_ends(void **state) {
    (void)state;
    options.pool_initial = 1;
    options.pool_low = 1;
    start();
    on_worker(steps_accept_one);
    for (int i = 0; i < 6; i++) { /* until the pause is long */
        on_worker(steps_shortage);
        wait_for_a_try();
    }
    on_worker(steps_shortage_and_an_end);
    on_worker(steps_look);
    assert_int_equal(tried, 1);
}

static void steps_no_memory(struct worker *worker, void *argument) {
    (void)argument;
    (void)worker;
    alloc_fail_after(0, true);
    fake_starve();
    alloc_fail_after(-1, false);
    assert_int_equal(fake_acceptor()->count, 8);
    assert_int_equal(count(&listener->counters.shortages), 1);
    while (fake_acceptor()->count > 0) {
        fake_accept_fail(0, ENGINE_E_RESET);
    }
}

static void test_pool_without_memory_pauses_and_tries_again(void **state) {
    (void)state;
    start();
    on_worker(steps_no_memory);
    wait_for_a_try();
}

static void steps_fail_hard(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    while (fake_acceptor()->count > 0) {
        fake_accept_fail(0, ENGINE_E_OTHER);
    }
}

static void steps_fallen_back(struct worker *worker, void *argument) {
    (void)argument;
    assert_true(fake_acceptor()->fell_back);
    assert_int_equal(fake_accepts_with_data(), 0);
    fake_accept(0, 0, NULL); /* and the promise of first data is kept all the same */
    assert_int_equal(count(&listener->counters.opened), 0);
    fake_arrive(worker->port, 0, "hello", 5);
    assert_int_equal(count(&listener->counters.opened), 1);
}

static void test_pool_falls_back_to_plain_accepts_after_repeated_hard_failures(void **state) {
    (void)state;
    options.accept_on_data = true;
    start();
    for (int i = 0; i < 4; i++) { /* eight at a time */
        assert_false(fake_acceptor()->fell_back);
        on_worker(steps_fail_hard);
        wait_for_a_try();
    }
    on_worker(steps_fallen_back);
}

static void steps_fail_and_succeed(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_accept_fail(0, ENGINE_E_OTHER);
    fake_accept(0, *(int *)argument, NULL);
}

static void test_pool_does_not_fall_back_while_some_succeed(void **state) {
    (void)state;
    start();
    for (int number = 0; number < 40; number++) {
        worker_call(&server->workers[0], steps_fail_and_succeed, &number);
        wait_for_a_try();
    }
    assert_false(fake_acceptor()->fell_back);
    assert_int_equal(count(&listener->counters.accept_failed[-ENGINE_E_OTHER]), 40);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_clients_who_come_as_the_pool_stops_are_served),
        TEST(test_clients_who_come_without_data_as_the_pool_stops_have_not_ended),
        TEST(test_pool_is_filled_again_when_it_falls_below_low),
        TEST(test_pool_grows_for_those_who_queue_up_to_high),
        TEST(test_pool_is_kept_high_while_clients_come_in_a_rush),
        TEST(test_pool_serves_speakers_while_the_silent_have_the_rest),
        TEST(test_pool_posts_none_while_too_many_are_pending),
        TEST(test_pool_cuts_those_whose_time_is_up_and_no_other),
        TEST(test_pool_of_one_is_not_taken_by_one_silent_client),
        TEST(test_pool_posts_none_while_a_limit_leaves_no_room),
        TEST(test_pool_goes_on_after_the_failures_of_clients),
        TEST(test_pool_goes_on_without_an_accept_that_is_abandoned),
        TEST(test_pool_pauses_in_a_shortage_and_tries_again),
        TEST(test_pool_in_a_shortage_tries_again_when_a_connection_ends),
        TEST(test_pool_without_memory_pauses_and_tries_again),
        TEST(test_pool_falls_back_to_plain_accepts_after_repeated_hard_failures),
        TEST(test_pool_does_not_fall_back_while_some_succeed),
    };
    return cmocka_run_group_tests_name("accept_pool", tests, NULL, NULL);
}
