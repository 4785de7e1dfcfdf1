/* http: serves the files of a folder by HTTP/1.1 (RFC 9110, RFC 9112).
 *
 * A connection answers one request after the other. The bytes stay in the host until the head of a
 * request is complete; it is parsed in place, answered, and then consumed. If the file has to be
 * opened first, on another thread, nothing is consumed: the connection is paused, and the same
 * request is delivered again when the file is open. Only the rare request with a body is copied,
 * because it is answered after its body.
 *
 *   request.c  the head       target.c  the file's name    cache.c   open files
 *   body.c     the body       range.c, date.c, types.c     answer.c  the responses
 *   site.c     the "config" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/answer.h"
#include "http/body.h"
#include "http/request.h"
#include "http/site.h"
#include "http/target.h"

enum {
    REQUESTS_A_TURN = 32, /* of a pipelining client, before the queue is checked and other
                             connections get their turn */
    LOG_TEXT_MAX = 512,
};

/* What the timer of a connection waits for. */
enum waiting {
    WAITING_NONE,    /* for this server */
    WAITING_REQUEST, /* for the first byte of a request */
    WAITING_HEAD,    /* for the rest of it */
    WAITING_BODY,
};

/* A request whose body is being received. */
struct held {
    struct body_drain drain;
    uint32_t size;
    uint8_t head[];
};

struct client {
    struct berth_timer *timer;
    struct entry *found; /* for the request at the front: result of its look-up */
    struct held *held;
    uint64_t sent; /* when the timer was started */
    uint32_t searched;
    uint32_t answers; /* so far */
    uint8_t waiting;  /* enum waiting */
    bool looking;     /* another thread opens the file of the request at the front */
    bool is_head;     /* the request at the front, as far as it is there: no answer has a body */
    bool stopping;    /* the answer to this request is the last one */
    bool more;        /* received requests are delivered again */
    bool over;        /* closed by this server */
};

static struct client *http_client_of(const struct berth_conn *conn) {
    return conn->state;
}

static const struct site *site_of(const struct berth_conn *conn) {
    return conn->listener->state;
}

static void log_answer(struct berth_conn *conn, const struct request *request,
                       struct answered answered) {
    char text[LOG_TEXT_MAX];
    struct text target = request ? request->target : (struct text){0};
    if (!site_of(conn)->access_log) {
        return;
    }
    uint32_t shown = target.size < 400 ? target.size : 400;
    const char *method = !request || !target.bytes           ? "-"
                         : request->method == METHOD_GET     ? "GET"
                         : request->method == METHOD_HEAD    ? "HEAD"
                         : request->method == METHOD_OPTIONS ? "OPTIONS"
                                                             : "other";
    int size = snprintf(text, sizeof(text), "%s %.*s %u %llu", method, (int)shown,
                        shown > 0 ? target.bytes : "", (unsigned)answered.status,
                        (unsigned long long)answered.bytes);
    conn->host->conn_log(conn, BERTH_LOG_INFO | BERTH_LOG_RECORD, text, (uint32_t)size);
}

/* Further input is discarded until the client has the response, because a reset could destroy the
 * response: RFC 9112, 9.6. The client may pause as long as on a persistent connection. */
static void http_finish(struct berth_conn *conn) {
    http_client_of(conn)->over = true;
    if (BERTH_HAS(conn->host, close_with_timeout)) {
        conn->host->close_with_timeout(conn, site_of(conn)->keep_alive_timeout_ms);
    } else {
        conn->host->close(conn);
    }
}

/* Answers an invalid or too slow request, and ends the connection: the start of the next request is
 * unknown. `request` is NULL if its head was not parsed. */
static void http_refuse(struct berth_conn *conn, const struct request *request, uint32_t status) {
    const struct request unread = {.method =
                                       http_client_of(conn)->is_head ? METHOD_HEAD : METHOD_GET};
    log_answer(conn, request, answer_error(conn, &unread, status));
    http_finish(conn);
}

/* -- the clock ------------------------------------------------------------- */

