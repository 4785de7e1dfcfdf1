/* sim_acceptor.c: arriving clients, and acceptors.
 *
 * A client that arrives waits in the backlog of one of the listener's sockets. The acceptors of
 * that socket give clients to their posted accepts in the order of the posts, in their own turn.
 */
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/sim/sim_accept.h"

enum { BACKLOG_MOST = 4096 };

/* -- arrivals -------------------------------------------------------------- */

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

struct sim_end *sim_backlog_take(struct sim_backlog *backlog) {
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
            sim_stream_close(sim_backlog_take(&listener->backlogs[i]), true);
        }
    }
}

/* -- the task of an acceptor ----------------------------------------------- */

static void tell_starved(struct engine_acceptor *acceptor) {
    if (!acceptor->is_notified) {
        acceptor->is_notified = true;
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
        if (backlog->first->error != 0 &&
            sim_chance(SIM_ALWAYS / 2)) { /* the accept does not see it */
            sim_stream_close(sim_backlog_take(backlog), false);
            continue;
        }
        sim_accept_give_client(acceptor, backlog);
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

/* -- engine.h -------------------------------------------------------------- */

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
    /* Another acceptor of the same socket may take the clients that this one was woken for. */
    wake_acceptors(acceptor->listener, acceptor->index);
    if (!acceptor->is_running) {
        alloc_free(acceptor);
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
