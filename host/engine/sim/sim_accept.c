/* sim_accept.c: clients and accepts.
 *
 * A client that arrives waits in the backlog of one of the listener's sockets. The acceptors of
 * that socket give clients to their posted accepts in the order of the posts, in their own turn. An
 * accept with data then waits for its client to speak. */
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/sim/sim_private.h"

enum { BACKLOG_MOST = 4096 };

enum accept_state {
    ACCEPT_POSTED,  /* without a client */
    ACCEPT_WAITING, /* for its client to speak */
    ACCEPT_ENDING,  /* cancelled, or failed: the task completes it */
};

struct sim_accept {
    struct sim_op op; /* first */
    struct engine_accept *accept;
    struct engine_acceptor *acceptor;
    struct sim_accept *prev;
    struct sim_accept *next;
    struct sim_end *end;
    enum accept_state state;
    bool is_cancelled;
    int64_t result; /* ACCEPT_ENDING */
    struct sim_want want;
    struct sim_task task;
};

struct engine_acceptor {
    struct engine_port *port;
    struct engine_listener *listener;
    unsigned index;
    engine_starved_fn *starved;
    void *context;
    struct engine_acceptor *prev;
    struct engine_acceptor *next;
    struct sim_accept *posted;
    unsigned started;
    bool is_told; /* that clients starve, since the last post */
    bool is_plain;
    bool is_running;
    bool is_destroyed;
    struct sim_task task;
};

/* -- arrivals -----------------------------------------------------------------------------------
 */

static void wake_acceptors(struct engine_listener *listener, unsigned index) {
    struct engine_acceptor *acceptor;
    DL_FOREACH(listener->acceptors, acceptor) {
        if (acceptor->index == index) {
            sim_task_ready(&acceptor->task, acceptor->port);
        }
    }
}

enum sim_arrival sim_listener_arrival(struct engine_listener *listener, struct sim_end *end) {
    if (!listener->is_started) {
        return SIM_ARRIVAL_REFUSED;
    }
    unsigned index = (unsigned)sim_random(listener->options.acceptors);
    struct sim_backlog *backlog = &listener->backlogs[index];
    unsigned most = listener->options.backlog > 0 ? listener->options.backlog : BACKLOG_MOST;
    if (backlog->count >= most) {
        return listener->engine->sim->refuses_full ? SIM_ARRIVAL_REFUSED : SIM_ARRIVAL_FULL;
    }
    end->is_engines = true;
    end->is_closed = false;
    end->listener = listener;
    end->options = listener->options.sockets;
    end->connected_us = sim_now_us();
    if (end->options.receive_bytes > 0 && end->options.receive_bytes < end->in.window) {
        end->in.window = end->options.receive_bytes;
    }
    end->next_in_backlog = NULL;
    if (backlog->last) {
        backlog->last->next_in_backlog = end;
    } else {
        backlog->first = end;
    }
    backlog->last = end;
    backlog->count++;
    sim_note(SIM_NOTE_CONNECT, sim_end_id(end), index);
    wake_acceptors(listener, index);
    return SIM_ARRIVAL_QUEUED;
}

static struct sim_end *take_client(struct sim_backlog *backlog) {
    struct sim_end *end = backlog->first;
    backlog->first = end->next_in_backlog;
    backlog->last = backlog->first ? backlog->last : NULL;
    backlog->count--;
    end->next_in_backlog = NULL;
    return end;
}

void sim_backlog_forget(struct engine_listener *listener) {
    for (unsigned i = 0; i < listener->options.acceptors; i++) {
        while (listener->backlogs[i].first) {
            sim_stream_close(take_client(&listener->backlogs[i]), true);
        }
    }
}

/* -- completing ---------------------------------------------------------------------------------
 */

/* A socket that was given back lives on its port for good. */
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

/* The last thing that is done with it; the acceptor may be destroyed within. */
static void finish(struct sim_accept *accept, int64_t result) {
    accept->acceptor->started--;
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
    finish(accept, data.size);
}

static void lose_client(struct sim_accept *accept, bool reset) {
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

/* The accept has its client. False: it waits on. */
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

/* It was cancelled while its client came: who has spoken is served, the others are reset. */
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
    lose_client(accept, true);
    finish(accept, ENGINE_E_CANCELLED);
}

/* -- the task of an accept ----------------------------------------------------------------------
 */

void sim_accept_heard(struct sim_accept *accept) {
    sim_task_ready(&accept->task, accept->op.port);
}

static void cancel_without_client(struct sim_accept *accept) {
    struct engine_acceptor *acceptor = accept->acceptor;
    struct sim_backlog *backlog = &acceptor->listener->backlogs[acceptor->index];
    if (!acceptor->posted && backlog->first && backlog->first->error == 0 && !sim_sockets_full() &&
        sim_chance(sim->options.cancel_late)) {
        accept->end = take_client(backlog);
        accept->end->accept = accept;
        accept->accept->with_data = false;
        serve_client(accept, false);
        return;
    }
    finish(accept, ENGINE_E_CANCELLED);
}

