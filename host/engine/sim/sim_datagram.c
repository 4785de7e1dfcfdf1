/* sim_datagram.c: datagrams. Each is an event of its own, so that they may overtake one another
 * when they come from different sockets; datagrams of one socket keep their order, as on loopback.
 */
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/sim/sim_private.h"

enum {
    BATCH_MAX = 32, /* datagrams a turn */
    QUEUE_MAX = 4096,
    SIZE_MAX_UDP = 65507,
};

struct datagram {
    struct datagram *prev;
    struct datagram *next;
    struct sim_event arrival;
    struct berth_address from;
    struct berth_address to;
    uint32_t size;
    uint8_t bytes[];
};

struct engine_receiver {
    struct engine_port *port;
    struct engine_listener *listener;
    engine_datagram_fn *received;
    engine_datagram_lost_fn *lost;
    void *context;
    struct engine_receiver *prev;
    struct engine_receiver *next;
    struct sim_backlog *backlog;
    struct sim_task task;
    struct sim_want want;
    struct sim_op stopped;
};

struct sim_datagrams {
    struct sim_bound bound;
    sim_datagrams_fn *changed;
    void *context;
    struct datagram *queue;
    unsigned count;
    struct sim_datagrams *prev;
    struct sim_datagrams *next;
};

/* -- on the way ------------------------------------------------------------ */

static void queue_free(struct datagram **queue) {
    while (*queue) {
        struct datagram *one = *queue;
        DL_DELETE(*queue, one);
        sim_memory_free(one);
    }
}

/* All datagrams of a sender go to the same socket, as addresses and ports are hashed. */
static struct sim_backlog *sim_datagram_backlog_of(struct engine_listener *listener,
                                                   const struct berth_address *from) {
    uint32_t hash = from->port * 2654435761u;
    for (unsigned i = 0; i < sizeof(from->bytes); i++) {
        hash = (hash ^ from->bytes[i]) * 16777619u;
    }
    return &listener->backlogs[(hash >> 8) % listener->options.acceptors];
}

/* Wakes all receivers of the socket: the first that gets its turn takes the datagrams. */
static void wake_receivers(struct engine_listener *listener, const struct sim_backlog *backlog) {
    struct engine_receiver *one;
    DL_FOREACH(listener->receivers, one) {
        if (one->backlog == backlog) {
            sim_task_ready(&one->task, one->port);
        }
    }
}

static void sim_datagram_arrive(struct sim_event *event) {
    struct datagram *one = CONTAINER_OF(event, struct datagram, arrival);
    const struct sim_bound *bound = sim_bound_find(&one->to, true);
    struct engine_listener *listener = bound ? bound->listener : NULL;
    struct sim_datagrams *socket = bound ? bound->socket : NULL;
    struct sim_backlog *backlog = listener ? sim_datagram_backlog_of(listener, &one->from) : NULL;
    DL_DELETE(sim->flying, one);
    sim_note(SIM_NOTE_DATAGRAM, one->to.port, one->size);
    if (backlog && backlog->datagram_count < QUEUE_MAX) {
        DL_APPEND(backlog->datagrams, one);
        backlog->datagram_count++;
        wake_receivers(listener, backlog);
    } else if (socket && socket->count < QUEUE_MAX) {
        DL_APPEND(socket->queue, one);
        socket->count++;
        if (socket->changed) {
            socket->changed(socket, socket->context);
        }
    } else {
        sim_memory_free(one);
    }
}

void sim_datagrams_forget(struct engine_listener *listener) {
    for (unsigned i = 0; i < listener->options.acceptors; i++) {
        queue_free(&listener->backlogs[i].datagrams);
    }
}

/* A datagram does not arrive before the last one of the same sender. */
static uint64_t arrival_time(uint64_t *last_us) {
    uint64_t at = sim_now_us() + sim_latency();
    at = at > *last_us ? at : *last_us + 1;
    *last_us = at;
    return at;
}

