/* test_sim_network.c: what the simulated network has beside clients: servers to connect to, names,
 * addresses that fail, datagrams, peers that vanish, and the end of all faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"
#include "engine/sim/sim.h"

enum { BUFFER_BYTES = 1024, HOUR_MS = 3600000 };

static struct {
    struct engine *engine;
    struct engine_port *port;
    unsigned buffers;
} world;

static const struct berth_address upstream = {
    .family = BERTH_FAMILY_IPV4, .port = 80, .bytes = {127, 0, 0, 9}};

static bool buffer_take(void *context, struct engine_buffer *buffer) {
    uint8_t *bytes = malloc(BUFFER_BYTES);
    (void)context;
    assert_non_null(bytes);
    world.buffers++;
    *buffer = (struct engine_buffer){bytes, bytes, BUFFER_BYTES};
    return true;
}

static void buffer_give(void *context, void *owner) {
    (void)context;
    world.buffers--;
    free(owner);
}

static int setup(void **state) {
    struct sim_options options = sim_options_calm(SIM_URING, 1);
    struct engine_options engine = {0};
    struct engine_port_options port = {.buffers = {NULL, BUFFER_BYTES, buffer_take, buffer_give}};
    (void)state;
    sim_world_create(&options);
    world.engine = engine_create(&engine, NULL);
    world.port = engine_port_create(world.engine, &port, NULL);
    return world.port ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    engine_port_destroy(world.port);
    engine_destroy(world.engine);
    assert_int_equal(world.buffers, 0);
    assert_int_equal(sim_operations(), 0);
    sim_world_destroy();
    return 0;
}

static void run_until(const unsigned *count, unsigned wanted) {
    uint64_t start_ms = engine_now_ms();
    while (*count < wanted) {
        assert_true(engine_now_ms() - start_ms < HOUR_MS);
        engine_port_run(world.port, 1000);
    }
}

/* -- connecting ------------------------------------------------------------ */

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

/* Connects, and closes what it got. How many milliseconds it took. */
static uint64_t attempt_run(struct attempt *attempt) {
    uint64_t start_ms = engine_now_ms();
    *attempt = (struct attempt){.connect = {.op.complete = on_connected, .remote = upstream}};
    engine_connect(world.port, &attempt->connect);
    run_until(&attempt->completions, 1);
    assert_int_equal(attempt->completions, 1);
    if (attempt->result >= 0) {
        engine_close(world.engine, attempt->connect.socket, false);
    }
    return engine_now_ms() - start_ms;
}

struct visits {
    unsigned count;
    struct sim_peer *peer;
};

static void on_visit(struct sim_server *server, struct sim_peer *peer, void *context) {
    struct visits *visits = context;
    (void)server;
    visits->count++;
    sim_peer_close(peer);
}

static void test_sim_server_is_connected_to_while_it_is_open(void **state) {
    struct visits visits = {0};
    struct sim_server_options options = {
        .address = upstream, .accepted = on_visit, .context = &visits};
    struct attempt attempt;
    (void)state;
    attempt_run(&attempt);
    assert_int_equal(attempt.result, ENGINE_E_REFUSED);
    struct sim_server *server = sim_server_open(&options);
    assert_non_null(server);
    assert_null(sim_server_open(&options)); /* the address is in use */
    attempt_run(&attempt);
    assert_int_equal(attempt.result, 0);
    assert_int_equal(visits.count, 1);
    sim_server_close(server);
    attempt_run(&attempt);
    assert_int_equal(attempt.result, ENGINE_E_REFUSED);
}

static void test_sim_server_that_refuses_or_is_silent_fails_the_connect(void **state) {
    struct visits visits = {0};
    struct sim_server_options options = {
        .address = upstream, .accepted = on_visit, .context = &visits, .refuse = SIM_ALWAYS};
    struct attempt attempt;
    (void)state;
    struct sim_server *server = sim_server_open(&options);
    attempt_run(&attempt);
    assert_int_equal(attempt.result, ENGINE_E_REFUSED);
    sim_server_close(server);
    options.is_silent = true;
    options.refuse = 0;
    server = sim_server_open(&options);
    assert_true(attempt_run(&attempt) > 10000);
    assert_int_equal(attempt.result, ENGINE_E_TIMED_OUT);
    assert_int_equal(visits.count, 0);
    sim_server_close(server);
}

static void test_sim_address_that_fails_does_so_until_it_no_longer_does(void **state) {
    struct visits visits = {0};
    struct sim_server_options options = {
        .address = upstream, .accepted = on_visit, .context = &visits};
    struct attempt attempt;
    (void)state;
    struct sim_server *server = sim_server_open(&options);
    sim_address_fails(&upstream, ENGINE_E_UNREACHABLE);
    attempt_run(&attempt);
    assert_int_equal(attempt.result, ENGINE_E_UNREACHABLE);
    sim_address_fails(&upstream, 0);
    attempt_run(&attempt);
    assert_int_equal(attempt.result, 0);
    sim_address_fails(&upstream, ENGINE_E_UNREACHABLE);
    sim_faults_end();
    attempt_run(&attempt);
    assert_int_equal(attempt.result, 0);
    sim_server_close(server);
}

