/* test_sim_services.c: a plugin that uses the services by chance, with the real table of services
 * and the real server, on the simulated engine. It keeps a model of what it must be told, and the
 * clients compare every byte. A seed decides everything. BERTH_TEST_SEED=N plays a single one,
 * BERTH_TEST_SEEDS=N plays so many. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "berth/connect.h"
#include "berth/timer.h"
#include "berth/work.h"
#include "engine/sim/sim.h"
#include "net/conn/connection.h"
#include "net/lib/admission.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "plugin/module.h"
#include "plugin/plugin_events.h"
#include "plugin/plugin_stats.h"
#include "plugin/services.h"
#include "sim_clients.h"

enum {
    WORKERS = 2,
    CLIENTS = 12,
    SILENT = 3, /* clients that never say anything */
    SEEDS = 60,
    STEPS_MAX = 3000000,
    HELLO_BYTES = 5,
    FIRST_DATA_MS = 300000,
    IDLE_MS = 600000,
    SILENCE_MS = 700000, /* after which no silent client is left */
};

static struct module module;
static struct server *server;
static struct listener *listener; /* the generation that serves */
static struct listener *replaced; /* the one before, or NULL */
static const struct berth_timer_host *timers;
static const struct berth_work_host *works;
static const struct berth_connect_host *connects;

static bool polite; /* the plugin ends nothing of its own accord, and nothing fails */
static bool inside; /* a callback of a connection */
static bool nobody_comes_in;
static unsigned live;
static unsigned live_max;

/* What was begun, and what was answered. */
static struct {
    unsigned opened, closed, posts, posted, worker_posts, worker_posted, works, worked, connects,
        connected;
    uint64_t bytes;
} told;

/* A connection as the plugin knows it: its state. */
struct talk {
    uint64_t due_ms; /* of the timer; 0: it does not run */
    struct berth_timer *timer;
    uint64_t id;
    uint32_t want;
    uint32_t received; /* of an outbound one */
    bool is_known;
    bool is_paused;
    bool is_full;
    bool peer_closed;
    bool is_closing;
    bool is_shut;
};

static struct talk *talk_of(struct berth_conn *conn) {
    struct talk *talk = conn->state;
    assert_true(talk->is_known);
    assert_true(talk->id == conn->id);
    return talk;
}

static struct talk *enter(struct berth_conn *conn) {
    assert_false(inside);
    inside = true;
    return talk_of(conn);
}

static void leave(void) {
    inside = false;
}

/* -- what it asks for ------------------------------------------------------ */

static void BERTH_CALL on_post(struct berth_conn *conn, int32_t status, void *argument) {
    (void)argument;
    told.posted++;
    assert_true((conn != NULL) == (status == BERTH_OK));
    assert_true(!conn || (uint64_t)(uintptr_t)argument == conn->id);
    if (conn) {
        enter(conn);
        assert_false(connection_is_ending(connection_of(conn)));
        leave();
    }
}

static void BERTH_CALL on_worker_post(const struct berth_listener *of, uint32_t worker,
                                      void *argument) {
    (void)of;
    assert_int_equal(worker, (uintptr_t)argument);
    told.worker_posted++;
}

static void BERTH_CALL run_work(void *argument) {
    (void)argument;
}

static void BERTH_CALL on_worked(struct berth_conn *conn, int32_t status, void *argument) {
    (void)argument;
    told.worked++;
    assert_true((conn != NULL) == (status == BERTH_OK));
    if (conn) {
        enter(conn);
        leave();
    }
}

static void begin(struct berth_conn *conn, struct talk *talk) {
    talk->is_known = true;
    talk->id = conn->id;
}

static void BERTH_CALL on_connected(struct berth_conn *conn, int32_t status, void *argument) {
    (void)argument;
    told.connected++;
    assert_true((conn != NULL) == (status == BERTH_OK));
    if (conn) {
        told.opened++;
        begin(conn, conn->state);
    }
}

static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    struct berth_conn *conn = argument;
    struct talk *talk = enter(conn);
    assert_ptr_equal(timer, talk->timer);
    assert_false(connection_is_ending(connection_of(conn)));
    assert_true(talk->due_ms > 0 && engine_now_ms() >= talk->due_ms);
    talk->due_ms = 0;
    talk->is_paused = false;
    conn->host->receive_resume(conn);
    if (sim_random(3) == 0) {
        timers->destroy(timer);
        talk->timer = NULL;
    }
    leave();
}

