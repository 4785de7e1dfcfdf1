#include "plugin/extensions.h"

#include <string.h>

#include "base/error.h"
#include "berth/connect.h"
#include "berth/datagram.h"
#include "berth/file.h"
#include "berth/metrics.h"
#include "berth/timer.h"
#include "berth/work.h"
#include "net/conn/connection.h"
#include "net/lib/file.h"
#include "net/lib/plugin_slice.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/callback_guard.h"
#include "plugin/module.h"
#include "plugin/outbound.h"
#include "plugin/plugin_datagram.h"
#include "plugin/plugin_fault.h"
#include "plugin/plugin_metric.h"
#include "plugin/plugin_stats.h"
#include "plugin/plugin_timer.h"
#include "plugin/plugin_work.h"
#include "plugin/request.h"

/* -- berth.timer/1 --------------------------------------------------------- */

static struct berth_timer *BERTH_CALL timer_create_for_conn(struct berth_conn *conn,
                                                            berth_timer_fn function,
                                                            void *argument) {
    if (!plugin_check_thread(conn, "create_for_conn")) {
        return NULL;
    }
    if (!function) {
        plugin_fault(connection_of(conn), "a timer was given no function");
        return NULL;
    }
    return plugin_timer_create(connection_of(conn), function, argument);
}

/* The plugin gets its listener as const. The host owns it and may write to it. */
static struct berth_timer *BERTH_CALL timer_create_for_listener(
    const struct berth_listener *listener, berth_listener_timer_fn function, void *argument) {
    if (!function) {
        plugin_fault(NULL, "a timer was given no function");
        return NULL;
    }
    return plugin_timer_create_listener((struct listener *)(uintptr_t)listener, function, argument);
}

static void BERTH_CALL timer_start(struct berth_timer *timer, uint64_t delay_ms) {
    plugin_timer_start(timer, delay_ms);
}

static void BERTH_CALL timer_stop(struct berth_timer *timer) {
    plugin_timer_stop(timer);
}

static void BERTH_CALL timer_destroy(struct berth_timer *timer) {
    plugin_timer_destroy(timer);
}

static const struct berth_timer_host timer_host = {
    .struct_size = sizeof(timer_host),
    .create_for_conn = timer_create_for_conn,
    .create_for_listener = timer_create_for_listener,
    .start = timer_start,
    .stop = timer_stop,
    .destroy = timer_destroy,
};

/* -- berth.work/1 ---------------------------------------------------------- */

static int32_t BERTH_CALL work_submit(struct berth_conn *conn, berth_work_fn work,
                                      berth_work_done_fn done, void *argument) {
    if (!plugin_check_thread(conn, "submit")) {
        return BERTH_E_INVALID;
    }
    if (!work || !done) {
        plugin_fault(connection_of(conn), "submit() was given no function");
        return BERTH_E_INVALID;
    }
    return plugin_work_submit(connection_of(conn), work, done, argument);
}

static int32_t BERTH_CALL work_submit_for_listener(const struct berth_listener *listener,
                                                   berth_work_fn work, berth_work_done_fn done,
                                                   void *argument) {
    if (!work || !done) {
        plugin_fault(NULL, "submit_for_listener() was given no function");
        return BERTH_E_INVALID;
    }
    return plugin_work_submit_listener((struct listener *)(uintptr_t)listener, work, done,
                                       argument);
}

static const struct berth_work_host work_host = {
    .struct_size = sizeof(work_host),
    .submit = work_submit,
    .submit_for_listener = work_submit_for_listener,
};

/* -- berth.connect/1 ------------------------------------------------------- */

/* The reference of the first data is consumed, whatever comes of the call. */
static int32_t read_connect(struct berth_connect_request *whole,
                            const struct berth_connect_request *request, bool may) {
    int32_t status = request_read(whole, sizeof(*whole), request);
    if (!may) {
        status = BERTH_E_INVALID;
    }
    if (status != BERTH_OK) {
        plugin_slices_drop(&whole->first_data, 1);
    }
    return status;
}

