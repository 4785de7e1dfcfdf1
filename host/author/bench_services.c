/* The table of functions that a plugin gets from the bench. */
#include <stdio.h>
#include <string.h>

#include "author/bench_internal.h"
#include "base/address.h"
#include "base/alloc.h"

enum { MESSAGE_BYTES = 65536, QUEUE_FACTOR = 4, TABLE_POISON = 0xEE };

/* What is [any]: good as long as the plugin is loaded. */
static void note_call(struct bench *bench, const char *service) {
    if (bench->ended) {
        bench_find(bench, "called-after-unload", "%s() was called after `unload` had returned",
                   service);
    }
}

static const void *BERTH_CALL query(const struct berth_host *host, const char *id) {
    struct bench *bench = bench_of(host);
    note_call(bench, "query");
    return (bench->options.refuses & BENCH_HAS_NO_EXTENSIONS) != 0 ? NULL : bench_extension(id);
}

static void BERTH_CALL service_log(const struct berth_host *host, uint32_t level, const char *text,
                                   uint32_t size) {
    note_call(bench_of(host), "log");
    if ((level & ~BERTH_LOG_RECORD) > BERTH_LOG_DEBUG) {
        bench_find(bench_of(host), "log-level-unknown", "log() was given the level %u",
                   (unsigned)level);
    }
    (void)text;
    (void)size;
}

static uint64_t BERTH_CALL now_ms(const struct berth_host *host) {
    return bench_of(host)->now_ms;
}

static uint32_t BERTH_CALL service_address_format(const struct berth_host *host,
                                                  const struct berth_address *address, char *text,
                                                  uint32_t capacity) {
    char full[BERTH_ADDRESS_TEXT_MAX];
    note_call(bench_of(host), "address_format");
    if (capacity == 0) {
        return 0;
    }
    address_format(address, full, sizeof(full));
    int length = snprintf(text, capacity, "%s", full);
    return length < 0 ? 0 : (uint32_t)length < capacity ? (uint32_t)length : capacity - 1;
}

static int32_t BERTH_CALL path_resolve(const struct berth_host *host, const char *path, char *text,
                                       uint32_t capacity) {
    const char *folder = bench_of(host)->options.config_folder;
    note_call(bench_of(host), "path_resolve");
    return os_path_join(text, capacity, folder ? folder : ".", path) ? BERTH_OK : BERTH_E_LIMIT;
}

static int32_t BERTH_CALL buffer_create(const struct berth_host *host, uint32_t size,
                                        struct berth_slice *slice) {
    struct bench *bench = bench_of(host);
    *slice = (struct berth_slice){0};
    note_call(bench, "buffer_create");
    if (size > BERTH_BUFFER_BYTES_MAX) {
        return BERTH_E_LIMIT;
    }
    if ((bench->options.refuses & BENCH_REFUSES_BUFFERS) != 0) {
        return BERTH_E_NO_MEMORY;
    }
    struct bench_buffer *buffer = bench_buffer_new(bench, size > 0 ? size : 1, NULL);
    if (!buffer) {
        return BERTH_E_NO_MEMORY;
    }
    *slice = (struct berth_slice){(struct berth_buffer *)buffer, buffer->bytes, buffer->size, 0};
    return BERTH_OK;
}

static void BERTH_CALL buffer_acquire(struct berth_buffer *buffer) {
    bench_buffer_acquire(buffer);
}

static void BERTH_CALL buffer_release(struct berth_buffer *buffer) {
    bench_buffer_release(buffer);
}

/* -- connections --------------------------------------------------------------------------------
 */

int32_t bench_send_status(const struct bench_conn *conn) {
    const struct bench *bench = conn->bench;
    if (conn->end >= BENCH_ENDS) {
        return BERTH_E_GONE;
    }
    if (conn->end != BENCH_LIVES || conn->fin_wanted) {
        return BERTH_E_STATE;
    }
    return (bench->options.refuses & BENCH_REFUSES_SENDS) != 0 ? BERTH_E_NO_MEMORY : BERTH_OK;
}

