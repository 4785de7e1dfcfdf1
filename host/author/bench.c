#include "author/bench.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "author/bench_internal.h"
#include "base/alloc.h"

enum {
    CANARY_BYTES = 8,
    ROUNDS_MAX = 100000, /* of one run: a plugin that posts to itself for ever is a finding */
    STOP_ROUNDS_MAX = 16,
    BUSY_BYTES = 4096, /* the least that a host gives */
};

/* Read by the last words of a process that crashes or hangs. */
static _Atomic(const char *) current_callback = "";

const char *bench_callback(void) {
    return atomic_load(&current_callback);
}

void bench_find(struct bench *bench, const char *name, const char *format, ...) {
    struct bench_finding found = {0};
    va_list arguments;
    snprintf(found.name, sizeof(found.name), "%s", name);
    snprintf(found.callback, sizeof(found.callback), "%s", bench_callback());
    va_start(arguments, format);
    vsnprintf(found.words, sizeof(found.words), format, arguments);
    va_end(arguments);
    os_mutex_lock(&bench->mutex);
    bool known = false;
    for (unsigned i = 0; i < bench->findings && i < BENCH_FINDINGS_MAX && !known; i++) {
        known = strcmp(bench->kept[i].name, found.name) == 0 &&
                strcmp(bench->kept[i].callback, found.callback) == 0;
    }
    if (!known && bench->findings < BENCH_FINDINGS_MAX) {
        bench->kept[bench->findings] = found;
    }
    bench->findings += known ? 0 : 1;
    os_mutex_unlock(&bench->mutex);
}

size_t bench_finding_count(const struct bench *bench) {
    return bench->findings;
}

const struct bench_finding *bench_finding_at(const struct bench *bench, size_t index) {
    return index < BENCH_FINDINGS_MAX && index < bench->findings ? &bench->kept[index] : NULL;
}

/* -- into the plugin and back -------------------------------------------------------------------
 */

void bench_enter(struct bench *bench, const char *callback, enum bench_scope scope,
                 struct bench_conn *conn) {
    atomic_store(&current_callback, callback);
    bench->scope = scope;
    bench->scope_conn = conn;
}

/* What the host shows to the plugin is the host's to write. */
static void check_shown(struct bench *bench) {
    struct bench_conn *conn = bench->scope_conn;
    if (memcmp(&bench->listener, &bench->listener_shown, sizeof(bench->listener)) != 0) {
        bench_find(bench, "listener-overwritten", "the plugin wrote into struct berth_listener");
        bench->listener = bench->listener_shown;
    }
    if (conn && memcmp(&conn->public, &conn->shown, sizeof(conn->public)) != 0) {
        bench_find(bench, "connection-overwritten", "the plugin wrote into struct berth_conn");
        conn->public = conn->shown;
    }
    if (conn && conn->state && !bench_guard_is_whole(conn->state + bench->plugin.conn_state_size)) {
        bench_find(bench, "state-overrun",
                   "bytes behind the end of the connection's state (%u bytes) were overwritten",
                   (unsigned)bench->plugin.conn_state_size);
        bench_guard_write(conn->state + bench->plugin.conn_state_size);
    }
}

void bench_leave(struct bench *bench) {
    check_shown(bench);
    atomic_store(&current_callback, "");
    bench->scope = BENCH_OUTSIDE;
    bench->scope_conn = NULL;
}

/* -- life ---------------------------------------------------------------------------------------
 */

struct bench *bench_create(const struct berth_plugin *plugin, const struct bench_options *options) {
    struct bench *bench = alloc_zeroed(sizeof(*bench));
    if (!bench) {
        return NULL;
    }
    os_mutex_init(&bench->mutex);
    bench->plugin = *plugin;
    bench->options = *options;
    bench->thread = os_thread_id();
    bench->now_ms = 1000000; /* not 0, which a plugin may take for "never" */
    bench->next_id = 1000;
    if (bench->options.queue_bytes == 0) {
        bench->options.queue_bytes = 1024 * 1024;
    }
    bench_table_fill(bench);
    bench->listener = (struct berth_listener){
        .struct_size = sizeof(bench->listener),
        .host = &bench->table.host,
        .name = plugin->id,
        .config_json = options->config_json ? options->config_json : "{}",
        .message_bytes = 16777216, /* the most that a manifest can say: all that is left is kept */
    };
    bench->listener_shown = bench->listener;
    return bench;
}

