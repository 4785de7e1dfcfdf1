/* Connections against an engine made of nothing: every order of events that a system may choose.
 *
 * Each test runs on a worker's real thread with a plugin that writes down what it hears. */
#include "connection_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fake_engine.h"
#include "net/lib/buffer.h"
#include "net/lib/latch.h"
#include "plugin/plugin_post.h"
#include "plugin/plugin_stats.h"

/* -- the tests: each is its steps on the worker, and what must have come of them
 * ---------------------- */

static void steps_echo_then_fin(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "hello");
    fake_end(0, 0);
}

static void test_connection_echoes_and_ends_when_the_peer_does(void **state) {
    (void)state;
    on_worker(steps_echo_then_fin);
    assert_string_equal(diary, "opened received:hello peer_closed closed:2 ");
    assert_memory_equal(fake_socket(0)->sent, "hello", 5);
    assert_true(fake_socket(0)->recycled);
}

static void steps_first_data(struct worker *worker, void *argument) {
    (void)argument;
    adopt(worker, 0, "first");
    fake_end(0, 0);
}

static void test_connection_with_first_data_is_opened_and_shown_it(void **state) {
    (void)state;
    on_worker(steps_first_data);
    assert_string_equal(diary, "opened+data received:first peer_closed closed:2 ");
}

static void steps_rest(struct worker *worker, void *argument) {
    (void)argument;
    adopt(worker, 0, NULL);
    consume_max = 2;
    arrive(worker, 0, "abc");
    arrive(worker, 0, "d");
    arrive(worker, 0, "efgh");
    consume_max = UINT32_MAX;
    arrive(worker, 0, "i");
    fake_end(0, 0);
}

static void test_connection_rest_comes_again_in_front_of_what_follows(void **state) {
    (void)state;
    on_worker(steps_rest);
    assert_string_equal(diary, "opened received:abc received:cd received:efgh received:ghi "
                               "peer_closed closed:2 ");
}

static void keep_and_leave(struct berth_conn *conn, const struct berth_slice *data) {
    (void)conn;
    assert_true(buffer_plugin_acquires(data->buffer)); /* so the host may not write into it */
    *(struct berth_slice *)conn->state = *data;
}

static void steps_kept_rest(struct worker *worker, void *argument) {
    (void)argument;
    consume_max = 1;
    in_received = keep_and_leave;
    struct connection *connection = adopt(worker, 0, NULL);
    arrive(worker, 0, "abc");
    struct berth_slice kept = *(struct berth_slice *)connection->public.state;
    in_received = NULL;
    arrive(worker, 0, "def");
    assert_memory_equal(kept.bytes, "abc", 3);
    assert_true(buffer_plugin_releases(kept.buffer));
    fake_end(0, 0);
}

static void test_connection_buffer_kept_by_the_plugin_is_not_written_again(void **state) {
    (void)state;
    on_worker(steps_kept_rest);
    assert_string_equal(diary, "opened received:abc received:bcdef peer_closed closed:2 ");
}

static void steps_many_kept_rests(struct worker *worker, void *argument) {
    (void)argument;
    consume_max = 1;
    in_received = keep_and_leave;
    struct connection *connection = adopt(worker, 0, NULL);
    struct berth_slice *last = connection->public.state;
    for (int i = 0; i < 20; i++) {
        struct berth_slice kept = *last;
        arrive(worker, 0, i == 0 ? "xy" : "x"); /* one byte is left, again and again */
        const struct berth_buffer *buffer = handle_object(last->buffer);
        assert_in_range(buffer->capacity, 1, 2 * BUFFER_BYTES);
        assert_true(!kept.buffer || buffer_plugin_releases(kept.buffer));
    }
    assert_true(buffer_plugin_releases(last->buffer));
    fake_end(0, 0);
}

static void test_connection_rests_of_kept_buffers_do_not_grow(void **state) {
    (void)state;
    on_worker(steps_many_kept_rests);
}