static int32_t BERTH_CALL service_send(struct berth_conn *public, const void *bytes,
                                       uint32_t size) {
    struct bench_conn *conn = bench_conn_used(public, "send");
    int32_t status = conn ? bench_send_status(conn) : BERTH_E_STATE;
    if (conn && !bytes && size > 0) {
        bench_find(conn->bench, "bytes-missing", "send() was given no bytes");
        return BERTH_E_INVALID;
    }
    if (status == BERTH_OK && !bytes_add(&conn->queue, bytes, size)) {
        status = BERTH_E_NO_MEMORY;
    }
    return status;
}

int32_t bench_send_slice(struct bench_conn *conn, const struct berth_slice *slice) {
    return bytes_add(&conn->queue, slice->bytes, slice->size) ? BERTH_OK : BERTH_E_NO_MEMORY;
}

static int32_t BERTH_CALL send_slices(struct berth_conn *public, const struct berth_slice *slices,
                                      uint32_t count) {
    struct bench_conn *conn = bench_conn_used(public, "send_slices");
    int32_t status = conn ? bench_send_status(conn) : BERTH_E_STATE;
    for (uint32_t i = 0; i < count; i++) {
        struct bench *bench = ((struct bench_conn *)public)->bench;
        bool good = bench_slice_take(bench, &slices[i], "send_slices");
        if (!good) {
            status = BERTH_E_INVALID;
        } else if (status == BERTH_OK) {
            status = bench_send_slice(conn, &slices[i]);
        }
        if (good) {
            bench_buffer_release(slices[i].buffer);
        }
    }
    return status;
}

static int32_t BERTH_CALL shutdown_send(struct berth_conn *public) {
    struct bench_conn *conn = bench_conn_used(public, "shutdown_send");
    if (!conn || conn->end != BENCH_LIVES) {
        return conn && conn->end >= BENCH_ENDS ? BERTH_E_GONE : BERTH_E_STATE;
    }
    conn->fin_wanted = true;
    return BERTH_OK;
}

static void finish(struct berth_conn *public, const char *service) {
    struct bench_conn *conn = bench_conn_used(public, service);
    if (conn) {
        bench_conn_finish(conn,
                          conn->peer_finished ? BERTH_CLOSED_BY_PEER : BERTH_CLOSED_BY_PLUGIN);
    }
}

static void BERTH_CALL service_close(struct berth_conn *public) {
    finish(public, "close");
}

/* The bench's clients answer a FIN with their own at once: there is nobody to wait for. */
static void BERTH_CALL close_at_once(struct berth_conn *public) {
    finish(public, "close_at_once");
}

static void BERTH_CALL close_with_timeout(struct berth_conn *public, uint32_t send_timeout_ms) {
    (void)send_timeout_ms;
    finish(public, "close_with_timeout");
}

static void BERTH_CALL service_abort(struct berth_conn *public) {
    struct bench_conn *conn = bench_conn_used(public, "abort");
    if (conn) {
        bench_conn_end(conn, BERTH_CLOSED_ABORTED, true);
    }
}

static void BERTH_CALL receive_pause(struct berth_conn *public) {
    struct bench_conn *conn = bench_conn_used(public, "receive_pause");
    if (conn) {
        conn->paused = true;
    }
}

static void BERTH_CALL receive_resume(struct berth_conn *public) {
    struct bench_conn *conn = bench_conn_used(public, "receive_resume");
    if (conn && conn->paused) {
        conn->paused = false;
        conn->redeliver = true;
    }
}

static int32_t BERTH_CALL want_at_least(struct berth_conn *public, uint32_t size) {
    struct bench_conn *conn = bench_conn_used(public, "want_at_least");
    if (!conn || conn->end >= BENCH_ENDS) {
        return BERTH_E_GONE;
    }
    if (size > MESSAGE_BYTES) {
        return BERTH_E_LIMIT;
    }
    conn->want = size > 0 ? size : 1;
    return BERTH_OK;
}

static void BERTH_CALL conn_info(struct berth_conn *public, struct berth_conn_info *info) {
    const struct bench_conn *conn = bench_conn_used(public, "conn_info");
    struct berth_conn_info full = {0};
    if (conn) {
        full = (struct berth_conn_info){
            .local = {BERTH_FAMILY_IPV4, 7, 0, {127, 0, 0, 1}},
            .remote = {BERTH_FAMILY_IPV4, 40000, 0, {127, 0, 0, 1}},
            .bytes_received = conn->received,
            .bytes_sent = conn->sent,
            .bytes_queued = conn->queue.size,
            .opened_ago_ms = conn->bench->now_ms - conn->opened_ms,
        };
    }
    full.struct_size = info->struct_size < sizeof(full) ? info->struct_size : sizeof(full);
    memcpy(info, &full, full.struct_size);
}

