#include "plugin/services.h"

#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/log.h"
#include "engine/engine.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "net/lib/plugin_slice.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "os/os.h"
#include "plugin/callback_guard.h"
#include "plugin/extensions.h"
#include "plugin/module.h"
#include "plugin/plugin_fault.h"
#include "plugin/plugin_post.h"
#include "plugin/request.h"

enum { FIELD_KEY_MAX = 32 }; /* bytes of the key of a field */

/* Every module has a table of its own, and the table's address identifies the module. */
static const struct module *module_of(const struct berth_host *host) {
    return CONTAINER_OF(host, const struct module, host);
}

static const void *BERTH_CALL query(const struct berth_host *host, const char *id) {
    (void)host;
    return extensions_find(id);
}

static enum log_level level_of(uint32_t level) {
    level &= ~BERTH_LOG_RECORD;
    return level <= LOG_LEVEL_DEBUG ? (enum log_level)level : LOG_LEVEL_DEBUG;
}

static enum log_kind kind_of(uint32_t level) {
    return (level & BERTH_LOG_RECORD) != 0 ? LOG_KIND_NONE : LOG_KIND_PLUGIN;
}

static void BERTH_CALL service_log(const struct berth_host *host, uint32_t level, const char *text,
                                   uint32_t size) {
    log_text(kind_of(level), level_of(level), &module_of(host)->subject, text, size);
}

static void BERTH_CALL conn_log(struct berth_conn *conn, uint32_t level, const char *text,
                                uint32_t size) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    if (log_enabled(level_of(level))) {
        struct log_subject subject = connection_subject(connection_of(conn), peer);
        log_text(kind_of(level), level_of(level), &subject, text, size);
    }
}

/* -- lines with fields ----------------------------------------------------- */