static void http_wait_for(struct berth_conn *conn, enum waiting waiting, uint64_t delay_ms) {
    struct client *client = http_client_of(conn);
    const struct berth_timer_host *timers = site_of(conn)->services->timer;
    client->waiting = (uint8_t)waiting;
    if (waiting == WAITING_NONE) {
        timers->stop(client->timer);
    } else {
        timers->start(client->timer, delay_ms);
    }
}

/* Limits how long a slow sender can hold a connection. Between requests the time counts from the
 * end of the last response: it restarts while the client still reads. */
static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    struct berth_conn *conn = argument;
    struct client *client = http_client_of(conn);
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    (void)timer;
    if (client->over) {
        return;
    }
    if (client->waiting != WAITING_REQUEST) {
        http_refuse(conn, NULL, 408);
        return;
    }
    conn->host->conn_info(conn, &info);
    if (info.bytes_queued == 0) {
        http_finish(conn);
    } else if (info.bytes_sent != client->sent) {
        client->sent = info.bytes_sent;
        http_wait_for(conn, WAITING_REQUEST, site_of(conn)->keep_alive_timeout_ms);
    } else {
        conn->host->abort(conn); /* the client has read nothing in all this time */
    }
}

/* -- looking files up ------------------------------------------------------ */

struct lookup {
    const struct site *site;
    struct entry *entry;
    char name[NAME_BYTES_MAX];
};

static void BERTH_CALL look_up(void *argument) {
    struct lookup *lookup = argument;
    lookup->entry = cache_look_up(lookup->site->cache, lookup->name);
}

static void http_go_on(struct berth_conn *conn);

static void BERTH_CALL looked_up(struct berth_conn *conn, int32_t status, void *argument) {
    struct lookup *lookup = argument;
    struct entry *entry = lookup->entry;
    free(lookup);
    if (status != BERTH_OK || http_client_of(conn)->over) {
        entry_release(entry);
        return;
    }
    http_client_of(conn)->looking = false;
    http_client_of(conn)->found = entry;
    if (entry) {
        http_go_on(conn);
    } else {
        http_refuse(conn, NULL, 503);
    }
}

/* True: the look-up has started; the connection is paused until it ends. */
static bool start_lookup(struct berth_conn *conn, const char *name) {
    const struct site *site = site_of(conn);
    struct lookup *lookup = malloc(sizeof(*lookup));
    if (!lookup) {
        return false;
    }
    lookup->site = site;
    lookup->entry = NULL;
    memcpy(lookup->name, name, strlen(name) + 1);
    if (site->services->work->submit(conn, look_up, looked_up, lookup) != BERTH_OK) {
        free(lookup);
        return false;
    }
    http_client_of(conn)->looking = true;
    conn->host->receive_pause(conn);
    return true;
}

/* -- requests -------------------------------------------------------------- */

/* Answers with the file from the cache or the look-up; false: the look-up is still running. */
static bool answer_file(struct berth_conn *conn, const struct request *request,
                        struct answered *answered) {
    struct client *client = http_client_of(conn);
    const struct site *site = site_of(conn);
    char name[NAME_BYTES_MAX];
    uint32_t status = target_to_name(request->path, site->dot_files, name);
    if (status != 0) {
        *answered = answer_error(conn, request, status);
        return true;
    }
    struct entry *entry = client->found ? client->found : cache_find(site->cache, name);
    client->found = NULL;
    if (!entry && start_lookup(conn, name)) {
        return false;
    }
    *answered = entry ? answer_entry(conn, request, entry, name) : answer_error(conn, request, 503);
    entry_release(entry);
    return true;
}

/* False: the request is answered later, and stays unconsumed until then. */
static bool http_answer(struct berth_conn *conn, struct request *request) {
    struct client *client = http_client_of(conn);
    struct answered answered;
    request->keep_alive = request->keep_alive && !client->stopping;
    switch (request->method) {
    case METHOD_GET:
    case METHOD_HEAD:
        if (!answer_file(conn, request, &answered)) {
            return false;
        }
        break;
    case METHOD_OPTIONS:
        answered = answer_options(conn, request);
        break;
    default:
        answered = answer_error(conn, request, 405);
        break;
    }
    client->answers++;
    log_answer(conn, request, answered);
    if (!request->keep_alive) {
        http_finish(conn);
    }
    return true;
}