/* Until the timer: without memory for one, not at all. */
static void pause_for_a_while(struct berth_conn *conn, struct talk *talk) {
    uint32_t delay_ms = (uint32_t)sim_random(500);
    if (!talk->timer) {
        talk->timer = timers->create_for_conn(conn, on_timer, conn);
    }
    if (talk->timer) {
        talk->due_ms = engine_now_ms() + delay_ms;
        talk->due_ms += talk->due_ms == 0;
        timers->start(talk->timer, delay_ms);
        talk->is_paused = true;
        conn->host->receive_pause(conn);
    }
}

static void connect_back(struct berth_conn *conn) {
    struct berth_connect_request request = {
        .struct_size = sizeof(request), .host = "127.0.0.1", .timeout_ms = 5000};
    request.port = listener_address(listener, 0).port;
    if (conn->host->buffer_create(conn->host, HELLO_BYTES, &request.first_data) == BERTH_OK) {
        memset(request.first_data.bytes, 'h', HELLO_BYTES);
        request.first_data.size = HELLO_BYTES;
        told.connects += connects->connect(conn, &request, on_connected, NULL) == BERTH_OK;
    }
}

static void ask_for_something(struct berth_conn *conn, struct talk *talk) {
    uint32_t worker = (uint32_t)sim_random(WORKERS);
    switch (sim_random(10)) {
    case 0:
        told.posts += conn->host->post(conn->host, conn->id, on_post,
                                       (void *)(uintptr_t)conn->id) == BERTH_OK;
        break;
    case 1:
        told.worker_posts += conn->host->post_worker(conn->listener, worker, on_worker_post,
                                                     (void *)(uintptr_t)worker) == BERTH_OK;
        break;
    case 2:
        told.works += works->submit(conn, run_work, on_worked, NULL) == BERTH_OK;
        break;
    case 3:
        pause_for_a_while(conn, talk);
        break;
    case 4: {
        uint32_t want = (uint32_t)sim_random(200);
        if (conn->host->want_at_least(conn, want) == BERTH_OK) {
            talk->want = want;
        }
        break;
    }
    case 5:
        if (sim_random(4) == 0) {
            connect_back(conn);
        }
        break;
    case 7: { /* a buffer that is given back */
        struct berth_slice slice;
        if (conn->host->buffer_create(conn->host, 100, &slice) == BERTH_OK) {
            conn->host->buffer_release(slice.buffer);
        }
        break;
    }
    case 6: { /* one that is destroyed while it runs */
        struct berth_timer *timer = timers->create_for_conn(conn, on_timer, NULL);
        if (timer) {
            timers->start(timer, 1);
            timers->destroy(timer);
        }
        break;
    }
    default:
        break;
    }
}

/* -- callbacks ------------------------------------------------------------- */

static void BERTH_CALL on_opened(struct berth_conn *conn) {
    struct talk *talk = conn->state;
    assert_false(talk->is_known);
    assert_false(inside);
    assert_false(atomic_load(&connection_listener(connection_of(conn))->paused));
    begin(conn, talk);
    told.opened++;
    assert_false(nobody_comes_in);
    assert_true(++live <= live_max);
}

static void send_back(struct berth_conn *conn, const struct berth_slice *data, uint32_t size) {
    struct berth_slice slice = *data;
    slice.size = size;
    if (sim_random(2)) {
        conn->host->send(conn, data->bytes, size);
    } else {
        conn->host->buffer_acquire(data->buffer);
        conn->host->send_slices(conn, &slice, 1);
    }
}