static void steps_want(struct worker *worker, void *argument) {
    (void)argument;
    struct connection *connection = adopt(worker, 0, NULL);
    assert_int_equal(connection_want_at_least(connection, MESSAGE_BYTES + 1), BERTH_E_LIMIT);
    assert_int_equal(connection_want_at_least(connection, 5), BERTH_OK);
    arrive(worker, 0, "ab");
    arrive(worker, 0, "cd");
    arrive(worker, 0, "ef");
    arrive(worker, 0, "gh");
    fake_end(0, 0); /* a last look at what is shorter than it wants */
}

static void test_connection_want_at_least_holds_back_until_the_end(void **state) {
    (void)state;
    on_worker(steps_want);
    assert_string_equal(diary, "opened received:abcdef received:gh peer_closed closed:2 ");
}

static void steps_message_too_long(struct worker *worker, void *argument) {
    (void)argument;
    static char chunk[MESSAGE_BYTES / 2 + 1];
    memset(chunk, 'x', sizeof(chunk) - 1);
    consume_max = 0;
    adopt(worker, 0, NULL);
    arrive(worker, 0, chunk);
    arrive(worker, 0, chunk);
    assert_true(strstr(diary, "closed") == NULL);
    arrive(worker, 0, "one too many");
    fake_run_stopped();
}

static void test_connection_message_past_the_limit_is_cut(void **state) {
    (void)state;
    on_worker(steps_message_too_long);
    assert_non_null(strstr(diary, "closed:5 "));
    assert_true(fake_socket(0)->reset);
}

static uint32_t BERTH_CALL consume_too_much(struct berth_conn *conn,
                                            const struct berth_slice *data) {
    (void)conn;
    return data->size + 1;
}

static void steps_plugin_fault(struct worker *worker, void *argument) {
    struct berth_plugin faulty = diarist;
    const struct berth_plugin *honest = listener->plugin;
    (void)argument;
    faulty.received = consume_too_much;
    listener->plugin = &faulty;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "abc");
    fake_run_stopped();
    listener->plugin = honest;
}

static void test_connection_plugin_that_consumes_too_much_is_cut_and_counted(void **state) {
    (void)state;
    on_worker(steps_plugin_fault);
    assert_string_equal(diary, "opened closed:9 ");
    assert_int_equal(atomic_load(&listener->counters.plugin_faults), 1);
}

static void say_bye(struct berth_conn *conn, void (*close)(struct connection *connection)) {
    assert_int_equal(connection_send(connection_of(conn), "bye", 3), BERTH_OK);
    close(connection_of(conn));
    assert_int_equal(connection_send(connection_of(conn), "more", 4), BERTH_E_STATE);
}

static void send_and_close(struct berth_conn *conn, const struct berth_slice *data) {
    (void)data;
    say_bye(conn, connection_close);
}

static void steps_close_with_slow_peer(struct worker *worker, void *argument) {
    (void)argument;
    fake_socket(0)->send_room = 0;
    in_received = send_and_close;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    assert_false(fake_socket(0)->fin_sent);
    fake_sendable(0, 2);
    assert_false(fake_socket(0)->fin_sent);
    fake_sendable(0, UINT32_MAX);
    assert_true(fake_socket(0)->fin_sent);
    in_received = NULL;
    arrive(worker, 0, "thrown away");
    fake_end(0, 0);
}

static void test_connection_close_sends_the_queue_then_a_fin_then_waits(void **state) {
    (void)state;
    on_worker(steps_close_with_slow_peer);
    assert_string_equal(diary, "opened received:x closed:1 ");
    assert_memory_equal(fake_socket(0)->sent, "bye", 3);
    assert_false(fake_socket(0)->reset);
}

static void send_and_leave(struct berth_conn *conn, const struct berth_slice *data) {
    (void)data;
    say_bye(conn, connection_close_at_once);
}

static void steps_close_at_once(struct worker *worker, void *argument) {
    (void)argument;
    fake_socket(0)->send_room = 0;
    in_received = send_and_leave;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    fake_sendable(0, 2);
    assert_true(fake_socket(0)->open);
    fake_sendable(0, UINT32_MAX);
    fake_run_stopped();
    assert_false(fake_socket(0)->open);
    assert_false(fake_socket(0)->fin_sent); /* the closing does it */
}