static int32_t BERTH_CALL connect_connect(struct berth_conn *asker,
                                          const struct berth_connect_request *request,
                                          berth_connected_fn connected, void *argument) {
    struct berth_connect_request whole = {0};
    int32_t status = read_connect(&whole, request, plugin_check_thread(asker, "connect"));
    return status == BERTH_OK ? outbound_connect(connection_of(asker), &whole, connected, argument)
                              : status;
}

static int32_t BERTH_CALL connect_for_listener(const struct berth_listener *listener,
                                               const struct berth_connect_request *request,
                                               berth_connected_fn connected, void *argument) {
    struct berth_connect_request whole = {0};
    struct worker *worker = worker_current();
    bool may = worker && plugin_thread_calls(&plugin_thread);
    if (!may) {
        plugin_fault(NULL, "connect_for_listener() was called where there is no worker");
    }
    int32_t status = read_connect(&whole, request, may);
    return status == BERTH_OK
               ? outbound_connect_for_listener((struct listener *)(uintptr_t)listener, worker,
                                               &whole, connected, argument)
               : status;
}

static const struct berth_connect_host connect_host = {
    .struct_size = sizeof(connect_host),
    .connect = connect_connect,
    .connect_for_listener = connect_for_listener,
};

/* -- berth.file/1 ---------------------------------------------------------- */

static int32_t extensions_status_of(enum error_kind kind) {
    switch (kind) {
    case ERROR_KIND_NOT_FOUND:
        return BERTH_E_NOT_FOUND;
    case ERROR_KIND_DENIED:
        return BERTH_E_DENIED;
    case ERROR_KIND_NOT_REGULAR:
        return BERTH_E_INVALID;
    case ERROR_KIND_EXHAUSTED:
        return BERTH_E_NO_MEMORY;
    case ERROR_KIND_OTHER:
    case ERROR_KIND_NO_READER:
    case ERROR_KIND_TAKEN:
        break;
    }
    return BERTH_E_FAILED;
}

static void give_place(void *server) {
    server_file_give(server);
}

static struct berth_file *open_within_limits(const struct module *module, const char *path,
                                             struct error *error) {
    if (!server_file_take(module->server)) {
        error_set_kind(error, ERROR_KIND_EXHAUSTED,
                       "plugins have too many files open (host.limits.files is %u; or raise "
                       "ulimit -n, LimitNOFILE=)",
                       module->server->options.files_max);
        return NULL;
    }
    struct berth_file *file = file_open(path, plugin_stats_files(module->stats), error);
    if (!file) {
        server_file_give(module->server);
        return NULL;
    }
    file->closed = give_place;
    file->context = module->server;
    return file;
}

static int32_t BERTH_CALL service_file_open(const struct berth_host *host, const char *path,
                                            struct berth_file **file, struct berth_error *error) {
    struct error why = {0};
    const struct module *module = CONTAINER_OF(host, const struct module, host);
    struct berth_file *opened = open_within_limits(module, path, &why);
    *file = NULL;
    if (!opened) {
        return berth_error_set(error, extensions_status_of(why.kind), "%s", why.message);
    }
    file_pass(opened);
    *file = file_given(opened);
    return BERTH_OK;
}

/* The host's side of a file that a plugin uses; NULL: it has none. */
static struct berth_file *file_used(struct berth_file *given, const char *service) {
    if (file_plugin_holds(given)) {
        return handle_object(given);
    }
    plugin_fault(NULL, "%s() of a file of which it holds no reference", service);
    return NULL;
}

static int32_t BERTH_CALL service_file_read(struct berth_file *given, uint64_t offset, void *bytes,
                                            uint32_t size, uint32_t *got) {
    const struct berth_file *file = file_used(given, "read");
    *got = 0;
    if (!file || offset > INT64_MAX || (!bytes && size > 0)) {
        return BERTH_E_INVALID;
    }
    int64_t result = os_file_read_at(&file->file, offset, bytes, size);
    *got = result > 0 ? (uint32_t)result : 0;
    return result >= 0 ? BERTH_OK : BERTH_E_FAILED;
}

