/* sim_socket.c: the sockets of the engine's users: an index in a table, and a generation, which
 * distinguishes a closed socket from the next one at the same index. */
#include <inttypes.h>

#include "base/error.h"
#include "engine/sim/sim_connection.h"

/* -- the table ------------------------------------------------------------- */

/* A cancel is not a failure, and a file that is too short does not end the connection at once. */
void sim_end_failed(struct sim_end *end, int64_t result) {
    if (result < 0 && result != ENGINE_PENDING && result != ENGINE_E_CANCELLED &&
        result != ENGINE_E_ABANDONED && result != ENGINE_E_FILE_SHORT && end->failed_us == 0) {
        end->failed_us = sim_now_us() + 1;
    }
}

uint64_t sim_failed_since_us(void) {
    uint64_t since = UINT64_MAX;
    sim_enter();
    for (uint32_t i = 0; i < sim->slot_count; i++) {
        const struct sim_end *end = sim->slots[i].end;
        since = end && end->failed_us > 0 && end->failed_us < since ? end->failed_us : since;
    }
    sim_leave();
    return since;
}

bool sim_sockets_full(void) {
    return sim->sockets >= sim->options.sockets_max;
}

struct engine_socket sim_socket_give(struct sim_end *end) {
    uint32_t index = sim->slot_free;
    if (index > 0) {
        sim->slot_free = sim->slots[--index].next_free;
    } else {
        if (sim->slot_count == sim->slot_room) {
            sim->slot_room = sim->slot_room == 0 ? 64 : sim->slot_room * 2;
            sim->slots = sim_memory_resize(sim->slots, sim->slot_room * sizeof(*sim->slots));
        }
        index = sim->slot_count++;
        sim->slots[index].generation = 0;
    }
    struct sim_slot *slot = &sim->slots[index];
    slot->end = end;
    slot->generation++;
    end->slot = index + 1;
    sim->sockets++;
    return (struct engine_socket){.handle = (int32_t)end->slot, .origin = slot->generation};
}

static void take_back(struct sim_end *end) {
    struct sim_slot *slot = &sim->slots[end->slot - 1];
    slot->end = NULL;
    slot->next_free = sim->slot_free;
    sim->slot_free = end->slot;
    sim->sockets--;
    end->slot = 0;
    if (end->is_direct) {
        end->port->direct_free++;
    }
}

struct sim_end *sim_socket_end(struct engine_socket socket, const struct engine_port *port,
                               const char *what) {
    const struct sim_slot *slot = socket.handle > 0 && (uint32_t)socket.handle <= sim->slot_count
                                      ? &sim->slots[socket.handle - 1]
                                      : NULL;
    if (!slot) {
        sim_broken("%s: there is no socket %" PRId32, what, socket.handle);
        return NULL;
    }
    if (!slot->end || slot->generation != socket.origin) {
        sim_broken("%s: the socket was closed before", what);
        return NULL;
    }
    if (port && slot->end->port != port) {
        sim_broken("%s: the socket is attached to %s port", what,
                   slot->end->port ? "another" : "no");
        return NULL;
    }
    return slot->end;
}

/* -- sockets --------------------------------------------------------------- */

void sim_socket_go_direct(struct sim_end *end, struct engine_port *port) {
    if (port->direct_free > 0) {
        port->direct_free--;
        end->is_direct = true;
    }
}

bool engine_attach(struct engine_port *port, struct engine_socket *socket, struct error *error) {
    sim_enter();
    struct sim_end *end = sim_socket_end(*socket, NULL, "engine_attach");
    bool is_attached = false;
    if (end && end->port && (end->port != port || !end->is_direct)) {
        sim_broken("engine_attach: the socket is attached to a port already");
    } else if (end) {
        int64_t fault = end->port ? 0 : sim_fault(SIM_ATTACH);
        is_attached = fault == 0 || error_set(error, "%s", engine_error_text(fault));
        if (is_attached && !end->port) {
            end->port = port;
            sim_socket_go_direct(end, port);
        }
    }
    sim_leave();
    return is_attached;
}

int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket) {
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, port, "engine_shutdown_send");
    int64_t result = ENGINE_E_OTHER;
    if (end && end->send) {
        sim_broken("engine_shutdown_send: a send is in flight");
    } else if (end) {
        result = end->error == 0 ? sim_fault(SIM_SHUTDOWN) : ENGINE_E_RESET;
        if (result == ENGINE_E_RESET) {
            sim_stream_break(end, result);
        } else if (result == 0) {
            sim_stream_fin(end);
        }
        sim_end_failed(end, result);
    }
    sim_leave();
    return result;
}