void bench_destroy(struct bench *bench) {
    if (!bench) {
        return;
    }
    struct bench_task *task;
    struct bench_task *next;
    DL_FOREACH_SAFE(bench->tasks, task, next) {
        bytes_free(&task->first_data);
        alloc_free(task);
    }
    bench_timers_free(bench);
    bench_files_free(bench);
    while (bench->conns) {
        struct bench_conn *conn = bench->conns;
        bench->conns = conn->next;
        bench_conn_free(conn);
    }
    bench_buffers_free(bench);
    bytes_free(&bench->datagrams);
    os_mutex_fini(&bench->mutex);
    alloc_free(bench);
}

void bench_refuse(struct bench *bench, uint32_t refuses) {
    bench->options.refuses = refuses;
}

/* A callback that may refuse must say why, in words within its room and with a status that means a
 * failure. */
static int32_t check_answer(struct bench *bench, const char *callback, int32_t status,
                            const char *message, const char *canary, char *words, size_t size) {
    for (unsigned i = 0; i < CANARY_BYTES; i++) {
        if (canary[i] != 'c') {
            bench_find(bench, "error-overrun", "%s() wrote past error->message_capacity", callback);
            break;
        }
    }
    if (status > 0) {
        bench_find(bench, "status-unknown",
                   "%s() returned %d: BERTH_OK is 0, and a failure is negative", callback,
                   (int)status);
    }
    if (status != BERTH_OK && message[0] == '\0') {
        bench_find(bench, "refusal-without-words",
                   "%s() returned %d and gave no reason: use berth_error_set()", callback,
                   (int)status);
    }
    snprintf(words, size, "%s", message[0] ? message : "it gave no reason");
    return status;
}

int32_t bench_load(struct bench *bench, char *words, size_t size) {
    char message[512 + CANARY_BYTES] = "";
    struct berth_error error = {sizeof(error), sizeof(message) - CANARY_BYTES, message};
    int32_t status = BERTH_OK;
    words[0] = '\0';
    if (bench->plugin.load) {
        memset(message + error.message_capacity, 'c', CANARY_BYTES);
        bench_enter(bench, "load", BENCH_CONTROL, NULL);
        status = bench->plugin.load(&bench->table.host, &bench->plugin_state, &error);
        message[error.message_capacity - 1] = '\0';
        check_answer(bench, "load", status, message, message + sizeof(message) - CANARY_BYTES,
                     words, size);
        bench_leave(bench);
    }
    bench->loaded = status == BERTH_OK;
    bench->listener.plugin_state = bench->plugin_state;
    bench->listener_shown = bench->listener;
    return status;
}

int32_t bench_open(struct bench *bench, char *words, size_t size) {
    char message[512 + CANARY_BYTES] = "";
    struct berth_error error = {sizeof(error), sizeof(message) - CANARY_BYTES, message};
    int32_t status = BERTH_OK;
    void *state = NULL;
    words[0] = '\0';
    if (bench->plugin.listener_open) {
        memset(message + error.message_capacity, 'c', CANARY_BYTES);
        bench->in_open = true;
        bench_enter(bench, "listener_open", BENCH_CONTROL, NULL);
        status = bench->plugin.listener_open(&bench->listener, &state, &error);
        message[error.message_capacity - 1] = '\0';
        check_answer(bench, "listener_open", status, message,
                     message + sizeof(message) - CANARY_BYTES, words, size);
        bench_leave(bench);
        bench->in_open = false;
    }
    bench->open = status == BERTH_OK;
    bench->listener.state = state;
    bench->listener_shown = bench->listener;
    if (!bench->open) {
        bench_timers_end(bench, NULL);
    }
    return status;
}

/* -- what runs later ----------------------------------------------------------------------------
 */

bool bench_task_add(struct bench *bench, const struct bench_task *task) {
    struct bench_task *copy = alloc_zeroed(sizeof(*copy));
    if (!copy) {
        return false;
    }
    *copy = *task;
    os_mutex_lock(&bench->mutex);
    DL_APPEND(bench->tasks, copy);
    os_mutex_unlock(&bench->mutex);
    return true;
}

