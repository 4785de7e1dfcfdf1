/* sim_stream.c: connections: two ends, and a pipe to each end.
 *
 * Sent bytes become segments with times of arrival, in order. Bytes may be split into more segments
 * (fragments), or a segment may be lost with its whole connection (resets), according to
 * sim_options. A window limits the bytes that the other end has not received. */
#include <string.h>
#include <utlist.h>

#include "engine/sim/sim_connection.h"

enum {
    ROOM_LEAST = 256, /* of the ring of a pipe */
    MARKS_LEAST = 4,
    FRAGMENTS_MAX = 16,     /* of one write */
    GIVE_UP_US = 900000000, /* of a sender that gets no acknowledgement */
};

static void sim_stream_arrive(struct sim_event *event);
static void sim_stream_notify(struct sim_event *event);
static void wait_for_acknowledgement(struct sim_end *end);

/* -- creating and freeing -------------------------------------------------- */

static void end_init(struct sim_connection *connection, struct sim_end *end, uint8_t *bytes,
                     uint32_t room, struct sim_mark *marks, uint32_t mark_room) {
    memset(end, 0, sizeof(*end));
    end->connection = connection;
    end->in.bytes = bytes;
    end->in.room = room;
    end->in.marks = marks;
    end->in.mark_room = mark_room;
    end->in.window = (uint32_t)sim_between(sim->options.window_min, sim->options.window_max);
    end->in.window += end->in.window == 0;
    end->in.arrival.fire = sim_stream_arrive;
    end->notify.fire = sim_stream_notify;
    end->task.run = sim_receive_run;
}

struct sim_end *sim_end_create(void) {
    struct sim_connection *connection = sim->free_connections.free;
    if (connection) {
        sim->free_connections.free = *(void **)connection;
    } else {
        connection = sim_memory(sizeof(*connection));
    }
    for (unsigned i = 0; i < 2; i++) { /* the memory of the pipes is reused */
        struct sim_pipe in = connection->ends[i].in;
        end_init(connection, &connection->ends[i], in.bytes, in.room, in.marks, in.mark_room);
    }
    connection->id = ++sim->connection_serial;
    connection->ends[1].is_closed = true;
    DL_APPEND(sim->connections, connection);
    return &connection->ends[0];
}

void sim_connection_free(struct sim_connection *connection) {
    for (unsigned i = 0; i < 2; i++) {
        struct sim_end *end = &connection->ends[i];
        sim_event_cancel(&end->in.arrival);
        sim_event_cancel(&end->notify);
        sim_event_cancel(&end->attempt);
        sim_event_cancel(&end->abandon);
        sim_event_cancel(&end->give_up);
        sim_task_cancel(&end->task);
    }
    DL_DELETE(sim->connections, connection);
    sim_pool_give(&sim->free_connections, connection);
}

/* -- notifying an end ------------------------------------------------------ */

static void sim_stream_notify(struct sim_event *event) {
    sim_peer_heard(CONTAINER_OF(event, struct sim_end, notify));
}

void sim_end_heard(struct sim_end *end) {
    if (end->is_closed) {
        return;
    }
    if (!end->is_engines) {
        if (end->changed && end->notify.place == 0) {
            sim_event_in(&end->notify, 0);
        }
    } else if (end->accept) {
        sim_accept_heard(end->accept);
    } else if (end->receive.op.op) {
        sim_task_ready(&end->task, end->port);
    }
}

void sim_end_has_room(struct sim_end *end) {
    if (end->is_engines) {
        sim_send_goes_on(end);
    } else if (end->is_sending) {
        end->is_sending = false;
        sim_end_heard(end);
    }
}

/* -- segments -------------------------------------------------------------- */

static struct sim_mark *mark_at(const struct sim_pipe *pipe, uint32_t index) {
    return &pipe->marks[(pipe->mark_head + index) % pipe->mark_room];
}

static void marks_grow(struct sim_pipe *pipe) {
    uint32_t room = pipe->mark_room == 0 ? MARKS_LEAST : pipe->mark_room * 2;
    struct sim_mark *marks = sim_memory(room * sizeof(*marks));
    for (uint32_t i = 0; i < pipe->mark_count; i++) {
        marks[i] = *mark_at(pipe, i);
    }
    sim_memory_free(pipe->marks);
    pipe->marks = marks;
    pipe->mark_room = room;
    pipe->mark_head = 0;
}