static void test_connection_close_at_once_sends_the_queue_and_waits_for_nobody(void **state) {
    (void)state;
    on_worker(steps_close_at_once);
    assert_string_equal(diary, "opened received:x closed:1 ");
    assert_memory_equal(fake_socket(0)->sent, "bye", 3);
    assert_false(fake_socket(0)->reset);
}

static void steps_fin_with_queue(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    fake_socket(0)->send_room = 0;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "all of it");
    fake_end(0, 0); /* the peer half-closes while its echo waits */
    assert_true(fake_socket(0)->open);
    fake_sendable(0, 4);
    fake_sendable(0, UINT32_MAX);
}

static struct connection *closed_one(struct worker *worker, uint64_t untaken) {
    in_received = send_and_close;
    struct connection *connection = adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    assert_true(fake_socket(0)->fin_sent);
    fake_socket(0)->untaken = untaken;
    return connection;
}

static void deadline_comes(struct worker *worker, struct connection *connection) {
    connection_deadline(&connection->deadline);
    worker_run_pending(worker);
    fake_run_stopped();
}

static void steps_slow_taker(struct worker *worker, void *argument) {
    (void)argument;
    struct connection *connection = closed_one(worker, 1000);
    for (uint64_t left = 1000; left > 1; left -= 333) {
        fake_socket(0)->untaken = left;
        deadline_comes(worker, connection);
        assert_true(fake_socket(0)->open);
    }
    fake_socket(0)->untaken = 1; /* the FIN is not acknowledged */
    deadline_comes(worker, connection);
    assert_false(fake_socket(0)->open);
    assert_false(fake_socket(0)->reset);
}

static void steps_no_taker(struct worker *worker, void *argument) {
    (void)argument;
    struct connection *connection = closed_one(worker, 1000);
    for (unsigned i = 0; i < 3; i++) { /* a pause */
        deadline_comes(worker, connection);
        assert_true(fake_socket(0)->open);
    }
    connection->active_ms -= 12 * connection_listener(connection)->options.close_timeout_ms;
    deadline_comes(worker, connection);
    assert_false(fake_socket(0)->open);
    assert_true(fake_socket(0)->reset);
}

static void steps_system_does_not_tell(struct worker *worker, void *argument) {
    (void)argument;
    deadline_comes(worker, closed_one(worker, 0));
    assert_false(fake_socket(0)->open);
    assert_false(fake_socket(0)->reset);
}

static void test_connection_closed_is_kept_while_the_peer_takes_the_rest(void **state) {
    (void)state;
    on_worker(steps_slow_taker);
    assert_string_equal(diary, "opened received:x closed:1 ");
}

static void test_connection_closed_is_reset_when_the_peer_takes_nothing(void **state) {
    (void)state;
    on_worker(steps_no_taker);
}

static void test_connection_closed_is_left_to_a_system_that_does_not_tell(void **state) {
    (void)state;
    on_worker(steps_system_does_not_tell);
}

static void test_connection_half_closed_peer_still_gets_everything(void **state) {
    (void)state;
    on_worker(steps_fin_with_queue);
    assert_int_equal(fake_socket(0)->sent_size, 9);
    assert_string_equal(diary, "opened received:all of it peer_closed closed:2 ");
}

static void abort_now(struct berth_conn *conn, const struct berth_slice *data) {
    (void)data;
    connection_end(connection_of(conn), BERTH_CLOSED_BY_PLUGIN, true);
    note("(still in the frame) ");
    assert_int_equal(connection_send(connection_of(conn), "x", 1), BERTH_E_GONE);
}

static void steps_abort(struct worker *worker, void *argument) {
    (void)argument;
    in_received = abort_now;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    assert_true(fake_socket(0)->open); /* its receive is not back yet */
    fake_run_stopped();
}

static void test_connection_abort_ends_outside_the_plugins_frame(void **state) {
    (void)state;
    on_worker(steps_abort);
    assert_string_equal(diary, "opened received:x (still in the frame) closed:1 ");
    assert_true(fake_socket(0)->reset);
}

