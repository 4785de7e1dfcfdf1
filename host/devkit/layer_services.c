/* The table of services that the plugin under test gets: each service checks the call and forwards
 * it to the real table. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "devkit/layer.h"
#include "net/conn/connection.h"
#include "net/lib/plugin_slice.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"
#include "plugin/request.h"
#include "plugin/services.h"

enum { TABLE_POISON = 0xEE };

#define VIRTUAL_EPOCH_S INT64_C(1767225600) /* 2026-01-01T00:00:00Z */

/* The host's own table. */
static const struct berth_host *layer_service_real(const struct testbed *bed) {
    return &bed->module->host;
}

/* Services of [any] are allowed as long as the plugin is loaded. */
void layer_note_call(struct testbed *bed, const char *service) {
    if (os_thread_id() != bed->thread) {
        atomic_store(&bed->has_threads, true);
        atomic_fetch_add(&bed->foreign, 1);
    }
    if (bed->ended) {
        layer_find(bed, "called-after-unload", "%s() was called after `unload` had returned",
                   service);
    }
}

bool layer_is_control(void) {
    int callback = layer_callback();
    return callback >= 0 && callback <= PLUGIN_LISTENER_CLOSE &&
           callback != PLUGIN_LISTENER_DRAINING;
}

void layer_check_request(struct testbed *bed, const char *service, int32_t status) {
    if (status == BERTH_E_UNSUPPORTED) {
        layer_find(bed, "request-unknown",
                   "%s() was asked for what this host does not know: what a plugin does not mean "
                   "must be 0, also behind the members that it sets",
                   service);
    }
}

static bool layer_service_refuses(const struct testbed *bed, uint32_t what) {
    return (bed->options.refuses & what) != 0;
}

static const void *BERTH_CALL query(const struct berth_host *host, const char *id) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "query");
    return layer_service_refuses(bed, TESTBED_HAS_NO_EXTENSIONS) ? NULL : layer_extension(id);
}

static void BERTH_CALL service_log(const struct berth_host *host, uint32_t level, const char *text,
                                   uint32_t size) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "log");
    if ((level & ~BERTH_LOG_RECORD) > BERTH_LOG_DEBUG) {
        layer_find(bed, "log-level-unknown", "log() was given the level %u", (unsigned)level);
    }
    if (!bed->ended) {
        layer_service_real(bed)->log(layer_service_real(bed), level, text, size);
    }
}

static int32_t BERTH_CALL log_fields(const struct berth_host *host,
                                     const struct berth_log_entry *entry) {
    struct testbed *bed = testbed_of(host);
    struct berth_log_entry whole = {0};
    layer_note_call(bed, "log_fields");
    if (bed->ended) {
        return BERTH_E_STATE;
    }
    int32_t status = request_read(&whole, sizeof(whole), entry);
    if (status == BERTH_OK && whole.conn && !layer_may_touch(whole.conn, "log_fields")) {
        return BERTH_E_INVALID;
    }
    status = layer_service_real(bed)->log_fields(layer_service_real(bed), entry);
    layer_check_request(bed, "log_fields", status);
    if (status == BERTH_E_INVALID) {
        layer_find(bed, "log-entry-wrong",
                   "log_fields() was given a key that is not [a-z][a-z0-9_]{0,31}, or no text");
    }
    return status;
}

/* Transcripts always start at the same date, the first day of a year. */
static int64_t BERTH_CALL unix_time_ns(const struct berth_host *host) {
    (void)host;
    return VIRTUAL_EPOCH_S * 1000000000 + (int64_t)sim_now_us() * 1000;
}

/* The same sequence in every run, so that runs are reproducible. */
static int32_t BERTH_CALL random_bytes(const struct berth_host *host, void *bytes, uint32_t size) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "random_bytes");
    if (!bytes && size > 0) {
        layer_find(bed, "bytes-missing", "random_bytes() was given no room");
        return BERTH_E_INVALID;
    }
    os_mutex_lock(&bed->mutex);
    for (uint32_t i = 0; i < size; i++) {
        uint64_t mixed = bed->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
        mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
        ((uint8_t *)bytes)[i] = (uint8_t)(mixed >> 56);
    }
    os_mutex_unlock(&bed->mutex);
    return BERTH_OK;
}

static uint64_t BERTH_CALL now_ms(const struct berth_host *host) {
    (void)host;
    return engine_now_ms();
}

static uint32_t BERTH_CALL service_address_format(const struct berth_host *host,
                                                  const struct berth_address *address, char *text,
                                                  uint32_t capacity) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "address_format");
    return bed->ended ? 0
                      : layer_service_real(bed)->address_format(layer_service_real(bed), address,
                                                                text, capacity);
}

static int32_t BERTH_CALL path_resolve(const struct berth_host *host, const char *path, char *text,
                                       uint32_t capacity) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "path_resolve");
    return bed->ended ? BERTH_E_LIMIT
                      : layer_service_real(bed)->path_resolve(layer_service_real(bed), path, text,
                                                              capacity);
}