static void send_mark(struct sim_end *to, enum sim_mark_kind kind, uint32_t size) {
    struct sim_pipe *pipe = &to->in;
    uint64_t at = sim_now_us() + sim_latency();
    if (pipe->is_cut) {
        return;
    }
    if (pipe->mark_count > 0) {
        struct sim_mark *last = mark_at(pipe, pipe->mark_count - 1);
        at = at > last->at_us ? at : last->at_us;
        if (last->kind == SIM_MARK_BYTES && kind == SIM_MARK_BYTES && last->at_us == at &&
            sim->options.fragment == 0) {
            last->size += size;
            return;
        }
    }
    if (pipe->mark_count == pipe->mark_room) {
        marks_grow(pipe);
    }
    *mark_at(pipe, pipe->mark_count++) = (struct sim_mark){at, size, kind};
    if (pipe->mark_count == 1) {
        sim_event_at(&pipe->arrival, at);
    }
}

/* The connection is gone for this end: nothing more comes or goes. */
static void end_dies(struct sim_end *end, int64_t error) {
    if (end->error != 0) {
        return;
    }
    bool is_awaited = end->accept || end->receive.op.op || end->send;
    end->error = error;
    end->reads_fin = error == ENGINE_E_RESET && end->is_engines && !is_awaited &&
                     sim_chance(sim->options.reset_as_fin);
    const struct engine_port *port = end->port;
    if (!port || port->engine->sim->reset_drops || error != ENGINE_E_RESET) {
        end->in.readable = 0;
    }
    end->in.flying = 0;
    end->in.mark_count = 0;
    end->in.is_cut = true;
    sim_event_cancel(&end->in.arrival);
    sim_note(SIM_NOTE_RESET, sim_end_id(end), error);
    if (end->send) {
        sim_send_fails(end, error);
    }
    sim_end_heard(end);
}

static void reset_to(struct sim_end *to) {
    if (to->is_closed && sim_other(to)->is_closed) {
        return;
    }
    send_mark(to, SIM_MARK_RESET, 0);
}

static void sim_stream_apply(struct sim_end *end, const struct sim_mark *mark) {
    struct sim_pipe *pipe = &end->in;
    switch (mark->kind) {
    case SIM_MARK_RESET:
        end_dies(end, ENGINE_E_RESET);
        return;
    case SIM_MARK_FIN:
        pipe->fin_arrived = true;
        sim_note(SIM_NOTE_FIN, sim_end_id(end), 0);
        break;
    case SIM_MARK_BYTES:
        pipe->flying -= mark->size;
        if (end->is_closed) { /* nothing receives it */
            reset_to(sim_other(end));
            return;
        }
        if (sim_chance(sim->options.reset)) {
            sim_stream_break(end, ENGINE_E_RESET);
            return;
        }
        pipe->readable += mark->size;
        sim_note(SIM_NOTE_ARRIVE, sim_end_id(end), mark->size);
        break;
    }
    sim_end_heard(end);
}

static void sim_stream_arrive(struct sim_event *event) {
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, in.arrival);
    struct sim_pipe *pipe = &end->in;
    uint64_t now = sim_now_us();
    while (pipe->mark_count > 0 && mark_at(pipe, 0)->at_us <= now) {
        struct sim_mark mark = *mark_at(pipe, 0);
        pipe->mark_head = (pipe->mark_head + 1) % pipe->mark_room;
        pipe->mark_count--;
        sim_stream_apply(end, &mark);
    }
    if (pipe->mark_count > 0) {
        sim_event_at(&pipe->arrival, mark_at(pipe, 0)->at_us);
    }
}

/* -- sending --------------------------------------------------------------- */

uint32_t sim_stream_room(const struct sim_end *end) {
    const struct sim_pipe *pipe = &sim_other(end)->in;
    uint32_t used = pipe->readable + pipe->flying;
    return used < pipe->window ? pipe->window - used : 0;
}

static void pipe_grow(struct sim_pipe *pipe, uint32_t least) {
    uint32_t room = pipe->room == 0 ? ROOM_LEAST : pipe->room;
    uint32_t used = pipe->readable + pipe->flying;
    while (room < least) {
        room *= 2;
    }
    uint8_t *bytes = sim_memory(room);
    uint32_t first = pipe->room - pipe->head < used ? pipe->room - pipe->head : used;
    if (used > 0) {
        memcpy(bytes, pipe->bytes + pipe->head, first);
        memcpy(bytes + first, pipe->bytes, used - first);
    }
    sim_memory_free(pipe->bytes);
    pipe->bytes = bytes;
    pipe->room = room;
    pipe->head = 0;
}

