/* A plugin's host from `load` to `unload`, and its driver.
 *
 * In an undisturbed world all latencies are zero: a client's step and all its consequences happen
 * at one moment of the virtual clock, and only testbed_advance() moves the clock. In a disturbed
 * world the clock also moves while data is in transit. */
#include "devkit/testbed.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "devkit/layer.h"
#include "devkit/testbed_private.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"
#include "plugin/module_config.h"
#include "plugin/plugin_events.h"
#include "plugin/services.h"

enum {
    THREAD_WAITS_MAX = 4,       /* per settling */
    THREAD_WAITS_MS_MAX = 500,  /* per testbed, */
    THREAD_FRUITLESS_MS = 1000, /* until so much was waited in vain in all testbeds; then */
    THREAD_WAITS_MS_LESS = 10,
    CALLS_MAX = 100000,  /* of a plugin that continues without input or passing time */
    CALLS_LESS = 1000,   /* the same, after that finding */
    TIMERS_MAX = 100000, /* rounds of one advance */
    STOP_ROUNDS_MAX = 64,
    STOP_ROUNDS_LESS = 4, /* of such a plugin */
    LAST_ROUND_MS = 500,  /* each of the last rounds: what a cancel does not end takes seconds */
    WAIT_STEP_MS = 1000,  /* of virtual time, while the control thread waits */
    BLOCKED_US_MAX = 1000000,  /* a plugin that blocks so long is reported and gets no more input */
    THREAD_WAIT_MS = 30,       /* real time, for threads of the plugin that may still answer */
    THREAD_LAST_WAIT_MS = 100, /* when the listener is closed */
    MESSAGE_BYTES = 16777216,  /* the maximum of a manifest */
    /* The defaults of a manifest. */
    QUEUE_BYTES = 1024 * 1024,
    QUEUE_PIECES = 4096,
    POSTS = 65536,
    FILES = 4096,
    WORKS = 1024,
    OUTBOUND = 10000,
    REFUSING = 256,
    TIMERS = 64,
    SLOW_SETTLE_MS = 10000, /* of virtual time, on a slow network */
};

static struct testbed *beds; /* utlist */
/* Testbeds that never ended: threads of the plugin may still call services. */
static struct testbed *abandoned;

struct testbed *testbed_first(void) {
    return beds;
}

struct testbed *testbed_of_listener(const struct berth_listener *listener) {
    struct testbed *bed;
    DL_FOREACH(beds, bed) {
        if (bed->listener_given == listener) {
            return bed;
        }
    }
    DL_FOREACH(abandoned, bed) {
        if (bed->listener_given == listener) {
            return bed;
        }
    }
    return beds;
}

/* -- events ---------------------------------------------------------------- */

static bool turn_of(const struct engine_port *port) {
    struct testbed *bed;
    DL_FOREACH(beds, bed) {
        for (unsigned i = 0; bed->server && i < bed->server->started; i++) {
            if (bed->server->workers[i].port == port) {
                return server_turn(bed->server, i);
            }
        }
    }
    return false;
}

static int next_timer_ms(void) {
    int next_ms = -1;
    struct testbed *bed;
    DL_FOREACH(beds, bed) {
        int one_ms = bed->server ? server_next_ms(bed->server) : -1;
        next_ms = next_ms < 0 || (one_ms >= 0 && one_ms < next_ms) ? one_ms : next_ms;
    }
    return next_ms;
}

static bool turn_all(void) {
    bool ran = false;
    struct testbed *bed;
    DL_FOREACH(beds, bed) {
        for (unsigned i = 0; bed->server && i < bed->server->started; i++) {
            ran |= server_turn(bed->server, i);
        }
    }
    return ran;
}

static bool work_all(void) {
    struct testbed *bed;
    DL_FOREACH(beds, bed) {
        if (bed->server && server_work(bed->server)) {
            return true;
        }
    }
    return false;
}

/* Runs the next event before that time. False: there was none, and the clock is at that time. */
static bool testbed_step(uint64_t until_ms) {
    struct engine_port *port;
    int next_ms = next_timer_ms();
    uint64_t now_ms = engine_now_ms();
    uint64_t next = next_ms >= 0 ? now_ms + (uint64_t)next_ms : UINT64_MAX;
    switch (sim_step(next < until_ms ? next : until_ms, &port)) {
    case SIM_RUN_PORT:
        turn_of(port);
        return true;
    case SIM_EVENT:
        return true;
    case SIM_IDLE:
        break;
    }
    if (work_all()) {
        return true;
    }
    if (next <= until_ms) {
        turn_all();
        return true;
    }
    return false;
}