/* -- buffers --------------------------------------------------------------- */

static int32_t BERTH_CALL service_buffer_create(const struct berth_host *host, uint32_t size,
                                                struct berth_slice *slice) {
    struct testbed *bed = testbed_of(host);
    uint32_t more = size <= BERTH_BUFFER_BYTES_MAX - LAYER_GUARD_BYTES ? LAYER_GUARD_BYTES : 0;
    *slice = (struct berth_slice){0};
    layer_note_call(bed, "buffer_create");
    if (layer_service_refuses(bed, TESTBED_REFUSES_BUFFERS) || bed->ended) {
        return size > BERTH_BUFFER_BYTES_MAX ? BERTH_E_LIMIT : BERTH_E_NO_MEMORY;
    }
    int32_t status =
        layer_service_real(bed)->buffer_create(layer_service_real(bed), size + more, slice);
    if (status == BERTH_OK) {
        layer_buffer_made(bed, slice);
    }
    return status;
}

/* A buffer does not name its testbed: there is one, or two of the same plugin. */
static struct testbed *bed_of_buffer(const char *service) {
    struct testbed *bed = testbed_first();
    const struct plugin_stats *stats = callback_guard_stats();
    struct testbed *each;
    DL_FOREACH(testbed_first(), each) {
        bed = each->module && each->module->stats == stats ? each : bed;
    }
    if (bed) {
        layer_note_call(bed, service);
    }
    return bed;
}

static void BERTH_CALL service_buffer_acquire(struct berth_buffer *given) {
    struct testbed *bed = bed_of_buffer("buffer_acquire");
    if (bed && !bed->ended) {
        layer_buffer_acquire(bed, given);
        layer_service_real(bed)->buffer_acquire(given);
    }
}

static void BERTH_CALL service_buffer_release(struct berth_buffer *given) {
    struct testbed *bed = bed_of_buffer("buffer_release");
    if (bed && !bed->ended) {
        layer_buffer_release(bed, given);
        layer_service_real(bed)->buffer_release(given);
    }
}

/* -- connections ----------------------------------------------------------- */

static int32_t BERTH_CALL service_send(struct berth_conn *conn, const void *bytes, uint32_t size) {
    if (!layer_may_touch(conn, "send")) {
        return BERTH_E_STATE;
    }
    struct testbed *bed = testbed_of(conn->host);
    if (!bytes && size > 0) {
        layer_find(bed, "bytes-missing", "send() was given no bytes");
    } else {
        layer_bytes(bed, bytes, size, "send");
    }
    return layer_service_refuses(bed, TESTBED_REFUSES_SENDS)
               ? BERTH_E_NO_MEMORY
               : layer_service_real(bed)->send(conn, bytes, size);
}

static int32_t BERTH_CALL send_slices(struct berth_conn *conn, const struct berth_slice *slices,
                                      uint32_t count) {
    if (!layer_may_touch(conn, "send_slices")) {
        plugin_slices_drop(slices, count);
        return BERTH_E_STATE;
    }
    struct testbed *bed = testbed_of(conn->host);
    for (uint32_t i = 0; i < count; i++) {
        layer_slice(bed, &slices[i], "send_slices");
    }
    if (layer_service_refuses(bed, TESTBED_REFUSES_SENDS)) {
        plugin_slices_drop(slices, count);
        return BERTH_E_NO_MEMORY;
    }
    int32_t status = layer_service_real(bed)->send_slices(conn, slices, count);
    for (uint32_t i = 0; status == BERTH_OK && i < count; i++) {
        layer_slice_queued(bed, &slices[i], conn);
    }
    return status;
}

static int32_t BERTH_CALL shutdown_send(struct berth_conn *conn) {
    return layer_may_touch(conn, "shutdown_send")
               ? layer_service_real(testbed_of(conn->host))->shutdown_send(conn)
               : BERTH_E_STATE;
}

static void BERTH_CALL service_close(struct berth_conn *conn) {
    if (layer_may_touch(conn, "close")) {
        layer_service_real(testbed_of(conn->host))->close(conn);
    }
}

static void BERTH_CALL close_at_once(struct berth_conn *conn) {
    if (layer_may_touch(conn, "close_at_once")) {
        layer_service_real(testbed_of(conn->host))->close_at_once(conn);
    }
}

static void BERTH_CALL close_with_timeout(struct berth_conn *conn, uint32_t send_timeout_ms) {
    if (layer_may_touch(conn, "close_with_timeout")) {
        layer_service_real(testbed_of(conn->host))->close_with_timeout(conn, send_timeout_ms);
    }
}

static void BERTH_CALL service_abort(struct berth_conn *conn) {
    if (layer_may_touch(conn, "abort")) {
        layer_service_real(testbed_of(conn->host))->abort(conn);
    }
}

