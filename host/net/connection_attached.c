/* The parts that a connection has at times, and what is attached to it. */
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/connection.h"

bool connection_need_traffic(struct connection *connection) {
    if (connection->traffic != traffic_none()) {
        return true;
    }
    struct traffic *traffic = traffic_take(&connection_worker(connection)->traffic);
    if (!traffic) {
        return false;
    }
    traffic->connection = connection;
    traffic->send.complete = connection_sent;
    connection->traffic = traffic;
    return true;
}

/* One that goes to rest is as empty as one that is made. */
void connection_drop_traffic(struct connection *connection) {
    struct traffic *traffic = connection->traffic;
    if (traffic == traffic_none() || connection->state.send != CONNECTION_SEND_IDLE ||
        traffic->pending.buffer || !send_queue_is_empty(&traffic->queue)) {
        return;
    }
    connection->traffic = traffic_none();
    traffic_give(&connection_worker(connection)->traffic, traffic);
}

bool connection_need_extras(struct connection *connection) {
    if (connection->extras != extras_none()) {
        return true;
    }
    struct extras *extras = alloc_zeroed(sizeof(*extras));
    if (extras) {
        connection->extras = extras;
    }
    return extras != NULL;
}

void connection_drop_extras(struct connection *connection) {
    struct extras *extras = connection->extras;
    if (extras == extras_none() || extras->attachments || extras->turn ||
        (extras->lingered > 0 && connection->state.life == CONNECTION_DRAINING)) {
        return;
    }
    connection->extras = extras_none();
    alloc_free(extras);
}

void connection_attach(struct connection *connection, struct attachment *one,
                       const struct attachment_kind *kind) {
    one->kind = kind;
    DL_APPEND(connection->extras->attachments, one);
}

void connection_detach(struct connection *connection, struct attachment *one) {
    struct extras *extras = connection->extras;
    if (extras->next == one) {
        extras->next = one->next;
    }
    DL_DELETE(extras->attachments, one);
    connection_drop_extras(connection);
}

/* Any of them may be detached meanwhile. */
void connection_tell_attached(struct connection *connection, enum attachment_stage stage) {
    struct attachment *one = connection->extras->attachments;
    while (one) {
        connection->extras->next = one->next;
        one->kind->on_end(one, stage);
        one = connection->extras->next; /* NULL also when the extras are gone */
    }
}

void connection_describe_whole(const struct connection *connection, describe_fn *tell,
                               void *context) {
    char line[DESCRIBE_BYTES];
    const struct attachment *one;
    connection_describe(connection, line, sizeof(line));
    tell(context, line);
    DL_FOREACH(connection->extras->attachments, one) {
        one->kind->describe(one, line, sizeof(line));
        tell(context, line);
    }
}
