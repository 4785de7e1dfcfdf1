/* What a listener still has, in the log. */
#include "base/log.h"
#include "net/conn/connection.h"
#include "net/listen/accept_pool.h"
#include "net/listen/datagrams.h"
#include "net/listen/listener.h"

enum { LEFT_LOGGED_MAX = 8 }; /* connections of a listener and worker that the log names */

static void log_left(void *context, const char *line) {
    log_info(context, "still open: %s", line);
}

static void log_left_connection(const struct connection *connection) {
    char peer[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, peer);
    if (log_current_format() != LOG_FORMAT_JSON) {
        subject.peer = NULL; /* the text has it already */
    }
    connection_describe_whole(connection, log_left, &subject);
}

static void log_left_here(struct worker *worker, void *argument) {
    struct listener *listener = argument;
    unsigned count = 0;
    uint32_t slot = 0;
    for (const struct connection *one = worker_next(worker, &slot); one;
         one = worker_next(worker, &slot)) {
        if (connection_listener(one) == listener && count++ < LEFT_LOGGED_MAX) {
            log_left_connection(one);
        }
    }
    accept_pools_describe(worker, listener, log_left, &listener->subject);
    datagram_receivers_describe(worker, listener, log_left, &listener->subject);
    if (count > LEFT_LOGGED_MAX) {
        log_info(&listener->subject, "still open: %u more connections on worker %u",
                 count - LEFT_LOGGED_MAX, worker->index);
    }
}

void listener_log_left(struct listener *listener) {
    char line[DESCRIBE_BYTES];
    if (atomic_load(&listener->references) > 0) {
        listener_describe(listener, line, sizeof(line));
        log_left(&listener->subject, line);
        for (unsigned i = 0; i < listener->server->options.workers; i++) {
            worker_call(&listener->server->workers[i], log_left_here, listener);
        }
    }
}
