/* The extensions that the plugin under test gets. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "devkit/layer.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"
#include "net/lib/plugin_slice.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"
#include "plugin/extensions.h"
#include "plugin/outbound.h"
#include "plugin/request.h"

static bool layer_extension_refuses(const struct testbed *bed, uint32_t what) {
    return (bed->options.refuses & what) != 0;
}

/* -- berth.timer/1 --------------------------------------------------------- */

static const struct berth_timer_host *real_timer(void) {
    return extensions_find(BERTH_TIMER_ID);
}

static struct berth_timer *BERTH_CALL create_for_conn(struct berth_conn *conn,
                                                      berth_timer_fn function, void *argument) {
    if (!layer_may_touch(conn, "timer.create_for_conn") ||
        layer_extension_refuses(testbed_of(conn->host), TESTBED_REFUSES_TIMERS)) {
        return NULL;
    }
    return real_timer()->create_for_conn(conn, function, argument);
}

static struct berth_timer *BERTH_CALL create_for_listener(const struct berth_listener *listener,
                                                          berth_listener_timer_fn function,
                                                          void *argument) {
    struct testbed *bed = testbed_of_listener(listener);
    if (!bed) {
        return NULL;
    }
    if (layer_callback() != PLUGIN_LISTENER_OPEN) {
        layer_find(bed, "not-allowed-here",
                   "timer.create_for_listener() is for `listener_open` only");
        return NULL;
    }
    return layer_extension_refuses(bed, TESTBED_REFUSES_TIMERS)
               ? NULL
               : real_timer()->create_for_listener(listener, function, argument);
}

static void BERTH_CALL timer_start(struct berth_timer *timer, uint64_t delay_ms) {
    real_timer()->start(timer, delay_ms);
}

static void BERTH_CALL timer_stop(struct berth_timer *timer) {
    real_timer()->stop(timer);
}

static void BERTH_CALL timer_destroy(struct berth_timer *timer) {
    real_timer()->destroy(timer);
}

static const struct berth_timer_host timer_host = {
    .struct_size = sizeof(timer_host),
    .create_for_conn = create_for_conn,
    .create_for_listener = create_for_listener,
    .start = timer_start,
    .stop = timer_stop,
    .destroy = timer_destroy,
};

/* -- berth.work/1 ---------------------------------------------------------- */

static const struct berth_work_host *real_work(void) {
    return extensions_find(BERTH_WORK_ID);
}

static bool has_functions(struct testbed *bed, berth_work_fn work, berth_work_done_fn done) {
    if (!work || !done) {
        layer_find(bed, "function-missing", "work.submit() was given no function");
    }
    return work && done;
}

static int32_t BERTH_CALL submit(struct berth_conn *conn, berth_work_fn work,
                                 berth_work_done_fn done, void *argument) {
    if (!layer_may_touch(conn, "work.submit")) {
        return BERTH_E_GONE;
    }
    struct testbed *bed = testbed_of(conn->host);
    if (!has_functions(bed, work, done)) {
        return BERTH_E_INVALID;
    }
    return layer_extension_refuses(bed, TESTBED_REFUSES_WORK)
               ? BERTH_E_LIMIT
               : real_work()->submit(conn, work, done, argument);
}

static int32_t BERTH_CALL submit_for_listener(const struct berth_listener *listener,
                                              berth_work_fn work, berth_work_done_fn done,
                                              void *argument) {
    struct testbed *bed = testbed_of_listener(listener);
    if (!bed) {
        return BERTH_E_INVALID;
    }
    layer_note_call(bed, "work.submit_for_listener");
    if (layer_is_control() && os_thread_id() == bed->thread) {
        layer_find(bed, "not-allowed-here", "work.submit_for_listener() was called in `%s`",
                   testbed_callback());
        return BERTH_E_STATE;
    }
    if (bed->listener_over) {
        layer_find(bed, "called-after-listener-close",
                   "work.submit_for_listener() was called after `listener_close` had returned");
        return BERTH_E_STATE;
    }
    if (!has_functions(bed, work, done)) {
        return BERTH_E_INVALID;
    }
    return layer_extension_refuses(bed, TESTBED_REFUSES_WORK)
               ? BERTH_E_LIMIT
               : real_work()->submit_for_listener(listener, work, done, argument);
}

