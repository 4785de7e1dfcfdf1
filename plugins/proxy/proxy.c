/* proxy: forwards TCP connections to upstreams.
 *
 * A client and its upstream are a pair, on the same worker, so a pair needs no lock. Data received
 * on one side is sent to the other in the same buffers. Reading is limited by the other side: when
 * a send queue is filled, the side that fills it is paused until the queue is drained. A FIN is
 * forwarded to the other side while the other direction continues; a reset is forwarded, too.
 *
 * The client is not read from before its upstream is connected: its data waits in the system's
 * socket buffer, so the next upstream can be tried without loss. An upstream that does not answer
 * is down: it is skipped while there are others. From time to time it is probed in the background,
 * while a client is served elsewhere. */
#include "proxy/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    struct upstreams *upstreams;
    struct upstream *chosen;
    struct berth_conn *client;   /* NULL: gone */
    struct berth_conn *upstream; /* NULL: not connected yet, or gone */
    uint64_t tried;              /* a bit an upstream */
    bool client_finished;
    bool upstream_finished;
};

struct side {
    struct pair *pair;
};

static struct pair *pair_of(const struct berth_conn *conn) {
    return ((struct side *)conn->state)->pair;
}

static bool is_upstream(const struct berth_conn *conn) {
    return (conn->flags & BERTH_CONN_OUTBOUND) != 0;
}

static struct berth_conn *other_side(const struct berth_conn *conn) {
    const struct pair *pair = pair_of(conn);
    if (!pair) { /* it is ending, and was never part of a pair */
        return NULL;
    }
    return is_upstream(conn) ? pair->client : pair->upstream;
}

static void proxy_say(struct berth_conn *conn, uint32_t level, const char *text) {
    conn->host->conn_log(conn, level, text, (uint32_t)strlen(text));
}

/* -- finding an upstream --------------------------------------------------- */

static const char cannot_connect[] = "no connection can be made: the connection is reset";

static void BERTH_CALL connected(struct berth_conn *conn, int32_t status, void *argument);

static void say_of(struct berth_conn *conn, uint32_t level, const struct upstream *upstream,
                   const char *what) {
    char text[HOST_BYTES_MAX + 64];
    snprintf(text, sizeof(text), "upstream %s port %u %s", upstream->target.host,
             (unsigned)upstream->target.port, what);
    proxy_say(conn, level, text);
}

/* Connects to the upstream and sends the PROXY header first; `info` all zero: not for a client. If
 * the header cannot be sent, there is no connection: the upstream could take the client's first
 * bytes for a header. */
static int32_t proxy_connect_to(struct berth_conn *client, const struct upstream *upstream,
                                const struct berth_conn_info *info, berth_connected_fn done,
                                void *argument) {
    const struct berth_host *host = client->host;
    const struct berth_connect_host *service = client->listener->plugin_state;
    const struct upstreams *upstreams = client->listener->state;
    struct berth_connect_request request = {
        .struct_size = sizeof(request),
        .timeout_ms = upstreams->connect_timeout_ms,
        .host = upstream->target.host,
        .port = upstream->target.port,
    };
    if (upstreams->header_version > 0) {
        struct berth_slice *header = &request.first_data;
        if (host->buffer_create(host, HEADER_BYTES_MAX, header) != BERTH_OK) {
            return BERTH_E_NO_MEMORY;
        }
        header->size = header_write(host, upstreams->header_version, &info->remote, &info->local,
                                    header->bytes);
    }
    return service->connect(client, &request, done, argument);
}

static void leave_upstream(struct pair *pair) {
    if (pair->chosen) {
        upstream_leave(pair->chosen);
        pair->chosen = NULL;
    }
}

/* Tries the next upstream. When there is none left, the client's connection is reset: a FIN would
 * look like an empty answer. */
static void try_next(struct pair *pair) {
    struct berth_conn *client = pair->client;
    const struct berth_host *host = client->host;
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    pair->chosen = upstreams_choose(pair->upstreams, &pair->tried);
    if (!pair->chosen) {
        proxy_say(client, BERTH_LOG_WARN, "no upstream answers: the connection is reset");
        host->abort(client);
        return;
    }
    host->conn_info(client, &info);
    int32_t status = proxy_connect_to(client, pair->chosen, &info, connected, pair);
    if (status != BERTH_OK) {
        leave_upstream(pair);
        proxy_say(client, BERTH_LOG_WARN,
                  status == BERTH_E_LIMIT ? "limits.outbound is reached: the connection is reset"
                                          : cannot_connect);
        host->abort(client);
    }
}