static int32_t BERTH_CALL service_file_stat(struct berth_file *given,
                                            struct berth_file_info *info) {
    struct os_file_status status;
    const struct berth_file *file = file_used(given, "stat");
    if (!file) {
        return BERTH_E_INVALID;
    }
    if (!os_file_status(&file->file, &status, NULL)) {
        return BERTH_E_FAILED;
    }
    struct berth_file_info full = {
        .size = status.size,
        .modified_unix_ms = status.modified_unix_ms,
        .modified_unix_ns = status.modified_unix_ns,
        .changed_unix_ns = status.changed_unix_ns,
        .volume = status.volume,
        .id = {status.id[0], status.id[1]},
    };
    full.struct_size = info->struct_size < sizeof(full) ? info->struct_size : sizeof(full);
    memcpy(info, &full, full.struct_size);
    return BERTH_OK;
}

static void BERTH_CALL service_file_acquire(struct berth_file *given) {
    if (!file_plugin_acquires(given)) {
        plugin_fault(NULL, "acquire() of a file of which it holds no reference");
    }
}

static void BERTH_CALL service_file_release(struct berth_file *given) {
    if (given && !file_plugin_releases(given)) {
        plugin_fault(NULL, "release() of a file of which it holds no reference");
    }
}

static int32_t BERTH_CALL file_send_pieces(struct berth_conn *conn,
                                           const struct berth_piece *pieces, uint32_t count) {
    if (!plugin_check_thread(conn, "send_pieces")) {
        plugin_pieces_drop(pieces, count);
        return BERTH_E_INVALID;
    }
    return connection_send_pieces(connection_of(conn), pieces, count);
}

static const struct berth_file_host file_host = {
    .struct_size = sizeof(file_host),
    .open = service_file_open,
    .stat = service_file_stat,
    .read = service_file_read,
    .acquire = service_file_acquire,
    .release = service_file_release,
    .send_pieces = file_send_pieces,
};

/* -- berth.datagram/1 ------------------------------------------------------ */

static int32_t BERTH_CALL datagram_send(const struct berth_listener *listener,
                                        const struct berth_address *local,
                                        const struct berth_address *remote,
                                        const struct berth_slice *data) {
    return plugin_datagram_send((struct listener *)(uintptr_t)listener, local, remote, data);
}

static const struct berth_datagram_host datagram_host = {
    .struct_size = sizeof(datagram_host),
    .send = datagram_send,
};

/* -- berth.metrics/1 ------------------------------------------------------- */

static int32_t BERTH_CALL metrics_create(const struct berth_listener *listener,
                                         const struct berth_metric_request *request,
                                         struct berth_metric **metric, struct berth_error *error) {
    struct berth_metric_request whole = {0};
    int32_t status = request_read(&whole, sizeof(whole), request);
    *metric = NULL;
    if (status != BERTH_OK) {
        return berth_error_set(error, status, "the request is of a later version of the ABI");
    }
    return plugin_metric_create((struct listener *)(uintptr_t)listener, &whole, metric, error);
}

static void BERTH_CALL metrics_add(struct berth_metric *metric, int64_t number) {
    plugin_metric_add(metric, number);
}

static void BERTH_CALL metrics_set(struct berth_metric *metric, int64_t number) {
    plugin_metric_set(metric, number);
}

static void BERTH_CALL metrics_observe(struct berth_metric *metric, int64_t number) {
    plugin_metric_observe(metric, number);
}

static const struct berth_metrics_host metrics_host = {
    .struct_size = sizeof(metrics_host),
    .create = metrics_create,
    .add = metrics_add,
    .set = metrics_set,
    .observe = metrics_observe,
};

/* -- by name --------------------------------------------------------------- */

static const struct {
    const char *id;
    const void *extension;
} extensions[] = {
    {BERTH_TIMER_ID, &timer_host},       {BERTH_WORK_ID, &work_host},
    {BERTH_CONNECT_ID, &connect_host},   {BERTH_FILE_ID, &file_host},
    {BERTH_DATAGRAM_ID, &datagram_host}, {BERTH_METRICS_ID, &metrics_host},
};

const void *extensions_find(const char *id) {
    if (!id) {
        return NULL;
    }
    for (size_t i = 0; i < ARRAY_COUNT(extensions); i++) {
        if (strcmp(extensions[i].id, id) == 0) {
            return extensions[i].extension;
        }
    }
    return NULL;
}