static const struct berth_work_host work_host = {
    .struct_size = sizeof(work_host),
    .submit = submit,
    .submit_for_listener = submit_for_listener,
};

/* -- berth.connect/1 ------------------------------------------------------- */

struct connecting {
    struct testbed *bed;
    berth_connected_fn connected;
    void *argument;
};

/* The plugin gets the connection here for the first time. */
static void BERTH_CALL on_connected(struct berth_conn *conn, int32_t status, void *argument) {
    struct connecting one = *(struct connecting *)argument;
    alloc_free(argument);
    if (conn) {
        layer_conn_add(one.bed, conn);
    }
    one.connected(conn, status, one.argument);
}

/* Whatever the address, the other end is the testbed's, or the connect is refused. `conn` NULL: the
 * listener connects. */
static int32_t connect_through(struct testbed *bed, const struct berth_listener *listener,
                               struct berth_conn *conn, const struct berth_connect_request *request,
                               berth_connected_fn connected, void *argument) {
    const struct berth_connect_host *real = extensions_find(BERTH_CONNECT_ID);
    struct berth_connect_request whole = *request;
    struct connecting *one = alloc_zeroed(sizeof(*one));
    if (!one) {
        plugin_slices_drop(&whole.first_data, 1);
        return BERTH_E_NO_MEMORY;
    }
    *one = (struct connecting){bed, connected, argument};
    size_t length = whole.host ? strlen(whole.host) : 0;
    if (length > 0 && length <= OUTBOUND_NAME_BYTES_MAX && whole.port != 0) {
        whole.host = "127.0.0.1";
        whole.port = bed->upstream_expected ? sim_server_address(bed->upstream).port : 1;
    }
    berth_connected_fn told = connected ? on_connected : NULL;
    int32_t status = conn ? real->connect(conn, &whole, told, one)
                          : real->connect_for_listener(listener, &whole, told, one);
    if (status != BERTH_OK) {
        alloc_free(one);
    }
    return status;
}

/* Checks and copies the plugin's request, if a connect is allowed here. */
static int32_t layer_extension_take_request(struct testbed *bed,
                                            const struct berth_connect_request *request,
                                            bool has_function,
                                            struct berth_connect_request *whole) {
    int32_t status = request_read(whole, sizeof(*whole), request);
    if (status == BERTH_OK && (whole->reserved != 0 || whole->reserved2 != 0)) {
        status = BERTH_E_UNSUPPORTED;
    }
    if (bed) {
        layer_check_request(bed, "connect", status);
        layer_slice(bed, &whole->first_data, "connect");
    }
    if (bed && !has_function) {
        layer_find(bed, "function-missing", "connect() was given no function");
    }
    if (status == BERTH_OK) {
        status = !bed                                                     ? BERTH_E_STATE
                 : layer_extension_refuses(bed, TESTBED_REFUSES_CONNECTS) ? BERTH_E_LIMIT
                                                                          : BERTH_OK;
    }
    if (status != BERTH_OK) {
        plugin_slices_drop(&whole->first_data, 1);
    }
    return status;
}

static int32_t BERTH_CALL connect_to(struct berth_conn *conn,
                                     const struct berth_connect_request *request,
                                     berth_connected_fn connected, void *argument) {
    struct berth_connect_request whole = {0};
    bool may = layer_may_touch(conn, "connect");
    struct testbed *bed = may ? testbed_of(conn->host) : NULL;
    int32_t status = layer_extension_take_request(bed, request, connected != NULL, &whole);
    return status == BERTH_OK ? connect_through(bed, NULL, conn, &whole, connected, argument)
                              : status;
}

/* False in callbacks that run on no worker. */
static bool has_worker(struct testbed *bed) {
    bool has = os_thread_id() == bed->thread && worker_current() && layer_callback() >= 0 &&
               layer_callback() != PLUGIN_WORK;
    if (!has) {
        layer_find(bed, "wrong-thread",
                   "connect_for_listener() is [worker], and was called where there is none");
    }
    return has;
}

