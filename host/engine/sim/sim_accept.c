/* sim_accept.c: accepts. An accept that has a client from its acceptor completes at once; one with
 * data completes when the client has sent its first data. */
#include <utlist.h>

#include "engine/sim/sim_accept.h"

/* -- completing ------------------------------------------------------------ */

/* A recycled socket stays attached to its port permanently. */
static struct engine_port *reused_port(struct sim_accept *accept) {
    struct engine_listener *listener = accept->acceptor->listener;
    if (listener->reuse_count == 0 || !sim_chance(sim->options.reuse)) {
        return NULL;
    }
    unsigned chosen = (unsigned)sim_random(listener->reuse_count);
    for (unsigned i = 0; i < listener->reuse_count; i++) {
        chosen = listener->reuse[i] == accept->accept->home ? i : chosen;
    }
    struct engine_port *port = listener->reuse[chosen];
    listener->reuse[chosen] = listener->reuse[--listener->reuse_count];
    return port;
}

/* The last use of the accept; the acceptor may be destroyed meanwhile. */
static void sim_accept_finish(struct sim_accept *accept, int64_t result) {
    accept->acceptor->started--;
    sim_event_cancel(&accept->late);
    sim_want_end(accept->op.port, &accept->want);
    sim_task_cancel(&accept->task);
    sim_op_complete(&accept->op, result);
    sim_pool_give(&sim->free_accepts, accept);
}

static void finish_with_client(struct sim_accept *accept, struct engine_buffer data) {
    struct sim_end *end = accept->end;
    struct engine_accept *told = accept->accept;
    struct engine_acceptor *acceptor = accept->acceptor;
    end->accept = NULL;
    told->home = reused_port(accept);
    if (!told->home && acceptor->port->direct_free > 0) {
        told->home = acceptor->port;
        end->port = acceptor->port;
        sim_socket_go_direct(end, acceptor->port);
    }
    end->port = told->home;
    told->socket = sim_socket_give(end);
    told->local = end->local;
    told->remote = end->remote;
    told->data = data;
    sim_note(SIM_NOTE_ACCEPT, sim_end_id(end), data.size);
    sim_accept_finish(accept, data.size);
}

static void sim_accept_lose_client(struct sim_accept *accept, bool reset) {
    struct sim_end *end = accept->end;
    end->accept = NULL;
    accept->end = NULL;
    sim_stream_close(end, reset);
}

static void end_with(struct sim_accept *accept, int64_t result) {
    accept->state = ACCEPT_ENDING;
    accept->result = result;
    sim_task_ready(&accept->task, accept->op.port);
}

/* Serves the client of the accept. False: the accept still waits. */
static bool serve_client(struct sim_accept *accept, bool may_wait) {
    struct sim_end *end = accept->end;
    struct engine_buffer data = {0};
    if (end->in.readable > 0) {
        bool wanted = may_wait || sim_chance(sim->options.data_with_accept);
        if (wanted && may_wait && !sim_want_buffer(accept->op.port, &accept->want, &data)) {
            return false;
        }
        if (wanted && !may_wait && !sim_take_buffer(accept->op.port, &data)) {
            data.owner = NULL;
        }
        if (data.owner) {
            uint32_t size = data.size;
            size = sim_chance(sim->options.short_receive) ? (uint32_t)sim_between(1, size) : size;
            data.size = sim_stream_read(end, data.bytes, size);
        } else {
            data = (struct engine_buffer){0};
        }
    } else if (may_wait && !end->in.fin_arrived) {
        return false;
    }
    finish_with_client(accept, data);
    return true;
}

/* It was cancelled while its client was arriving: a client that has sent data is served, any other
 * is reset. */
static void cancel_with_client(struct sim_accept *accept) {
    struct sim_end *end = accept->end;
    bool has_spoken = end->error == 0 && (end->in.readable > 0 || end->in.fin_arrived);
    if (has_spoken && serve_client(accept, true)) {
        return;
    }
    if (end->error == 0 && sim_chance(sim->options.cancel_late) &&
        !accept->op.port->engine->sim->accept_owns_memory) {
        accept->accept->with_data = false;
        finish_with_client(accept, (struct engine_buffer){0});
        return;
    }
    sim_accept_lose_client(accept, true);
    sim_accept_finish(accept, ENGINE_E_CANCELLED);
}

/* -- the task of an accept ------------------------------------------------- */

void sim_accept_heard(struct sim_accept *accept) {
    sim_task_ready(&accept->task, accept->op.port);
}

static void cancel_without_client(struct sim_accept *accept) {
    struct engine_acceptor *acceptor = accept->acceptor;
    struct sim_backlog *backlog = &acceptor->listener->backlogs[acceptor->index];
    if (!acceptor->posted && backlog->first && backlog->first->error == 0 && !sim_sockets_full() &&
        sim_chance(sim->options.cancel_late)) {
        accept->end = sim_backlog_take(backlog);
        accept->end->accept = accept;
        accept->accept->with_data = false;
        serve_client(accept, false);
        return;
    }
    sim_accept_finish(accept, ENGINE_E_CANCELLED);
}

