/* kv: a store of keys and values in memory for clients of Redis: a subset of its commands, in RESP2
 * and as inline commands. commands.c has the list.
 *
 * Input is consumed as it arrives. Its commands are run in order, and their answers
 * gathered into one send. A turn ends when it has answered as much as the send queue holds. The
 * connection is then paused with what has come, and resumed by a post: the rest is delivered again
 * once the queue is drained. So a pipeline may have any length, and TCP flow control holds its
 * client back.
 *
 * A new generation begins empty. Connections of the old one continue with its data. */
#include "kv/kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"

enum {
    LINE_BYTES_MAX = 65536,
    MESSAGE_BYTES_MIN = 1024,
    VALUE_BYTES_MIN = 1024,
    COMMANDS_A_TURN_MAX = 4096,
    TURN_DELAY_MS = 10, /* where posts are short */
    SWEEP_MS = 100,
    SWEEP_IDLE_MS = 1000,
};

/* -- commands -------------------------------------------------------------- */

static void answer_state(struct session *session, enum resp_state state) {
    if (state == RESP_COMMAND) {
        command_run(session);
    } else if (state == RESP_OUT_OF_LIMIT) {
        answer_status(session, BERTH_E_LIMIT);
    } else {
        output_error(session->output, "ERR %s", session->resp.error);
        session->is_ending = true;
    }
    resp_reset(&session->resp, &session->kv->store);
}

static bool may_go_on(const struct session *session, uint32_t count, uint64_t answered) {
    const struct berth_listener *listener = session->conn->listener;
    return count < COMMANDS_A_TURN_MAX && answered < listener->send_queue_bytes &&
           session->output->part_count * 2 < listener->send_queue_pieces;
}

static uint64_t answered_bytes(const struct output *output, uint32_t *parts, uint64_t *large) {
    for (; *parts < output->part_count; (*parts)++) {
        *large += output->parts[*parts].slice.size;
    }
    return output->size + *large;
}

/* As many commands as may be. *is_part: what is left is no whole command. */
static uint32_t run_commands(struct session *session, const struct berth_slice *data,
                             bool *is_part) {
    struct kv *kv = session->kv;
    uint32_t consumed = 0;
    uint32_t count = 0;
    uint32_t parts = 0;
    uint64_t large = 0;
    *is_part = false;
    while (consumed < data->size && !session->is_ending &&
           may_go_on(session, count, answered_bytes(session->output, &parts, &large))) {
        uint32_t used = 0;
        enum resp_state state = resp_read(&session->resp, &kv->store, &kv->limits,
                                          data->bytes + consumed, data->size - consumed, &used);
        consumed += used;
        if (state == RESP_PART) {
            *is_part = true;
            break;
        }
        answer_state(session, state);
        count++;
    }
    return consumed;
}

static void BERTH_CALL resume_by_post(struct berth_conn *conn, int32_t status, void *argument) {
    (void)argument;
    if (status == BERTH_OK) {
        conn->host->receive_resume(conn);
    }
}

static void BERTH_CALL resume_by_timer(struct berth_timer *timer, void *argument) {
    struct session *session = argument;
    session->kv->timer->destroy(timer);
    session->conn->host->receive_resume(session->conn);
}

/* Received data stays unconsumed while the connection is paused. The resumption comes
 * after this turn, and the host has it wait for `drained` if the send queue is full. */
static void wait_for_next_turn(struct session *session) {
    static const char text[] = "no post and no timer to go on with: the connection is ended";
    const struct berth_host *host = session->conn->host;
    host->receive_pause(session->conn);
    if (host->post(host, session->conn->id, resume_by_post, NULL) == BERTH_OK) {
        return;
    }
    struct berth_timer *timer =
        session->kv->timer->create_for_conn(session->conn, resume_by_timer, session);
    if (timer) {
        session->kv->timer->start(timer, TURN_DELAY_MS);
        return;
    }
    host->conn_log(session->conn, BERTH_LOG_WARN, text, sizeof(text) - 1);
    host->abort(session->conn);
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct session *session = conn->state;
    const struct berth_host *host = conn->host;
    bool is_part;
    session->now_ms = host->now_ms(host);
    uint32_t consumed = run_commands(session, data, &is_part);
    if (!output_flush(session->output, conn)) {
        host->abort(conn); /* an answer is missing: none that follows would be the right one */
        return data->size;
    }
    if (session->is_ending) {
        host->close(conn);
        return data->size;
    }
    if (consumed < data->size && !is_part) {
        wait_for_next_turn(session);
    }
    return consumed;
}

/* -- the life of a connection ---------------------------------------------- */

static void BERTH_CALL opened(struct berth_conn *conn) {
    struct session *session = conn->state;
    session->conn = conn;
    session->kv = conn->listener->state;
    session->output = &session->kv->outputs[conn->worker];
    atomic_fetch_add(&session->kv->clients, 1);
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    struct session *session = conn->state;
    (void)reason;
    resp_fini(&session->resp, &session->kv->store);
    atomic_fetch_sub(&session->kv->clients, 1);
}