static void test_sim_fault_of_an_operation_comes_as_often_as_it_is_to(void **state) {
    struct visits visits = {0};
    struct sim_server_options options = {
        .address = upstream, .accepted = on_visit, .context = &visits};
    struct attempt attempt;
    unsigned failed = 0;
    (void)state;
    struct sim_server *server = sim_server_open(&options);
    sim_world_options()->faults[SIM_CONNECT][-ENGINE_E_NO_RESOURCES] = SIM_ALWAYS / 4;
    for (unsigned i = 0; i < 400; i++) {
        attempt_run(&attempt);
        assert_true(attempt.result == 0 || attempt.result == ENGINE_E_NO_RESOURCES);
        failed += attempt.result < 0;
    }
    assert_in_range(failed, 50, 150);
    sim_faults_end();
    attempt_run(&attempt);
    assert_int_equal(attempt.result, 0);
    sim_server_close(server);
}

/* -- peers that vanish ----------------------------------------------------- */

static struct sim_peer *visitor;

static void on_guest(struct sim_server *server, struct sim_peer *peer, void *context) {
    (void)server;
    (void)context;
    visitor = peer;
}

struct ending {
    struct engine_receive receive;
    unsigned ends;
    int64_t result;
};

static void on_end(struct engine_op *op, int64_t result) {
    struct ending *ending = CONTAINER_OF(op, struct ending, receive.op);
    ending->ends++;
    ending->result = result;
}

/* How long it takes to find out that the other end has vanished. */
static uint64_t vanish(uint32_t keepalive_idle_s, bool send) {
    struct sim_server_options options = {.address = upstream, .accepted = on_guest};
    struct attempt attempt = {.connect = {.op.complete = on_connected, .remote = upstream}};
    struct ending ending = {.receive.op.complete = on_end};
    struct engine_op op = {.complete = on_connected};
    struct sim_server *server = sim_server_open(&options);
    attempt.connect.options.keepalive_idle_s = keepalive_idle_s;
    attempt.connect.options.keepalive_interval_s = 1;
    attempt.connect.options.keepalive_probes = 5;
    engine_connect(world.port, &attempt.connect);
    run_until(&attempt.completions, 1);
    engine_receive_start(world.port, attempt.connect.socket, &ending.receive,
                         ENGINE_RECEIVE_ZERO_BYTE, true);
    sim_peer_vanish(visitor);
    sim_peer_close(visitor);
    if (send) {
        struct engine_piece piece = {.bytes = (const uint8_t *)"?", .size = 1};
        sim_world_options()->pending_send = 0;
        assert_int_equal(engine_send(world.port, attempt.connect.socket, &op, &piece, 1), 1);
    }
    uint64_t start_ms = engine_now_ms();
    while (ending.ends == 0 && engine_now_ms() - start_ms < HOUR_MS) {
        engine_port_run(world.port, HOUR_MS);
    }
    uint64_t took_ms = engine_now_ms() - start_ms;
    if (ending.ends == 0) {
        engine_receive_stop(world.port, attempt.connect.socket, &ending.receive);
        run_until(&ending.ends, 1);
        assert_int_equal(ending.result, ENGINE_E_CANCELLED);
    } else {
        assert_int_equal(ending.result, ENGINE_E_TIMED_OUT);
    }
    engine_close(world.engine, attempt.connect.socket, false);
    sim_server_close(server);
    return took_ms;
}

static void test_sim_peer_that_vanishes_is_found_out_by_keepalive_or_by_sending(void **state) {
    (void)state;
    assert_int_equal(vanish(60, false), 65000);
    assert_in_range(vanish(0, true), 100000, HOUR_MS - 1);
    assert_int_equal(vanish(0, false), HOUR_MS);
}

/* -- datagrams ------------------------------------------------------------- */

struct post_office {
    struct engine_listener *listener;
    struct engine_receiver *receiver;
    struct engine_op stopped;
    unsigned ended;
    unsigned received;
    unsigned last; /* the number in the last one */
    bool in_order;
};

static void on_datagram(struct engine_receiver *receiver, const struct engine_datagram *datagram,
                        void *context) {
    struct post_office *office = context;
    uint32_t number;
    assert_int_equal(datagram->data.size, sizeof(number));
    memcpy(&number, datagram->data.bytes, sizeof(number));
    office->received++;
    office->in_order = office->in_order && number >= office->last;
    office->last = number;
    engine_receiver_send(receiver, &datagram->local, &datagram->remote, &datagram->data);
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    (void)receiver;
    (void)context;
    fail_msg("there was memory");
}

static void on_stopped(struct engine_op *op, int64_t result) {
    struct post_office *office = CONTAINER_OF(op, struct post_office, stopped);
    assert_int_equal(result, 0);
    office->ended++;
}

