/* sim_send.c: sends.
 *
 * A send is done at once as far as there is room, or is pending. The system takes the bytes of a
 * pending send when there is room, in an event of its own; then its completion is a task of the
 * port. A checksum of the bytes before and after verifies that they have not changed. */
#include <string.h>

#include "engine/sim/sim_connection.h"

enum {
    CHUNK_BYTES = 16384, /* of a file, read at a time */
    SUMMED_WHOLE_BYTES =
        65536,      /* the checksum has all of a piece up to this size; of a longer one both ends */
    PAUSE_US = 200, /* after a randomly full buffer */
};

/* -- the pieces ------------------------------------------------------------ */

static uint64_t sim_send_sum_bytes(uint64_t sum, const uint8_t *bytes, uint64_t size) {
    uint64_t word = 0;
    for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        sum = (sum ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        sum ^= sum >> 32;
    }
    for (; size > 0; bytes++, size--) {
        sum = (sum ^ *bytes) * UINT64_C(0x100000001b3);
    }
    return sum;
}

static uint64_t sim_send_checksum(const struct engine_piece *pieces, unsigned count) {
    uint64_t sum = 1;
    for (unsigned i = 0; i < count; i++) {
        const struct engine_piece *piece = &pieces[i];
        if (!piece->bytes) {
            continue;
        }
        if (piece->size <= SUMMED_WHOLE_BYTES) {
            sum = sim_send_sum_bytes(sum, piece->bytes, piece->size);
        } else {
            sum = sim_send_sum_bytes(sum, piece->bytes, SUMMED_WHOLE_BYTES / 2);
            sum = sim_send_sum_bytes(sum, piece->bytes + piece->size - SUMMED_WHOLE_BYTES / 2,
                                     SUMMED_WHOLE_BYTES / 2);
        }
    }
    return sum;
}

static uint64_t sim_send_size_of(const struct engine_piece *pieces, unsigned count) {
    uint64_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t more = pieces[i].size;
        size = size + more < size ? UINT64_MAX : size + more;
    }
    return size;
}

/* Sends a run of a file. False: the file has ended, or cannot be read. */
static bool sim_send_write_file(struct sim_end *end, const struct engine_piece *piece, uint64_t at,
                                uint64_t size, uint64_t *done) {
    static uint8_t bytes[CHUNK_BYTES];
    const struct os_file file = {.handle = piece->file};
    while (size > 0) {
        size_t part = size < sizeof(bytes) ? (size_t)size : sizeof(bytes);
        int64_t read = os_file_read_at(&file, piece->offset + at, bytes, part);
        if (read <= 0) {
            return false;
        }
        sim_stream_write(end, bytes, (uint32_t)read);
        *done += (uint64_t)read;
        at += (uint64_t)read;
        size -= (uint64_t)read;
    }
    return true;
}

/* Sends at most `most` bytes of the pieces after the first `skip` bytes. ENGINE_E_FILE_SHORT: a
 * file has ended where the next byte should be. */
static int64_t sim_send_write_pieces(struct sim_end *end, const struct engine_piece *pieces,
                                     unsigned count, uint64_t skip, uint64_t most) {
    uint64_t done = 0;
    for (unsigned i = 0; i < count && done < most; i++) {
        const struct engine_piece *piece = &pieces[i];
        if (skip >= piece->size) {
            skip -= piece->size;
            continue;
        }
        uint64_t size = piece->size - skip < most - done ? piece->size - skip : most - done;
        if (piece->bytes) {
            sim_stream_write(end, piece->bytes + skip, (uint32_t)size);
            done += size;
        } else if (!sim_send_write_file(end, piece, skip, size, &done)) {
            return done > 0 ? (int64_t)done : ENGINE_E_FILE_SHORT;
        }
        skip = 0;
    }
    return (int64_t)done;
}

/* -- a pending send -------------------------------------------------------- */

static void sim_send_decide(struct sim_send *send, int64_t result) {
    send->is_decided = true;
    send->result = result;
    sim_event_cancel(&send->go_on);
    sim_task_ready(&send->told, send->op.port);
}

static void sim_send_run_notified(struct sim_task *task) {
    struct sim_send *send = CONTAINER_OF(task, struct sim_send, told);
    int64_t result = send->result;
    if (sim_send_checksum(send->pieces, send->count) != send->checksum) {
        sim_broken("the bytes of a send in flight were changed");
    }
    struct sim_end *end = send->end;
    bool is_orphan = end->is_orphan; /* else the owner may close it in the completion */
    end->send = NULL;
    sim_end_failed(end, result);
    if (result == ENGINE_E_ABANDONED) {
        sim_op_abandon(&send->op);
    } else {
        sim_op_complete(&send->op, result);
    }
    if (is_orphan) {
        sim_orphan_end(end);
    }
    sim_pool_give(&sim->free_sends, send);
}

/* Random failures of a pending send. Where a send completes as a whole, its owner does not learn
 * how much of it was taken before. True: the result is decided. */
static bool fails_later(struct sim_send *send, const struct sim_traits *traits) {
    int64_t fault = sim_fault(SIM_SEND);
    if (fault == ENGINE_E_RESET || fault == ENGINE_E_TIMED_OUT) {
        sim_stream_break(send->end, fault);
    } else if (fault < 0 && fault != ENGINE_E_FILE_SHORT) {
        sim_send_decide(send, send->done > 0 && !traits->send_whole ? (int64_t)send->done : fault);
    }
    return send->is_decided;
}