static void sim_datagram_send_one(struct sim_bound *from_bound, const struct berth_address *from,
                                  const struct berth_address *to, const uint8_t *bytes,
                                  uint32_t size) {
    struct datagram *one = sim_memory(sizeof(*one) + size);
    one->arrival.fire = sim_datagram_arrive;
    one->from = *from;
    one->to = sim_reachable(to);
    one->size = size;
    if (size > 0) {
        memcpy(one->bytes, bytes, size);
    }
    DL_APPEND(sim->flying, one);
    sim_event_at(&one->arrival, arrival_time(&from_bound->last_us));
}

static void send_maybe(struct sim_bound *from_bound, const struct berth_address *from,
                       const struct berth_address *to, const uint8_t *bytes, uint32_t size) {
    if (size > SIZE_MAX_UDP || sim_chance(sim->options.datagram_lost)) {
        sim_note(SIM_NOTE_LOST, to->port, size);
        return;
    }
    sim_datagram_send_one(from_bound, from, to, bytes, size);
    if (sim_chance(sim->options.datagram_twice)) {
        sim_datagram_send_one(from_bound, from, to, bytes, size);
    }
}

/* -- receivers of the engine ----------------------------------------------- */

static struct datagram *sim_datagram_take_first(struct sim_backlog *backlog) {
    struct datagram *one = backlog->datagrams;
    DL_DELETE(backlog->datagrams, one);
    backlog->datagram_count--;
    return one;
}

static void receive_one(struct engine_receiver *receiver, struct engine_buffer buffer) {
    struct datagram *one = sim_datagram_take_first(receiver->backlog);
    struct engine_datagram told = {
        .local = one->to,
        .remote = one->from,
        .truncated = one->size > buffer.size,
    };
    buffer.size = told.truncated ? buffer.size : one->size;
    if (buffer.size > 0) {
        memcpy(buffer.bytes, one->bytes, buffer.size);
    }
    told.data = buffer;
    sim_memory_free(one);
    receiver->received(receiver, &told, receiver->context);
}

static void lose_one(struct engine_receiver *receiver) {
    struct datagram *one = sim_datagram_take_first(receiver->backlog);
    sim_memory_free(one);
    sim_note(SIM_NOTE_LOST, receiver->listener->bound.address.port, 0);
    receiver->lost(receiver, receiver->context);
}

static void run_stopped(struct engine_receiver *receiver) {
    DL_DELETE(receiver->listener->receivers, receiver);
    sim_want_end(receiver->port, &receiver->want);
    sim_op_complete(&receiver->stopped, 0);
    alloc_free(receiver);
}

static void run_receiver(struct sim_task *task) {
    struct engine_receiver *receiver = CONTAINER_OF(task, struct engine_receiver, task);
    struct engine_port *port = receiver->port;
    for (unsigned left = (unsigned)sim_between(1, BATCH_MAX); left > 0; left--) {
        struct engine_buffer buffer;
        if (receiver->stopped.op) {
            run_stopped(receiver);
            return;
        }
        if (!receiver->backlog->datagrams) {
            return;
        }
        bool has_buffer = port->engine->sim->datagram_waits
                              ? sim_want_buffer(port, &receiver->want, &buffer)
                              : sim_take_buffer(port, &buffer);
        if (has_buffer) {
            receive_one(receiver, buffer);
        } else if (port->engine->sim->datagram_waits) {
            return;
        } else {
            lose_one(receiver);
        }
    }
    sim_task_ready(&receiver->task, port);
}

struct engine_receiver *engine_receiver_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_datagram_fn *received,
                                               engine_datagram_lost_fn *lost, void *context,
                                               struct error *error) {
    ASSERT(index < listener->options.acceptors);
    struct engine_receiver *receiver = alloc_zeroed(sizeof(*receiver));
    if (!receiver) {
        error_set(error, "out of memory");
        return NULL;
    }
    sim_enter();
    int64_t fault = sim_fault(SIM_ACCEPTOR);
    if (fault == 0) {
        *receiver = (struct engine_receiver){
            .port = port,
            .listener = listener,
            .received = received,
            .lost = lost,
            .backlog = &listener->backlogs[index],
            .context = context,
            .task.run = run_receiver,
        };
        receiver->want.task = &receiver->task;
        DL_APPEND(listener->receivers, receiver);
        if (receiver->backlog->datagrams) {
            sim_task_ready(&receiver->task, port);
        }
    }
    sim_leave();
    if (fault < 0) {
        error_set(error, "%s", engine_error_text(fault));
        alloc_free(receiver);
        return NULL;
    }
    return receiver;
}