/* Called while the control thread waits: the clock may move. */
static void testbed_drive(void *context, const char *what) {
    (void)context;
    (void)what;
    if (!testbed_step(engine_now_ms())) {
        testbed_step(engine_now_ms() + WAIT_STEP_MS);
    }
}

/* Real time waited without a new answer to a client: the plugin's threads call services all the
 * time, or never. */
static unsigned fruitless_ms;

/* Waits. Whether a thread of the plugin called a service meanwhile. */
static bool wait_for_threads(struct testbed *bed, unsigned ms) {
    unsigned before = atomic_load(&bed->foreign);
    unsigned most_ms =
        fruitless_ms < THREAD_FRUITLESS_MS ? THREAD_WAITS_MS_MAX : THREAD_WAITS_MS_LESS;
    bool may = atomic_load(&bed->has_threads) && bed->waited_ms < most_ms;
    for (unsigned i = 0; may && i < ms; i++) {
        os_sleep_ms(1);
        bed->waited_ms++;
        if (atomic_load(&bed->foreign) != before) {
            return true;
        }
    }
    return false;
}

/* Waits longer for threads that have answered recently. */
static bool wait_for_next_call(struct testbed *bed) {
    bool called = wait_for_threads(bed, bed->patience_ms);
    unsigned less_ms = bed->patience_ms > 1 ? bed->patience_ms / 2 : 1;
    bed->patience_ms = called ? THREAD_WAIT_MS : less_ms;
    return called;
}

bool testbed_has_given_up(void) {
    return layer_blocked_us() > BLOCKED_US_MAX;
}

/* The time of the next event, if there is one by then. Datagrams of one socket are a microsecond
 * apart. */
static uint64_t next_moment_ms(uint64_t until_ms) {
    uint64_t next_us = sim_next_event_us();
    uint64_t now_ms = engine_now_ms();
    if (next_us == UINT64_MAX) {
        return now_ms;
    }
    if (next_us < sim_now_us() + 1000) {
        return now_ms + 1;
    }
    uint64_t next_ms = next_us / 1000 + 1;
    return next_ms <= until_ms ? next_ms : now_ms;
}

static unsigned all_calls(void) {
    unsigned calls = 0;
    const struct testbed *bed;
    DL_FOREACH(beds, bed) {
        calls += bed->calls;
    }
    return calls;
}

/* Runs until nothing more happens within that much virtual time. A plugin that never stops while no
 * client sends or reads anything is a finding. */
static void settle_within(struct testbed *bed, unsigned waits_max, uint64_t patience_ms) {
    unsigned calls = all_calls();
    unsigned waits = 0;
    unsigned waited_ms = bed->waited_ms;
    uint64_t until_ms = engine_now_ms() + patience_ms;
    unsigned calls_max = bed->never_rests || abandoned ? CALLS_LESS : CALLS_MAX;
    while (all_calls() - calls <= calls_max) {
        if (testbed_step(next_moment_ms(until_ms))) {
            continue;
        }
        if (testbed_clients_act(bed)) {
            calls = all_calls();
            bed->waited_ms = waited_ms; /* the wait brought an answer */
        } else if (next_moment_ms(until_ms) <= engine_now_ms() &&
                   (waits++ >= waits_max || !wait_for_next_call(bed))) {
            fruitless_ms += bed->waited_ms - waited_ms;
            return;
        }
    }
    bed->never_rests = true;
    layer_find(bed, "never-rests",
               "it goes on for ever without a client or a clock: it posts, or works, in a circle");
}

void testbed_settle(struct testbed *bed) {
    settle_within(bed, THREAD_WAITS_MAX, testbed_world_is_slow() ? SLOW_SETTLE_MS : 0);
}

void testbed_settle_some(struct testbed *bed) {
    static const uint64_t patience_ms[] = {0, 1, 30, SLOW_SETTLE_MS};
    bool is_slow = testbed_world_is_slow();
    if (bed->never_rests) {
        return; /* reported; it gets no more input */
    }
    settle_within(bed, THREAD_WAITS_MAX,
                  is_slow ? patience_ms[sim_random(ARRAY_COUNT(patience_ms))] : 0);
}