static void steps_reset_with_pending_send(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    fake_socket(0)->send_room = 0;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    fake_end(0, ENGINE_E_RESET);
    assert_true(fake_socket(0)->open); /* the send is still in flight */
    fake_run_stopped();
}

static void test_connection_reset_waits_for_the_send_in_flight(void **state) {
    (void)state;
    on_worker(steps_reset_with_pending_send);
    assert_string_equal(diary, "opened received:x closed:3 ");
}

static void steps_receive_fails_with_pending_send(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    fake_socket(0)->send_room = 0;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    fake_end(0, ENGINE_E_OTHER);
    fake_run_stopped();
}

static void test_connection_failing_receive_lets_no_cut_answer_look_whole(void **state) {
    (void)state;
    on_worker(steps_receive_fails_with_pending_send);
    assert_string_equal(diary, "opened received:x closed:11 ");
    assert_true(fake_socket(0)->reset);
}

static void steps_send_fails(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    fake_socket(0)->send_error = ENGINE_E_RESET;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "x");
    fake_run_stopped();
}

static void test_connection_failing_send_ends_it_as_reset(void **state) {
    (void)state;
    on_worker(steps_send_fails);
    assert_string_equal(diary, "opened received:x closed:3 ");
}

static void flood(struct berth_conn *conn, const struct berth_slice *data) {
    static char chunk[QUEUE_BYTES];
    (void)data;
    assert_int_equal(connection_send(connection_of(conn), chunk, sizeof(chunk)), BERTH_OK);
}

static void steps_full_queue(struct worker *worker, void *argument) {
    (void)argument;
    in_received = flood;
    fake_socket(0)->send_room = 0;
    adopt(worker, 0, NULL);
    arrive(worker, 0, "1");
    assert_true(fake_socket(0)->receive_stopping);
    in_received = NULL;
    arrive(worker, 0, "2"); /* was under way already: kept, and not shown yet */
    fake_end(0, ENGINE_E_CANCELLED);
    assert_null(fake_socket(0)->receive);
    assert_true(strstr(diary, "received:2") == NULL);
    fake_sendable(0, QUEUE_BYTES / 4);
    assert_null(fake_socket(0)->receive); /* not yet down to half */
    fake_sendable(0, UINT32_MAX);
    assert_non_null(fake_socket(0)->receive);
    arrive(worker, 0, "3");
    fake_end(0, 0);
}

static void test_connection_full_queue_pauses_reading_until_half_is_sent(void **state) {
    (void)state;
    on_worker(steps_full_queue);
    assert_string_equal(
        diary, "opened received:1 filled drained received:2 received:3 peer_closed closed:2 ");
}

static void steps_hard_cap(struct worker *worker, void *argument) {
    static char chunk[QUEUE_BYTES];
    (void)argument;
    fake_socket(0)->send_room = 0;
    struct connection *connection = adopt(worker, 0, NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(connection_send(connection, chunk, sizeof(chunk)), BERTH_OK);
    }
    assert_int_equal(connection_send(connection, chunk, 1), BERTH_OK); /* of the same callback */
    worker_run_pending(worker);
    assert_int_equal(connection_send(connection, chunk, 1), BERTH_E_LIMIT);
    assert_int_equal(connection_send(connection, chunk, 1), BERTH_E_GONE);
    worker_run_pending(worker);
    fake_run_stopped();
}

static void test_connection_plugin_that_floods_is_cut_at_the_hard_cap(void **state) {
    (void)state;
    on_worker(steps_hard_cap);
    assert_string_equal(diary, "opened filled closed:5 ");
    assert_true(fake_socket(0)->reset);
}

static void steps_pause(struct worker *worker, void *argument) {
    (void)argument;
    struct connection *connection = adopt(worker, 0, NULL);
    connection_pause(connection);
    connection_pause(connection);
    worker_run_pending(worker);
    arrive(worker, 0, "a");
    arrive(worker, 0, "b");
    fake_end(0, 0); /* the FIN waits too */
    assert_string_equal(diary, "opened ");
    connection_resume(connection);
    worker_run_pending(worker);
}

