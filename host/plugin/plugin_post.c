#include "plugin/plugin_post.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/macros.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_listener.h"
#include "plugin/plugin_stats.h"

struct post {
    struct engine_op op;
    struct worker *worker;
    uint64_t id; /* of the connection it is for; 0: the worker itself */
    struct listener
        *listener; /* of a post to the worker: it may touch the connections of this listener */
    union {
        berth_post_fn to_connection;
        berth_worker_fn to_worker;
    } function;
    void *argument;
    struct plugin_stats *stats; /* of the plugin whose post to a connection it is */
};

static void post_to_connection(struct worker *worker, const struct post *post) {
    struct connection *connection = worker_find(worker, post->id);
    if (connection && connection_is_ending(connection)) {
        connection = NULL;
    }
    struct plugin_thread *call = connection
                                     ? connection_call(connection, PLUGIN_POST)
                                     : callback_guard_begin(post->stats, NULL, NULL, PLUGIN_POST);
    post->function.to_connection(connection ? &connection->public : NULL,
                                 connection ? BERTH_OK : BERTH_E_GONE, post->argument);
    callback_guard_end(call);
}

static void on_post(struct engine_op *op, int64_t result) {
    struct post *post = CONTAINER_OF(op, struct post, op);
    struct worker *worker = post->worker;
    (void)result;
    atomic_fetch_sub(&worker->posts, 1);
    if (post->listener) {
        plugin_listener_start_on(post->listener, worker->index);
        struct plugin_thread *call = listener_call(post->listener, PLUGIN_POST_WORKER);
        post->function.to_worker(&post->listener->public, worker->index, post->argument);
        callback_guard_end(call);
        plugin_stats_hold(post->listener->options.stats, plugin_thread.shard, PLUGIN_WORKER_POSTS,
                          -1);
        listener_unref(post->listener);
    } else {
        post_to_connection(worker, post);
        atomic_fetch_sub(&post->stats->posts, 1);
    }
    alloc_free(post);
    worker_run_pending(worker);
}

/* A new post, counted under the limit. NULL: *status is the reason. */
static struct post *post_create(struct worker *worker, int32_t *status) {
    *status = BERTH_E_LIMIT;
    if (atomic_fetch_add(&worker->posts, 1) >= worker->server->options.posts_max) {
        atomic_fetch_sub(&worker->posts, 1);
        return NULL;
    }
    struct post *post = alloc_zeroed(sizeof(*post));
    if (!post) {
        atomic_fetch_sub(&worker->posts, 1);
        *status = BERTH_E_NO_MEMORY;
        return NULL;
    }
    post->op.complete = on_post;
    post->worker = worker;
    *status = BERTH_OK;
    return post;
}

int32_t plugin_post(struct server *server, uint64_t id, berth_post_fn function, void *argument,
                    struct plugin_stats *stats) {
    int32_t status;
    unsigned index = worker_of_id(id);
    if (id == 0 || index >= server->options.workers) {
        return BERTH_E_GONE;
    }
    struct worker *worker = &server->workers[index];
    struct post *post = post_create(worker, &status);
    if (post) {
        atomic_fetch_add(&stats->posts, 1);
        post->stats = stats;
        post->id = id;
        post->function.to_connection = function;
        post->argument = argument;
        engine_port_post(worker->port, &post->op);
    }
    return status;
}

int32_t plugin_post_worker(struct listener *listener, uint32_t index, berth_worker_fn function,
                           void *argument) {
    int32_t status;
    struct server *server = listener->server;
    if (index >= server->options.workers) {
        return BERTH_E_INVALID;
    }
    struct worker *worker = &server->workers[index];
    status = listener_try_refer(listener); /* the thread may be the plugin's own */
    if (status != BERTH_OK) {
        return status;
    }
    struct post *post = post_create(worker, &status);
    if (!post) {
        listener_unref(listener);
    } else {
        plugin_stats_hold(listener->options.stats, plugin_thread.shard, PLUGIN_WORKER_POSTS, 1);
        post->listener = listener;
        post->function.to_worker = function;
        post->argument = argument;
        engine_port_post(worker->port, &post->op);
    }
    return status;
}
