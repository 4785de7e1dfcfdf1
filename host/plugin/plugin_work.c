#include "plugin/plugin_work.h"

#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/work_pool.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_listener.h"

struct plugin_work {
    struct work work;
    struct engine_op finished;     /* brings it back to the worker */
    struct attachment attached;    /* to its connection */
    bool of_listener;              /* no connection submitted it */
    struct connection *connection; /* NULL when that has ended */
    struct worker *worker;
    struct listener *listener;
    berth_work_fn function;
    berth_work_done_fn done;
    void *argument;
    bool ran;
    bool returned; /* while its connection was ending: `done` runs once that has closed */
};

static void go_home(struct plugin_work *one) {
    engine_port_post(one->worker->port, &one->finished);
}

static void plugin_work_run(struct work *work) {
    struct plugin_work *one = CONTAINER_OF(work, struct plugin_work, work);
    struct plugin_thread *call = listener_call(one->listener, PLUGIN_WORK);
    one->function(one->argument);
    callback_guard_end(call);
    one->ran = true;
    go_home(one);
}

static void plugin_work_skip(struct work *work) {
    go_home(CONTAINER_OF(work, struct plugin_work, work));
}

static void plugin_work_destroy(struct plugin_work *one) {
    struct listener *listener = one->listener;
    plugin_stats_hold(listener->options.stats, plugin_thread.shard, PLUGIN_WORKS, -1);
    atomic_fetch_sub(&listener->works, 1);
    listener_unref(listener);
    alloc_free(one);
}

static void on_finished(struct engine_op *op, int64_t result) {
    struct plugin_work *one = CONTAINER_OF(op, struct plugin_work, finished);
    struct connection *connection = one->connection;
    struct worker *worker = one->worker;
    struct listener *listener = one->listener;
    (void)result;
    if (connection && connection_is_ending(connection) && one->ran) {
        one->returned = true; /* `closed` comes first */
        return;
    }
    if (connection) {
        connection_detach(connection, &one->attached);
    }
    if (connection && connection_is_ending(connection)) {
        connection = NULL;
    }
    int32_t status = !one->ran                        ? BERTH_E_CANCELLED
                     : connection || one->of_listener ? BERTH_OK
                                                      : BERTH_E_GONE;
    if (status != BERTH_OK) {
        connection = NULL;
    }
    plugin_listener_start_on(listener, worker->index);
    struct plugin_thread *call = connection ? connection_call(connection, PLUGIN_WORK_DONE)
                                            : listener_call(listener, PLUGIN_WORK_DONE);
    one->done(connection ? &connection->public : NULL, status, one->argument);
    callback_guard_end(call);
    plugin_work_destroy(one);
    worker_run_pending(worker);
}

/* A work that has not begun is cancelled; the others go on without their connection. */
static void plugin_work_on_end(struct attachment *attached, enum attachment_stage stage) {
    struct plugin_work *one = CONTAINER_OF(attached, struct plugin_work, attached);
    if (stage == ATTACHMENT_ENDING) {
        work_call_off(&one->work);
    } else {
        connection_detach(one->connection, &one->attached);
        one->connection = NULL;
        if (one->returned) {
            go_home(one);
        }
    }
}

static void plugin_work_describe_one(const struct attachment *attached, char *text, size_t size) {
    const struct plugin_work *one = CONTAINER_OF(attached, const struct plugin_work, attached);
    size_t used = 0;
    text_append(text, size, &used, "work of listener \"%s\"", one->listener->name);
    text_append(text, size, &used, " for connection %llu: %s",
                (unsigned long long)one->connection->public.id,
                atomic_load(&one->work.called_off) ? "called off" : "waits or runs");
}

static const struct attachment_kind of_connection = {plugin_work_on_end, plugin_work_describe_one};

/* Takes over a reference to the listener, also on a failure. */
static struct plugin_work *plugin_work_create(struct listener *listener, struct worker *worker,
                                              berth_work_fn work, berth_work_done_fn done,
                                              void *argument) {
    struct plugin_work *one = alloc_zeroed(sizeof(*one));
    if (!one) {
        listener_unref(listener);
    } else {
        one->work.run = plugin_work_run;
        one->work.skip = plugin_work_skip;
        one->finished.complete = on_finished;
        one->worker = worker;
        one->listener = listener;
        one->function = work;
        one->done = done;
        one->argument = argument;
        atomic_fetch_add(&listener->works, 1);
        plugin_stats_hold(listener->options.stats, plugin_thread.shard, PLUGIN_WORKS, 1);
    }
    return one;
}

/* 0 is none. */
static uint32_t limit_of(uint32_t option) {
    return option > 0 ? option : UINT32_MAX;
}

struct work_source plugin_work_source(struct listener *listener,
                                      const struct berth_address *client) {
    struct work_source source = {
        .lane = &listener->work_lane,
        .lane_max = limit_of(listener->options.works_max),
        .client_max = client ? limit_of(listener->options.works_per_client) : UINT32_MAX,
    };
    if (client) { /* as for the limits per client: an IPv4 address, or an IPv6 /64 */
        unsigned bytes = client->family == BERTH_FAMILY_IPV6 ? 8 : 4;
        memcpy(&source.client, client->bytes, bytes);
        source.client ^= (uint64_t)client->family << 60;
    }
    return source;
}

int32_t plugin_work_submit(struct connection *connection, berth_work_fn work,
                           berth_work_done_fn done, void *argument) {
    if (connection_is_ending(connection)) {
        return BERTH_E_GONE;
    }
    struct worker *worker = connection_worker(connection);
    if (!connection_need_resources(connection)) {
        return BERTH_E_NO_MEMORY;
    }
    listener_ref(connection_listener(connection));
    struct plugin_work *one =
        plugin_work_create(connection_listener(connection), worker, work, done, argument);
    if (!one) {
        connection_drop_resources(connection);
        return BERTH_E_NO_MEMORY;
    }
    one->connection = connection;
    connection_attach(connection, &one->attached, &of_connection);
    struct work_source source =
        plugin_work_source(connection_listener(connection), &connection->remote);
    if (!work_pool_submit(worker->server->work, &source, &one->work)) {
        connection_detach(connection, &one->attached);
        plugin_work_destroy(one);
        return BERTH_E_LIMIT;
    }
    return BERTH_OK;
}

int32_t plugin_work_submit_listener(struct listener *listener, berth_work_fn work,
                                    berth_work_done_fn done, void *argument) {
    struct server *server = listener->server;
    int32_t status = listener_try_refer(listener); /* the thread may be the plugin's own */
    if (status != BERTH_OK) {
        return status;
    }
    struct worker *worker =
        &server->workers[atomic_load(&listener->works) % server->options.workers];
    struct plugin_work *one = plugin_work_create(listener, worker, work, done, argument);
    if (!one) {
        return BERTH_E_NO_MEMORY;
    }
    one->of_listener = true;
    struct work_source source = plugin_work_source(listener, NULL);
    if (!work_pool_submit(server->work, &source, &one->work)) {
        plugin_work_destroy(one);
        return BERTH_E_LIMIT;
    }
    return BERTH_OK;
}