static void test_connection_paused_hears_nothing_until_resumed(void **state) {
    (void)state;
    on_worker(steps_pause);
    assert_string_equal(diary, "opened received:ab peer_closed closed:2 ");
}

static void steps_half_open(struct worker *worker, void *argument) {
    (void)argument;
    keeps_half_open = true;
    struct connection *connection = adopt(worker, 0, NULL);
    fake_end(0, 0);
    assert_string_equal(diary, "opened peer_closed ");
    assert_int_equal(connection_send(connection, "later", 5), BERTH_OK);
    assert_int_equal(connection_shutdown_send(connection), BERTH_OK);
    assert_int_equal(connection_send(connection, "x", 1), BERTH_E_STATE);
    worker_run_pending(worker);
}

static void test_connection_half_open_plugin_may_send_then_finish(void **state) {
    (void)state;
    on_worker(steps_half_open);
    assert_string_equal(diary, "opened peer_closed closed:2 ");
    assert_memory_equal(fake_socket(0)->sent, "later", 5);
}

static void steps_cut(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    fake_socket(1)->send_room = 0;
    adopt(worker, 0, NULL);
    adopt(worker, 1, NULL);
    arrive(worker, 1, "unsent");
}

static void steps_run_stopped(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_run_stopped();
}

static void test_connection_cut_resets_only_where_something_is_lost(void **state) {
    (void)state;
    on_worker(steps_cut);
    assert_int_equal(listener_abort_all(listener), 2);
    on_worker(steps_run_stopped);
    assert_false(fake_socket(0)->reset);
    assert_true(fake_socket(1)->reset);
    assert_string_equal(diary, "opened opened received:unsent closed:6 closed:6 ");
}

static void steps_attach_fails(struct worker *worker, void *argument) {
    (void)argument;
    fake_socket(0)->attach_error = ENGINE_E_OTHER;
    adopt(worker, 0, "first");
}

static void test_connection_that_cannot_be_attached_is_reset_and_never_shown(void **state) {
    (void)state;
    on_worker(steps_attach_fails);
    assert_string_equal(diary, "");
    assert_true(fake_socket(0)->reset);
    assert_int_equal(atomic_load(&server->connections), 0);
}

static void steps_out_of_memory(struct worker *worker, void *argument) {
    (void)argument;
    for (int number = 0; number < 8; number++) {
        struct engine_accept accept = {.socket = {number}, .remote = any_address};
        listener_ref(listener);
        atomic_fetch_add(&worker->load, 1);
        alloc_fail_after(number, true);
        connection_adopt(worker, listener, &accept, 0, false);
        alloc_fail_after(-1, false);
        assert_true(fake_socket(number)->receive || fake_socket(number)->reset);
        if (fake_socket(number)->receive) {
            fake_end(number, 0);
        }
    }
    assert_true(fake_socket(0)->reset);
}

static void test_connection_every_failing_allocation_loses_only_that_one(void **state) {
    (void)state;
    on_worker(steps_out_of_memory);
    assert_int_equal(atomic_load(&listener->connections), 0);
}

static uint64_t known_id;
static int known_number;
static int posts_ok;
static struct plugin_stats *stats;
static int posts_gone;

static void BERTH_CALL on_post(struct berth_conn *conn, int32_t status, void *argument) {
    assert_ptr_equal(argument, &posts_ok);
    if (status == BERTH_OK) {
        assert_int_equal(conn->id, known_id);
        posts_ok++;
    } else {
        assert_int_equal(status, BERTH_E_GONE);
        assert_null(conn);
        posts_gone++;
    }
}

static void steps_adopt_for_post(struct worker *worker, void *argument) {
    (void)argument;
    known_id = adopt(worker, ++known_number, NULL)->public.id;
}

static void steps_nothing(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
}

static void steps_end(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_end(known_number, 0);
}