static bool is_key(const char *key) {
    size_t length = key ? strlen(key) : 0;
    return length >= 1 && length <= FIELD_KEY_MAX && key[0] >= 'a' && key[0] <= 'z' &&
           strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

/* The plugin's fields as the log has them. */
static int32_t services_read_fields(const struct berth_log_entry *entry, struct log_field *fields) {
    if (entry->field_count > BERTH_LOG_FIELDS_MAX) {
        return BERTH_E_LIMIT;
    }
    if ((entry->field_count > 0 && !entry->fields) || (entry->size > 0 && !entry->text)) {
        return BERTH_E_INVALID;
    }
    for (uint32_t i = 0; i < entry->field_count; i++) {
        const struct berth_log_field *field = &entry->fields[i];
        if (field->kind > BERTH_LOG_NUMBER) {
            return BERTH_E_UNSUPPORTED;
        }
        if (!is_key(field->key) ||
            (field->kind == BERTH_LOG_TEXT && field->size > 0 && !field->text)) {
            return BERTH_E_INVALID;
        }
        fields[i].key = field->key;
        fields[i].number = field->number;
        fields[i].text = field->kind == BERTH_LOG_NUMBER ? NULL : field->text ? field->text : "";
        fields[i].size = field->text ? field->size : 0;
    }
    return BERTH_OK;
}

static bool is_level(uint32_t level) {
    return (level & ~BERTH_LOG_RECORD) <= BERTH_LOG_DEBUG;
}

static int32_t BERTH_CALL log_fields(const struct berth_host *host,
                                     const struct berth_log_entry *entry) {
    struct log_field fields[BERTH_LOG_FIELDS_MAX];
    struct berth_log_entry whole = {0};
    char peer[BERTH_ADDRESS_TEXT_MAX];
    int32_t status = request_read(&whole, sizeof(whole), entry);
    if (status == BERTH_OK && !is_level(whole.level)) {
        status = BERTH_E_UNSUPPORTED;
    }
    status = status == BERTH_OK ? services_read_fields(&whole, fields) : status;
    if (status == BERTH_OK && whole.conn && !plugin_check_thread(whole.conn, "log_fields")) {
        status = BERTH_E_INVALID;
    }
    if (status != BERTH_OK || !log_enabled(level_of(whole.level))) {
        return status;
    }
    struct log_subject subject = module_of(host)->subject;
    if (whole.conn) {
        subject = connection_subject(connection_of(whole.conn), peer);
    } else if (whole.listener) {
        subject = ((const struct listener *)whole.listener)->subject;
    }
    subject.fields = fields;
    subject.field_count = whole.field_count;
    log_text(kind_of(whole.level), level_of(whole.level), &subject, whole.text ? whole.text : "",
             whole.size);
    return BERTH_OK;
}

/* -- time, random, names --------------------------------------------------- */

static int64_t BERTH_CALL unix_time_ns(const struct berth_host *host) {
    (void)host;
    return os_unix_ns();
}

static int32_t BERTH_CALL random_bytes(const struct berth_host *host, void *bytes, uint32_t size) {
    (void)host;
    if (!bytes && size > 0) {
        return BERTH_E_INVALID;
    }
    return os_random_secret(bytes, size) ? BERTH_OK : BERTH_E_FAILED;
}

static uint64_t BERTH_CALL now_ms(const struct berth_host *host) {
    (void)host;
    return engine_now_ms();
}

static uint32_t BERTH_CALL service_address_format(const struct berth_host *host,
                                                  const struct berth_address *address, char *text,
                                                  uint32_t capacity) {
    char full[BERTH_ADDRESS_TEXT_MAX];
    (void)host;
    if (capacity == 0) {
        return 0;
    }
    address_format(address, full, sizeof(full));
    int length = snprintf(text, capacity, "%s", full);
    return length < 0 ? 0 : (uint32_t)length < capacity ? (uint32_t)length : capacity - 1;
}

static int32_t BERTH_CALL path_resolve(const struct berth_host *host, const char *path, char *text,
                                       uint32_t capacity) {
    const char *folder = module_of(host)->config_folder;
    return os_path_join(text, capacity, folder, path) ? BERTH_OK : BERTH_E_LIMIT;
}

/* -- buffers --------------------------------------------------------------- */

static int32_t BERTH_CALL service_buffer_create(const struct berth_host *host, uint32_t size,
                                                struct berth_slice *slice) {
    *slice = (struct berth_slice){0};
    if (size > BERTH_BUFFER_BYTES_MAX) {
        return BERTH_E_LIMIT;
    }
    struct worker *worker = worker_current();
    bool pooled = worker && size <= worker->server->options.buffer_bytes;
    struct berth_buffer *buffer =
        pooled ? buffer_take(worker->buffers) : buffer_create(size > 0 ? size : 1);
    if (!buffer) {
        return BERTH_E_NO_MEMORY;
    }
    buffer_note_holder(buffer, plugin_stats_buffers(module_of(host)->stats));
    buffer_pass(buffer);
    *slice = (struct berth_slice){buffer_given(buffer), buffer->bytes, buffer->capacity, 0};
    return BERTH_OK;
}

static void BERTH_CALL service_buffer_acquire(struct berth_buffer *given) {
    if (!buffer_plugin_acquires(given)) {
        plugin_fault(NULL, "buffer_acquire() of %s",
                     given ? "a buffer that has been given back" : "no buffer");
    }
}

static void BERTH_CALL service_buffer_release(struct berth_buffer *given) {
    if (given && !buffer_plugin_releases(given)) {
        plugin_fault(NULL, "buffer_release() of a buffer of which it holds no reference");
    }
}

/* -- connections ----------------------------------------------------------- */

static int32_t BERTH_CALL service_send(struct berth_conn *conn, const void *bytes, uint32_t size) {
    return plugin_check_thread(conn, "send") ? connection_send(connection_of(conn), bytes, size)
                                             : BERTH_E_INVALID;
}

static int32_t BERTH_CALL service_send_slices(struct berth_conn *conn,
                                              const struct berth_slice *slices, uint32_t count) {
    if (!plugin_check_thread(conn, "send_slices")) {
        plugin_slices_drop(slices, count);
        return BERTH_E_INVALID;
    }
    return connection_send_slices(connection_of(conn), slices, count);
}

static int32_t BERTH_CALL service_shutdown_send(struct berth_conn *conn) {
    return plugin_check_thread(conn, "shutdown_send")
               ? connection_shutdown_send(connection_of(conn))
               : BERTH_E_INVALID;
}

static void BERTH_CALL service_close(struct berth_conn *conn) {
    if (plugin_check_thread(conn, "close")) {
        connection_close(connection_of(conn));
    }
}

static void BERTH_CALL close_at_once(struct berth_conn *conn) {
    if (plugin_check_thread(conn, "close_at_once")) {
        connection_close_at_once(connection_of(conn));
    }
}

static void BERTH_CALL close_with_timeout(struct berth_conn *conn, uint32_t send_timeout_ms) {
    if (plugin_check_thread(conn, "close_with_timeout")) {
        connection_close_with_timeout(connection_of(conn), send_timeout_ms);
    }
}

static void BERTH_CALL service_abort(struct berth_conn *conn) {
    if (plugin_check_thread(conn, "abort")) {
        connection_end(connection_of(conn), BERTH_CLOSED_ABORTED, true);
    }
}

static void BERTH_CALL receive_pause(struct berth_conn *conn) {
    if (plugin_check_thread(conn, "receive_pause")) {
        connection_pause(connection_of(conn));
    }
}

static void BERTH_CALL receive_resume(struct berth_conn *conn) {
    if (plugin_check_thread(conn, "receive_resume")) {
        connection_resume(connection_of(conn));
    }
}

static int32_t BERTH_CALL want_at_least(struct berth_conn *conn, uint32_t size) {
    return plugin_check_thread(conn, "want_at_least")
               ? connection_want_at_least(connection_of(conn), size)
               : BERTH_E_INVALID;
}

static void BERTH_CALL conn_info(struct berth_conn *conn, struct berth_conn_info *info) {
    connection_info(connection_of(conn), info);
}

static int32_t BERTH_CALL service_post(const struct berth_host *host, uint64_t conn_id,
                                       berth_post_fn function, void *argument) {
    const struct module *module = module_of(host);
    if (!function) {
        plugin_fault(NULL, "post() was given no function");
        return BERTH_E_INVALID;
    }
    return plugin_post(module->server, conn_id, function, argument, module->stats);
}

/* The plugin gets its listener as const. The host owns it and may write to it. */
static int32_t BERTH_CALL service_post_worker(const struct berth_listener *listener,
                                              uint32_t worker, berth_worker_fn function,
                                              void *argument) {
    if (!function) {
        plugin_fault(NULL, "post_worker() was given no function");
        return BERTH_E_INVALID;
    }
    return plugin_post_worker((struct listener *)(uintptr_t)listener, worker, function, argument);
}

static uint32_t BERTH_CALL draining(const struct berth_listener *listener) {
    return listener_draining((const struct listener *)listener);
}

struct berth_host services_table(const char *name, const char *version) {
    return (struct berth_host){
        .struct_size = sizeof(struct berth_host),
        .abi_major = BERTH_ABI_MAJOR,
        .abi_minor = BERTH_ABI_MINOR,
        .name = name,
        .version = version,
        .query = query,
        .log = service_log,
        .now_ms = now_ms,
        .address_format = service_address_format,
        .path_resolve = path_resolve,
        .buffer_create = service_buffer_create,
        .buffer_acquire = service_buffer_acquire,
        .buffer_release = service_buffer_release,
        .send = service_send,
        .send_slices = service_send_slices,
        .shutdown_send = service_shutdown_send,
        .close = service_close,
        .abort = service_abort,
        .receive_pause = receive_pause,
        .receive_resume = receive_resume,
        .want_at_least = want_at_least,
        .conn_info = conn_info,
        .conn_log = conn_log,
        .post = service_post,
        .post_worker = service_post_worker,
        .close_at_once = close_at_once,
        .draining = draining,
        .close_with_timeout = close_with_timeout,
        .log_fields = log_fields,
        .unix_time_ns = unix_time_ns,
        .random_bytes = random_bytes,
    };
}
