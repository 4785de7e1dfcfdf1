#include "world.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "module/module.h"
#include "module/services.h"
#include "net/accept_pool.h"
#include "net/connection.h"
#include "net/listener.h"
#include "net/plugin_account.h"
#include "net/server.h"
#include "net/worker.h"
#include "rule.h"

enum {
    FAULTY_CONVERSATIONS = 12,
    STEP_MS = 1000, /* of virtual time, at the most */
    STEPS_MAX = 10000000,
    PATIENCE_US = 300000000, /* of a quiet world, in which nothing moves */
    FAULTY_US = 60000000,
    ALLOCATIONS_AHEAD = 12, /* the one that fails is among so many */
};

struct world world;
static struct module module;

/* -- a step ---------------------------------------------------------------- */

/* Blocking work may wait as well, which no event tells of: time does not pass far at once. */
static uint64_t next_timer_ms(void) {
    int ms = server_next_ms(world.server);
    return engine_now_ms() + (ms < 0 || ms > STEP_MS ? (unsigned)STEP_MS : (unsigned)ms);
}

static void turn(unsigned index) {
    bool fails = world.allocations > 0 && sim_chance(world.allocations);
    if (fails) {
        alloc_fail_after((long)sim_random(ALLOCATIONS_AHEAD), sim_random(4) == 0);
    }
    server_turn(world.server, index);
    alloc_fail_after(-1, false);
}

static void turn_of(const struct engine_port *port) {
    for (unsigned i = 0; i < world.server->started; i++) {
        if (world.server->workers[i].port == port) {
            turn(i);
        }
    }
}

/* What is left, for the last words on a world. */
static void describe_left_of(const struct worker *worker) {
    const struct connection *connection;
    char line[DESCRIBE_BYTES];
    for (uint32_t slot = 0; (connection = worker_next(worker, &slot)) != NULL;) {
        connection_describe(connection, line, sizeof(line));
        fprintf(stderr, "%s\n", line);
    }
}

/* What holds after every step. */
static void check(void) {
    const struct server *server = world.server;
    RULE(world.callbacks == 0, "callbacks end");
    sim_check();
    for (unsigned i = 0; i < server->started; i++) {
        accept_pools_check(&server->workers[i]);
    }
    if (world.listener) {
        RULE(atomic_load(&world.listener->connections) <= world.connections_max,
             "limits.connections is not exceeded");
    }
}

static void step(void *context, const char *what) {
    struct engine_port *port;
    (void)context;
    (void)what;
    if (sim_random(4) == 0 && server_work(world.server)) {
        return;
    }
    switch (sim_step(next_timer_ms(), &port)) {
    case SIM_RUN_PORT:
        turn_of(port);
        break;
    case SIM_IDLE:
        for (unsigned i = 0; i < world.server->started; i++) {
            turn(i);
        }
        break;
    case SIM_EVENT:
        break;
    }
    check();
}

/* False: nothing has come from or to a client for that time. */
static bool run_until_over(uint64_t patience_us) {
    world.progress_us = sim_now_us();
    for (unsigned steps = 0; !clients_are_over(); steps++) {
        RULE(steps < STEPS_MAX, "a world comes to rest");
        if (sim_now_us() >= world.progress_us + patience_us) {
            return false;
        }
        step(NULL, NULL);
    }
    return true;
}

static void run_for(uint64_t time_us) {
    uint64_t until_us = sim_now_us() + time_us;
    while (!clients_are_over() && sim_now_us() < until_us) {
        step(NULL, NULL);
    }
}

/* -- the beginning and the end --------------------------------------------- */

static const struct server_driver driver = {.step = step};

static void on_idle(void) {}

static uint32_t between(uint32_t least, uint32_t most) {
    return least + (uint32_t)sim_random(most - least + 1ULL);
}

/* One of them. */
static uint32_t one_of(uint32_t one, uint32_t other) {
    return sim_random(2) == 0 ? one : other;
}

static void start_server(void) {
    struct server_options options = {
        .driver = &driver,
        .workers = between(1, 3),
        .buffer_bytes = one_of(4096, 16384),
        .buffers_retained_max = one_of(4, 1024),
        .turn_receive_bytes = one_of(4096, 65536),
        .turn_send_bytes = one_of(8192, 262144),
        .connections_max = one_of(1000, CONVERSATIONS_MAX / 2),
        .posts_max = one_of(16, 1000),
        .files_max = 16,
        .work = {.threads_max = 1, .queue_max = one_of(4, 100)},
        .idle = on_idle,
    };
    struct error error;
    world.server = server_create(&options, &error);
    RULE(world.server, "a server starts without a fault: %s", error.message);
    memset(&module, 0, sizeof(module));
    module.host = services_table("simulated", "1.0.0");
    module.host.workers = options.workers;
    module.plugin = checking_plugin;
    module.server = world.server;
    module.account = plugin_account_create("checking", 1);
    RULE(module.account, "there is memory without a fault");
}

