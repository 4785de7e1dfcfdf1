/* test_engine_connect.c: the conformance suite's part on connecting. */
#include "conformance.h"

#include <stdlib.h>

enum {
    LONG_BYTES = 200000, /* more than a connect may take along */
    CROWD = 50,
    CROWD_MAX = 16, /* more than any system lets queue on a backlog of one */
};

/* An engine_connect, and what became of it. */
struct attempt {
    struct engine_connect connect;
    unsigned completions;
    int64_t result;
};

static void on_connected(struct engine_op *op, int64_t result) {
    struct attempt *attempt = CONTAINER_OF(op, struct attempt, connect.op);
    attempt->completions++;
    attempt->result = result;
}

static void attempt_prepare(struct attempt *attempt, const struct berth_address *to) {
    *attempt = (struct attempt){.connect = {.op.complete = on_connected, .remote = *to}};
}

static void attempt_start(struct world *world, struct attempt *attempt) {
    unsigned pending = engine_port_pending(world->port);
    engine_connect(world->port, &attempt->connect);
    assert_int_equal(attempt->completions, 0); /* never before the port runs */
    assert_int_equal(engine_port_pending(world->port), pending + 1);
}

/* It is over: on failure there is no socket, else the link of it. */
static struct link *attempt_link(struct world *world, struct attempt *attempt) {
    assert_int_equal(attempt->completions, 1);
    if (attempt->result < 0) {
        assert_int_equal(attempt->connect.socket.handle, ENGINE_NO_SOCKET.handle);
        return NULL;
    }
    assert_int_not_equal(attempt->connect.socket.handle, ENGINE_NO_SOCKET.handle);
    return link_adopt(world, attempt->connect.socket);
}

static void send_rest(struct link *link, const uint8_t *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        struct engine_piece piece = {.bytes = bytes + done, .size = size - done};
        link->sends = 0;
        int64_t sent = engine_send(link->world->port, link->socket, &link->send, &piece, 1);
        if (sent == ENGINE_PENDING) {
            RUN_UNTIL(link->world, link->sends > 0);
            sent = link->sent;
        }
        assert_in_range(sent, 0, size - done);
        done += (size_t)sent;
    }
}

/* Connects to the world's listener and has it speak: `size` bytes from here, the first `first` of
 * them given to the connect, and some back. */
static void converse(struct world *world, const struct engine_socket_options *options, size_t first,
                     size_t size) {
    struct attempt attempt;
    struct accepted accepted;
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    pattern_fill(bytes, size, 0);
    attempt_prepare(&attempt, &world->address);
    attempt.connect.options = *options;
    attempt.connect.first_data = (struct engine_piece){.bytes = bytes, .size = first};
    accept_post(world, &accepted, false);
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0 && accepted.completions > 0);
    struct link *near = attempt_link(world, &attempt);
    assert_non_null(near);
    assert_in_range(attempt.result, 0, first);
    assert_true(accepted.result >= 0);
    assert_true(address_equal(&attempt.connect.local, &accepted.accept.remote));
    assert_true(address_equal(&world->address, &accepted.accept.local));

    struct link *far = link_adopt(world, accepted.accept.socket);
    assert_true(engine_attach(world->port, &far->socket, NULL));
    link_receive(far, ENGINE_RECEIVE_ZERO_BYTE);
    link_receive(near, ENGINE_RECEIVE_BUFFERED);
    send_rest(near, bytes + attempt.result, size - (size_t)attempt.result);
    expect_received(far, bytes, size);
    send_rest(far, (const uint8_t *)"answer", 6);
    expect_received(near, "answer", 6);
    assert_int_equal(engine_shutdown_send(world->port, near->socket), 0);
    RUN_UNTIL(world, far->ends > 0);
    assert_int_equal(far->end, 0);
    assert_int_equal(engine_shutdown_send(world->port, far->socket), 0);
    RUN_UNTIL(world, near->ends > 0);
    assert_int_equal(near->end, 0);
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(near);
    link_close(far);
    free(bytes);
}

static const struct engine_socket_options no_options;

static void test_connect_without_data_gives_a_connection(void **state) {
    converse(*state, &no_options, 0, 5);
}

static void test_connect_with_data_loses_nothing_of_it(void **state) {
    converse(*state, &no_options, 5, 5);
    converse(*state, &no_options, 1, 1000);
    converse(*state, &no_options, LONG_BYTES, LONG_BYTES);
}

static void test_connect_over_ipv6_gives_a_connection(void **state) {
    struct world *world = *state;
    world_listen(world, &loopback_v6, true);
    converse(world, &no_options, 0, 5);
    converse(world, &no_options, 5, 5);
}

static void test_connect_sets_the_options(void **state) {
    static const struct engine_socket_options options = {
        .no_delay = true,
        .keepalive_idle_s = 60,
        .keepalive_interval_s = 10,
        .keepalive_probes = 5,
        .receive_bytes = 32768,
        .send_bytes = 32768,
    };
    converse(*state, &options, 5, LONG_BYTES);
}

static void test_connect_with_data_meets_an_accept_on_data(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    struct accepted accepted;
    attempt_prepare(&attempt, &world->address);
    attempt.connect.first_data =
        (struct engine_piece){.bytes = (const uint8_t *)"hello", .size = 5};
    accept_post(world, &accepted, true);
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    struct link *link = attempt_link(world, &attempt);
    assert_non_null(link);
    assert_in_range(attempt.result, 0, 5);
    send_rest(link, (const uint8_t *)"hello" + attempt.result, 5 - (size_t)attempt.result);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, 5);
    assert_memory_equal(accepted.accept.data.bytes, "hello", 5);
    accept_finish(world, &accepted, false);
    link_close(link);
}