static int32_t BERTH_CALL connect_for_listener(const struct berth_listener *listener,
                                               const struct berth_connect_request *request,
                                               berth_connected_fn connected, void *argument) {
    struct berth_connect_request whole = {0};
    struct testbed *bed = testbed_of_listener(listener);
    bed = bed && has_worker(bed) ? bed : NULL;
    int32_t status = layer_extension_take_request(bed, request, connected != NULL, &whole);
    return status == BERTH_OK ? connect_through(bed, listener, NULL, &whole, connected, argument)
                              : status;
}

static const struct berth_connect_host connect_host = {
    .struct_size = sizeof(connect_host),
    .connect = connect_to,
    .connect_for_listener = connect_for_listener,
};

/* -- berth.file/1 ---------------------------------------------------------- */

static const struct berth_file_host *real_file(void) {
    return extensions_find(BERTH_FILE_ID);
}

/* The testbed whose plugin calls; a file handle does not name it. */
static struct testbed *layer_extension_caller(void) {
    const struct plugin_stats *stats = callback_guard_stats();
    struct testbed *found = testbed_first();
    struct testbed *each;
    DL_FOREACH(testbed_first(), each) {
        found = each->module && each->module->stats == stats ? each : found;
    }
    return found;
}

/* Services that may block are allowed in [control] and in work only. */
static void check_may_block(struct testbed *bed, const char *service) {
    if (bed && os_thread_id() == bed->thread && worker_current()) {
        layer_find(bed, "blocks-a-worker", "%s() may block, and was called on an I/O worker",
                   service);
    }
}

static int32_t BERTH_CALL file_open_by(const struct berth_host *host, const char *path,
                                       struct berth_file **given, struct berth_error *error) {
    struct testbed *bed = testbed_of(host);
    *given = NULL;
    layer_note_call(bed, "file.open");
    check_may_block(bed, "file.open");
    if (layer_extension_refuses(bed, TESTBED_REFUSES_FILES)) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "no descriptors are left");
    }
    struct layer_file *file = alloc_zeroed(sizeof(*file));
    int32_t status = file ? real_file()->open(&bed->module->host, path, given, error)
                          : berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    if (!file || status != BERTH_OK) {
        alloc_free(file);
        return status;
    }
    file->given = *given;
    os_mutex_lock(&bed->mutex);
    DL_APPEND(bed->files, file);
    os_mutex_unlock(&bed->mutex);
    return status;
}

static bool is_held(struct berth_file *given, const char *service) {
    struct testbed *bed = layer_extension_caller();
    if (bed && !file_plugin_holds(given)) {
        layer_find(bed, "file-used-after-release",
                   "%s() was given a file of which the plugin holds no reference", service);
    }
    return bed && file_plugin_holds(given);
}

static int32_t BERTH_CALL file_stat(struct berth_file *given, struct berth_file_info *info) {
    return is_held(given, "file.stat") ? real_file()->stat(given, info) : BERTH_E_INVALID;
}

static int32_t BERTH_CALL file_read(struct berth_file *given, uint64_t offset, void *bytes,
                                    uint32_t size, uint32_t *got) {
    check_may_block(layer_extension_caller(), "file.read");
    *got = 0;
    return is_held(given, "file.read") ? real_file()->read(given, offset, bytes, size, got)
                                       : BERTH_E_INVALID;
}

static void BERTH_CALL file_acquire(struct berth_file *given) {
    if (is_held(given, "file.acquire")) {
        real_file()->acquire(given);
    }
}

static void BERTH_CALL file_release_by(struct berth_file *given) {
    struct testbed *bed = layer_extension_caller();
    if (given && bed && !file_plugin_holds(given)) {
        layer_find(bed, "file-released-twice",
                   "a reference to a file was given back that was given back before");
    } else {
        real_file()->release(given);
    }
}

static void check_piece(struct testbed *bed, const struct berth_piece *piece) {
    const struct berth_slice *memory = &piece->memory;
    if (!piece->file) {
        layer_slice(bed, memory, "file.send_pieces");
        return;
    }
    is_held(piece->file, "file.send_pieces");
    if (memory->buffer || memory->size > 0 || memory->reserved != 0) {
        layer_find(bed, "piece-of-both",
                   "file.send_pieces() was given a piece that has a file, and memory as well");
    }
    if (piece->offset > INT64_MAX ||
        (piece->size != UINT64_MAX && piece->size > (uint64_t)INT64_MAX - piece->offset)) {
        layer_find(bed, "run-impossible",
                   "file.send_pieces() was given a run that no file can have");
    }
}

