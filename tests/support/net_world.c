#include "net_world.h"

#include "unit.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "engine_under_test.h"
#include "net/conn/connection.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/plugin_events.h"

static const struct server_driver *driver;
static struct server *server;
static struct listener *listener;

static int32_t BERTH_CALL host_send(struct berth_conn *conn, const void *bytes, uint32_t size) {
    return connection_send(connection_of(conn), bytes, size);
}

static const struct berth_host host = {.struct_size = sizeof(host), .send = host_send};

static void on_idle(void) {}

void net_world_drive(const struct server_driver *by) {
    driver = by;
}

void net_world_pause(void) {
    if (driver) {
        driver->step(driver->context, NULL);
    } else {
        peer_pause(2);
    }
}

int net_world_start(unsigned workers) {
    struct engine_options engine = engine_under_test(2048);
    struct server_options options = {.engine = engine.engine,
                                     .driver = driver,
                                     .direct_descriptors = engine.direct_descriptors,
                                     .workers = workers,
                                     .buffer_bytes = 16384,
                                     .buffers_retained_max = 1024,
                                     .turn_receive_bytes = 65536,
                                     .turn_send_bytes = 262144,
                                     .connections_max = 2000,
                                     .posts_max = 16,
                                     .work = {.threads_max = 1, .queue_max = 16},
                                     .hooks = &plugin_server_hooks,
                                     .idle = on_idle};
    struct error error;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    server = server_create(&options, &error);
    return server ? 0 : -1;
}

int net_world_end(void) {
    server_destroy(server);
    server = NULL;
    return alloc_live() == 0 ? 0 : -1;
}

void net_world_serve(const struct berth_plugin *plugin, bool on_data,
                     enum engine_receive_mode mode) {
    static const struct berth_address address = {.family = BERTH_FAMILY_IPV4,
                                                 .bytes = {127, 0, 0, 1}};
    struct listener_options options = {
        .name = "tested",
        .config_json = "{}",
        .plugin = plugin,
        .hooks = &plugin_listener_hooks,
        .host = &host,
        .addresses = &address,
        .address_count = 1,
        .sockets = {.no_delay = true},
        .accept_on_data = on_data,
        .receive_mode = mode,
        .pool_initial = 16,
        .pool_low = 8,
        .pool_high = 64,
        .backlog = 1000,
        .first_data_timeout_ms = 60000,
        .pending_max = 2000,
        .refusing_max = 100,
        .connections_max = 2000,
        .message_bytes = 65536,
        .send_queue_bytes = 65536,
        .linger_bytes = 1048576,
        .send_queue_pieces = 4096,
        .close_timeout_ms = 5000,
        .timers_max = 16,
    };
    struct error error;
    listener = listener_create(server, &options, NULL, &error);
    assert_non_null(listener);
    assert_true(listener_start(listener, &error));
}

void net_world_serve_end(void) {
    listener_stop_accepting(listener);
    listener_abort_all(listener);
    while (atomic_load(&listener->references) > 0) {
        net_world_pause();
    }
    listener_destroy(listener);
    listener = NULL;
}

struct peer net_world_client(void) {
    struct peer peer;
    struct berth_address to = listener_address(listener, 0);
    assert_true(peer_connect(&peer, &to));
    return peer;
}

struct listener *net_world_listener(void) {
    return listener;
}

struct server *net_world_server(void) {
    return server;
}

bool net_world_accepts_on_workers(void) {
    return server_traits(server)->accept_on_workers;
}
