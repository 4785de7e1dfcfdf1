/* The parts that a connection has at times, and what is attached to it. */
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn/connection.h"

bool connection_need_io(struct connection *connection) {
    if (connection->io != conn_io_none()) {
        return true;
    }
    struct conn_io *io = conn_io_take(&connection_worker(connection)->io_pool);
    if (!io) {
        return false;
    }
    io->connection = connection;
    io->send.complete = connection_sent;
    connection->io = io;
    return true;
}

/* A conn_io is empty when it goes back to the pool, like a new one. */
void connection_drop_io(struct connection *connection) {
    struct conn_io *io = connection->io;
    if (io == conn_io_none() || connection->state.send != CONNECTION_SEND_IDLE ||
        io->pending.buffer || !send_queue_is_empty(&io->queue)) {
        return;
    }
    connection->io = conn_io_none();
    conn_io_give(&connection_worker(connection)->io_pool, io);
}

bool connection_need_resources(struct connection *connection) {
    if (connection->resources != conn_resources_none()) {
        return true;
    }
    struct conn_resources *resources = alloc_zeroed(sizeof(*resources));
    if (resources) {
        connection->resources = resources;
    }
    return resources != NULL;
}

void connection_drop_resources(struct connection *connection) {
    struct conn_resources *resources = connection->resources;
    if (resources == conn_resources_none() || resources->attachments || resources->io_permit ||
        (resources->lingered > 0 && connection->state.life == CONNECTION_DRAINING)) {
        return;
    }
    connection->resources = conn_resources_none();
    alloc_free(resources);
}

void connection_attach(struct connection *connection, struct attachment *one,
                       const struct attachment_kind *kind) {
    one->kind = kind;
    DL_APPEND(connection->resources->attachments, one);
}

void connection_detach(struct connection *connection, struct attachment *one) {
    struct conn_resources *resources = connection->resources;
    if (resources->next == one) {
        resources->next = one->next;
    }
    DL_DELETE(resources->attachments, one);
    connection_drop_resources(connection);
}

/* Any of them may be detached meanwhile. */
void connection_tell_attached(struct connection *connection, enum attachment_stage stage) {
    struct attachment *one = connection->resources->attachments;
    while (one) {
        connection->resources->next = one->next;
        one->kind->on_end(one, stage);
        one = connection->resources->next; /* NULL also when the resources are freed */
    }
}

void connection_describe_whole(const struct connection *connection, describe_fn *tell,
                               void *context) {
    char line[DESCRIBE_BYTES];
    const struct attachment *one;
    connection_describe(connection, line, sizeof(line));
    tell(context, line);
    DL_FOREACH(connection->resources->attachments, one) {
        one->kind->describe(one, line, sizeof(line));
        tell(context, line);
    }
}