void testbed_advance(struct testbed *bed, uint64_t ms) {
    uint64_t until_ms = engine_now_ms() + ms;
    if (testbed_has_given_up()) {
        return;
    }
    testbed_settle(bed);
    for (unsigned round = 0; round < TIMERS_MAX && engine_now_ms() < until_ms && !bed->never_rests;
         round++) {
        int next_ms = next_timer_ms();
        uint64_t left_ms = until_ms - engine_now_ms();
        bool soon = next_ms >= 0 && (uint64_t)next_ms < left_ms;
        testbed_step(engine_now_ms() + (soon ? (uint64_t)next_ms : left_ms));
        settle_within(bed, 0, 0);
    }
    testbed_settle(bed);
}

/* -- life ------------------------------------------------------------------ */

static void on_idle(void) {}

static bool testbed_start_server(struct testbed *bed) {
    static const struct server_driver driver = {.step = testbed_drive};
    const struct server_options options = {
        .driver = &driver,
        .workers = bed->options.workers,
        .buffer_bytes = 4096,
        .buffers_retained_max = 0, /* released buffers are checked, and not reused */
        .connections_max = bed->options.is_full ? 0 : 100000,
        .posts_max = POSTS,
        .files_max = FILES,
        .work = {.threads_max = 1, .queue_max = WORKS},
        .hooks = &plugin_server_hooks,
        .idle = on_idle,
    };
    struct error error;
    bed->server = server_create(&options, &error);
    return bed->server != NULL;
}

static bool make_module(struct testbed *bed) {
    struct module *module = alloc_zeroed(sizeof(*module));
    bed->module = module;
    if (!module) {
        return false;
    }
    snprintf(module->id, sizeof(module->id), "%s", bed->plugin.id);
    module->host = services_table("devkit", "0.0.0");
    module->host.workers = bed->options.workers;
    module->plugin = bed->seen;
    module->subject.plugin = module->id;
    module->server = bed->server;
    module->config_folder = bed->options.config_folder ? bed->options.config_folder : ".";
    module->generation = 1;
    module->stats = plugin_stats_create(module->id, 1);
    return module->stats != NULL;
}

static void no_line(enum log_level level, const char *line, size_t size) {
    (void)level, (void)line, (void)size;
}

struct testbed *testbed_create(const struct berth_plugin *plugin,
                               const struct testbed_options *options) {
    static const struct log_sink silence = {.write = no_line};
    struct testbed *bed = alloc_zeroed(sizeof(*bed));
    if (!bed) {
        return NULL;
    }
    log_set_sink(&silence); /* relevant messages are findings */
    alloc_keep_freed(true);
    if (!beds) {
        testbed_world_begin(options->world);
    }
    bed->plugin = *plugin;
    bed->options = *options;
    bed->options.workers = options->workers > 0 ? options->workers : 1;
    bed->options.datagrams = plugin->datagram && (options->datagrams || !plugin->received);
    bed->thread = os_thread_id();
    bed->patience_ms = THREAD_WAIT_MS;
    DL_APPEND(beds, bed);
    layer_begin(bed);
    os_thread_usage(&bed->usage);
    if (!testbed_start_server(bed) || !make_module(bed)) {
        testbed_destroy(bed);
        return NULL;
    }
    return bed;
}

/* The last testbed also destroys the world. */
static void remove_bed(struct testbed *bed) {
    static bool is_abandoned;
    is_abandoned |= bed->listener != NULL;
    DL_DELETE(beds, bed);
    if (!beds) {
        if (is_abandoned) {
            sim_world_abandon();
        } else {
            sim_world_destroy();
        }
        is_abandoned = false;
        buffer_set_free_hook(NULL);
    }
}

void testbed_destroy(struct testbed *bed) {
    if (!bed) {
        return;
    }
    if (bed->listener) { /* it never ended (a finding): the server cannot be destroyed */
        stall_watchdog_follow(NULL, NULL);
        remove_bed(bed);
        DL_APPEND(abandoned, bed);
        return;
    }
    testbed_clients_free(bed);
    module_close(bed->module);
    bed->module = NULL;
    server_destroy(bed->server);
    bed->server = NULL;
    layer_free(bed);
    remove_bed(bed);
    alloc_free(bed);
}

