/* datagram: two small services over UDP.
 *
 * "echo" sends every datagram back to its sender (RFC 862), in the buffer it came in.
 *
 * "syslog" receives syslog messages (RFC 5424, RFC 5426) and writes them to a file, a line each;
 * syslog.h tells how a line looks. A datagram that is no such message is kept as a line that says
 * so, or dropped. Writing is work for other threads than those that receive (log_file.c): a slow
 * disk costs messages, which are counted, and never slows other services of the host. Accepted
 * messages are in the file when the listener has stopped. */
#include "datagram/datagram.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "common/config.h"
#include "common/config_check.h"
#include "datagram/syslog.h"

enum { MODE_ECHO, MODE_SYSLOG };
enum { MALFORMED_KEEP, MALFORMED_DROP };

/* The smallest queue has room for the longest line: a datagram's 65507 bytes, four for each. */
enum { PATH_BYTES_MAX = 4096, QUEUE_BYTES_MIN = 524288, QUEUE_BYTES_MAX = 1 << 30 };

/* Answers to these may meet another service that answers: two echoes would never end. */
enum { PORTS_OF_SERVICES = 1024 };

struct extensions {
    const struct berth_datagram_host *datagram;
    const struct berth_work_host *work;
};

/* Of a listener. */
struct service {
    uint32_t mode;
    uint32_t malformed;
    uint32_t queue_max_bytes;
    char *path;
    struct log_file *log_file; /* of a syslog receiver */
    struct tally malformed_count;
    struct tally unanswered;
};

static const char *const malformed_text = "datagrams were no syslog messages of RFC 5424";
static const char *const unanswered_text =
    "datagrams not echoed: cut off (host.buffers.bytes), or from a service's port";

uint64_t unix_now_ms(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_usec / 1000;
}

/* -- rate-limited messages ------------------------------------------------- */

static void tally_tell(struct tally *tally, const struct berth_listener *listener,
                       const char *what) {
    char text[256];
    unsigned long long count = atomic_load(&tally->count);
    atomic_store(&tally->told, count);
    int length = snprintf(text, sizeof(text), "%s: %llu %s", listener->name, count, what);
    listener->host->log(listener->host, BERTH_LOG_WARN, text,
                        length < (int)sizeof(text) ? (uint32_t)length : sizeof(text) - 1);
}

void tally_add(struct tally *tally, uint64_t count, const struct berth_listener *listener,
               const char *what) {
    uint64_t now_ms = listener->host->now_ms(listener->host);
    uint64_t next_ms = atomic_load(&tally->next_ms);
    atomic_fetch_add(&tally->count, count);
    if (now_ms >= next_ms &&
        atomic_compare_exchange_strong(&tally->next_ms, &next_ms, now_ms + TELL_AGAIN_MS)) {
        tally_tell(tally, listener, what);
    }
}

void tally_finish(struct tally *tally, const struct berth_listener *listener, const char *what) {
    if (atomic_load(&tally->count) > atomic_load(&tally->told)) {
        tally_tell(tally, listener, what);
    }
}

/* -- echo ------------------------------------------------------------------ */

static void datagram_send_back(const struct berth_listener *listener,
                               const struct berth_datagram *datagram) {
    const struct extensions *extensions = listener->plugin_state;
    struct service *service = listener->state;
    if ((datagram->flags & BERTH_DATAGRAM_TRUNCATED) != 0 ||
        datagram->remote.port < PORTS_OF_SERVICES) {
        tally_add(&service->unanswered, 1, listener, unanswered_text);
        return;
    }
    listener->host->buffer_acquire(datagram->data.buffer);
    extensions->datagram->send(listener, &datagram->local, &datagram->remote, &datagram->data);
}

/* -- syslog ---------------------------------------------------------------- */

static void receive_message(const struct berth_listener *listener,
                            const struct berth_datagram *datagram) {
    struct service *service = listener->state;
    const struct berth_slice *data = &datagram->data;
    bool truncated = (datagram->flags & BERTH_DATAGRAM_TRUNCATED) != 0;
    char received[SYSLOG_TIME_BYTES];
    char sender[BERTH_ADDRESS_TEXT_MAX];
    struct syslog_message message;
    struct syslog_line line = {0};
    bool is_malformed = syslog_read(data->bytes, data->size, truncated, &message) != NULL;
    if (is_malformed) {
        tally_add(&service->malformed_count, 1, listener, malformed_text);
        if (service->malformed == MALFORMED_DROP) {
            return;
        }
    }
    syslog_time(unix_now_ms(), received);
    listener->host->address_format(listener->host, &datagram->remote, sender, sizeof(sender));
    line.bytes = log_file_reserve(service->log_file, &line.capacity);
    if (is_malformed) {
        syslog_write_malformed(&line, received, sender, data->bytes, data->size, truncated);
    } else {
        syslog_write(&line, received, sender, &message, truncated);
    }
    log_file_commit(service->log_file, line.size);
}