/* Keeps the request until its body was received. False: no memory. */
static bool http_hold(struct berth_conn *conn, const struct request *request, const uint8_t *head,
                      uint32_t size) {
    struct held *held = malloc(sizeof(*held) + size);
    if (!held) {
        return false;
    }
    body_begin(&held->drain, request->body == BODY_CHUNKED, request->content_length,
               site_of(conn)->body_bytes_max);
    held->size = size;
    memcpy(held->head, head, size);
    http_client_of(conn)->held = held;
    if (request->expects_continue) {
        conn->host->send(conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
    http_wait_for(conn, WAITING_BODY, site_of(conn)->body_timeout_ms);
    return true;
}

/* Each of these returns the number of consumed bytes; 0: more input is needed, the connection is
 * closed, or it waits for a file. */

static uint32_t http_take_request(struct berth_conn *conn, const uint8_t *bytes, uint32_t size) {
    const struct site *site = site_of(conn);
    struct request request;
    request_read(bytes, size, &site->limits, &request);
    bool has_body = request.status == 0 && request.body != BODY_NONE;
    uint32_t status = request.status;
    if (status == 0 && request.expects_other) {
        status = 417;
    } else if (has_body && request.body == BODY_LENGTH &&
               request.content_length > site->body_bytes_max) {
        status = 413;
    } else if (has_body && request.expects_continue && request.method > METHOD_OPTIONS) {
        status = 405; /* the response is known without the body */
    }
    if (status != 0) {
        http_refuse(conn, &request, status);
        return 0;
    }
    if (has_body) {
        if (!http_hold(conn, &request, bytes, size)) {
            http_refuse(conn, NULL, 503);
            return 0;
        }
    } else if (!http_answer(conn, &request)) {
        return 0;
    }
    http_client_of(conn)->searched = 0;
    return size;
}

static uint32_t take_head(struct berth_conn *conn, const uint8_t *bytes, uint32_t size) {
    struct client *client = http_client_of(conn);
    uint32_t status;
    if (bytes[0] == '\r') { /* an empty line before a request: RFC 9112, 2.2 */
        if (size > 1 && bytes[1] != '\n') {
            http_refuse(conn, NULL, 400);
        }
        return !client->over && size > 1 ? 2 : 0;
    }
    client->is_head = size >= 5 && memcmp(bytes, "HEAD ", 5) == 0;
    uint32_t head =
        request_head_size(bytes, size, &site_of(conn)->limits, &client->searched, &status);
    if (status != 0) {
        http_refuse(conn, NULL, status);
        return 0;
    }
    return head > 0 ? http_take_request(conn, bytes, head) : 0;
}

/* Answers the request whose body is complete. */
static void answer_held(struct berth_conn *conn) {
    struct client *client = http_client_of(conn);
    struct held *held = client->held;
    struct request request;
    request_read(held->head, held->size, &site_of(conn)->limits, &request);
    if (http_answer(conn, &request)) {
        free(held);
        client->held = NULL;
    }
}

static uint32_t take_body(struct berth_conn *conn, const uint8_t *bytes, uint32_t size) {
    struct held *held = http_client_of(conn)->held;
    uint32_t status;
    uint32_t taken = body_take(&held->drain, bytes, size, &status);
    if (status != 0) {
        http_refuse(conn, NULL, status);
    } else if (held->drain.state == BODY_DONE) {
        answer_held(conn);
    }
    return taken;
}

/* Sets the timer for what is expected next; `rest`: part of a request has been received. */
static void set_clock(struct berth_conn *conn, bool answered, bool rest) {
    const struct client *client = http_client_of(conn);
    const struct site *site = site_of(conn);
    if (client->over || client->looking) {
        http_wait_for(conn, WAITING_NONE, 0);
    } else if (client->held) {
        return; /* since the body began */
    } else if (rest) {
        if (client->waiting != WAITING_HEAD || answered) {
            http_wait_for(conn, WAITING_HEAD, site->head_timeout_ms);
        }
    } else if (client->waiting != WAITING_REQUEST || answered) {
        http_wait_for(conn, WAITING_REQUEST, site->keep_alive_timeout_ms);
    }
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct client *client = http_client_of(conn);
    const uint32_t answers = client->answers;
    uint32_t consumed = 0;
    uint32_t turns = 0;
    client->more = false;
    while (consumed < data->size && !client->over && !client->looking) {
        const uint8_t *bytes = data->bytes + consumed;
        uint32_t size = data->size - consumed;
        uint32_t taken = client->held ? take_body(conn, bytes, size) : take_head(conn, bytes, size);
        consumed += taken;
        if (taken == 0) {
            break;
        }
        if (++turns == REQUESTS_A_TURN && consumed < data->size) {
            /* The rest is delivered again after the responses so far are sent. */
            client->more = true;
            conn->host->receive_pause(conn);
            conn->host->receive_resume(conn);
            return consumed;
        }
    }
    set_clock(conn, client->answers != answers, consumed < data->size);
    return consumed;
}

/* The file is open: for the request whose body is complete, or for the one at the front, which is
 * then delivered again. */
static void http_go_on(struct berth_conn *conn) {
    struct client *client = http_client_of(conn);
    if (client->held) {
        answer_held(conn);
    }
    if (!client->over && !client->looking) {
        set_clock(conn, true, false);
        conn->host->receive_resume(conn);
    }
}

/* -- connections ----------------------------------------------------------- */

static void BERTH_CALL opened(struct berth_conn *conn) {
    struct client *client = http_client_of(conn);
    const struct site *site = site_of(conn);
    client->timer = site->services->timer->create_for_conn(conn, on_timer, conn);
    if (!client->timer) {
        conn->host->abort(conn);
        client->over = true;
        return;
    }
    http_wait_for(conn, WAITING_REQUEST, site->head_timeout_ms);
}

/* Stopping: the next response announces the close, so that the client sends no further request,
 * which would be lost (RFC 9112, 9.5). An idle connection would delay the stop of the host, so it
 * ends between two requests; but not before its first request.
 */
static uint32_t BERTH_CALL closing(struct berth_conn *conn, uint32_t reason) {
    struct client *client = http_client_of(conn);
    bool between = client->waiting == WAITING_REQUEST && client->answers > 0 && !client->more;
    bool host_stops = conn->host->draining(conn->listener) == BERTH_DRAINING_HOST_STOPS;
    if (reason != BERTH_CLOSED_STOPPING || (host_stops && between)) {
        return BERTH_CLOSING_CLOSE;
    }
    client->stopping = true;
    return BERTH_CLOSING_KEEP;
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    struct client *client = http_client_of(conn);
    (void)reason;
    entry_release(client->found);
    free(client->held);
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener,
                                const struct berth_busy *busy_for, uint8_t *answer,
                                uint32_t capacity) {
    (void)busy_for;
    (void)listener;
    return answer_busy((char *)answer, capacity);
}

/* -- the plugin ------------------------------------------------------------ */

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    struct services *services = calloc(1, sizeof(*services));
    if (!services) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    services->timer = host->query(host, BERTH_TIMER_ID);
    services->work = host->query(host, BERTH_WORK_ID);
    services->file = host->query(host, BERTH_FILE_ID);
    services->caches = caches_create();
    if (!services->caches) {
        free(services);
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    if (!services->timer || !services->work || !services->file) {
        caches_destroy(services->caches);
        free(services);
        return berth_error_set(error, BERTH_E_UNSUPPORTED,
                               "this host lacks one of " BERTH_TIMER_ID ", " BERTH_WORK_ID
                               " and " BERTH_FILE_ID);
    }
    *plugin_state = services;
    return BERTH_OK;
}

static void BERTH_CALL unload(void *plugin_state) {
    struct services *services = plugin_state;
    caches_destroy(services->caches);
    free(services);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener,
                                        void **listener_state, struct berth_error *error) {
    *listener_state = site_create(listener, error);
    return *listener_state ? BERTH_OK : BERTH_E_INVALID;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    site_destroy(listener->state);
}

static const struct berth_plugin http = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .conn_state_size = sizeof(struct client),
    .id = "http",
    .name = "HTTP/1.1 static files",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"root\"], "
        "\"properties\": {"
        "\"root\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 4095, "
        "\"description\": \"The folder to serve, absolute or relative to the manifest's.\"},"
        "\"index\": {\"type\": \"array\", \"maxItems\": 8, \"default\": [\"index.html\"], "
        "\"description\": \"Names that stand for a folder.\", \"items\": {\"type\": "
        "\"string\", \"title\": \"the name of a file, like \\\"index.html\\\"\", \"pattern\": "
        "\"^[^/\\\\\\\\:]+$\"}},"
        "\"types\": {\"type\": \"object\", \"maxProperties\": 256, \"description\": \"Media "
        "types by the ends of names, beside the usual ones.\", \"propertyNames\": {\"title\": "
        "\"the end of names behind a dot, like \\\"log\\\" or \\\"tar.gz\\\"\", \"pattern\": "
        "\"^[^./][^/]*$\"}, \"additionalProperties\": {\"type\": \"string\", \"maxLength\": "
        "200, \"title\": \"a media type, like \\\"text/plain\\\"\", \"pattern\": "
        "\"^[^\\\\x01-\\\\x1f\\\\x7f]*/[^\\\\x01-\\\\x1f\\\\x7f]*$\"}},"
        "\"headers\": {\"type\": \"object\", \"description\": \"Fields added to every "
        "answer.\", \"propertyNames\": {\"title\": \"the name of a field\", \"pattern\": "
        "\"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$\"}, \"additionalProperties\": {\"type\": \"string\", "
        "\"title\": \"a value on one line\", \"pattern\": \"^[^\\\\x01-\\\\x1f\\\\x7f]*$\"}},"
        "\"access_log\": {\"type\": \"boolean\", \"default\": false, \"description\": \"One "
        "line of the log for each request.\"},"
        "\"dot_files\": {\"type\": \"boolean\", \"default\": false, \"description\": \"Names "
        "that begin with a dot are served.\"},"
        "\"head_bytes_max\": {\"type\": \"integer\", \"minimum\": 256, \"maximum\": 1048576, "
        "\"default\": 16384, \"description\": \"Of the head of a request; else 431.\"},"
        "\"target_bytes_max\": {\"type\": \"integer\", \"minimum\": 16, \"maximum\": 65536, "
        "\"default\": 8192, \"description\": \"Of the target of a request; else 414.\"},"
        "\"fields_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 10000, "
        "\"default\": 100, \"description\": \"Fields of a head; else 431.\"},"
        "\"body_bytes_max\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 4294967295, "
        "\"default\": 1048576, \"description\": \"Of a body, which is read and discarded; else "
        "413.\"},"
        "\"head_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600000, "
        "\"default\": 10000, \"description\": \"For a whole head; then 408.\"},"
        "\"body_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600000, "
        "\"default\": 30000, \"description\": \"For a whole body; then 408.\"},"
        "\"keep_alive_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": "
        "3600000, \"default\": 60000, \"description\": \"Between two requests.\"},"
        "\"cache_ms\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 3600000, "
        "\"default\": 1000, \"description\": \"How long a file may be kept open; 0: not at "
        "all.\"},"
        "\"cache_files_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 100000, "
        "\"default\": 1024, \"description\": \"How many files are kept open.\"},"
        "\"cache_file_bytes\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 1048576, "
        "\"default\": 65536, \"description\": \"Up to what size the bytes of a file are kept "
        "in memory.\"}}"
        "}",
    .load = load,
    .unload = unload,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .opened = opened,
    .received = received,
    .closing = closing,
    .closed = closed,
    .busy = busy,
    .check_config = site_check_config,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &http;
}