static void end_by_chance(struct berth_conn *conn, struct talk *talk,
                          const struct berth_slice *data) {
    switch (sim_random(40)) {
    case 0:
        conn->host->close(conn);
        break;
    case 1:
        conn->host->abort(conn);
        assert_int_equal(connection_of(conn)->state.closing, CONNECTION_CLOSING_RESET);
        break;
    case 2:
        conn->host->close_at_once(conn);
        break;
    case 3:
        conn->host->close_with_timeout(conn, 10000);
        break;
    case 4:
        talk->is_shut = true;
        assert_int_equal(conn->host->shutdown_send(conn), BERTH_OK);
        assert_int_equal(conn->host->send(conn, "x", 1), BERTH_E_STATE);
        conn->host->buffer_acquire(data->buffer);
        assert_int_equal(conn->host->send_slices(conn, data, 1), BERTH_E_STATE);
        return;
    default:
        return;
    }
    talk->is_closing = true;
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    struct talk *talk = enter(conn);
    uint32_t consumed = data->size;
    assert_true(data->size > 0);
    assert_false(talk->is_paused || talk->peer_closed || talk->is_closing);
    if ((conn->flags & BERTH_CONN_OUTBOUND) != 0) {
        talk->received += data->size;
        assert_true(talk->received <= HELLO_BYTES);
        talk->is_closing = talk->received == HELLO_BYTES;
        if (talk->is_closing) {
            conn->host->close(conn);
        }
        leave();
        return consumed;
    }
    /* Fewer than it wants are the last ones. */
    assert_true(data->size >= talk->want ||
                connection_of(conn)->state.peer != CONNECTION_PEER_SENDING);
    talk->want = 0;           /* for one call only */
    if (sim_random(4) == 0) { /* the rest comes again once it is resumed */
        pause_for_a_while(conn, talk);
        consumed = talk->is_paused ? (uint32_t)sim_random(data->size + 1) : data->size;
    }
    if (consumed > 0 && !talk->is_shut) {
        send_back(conn, data, consumed);
    }
    ask_for_something(conn, talk);
    if (!polite) {
        end_by_chance(conn, talk, data);
    }
    leave();
    return consumed;
}

static void BERTH_CALL on_peer_closed(struct berth_conn *conn) {
    struct talk *talk = enter(conn);
    assert_false(talk->peer_closed || talk->is_closing || talk->is_paused);
    talk->peer_closed = true;
    if (sim_random(2)) {
        conn->host->close(conn);
        talk->is_closing = true;
    } else {
        conn->host->shutdown_send(conn);
        talk->is_shut = true;
    }
    leave();
}

static void BERTH_CALL on_filled(struct berth_conn *conn) {
    struct talk *talk = enter(conn);
    assert_false(talk->is_full);
    talk->is_full = true;
    leave();
}

static void BERTH_CALL on_drained(struct berth_conn *conn) {
    struct talk *talk = enter(conn);
    assert_true(talk->is_full);
    talk->is_full = false;
    leave();
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    struct talk *talk = enter(conn);
    assert_true(reason != 0);
    talk->is_known = false;
    told.closed++;
    told.bytes += connection_of(conn)->bytes_received;
    live -= (conn->flags & BERTH_CONN_OUTBOUND) == 0;
    leave();
}

/* Nothing: the clients know only echoes. */
static uint32_t BERTH_CALL on_busy(const struct berth_listener *of,
                                   const struct berth_busy *busy_for, uint8_t *bytes,
                                   uint32_t capacity) {
    (void)busy_for;
    (void)of;
    (void)bytes;
    (void)capacity;
    return 0;
}

static const struct berth_plugin plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "checking",
    .name = "Checking",
    .version = "1",
    .conn_state_size = sizeof(struct talk),
    .opened = on_opened,
    .received = on_received,
    .peer_closed = on_peer_closed,
    .filled = on_filled,
    .drained = on_drained,
    .closed = on_closed,
    .busy = on_busy,
};

/* -- the world ------------------------------------------------------------- */

static void step(void *context, const char *what) {
    struct engine_port *port;
    (void)context;
    (void)what;
    if (sim_random(4) == 0 && server_work(server)) {
        return;
    }
    int next_ms = server_next_ms(server);
    uint64_t until_ms = next_ms < 0 ? UINT64_MAX / 1000 : engine_now_ms() + (unsigned)next_ms;
    enum sim_next next = sim_step(until_ms, &port);
    for (unsigned i = 0; next != SIM_EVENT && i < server->started; i++) {
        if (next == SIM_IDLE || server->workers[i].port == port) {
            server_turn(server, i);
        }
    }
}

static void on_idle(void) {}

static const struct server_driver driver = {.step = step};