void sim_stream_write(struct sim_end *end, const uint8_t *bytes, uint32_t size) {
    struct sim_end *to = sim_other(end);
    struct sim_pipe *pipe = &to->in;
    if (size == 0) {
        return;
    }
    if (pipe->is_cut) { /* the bytes fill the window and never arrive */
        pipe->flying += size;
        wait_for_acknowledgement(end);
        return;
    }
    uint32_t used = pipe->readable + pipe->flying;
    if (used + size > pipe->room) {
        pipe_grow(pipe, used + size);
    }
    uint32_t at = (pipe->head + used) & (pipe->room - 1);
    uint32_t first = pipe->room - at < size ? pipe->room - at : size;
    memcpy(pipe->bytes + at, bytes, first);
    memcpy(pipe->bytes, bytes + first, size - first);
    pipe->flying += size;
    sim_note(SIM_NOTE_SENT, sim_end_id(end), size);
    for (unsigned cut = 0; size > 1 && cut < FRAGMENTS_MAX && sim_chance(sim->options.fragment);
         cut++) {
        uint32_t part = (uint32_t)sim_between(1, size - 1);
        send_mark(to, SIM_MARK_BYTES, part);
        size -= part;
    }
    send_mark(to, SIM_MARK_BYTES, size);
}

void sim_stream_fin(struct sim_end *end) {
    if (!end->keeps_fin && end->error == 0) {
        end->keeps_fin = true;
        if (sim_other(end)->in.is_cut) {
            wait_for_acknowledgement(end);
        }
        send_mark(sim_other(end), SIM_MARK_FIN, 0);
    }
}

/* -- receiving ------------------------------------------------------------- */

uint32_t sim_stream_read(struct sim_end *end, uint8_t *bytes, uint32_t size) {
    struct sim_pipe *pipe = &end->in;
    size = size < pipe->readable ? size : pipe->readable;
    if (size == 0) {
        return 0;
    }
    uint32_t first = pipe->room - pipe->head < size ? pipe->room - pipe->head : size;
    if (bytes) {
        memcpy(bytes, pipe->bytes + pipe->head, first);
        memcpy(bytes + first, pipe->bytes, size - first);
    }
    pipe->head = (pipe->head + size) & (pipe->room - 1);
    pipe->readable -= size;
    pipe->taken += size;
    sim_end_has_room(sim_other(end));
    return size;
}

/* -- ending ---------------------------------------------------------------- */

void sim_stream_break(struct sim_end *end, int64_t error) {
    if (end->error == 0) {
        reset_to(sim_other(end));
        end_dies(end, error);
    }
}

static void sim_stream_give_up(struct sim_event *event) {
    end_dies(CONTAINER_OF(event, struct sim_end, give_up), ENGINE_E_TIMED_OUT);
}

/* Bytes that it sends are never acknowledged. */
static void wait_for_acknowledgement(struct sim_end *end) {
    if (end->is_engines && end->error == 0 && !end->is_closed && end->give_up.place == 0) {
        end->give_up.fire = sim_stream_give_up;
        sim_event_in(&end->give_up, GIVE_UP_US);
    }
}

static void watch_by_keepalive(struct sim_end *end) {
    const struct engine_socket_options *options = &end->options;
    uint64_t probes_s = (uint64_t)options->keepalive_interval_s * options->keepalive_probes;
    if (end->is_engines && !end->is_closed && options->keepalive_idle_s > 0) {
        end->give_up.fire = sim_stream_give_up;
        sim_event_in(&end->give_up, (options->keepalive_idle_s + probes_s) * UINT64_C(1000000));
    }
}

void sim_stream_cut(struct sim_end *end) {
    for (unsigned i = 0; i < 2; i++) {
        struct sim_end *one = &end->connection->ends[i];
        one->in.is_cut = true;
        one->in.mark_count = 0;
        sim_event_cancel(&one->in.arrival);
    }
    struct sim_end *other = sim_other(end);
    watch_by_keepalive(other);
    if (other->send || other->keeps_fin) {
        wait_for_acknowledgement(other);
    }
}

void sim_orphan_end(struct sim_end *end) {
    if (!end->receive.op.op && !end->send) {
        sim_stream_close(end, true);
    }
}

void sim_stream_close(struct sim_end *end, bool reset) {
    struct sim_end *other = sim_other(end);
    sim_note(SIM_NOTE_CLOSE, sim_end_id(end), reset);
    end->is_closed = true;
    if (end->error == 0 && !other->is_closed) {
        if (reset || end->in.readable > 0) {
            reset_to(other);
        } else {
            sim_stream_fin(end);
        }
    }
    sim_event_cancel(&end->notify);
    sim_event_cancel(&end->give_up);
    sim_task_cancel(&end->task);
    if (other->is_closed) {
        sim_connection_free(end->connection);
    }
}
