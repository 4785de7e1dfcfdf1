/* sim_receive.c: receives.
 *
 * A receive gets its turn when data has come, and delivers at most a few buffers before others get
 * theirs. Where the engine posts a buffer ahead, the buffer is taken when the receive starts; else
 * when there is data to put into it. Without memory the receive waits in the port's queue. */
#include "engine/sim/sim_connection.h"

static void sim_receive_finish(struct sim_end *end, int64_t result) {
    struct sim_receive *receive = &end->receive;
    bool is_orphan = end->is_orphan; /* else the owner may close it in the completion */
    sim_want_end(end->port, &receive->want);
    sim_task_cancel(&end->task);
    sim_end_failed(end, result);
    if (result == ENGINE_E_ABANDONED) {
        sim_op_abandon(&receive->op);
    } else {
        sim_op_complete(&receive->op, result);
    }
    if (is_orphan) {
        sim_orphan_end(end);
    }
}

/* A draining receive may discard bytes, which it reports without a buffer. */
static void deliver_nothing(struct sim_end *end) {
    uint32_t size = sim_stream_read(end, NULL, end->in.readable);
    end->port->received = (struct engine_buffer){.size = size};
    sim_op_deliver(&end->receive.op, size);
}

static bool posts_ahead(const struct sim_end *end) {
    return end->port->engine->sim->receive_ahead && end->receive.mode == ENGINE_RECEIVE_BUFFERED &&
           !end->receive.is_drain;
}

/* Takes a buffer for data that has not come yet. */
static void take_ahead(struct sim_end *end) {
    struct sim_want *want = &end->receive.want;
    if (posts_ahead(end) && !want->has_buffer && !want->is_waiting &&
        sim_want_buffer(end->port, want, &want->buffer)) {
        want->has_buffer = true;
    }
}

/* False: it waits for memory. */
static bool sim_receive_deliver(struct sim_end *end) {
    struct sim_receive *receive = &end->receive;
    struct engine_port *port = end->port;
    struct engine_buffer buffer;
    if (receive->is_drain && sim_chance(SIM_ALWAYS / 2)) {
        deliver_nothing(end);
        return true;
    }
    if (!sim_want_buffer(port, &receive->want, &buffer)) {
        return false;
    }
    uint32_t size = end->in.readable < buffer.size ? end->in.readable : buffer.size;
    if (sim_chance(sim->options.short_receive)) {
        size = (uint32_t)sim_between(1, size);
    }
    buffer.size = sim_stream_read(end, buffer.bytes, size);
    if (receive->op.op) {
        take_ahead(end);
    }
    port->received = buffer;
    sim_op_deliver(&receive->op, buffer.size);
    port->received = (struct engine_buffer){0};
    return true;
}

/* Whether the receive ends now, and with which result. */
static bool is_at_end(const struct sim_end *end, int64_t *result) {
    if (end->in.readable > 0 && !(end->receive.is_stopping && !end->receive.stops_late)) {
        return false;
    }
    if (end->receive.is_stopping && !end->receive.stops_late) {
        *result = ENGINE_E_CANCELLED;
        return true;
    }
    if (end->error != 0) {
        *result = end->reads_fin ? 0 : end->error;
        return true;
    }
    if (end->in.fin_arrived) {
        *result = 0;
        return true;
    }
    *result = ENGINE_E_CANCELLED;
    return end->receive.is_stopping;
}

/* Random failures. True: the receive has ended with one. */
static bool sim_receive_fails(struct sim_end *end) {
    int64_t fault = sim_fault(SIM_RECEIVE);
    if (fault == 0) {
        return false;
    }
    if (fault == ENGINE_E_RESET || fault == ENGINE_E_TIMED_OUT) {
        end->in.readable = 0;
        sim_stream_break(end, fault);
        return false; /* the break of the connection ends the receive */
    }
    sim_receive_finish(end, fault);
    return true;
}

void sim_receive_run(struct sim_task *task) {
    struct sim_end *end = CONTAINER_OF(task, struct sim_end, task);
    struct sim_receive *receive = &end->receive;
    unsigned burst = (unsigned)sim_between(1, end->port->burst);
    const uint64_t serial = receive->op.serial;
    if (!receive->op.op) {
        return;
    }
    if (receive->is_abandoned) {
        if (end->abandon.place == 0) { /* the time is over */
            sim_receive_finish(end, ENGINE_E_ABANDONED);
        }
        return;
    }
    if (sim_receive_fails(end)) {
        return;
    }
    /* A receive that ends in a completion may be started again there: the new one gets its own
     * turn. */
    while (receive->op.op && receive->op.serial == serial) {
        int64_t result;
        if (is_at_end(end, &result)) {
            sim_receive_finish(end, result);
            return;
        }
        if (end->in.readable == 0) {
            return;
        }
        if (burst-- == 0) {
            if (receive->is_stopping) {
                receive->stops_late = false;
                continue;
            }
            sim_task_ready(&end->task, end->port);
            return;
        }
        if (!sim_receive_deliver(end)) {
            if (receive->is_stopping) { /* it does not wait for memory */
                receive->stops_late = false;
                continue;
            }
            return;
        }
        /* After a lost cancel the next delivery is the last. */
        if (receive->op.op && receive->op.serial == serial && receive->is_stop_asked) {
            receive->is_stopping = true;
        }
    }
}

/* -- engine.h -------------------------------------------------------------- */

const struct engine_buffer *engine_received(const struct engine_port *port) {
    return &port->received;
}

static void sim_receive_start(struct engine_port *port, struct engine_socket socket,
                              struct engine_receive *receive, enum engine_receive_mode mode,
                              bool is_drain) {
    struct sim_end *end =
        sim_socket_end(socket, port, is_drain ? "engine_receive_end" : "engine_receive_start");
    if (!end) {
        return;
    }
    if (end->receive.op.op) {
        sim_broken("a receive of the socket is in flight already");
        return;
    }
    if (!sim_op_start(&end->receive.op, &receive->op, port, SIM_OP_RECEIVE)) {
        return;
    }
    end->receive.mode = mode;
    end->receive.is_drain = is_drain;
    end->receive.is_stop_asked = false;
    end->receive.is_abandoned = false;
    end->receive.is_stopping = false;
    end->receive.stops_late = false;
    end->receive.want = (struct sim_want){.task = &end->task};
    take_ahead(end);
    if (end->in.readable > 0 || end->in.fin_arrived || end->error != 0) {
        sim_task_ready(&end->task, port);
    }
}

void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode,
                          bool is_first) {
    (void)is_first;
    sim_enter();
    sim_receive_start(port, socket, receive, mode, false);
    sim_leave();
}

void engine_receive_drain(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive) {
    sim_enter();
    sim_receive_start(port, socket, receive, ENGINE_RECEIVE_ZERO_BYTE, true);
    sim_leave();
}

void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive) {
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, port, "engine_receive_stop");
    if (end && end->receive.op.op != &receive->op) {
        sim_broken("engine_receive_stop: the receive is not armed");
    } else if (end && !end->receive.is_stop_asked) {
        end->receive.is_stop_asked = true;
        end->receive.is_stopping = !sim_cancel_is_lost(port);
    }
    if (end && end->receive.is_stopping && end->receive.op.op == &receive->op) {
        end->receive.stops_late = sim_chance(sim->options.cancel_late);
        sim_task_ready(&end->task, port);
    }
    sim_leave();
}