static void test_connection_post_reaches_it_by_id_and_tells_when_it_is_gone(void **state) {
    (void)state;
    posts_ok = posts_gone = 0;
    known_number = 0;
    stats = plugin_stats_create("diarist", 1);
    on_worker(steps_adopt_for_post);
    assert_int_equal(plugin_post(server, known_id, on_post, &posts_ok, stats), BERTH_OK);
    on_worker(steps_nothing); /* behind it in the same queue */
    assert_int_equal(posts_ok, 1);
    on_worker(steps_end);
    assert_int_equal(plugin_post(server, known_id, on_post, &posts_ok, stats), BERTH_OK);
    on_worker(steps_nothing);
    assert_int_equal(posts_gone, 1);
    uint64_t old_id = known_id;
    on_worker(steps_adopt_for_post); /* the slot is used again: the old id stays gone */
    assert_int_not_equal(known_id, old_id);
    assert_int_equal(plugin_post(server, old_id, on_post, &posts_ok, stats), BERTH_OK);
    on_worker(steps_nothing);
    assert_int_equal(posts_gone, 2);
    on_worker(steps_end);
    assert_int_equal(plugin_post(server, 0, on_post, &posts_ok, stats), BERTH_E_GONE);
    assert_int_equal(plugin_post(server, UINT64_MAX, on_post, &posts_ok, stats), BERTH_E_GONE);
    plugin_stats_close(stats);
}

static void steps_posts_are_bounded(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    /* From here they cannot run before this function returns. */
    assert_int_equal(plugin_post(server, known_id, on_post, &posts_ok, stats), BERTH_OK);
    assert_int_equal(plugin_post(server, known_id, on_post, &posts_ok, stats), BERTH_OK);
    assert_int_equal(plugin_post(server, known_id, on_post, &posts_ok, stats), BERTH_E_LIMIT);
}

static void test_connection_posts_are_bounded(void **state) {
    (void)state;
    posts_ok = posts_gone = 0;
    known_number = 0;
    stats = plugin_stats_create("diarist", 1);
    on_worker(steps_adopt_for_post);
    on_worker(steps_end);
    on_worker(steps_posts_are_bounded);
    on_worker(steps_nothing);
    assert_int_equal(posts_gone, 2);
    plugin_stats_close(stats);
}

static void steps_info(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    struct connection *connection = adopt(worker, 0, NULL);
    arrive(worker, 0, "12345");
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    connection_info(connection, &info);
    assert_int_equal(info.bytes_received, 5);
    assert_int_equal(info.bytes_sent, 5);
    assert_int_equal(info.bytes_queued, 0);
    assert_int_equal(info.remote.family, BERTH_FAMILY_IPV4);
    /* An older plugin's shorter struct is filled as far as it goes. */
    memset(&info, 0xee, sizeof(info));
    info.struct_size = offsetof(struct berth_conn_info, bytes_sent);
    connection_info(connection, &info);
    assert_int_equal(info.bytes_received, 5);
    assert_int_equal(info.bytes_sent, UINT64_C(0xeeeeeeeeeeeeeeee));
    fake_end(0, 0);
}