static void run_accept(struct sim_task *task) {
    struct sim_accept *accept = CONTAINER_OF(task, struct sim_accept, task);
    switch (accept->state) {
    case ACCEPT_POSTED:
        return; /* it was given the buffer that it needs */
    case ACCEPT_ENDING:
        if (accept->is_cancelled) {
            cancel_without_client(accept);
        } else {
            sim_accept_finish(accept, accept->result);
        }
        return;
    case ACCEPT_WAITING:
        break;
    }
    if (accept->is_cancelled) {
        cancel_with_client(accept);
        return;
    }
    if (accept->end->error != 0) { /* the client is gone: the next one is served first */
        struct engine_acceptor *acceptor = accept->acceptor;
        sim_accept_lose_client(accept, false);
        if (acceptor->port->engine->sim->accept_owns_memory) {
            sim_accept_finish(accept, ENGINE_E_RESET);
            return;
        }
        sim_want_end(accept->op.port, &accept->want);
        accept->state = ACCEPT_POSTED;
        DL_PREPEND(acceptor->posted, accept);
        sim_task_ready(&acceptor->task, acceptor->port);
        return;
    }
    serve_client(accept, true);
}

/* -- clients, from the acceptor's task ------------------------------------- */

void sim_accept_give_client(struct engine_acceptor *acceptor, struct sim_backlog *backlog) {
    struct sim_accept *accept = acceptor->posted;
    DL_DELETE(acceptor->posted, accept);
    int64_t fault = sim_sockets_full() ? ENGINE_E_NO_RESOURCES : sim_fault(SIM_ACCEPT);
    if (fault < 0) {
        sim_accept_finish(accept, fault);
        return;
    }
    struct sim_end *end = sim_backlog_take(backlog);
    accept->end = end;
    end->accept = accept;
    if (!accept->accept->with_data) {
        serve_client(accept, false);
        return;
    }
    accept->state = ACCEPT_WAITING;
    if (end->in.readable > 0 || end->in.fin_arrived || end->error != 0) {
        run_accept(&accept->task);
    }
}

/* -- engine.h -------------------------------------------------------------- */

/* An accept that needs memory and a socket from the beginning fails at once without them. */
static int64_t sim_accept_claim(struct sim_accept *accept) {
    const struct sim_traits *traits = accept->op.port->engine->sim;
    if (!traits->accept_owns_memory || accept->acceptor->is_plain) {
        return 0;
    }
    int64_t fault = sim_sockets_full() ? ENGINE_E_NO_RESOURCES : sim_fault(SIM_ACCEPT);
    if (fault == 0 && accept->accept->with_data) {
        if (!sim_take_buffer(accept->op.port, &accept->want.buffer)) {
            return ENGINE_E_NO_RESOURCES;
        }
        accept->want.has_buffer = true;
    }
    return fault;
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    sim_enter();
    struct sim_accept *record = sim_pool_take(&sim->free_accepts, sizeof(*record));
    if (!sim_op_start(&record->op, &accept->op, acceptor->port, SIM_OP_ACCEPT)) {
        sim_pool_give(&sim->free_accepts, record);
        sim_leave();
        return;
    }
    record->accept = accept;
    record->acceptor = acceptor;
    record->task.run = run_accept;
    record->want.task = &record->task;
    accept->socket = ENGINE_NO_SOCKET;
    accept->data = (struct engine_buffer){0};
    accept->with_data = accept->with_data && !acceptor->is_plain;
    acceptor->started++;
    acceptor->is_notified = false;
    int64_t failure = sim_accept_claim(record);
    if (failure < 0) {
        end_with(record, failure);
    } else {
        DL_APPEND(acceptor->posted, record);
        if (acceptor->listener->backlogs[acceptor->index].first) {
            sim_task_ready(&acceptor->task, acceptor->port);
        }
    }
    sim_leave();
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    sim_enter();
    const struct sim_accept *record = (const struct sim_accept *)sim_op_find(&accept->op);
    int64_t ms = -1;
    if (!record || record->op.kind != SIM_OP_ACCEPT) {
        sim_broken("engine_accept_connected_ms: the accept is not posted");
    } else if (record->end) {
        ms = (int64_t)((sim_now_us() - record->end->connected_us) / 1000);
    }
    sim_leave();
    return ms;
}

static void sim_accept_cancel(struct sim_accept *accept) {
    if (accept->state == ACCEPT_POSTED) {
        accept->is_cancelled = true;
        DL_DELETE(accept->acceptor->posted, accept);
        end_with(accept, ENGINE_E_CANCELLED);
    } else if (accept->state == ACCEPT_WAITING) {
        accept->is_cancelled = true;
        sim_task_ready(&accept->task, accept->op.port);
    }
}

static void sim_accept_cancel_late(struct sim_event *event) {
    sim_accept_cancel(CONTAINER_OF(event, struct sim_accept, late));
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    sim_enter();
    struct sim_accept *record = (struct sim_accept *)sim_op_find(&accept->op);
    if (record && record->op.kind == SIM_OP_ACCEPT && record->acceptor != acceptor) {
        sim_broken("engine_accept_cancel: the accept is posted with another acceptor");
    } else if (record && record->op.kind == SIM_OP_ACCEPT && !record->is_cancel_asked) {
        record->is_cancel_asked = true;
        if (sim_cancel_is_lost(acceptor->port)) {
            record->late.fire = sim_accept_cancel_late;
            sim_event_in(&record->late, SIM_CANCEL_US);
        } else {
            sim_accept_cancel(record);
        }
    }
    sim_leave();
}