static void upstream_did_not_answer(struct pair *pair) {
    struct berth_conn *client = pair->client;
    if (upstream_failed(pair->upstreams, pair->chosen, client->host->now_ms(client->host))) {
        say_of(client, BERTH_LOG_WARN, pair->chosen, "does not answer");
    }
    leave_upstream(pair);
    try_next(pair);
}

static void BERTH_CALL connected(struct berth_conn *conn, int32_t status, void *argument) {
    struct pair *pair = argument;
    if (status == BERTH_OK) {
        if (upstream_answered(pair->chosen)) {
            say_of(conn, BERTH_LOG_INFO, pair->chosen, "answers again");
        }
        pair->upstream = conn;
        ((struct side *)conn->state)->pair = pair;
        conn->host->receive_resume(pair->client);
    } else if (status == BERTH_E_CANCELLED) {
        leave_upstream(pair); /* the client is gone, and its `closed` follows */
    } else if (status == BERTH_E_NO_MEMORY) {
        leave_upstream(pair); /* which is not the upstream's fault */
        proxy_say(pair->client, BERTH_LOG_WARN, cannot_connect);
        pair->client->host->abort(pair->client);
    } else {
        upstream_did_not_answer(pair);
    }
}

/* -- probing upstreams that are down --------------------------------------- */

struct probe {
    struct berth_conn *client; /* it goes with it */
    struct upstream *upstream;
};

static void BERTH_CALL probed(struct berth_conn *conn, int32_t status, void *argument) {
    struct probe *probe = argument;
    struct berth_conn *client = probe->client;
    uint64_t now_ms = client->host->now_ms(client->host);
    if (status == BERTH_OK) {
        if (upstream_answered(probe->upstream)) {
            say_of(conn, BERTH_LOG_INFO, probe->upstream, "answers again");
        }
        conn->host->close(conn); /* the probe needs no more than the connect */
    } else if (status == BERTH_E_CANCELLED || status == BERTH_E_NO_MEMORY) {
        upstream_call_off_probe(probe->upstream, now_ms);
    } else {
        upstream_failed(client->listener->state, probe->upstream, now_ms);
    }
    free(probe);
}

static void ask_one_left_out(struct berth_conn *client, uint64_t tried) {
    const struct berth_conn_info nobody = {.struct_size = sizeof(nobody)};
    uint64_t now_ms = client->host->now_ms(client->host);
    struct upstream *upstream = upstreams_to_probe(client->listener->state, now_ms, tried);
    if (!upstream) {
        return;
    }
    struct probe *probe = malloc(sizeof(*probe));
    if (probe) {
        *probe = (struct probe){client, upstream};
    }
    if (!probe || proxy_connect_to(client, upstream, &nobody, probed, probe) != BERTH_OK) {
        upstream_call_off_probe(upstream, now_ms);
        free(probe);
    }
}

/* -- forwarding ------------------------------------------------------------ */

static void BERTH_CALL opened(struct berth_conn *conn) {
    struct pair *pair = calloc(1, sizeof(*pair));
    if (!pair) {
        conn->host->abort(conn);
        return;
    }
    pair->upstreams = conn->listener->state;
    pair->client = conn;
    ((struct side *)conn->state)->pair = pair;
    conn->host->receive_pause(conn);
    try_next(pair);
    ask_one_left_out(conn, pair->tried);
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct berth_conn *other = other_side(conn);
    if (other) {
        conn->host->buffer_acquire(data->buffer);
        conn->host->send_slices(other, data, 1); /* a failure ends that side, and so both */
    }
    return data->size;
}

static void BERTH_CALL filled(struct berth_conn *conn) {
    struct berth_conn *other = other_side(conn);
    if (other) {
        conn->host->receive_pause(other);
    }
}

static void BERTH_CALL drained(struct berth_conn *conn) {
    struct berth_conn *other = other_side(conn);
    if (other) {
        conn->host->receive_resume(other);
    }
}