void testbed_refuse(struct testbed *bed, uint32_t refuses) {
    bed->options.refuses = refuses;
}

/* -- from load to unload --------------------------------------------------- */

static int32_t answer_of(struct testbed *bed, bool good, const struct error *error, char *words,
                         size_t size) {
    snprintf(words, size, "%s", good ? "" : bed->status != BERTH_OK ? bed->words : error->message);
    return good ? BERTH_OK : bed->status != BERTH_OK ? bed->status : BERTH_E_FAILED;
}

int32_t testbed_load(struct testbed *bed, char *words, size_t size) {
    struct error error = {0};
    bed->status = BERTH_OK;
    bed->is_loaded = module_load(bed->module, NULL, &error);
    return answer_of(bed, bed->is_loaded, &error, words, size);
}

static struct listener_options listener_options(const struct testbed *bed,
                                                const struct berth_address *address) {
    const struct testbed_options *options = &bed->options;
    return (struct listener_options){
        .name = bed->plugin.id,
        .config_json = options->config_json ? options->config_json : "{}",
        .plugin = &bed->module->plugin,
        .hooks = &plugin_listener_hooks,
        .host = &bed->table.host,
        .plugin_state = bed->module->state,
        .stats = bed->module->stats,
        .addresses = address,
        .address_count = 1,
        .datagrams = options->datagrams,
        .accept_on_data = options->first_data,
        .pool_initial = 8,
        .pool_low = 4,
        .pool_high = 64,
        .first_data_timeout_ms = 60000,
        .pending_max = 4096,
        .refuse_at_limit = options->is_full,
        .refusing_max = REFUSING,
        .connections_max = 100000,
        .generation = 1,
        .message_bytes = MESSAGE_BYTES,
        .send_queue_bytes = options->queue_bytes > 0 ? options->queue_bytes : QUEUE_BYTES,
        .send_queue_pieces = QUEUE_PIECES,
        .linger_bytes = MESSAGE_BYTES,
        .metrics_max = 256,
        .outbound_max = OUTBOUND,
        .timers_max = TIMERS,
        .works_max = WORKS,
        .works_per_client = WORKS,
        .idle_timeout_ms = options->idle_timeout_ms,
        .close_timeout_ms = 5000,
    };
}

struct config_words {
    char *text;
    size_t size;
    size_t used;
};

static void add_config_words(void *context, const char *pointer, const char *text) {
    struct config_words *words = context;
    text_append(words->text, words->size, &words->used, "%s%s: %s", words->used > 0 ? "\n" : "",
                pointer[0] ? pointer : "/", text);
}

bool testbed_check_config(struct testbed *bed, char *words, size_t size) {
    struct error error = {0};
    struct config_words found = {.text = words, .size = size};
    const char *config = bed->options.config_json ? bed->options.config_json : "{}";
    words[0] = '\0';
    if (!module_check_config(bed->module, "devkit", config, NULL, add_config_words, &found,
                             &error)) {
        text_append(words, size, &found.used, "%s%s", found.used > 0 ? "\n" : "", error.message);
    }
    return words[0] == '\0';
}

int32_t testbed_open(struct testbed *bed, char *words, size_t size) {
    struct error error = {0};
    struct berth_address address = testbed_loopback(0);
    struct listener_options options = listener_options(bed, &address);
    bed->status = BERTH_OK;
    bed->listener_over = false;
    bed->listener = listener_create(bed->server, &options, NULL, &error);
    bed->is_open = bed->listener && listener_start(bed->listener, &error);
    if (bed->is_open) {
        bed->listener_given = &bed->listener->public;
        bed->listener_shown = bed->listener->public;
        bed->port = listener_address(bed->listener, 0).port;
        testbed_world_set_failures(bed->options.world, true);
    } else {
        bed->listener_over = true;
        listener_destroy(bed->listener);
        bed->listener = NULL;
    }
    return answer_of(bed, bed->is_open, &error, words, size);
}

static bool testbed_is_used(const struct listener *listener) {
    return atomic_load(&listener->references) > 0;
}

/* Repeats, because the plugin may open new connections while the old ones are aborted, and because
 * a thread that posts holds the listener from time to time. */