void engine_receiver_stop(struct engine_receiver *receiver, struct engine_op *stopped) {
    sim_enter();
    if (receiver->stopped.op) {
        sim_broken("engine_receiver_stop: it is stopped already");
    } else if (sim_op_start(&receiver->stopped, stopped, receiver->port, SIM_OP_STOP)) {
        sim_task_ready(&receiver->task, receiver->port);
    }
    sim_leave();
}

static int64_t send_from(struct engine_listener *listener, const struct berth_address *local,
                         const struct berth_address *remote, const uint8_t *bytes, uint32_t size) {
    struct sim_bound *bound = &listener->bound;
    bool is_v6 = bound->address.family == BERTH_FAMILY_IPV6;
    if (remote->family != bound->address.family && (!is_v6 || bound->v6_only)) {
        return ENGINE_E_UNREACHABLE;
    }
    int64_t fault = sim_fault(SIM_DATAGRAM);
    if (fault < 0) {
        return fault;
    }
    struct berth_address from = {.family = remote->family};
    if (local && local->family == remote->family && !address_is_any(local) &&
        !address_is_group(local)) {
        from = *local;
    }
    from = sim_reachable(&from);
    from.port = bound->address.port;
    send_maybe(bound, &from, remote, bytes, size);
    return 0;
}

int64_t engine_receiver_send(struct engine_receiver *receiver, const struct berth_address *local,
                             const struct berth_address *remote, const struct engine_buffer *data) {
    sim_enter();
    int64_t result = send_from(receiver->listener, local, remote, data->bytes, data->size);
    struct engine_buffer buffer = *data;
    sim_give_buffer(receiver->port, &buffer);
    sim_leave();
    return result;
}

int64_t engine_datagram_send(struct engine_listener *listener, const struct berth_address *local,
                             const struct berth_address *remote, const uint8_t *bytes,
                             uint32_t size) {
    sim_enter();
    int64_t result = send_from(listener, local, remote, bytes, size);
    sim_leave();
    return result;
}

/* -- datagram peers -------------------------------------------------------- */

struct sim_datagrams *sim_datagrams_open(struct berth_address at, sim_datagrams_fn *changed,
                                         void *context) {
    sim_enter();
    struct sim_datagrams *socket = sim_memory(sizeof(*socket));
    socket->bound = (struct sim_bound){.address = at, .datagrams = true, .socket = socket};
    socket->changed = changed;
    socket->context = context;
    if (sim_bind(&socket->bound, NULL)) {
        DL_APPEND(sim->datagrams, socket);
    } else {
        sim_memory_free(socket);
        socket = NULL;
    }
    sim_leave();
    return socket;
}

struct berth_address sim_datagrams_address(const struct sim_datagrams *socket) {
    return socket->bound.address;
}

void sim_datagrams_send(struct sim_datagrams *socket, const struct berth_address *to,
                        const void *bytes, size_t size) {
    sim_enter();
    struct berth_address from = sim_reachable(&socket->bound.address);
    send_maybe(&socket->bound, &from, to, bytes, (uint32_t)size);
    sim_leave();
}

int64_t sim_datagrams_receive(struct sim_datagrams *socket, struct berth_address *from, void *bytes,
                              size_t size) {
    sim_enter();
    struct datagram *one = socket->queue;
    int64_t result = SIM_PEER_NOTHING;
    if (one) {
        DL_DELETE(socket->queue, one);
        socket->count--;
        result = one->size;
        size = size < one->size ? size : one->size;
        if (size > 0) {
            memcpy(bytes, one->bytes, size);
        }
        if (from) {
            *from = one->from;
        }
        sim_memory_free(one);
    }
    sim_leave();
    return result;
}

void sim_datagrams_close(struct sim_datagrams *socket) {
    sim_enter();
    sim_unbind(&socket->bound);
    DL_DELETE(sim->datagrams, socket);
    queue_free(&socket->queue);
    sim_memory_free(socket);
    sim_leave();
}

void sim_datagrams_fini(void) {
    while (sim->datagrams) {
        sim_datagrams_close(sim->datagrams);
    }
    queue_free(&sim->flying);
}
