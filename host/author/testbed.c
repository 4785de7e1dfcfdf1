/* A plugin's host from `load` to `unload`, and what drives it.
 *
 * All latencies of the simulated world are nothing, so that a client's step and everything that
 * follows from it happen at one moment of the virtual clock; only testbed_advance() moves that. */
#include "author/testbed.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "author/layer.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "module/services.h"
#include "net/buffer.h"
#include "net/connection.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "net/plugin_events.h"
#include "net/server.h"
#include "net/worker.h"

enum {
    PORT = 7,
    UPSTREAM_PORT = 8000,
    WINDOW_BYTES = 256 * 1024, /* each way, of a client that takes all */
    THREAD_WAITS_MAX = 4,      /* a settling */
    THREAD_WAITS_MS_MAX = 500, /* a testbed */
    CALLS_MAX = 100000,        /* of a plugin that goes on without a client or the clock */
    TIMERS_MAX = 100000,       /* rounds of one advance */
    STOP_ROUNDS_MAX = 64,
    LAST_ROUND_MS = 500, /* each of the last rounds: what a cancel does not end takes seconds */
    WAIT_STEP_MS = 1000, /* of virtual time, while the control thread waits */
    BLOCKED_US_MAX = 1000000,  /* a plugin that blocks so long is told of, and not fed on */
    THREAD_WAIT_MS = 30,       /* really, for threads of the plugin that may still answer */
    THREAD_LAST_WAIT_MS = 100, /* when the listener is closed */
    MESSAGE_BYTES = 16777216,  /* the most that a manifest can say: all that is left is kept */
    QUEUE_BYTES = 1024 * 1024,
    QUEUE_PIECES = 4096,
    CHUNK_BYTES = 65536,
};

struct testbed_conn {
    struct testbed *bed;
    struct testbed_conn *next;
    struct sim_peer *peer; /* NULL once it has reset the connection */
    uint16_t port;         /* of the end that the server knows the connection by */
    bool is_upstream;
    struct bytes said;   /* and not taken by the network yet */
    struct bytes output; /* received */
    bool finishes;       /* a FIN follows */
    bool finished;
    bool saw_fin;
    bool is_reset;
    bool is_done;            /* nothing more comes, and nothing more is said */
    struct layer_conn *side; /* the server's, once that has shown it to the plugin */
};

static struct testbed *beds; /* utlist */

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
    return beds;
}

/* -- what goes on -------------------------------------------------------------------------------
 */

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

