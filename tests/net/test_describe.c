/* Objects in a line each. */
#include "connection_world.h"

#include "fake_engine.h"
#include "net/lib/describe.h"
#include "plugin/plugin_timer.h"

static char lines[4096];

static void tell(void *context, const char *line) {
    size_t used = strlen(lines);
    (void)context;
    assert_in_range(strlen(line), 1, DESCRIBE_BYTES - 1);
    snprintf(lines + used, sizeof(lines) - used, "%s\n", line);
}

static void assert_told(const char *text) {
    if (!strstr(lines, text)) {
        print_error("\"%s\" is not in:\n%s", text, lines);
    }
    assert_non_null(strstr(lines, text));
}

static void steps_connection(struct worker *worker, void *argument) {
    char cut[16];
    (void)argument;
    struct connection *connection = adopt(worker, 0, "first");
    fake_socket(0)->send_room = 0;
    connection_send(connection, "answer", 6);
    connection_pause(connection);
    worker_run_pending(worker);
    connection_describe_whole(connection, tell, NULL);
    assert_told("from 0.0.0.0:0: open, admitted, receive stopping, send pending, hold-plugin; "
                "5 bytes received, 0 sent, 6 queued in 1 pieces\n");
    connection_describe(connection, cut, sizeof(cut));
    assert_int_equal(strlen(cut), sizeof(cut) - 1);
    connection_end(connection, BERTH_CLOSED_BY_PLUGIN, true);
    worker_run_pending(worker);
    fake_run_stopped();
}

static void test_describe_connection_tells_its_state_and_its_bytes(void **state) {
    (void)state;
    on_worker(steps_connection);
}

static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    (void)timer;
    (void)argument;
}

static void steps_timer(struct worker *worker, void *argument) {
    (void)argument;
    listener->options.timers_max = 1;
    struct connection *connection = adopt(worker, 0, NULL);
    struct berth_timer *timer = plugin_timer_create(connection, on_timer, NULL);
    connection_describe_whole(connection, tell, NULL);
    assert_told("timer of listener \"diary\" for connection ");
    assert_told(": does not run\n");
    plugin_timer_start(timer, 60000);
    connection_describe_whole(connection, tell, NULL);
    assert_told(": runs\n");
    fake_end(0, ENGINE_E_RESET);
}

static void test_describe_connection_tells_what_it_has_asked_for(void **state) {
    (void)state;
    on_worker(steps_timer);
}

static void test_describe_server_tells_of_each_worker(void **state) {
    char line[DESCRIBE_BYTES];
    (void)state;
    server_describe_whole(server, tell, NULL);
    assert_told("server: engine fake, 1 workers, at most 100 connections, 0 connections, 0 files");
    assert_told("worker 0: 0 connections, 0 posts under way\n");
    listener_describe(listener, line, sizeof(line));
    assert_string_equal(line, "listener \"diary\", generation 0: serving, 0 references, 0 "
                              "connections, 0 pending, 0 waiting, 0 refused, 0 outbound, 0 works");
}

static int set_up_lines(void **state) {
    lines[0] = '\0';
    return set_up(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_describe_connection_tells_its_state_and_its_bytes,
                                        set_up_lines, tear_down),
        cmocka_unit_test_setup_teardown(test_describe_connection_tells_what_it_has_asked_for,
                                        set_up_lines, tear_down),
        cmocka_unit_test_setup_teardown(test_describe_server_tells_of_each_worker, set_up_lines,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