static void test_connection_info_fills_no_more_than_the_caller_has(void **state) {
    (void)state;
    on_worker(steps_info);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* -- turns ("limits.active_io") -------------------------------------------- */

static void steps_two_and_one_turn(struct worker *worker, void *argument) {
    (void)argument;
    io_permits_configure(&listener->io_permits, 1);
    in_received = echo;
    fake_socket(0)->send_room = 0;
    adopt(worker, 0, NULL);
    adopt(worker, 1, NULL);
    arrive(worker, 0, "a");
    arrive(worker, 1, "b");
    assert_string_equal(diary, "opened opened received:a ");
    assert_true(fake_socket(1)->receive_stopping);
    fake_end(1, ENGINE_E_CANCELLED);
}

static void steps_first_is_sent(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    fake_sendable(0, UINT32_MAX);
}

static void steps_both_end(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    for (int i = 0; i < 2; i++) {
        if (fake_socket(i)->receive) {
            fake_end(i, 0);
        }
    }
}

static void test_connection_without_a_turn_waits_until_the_other_is_done(void **state) {
    (void)state;
    on_worker(steps_two_and_one_turn);
    on_worker(steps_first_is_sent);
    on_worker(steps_both_end); /* its turn came before: posts keep their order */
    assert_string_equal(diary,
                        "opened opened received:a received:b peer_closed closed:2 peer_closed "
                        "closed:2 ");
    assert_memory_equal(fake_socket(1)->sent, "b", 1);
}

static void steps_waiting_one_is_reset(struct worker *worker, void *argument) {
    (void)argument;
    connection_end(nth_connection(worker, 1), BERTH_CLOSED_RESET, true);
}

static void test_connection_that_waits_for_its_turn_may_end(void **state) {
    (void)state;
    on_worker(steps_two_and_one_turn);
    on_worker(steps_waiting_one_is_reset);
    assert_string_equal(diary, "opened opened received:a closed:3 ");
    on_worker(steps_first_is_sent);
    on_worker(steps_both_end);
    assert_string_equal(diary, "opened opened received:a closed:3 peer_closed closed:2 ");
}

static void look_for_b(struct worker *worker, void *argument) {
    (void)worker;
    *(bool *)argument = strstr(diary, "received:b") != NULL;
}

/* The peer of the first does not read: the second one's turn comes all the same. */
static void test_connection_that_is_stalled_passes_its_turn_on(void **state) {
    (void)state;
    on_worker(steps_two_and_one_turn);
    bool came = false;
    uint64_t patience_ms = os_now_ms() + 60000;
    while (!came && os_now_ms() < patience_ms) {
        worker_call(&server->workers[0], look_for_b, &came);
    }
    assert_true(came);
    on_worker(steps_first_is_sent);
    on_worker(steps_both_end);
    assert_memory_equal(fake_socket(0)->sent, "a", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_connection_echoes_and_ends_when_the_peer_does),
        TEST(test_connection_with_first_data_is_opened_and_shown_it),
        TEST(test_connection_rest_comes_again_in_front_of_what_follows),
        TEST(test_connection_rests_of_kept_buffers_do_not_grow),
        TEST(test_connection_buffer_kept_by_the_plugin_is_not_written_again),
        TEST(test_connection_want_at_least_holds_back_until_the_end),
        TEST(test_connection_message_past_the_limit_is_cut),
        TEST(test_connection_plugin_that_consumes_too_much_is_cut_and_counted),
        TEST(test_connection_close_sends_the_queue_then_a_fin_then_waits),
        TEST(test_connection_close_at_once_sends_the_queue_and_waits_for_nobody),
        TEST(test_connection_closed_is_kept_while_the_peer_takes_the_rest),
        TEST(test_connection_closed_is_reset_when_the_peer_takes_nothing),
        TEST(test_connection_closed_is_left_to_a_system_that_does_not_tell),
        TEST(test_connection_half_closed_peer_still_gets_everything),
        TEST(test_connection_abort_ends_outside_the_plugins_frame),
        TEST(test_connection_reset_waits_for_the_send_in_flight),
        TEST(test_connection_failing_receive_lets_no_cut_answer_look_whole),
        TEST(test_connection_failing_send_ends_it_as_reset),
        TEST(test_connection_full_queue_pauses_reading_until_half_is_sent),
        TEST(test_connection_plugin_that_floods_is_cut_at_the_hard_cap),
        TEST(test_connection_paused_hears_nothing_until_resumed),
        TEST(test_connection_half_open_plugin_may_send_then_finish),
        TEST(test_connection_cut_resets_only_where_something_is_lost),
        TEST(test_connection_that_cannot_be_attached_is_reset_and_never_shown),
        TEST(test_connection_every_failing_allocation_loses_only_that_one),
        TEST(test_connection_post_reaches_it_by_id_and_tells_when_it_is_gone),
        TEST(test_connection_posts_are_bounded),
        TEST(test_connection_info_fills_no_more_than_the_caller_has),
        TEST(test_connection_without_a_turn_waits_until_the_other_is_done),
        TEST(test_connection_that_waits_for_its_turn_may_end),
        TEST(test_connection_that_is_stalled_passes_its_turn_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