/* The next thing that happens, until that time. False: nothing does, and it is that time. */
static bool step(uint64_t until_ms) {
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

/* The control thread waits: time may pass. */
static void drive(void *context, const char *what) {
    (void)context;
    (void)what;
    if (!step(engine_now_ms())) {
        step(engine_now_ms() + WAIT_STEP_MS);
    }
}

/* -- the clients' side --------------------------------------------------------------------------
 */

static bool pump(struct testbed_conn *conn) {
    bool any = false;
    if (!conn->peer) {
        return false;
    }
    if (sim_peer_state(conn->peer) != SIM_PEER_CONNECTED) {
        conn->is_reset |= sim_peer_state(conn->peer) == SIM_PEER_REFUSED;
        return false;
    }
    while (conn->said.size > 0) {
        int64_t taken = sim_peer_send(conn->peer, conn->said.data, conn->said.size);
        if (taken <= 0) {
            break;
        }
        bytes_drop_front(&conn->said, (size_t)taken);
        any = true;
    }
    if (conn->finishes && !conn->finished && conn->said.size == 0) {
        conn->finished = true;
        sim_peer_shutdown_send(conn->peer);
        any = true;
    }
    return any;
}

static bool take(struct testbed_conn *conn) {
    static uint8_t chunk[CHUNK_BYTES];
    uint32_t most = conn->bed->options.taken_at_a_time;
    if (conn->saw_fin || conn->is_reset) {
        return false;
    }
    int64_t size = sim_peer_receive(conn->peer, chunk,
                                    most > 0 && most < sizeof(chunk) ? most : sizeof(chunk));
    if (size > 0) {
        bytes_add(&conn->output, chunk, (size_t)size);
    }
    conn->saw_fin = size == SIM_PEER_FIN;
    conn->is_reset = size == SIM_PEER_RESET;
    return size != SIM_PEER_NOTHING;
}

static struct layer_conn *host_side(struct testbed_conn *conn) {
    struct layer_conn *one;
    DL_FOREACH(conn->side ? NULL : conn->bed->layer_conns, one) {
        if (one->peer_port == conn->port) {
            conn->side = one;
            break;
        }
    }
    return conn->side;
}

/* The server has closed, and waits for the client's FIN, who has nothing more to say. */
static bool answer_fin(struct testbed_conn *conn) {
    const struct layer_conn *one = conn->saw_fin && !conn->finishes ? host_side(conn) : NULL;
    bool drains =
        one && !one->is_over && connection_of(one->conn)->state.life == CONNECTION_DRAINING;
    conn->finishes |= drains;
    return drains;
}

static bool act(struct testbed *bed) {
    bool any = false;
    for (struct testbed_conn *conn = bed->conns; conn; conn = conn->next) {
        if (!conn->is_done) {
            any |= pump(conn);
            any |= take(conn);
            any |= answer_fin(conn);
            conn->is_done = conn->is_reset || (conn->saw_fin && conn->finished);
        }
    }
    return any;
}

/* Whether a thread of the plugin has called since. */
static bool wait_for_threads(struct testbed *bed, unsigned ms) {
    unsigned before = atomic_load(&bed->foreign);
    bool may = atomic_load(&bed->has_threads) && bed->waited_ms < THREAD_WAITS_MS_MAX;
    for (unsigned i = 0; may && i < ms; i++) {
        os_sleep_ms(1);
        bed->waited_ms++;
        if (atomic_load(&bed->foreign) != before) {
            return true;
        }
    }
    return false;
}

/* Threads that answered lately are waited for longer than those that do not. */
static bool wait_for_next_call(struct testbed *bed) {
    bool called = wait_for_threads(bed, bed->patience_ms);
    unsigned less_ms = bed->patience_ms > 1 ? bed->patience_ms / 2 : 1;
    bed->patience_ms = called ? THREAD_WAIT_MS : less_ms;
    return called;
}

bool testbed_has_given_up(void) {
    return layer_blocked_us() > BLOCKED_US_MAX;
}

/* Datagrams of one socket are a microsecond apart. */
static uint64_t this_moment_ms(void) {
    uint64_t next_us = sim_next_event_us();
    return engine_now_ms() + (next_us != UINT64_MAX && next_us < sim_now_us() + 1000 ? 1 : 0);
}

/* Until nothing more happens at this time of the clock. A plugin that goes on for ever while no
 * client says, or takes, anything more is a finding. */
static void settle_within(struct testbed *bed, unsigned waits_max) {
    unsigned calls = bed->calls;
    unsigned waits = 0;
    while (bed->calls - calls <= CALLS_MAX) {
        if (step(this_moment_ms())) {
            continue;
        }
        if (act(bed)) {
            calls = bed->calls;
        } else if (waits++ >= waits_max || !wait_for_next_call(bed)) {
            return;
        }
    }
    layer_find(bed, "never-rests",
               "it goes on for ever without a client or a clock: it posts, or works, in a circle");
}

static void settle(struct testbed *bed) {
    settle_within(bed, THREAD_WAITS_MAX);
}

void testbed_advance(struct testbed *bed, uint64_t ms) {
    uint64_t until_ms = engine_now_ms() + ms;
    if (testbed_has_given_up()) {
        return;
    }
    settle(bed);
    for (unsigned round = 0; round < TIMERS_MAX && engine_now_ms() < until_ms; round++) {
        int next_ms = next_timer_ms();
        uint64_t left_ms = until_ms - engine_now_ms();
        bool soon = next_ms >= 0 && (uint64_t)next_ms < left_ms;
        step(engine_now_ms() + (soon ? (uint64_t)next_ms : left_ms));
        settle_within(bed, 0);
    }
    settle(bed);
}

/* -- life ---------------------------------------------------------------------------------------
 */

static void on_idle(void) {}

static bool start_server(struct testbed *bed) {
    static const struct server_driver driver = {.step = drive};
    const struct server_options options = {
        .driver = &driver,
        .workers = bed->options.workers,
        .buffer_bytes = 4096,
        .buffers_retained_max = 0, /* what goes home is watched, and not used again */
        .connections_max = bed->options.is_full ? 0 : 100000,
        .posts_max = 100000,
        .files_max = 4096,
        .work = {.threads_max = 1, .queue_max = 100000},
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
    module->account = plugin_account_create(module->id, 1);
    return module->account != NULL;
}

static struct sim_options without_latency(struct sim_options options) {
    options.threads = true; /* the plugin's own may call */
    options.latency_min_us = 0;
    options.latency_max_us = 0;
    options.completion_max_us = 0;
    options.window_min = WINDOW_BYTES;
    options.window_max = WINDOW_BYTES;
    return options;
}

static enum sim_personality personality_of(uint32_t number) {
    return number == 0 ? SIM_URING : (enum sim_personality)(number % SIM_PERSONALITIES);
}

/* An unquiet one cuts and delays what is sent, by its number. */
static void begin_world(uint32_t number) {
    struct sim_options options =
        without_latency(number == 0 ? sim_options_calm(personality_of(number), 1)
                                    : sim_options_rough(personality_of(number), number));
    sim_world_create(&options);
}

/* Once the plugin listens, every fourth of them has failures, too. */
static void begin_failures(uint32_t number) {
    if (number == 0 || number % 4 != 0) {
        return;
    }
    struct sim_options options =
        without_latency(sim_options_hostile(personality_of(number), number));
    *sim_world_options() = options;
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
    log_set_sink(&silence); /* what matters of it is a finding */
    alloc_keep_freed(true);
    if (!beds) {
        begin_world(options->world);
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
    if (!start_server(bed) || !make_module(bed)) {
        testbed_destroy(bed);
        return NULL;
    }
    return bed;
}

static void free_conn(struct testbed_conn *conn) {
    if (conn->peer) {
        sim_peer_close(conn->peer);
    }
    bytes_free(&conn->said);
    bytes_free(&conn->output);
    alloc_free(conn);
}

void testbed_destroy(struct testbed *bed) {
    if (!bed) {
        return;
    }
    while (bed->conns) {
        struct testbed_conn *conn = bed->conns;
        bed->conns = conn->next;
        free_conn(conn);
    }
    if (bed->upstream) {
        sim_server_close(bed->upstream);
    }
    if (bed->datagrams_peer) {
        sim_datagrams_close(bed->datagrams_peer);
    }
    module_close(bed->module);
    bed->module = NULL;
    server_destroy(bed->server);
    bed->server = NULL;
    layer_free(bed);
    bytes_free(&bed->datagrams);
    DL_DELETE(beds, bed);
    if (!beds) {
        sim_world_destroy();
        buffer_set_undertaker(NULL);
    }
    alloc_free(bed);
}

void testbed_refuse(struct testbed *bed, uint32_t refuses) {
    bed->options.refuses = refuses;
}

/* -- from load to unload ------------------------------------------------------------------------
 */

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
        .account = bed->module->account,
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
        .refusing_max = 64,
        .connections_max = 100000,
        .generation = 1,
        .message_bytes = MESSAGE_BYTES,
        .send_queue_bytes = options->queue_bytes > 0 ? options->queue_bytes : QUEUE_BYTES,
        .send_queue_pieces = QUEUE_PIECES,
        .linger_bytes = MESSAGE_BYTES,
        .outbound_max = 1000,
        .timers_max = 64,
        .metrics_max = 256,
        .idle_timeout_ms = options->idle_timeout_ms,
        .close_timeout_ms = 5000,
    };
}

static struct berth_address loopback(uint16_t port) {
    return (struct berth_address){
        .family = BERTH_FAMILY_IPV4, .port = port, .bytes = {127, 0, 0, 1}};
}

int32_t testbed_open(struct testbed *bed, char *words, size_t size) {
    struct error error = {0};
    struct berth_address address = loopback(0);
    struct listener_options options = listener_options(bed, &address);
    bed->status = BERTH_OK;
    bed->listener_over = false;
    bed->listener = listener_create(bed->server, &options, NULL, &error);
    bed->is_open = bed->listener && listener_start(bed->listener, &error);
    if (bed->is_open) {
        bed->listener_given = &bed->listener->public;
        bed->listener_shown = bed->listener->public;
        bed->port = listener_address(bed->listener, 0).port;
        begin_failures(bed->options.world);
    } else {
        bed->listener_over = true;
        listener_destroy(bed->listener);
        bed->listener = NULL;
    }
    return answer_of(bed, bed->is_open, &error, words, size);
}

/* Whoever makes new connections while the old ones are cut has them cut as well. */
static void cut_all(struct testbed *bed) {
    struct listener *listener = bed->listener;
    for (unsigned i = 0; i < STOP_ROUNDS_MAX && atomic_load(&listener->references) > 0; i++) {
        listener_cut(listener);
        settle(bed);
        testbed_advance(bed, i < STOP_ROUNDS_MAX / 2 ? 1 : LAST_ROUND_MS);
    }
}

static void close_listener(struct testbed *bed) {
    struct listener *listener = bed->listener;
    /* First a newer generation takes its place, then the host stops: plugins hear of both. */
    listener_drain(listener, BERTH_DRAINING_REPLACED);
    settle(bed);
    listener_stop_accepting(listener);
    settle(bed);
    cut_all(bed);
    if (atomic_load(&listener->references) > 0) {
        layer_find(bed, "never-ends",
                   "at the end of the host it still connects, works or posts, after all its "
                   "connections have been cut %d times",
                   STOP_ROUNDS_MAX);
        bed->is_open = false;
        return; /* with all that it has */
    }
    bed->is_open = false;
    listener_destroy(listener);
    bed->listener = NULL;
    bed->listener_over = true;
    bed->waited_ms = 0;
    wait_for_threads(bed, THREAD_LAST_WAIT_MS);
}

void testbed_stop(struct testbed *bed) {
    settle(bed);
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
    if (bed->is_loaded) {
        module_unload(bed->module);
    }
    bed->is_loaded = false;
    settle(bed);
    wait_for_threads(bed, atomic_load(&bed->foreign) > 0 ? THREAD_WAIT_MS : 0);
    layer_end(bed);
    bed->ended = true;
}

/* -- clients ------------------------------------------------------------------------------------
 */

static struct testbed_conn *add_conn(struct testbed *bed, struct sim_peer *peer, bool is_upstream) {
    struct testbed_conn *conn = peer ? alloc_zeroed(sizeof(*conn)) : NULL;
    struct testbed_conn **last = &bed->conns;
    if (!conn) {
        return NULL;
    }
    conn->bed = bed;
    conn->peer = peer;
    conn->is_upstream = is_upstream;
    conn->port = is_upstream ? sim_peer_remote(peer).port : sim_peer_local(peer).port;
    while (*last) {
        last = &(*last)->next;
    }
    *last = conn;
    return conn;
}

struct testbed_conn *testbed_connect(struct testbed *bed) {
    struct berth_address to = loopback(bed->port);
    const struct sim_peer_options options = {.window = bed->options.taken_at_a_time};
    if (!bed->is_open) {
        return NULL;
    }
    struct testbed_conn *conn = add_conn(bed, sim_peer_connect(&to, &options), false);
    if (conn && !testbed_has_given_up()) {
        settle(bed);
    }
    return conn;
}

void testbed_client_send(struct testbed_conn *conn, const void *bytes, size_t size) {
    if (!conn->finishes && !conn->is_reset && !testbed_has_given_up()) {
        bytes_add(&conn->said, bytes, size);
        settle(conn->bed);
    }
}

void testbed_client_finish(struct testbed_conn *conn) {
    conn->finishes = true;
    settle(conn->bed);
}

void testbed_client_reset(struct testbed_conn *conn) {
    if (conn->peer) {
        sim_peer_reset(conn->peer);
        conn->peer = NULL;
        conn->is_reset = true;
    }
    settle(conn->bed);
}

const uint8_t *testbed_output(const struct testbed_conn *conn, size_t *size) {
    *size = conn->output.size;
    return conn->output.data;
}

void testbed_output_clear(struct testbed_conn *conn) {
    conn->output.size = 0;
}

enum testbed_state testbed_conn_state(struct testbed_conn *conn) {
    const struct layer_conn *one = host_side(conn);
    if (conn->is_reset) {
        return TESTBED_RESET;
    }
    if (conn->saw_fin && (!one || one->is_over)) {
        return TESTBED_CLOSED;
    }
    return conn->saw_fin ? TESTBED_FINISHED : TESTBED_OPEN;
}

/* -- upstream, datagrams ------------------------------------------------------------------------
 */

static void on_upstream(struct sim_server *server, struct sim_peer *peer, void *context) {
    (void)server;
    if (!add_conn(context, peer, true)) {
        sim_peer_close(peer);
    }
}

void testbed_upstream_expect(struct testbed *bed, bool expected) {
    const struct sim_server_options options = {
        .address = loopback(0), .backlog = 16, .accepted = on_upstream, .context = bed};
    if (expected && !bed->upstream) {
        bed->upstream = sim_server_open(&options);
    }
    bed->upstream_expected = expected && bed->upstream;
}

struct testbed_conn *testbed_upstream(struct testbed *bed, unsigned index) {
    for (struct testbed_conn *conn = bed->conns; conn; conn = conn->next) {
        if (conn->is_upstream && index-- == 0) {
            return conn;
        }
    }
    return NULL;
}

static void on_datagram(struct sim_datagrams *socket, void *context) {
    static uint8_t bytes[CHUNK_BYTES];
    struct testbed *bed = context;
    struct berth_address from;
    int64_t size;
    while ((size = sim_datagrams_receive(socket, &from, bytes, sizeof(bytes))) >= 0) {
        bytes_add(&bed->datagrams, bytes, (size_t)size);
    }
}

void testbed_datagram(struct testbed *bed, const void *bytes, size_t size) {
    struct berth_address to = loopback(bed->port);
    if (!bed->options.datagrams || testbed_has_given_up()) {
        return;
    }
    if (!bed->datagrams_peer) {
        bed->datagrams_peer = sim_datagrams_open(loopback(0), on_datagram, bed);
    }
    if (bed->datagrams_peer) {
        sim_datagrams_send(bed->datagrams_peer, &to, bytes, size);
        settle(bed);
    }
}

const uint8_t *testbed_datagrams(const struct testbed *bed, size_t *size) {
    *size = bed->datagrams.size;
    return bed->datagrams.data;
}

void testbed_datagrams_clear(struct testbed *bed) {
    bed->datagrams.size = 0;
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
