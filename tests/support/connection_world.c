#include "connection_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "fake_engine.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "plugin/plugin_events.h"
#include "plugin/plugin_stats.h"

/* -- the plugin under the connections: it writes a diary
 * ------------------------------------------- */

char diary[4096];
uint32_t consume_max; /* what `received` consumes at the most */
void (*in_received)(struct berth_conn *conn, const struct berth_slice *data);
bool keeps_half_open; /* has a peer_closed that does not close */

void note(const char *format, ...) {
    size_t length = strlen(diary);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(diary + length, sizeof(diary) - length, format, arguments);
    va_end(arguments);
}

static void BERTH_CALL on_opened(struct berth_conn *conn) {
    note("opened%s ", (conn->flags & BERTH_CONN_FIRST_DATA) != 0 ? "+data" : "");
}

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    uint32_t consumed = data->size < consume_max ? data->size : consume_max;
    note("received:%.*s ", data->size < 32 ? (int)data->size : 32, (const char *)data->bytes);
    if (in_received) {
        in_received(conn, data);
    }
    return consumed;
}

static void BERTH_CALL on_filled(struct berth_conn *conn) {
    (void)conn;
    note("filled ");
}

static void BERTH_CALL on_drained(struct berth_conn *conn) {
    (void)conn;
    note("drained ");
}

static void BERTH_CALL on_peer_closed(struct berth_conn *conn) {
    note("peer_closed ");
    if (!keeps_half_open) {
        connection_close(connection_of(conn));
    }
}

static void BERTH_CALL on_closed(struct berth_conn *conn, uint32_t reason) {
    (void)conn;
    note("closed:%u ", reason);
}

const struct berth_plugin diarist = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .conn_state_size = 24,
    .id = "diarist",
    .name = "Diarist",
    .version = "1",
    .opened = on_opened,
    .received = on_received,
    .filled = on_filled,
    .drained = on_drained,
    .peer_closed = on_peer_closed,
    .closed = on_closed,
};

/* -- a server with one worker
 * ----------------------------------------------------------------------- */

struct server *server;
struct listener *listener;
const struct berth_address any_address = {.family = BERTH_FAMILY_IPV4};

static void on_idle(void) {}

int set_up(void **state) {
    struct server_options options = {.workers = 1,
                                     .buffer_bytes = BUFFER_BYTES,
                                     .buffers_retained_max = 64,
                                     .turn_receive_bytes = 65536,
                                     .turn_send_bytes = 262144,
                                     .connections_max = 100,
                                     .posts_max = 2,
                                     .hooks = &plugin_server_hooks,
                                     .idle = on_idle};
    struct listener_options one = {.name = "diary",
                                   .config_json = "{}",
                                   .plugin = &diarist,
                                   .hooks = &plugin_listener_hooks,
                                   .addresses = &any_address,
                                   .address_count = 1,
                                   .connections_max = 50,
                                   .message_bytes = MESSAGE_BYTES,
                                   .send_queue_bytes = QUEUE_BYTES,
                                   .linger_bytes = 1048576,
                                   .send_queue_pieces = 4096,
                                   .close_timeout_ms = 60000};
    struct error error;
    (void)state;
    fake_reset();
    diary[0] = '\0';
    consume_max = UINT32_MAX;
    in_received = NULL;
    keeps_half_open = false;
    server = server_create(&options, &error);
    listener = server ? listener_create(server, &one, NULL, &error) : NULL;
    return listener ? 0 : -1;
}

int tear_down(void **state) {
    (void)state;
    if (atomic_load(&listener->references) > 0 || atomic_load(&listener->connections) > 0 ||
        atomic_load(&server->connections) > 0) {
        return -1; /* a test forgot to end a connection */
    }
    listener_destroy(listener);
    server_destroy(server);
    return alloc_live() == 0 ? 0 : -1;
}

/* Runs the steps on the worker's thread, with settling behind them. */
void on_worker(void (*steps)(struct worker *worker, void *argument)) {
    worker_call(&server->workers[0], steps, NULL);
}

struct connection *nth_connection(const struct worker *worker, unsigned index) {
    uint32_t slot = 0;
    struct connection *connection = worker_next(worker, &slot);
    while (connection && index-- > 0) {
        connection = worker_next(worker, &slot);
    }
    return connection;
}

struct connection *adopt(struct worker *worker, int number, const char *first) {
    struct engine_accept accept = {.socket = {number}, .remote = any_address};
    uint32_t size = 0;
    listener_ref(listener);
    atomic_fetch_add(&worker->load, 1);
    if (first) {
        struct berth_buffer *buffer = buffer_take(worker->buffers);
        size = (uint32_t)strlen(first);
        memcpy(buffer->bytes, first, size);
        accept.data = (struct engine_buffer){buffer, buffer->bytes, size};
    }
    connection_adopt(worker, listener, &accept, size, false);
    return nth_connection(worker, 0); /* NULL when it has ended already */
}

void arrive(struct worker *worker, int number, const char *text) {
    fake_arrive(worker->port, number, text, (uint32_t)strlen(text));
}

void echo(struct berth_conn *conn, const struct berth_slice *data) {
    assert_true(buffer_plugin_acquires(data->buffer));
    assert_int_equal(connection_send_slices(connection_of(conn), data, 1), BERTH_OK);
}