/* Half of a window is the sender's buffer, the other half the receiver's; bytes are acknowledged
 * when they have arrived in the latter. */
bool engine_unacked_bytes(struct engine_port *port, struct engine_socket socket, uint64_t *bytes) {
    sim_enter();
    const struct sim_end *end = sim_socket_end(socket, port, "engine_untaken");
    bool is_notified = end && end->port->engine->sim->tells_unsent && !end->is_direct;
    if (is_notified) {
        const struct sim_pipe *pipe = &sim_other(end)->in;
        uint64_t used = (uint64_t)pipe->readable + pipe->flying;
        uint64_t receivers = pipe->window / 2;
        uint64_t beyond = used > receivers ? used - receivers : 0;
        *bytes = end->error == 0 ? (beyond > pipe->flying ? beyond : pipe->flying) : 0;
        *bytes += end->keeps_fin && !pipe->fin_arrived && end->error == 0;
    }
    sim_leave();
    return is_notified;
}

static bool is_idle(const struct sim_end *end, const char *what) {
    if (end->receive.op.op || end->send) {
        sim_broken("%s: a %s of the socket is in flight", what,
                   end->receive.op.op ? "receive" : "send");
        return false;
    }
    return true;
}

/* Closing does not end the operations either: they are abandoned some time later. */
static void sim_socket_abandon(struct sim_event *event) {
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, abandon);
    if (end->receive.op.op && end->receive.is_abandoned) {
        sim_task_ready(&end->task, end->port);
    }
    if (end->send && end->send->is_abandoned) {
        sim_send_abandon(end);
    }
}

static void maybe_abandon(struct sim_end *end) {
    if (!sim_chance(sim->options.cancel_abandoned)) {
        return;
    }
    end->receive.is_abandoned = end->receive.op.op != NULL;
    if (end->send) {
        end->send->is_abandoned = !end->send->is_decided;
    }
    end->abandon.fire = sim_socket_abandon;
    sim_event_in(&end->abandon, SIM_CANCEL_US);
}

/* Closes the socket; its end exists until its operations have completed. False: the last run of the
 * port left some completions to the next, which may be theirs. Completions that a close itself
 * makes ready do not count, otherwise many sockets would be closed at a rate of one a second. */
static bool sim_socket_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                                       struct sim_end *end) {
    if (port->is_saturated) {
        return false;
    }
    take_back(end);
    end->is_orphan = true;
    *socket = ENGINE_NO_SOCKET;
    maybe_abandon(end);
    sim_stream_break(end, ENGINE_E_RESET);
    return true;
}

bool engine_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                            struct engine_receive *receive, struct engine_op *send) {
    sim_enter();
    struct sim_end *end = sim_socket_end(*socket, port, "engine_close_in_flight");
    bool is_done = true; /* without lost cancels there is nothing to do */
    if (end && (end->receive.op.op != (receive ? &receive->op : NULL) ||
                (end->send ? end->send->op.op : NULL) != send)) {
        sim_broken("engine_close_in_flight: these are not the operations in flight");
    } else if (end && port->engine->sim->loses_cancels && (receive || send)) {
        is_done = sim_socket_close_in_flight(port, socket, end);
    }
    sim_leave();
    return is_done;
}

void engine_close(struct engine *engine, struct engine_socket socket, bool reset) {
    (void)engine;
    if (socket.handle == ENGINE_NO_SOCKET.handle) {
        return;
    }
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, NULL, "engine_close");
    if (end && is_idle(end, "engine_close")) {
        take_back(end);
        sim_stream_close(end, reset || end->options.reset_on_close);
    }
    sim_leave();
}

void engine_recycle(struct engine_port *port, struct engine_socket socket) {
    sim_enter();
    struct sim_end *end = sim_socket_end(socket, port, "engine_recycle");
    if (end && end->error == 0 && !end->in.fin_arrived) {
        sim_broken("engine_recycle: the peer has not finished");
    } else if (end && is_idle(end, "engine_recycle")) {
        struct engine_listener *listener = end->listener;
        if (port->engine->sim->reuses_sockets && listener && listener->options.reuse_sockets &&
            end->error == 0 && listener->reuse_count < ARRAY_COUNT(listener->reuse)) {
            listener->reuse[listener->reuse_count++] = port;
        }
        take_back(end);
        sim_stream_close(end, false);
    }
    sim_leave();
}