static void run_post(struct bench *bench, struct bench_task *task) {
    struct bench_conn *conn = bench_conn_by_id(bench, task->conn_id);
    bool gone = !conn || conn->end >= BENCH_ENDS;
    int32_t status = bench->ended ? BERTH_E_CANCELLED : gone ? BERTH_E_GONE : BERTH_OK;
    bench_enter(bench, "a posted function", status == BERTH_OK ? BENCH_CONN : BENCH_ANY,
                status == BERTH_OK ? conn : NULL);
    task->post(status == BERTH_OK ? &conn->public : NULL, status, task->argument);
    bench_leave(bench);
}

static void run_post_worker(struct bench *bench, struct bench_task *task) {
    bench_enter(bench, "a function posted to a worker", BENCH_CONN, NULL);
    task->post_worker(&bench->listener, task->worker, task->argument);
    bench_leave(bench);
}

static void run_work(struct bench *bench, struct bench_task *task) {
    struct bench_conn *conn = bench_conn_by_id(bench, task->conn_id);
    bool of_listener = task->conn_id == 0;
    bool gone = !of_listener && (!conn || conn->end >= BENCH_ENDS);
    int32_t status = gone ? BERTH_E_CANCELLED : BERTH_OK;
    if (!gone) {
        bench_enter(bench, "work", BENCH_WORK, NULL);
        task->work(task->argument);
        bench_leave(bench);
    }
    bench_enter(bench, "done", of_listener || gone ? BENCH_ANY : BENCH_CONN, gone ? NULL : conn);
    task->done(of_listener || gone ? NULL : &conn->public, status, task->argument);
    bench_leave(bench);
}

static void run_connect(struct bench *bench, struct bench_task *task) {
    const struct bench_conn *asker = bench_conn_by_id(bench, task->conn_id);
    struct bench_conn *made = NULL;
    int32_t status = BERTH_E_REFUSED;
    if (!asker || asker->end >= BENCH_ENDS) {
        status = BERTH_E_CANCELLED;
    } else if (bench->upstream_expected) {
        made = bench_conn_new(bench, true);
        status = made ? BERTH_OK : BERTH_E_NO_MEMORY;
    }
    if (made) {
        bytes_add(&made->queue, task->first_data.data, task->first_data.size);
    }
    bench_enter(bench, "connected", BENCH_CONN, made);
    task->connected(made ? &made->public : NULL, status, task->argument);
    bench_leave(bench);
}

static bool run_task(struct bench *bench) {
    os_mutex_lock(&bench->mutex);
    struct bench_task *task = bench->tasks;
    if (task) {
        DL_DELETE(bench->tasks, task);
    }
    os_mutex_unlock(&bench->mutex);
    if (!task) {
        return false;
    }
    switch (task->kind) {
    case BENCH_TASK_POST:
        run_post(bench, task);
        break;
    case BENCH_TASK_POST_WORKER:
        run_post_worker(bench, task);
        break;
    case BENCH_TASK_WORK:
        run_work(bench, task);
        break;
    case BENCH_TASK_CONNECT:
        run_connect(bench, task);
        break;
    }
    bytes_free(&task->first_data);
    alloc_free(task);
    return true;
}

static bool settle_all(struct bench *bench) {
    bool any = false;
    for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
        any |= bench_conn_settle(conn);
    }
    return any;
}

static bool take_all(struct bench *bench) {
    bool any = false;
    for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
        any |= bench_conn_take(conn);
    }
    return any;
}

/* The clients take what is queued only when the plugin has come to rest: a slow peer. */
void bench_run(struct bench *bench) {
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        if (!settle_all(bench) && !run_task(bench) && !take_all(bench)) {
            return;
        }
    }
    bench_find(bench, "never-rests",
               "it goes on for ever without a client or a clock: it posts, or works, in a circle");
}

void bench_advance(struct bench *bench, uint64_t ms) {
    uint64_t until = bench->now_ms + ms;
    bench_run(bench);
    for (unsigned fired = 0; fired < ROUNDS_MAX && bench_timer_fire(bench, until); fired++) {
        bench_run(bench);
    }
    bench->now_ms = until;
}

/* -- the end ------------------------------------------------------------------------------------
 */