static void cut_all(struct testbed *bed) {
    struct listener *listener = bed->listener;
    unsigned rounds = bed->never_rests ? STOP_ROUNDS_LESS : STOP_ROUNDS_MAX;
    for (unsigned i = 0; i < rounds && testbed_is_used(listener); i++) {
        listener_abort_all(listener);
        testbed_settle(bed);
        testbed_advance(bed, i < STOP_ROUNDS_MAX / 2 ? 1 : LAST_ROUND_MS);
    }
    unsigned waits = atomic_load(&bed->has_threads) ? THREAD_LAST_WAIT_MS : 0;
    for (; waits > 0 && testbed_is_used(listener); waits--) {
        os_sleep_ms(1);
        settle_within(bed, 0, 0);
    }
}

static void close_listener(struct testbed *bed) {
    struct listener *listener = bed->listener;
    /* First a replacement by a newer generation, then a stop: the plugin gets both reasons. */
    listener_drain(listener, BERTH_DRAINING_REPLACED);
    testbed_settle(bed);
    listener_stop_accepting(listener);
    testbed_settle(bed);
    cut_all(bed);
    if (testbed_is_used(listener)) {
        layer_find(bed, "never-ends",
                   "at the end of the host it still connects, works or posts, after all its "
                   "connections have been cut %d times",
                   bed->never_rests ? STOP_ROUNDS_LESS : STOP_ROUNDS_MAX);
        bed->is_open = false;
        return; /* everything is leaked */
    }
    bed->is_open = false;
    listener_destroy(listener);
    bed->listener = NULL;
    bed->listener_over = true;
    bed->waited_ms = 0;
    wait_for_threads(bed, THREAD_LAST_WAIT_MS);
    fruitless_ms += bed->waited_ms;
}

void testbed_stop(struct testbed *bed) {
    testbed_settle(bed);
    layer_check_never_closed(bed);
    bed->was_cut = testbed_was_cut(bed);
    if (bed->was_cut && bed->options.queue_bytes == 0) {
        layer_find(bed, "queue-cut",
                   "a connection was cut: the plugin sent on past four times "
                   "limits.send_queue_bytes, or limits.send_queue_pieces; wait for `drained`");
    }
    if (bed->is_open) {
        close_listener(bed);
    }
    bed->listener_over = true;
    if (bed->listener) { /* the plugin and its leaked objects are still in use */
        bed->ended = true;
        return;
    }
    if (bed->is_loaded) {
        module_unload(bed->module);
    }
    bed->is_loaded = false;
    testbed_settle(bed);
    wait_for_threads(bed, atomic_load(&bed->foreign) > 0 ? THREAD_WAIT_MS : 0);
    layer_end(bed);
    bed->ended = true;
}

/* The new testbed is created before the old one is destroyed, so that the world persists. */
struct testbed *testbed_restart(struct testbed *bed) {
    char words[sizeof(bed->words)];
    testbed_world_set_failures(bed->options.world, false);
    struct testbed *next = testbed_create(&bed->plugin, &bed->options);
    testbed_stop(bed);
    bool has_ended = !bed->listener;
    if (next) {
        testbed_upstream_expect(next, bed->upstream_expected);
        next->findings = bed->findings;
        memcpy(next->kept, bed->kept, sizeof(next->kept));
    }
    testbed_destroy(bed);
    if (next && has_ended && testbed_load(next, words, sizeof(words)) == BERTH_OK) {
        testbed_open(next, words, sizeof(words));
    }
    if (next && next->status != BERTH_OK && next->options.refuses == 0) {
        layer_find(next, "refuses-again", "`%s` refused after a restart: %s",
                   next->is_loaded ? "listener_open" : "load", words);
    }
    return next;
}

bool testbed_is_abandoned(void) {
    return abandoned != NULL;
}

bool testbed_has_plugin(void) {
    const struct testbed *bed;
    DL_FOREACH(beds, bed) {
        if (bed->is_loaded) {
            return true;
        }
    }
    return false;
}

bool testbed_is_open(const struct testbed *bed) {
    return bed->is_open;
}

bool testbed_is_datagrams(const struct testbed *bed) {
    return bed->options.datagrams;
}

bool testbed_was_cut(const struct testbed *bed) {
    struct listener_counters total = {0};
    if (bed->listener) {
        listener_total(bed->listener, &total);
    }
    return bed->was_cut || total.queues_cut > 0;
}
