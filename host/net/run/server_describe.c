#include <stdatomic.h>

#include "base/text.h"
#include "engine/engine.h"
#include "net/run/server.h"
#include "net/run/worker.h"

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

void server_describe_whole(const struct server *server, describe_fn *tell, void *context) {
    char line[DESCRIBE_BYTES];
    server_describe(server, line, sizeof(line));
    tell(context, line);
    for (unsigned i = 0; i < server->started; i++) {
        worker_describe(&server->workers[i], line, sizeof(line));
        tell(context, line);
    }
}