/* As connection_ask_to_close() and the cut at the end of the drain time do it. */
static void stop_conn(struct bench *bench, struct bench_conn *conn) {
    if (conn->end != BENCH_LIVES) {
        return;
    }
    uint32_t answer = BERTH_CLOSING_KEEP;
    if (bench->plugin.closing) {
        bench_enter(bench, "closing", BENCH_CONN, conn);
        answer = bench->plugin.closing(&conn->public, BERTH_CLOSED_STOPPING);
        bench_leave(bench);
    }
    if (answer == BERTH_CLOSING_ABORT) {
        bench_conn_end(conn, BERTH_CLOSED_STOPPING, true);
    } else if (answer != BERTH_CLOSING_KEEP) {
        bench_conn_finish(conn, BERTH_CLOSED_STOPPING);
    }
    bench_run(bench);
}

static void close_listener(struct bench *bench) {
    if (bench->open && bench->plugin.listener_close) {
        bench_enter(bench, "listener_close", BENCH_CONTROL, NULL);
        bench->plugin.listener_close(&bench->listener);
        bench_leave(bench);
    }
    bench->open = false;
    bench_timers_end(bench, NULL);
}

static void unload(struct bench *bench) {
    if (bench->loaded && bench->plugin.unload) {
        bench_enter(bench, "unload", BENCH_CONTROL, NULL);
        bench->plugin.unload(bench->plugin_state);
        bench_leave(bench);
    }
    bench->loaded = false;
    bench->ended = true;
}

void bench_stop(struct bench *bench) {
    bench_run(bench);
    for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
        bench_conn_check_closed(conn);
    }
    /* First a newer generation takes its place, then the host stops: plugins hear of both. */
    for (uint32_t why = BERTH_DRAINING_REPLACED; why <= BERTH_DRAINING_HOST_STOPS; why += 2) {
        bench->draining = why;
        for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
            stop_conn(bench, conn);
        }
    }
    /* Whoever makes new connections while the old ones are cut has them cut as well. */
    for (unsigned round = 0; round < STOP_ROUNDS_MAX; round++) {
        for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
            bench_conn_end(conn, BERTH_CLOSED_STOPPING, true);
        }
        bench_run(bench);
    }
    close_listener(bench);
    unload(bench);
    bench_run(bench);
    bench_buffers_check_left(bench);
    bench_files_check_left(bench);
}

void bench_datagram(struct bench *bench, const void *bytes, size_t size) {
    struct bench_buffer *buffer = bench_buffer_new(bench, (uint32_t)size, "datagram");
    if (!buffer) {
        return;
    }
    memcpy(buffer->bytes, bytes, size);
    struct berth_datagram datagram = {
        .struct_size = sizeof(datagram),
        .data = {(struct berth_buffer *)buffer, buffer->bytes, (uint32_t)size, 0},
        .local = {BERTH_FAMILY_IPV4, 7, 0, {127, 0, 0, 1}},
        .remote = {BERTH_FAMILY_IPV4, 40000, 0, {127, 0, 0, 1}},
    };
    if (bench->plugin.datagram) {
        bench_enter(bench, "datagram", BENCH_ANY, NULL);
        bench->plugin.datagram(&bench->listener, &datagram);
        bench_leave(bench);
    }
    bench_buffer_release((struct berth_buffer *)buffer);
    bench_run(bench);
}

const uint8_t *bench_datagrams(const struct bench *bench, size_t *size) {
    *size = bench->datagrams.size;
    return bench->datagrams.data;
}

void bench_upstream_expect(struct bench *bench, bool expected) {
    bench->upstream_expected = expected;
}

void bench_datagrams_clear(struct bench *bench) {
    bench->datagrams.size = 0;
}

void bench_busy(struct bench *bench) {
    struct bench_buffer *buffer = bench_buffer_new(bench, BUSY_BYTES, "busy");
    if (!buffer || !bench->plugin.busy) {
        return;
    }
    bench_enter(bench, "busy", BENCH_ANY, NULL);
    uint32_t size = bench->plugin.busy(&bench->listener, buffer->bytes, buffer->size);
    if (size > buffer->size) {
        bench_find(bench, "busy-too-long", "busy() returned %u of a room of %u bytes",
                   (unsigned)size, (unsigned)buffer->size);
    }
    bench_leave(bench);
    bench_buffer_release((struct berth_buffer *)buffer);
}
