/* test_sim_server.c: the real server, workers and connections on the simulated engine: driven turn
 * by turn, in an order that a seed chooses, and the same again for the same seed. */
#include "net_world.h"
#include "unit.h"

#include "base/error.h"
#include "engine/sim/sim.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "sim_clients.h"

enum { WORKERS = 3, CLIENTS = 10, SEEDS = 20, STEPS_MAX = 3000000 };

/* -- the driver ------------------------------------------------------------ */

static bool is_moving; /* within a step */

static uint64_t next_timer_ms(struct server *server) {
    int ms = server_next_ms(server);
    return ms < 0 ? UINT64_MAX / 1000 : engine_now_ms() + (unsigned)ms;
}

static unsigned worker_with(const struct server *server, const struct engine_port *port) {
    unsigned index = 0;
    while (index < server->started && server->workers[index].port != port) {
        index++;
    }
    return index;
}

/* What a system would do next: a worker has its turn, something arrives, or time passes until a
 * worker's timer is due; or a piece of blocking work is done. */
static void step(void *context, const char *what) {
    struct server *server = net_world_server();
    struct engine_port *port;
    (void)context;
    (void)what;
    assert_false(is_moving);
    is_moving = true;
    if (sim_random(4) != 0 || !server_work(server)) {
        switch (sim_step(next_timer_ms(server), &port)) {
        case SIM_RUN_PORT:
            server_turn(server, worker_with(server, port));
            break;
        case SIM_IDLE:
            for (unsigned i = 0; i < server->started; i++) {
                server_turn(server, i);
            }
            break;
        case SIM_EVENT:
            break;
        }
    }
    is_moving = false;
}

static const struct server_driver driver = {.step = step};

/* -- the plugin ------------------------------------------------------------ */

static unsigned opened;
static unsigned closed;

static void BERTH_CALL on_opened(struct berth_conn *conn) {
    (void)conn;
    opened++;
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    (void)conn;
    (void)reason;
    closed++;
}

static const struct berth_plugin plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "simulated",
    .name = "Simulated",
    .version = "1",
    .opened = on_opened,
    .received = on_received,
    .closed = on_closed,
};

/* -- worlds ---------------------------------------------------------------- */

struct outcome {
    struct sim_clients_result clients;
    unsigned opened;
    uint64_t trace_hash;
};

static struct outcome run(const struct sim_options *options, bool tempers) {
    struct outcome outcome;
    opened = closed = 0;
    sim_world_create(options);
    net_world_drive(&driver);
    assert_int_equal(net_world_start(WORKERS), 0);
    net_world_serve(&plugin, sim_random(2),
                    sim_random(2) ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE);
    struct berth_address to = listener_address(net_world_listener(), 0);
    struct sim_clients *clients = sim_clients_start(&to, CLIENTS, tempers);
    for (unsigned steps = 0; !sim_clients_over(clients); steps++) {
        assert_true(steps < STEPS_MAX);
        step(NULL, NULL);
    }
    net_world_serve_end();
    outcome.clients = sim_clients_end(clients);
    assert_int_equal(net_world_end(), 0);
    assert_int_equal(sim_sockets(), 0);
    assert_int_equal(sim_operations(), 0);
    assert_int_equal(opened, closed);
    outcome.opened = opened;
    outcome.trace_hash = sim_trace_hash();
    sim_world_destroy();
    net_world_drive(NULL);
    return outcome;
}

/* -- the tests ------------------------------------------------------------- */

static void test_sim_server_serves_every_client_of_a_rough_world(void **state) {
    (void)state;
    for (unsigned personality = 0; personality < SIM_PERSONALITIES; personality++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_options options = sim_options_rough(personality, seed);
            struct outcome outcome = run(&options, false);
            assert_int_equal(outcome.clients.completed, CLIENTS);
            assert_int_equal(outcome.opened, CLIENTS);
        }
    }
}

/* Failures of starting are for tests of starting. */
static struct sim_options hostile(enum sim_personality personality, uint64_t seed) {
    struct sim_options options = sim_options_hostile(personality, seed);
    memset(options.faults[SIM_LISTEN], 0, sizeof(options.faults[SIM_LISTEN]));
    memset(options.faults[SIM_ACCEPTOR], 0, sizeof(options.faults[SIM_ACCEPTOR]));
    return options;
}

static void test_sim_server_ends_every_connection_of_a_hostile_world(void **state) {
    unsigned completed = 0;
    (void)state;
    for (unsigned personality = 0; personality < SIM_PERSONALITIES; personality++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            struct sim_options options = hostile(personality, seed);
            completed += run(&options, true).clients.completed;
        }
    }
    assert_int_not_equal(completed, 0);
}

static void test_sim_server_of_one_seed_does_the_same_again(void **state) {
    (void)state;
    for (unsigned personality = 0; personality < SIM_PERSONALITIES; personality++) {
        for (uint64_t seed = 100; seed < 104; seed++) {
            struct sim_options options = hostile(personality, seed);
            struct outcome one = run(&options, true);
            struct outcome other = run(&options, true);
            assert_true(one.trace_hash == other.trace_hash);
            assert_int_equal(one.opened, other.opened);
            assert_int_equal(one.clients.completed, other.clients.completed);
        }
    }
}

/* A driver beneath Winsock that forgets every cancel. */
static void test_sim_server_whose_cancels_are_lost_comes_to_its_end(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct sim_options options = sim_options_rough(SIM_IOCP, seed);
        options.cancel_lost = SIM_ALWAYS;
        struct outcome outcome = run(&options, true);
        assert_in_range(outcome.opened, 1, CLIENTS);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_server_serves_every_client_of_a_rough_world),
        cmocka_unit_test(test_sim_server_ends_every_connection_of_a_hostile_world),
        cmocka_unit_test(test_sim_server_whose_cancels_are_lost_comes_to_its_end),
        cmocka_unit_test(test_sim_server_of_one_seed_does_the_same_again),
    };
    return cmocka_run_group_tests_name("a server in the simulated world", tests, NULL, NULL);
}