static void BERTH_CALL receive_pause(struct berth_conn *conn) {
    if (layer_may_touch(conn, "receive_pause")) {
        layer_service_real(testbed_of(conn->host))->receive_pause(conn);
    }
}

static void BERTH_CALL receive_resume(struct berth_conn *conn) {
    if (layer_may_touch(conn, "receive_resume")) {
        layer_service_real(testbed_of(conn->host))->receive_resume(conn);
    }
}

static int32_t BERTH_CALL want_at_least(struct berth_conn *conn, uint32_t size) {
    return layer_may_touch(conn, "want_at_least")
               ? layer_service_real(testbed_of(conn->host))->want_at_least(conn, size)
               : BERTH_E_GONE;
}

static void BERTH_CALL conn_info(struct berth_conn *conn, struct berth_conn_info *info) {
    if (layer_may_touch(conn, "conn_info")) {
        layer_service_real(testbed_of(conn->host))->conn_info(conn, info);
    } else {
        memset((char *)info + sizeof(info->struct_size), 0,
               info->struct_size > sizeof(*info) ? sizeof(*info) - sizeof(info->struct_size)
                                                 : info->struct_size - sizeof(info->struct_size));
    }
}

static void BERTH_CALL conn_log(struct berth_conn *conn, uint32_t level, const char *text,
                                uint32_t size) {
    if (layer_may_touch(conn, "conn_log")) {
        service_log(conn->host, level, text, size);
    }
}

/* -- from other threads ---------------------------------------------------- */

static int32_t BERTH_CALL post(const struct berth_host *host, uint64_t conn_id,
                               berth_post_fn function, void *argument) {
    struct testbed *bed = testbed_of(host);
    layer_note_call(bed, "post");
    if (!function) {
        layer_find(bed, "function-missing", "post() was given no function");
        return BERTH_E_INVALID;
    }
    if (layer_service_refuses(bed, TESTBED_REFUSES_POSTS)) {
        return BERTH_E_LIMIT;
    }
    return bed->ended ? BERTH_E_GONE
                      : layer_service_real(bed)->post(layer_service_real(bed), conn_id, function,
                                                      argument);
}

static int32_t BERTH_CALL post_worker(const struct berth_listener *listener, uint32_t worker,
                                      berth_worker_fn function, void *argument) {
    struct testbed *bed = testbed_of_listener(listener);
    if (!bed) {
        return BERTH_E_INVALID;
    }
    layer_note_call(bed, "post_worker");
    if (layer_is_control() && os_thread_id() == bed->thread) {
        layer_find(bed, "not-allowed-here",
                   "post_worker() was called in `%s`, where no connection can be",
                   testbed_callback());
        return BERTH_E_STATE;
    }
    if (bed->listener_over) {
        layer_find(bed, "called-after-listener-close",
                   "post_worker() was called%s after `listener_close` had returned: the listener "
                   "is gone",
                   os_thread_id() != bed->thread ? " on a thread of the plugin" : "");
        return BERTH_E_STATE;
    }
    if (!function) {
        layer_find(bed, "function-missing", "post_worker() was given no function");
        return BERTH_E_INVALID;
    }
    return layer_service_refuses(bed, TESTBED_REFUSES_POSTS)
               ? BERTH_E_LIMIT
               : layer_service_real(bed)->post_worker(listener, worker, function, argument);
}

static uint32_t BERTH_CALL draining(const struct berth_listener *listener) {
    const struct testbed *bed = testbed_of_listener(listener);
    return bed && !bed->listener_over ? layer_service_real(bed)->draining(listener) : 0;
}

void layer_services(struct testbed *bed) {
    uint32_t more = bed->options.table_bytes_more;
    more = more < sizeof(bed->table.more) ? more : (uint32_t)sizeof(bed->table.more);
    memset(bed->table.more, TABLE_POISON, sizeof(bed->table.more));
    bed->table.host = (struct berth_host){
        .struct_size = (uint32_t)sizeof(struct berth_host) + more,
        .abi_major = BERTH_ABI_MAJOR,
        .abi_minor = (uint16_t)(BERTH_ABI_MINOR + bed->options.abi_minor),
        .name = "devkit",
        .version = "0.0.0",
        .query = query,
        .log = service_log,
        .now_ms = now_ms,
        .address_format = service_address_format,
        .path_resolve = path_resolve,
        .buffer_create = service_buffer_create,
        .buffer_acquire = service_buffer_acquire,
        .buffer_release = service_buffer_release,
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
        .workers = bed->options.workers,
        .post_worker = post_worker,
        .close_at_once = close_at_once,
        .draining = draining,
        .close_with_timeout = close_with_timeout,
        .log_fields = log_fields,
        .unix_time_ns = unix_time_ns,
        .random_bytes = random_bytes,
    };
}