static struct sim_datagrams *post_office_open(struct post_office *office) {
    struct engine_listen_options options = {
        .address = {.family = BERTH_FAMILY_IPV4, .port = 53}, .acceptors = 1, .datagrams = true};
    *office = (struct post_office){.in_order = true, .stopped.complete = on_stopped};
    office->listener = engine_listener_open(world.engine, &options, NULL);
    assert_non_null(office->listener);
    return sim_datagrams_open((struct berth_address){.family = BERTH_FAMILY_IPV4}, NULL, NULL);
}

static void post_office_serve(struct post_office *office) {
    office->receiver =
        engine_receiver_create(world.port, office->listener, 0, on_datagram, on_lost, office, NULL);
    assert_non_null(office->receiver);
}

static void send_numbers(struct sim_datagrams *socket, uint32_t count) {
    static const struct berth_address to = {.family = BERTH_FAMILY_IPV4, .port = 53};
    for (uint32_t i = 0; i < count; i++) {
        sim_datagrams_send(socket, &to, &i, sizeof(i));
    }
}

static unsigned answers(struct sim_datagrams *socket) {
    struct berth_address from;
    uint32_t number;
    unsigned count = 0;
    while (sim_datagrams_receive(socket, &from, &number, sizeof(number)) >= 0) {
        assert_int_equal(from.port, 53);
        count++;
    }
    return count;
}

static void post_office_close(struct post_office *office, struct sim_datagrams *socket) {
    engine_receiver_stop(office->receiver, &office->stopped);
    run_until(&office->ended, 1);
    engine_listener_close(office->listener);
    sim_datagrams_close(socket);
}

static void test_sim_datagrams_wait_for_a_receiver_and_come_in_order(void **state) {
    struct post_office office;
    struct sim_datagrams *socket = post_office_open(&office);
    (void)state;
    send_numbers(socket, 100);
    sim_advance(engine_now_ms() + 1000, NULL, NULL);
    post_office_serve(&office);
    run_until(&office.received, 100);
    assert_true(office.in_order);
    sim_advance(engine_now_ms() + 1000, NULL, NULL);
    assert_int_equal(answers(socket), 100);
    post_office_close(&office, socket);
}

static void test_sim_datagrams_are_lost_and_doubled_as_often_as_is_said(void **state) {
    struct post_office office;
    struct sim_datagrams *socket = post_office_open(&office);
    (void)state;
    post_office_serve(&office);
    sim_world_options()->datagram_lost = SIM_ALWAYS / 2;
    send_numbers(socket, 1000);
    while (engine_port_run(world.port, 1000) > 0 || sim_next_event_us() != UINT64_MAX) {
    }
    assert_in_range(office.received, 400, 600);
    sim_faults_end();
    sim_world_options()->datagram_twice = SIM_ALWAYS;
    office.received = 0;
    office.last = 0;
    send_numbers(socket, 100);
    run_until(&office.received, 200);
    assert_true(office.in_order);
    post_office_close(&office, socket);
}

/* -- names ----------------------------------------------------------------- */

static void test_sim_names_are_those_that_were_added(void **state) {
    struct berth_address found[4];
    struct error error = {0};
    unsigned count = 0;
    (void)state;
    assert_false(engine_resolve("db.test", 5432, found, 4, &count, &error));
    assert_string_not_equal(error.message, "");
    sim_name_add("db.test", &upstream);
    sim_name_add("db.test",
                 &(struct berth_address){.family = BERTH_FAMILY_IPV6, .bytes = {[15] = 1}});
    assert_true(engine_resolve("db.test", 5432, found, 4, &count, &error));
    assert_int_equal(count, 2);
    assert_int_equal(found[0].port, 5432);
    assert_memory_equal(found[0].bytes, upstream.bytes, 4);
    assert_int_equal(found[1].family, BERTH_FAMILY_IPV6);
    assert_true(engine_resolve("db.test", 1, found, 1, &count, &error));
    assert_int_equal(count, 1);
    assert_true(engine_resolve("127.0.0.5", 7, found, 4, &count, &error));
    assert_int_equal(found[0].bytes[3], 5);
    assert_true(engine_resolve("::1", 7, found, 4, &count, &error));
    assert_int_equal(found[0].family, BERTH_FAMILY_IPV6);
    assert_int_equal(found[0].port, 7);
    assert_true(engine_resolve("localhost", 7, found, 4, &count, &error));
    assert_true(address_is_loopback(&found[0]));
}

#define WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD(test_sim_server_is_connected_to_while_it_is_open),
        WORLD(test_sim_server_that_refuses_or_is_silent_fails_the_connect),
        WORLD(test_sim_address_that_fails_does_so_until_it_no_longer_does),
        WORLD(test_sim_fault_of_an_operation_comes_as_often_as_it_is_to),
        WORLD(test_sim_peer_that_vanishes_is_found_out_by_keepalive_or_by_sending),
        WORLD(test_sim_datagrams_wait_for_a_receiver_and_come_in_order),
        WORLD(test_sim_datagrams_are_lost_and_doubled_as_often_as_is_said),
        WORLD(test_sim_names_are_those_that_were_added),
    };
    return cmocka_run_group_tests_name("the simulated network", tests, NULL, NULL);
}