static uint32_t BERTH_CALL closing(struct berth_conn *conn, uint32_t reason) {
    bool stays = reason == BERTH_CLOSED_STOPPING &&
                 conn->host->draining(conn->listener) == BERTH_DRAINING_REPLACED;
    return stays ? BERTH_CLOSING_KEEP : BERTH_CLOSING_CLOSE;
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener,
                                const struct berth_busy *busy_for, uint8_t *answer,
                                uint32_t capacity) {
    static const char text[] = "-ERR max number of clients reached\r\n";
    (void)listener;
    (void)busy_for;
    (void)capacity; /* 4 KiB at the least */
    memcpy(answer, text, sizeof(text) - 1);
    return sizeof(text) - 1;
}

/* -- the plugin ------------------------------------------------------------ */

static void BERTH_CALL sweep(struct berth_timer *timer, const struct berth_listener *listener,
                             uint32_t worker, void *argument) {
    struct kv *kv = argument;
    (void)worker;
    bool any = store_sweep(&kv->store, listener->host->now_ms(listener->host));
    kv->timer->start(timer, any ? SWEEP_MS : SWEEP_IDLE_MS);
}

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    *plugin_state = (void *)(uintptr_t)host->query(host, BERTH_TIMER_ID); /* only read */
    return *plugin_state ? BERTH_OK
                         : berth_error_set(error, BERTH_E_UNSUPPORTED,
                                           "this host has no timers (" BERTH_TIMER_ID ")");
}

static int32_t read_settings(struct kv *kv, struct berth_error *error) {
    const struct config_member members[] = {
        {"memory_bytes", CONFIG_NUMBER, .target = &kv->memory_bytes, .min = 65536,
         .max = UINT32_MAX},
        {"value_bytes", CONFIG_NUMBER, .target = &kv->limits.argument_bytes, .min = VALUE_BYTES_MIN,
         .max = BERTH_BUFFER_BYTES_MAX},
        {"arguments_max", CONFIG_NUMBER, .target = &kv->limits.arguments, .min = 16,
         .max = 1048576},
        {"answer_bytes", CONFIG_NUMBER, .target = &kv->answer_bytes, .min = VALUE_BYTES_MIN,
         .max = 33554432},
    };
    uint32_t message_bytes = kv->listener->message_bytes;
    int32_t status =
        config_read(kv->listener, members, sizeof(members) / sizeof(members[0]), error);
    if (status == BERTH_OK && message_bytes < MESSAGE_BYTES_MIN) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "the listener's \"limits.message_bytes\" (%u) must be at least %d",
                               (unsigned)message_bytes, (int)MESSAGE_BYTES_MIN);
    }
    /* A line that is too long is answered before the host ends the connection for it. */
    kv->limits.line_bytes = message_bytes <= LINE_BYTES_MAX ? message_bytes - 1 : LINE_BYTES_MAX;
    return status;
}

static int32_t prepare(struct kv *kv, struct berth_error *error) {
    const struct berth_listener *listener = kv->listener;
    int32_t status = read_settings(kv, error);
    if (status != BERTH_OK) {
        return status;
    }
    kv->outputs = calloc(listener->host->workers, sizeof(*kv->outputs));
    kv->sweep = kv->timer->create_for_listener(listener, sweep, kv);
    if (!kv->outputs || !kv->sweep) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    return store_init(&kv->store, listener->host, kv->memory_bytes, error);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener, void **state,
                                        struct berth_error *error) {
    struct kv *kv = calloc(1, sizeof(*kv));
    if (!kv) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    kv->listener = listener;
    kv->timer = listener->plugin_state;
    kv->memory_bytes = 268435456;
    kv->limits.argument_bytes = BERTH_BUFFER_BYTES_MAX;
    kv->limits.arguments = 65536;
    kv->answer_bytes = 33554432;
    kv->opened_ms = listener->host->now_ms(listener->host);
    int32_t status = prepare(kv, error);
    if (status != BERTH_OK) {
        free(kv->outputs);
        free(kv);
        return status;
    }
    kv->timer->start(kv->sweep, SWEEP_IDLE_MS);
    *state = kv;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    struct kv *kv = listener->state;
    store_fini(&kv->store);
    for (uint32_t i = 0; i < listener->host->workers; i++) {
        output_fini(&kv->outputs[i]);
    }
    free(kv->outputs);
    free(kv);
}

static const struct berth_plugin kv_plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .conn_state_size = sizeof(struct session),
    .id = "kv",
    .name = "Keys and values for clients of Redis",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "\"memory_bytes\": {\"type\": \"integer\", \"minimum\": 65536, \"maximum\": 4294967295, "
        "\"default\": 268435456, \"description\": \"Of all keys and values, and of large commands "
        "that are still coming in. Beyond it the answer is -OOM.\"},"
        "\"value_bytes\": {\"type\": \"integer\", \"minimum\": 1024, \"maximum\": 16777216, "
        "\"default\": 16777216, \"description\": \"The largest value, and the largest argument.\"},"
        "\"arguments_max\": {\"type\": \"integer\", \"minimum\": 16, \"maximum\": 1048576, "
        "\"default\": 65536, \"description\": \"Arguments of one command.\"},"
        "\"answer_bytes\": {\"type\": \"integer\", \"minimum\": 1024, \"maximum\": 33554432, "
        "\"default\": 33554432, \"description\": \"The largest answer to MGET or KEYS.\"}}"
        "}",
    .load = load,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .opened = opened,
    .received = received,
    .closed = closed,
    .closing = closing,
    .busy = busy,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &kv_plugin;
}