static struct listener_options listener_options_by_chance(void) {
    static const struct berth_address address = {.family = BERTH_FAMILY_IPV4,
                                                 .bytes = {127, 0, 0, 1}};
    uint32_t queue_bytes = one_of(4096, 65536);
    struct listener_options options = {
        .name = "simulated",
        .config_json = "{}",
        .plugin = &module.plugin,
        .host = &module.host,
        .account = module.account,
        .addresses = &address,
        .address_count = 1,
        .sockets = {.no_delay = true},
        .accept_on_data = sim_random(2) == 0,
        .receive_mode = sim_random(2) == 0 ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE,
        .pool_initial = between(1, 16),
        .pool_low = 1,
        .pool_high = between(16, 64),
        .backlog = 1000,
        .first_data_timeout_ms = between(500, 20000),
        .pending_max = between(2, 200),
        .refuse_at_limit = sim_random(2) == 0,
        .refusing_max = between(1, 10),
        .reuse_sockets = sim_random(2) == 0,
        .connections_max = one_of(between(2, 8), 1000),
        .message_bytes = 4096,
        .send_queue_bytes = queue_bytes,
        .send_queue_pieces = one_of(16, 4096),
        .linger_bytes = one_of(1000, 1048576),
        .close_full_queues = sim_random(4) == 0,
        .active_io_max = sim_random(3) == 0 ? between(1, 4) : 0,
        .timers_max = between(1, 8),
        .works_max = one_of(0, 4),
        .works_per_client = 4,
        .idle_timeout_ms = between(500, 10000),
        .close_timeout_ms = between(200, 5000),
    };
    return options;
}

static void start_listener(void) {
    struct listener_options options = listener_options_by_chance();
    struct error error;
    world.connections_max = options.connections_max;
    world.listener = listener_create(world.server, &options, NULL, &error);
    RULE(world.listener, "a listener is created without a fault: %s", error.message);
    RULE(listener_start(world.listener, &error), "a listener starts without a fault: %s",
         error.message);
}

/* All that was taken is given back, and what was counted is what happened. */
static void check_counts(void) {
    struct listener_counters total;
    struct plugin_held held = plugin_account_held(module.account);
    listener_total(world.listener, &total);
    RULE(atomic_load(&total.opened) == world.opened, "counters equal events: opened %llu of %u",
         (unsigned long long)atomic_load(&total.opened), world.opened);
    RULE(atomic_load(&total.closed) == world.closed && world.opened == world.closed,
         "counters equal events: closed %llu of %u, %u opened",
         (unsigned long long)atomic_load(&total.closed), world.closed, world.opened);
    RULE(atomic_load(&total.plugin_faults) == 0, "the plugin is not at fault");
    RULE(held.buffers == 0 && held.files == 0 && held.timers == 0 && held.works == 0 &&
             held.posts == 0,
         "references balance: %lld buffers, %lld files, %lld timers, %lld works, %lld posts",
         held.buffers, held.files, held.timers, held.works, held.posts);
    RULE(world.pending == 0, "every post and work is answered: %u are not", world.pending);
    RULE(atomic_load(&world.listener->connections) == 0 &&
             atomic_load(&world.listener->pending) == 0 &&
             atomic_load(&world.listener->waiting) == 0 &&
             atomic_load(&world.listener->refusing) == 0 &&
             atomic_load(&world.listener->works) == 0,
         "limits are released");
}

static void stop_world(void) {
    uint64_t until_us = sim_now_us() + PATIENCE_US;
    listener_stop_accepting(world.listener);
    listener_cut(world.listener);
    while (atomic_load(&world.listener->references) > 0 || world.pending > 0) {
        RULE(sim_now_us() < until_us, "a stop comes to its end: %u references, %u answers left",
             atomic_load(&world.listener->references), world.pending);
        step(NULL, NULL);
    }
    check_counts();
    listener_destroy(world.listener);
    world.listener = NULL;
    server_destroy(world.server);
    plugin_account_close(module.account);
    RULE(sim_sockets() == 0 && sim_operations() == 0, "nothing is left in the engine");
    RULE(alloc_live() == 0, "references balance: %ld blocks of memory are left", alloc_live());
}

static void name_left(void) {
    for (unsigned i = 0; i < world.server->started; i++) {
        describe_left_of(&world.server->workers[i]);
    }
    for (unsigned i = 0; i < world.conversation_count; i++) {
        const struct conversation *client = &world.conversations[i];
        RULE(client->is_over, "liveness: client %u (%s) waits for ever; %s", i,
             temper_name(client->temper),
             client->has_closed   ? "closed"
             : client->has_opened ? "opened"
                                  : "not opened");
    }
}

static struct sim_options options_of(uint64_t seed) {
    enum sim_personality personality = (enum sim_personality)(seed % SIM_PERSONALITIES);
    struct sim_options options = seed / SIM_PERSONALITIES % 4 == 0
                                     ? sim_options_rough(personality, seed)
                                     : sim_options_hostile(personality, seed);
    memset(options.faults[SIM_LISTEN], 0, sizeof(options.faults[SIM_LISTEN]));
    memset(options.faults[SIM_ACCEPTOR], 0, sizeof(options.faults[SIM_ACCEPTOR]));
    return options;
}

uint64_t world_play(uint64_t seed, sim_trace_fn *trace) {
    struct sim_options options = options_of(seed);
    memset(&world, 0, sizeof(world));
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    sim_world_create(&options);
    sim_set_trace(trace, NULL);
    rule_begin(seed);
    start_server();
    start_listener();
    world.is_faulty = true;
    world.allocations = sim_random(2) == 0 ? (uint32_t)sim_random(SIM_ALWAYS / 20) : 0;
    clients_begin(0, FAULTY_CONVERSATIONS);
    run_for(sim_random(FAULTY_US));
    world.allocations = 0;
    world.is_faulty = false;
    sim_faults_end();
    clients_begin(FAULTY_CONVERSATIONS, CONVERSATIONS_MAX);
    if (!run_until_over(PATIENCE_US)) {
        name_left();
    }
    stop_world();
    uint64_t hash = sim_trace_hash();
    sim_world_destroy();
    return hash;
}
