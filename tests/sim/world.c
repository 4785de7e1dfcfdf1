#include "world.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "host_in_world.h"
#include "net/conn/connection.h"
#include "net/lib/describe.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "outbound_by_chance.h"
#include "rule.h"

enum {
    FAULTY_CONVERSATIONS = 12,
    STEP_MS = 1000, /* of virtual time, at the most */
    STEPS_MAX = 2000000,
    PATIENCE_US = 300000000, /* of a quiet world, in which nothing moves */
    FAULTY_US = 60000000,
    CHANGE_US = 2000000,
    CHANGES = 8,
    CHECKED_STEPS = 8,
    FAILING_FINS = 7,
    SPEAKS_LATE_US = 1000000, /* from a client's first word until the host has it, at the most */
    FAILED_US = 3000000,      /* until a socket of which an operation has failed is closed */
    ALLOCATIONS_AHEAD = 12,   /* the one that fails is among so many */
};

struct world world;

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
        world.memory_failed = true;
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

/* What holds after every step; the host checks its own objects in every turn. */
static void check(void) {
    RULE(world.callbacks == 0, "callbacks end");
    if (world.is_counted) {
        limits_check();
    }
    RULE(world.steps < STEPS_MAX, "a world comes to rest");
    if (world.steps++ % CHECKED_STEPS == 0) {
        sim_check();
        uint64_t since_us = sim_failed_since_us();
        RULE(since_us == UINT64_MAX || sim_now_us() < since_us + FAILED_US,
             "what has failed ends its connection: a socket is open for %llu ms after that",
             (unsigned long long)(sim_now_us() - since_us) / 1000);
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

/* The control thread's part, which is never within a step. */
static void control(void) {
    host_look_after();
    if (sim_now_us() >= world.next_change_us) {
        world.next_change_us = sim_now_us() + sim_random(CHANGE_US);
        if (world.changes_left > 0) {
            world.changes_left--;
            host_change();
        } else {
            host_resume();
        }
    }
}

/* False: nothing has come from or to a client for that time. */
static bool run_until_over(uint64_t patience_us) {
    world.progress_us = sim_now_us();
    while (!clients_are_over()) {
        if (sim_now_us() >= world.progress_us + patience_us) {
            return false;
        }
        step(NULL, NULL);
        control();
    }
    return true;
}

static void run_for(uint64_t time_us) {
    uint64_t until_us = sim_now_us() + time_us;
    while (!clients_are_over() && sim_now_us() < until_us) {
        step(NULL, NULL);
        control();
    }
}

/* -- the beginning and the end --------------------------------------------- */

static const struct server_driver driver = {.step = step, .context = &world.server};

/* Of what was given some may be lost, and of what was sent some may not have come. A send that is
 * cut short by a reset is not counted, so what came after all can be more. */
static void check_bytes(void) {
    struct listener_counters total;
    uint64_t given = 0, received = 0, sent = 0, offered = 0;
    listener_total(host_main_listener(), &total);
    for (unsigned i = 0; i < world.conversation_count; i++) {
        const struct conversation *one = &world.conversations[i];
        given += one->has_opened ? one->given : world.busy_bytes;
        received += one->has_fin && !one->was_killed && one->has_opened ? one->received : 0;
        sent += one->sent + one->header_sent;
        offered += one->offered;
    }
    RULE(atomic_load(&total.bytes_sent) <= given && atomic_load(&total.bytes_sent) >= received,
         "counters equal events: %llu bytes sent, %llu given, %llu received",
         (unsigned long long)atomic_load(&total.bytes_sent), (unsigned long long)given,
         (unsigned long long)received);
    RULE(atomic_load(&total.bytes_received) <= sent &&
             atomic_load(&total.bytes_received) >= offered,
         "counters equal events: %llu bytes received, %llu sent, %llu shown",
         (unsigned long long)atomic_load(&total.bytes_received), (unsigned long long)sent,
         (unsigned long long)offered);
    RULE(atomic_load(&total.outbound_bytes_sent) <= world.outbound_given,
         "counters equal events: %llu bytes sent to the upstream server, %llu given",
         (unsigned long long)atomic_load(&total.outbound_bytes_sent),
         (unsigned long long)world.outbound_given);
}

/* Who has spoken is not cut as a silent one. */
static void check_silent(void) {
    struct listener_counters total;
    listener_total(host_main_listener(), &total);
    uint64_t cut = atomic_load(&total.first_data_timeouts);
    unsigned silent = clients_silent((uint64_t)world.first_data_min_ms * 1000 - SPEAKS_LATE_US);
    RULE(cut <= silent || world.memory_failed,
         "only silent clients are cut by first_data_timeout_ms: %llu of %u",
         (unsigned long long)cut, silent);
}

/* What was counted is what happened, and all that was taken is given back. */
static void check_counts(void) {
    struct listener_counters total;
    const struct listener *listener = host_main_listener();
    listener_total(listener, &total);
    RULE(atomic_load(&total.opened) == world.opened, "counters equal events: opened %llu of %u",
         (unsigned long long)atomic_load(&total.opened), world.opened);
    RULE(atomic_load(&total.closed) == world.closed + world.connected_closed &&
             world.opened == world.closed,
         "counters equal events: closed %llu of %u, %u opened",
         (unsigned long long)atomic_load(&total.closed), world.closed, world.opened);
    RULE(atomic_load(&total.connected) == world.connected &&
             world.connected == world.connected_closed,
         "counters equal events: connected %llu of %u, %u closed",
         (unsigned long long)atomic_load(&total.connected), world.connected,
         world.connected_closed);
    RULE(atomic_load(&total.plugin_faults) == 0, "the plugin is not at fault");
    RULE(atomic_load(&listener->connections) == 0 && atomic_load(&listener->pending) == 0 &&
             atomic_load(&listener->waiting) == 0 && atomic_load(&listener->refusing) == 0 &&
             atomic_load(&listener->works) == 0 && atomic_load(&listener->outbound) == 0,
         "limits are released");
    check_bytes();
    check_silent();
    limits_check_refused();
    datagrams_check();
    world.is_counted = false;
}

static void stop_world(void) {
    if (sim_random(4) == 0) { /* with a generation that drains */
        host_change();
    }
    world.stops_us = sim_now_us();
    host_stop(check_counts);
    datagrams_end();
    world.server = NULL;
    RULE(world.pending == 0, "every post and work is answered: %u are not", world.pending);
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

static bool is_hostile(uint64_t seed) {
    return seed / SIM_PERSONALITIES % 4 != 0;
}

static struct sim_options options_of(uint64_t seed) {
    enum sim_personality personality = (enum sim_personality)(seed % SIM_PERSONALITIES);
    struct sim_options options = is_hostile(seed) ? sim_options_hostile(personality, seed)
                                                  : sim_options_rough(personality, seed);
    if (is_hostile(seed) && seed % FAILING_FINS == 0) { /* which are too few to fail seldom */
        options.faults[SIM_SHUTDOWN][-ENGINE_E_OTHER] = SIM_ALWAYS / 4;
    }
    return options;
}

/* Of what comes later: a host that does not begin shows nothing. */
static void fail_listening(uint64_t seed) {
    struct sim_options *options = sim_world_options();
    if (is_hostile(seed) && sim_random(2) == 0) {
        options->faults[SIM_LISTEN][-ENGINE_E_NO_RESOURCES] = (uint32_t)sim_random(SIM_ALWAYS / 4);
        options->faults[SIM_ACCEPTOR][-ENGINE_E_OTHER] = (uint32_t)sim_random(SIM_ALWAYS / 4);
    }
}

static void write_nowhere(enum log_level level, const char *line, size_t size) {
    (void)level;
    (void)line;
    (void)size;
}
static const struct log_sink nowhere = {.write = write_nowhere};

uint64_t world_play(uint64_t seed, sim_trace_fn *trace) {
    struct sim_options options = options_of(seed);
    memset(&world, 0, sizeof(world));
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    log_set_sink(&nowhere);
    sim_world_create(&options);
    sim_set_trace(trace, NULL);
    rule_begin(seed);
    upstream_start();
    host_start(&driver);
    world.admission = host_main_listener()->admission;
    datagrams_begin();
    fail_listening(seed);
    world.is_faulty = world.is_counted = true;
    world.changes_left = (unsigned)sim_random(CHANGES);
    world.allocations = sim_random(2) == 0 ? (uint32_t)sim_random(SIM_ALWAYS / 20) : 0;
    clients_begin(0, FAULTY_CONVERSATIONS);
    run_for(sim_random(FAULTY_US));
    world.allocations = 0;
    world.is_faulty = false;
    limits_begin_quiet();
    sim_faults_end();
    clients_begin(FAULTY_CONVERSATIONS, CONVERSATIONS_MAX);
    if (!run_until_over(PATIENCE_US)) {
        name_left();
    }
    stop_world();
    uint64_t hash = sim_trace_hash();
    sim_world_destroy();
    upstream_stop();
    return hash;
}