static struct listener_options random_options(void) {
    static const struct berth_address address = {.family = BERTH_FAMILY_IPV4,
                                                 .bytes = {127, 0, 0, 1}};
    static const struct address_prefix everybody = {.address = {.family = BERTH_FAMILY_IPV4}};
    nobody_comes_in = !polite && sim_random(10) == 0;
    return (struct listener_options){
        .name = "checked",
        .config_json = "{}",
        .plugin = &plugin,
        .hooks = &plugin_listener_hooks,
        .host = &module.host,
        .stats = module.stats,
        .addresses = &address,
        .access = {.deny = &everybody, .deny_count = nobody_comes_in},
        .address_count = 1,
        .accept_on_data = sim_random(2),
        .receive_mode = sim_random(2) ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE,
        .pool_initial = (uint32_t)(1 + sim_random(4)),
        .pool_low = 1,
        .pool_high = (uint32_t)(8 + sim_random(16)),
        .backlog = 1000,
        .first_data_timeout_ms = FIRST_DATA_MS,
        .pending_max = 2000,
        .refusing_max = 2,
        .connections_max = live_max,
        .refuse_at_limit = !polite && sim_random(2),
        .per_client = {.connections_max = polite ? 0 : (uint32_t)sim_random(2) * live_max / 2},
        .message_bytes = 65536,
        .send_queue_bytes = (uint32_t)(1600 + sim_random(2000)),
        .send_queue_pieces = 4096,
        .linger_bytes = 1048576,
        .active_io_max = (uint32_t)sim_random(4),
        .outbound_max = 2,
        .timers_max = 2,
        .works_max = 4,
        .idle_timeout_ms = IDLE_MS,
        .close_timeout_ms = 5000,
    };
}

static void start(void) {
    struct server_options options = {.driver = &driver,
                                     .workers = WORKERS,
                                     .buffer_bytes = 4096,
                                     .buffers_retained_max = 64,
                                     .turn_receive_bytes = 65536,
                                     .turn_send_bytes = (uint32_t)(500 + sim_random(4000)),
                                     .connections_max = 1000,
                                     .posts_max = 4,
                                     .work = {.threads_max = 1, .queue_max = 8},
                                     .hooks = &plugin_server_hooks,
                                     .idle = on_idle};
    struct error error;
    server = server_create(&options, &error);
    assert_non_null(server);
    module =
        (struct module){.host = services_table("sim", "1"), .server = server, .plugin = plugin};
    module.stats = plugin_stats_create(plugin.id, 1);
    timers = module.host.query(&module.host, BERTH_TIMER_ID);
    works = module.host.query(&module.host, BERTH_WORK_ID);
    connects = module.host.query(&module.host, BERTH_CONNECT_ID);
    live_max = (unsigned)(6 + sim_random(20));
    struct listener_options of_listener = random_options();
    listener = listener_create(server, &of_listener, NULL, &error);
    assert_non_null(listener);
    assert_true(listener_start(listener, &error));
}

/* Another generation takes over, and the old one drains. */
static void replace(void) {
    struct listener_options options = listener->options;
    struct error error;
    options.generation++;
    struct listener *next = listener_create(server, &options, listener, &error);
    assert_non_null(next);
    assert_true(listener_start(next, &error));
    listener_take_over(next, listener);
    replaced = listener;
    listener = next;
    listener_drain(replaced, BERTH_DRAINING_REPLACED);
}

static void await_end(struct listener *of) {
    listener_abort_all(of);
    for (unsigned i = 0; atomic_load(&of->references) > 0; i++) {
        assert_true(i < STEPS_MAX);
        step(NULL, NULL);
    }
}

static void check_counts(void) {
    struct listener_counters total;
    struct plugin_held held = plugin_stats_held(module.stats);
    listener_total(listener, &total);
    assert_int_equal(atomic_load(&total.opened) + atomic_load(&total.connected), told.opened);
    assert_int_equal(atomic_load(&total.closed), told.closed);
    assert_int_equal(told.opened, told.closed);
    assert_true(atomic_load(&total.bytes_received) + atomic_load(&total.outbound_bytes_received) >=
                told.bytes);
    assert_int_equal(told.posts, told.posted);
    assert_int_equal(told.worker_posts, told.worker_posted);
    assert_int_equal(told.works, told.worked);
    assert_int_equal(told.connects, told.connected);
    assert_int_equal(held.buffers, 0);
    assert_int_equal(held.timers, 0);
    assert_int_equal(held.works, 0);
    assert_int_equal(held.posts, 0);
    assert_int_equal(atomic_load(&listener->admission->connections), 0);
    assert_int_equal(atomic_load(&server->connections), 0);
}

static void stop(void) {
    sim_faults_end();
    listener_stop_accepting(listener);
    await_end(listener);
    if (replaced) {
        await_end(replaced);
    }
    server_flush(server);
    check_counts();
    listener_destroy(replaced);
    listener_destroy(listener);
    replaced = NULL;
    server_destroy(server);
    plugin_stats_close(module.stats);
    assert_int_equal(sim_sockets(), 0);
    assert_int_equal(sim_operations(), 0);
}

/* New clients wait for a moment; the plugin sees none of them then. */
static void pause_by_chance(void) {
    if (sim_random(400) == 0) {
        (atomic_load(&listener->paused) ? listener_resume : listener_pause)(listener);
    }
}

