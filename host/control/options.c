#include "control/options.h"

#include "control/runtime.h"
#include "control/supervise.h"
#include "manifest/manifest.h"
#include "os/os.h"
#include "plugin/call_page.h"
#include "plugin/module.h"
#include "plugin/plugin_events.h"

/* Each part must have room for what the manifest allows, because stats shards and call records
 * are arrays. */
_Static_assert((int)MANIFEST_WORKERS_MAX == (int)SERVER_WORKERS_MAX, "host.workers");
_Static_assert((int)CALL_RECORDS_MAX >= SERVER_WORKERS_MAX + 1 + (int)MANIFEST_WORK_THREADS_MAX + 1,
               "a record for each worker, the acceptor, each work thread and the control thread");

struct listener_options options_of_listener(const struct manifest_listener *listener,
                                            const struct module *module) {
    return (struct listener_options){
        .name = listener->name,
        .config_json = listener->config_json,
        .plugin = &module->plugin,
        .hooks = &plugin_listener_hooks,
        .host = &module->host,
        .plugin_state = module->state,
        .stats = module->stats,
        .addresses = listener->addresses,
        .address_count = listener->address_count,
        .v6_only = listener->v6_only,
        .sockets =
            {
                .no_delay = listener->no_delay,
                .reset_on_close = listener->socket.linger == MANIFEST_LINGER_RESET,
                .keepalive_idle_s = listener->socket.keepalive.idle_s,
                .keepalive_interval_s = listener->socket.keepalive.interval_s,
                .keepalive_probes = listener->socket.keepalive.probes,
                .receive_bytes = listener->socket.receive_buffer_bytes,
                .send_bytes = listener->socket.send_buffer_bytes,
            },
        .datagrams = listener->transport == MANIFEST_TRANSPORT_UDP,
        .accept_own_datagrams = listener->accept_own_datagrams,
        .accept_on_data = listener->accept.when == MANIFEST_ACCEPT_DATA,
        .pool_initial = listener->accept.pool.initial,
        .pool_low = listener->accept.pool.low,
        .pool_high = listener->accept.pool.high,
        .backlog = listener->accept.backlog,
        .first_data_timeout_ms = listener->accept.first_data_timeout_ms,
        .pending_max = listener->accept.pending_max,
        .refuse_at_limit = listener->accept.at_limit == MANIFEST_LIMIT_REFUSE,
        .refusing_max = listener->limits.refusing,
        .reuse_sockets = listener->accept.reuse_sockets,
        .connections_max = listener->limits.connections,
        .access = {listener->allow, listener->allow_count, listener->deny, listener->deny_count},
        .proxies = {.allow = listener->proxy_protocol.from,
                    .allow_count = listener->proxy_protocol.from_count},
        .proxy_timeout_ms = listener->proxy_protocol.timeout_ms,
        .per_client = {.connections_max = listener->limits.per_client,
                       .rate_per_second = listener->limits.accept_rate_per_client.per_second,
                       .rate_burst = listener->limits.accept_rate_per_client.burst,
                       .idle_max = listener->limits.clients_remembered},
        .message_bytes = listener->limits.message_bytes,
        .send_queue_bytes = listener->limits.send_queue_bytes,
        .send_queue_pieces = listener->limits.send_queue_pieces,
        .linger_bytes = listener->limits.linger_bytes,
        .close_full_queues = listener->limits.send_queue_full == MANIFEST_QUEUE_CLOSE,
        .active_io_max = listener->limits.active_io,
        .outbound_max = listener->limits.outbound,
        .timers_max = listener->limits.timers,
        .metrics_max = listener->limits.metrics,
        .works_max = listener->limits.works,
        .works_per_client = listener->limits.works_per_client,
        .idle_timeout_ms = listener->idle_timeout_ms,
        .close_timeout_ms = listener->close_timeout_ms,
        .receive_mode = listener->receive == MANIFEST_RECEIVE_BUFFERED ? ENGINE_RECEIVE_BUFFERED
                                                                       : ENGINE_RECEIVE_ZERO_BYTE,
    };
}

static unsigned worker_count(const struct manifest *manifest) {
    unsigned count = manifest->host.workers > 0 ? manifest->host.workers : os_cpu_count();
    return count < SERVER_WORKERS_MAX ? count : SERVER_WORKERS_MAX;
}

struct server_options options_of_server(const struct manifest *manifest, struct runtime *runtime) {
    return (struct server_options){
        .engine = manifest_engine_name(manifest->host.engine),
        .workers = worker_count(manifest),
        .buffer_bytes = manifest->host.buffers.bytes,
        .buffers_retained_max = manifest->host.buffers.retained_max,
        .turn_receive_bytes = manifest->host.turn.receive_bytes,
        .turn_send_bytes = manifest->host.turn.send_bytes,
        .connections_max = manifest->host.limits.connections,
        .posts_max = manifest->host.limits.posts,
        .descriptors_reserved = manifest->host.limits.descriptors_reserved,
        .files_max = manifest->host.limits.files,
        .direct_descriptors = manifest->host.direct_descriptors,
        .work = {.threads_min = manifest->host.work.threads_min,
                 .threads_max = manifest->host.work.threads_max,
                 .queue_max = manifest->host.work.queue_max,
                 .idle_ms = manifest->host.work.idle_ms},
        .inherited_sockets = supervisor_client_sockets(runtime->supervised),
        .hooks = &plugin_server_hooks,
        .waits = &runtime->guard.waits,
        .idle = os_signals_wake,
    };
}