static void run_accept(struct sim_task *task) {
    struct sim_accept *accept = CONTAINER_OF(task, struct sim_accept, task);
    switch (accept->state) {
    case ACCEPT_POSTED:
        return; /* it was given the buffer that it has to have */
    case ACCEPT_ENDING:
        if (accept->is_cancelled) {
            cancel_without_client(accept);
        } else {
            finish(accept, accept->result);
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
        lose_client(accept, false);
        if (acceptor->port->engine->sim->accept_owns_memory) {
            finish(accept, ENGINE_E_RESET);
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

/* -- the task of an acceptor --------------------------------------------------------------------
 */

/* The accept that is posted first gets the client that came first. */
static void give_client(struct engine_acceptor *acceptor, struct sim_backlog *backlog) {
    struct sim_accept *accept = acceptor->posted;
    DL_DELETE(acceptor->posted, accept);
    int64_t fault = sim_sockets_full() ? ENGINE_E_NO_RESOURCES : sim_fault(SIM_ACCEPT);
    if (fault < 0) {
        finish(accept, fault);
        return;
    }
    struct sim_end *end = take_client(backlog);
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

static void tell_starved(struct engine_acceptor *acceptor) {
    if (!acceptor->is_told) {
        acceptor->is_told = true;
        sim_note(SIM_NOTE_STARVED, acceptor->index, 0);
        acceptor->starved(acceptor, acceptor->context);
    }
}

static void run_acceptor(struct sim_task *task) {
    struct engine_acceptor *acceptor = CONTAINER_OF(task, struct engine_acceptor, task);
    struct sim_backlog *backlog = &acceptor->listener->backlogs[acceptor->index];
    unsigned left = (unsigned)sim_between(1, backlog->count > 0 ? backlog->count : 1);
    acceptor->is_running = true;
    while (left-- > 0 && !acceptor->is_destroyed && backlog->first && acceptor->posted) {
        if (backlog->first->error != 0 && sim_chance(SIM_ALWAYS / 2)) { /* not even shown */
            sim_stream_close(take_client(backlog), false);
            continue;
        }
        give_client(acceptor, backlog);
    }
    if (!acceptor->is_destroyed && backlog->first) {
        if (acceptor->posted) {
            sim_task_ready(&acceptor->task, acceptor->port);
        } else {
            tell_starved(acceptor);
        }
    }
    acceptor->is_running = false;
    if (acceptor->is_destroyed) {
        alloc_free(acceptor);
    }
}

/* -- engine.h -----------------------------------------------------------------------------------
 */

struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error) {
    ASSERT(index < listener->options.acceptors);
    struct engine_acceptor *acceptor = alloc_zeroed(sizeof(*acceptor));
    if (!acceptor) {
        error_set(error, "out of memory");
        return NULL;
    }
    sim_enter();
    int64_t fault = sim_fault(SIM_ACCEPTOR);
    if (fault < 0) {
        sim_leave();
        error_set(error, "%s", engine_error_text(fault));
        alloc_free(acceptor);
        return NULL;
    }
    *acceptor = (struct engine_acceptor){
        .port = port,
        .listener = listener,
        .index = index,
        .starved = starved,
        .context = context,
        .is_plain =
            port->engine->sim == &sim_traits[SIM_IOCP] && sim_chance(sim->options.plain_acceptor),
        .task.run = run_acceptor,
    };
    DL_APPEND(listener->acceptors, acceptor);
    if (listener->backlogs[index].first) {
        sim_task_ready(&acceptor->task, port);
    }
    sim_leave();
    return acceptor;
}

void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (!acceptor) {
        return;
    }
    sim_enter();
    if (acceptor->started > 0) {
        sim_broken("engine_acceptor_destroy: %u accepts are in flight", acceptor->started);
    }
    acceptor->is_destroyed = true;
    sim_task_cancel(&acceptor->task);
    DL_DELETE(acceptor->listener->acceptors, acceptor);
    /* What it was told of, another one of the same socket may take. */
    wake_acceptors(acceptor->listener, acceptor->index);
    if (!acceptor->is_running) {
        alloc_free(acceptor);
    }
    sim_leave();
}

/* What has to have its memory and its socket from the beginning fails at once without. */
static int64_t claim(struct sim_accept *accept) {
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
    acceptor->is_told = false;
    int64_t failure = claim(record);
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

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    sim_enter();
    struct sim_accept *record = (struct sim_accept *)sim_op_find(&accept->op);
    if (record && record->op.kind == SIM_OP_ACCEPT && !record->is_cancelled) {
        if (record->acceptor != acceptor) {
            sim_broken("engine_accept_cancel: the accept is posted with another acceptor");
        }
        if (record->state == ACCEPT_POSTED) {
            DL_DELETE(acceptor->posted, record);
            record->is_cancelled = true;
            end_with(record, ENGINE_E_CANCELLED);
        } else if (record->state == ACCEPT_WAITING) {
            record->is_cancelled = true;
            sim_task_ready(&record->task, record->op.port);
        }
    }
    sim_leave();
}

bool engine_acceptor_fall_back(struct engine_acceptor *acceptor) {
    sim_enter();
    bool has_plainer = acceptor->port->engine->sim == &sim_traits[SIM_IOCP];
    acceptor->is_plain = acceptor->is_plain || has_plainer;
    sim_leave();
    return has_plainer;
}

bool engine_acceptor_is_plain(const struct engine_acceptor *acceptor) {
    return acceptor->is_plain;
}