static int32_t BERTH_CALL send_pieces(struct berth_conn *conn, const struct berth_piece *pieces,
                                      uint32_t count) {
    if (!layer_may_touch(conn, "file.send_pieces")) {
        plugin_pieces_drop(pieces, count);
        return BERTH_E_STATE;
    }
    struct testbed *bed = testbed_of(conn->host);
    for (uint32_t i = 0; i < count; i++) {
        check_piece(bed, &pieces[i]);
    }
    if (layer_extension_refuses(bed, TESTBED_REFUSES_SENDS)) {
        plugin_pieces_drop(pieces, count);
        return BERTH_E_NO_MEMORY;
    }
    return real_file()->send_pieces(conn, pieces, count);
}

static const struct berth_file_host file_host = {
    .struct_size = sizeof(file_host),
    .open = file_open_by,
    .stat = file_stat,
    .read = file_read,
    .acquire = file_acquire,
    .release = file_release_by,
    .send_pieces = send_pieces,
};

/* -- berth.datagram/1 ------------------------------------------------------ */

static int32_t BERTH_CALL datagram_send(const struct berth_listener *listener,
                                        const struct berth_address *local,
                                        const struct berth_address *remote,
                                        const struct berth_slice *data) {
    const struct berth_datagram_host *real = extensions_find(BERTH_DATAGRAM_ID);
    struct testbed *bed = testbed_of_listener(listener);
    if (!bed || bed->listener_over) {
        plugin_slices_drop(data, 1);
        return BERTH_E_INVALID;
    }
    layer_note_call(bed, "datagram.send");
    layer_slice(bed, data, "datagram.send");
    return real->send(listener, local, remote, data);
}

static const struct berth_datagram_host datagram_host = {
    .struct_size = sizeof(datagram_host),
    .send = datagram_send,
};

/* -- berth.metrics/1 ------------------------------------------------------- */

static const struct berth_metrics_host *real_metrics(void) {
    return extensions_find(BERTH_METRICS_ID);
}

static int32_t BERTH_CALL metric_create(const struct berth_listener *listener,
                                        const struct berth_metric_request *request,
                                        struct berth_metric **metric, struct berth_error *error) {
    struct testbed *bed = testbed_of_listener(listener);
    *metric = NULL;
    if (!bed) {
        return BERTH_E_STATE;
    }
    int32_t status = real_metrics()->create(listener, request, metric, error);
    layer_check_request(bed, "metrics.create", status);
    if (status == BERTH_E_STATE) {
        layer_find(bed, "not-allowed-here", "metrics.create() is for `listener_open` only");
    } else if (status == BERTH_E_INVALID) {
        layer_find(bed, "metric-wrong", "metrics.create(): %s",
                   error ? error->message : "its name, labels or bounds are wrong");
    }
    return status;
}

static void BERTH_CALL metric_add(struct berth_metric *metric, int64_t number) {
    real_metrics()->add(metric, number);
}

static void BERTH_CALL metric_set(struct berth_metric *metric, int64_t number) {
    real_metrics()->set(metric, number);
}

static void BERTH_CALL metric_observe(struct berth_metric *metric, int64_t number) {
    real_metrics()->observe(metric, number);
}

static const struct berth_metrics_host metrics_host = {
    .struct_size = sizeof(metrics_host),
    .create = metric_create,
    .add = metric_add,
    .set = metric_set,
    .observe = metric_observe,
};

const void *layer_extension(const char *id) {
    static const struct {
        const char *id;
        const void *extension;
    } extensions[] = {
        {BERTH_TIMER_ID, &timer_host},       {BERTH_WORK_ID, &work_host},
        {BERTH_CONNECT_ID, &connect_host},   {BERTH_FILE_ID, &file_host},
        {BERTH_DATAGRAM_ID, &datagram_host}, {BERTH_METRICS_ID, &metrics_host},
    };
    for (size_t i = 0; id && i < ARRAY_COUNT(extensions); i++) {
        if (strcmp(extensions[i].id, id) == 0) {
            return extensions[i].extension;
        }
    }
    return NULL;
}