static void test_connects_at_once_all_come_through(void **state) {
    struct world *world = *state;
    static struct attempt attempts[CROWD];
    static struct accepted accepted[CROWD];
    unsigned completed = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        attempt_prepare(&attempts[i], &world->address);
        accept_post(world, &accepted[i], false);
        attempt_start(world, &attempts[i]);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        RUN_UNTIL(world, attempts[i].completions > 0 && accepted[i].completions > 0);
        assert_int_equal(attempts[i].result, 0);
    }
    for (unsigned i = 0; i < CROWD; i++) { /* each accept has another of them */
        for (unsigned k = 0; k < CROWD; k++) {
            completed += address_equal(&attempts[i].connect.local, &accepted[k].accept.remote);
        }
        link_close(attempt_link(world, &attempts[i]));
        accept_finish(world, &accepted[i], false);
    }
    assert_int_equal(completed, CROWD);
    assert_int_equal(engine_port_pending(world->port), 0);
}

/* -- failures -------------------------------------------------------------- */

static void test_connect_to_a_closed_port_is_refused(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    world_listen_end(world);
    attempt_prepare(&attempt, &world->address);
    attempt.connect.first_data =
        (struct engine_piece){.bytes = (const uint8_t *)"hello", .size = 5};
    for (int i = 0; i < 2; i++) { /* the same operation again */
        attempt.completions = 0;
        attempt_start(world, &attempt);
        RUN_UNTIL(world, attempt.completions > 0);
        assert_int_equal(attempt.result, ENGINE_E_REFUSED);
        assert_null(attempt_link(world, &attempt));
    }
    run_quietly(world);
    assert_int_equal(attempt.completions, 1);
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void test_connect_without_sockets_fails_as_its_completion(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    if (!peer_sockets_forbid()) {
        skip();
    }
    attempt_prepare(&attempt, &world->address);
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    peer_sockets_forbid_end();
    assert_int_equal(attempt.result, ENGINE_E_NO_RESOURCES);
    assert_null(attempt_link(world, &attempt));
    converse(world, &no_options, 0, 5);
}

/* -- cancelling ------------------------------------------------------------ */

/* A listener that accepts nothing, with clients enough that others get no answer: nor a refusal,
 * where the system has such ones try again. */
static void test_connect_without_an_answer_can_be_cancelled(void **state) {
    struct world *world = *state;
    struct engine_listen_options options = {.address = loopback_v4, .backlog = 1, .acceptors = 1};
    struct engine_listener *listener = engine_listener_open(world->engine, &options, NULL);
    assert_non_null(listener);
    assert_true(engine_listener_start(listener, NULL));
    struct berth_address address = engine_listener_address(listener);
    static struct attempt attempts[CROWD_MAX];
    unsigned cancelled = 0;
    for (unsigned i = 0; i < CROWD_MAX; i++) {
        attempt_prepare(&attempts[i], &address);
        attempt_start(world, &attempts[i]);
        engine_port_run(world->port, RUN_MS);
    }
    run_quietly(world);
    for (unsigned i = 0; i < CROWD_MAX; i++) {
        struct attempt *attempt = &attempts[i];
        if (attempt->completions == 0) {
            engine_connect_cancel(world->port, &attempt->connect);
            engine_connect_cancel(world->port, &attempt->connect);
            assert_int_equal(attempt->completions, 0); /* not from within */
            RUN_UNTIL(world, attempt->completions > 0);
            assert_int_equal(attempt->result, ENGINE_E_CANCELLED);
            cancelled++;
        }
        struct link *link = attempt_link(world, attempt);
        if (link) {
            link_close(link);
        }
    }
    run_quietly(world);
    for (unsigned i = 0; i < CROWD_MAX; i++) {
        assert_int_equal(attempts[i].completions, 1);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    engine_listener_close(listener);
    if (cancelled == 0) {
        skip(); /* here every attempt is decided at once */
    }
}

static void test_connect_cancelled_at_once_completes_once(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 20; i++) {
        struct attempt attempt;
        attempt_prepare(&attempt, &world->address);
        attempt_start(world, &attempt);
        if (i % 2) {
            engine_port_run(world->port, 0);
        }
        if (attempt.completions == 0) {
            engine_connect_cancel(world->port, &attempt.connect);
        }
        RUN_UNTIL(world, attempt.completions > 0);
        assert_true(attempt.result == 0 || attempt.result == ENGINE_E_CANCELLED);
        struct link *link = attempt_link(world, &attempt);
        if (link) {
            link_close(link);
        }
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    expect_accepting(world);
}

int main(void) {
#define WITH_LISTENER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define BARE(test) cmocka_unit_test_setup_teardown(test, setup_bare, teardown)
    const struct CMUnitTest tests[] = {
        WITH_LISTENER(test_connect_without_data_gives_a_connection),
        WITH_LISTENER(test_connect_with_data_loses_nothing_of_it),
        BARE(test_connect_over_ipv6_gives_a_connection),
        WITH_LISTENER(test_connect_sets_the_options),
        WITH_LISTENER(test_connect_with_data_meets_an_accept_on_data),
        WITH_LISTENER(test_connects_at_once_all_come_through),
        WITH_LISTENER(test_connect_to_a_closed_port_is_refused),
        WITH_LISTENER(test_connect_without_sockets_fails_as_its_completion),
        BARE(test_connect_without_an_answer_can_be_cancelled),
        WITH_LISTENER(test_connect_cancelled_at_once_completes_once),
    };
    return cmocka_run_group_tests_name("engine_connect", tests, NULL, NULL);
}