static void BERTH_CALL on_datagram(const struct berth_listener *listener,
                                   const struct berth_datagram *datagram) {
    const struct service *service = listener->state;
    if (service->mode == MODE_ECHO) {
        datagram_send_back(listener, datagram);
    } else {
        receive_message(listener, datagram);
    }
}

/* -- the plugin ------------------------------------------------------------ */

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    struct extensions *extensions = calloc(1, sizeof(*extensions));
    if (!extensions) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    extensions->datagram = host->query(host, BERTH_DATAGRAM_ID);
    extensions->work = host->query(host, BERTH_WORK_ID);
    if (!extensions->datagram || !extensions->work) {
        free(extensions);
        return berth_error_set(error, BERTH_E_UNSUPPORTED,
                               "this host lacks " BERTH_DATAGRAM_ID " or " BERTH_WORK_ID);
    }
    *plugin_state = extensions;
    return BERTH_OK;
}

static void BERTH_CALL unload(void *plugin_state) {
    free(plugin_state);
}

static int32_t datagram_read_settings(struct service *service,
                                      const struct berth_listener *listener,
                                      struct berth_error *error) {
    static const char *const modes[] = {"echo", "syslog", NULL};
    static const char *const malformed[] = {"keep", "drop", NULL};
    const struct config_member members[] = {
        {.name = "mode", .kind = CONFIG_WORD, .target = &service->mode, .words = modes},
        {.name = "file",
         .kind = CONFIG_PATH,
         .target = &service->path,
         .max = PATH_BYTES_MAX,
         .expected = "the path of a file"},
        {.name = "malformed",
         .kind = CONFIG_WORD,
         .target = &service->malformed,
         .words = malformed},
        {.name = "queue_max_bytes",
         .kind = CONFIG_NUMBER,
         .target = &service->queue_max_bytes,
         .min = QUEUE_BYTES_MIN,
         .max = QUEUE_BYTES_MAX},
    };
    int32_t status = config_read(listener, members, sizeof(members) / sizeof(members[0]), error);
    if (status == BERTH_OK && service->mode == MODE_SYSLOG && !service->path) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/file: \"mode\" is \"syslog\": expected the path of a file");
    }
    if (status == BERTH_OK && service->mode == MODE_ECHO && service->path) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/file: \"mode\" is \"echo\", which writes none");
    }
    return status;
}

static void service_destroy(struct service *service) {
    free(service->path);
    free(service);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener, void **state,
                                        struct berth_error *error) {
    const struct extensions *extensions = listener->plugin_state;
    struct service *service = calloc(1, sizeof(*service));
    if (!service) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    service->queue_max_bytes = 1048576;
    int32_t status = datagram_read_settings(service, listener, error);
    if (status == BERTH_OK && service->mode == MODE_SYSLOG) {
        struct log_file_options options = {
            .listener = listener,
            .work = extensions->work,
            .path = service->path,
            .queue_max_bytes = service->queue_max_bytes,
        };
        service->log_file = log_file_create(&options, error);
        status = service->log_file ? BERTH_OK : BERTH_E_FAILED;
    }
    if (status != BERTH_OK) {
        service_destroy(service);
        return status;
    }
    *state = service;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    struct service *service = listener->state;
    log_file_destroy(service->log_file);
    tally_finish(&service->malformed_count, listener, malformed_text);
    tally_finish(&service->unanswered, listener, unanswered_text);
    service_destroy(service);
}

static int32_t BERTH_CALL check_config(const struct berth_config_request *request,
                                       struct berth_config_errors *errors) {
    cJSON *config = config_parse(request);
    if (!config) {
        return BERTH_E_NO_MEMORY;
    }
    config_check_parent(request, config, "file", errors);
    cJSON_Delete(config);
    return BERTH_OK;
}

static const struct berth_plugin datagram_plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .id = "datagram",
    .name = "UDP echo and syslog receiver",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "\"mode\": {\"enum\": [\"echo\", \"syslog\"], \"default\": \"echo\", \"description\": "
        "\"What the listener does.\"},"
        "\"file\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 4096, "
        "\"description\": \"Of \\\"syslog\\\": what is written to, absolute or relative to the "
        "manifest's folder.\"},"
        "\"malformed\": {\"enum\": [\"keep\", \"drop\"], \"default\": \"keep\", "
        "\"description\": \"Datagrams that are no syslog message.\"},"
        "\"queue_max_bytes\": {\"type\": \"integer\", \"minimum\": 524288, \"maximum\": "
        "1073741824, \"default\": 1048576, \"description\": \"What may wait to be written.\"}}"
        ", \"anyOf\": ["
        "{\"title\": \"\\\"mode\\\" is \\\"syslog\\\", with a \\\"file\\\"\", \"properties\": "
        "{\"mode\": {\"const\": \"syslog\"}}, \"required\": [\"mode\", \"file\"]},"
        "{\"title\": \"\\\"mode\\\" is \\\"echo\\\", without a \\\"file\\\"\", \"properties\": "
        "{\"mode\": {\"const\": \"echo\"}, \"file\": false}}]}",
    .load = load,
    .unload = unload,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .datagram = on_datagram,
    .check_config = check_config,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &datagram_plugin;
}
