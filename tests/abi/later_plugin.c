/* A plugin of a minor version to come, built by the tests against headers that have grown
 * (grow.py). Every function of the descriptor that today's host does not know is poison, and so is
 * the memory behind every struct that it hands over. It says what it sees, a line for each command.
 *
 * -DREQUIRED=… is the minor version it requires. */
#include <berth/berth.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define POISON UINT64_C(0xaaaaaaaaaaaaaaaa)

#define POISON_FUNCTION ((int32_t(BERTH_CALL *)(void *))POISON)

struct info_and_more {
    struct berth_conn_info info;
    uint64_t behind;
};

static const struct berth_connect_host *connect_of(const struct berth_conn *conn) {
    return conn->listener->plugin_state;
}

static void say(struct berth_conn *conn, const char *what, int first, int second, int third) {
    char text[96];
    int size = snprintf(text, sizeof(text), "%s %d %d %d\n", what, first, second, third);
    conn->host->send(conn, text, (uint32_t)size);
}

/* No table of a host that is older has what came later, and the plugin can see it. */
static void see_tables(struct berth_conn *conn) {
    say(conn, "later", BERTH_HAS(conn->host, later_function),
        BERTH_HAS(conn, later_number) || BERTH_HAS(conn->listener, later_number),
        BERTH_HAS(connect_of(conn), later_function));
    say(conn, "known", BERTH_HAS(conn->host, post_worker), BERTH_HAS(conn, worker),
        BERTH_HAS(connect_of(conn), connect));
    say(conn, "minor", conn->host->abi_minor, conn->host->abi_minor < BERTH_ABI_MINOR, 0);
}

/* A struct longer than the host knows: it fills its part, says how much that is, and leaves the
 * rest alone. A shorter one, as an older plugin has it, is not written past its end. */
static void see_info(struct berth_conn *conn) {
    struct info_and_more more;
    struct info_and_more less;
    memset(&more, 0xaa, sizeof(more));
    memset(&less, 0xaa, sizeof(less));
    more.info.struct_size = sizeof(more.info);
    less.info.struct_size = offsetof(struct berth_conn_info, remote);
    conn->host->conn_info(conn, &more.info);
    conn->host->conn_info(conn, &less.info);
    const uint8_t *unasked = (const uint8_t *)&less.info.remote;
    uint8_t poison[sizeof(more.info)];
    memset(poison, 0xaa, sizeof(poison));
    say(conn, "longer", BERTH_HAS(&more.info, opened_ago_ms), BERTH_HAS(&more.info, later_number),
        more.info.later_number == POISON && more.behind == POISON && more.info.remote.port != 0);
    say(conn, "shorter", less.info.struct_size == offsetof(struct berth_conn_info, remote),
        less.info.local.port == more.info.local.port,
        memcmp(unasked, poison, sizeof(more.info) - less.info.struct_size) == 0);
}

static void BERTH_CALL connected(struct berth_conn *conn, int32_t status, void *argument) {
    if (argument && status != BERTH_E_CANCELLED) {
        say(argument, "connected", (int)status, conn != NULL, 0);
    }
    if (conn) {
        conn->host->abort(conn);
    }
}

/* A request that has members which the host does not know, all zero: it is carried out. One in
 * which they say something is not, nor one with something in what is reserved. One that ends before
 * its port is as one whose port is 0, whatever lies there. */
static void see_connect(struct berth_conn *conn, uint16_t port) {
    struct berth_connect_request request;
    memset(&request, 0, sizeof(request));
    request.struct_size = sizeof(request);
    request.timeout_ms = 20000;
    request.host = "127.0.0.1";
    request.port = port;
    int32_t longer = connect_of(conn)->connect(conn, &request, connected, conn);
    request.struct_size = offsetof(struct berth_connect_request, port);
    int32_t shorter = connect_of(conn)->connect(conn, &request, connected, NULL);
    request.struct_size = sizeof(request);
    request.reserved2 = 1;
    int32_t reserved = connect_of(conn)->connect(conn, &request, connected, NULL);
    say(conn, "connect", (int)longer, (int)shorter, (int)reserved);
    request.reserved2 = 0;
    request.later_number = 1;
    int32_t first = connect_of(conn)->connect(conn, &request, connected, NULL);
    request.later_number = 0;
    request.later_function = POISON_FUNCTION;
    int32_t last = connect_of(conn)->connect(conn, &request, connected, NULL);
    int32_t of_listener =
        connect_of(conn)->connect_for_listener(conn->listener, &request, connected, NULL);
    say(conn, "connect tails", (int)first, (int)last, (int)of_listener);
}

