#include "net/describe.h"

#include <stdatomic.h>

#include "base/log.h"
#include "base/text.h"
#include "engine/engine.h"
#include "net/accept_pool.h"
#include "net/connection.h"
#include "net/datagrams.h"
#include "net/listener.h"
#include "net/outbound.h"
#include "net/plugin_timer.h"
#include "net/plugin_work.h"
#include "net/server.h"
#include "net/worker.h"

enum { LEFT_TOLD_MAX = 8 }; /* connections of a listener and worker that the log names */

void server_describe(const struct server *server, char *text, size_t size) {
    size_t used = 0;
    text_append(text, size, &used, "server: engine %s, %u workers, at most %u connections",
                engine_traits(server->engine)->name, server->options.workers,
                (unsigned)server->options.connections_max);
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, size, &used, ", %u " label, atomic_load(&server->name));
#define COUNTERS_SERVER
#include "base/counters.def"
}

void worker_describe(const struct worker *worker, char *text, size_t size) {
    size_t used = 0;
    if (worker == worker->server->acceptor) {
        text_append(text, size, &used, "acceptor");
    } else {
        text_append(text, size, &used, "worker %u", worker->index);
        const char *before = ": ";
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, size, &used, "%s%u " label, before, atomic_load(&worker->name));             \
    before = ", ";
#define COUNTERS_WORKER
#include "base/counters.def"
    }
    if (atomic_load(&worker->stalled)) {
        text_append(text, size, &used, ", stalled");
    }
}

void listener_describe(const struct listener *listener, char *text, size_t size) {
    size_t used = 0;
    text_append(text, size, &used, "listener \"%s\", generation %u: %s", listener->name,
                listener->options.generation,
                listener_draining(listener) != 0 ? "draining"
                : atomic_load(&listener->paused) ? "paused"
                                                 : "serving");
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, size, &used, ", %u " label, atomic_load(&listener->name));
#define COUNTERS_GENERATION
#include "base/counters.def"
}

void describe_connection(const struct connection *connection, describe_fn *tell, void *context) {
    char line[DESCRIBE_BYTES];
    connection_describe(connection, line, sizeof(line));
    tell(context, line);
    plugin_works_describe(connection, tell, context);
    outbounds_describe(connection, tell, context);
    plugin_timers_describe(connection, tell, context);
}

void describe_server(const struct server *server, describe_fn *tell, void *context) {
    char line[DESCRIBE_BYTES];
    server_describe(server, line, sizeof(line));
    tell(context, line);
    for (unsigned i = 0; i < server->started; i++) {
        worker_describe(&server->workers[i], line, sizeof(line));
        tell(context, line);
    }
}

static void log_left(void *context, const char *line) {
    log_info(context, "still open: %s", line);
}

static void describe_left_connection(const struct connection *connection) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, peer);
    if (log_current_format() != LOG_FORMAT_JSON) {
        subject.peer = NULL; /* the text has it already */
    }
    describe_connection(connection, log_left, &subject);
}

static void describe_left_here(struct worker *worker, void *argument) {
    struct listener *listener = argument;
    unsigned count = 0;
    uint32_t slot = 0;
    for (const struct connection *one = worker_next(worker, &slot); one;
         one = worker_next(worker, &slot)) {
        if (connection_listener(one) == listener && count++ < LEFT_TOLD_MAX) {
            describe_left_connection(one);
        }
    }
    accept_pools_describe(worker, listener, log_left, &listener->subject);
    datagram_receivers_describe(worker, listener, log_left, &listener->subject);
    if (count > LEFT_TOLD_MAX) {
        log_info(&listener->subject, "still open: %u more connections on worker %u",
                 count - LEFT_TOLD_MAX, worker->index);
    }
}

void describe_left(struct listener *listener) {
    char line[DESCRIBE_BYTES];
    if (atomic_load(&listener->references) > 0) {
        listener_describe(listener, line, sizeof(line));
        log_left(&listener->subject, line);
        for (unsigned i = 0; i < listener->server->options.workers; i++) {
            worker_call(&listener->server->workers[i], describe_left_here, listener);
        }
    }
}