/* The system's part of a pending send: there may be room. */
static void sim_send_go_on(struct sim_event *event) {
    struct sim_send *send = CONTAINER_OF(event, struct sim_send, go_on);
    struct sim_end *end = send->end;
    const struct sim_traits *traits = send->op.port->engine->sim;
    if (send->is_decided || send->is_abandoned) {
        return;
    }
    uint32_t room = sim_stream_room(end);
    if (room == 0 && send->ends_late) {
        sim_send_decide(send, send->done > 0 ? (int64_t)send->done : ENGINE_E_CANCELLED);
        return;
    }
    if (room == 0) {
        return; /* the event fires again when there is room */
    }
    if (sim_chance(sim->options.full_buffer)) {
        sim_event_in(event, PAUSE_US);
        return;
    }
    if (fails_later(send, traits)) {
        return;
    }
    if (traits->send_again && sim_chance(SIM_ALWAYS / 2)) {
        sim_send_decide(send, 0);
        return;
    }
    uint64_t most = sim_chance(sim->options.short_send) ? sim_between(1, room) : room;
    int64_t written = sim_send_write_pieces(end, send->pieces, send->count, send->done, most);
    if (written < 0) {
        sim_send_decide(send, send->done > 0 ? (int64_t)send->done : written);
        return;
    }
    send->done += (uint64_t)written;
    bool is_short = written == 0 || (uint64_t)written < most;
    if (!traits->send_whole || is_short || send->ends_late ||
        send->done >= sim_send_size_of(send->pieces, send->count)) {
        sim_send_decide(send, (int64_t)send->done);
    } else {
        sim_send_goes_on(end);
    }
}

void sim_send_goes_on(struct sim_end *end) {
    struct sim_send *send = end->send;
    if (send && !send->is_decided && send->go_on.place == 0 && sim_stream_room(end) > 0) {
        sim_event_in(&send->go_on, sim_between(0, sim->options.completion_max_us));
    }
}

void sim_send_fails(struct sim_end *end, int64_t error) {
    if (!end->send->is_decided && !end->send->is_abandoned) {
        sim_send_decide(end->send, error);
    }
}

void sim_send_abandon(struct sim_end *end) {
    if (!end->send->is_decided) {
        sim_send_decide(end->send, ENGINE_E_ABANDONED);
    }
}

/* -- engine.h -------------------------------------------------------------- */

static int64_t sim_send_pend(struct engine_port *port, struct sim_end *end, struct engine_op *op,
                             const struct engine_piece *pieces, unsigned count) {
    struct sim_send *send = sim_pool_take(&sim->free_sends, sizeof(*send));
    if (!sim_op_start(&send->op, op, port, SIM_OP_SEND)) {
        sim_pool_give(&sim->free_sends, send);
        return ENGINE_E_OTHER;
    }
    memcpy(send->pieces, pieces, count * sizeof(*pieces));
    send->count = count;
    send->checksum = sim_send_checksum(pieces, count);
    send->end = end;
    send->go_on.fire = sim_send_go_on;
    send->told.run = sim_send_run_notified;
    end->send = send;
    sim_send_goes_on(end);
    return ENGINE_PENDING;
}

static int64_t send_at_once(struct engine_port *port, struct sim_end *end, struct engine_op *op,
                            const struct engine_piece *pieces, unsigned count) {
    uint64_t room = sim_stream_room(end);
    if (room == 0 || sim_chance(sim->options.pending_send) ||
        sim_chance(sim->options.full_buffer)) {
        return sim_send_pend(port, end, op, pieces, count);
    }
    if (sim_chance(sim->options.short_send)) {
        room = sim_between(1, room);
    }
    if (port->engine->sim->send_whole && sim_send_size_of(pieces, count) > room) {
        return sim_send_pend(port, end, op, pieces, count);
    }
    return sim_send_write_pieces(end, pieces, count, 0, room);
}

int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count) {
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, port, "engine_send");
    int64_t result = ENGINE_E_OTHER;
    if (end && end->send) {
        sim_broken("engine_send: a send of the socket is in flight");
    } else if (end &&
               (count == 0 || count > ENGINE_PIECES_MAX || sim_send_size_of(pieces, count) == 0)) {
        sim_broken("engine_send: %u pieces without bytes", count);
    } else if (end && end->keeps_fin) {
        sim_broken("engine_send: the FIN is sent already");
    } else if (end) {
        int64_t fault = end->error == 0 ? sim_fault(SIM_SEND) : 0;
        fault = fault == ENGINE_E_FILE_SHORT && pieces[0].bytes ? 0 : fault;
        if (fault == ENGINE_E_RESET || fault == ENGINE_E_TIMED_OUT) {
            sim_stream_break(end, fault);
            fault = 0;
        }
        result = end->error != 0 ? end->error
                 : fault < 0     ? fault
                                 : send_at_once(port, end, op, pieces, count);
        sim_end_failed(end, result);
    }
    sim_leave();
    return result;
}

int64_t engine_send_and_fin(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, const struct engine_piece *pieces,
                            unsigned count) {
    return engine_send(port, socket, op, pieces, count);
}

void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op) {
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, port, "engine_send_cancel");
    struct sim_send *send = end ? end->send : NULL;
    bool is_asked = send && send->op.op == op && !send->is_decided && !send->is_cancel_asked;
    if (is_asked) {
        send->is_cancel_asked = true;
    }
    if (is_asked && !sim_cancel_is_lost(port)) {
        if (sim_chance(sim->options.cancel_late) && sim_stream_room(end) > 0) {
            send->ends_late = true; /* with the bytes that there is room for now */
            sim_send_goes_on(end);
        } else {
            sim_send_decide(send, send->done > 0 ? (int64_t)send->done : ENGINE_E_CANCELLED);
        }
    }
    sim_leave();
}