/* The other requests, likewise: with a tail that is zero, and with one that says something. */
static void see_requests(struct berth_conn *conn) {
    const int32_t *metrics = conn->listener->state;
    struct berth_log_entry entry;
    memset(&entry, 0, sizeof(entry));
    entry.struct_size = sizeof(entry);
    entry.level = BERTH_LOG_INFO;
    entry.text = "of a later minor";
    entry.size = 16;
    int32_t longer = conn->host->log_fields(conn->host, &entry);
    entry.later_number = 1;
    int32_t tail = conn->host->log_fields(conn->host, &entry);
    entry.struct_size = offsetof(struct berth_log_entry, text);
    int32_t shorter = conn->host->log_fields(conn->host, &entry);
    say(conn, "log", (int)longer, (int)tail, (int)shorter);
    say(conn, "metric", (int)metrics[0], (int)metrics[1], (int)metrics[2]);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener,
                                        void **listener_state, struct berth_error *error) {
    static int32_t statuses[3]; /* the same for all, as this plugin has one listener */
    const struct berth_metrics_host *metrics =
        (const struct berth_metrics_host *)listener->host->query(listener->host, BERTH_METRICS_ID);
    struct berth_metric *metric;
    struct berth_metric_request request;
    (void)error;
    memset(&request, 0, sizeof(request));
    request.struct_size = sizeof(request);
    request.kind = BERTH_METRIC_COUNTER;
    request.name = "longer_total";
    statuses[0] = metrics->create(listener, &request, &metric, NULL);
    request.name = "tail_total";
    request.later_number = 1;
    statuses[1] = metrics->create(listener, &request, &metric, NULL);
    request.struct_size = offsetof(struct berth_metric_request, labels);
    statuses[2] = metrics->create(listener, &request, &metric, NULL);
    *listener_state = statuses;
    return BERTH_OK;
}

/* Extensions of another host are NULL, and so is whatever else is asked for; those that are here
 * are the same at every call. */
static void see_query(struct berth_conn *conn) {
    static const char *const unknown[] = {
        "berth.timer/2",
        "berth.timer/",
        "berth.timer",
        "berth.timer/1 ",
        "BERTH.TIMER/1",
        "berth.later/1",
        "",
        "/1",
        "%s%n",
        NULL,
    };
    int known = 0;
    char vast[4096];
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        known += conn->host->query(conn->host, unknown[i]) != NULL;
    }
    memset(vast, 'x', sizeof(vast));
    vast[sizeof(vast) - 1] = '\0';
    known += conn->host->query(conn->host, vast) != NULL;
    say(conn, "query", known, conn->host->query(conn->host, BERTH_CONNECT_ID) == connect_of(conn),
        0);
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    switch (data->bytes[0]) {
    case 'e':
        conn->host->buffer_acquire(data->buffer);
        conn->host->send_slices(conn, data, 1);
        break;
    case 't':
        see_tables(conn);
        break;
    case 'q':
        see_query(conn);
        break;
    case 'i':
        see_info(conn);
        break;
    case 'c':
        conn->host->conn_info(conn, &info);
        see_connect(conn, info.local.port);
        break;
    case 'r':
        see_requests(conn);
        break;
    default:
        say(conn, "unknown", 0, 0, 0);
        break;
    }
    return data->size;
}

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    if (BERTH_HAS(error, later_number) != (host->abi_minor >= BERTH_ABI_MINOR)) {
        return berth_error_set(error, BERTH_E_FAILED, "the error is not as long as it must be");
    }
    *plugin_state = (void *)host->query(host, BERTH_CONNECT_ID);
    return BERTH_OK;
}

static const struct {
    struct berth_plugin descriptor;
    uint64_t behind[16];
} later = {
    .descriptor =
        {
            .magic = BERTH_PLUGIN_MAGIC,
            .struct_size = sizeof(struct berth_plugin),
            .abi_major = BERTH_ABI_MAJOR,
            .abi_minor_built = BERTH_ABI_MINOR,
            .abi_draft = BERTH_ABI_DRAFT,
            .abi_minor_required = REQUIRED,
            .id = "later",
            .name = "Of a later minor",
            .version = "1.0.0",
            .load = load,
            .listener_open = listener_open,
            .received = received,
            .later_number = POISON,
            .later_function = POISON_FUNCTION,
        },
    .behind = {POISON, POISON, POISON, POISON, POISON, POISON, POISON, POISON, POISON, POISON,
               POISON, POISON, POISON, POISON, POISON, POISON},
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &later.descriptor;
}