/* They are cut in time, whatever the others do. */
static void await_silent_ones(struct sim_peer **silent) {
    uint64_t until_ms = engine_now_ms() + SILENCE_MS;
    uint8_t byte;
    for (unsigned i = 0; engine_now_ms() < until_ms; i++) {
        assert_true(i < STEPS_MAX);
        step(NULL, NULL);
    }
    for (unsigned i = 0; i < SILENT; i++) {
        int64_t size = sim_peer_receive(silent[i], &byte, 1);
        assert_true(sim_peer_state(silent[i]) != SIM_PEER_CONNECTING);
        assert_true(size == SIM_PEER_FIN || size == SIM_PEER_RESET);
        sim_peer_close(silent[i]);
    }
    assert_int_equal(atomic_load(&listener->pending), 0);
    assert_int_equal(atomic_load(&listener->waiting), 0);
}

static uint64_t play(const struct sim_options *options, bool is_polite) {
    memset(&told, 0, sizeof(told));
    live = 0;
    polite = is_polite;
    sim_world_create(options);
    start();
    struct berth_address to = listener_address(listener, 0);
    struct sim_peer *silent[SILENT];
    struct sim_peer_options nothing = {0};
    for (unsigned i = 0; i < SILENT; i++) {
        silent[i] = sim_peer_connect(&to, &nothing);
    }
    struct sim_clients *clients = sim_clients_start(&to, CLIENTS, !polite);
    uint64_t replace_at = sim_random(2) ? sim_random(3000) : STEPS_MAX;
    for (unsigned steps = 0; !sim_clients_over(clients); steps++) {
        assert_true(steps < STEPS_MAX);
        step(NULL, NULL);
        pause_by_chance();
        if (steps == replace_at) {
            replace();
        }
        assert_true(listener->io_permits.taken <= listener->io_permits.max);
        if (steps == STEPS_MAX / 4 || (steps > 50000 && atomic_load(&listener->paused))) {
            listener_resume(listener);
        }
    }
    struct sim_clients_result result = sim_clients_end(clients);
    if (polite) {
        assert_int_equal(result.completed, CLIENTS);
    }
    sim_faults_end();
    listener_resume(listener);
    await_silent_ones(silent);
    stop();
    uint64_t hash = sim_trace_hash();
    sim_world_destroy();
    return hash;
}

static struct sim_options options_of(unsigned seed, bool is_polite) {
    enum sim_personality personality = (enum sim_personality)(seed % SIM_PERSONALITIES);
    struct sim_options options =
        is_polite ? sim_options_rough(personality, seed) : sim_options_hostile(personality, seed);
    memset(options.faults[SIM_LISTEN], 0, sizeof(options.faults[SIM_LISTEN]));
    memset(options.faults[SIM_ACCEPTOR], 0, sizeof(options.faults[SIM_ACCEPTOR]));
    return options;
}

static unsigned number_of(const char *variable, unsigned otherwise) {
    const char *text = getenv(variable);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void play_seeds(bool is_polite) {
    unsigned count = number_of("BERTH_TEST_SEEDS", SEEDS);
    unsigned first = number_of("BERTH_TEST_SEED", 0);
    unsigned end = getenv("BERTH_TEST_SEED") ? first + 1 : count;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    for (unsigned seed = first; seed < end; seed++) {
        struct sim_options options = options_of(seed, is_polite);
        printf("seed %u\n", seed);
        fflush(stdout); /* which one it was is known whatever it ends with */
        play(&options, is_polite);
    }
    assert_int_equal(alloc_live(), 0);
}

static void test_sim_services_polite_plugin_echoes_every_byte(void **state) {
    (void)state;
    play_seeds(true);
}

static void test_sim_services_rude_plugin_among_faults_is_told_everything_once(void **state) {
    (void)state;
    play_seeds(false);
}

static void test_sim_services_one_seed_gives_one_trace(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < SIM_PERSONALITIES; seed++) {
        struct sim_options options = options_of(seed, false);
        assert_true(play(&options, false) == play(&options, false));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim_services_polite_plugin_echoes_every_byte),
        cmocka_unit_test(test_sim_services_rude_plugin_among_faults_is_told_everything_once),
        cmocka_unit_test(test_sim_services_one_seed_gives_one_trace),
    };
    return cmocka_run_group_tests_name("services in simulated worlds", tests, NULL, NULL);
}