/* The end of one direction is forwarded after all queued data. */
static void BERTH_CALL peer_closed(struct berth_conn *conn) {
    struct pair *pair = pair_of(conn);
    struct berth_conn *other = other_side(conn);
    if (!pair) {
        return;
    }
    if (is_upstream(conn)) {
        pair->upstream_finished = true;
    } else {
        pair->client_finished = true;
    }
    if (pair->client_finished && pair->upstream_finished) {
        conn->host->close(conn);
    }
    if (other && pair->client_finished && pair->upstream_finished) {
        conn->host->close(other);
    } else if (other) {
        conn->host->shutdown_send(other);
    } else {
        conn->host->close(conn);
    }
}

/* Whether the other side still receives all data of this one. A side that has finished is silent
 * while the other side reads the rest, and may be closed by the idle timeout. */
static bool proxy_is_whole(uint32_t reason, bool finished) {
    return reason == BERTH_CLOSED_BY_PEER || reason == BERTH_CLOSED_BY_PLUGIN ||
           (reason == BERTH_CLOSED_TIMEOUT && finished);
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    struct pair *pair = pair_of(conn);
    if (!pair) {
        return; /* no memory for the pair, or not a client's connection */
    }
    struct berth_conn *other = other_side(conn);
    bool finished = is_upstream(conn) ? pair->upstream_finished : pair->client_finished;
    if (is_upstream(conn)) {
        pair->upstream = NULL;
    } else {
        pair->client = NULL;
    }
    if (other && proxy_is_whole(reason, finished)) {
        conn->host->close(other);
    } else if (other) {
        conn->host->abort(other); /* lost data must not look like a complete stream */
    } else {
        leave_upstream(pair);
        free(pair);
    }
}

/* -- the plugin ------------------------------------------------------------ */

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    *plugin_state = (void *)(uintptr_t)host->query(host, BERTH_CONNECT_ID); /* only read */
    return *plugin_state ? BERTH_OK
                         : berth_error_set(error, BERTH_E_UNSUPPORTED,
                                           "this host makes no connections (" BERTH_CONNECT_ID ")");
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener,
                                        void **listener_state, struct berth_error *error) {
    struct upstreams *upstreams = upstreams_create(listener, error);
    if (!upstreams) {
        return BERTH_E_INVALID;
    }
    int32_t status =
        upstreams->health_check_ms > 0 ? health_start(upstreams, listener, error) : BERTH_OK;
    if (status != BERTH_OK) {
        upstreams_destroy(upstreams);
        return status;
    }
    *listener_state = upstreams;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    upstreams_destroy(listener->state);
}

static const struct berth_plugin proxy = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .flags = BERTH_PLUGIN_PACES_ITSELF,
    .conn_state_size = sizeof(struct side),
    .id = "proxy",
    .name = "TCP proxy",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": "
        "[\"upstreams\"], \"properties\": {"
        "\"upstreams\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 64, "
        "\"description\": \"Where connections are forwarded to.\", \"items\": {\"type\": "
        "\"string\", \"title\": \"an address with a port, like \\\"backend.example:8080\\\" or "
        "\\\"[::1]:8080\\\"\", \"pattern\": "
        "\"^(\\\\[[^\\\\[\\\\]]+\\\\]|[^:\\\\[\\\\]]+):[0-9]{1,5}$\"}},"
        "\"balance\": {\"enum\": [\"round-robin\", \"least-connections\"], \"default\": "
        "\"round-robin\", \"description\": \"Which upstream is next.\"},"
        "\"connect_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600000, "
        "\"default\": 5000, \"description\": \"For one upstream; then the next one is tried.\"},"
        "\"retry_after_ms\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 3600000, "
        "\"default\": 10000, \"description\": \"How long an upstream that did not answer is "
        "not asked again.\"},"
        "\"health_check_ms\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 3600000, "
        "\"default\": 0, \"description\": \"How often each upstream is connected to without a "
        "client; 0: never.\"},"
        "\"proxy_protocol\": {\"enum\": [1, 2], \"description\": \"The version of the PROXY "
        "header that tells upstreams the client.\"}}"
        "}",
    .load = load,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .opened = opened,
    .received = received,
    .filled = filled,
    .drained = drained,
    .peer_closed = peer_closed,
    .closed = closed,
    .check_config = upstreams_check_config,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &proxy;
}