static void BERTH_CALL conn_log(struct berth_conn *public, uint32_t level, const char *text,
                                uint32_t size) {
    struct bench_conn *conn = bench_conn_used(public, "conn_log");
    if (conn) {
        service_log(&conn->bench->table.host, level, text, size);
    }
}

/* -- from other threads -------------------------------------------------------------------------
 */

static int32_t BERTH_CALL post(const struct berth_host *host, uint64_t conn_id,
                               berth_post_fn function, void *argument) {
    struct bench *bench = bench_of(host);
    note_call(bench, "post");
    if (!function) {
        bench_find(bench, "function-missing", "post() was given no function");
        return BERTH_E_INVALID;
    }
    if ((bench->options.refuses & BENCH_REFUSES_POSTS) != 0) {
        return BERTH_E_LIMIT;
    }
    if (bench->ended || !bench_conn_by_id(bench, conn_id)) {
        return BERTH_E_GONE;
    }
    struct bench_task task = {
        .kind = BENCH_TASK_POST, .conn_id = conn_id, .post = function, .argument = argument};
    return bench_task_add(bench, &task) ? BERTH_OK : BERTH_E_NO_MEMORY;
}

static int32_t BERTH_CALL post_worker(const struct berth_listener *listener, uint32_t worker,
                                      berth_worker_fn function, void *argument) {
    struct bench *bench = bench_of(listener->host);
    note_call(bench, "post_worker");
    if (bench->scope == BENCH_CONTROL && os_thread_id() == bench->thread) {
        bench_find(bench, "not-allowed-here",
                   "post_worker() was called in `%s`, where no connection can be",
                   bench_callback());
        return BERTH_E_STATE;
    }
    if (!function) {
        bench_find(bench, "function-missing", "post_worker() was given no function");
        return BERTH_E_INVALID;
    }
    if (worker >= BENCH_WORKERS) {
        return BERTH_E_INVALID;
    }
    if ((bench->options.refuses & BENCH_REFUSES_POSTS) != 0) {
        return BERTH_E_LIMIT;
    }
    struct bench_task task = {.kind = BENCH_TASK_POST_WORKER,
                              .worker = worker,
                              .post_worker = function,
                              .argument = argument};
    return bench_task_add(bench, &task) ? BERTH_OK : BERTH_E_NO_MEMORY;
}

static uint32_t BERTH_CALL draining(const struct berth_listener *listener) {
    return bench_of(listener->host)->draining;
}

void bench_table_fill(struct bench *bench) {
    uint32_t more = bench->options.table_bytes_more;
    more = more < sizeof(bench->table.more) ? more : (uint32_t)sizeof(bench->table.more);
    memset(bench->table.more, TABLE_POISON, sizeof(bench->table.more));
    bench->table.host = (struct berth_host){
        .struct_size = (uint32_t)sizeof(struct berth_host) + more,
        .abi_major = BERTH_ABI_MAJOR,
        .abi_minor = (uint16_t)(BERTH_ABI_MINOR + bench->options.abi_minor),
        .name = "bench",
        .version = "0.0.0",
        .query = query,
        .log = service_log,
        .now_ms = now_ms,
        .address_format = service_address_format,
        .path_resolve = path_resolve,
        .buffer_create = buffer_create,
        .buffer_acquire = buffer_acquire,
        .buffer_release = buffer_release,
        .send = service_send,
        .send_slices = send_slices,
        .shutdown_send = shutdown_send,
        .close = service_close,
        .abort = service_abort,
        .receive_pause = receive_pause,
        .receive_resume = receive_resume,
        .want_at_least = want_at_least,
        .conn_info = conn_info,
        .conn_log = conn_log,
        .post = post,
        .workers = BENCH_WORKERS,
        .post_worker = post_worker,
        .close_at_once = close_at_once,
        .draining = draining,
        .close_with_timeout = close_with_timeout,
    };
}
