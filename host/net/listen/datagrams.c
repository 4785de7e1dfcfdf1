#include "net/listen/datagrams.h"

#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "net/lib/latch.h"
#include "os/os_socket.h"

/* The receiver of one worker for a UDP listen socket. Where workers accept for themselves, each
 * receives from a socket of its own; else one of them receives for all.
 *
 * Datagrams that the system gives to a worker that stalls would wait while it stalls. So the next
 * worker that does not stall covers it, as with accepts: it has another receiver on the stalled
 * worker's socket until the stall ends. */
struct datagram_receiver {
    struct listener *listener;
    struct worker *worker;
    struct engine_listener *socket;
    unsigned from;                    /* the worker whose datagrams it receives */
    struct engine_receiver *receiver; /* NULL: this worker has none of its own */
    struct datagram_receiver *owner;  /* for a receiver that covers; else NULL */
    struct datagram_receiver *covers; /* utlist: receivers that it owns, which cover */
    struct datagram_receiver *prev;   /* in worker->receivers, or in owner->covers */
    struct datagram_receiver *next;
    unsigned parts; /* itself and its covers, until each has ended */
    bool stopping;
    struct engine_op stopped;
    struct latch done; /* of an owner */
};

/* The receiver whose datagram the plugin is shown on this thread. */
static _Thread_local struct datagram_receiver *showing;

/* -- receiving ------------------------------------------------------------- */

/* An answer to it would arrive at this host again, and might be answered without end: one forged
 * datagram can start that with one or two echo services. A source port of 0 cannot be answered at
 * all. */
static bool datagram_receiver_is_own(const struct listener *listener,
                                     const struct engine_datagram *datagram) {
    const struct berth_address *remote = &datagram->remote;
    if (remote->port == 0) {
        return true;
    }
    if (atomic_load_explicit(&listener->server->udp_listen_sockets[remote->port],
                             memory_order_relaxed) == 0 ||
        listener->options.accept_own_datagrams) {
        return false;
    }
    struct berth_address here = datagram->local;
    here.port = remote->port;
    return address_equal(remote, &here) || address_is_loopback(remote) ||
           os_address_is_local(remote);
}

static void datagram_receiver_on_received(struct engine_receiver *receiver,
                                          const struct engine_datagram *from, void *context) {
    struct datagram_receiver *one = context;
    struct listener *listener = one->listener;
    struct listener_counters *counters = &listener->counters;
    (void)receiver;
    listener_count(&counters->datagrams_received);
    listener_traffic_add(&listener->traffic[one->worker->index].received[0], from->data.size);
    if (!access_list_allows(&listener->options.access, &from->remote)) {
        listener_count(&counters->refused[LISTENER_REFUSED_ACCESS]);
    } else if (datagram_receiver_is_own(listener, from)) {
        listener_count(&counters->datagrams_own);
    } else if (atomic_load(&listener->paused)) {
        listener_count(&counters->datagrams_lost);
    } else {
        struct berth_datagram datagram = {
            .struct_size = sizeof(datagram),
            .flags = from->truncated ? BERTH_DATAGRAM_TRUNCATED : 0,
            .data = {from->data.owner, from->data.bytes, from->data.size, 0},
            .local = from->local,
            .remote = from->remote,
            .worker = one->worker->index,
        };
        if (from->truncated) {
            listener_count(&counters->datagrams_truncated);
        }
        showing = one;
        listener->options.hooks->datagram(listener, &datagram);
        showing = NULL;
    }
    buffer_release(from->data.owner);
    worker_run_pending(one->worker);
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    struct datagram_receiver *one = context;
    (void)receiver;
    listener_count(&one->listener->counters.datagrams_lost);
}

/* -- starting and stopping ------------------------------------------------- */

struct start {
    struct datagram_receiver *one;
    bool receives;
    struct error *error;
    bool started;
};

static bool datagram_receiver_receive(struct datagram_receiver *one, struct error *error) {
    unsigned index = one->worker->server->acceptor ? 0 : one->from;
    one->receiver = engine_receiver_create(one->worker->port, one->socket, index,
                                           datagram_receiver_on_received, on_lost, one, error);
    return one->receiver != NULL;
}

static void datagram_receiver_start_here(struct worker *worker, void *argument) {
    struct start *start = argument;
    struct datagram_receiver *one = start->one;
    start->started = !start->receives || datagram_receiver_receive(one, start->error);
    if (start->started) {
        one->parts = 1;
        DL_APPEND(worker->receivers, one);
    }
}

bool datagrams_start(struct engine_listener *socket, struct listener *listener,
                     struct datagram_receiver **receivers, struct error *error) {
    struct server *server = listener->server;
    unsigned count = server->options.workers;
    struct worker *only = server->acceptor ? server_least_loaded(server) : NULL;
    *receivers = alloc_array(count, sizeof(**receivers));
    if (!*receivers) {
        return error_set(error, "out of memory");
    }
    for (unsigned i = 0; i < count; i++) {
        struct datagram_receiver *one = &(*receivers)[i];
        one->listener = listener;
        one->worker = &server->workers[i];
        one->socket = socket;
        one->from = only ? only->index : i;
        struct start start = {.one = one, .receives = one->from == i, .error = error};
        worker_call(one->worker, datagram_receiver_start_here, &start);
        if (!start.started) {
            return false;
        }
    }
    return true;
}

static void part_ended(struct datagram_receiver *owner) {
    if (--owner->parts == 0) {
        latch_down(&owner->done); /* it stops; before that it counts as a part of itself */
    }
}

static void on_stopped(struct engine_op *op, int64_t result) {
    struct datagram_receiver *one = CONTAINER_OF(op, struct datagram_receiver, stopped);
    struct datagram_receiver *owner = one->owner;
    (void)result;
    if (owner) {
        DL_DELETE(owner->covers, one);
        alloc_free(one);
    }
    part_ended(owner ? owner : one);
}

static void datagram_receiver_stop(struct datagram_receiver *one) {
    one->stopping = true;
    one->stopped.complete = on_stopped;
    engine_receiver_stop(one->receiver, &one->stopped);
}

static void datagram_receiver_stop_here(struct worker *worker, void *argument) {
    struct datagram_receiver *one = argument;
    struct datagram_receiver *cover;
    DL_DELETE(worker->receivers, one);
    DL_FOREACH(one->covers, cover) {
        if (!cover->stopping) {
            datagram_receiver_stop(cover);
        }
    }
    if (one->receiver) {
        datagram_receiver_stop(one);
    } else {
        part_ended(one);
    }
}

struct generation_switch {
    struct datagram_receiver *one;
    struct listener *listener;
};

static void datagram_receiver_switch_here(struct worker *worker, void *argument) {
    struct generation_switch *change = argument;
    struct datagram_receiver *cover;
    (void)worker;
    change->one->listener = change->listener;
    DL_FOREACH(change->one->covers, cover) {
        cover->listener = change->listener;
    }
}

void datagrams_switch_generation(struct datagram_receiver *receivers, struct listener *listener) {
    unsigned count = receivers ? listener->server->options.workers : 0;
    for (unsigned i = 0; i < count; i++) {
        struct generation_switch change = {&receivers[i], listener};
        worker_call(change.one->worker, datagram_receiver_switch_here, &change);
    }
}

bool datagrams_come_to(const struct datagram_receiver *receivers, const struct listener *listener) {
    return receivers && receivers[0].listener == listener;
}

void datagrams_stop(struct server *server, struct datagram_receiver *receivers) {
    unsigned count = receivers ? server->options.workers : 0;
    for (unsigned i = 0; i < count; i++) {
        struct datagram_receiver *one = &receivers[i];
        if (one->parts > 0) {
            latch_init(&one->done, 1);
            worker_call(one->worker, datagram_receiver_stop_here, one);
            server_await(server, &one->done, "the end of a receive of datagrams");
        }
    }
    alloc_free(receivers);
}

/* -- workers that stall ---------------------------------------------------- */

static struct datagram_receiver *datagram_receiver_cover_find(const struct datagram_receiver *owner,
                                                              unsigned from) {
    struct datagram_receiver *cover;
    DL_FOREACH(owner->covers, cover) {
        if (cover->from == from && !cover->stopping) {
            return cover;
        }
    }
    return NULL;
}

static void datagram_receiver_cover_start(struct datagram_receiver *owner, unsigned from) {
    struct error error = {0};
    struct datagram_receiver *cover = alloc_zeroed(sizeof(*cover));
    if (cover) {
        *cover = (struct datagram_receiver){.listener = owner->listener,
                                            .worker = owner->worker,
                                            .socket = owner->socket,
                                            .from = from,
                                            .owner = owner};
    } else {
        error_set(&error, "out of memory");
    }
    if (!cover || !datagram_receiver_receive(cover, &error)) {
        log_warn(&owner->listener->subject, "the datagrams of worker %u, which stalls, wait: %s",
                 from, error.message);
        alloc_free(cover);
        return;
    }
    owner->parts++;
    DL_APPEND(owner->covers, cover);
}

static void datagram_receiver_cover_all(struct datagram_receiver *owner) {
    struct server *server = owner->worker->server;
    for (unsigned i = 0; i < server->options.workers; i++) {
        bool receives = !server->acceptor || owner->from == i;
        struct datagram_receiver *cover = datagram_receiver_cover_find(owner, i);
        bool wanted = receives && server_covers(server, owner->worker, &server->workers[i]);
        if (wanted && !cover) {
            datagram_receiver_cover_start(owner, i);
        } else if (!wanted && cover) {
            datagram_receiver_stop(cover);
        }
    }
}

void datagrams_cover(struct worker *worker) {
    struct datagram_receiver *one;
    DL_FOREACH(worker->receivers, one) {
        datagram_receiver_cover_all(one);
    }
}

/* -- answering ------------------------------------------------------------- */

bool datagrams_answer(const struct listener *listener, const struct berth_address *from,
                      const struct berth_address *to, const struct engine_buffer *data,
                      int64_t *result) {
    if (!showing || showing->listener != listener) {
        return false;
    }
    *result = engine_receiver_send(showing->receiver, from, to, data);
    return true;
}

/* -- descriptions ---------------------------------------------------------- */

static void datagram_receiver_describe(const struct datagram_receiver *one, char *text,
                                       size_t size) {
    size_t used = 0;
    text_append(text, size, &used, "datagram receiver of listener \"%s\" on worker %u",
                one->listener->name, one->worker->index);
    if (one->from != one->worker->index) {
        text_append(text, size, &used, " for worker %u", one->from);
    }
    text_append(text, size, &used, ": %s",
                one->stopping   ? "stopping"
                : one->receiver ? "receiving"
                                : "receives nothing itself");
}

void datagram_receivers_describe(const struct worker *worker, const struct listener *listener,
                                 describe_fn *tell, void *context) {
    char line[DESCRIBE_BYTES];
    const struct datagram_receiver *one;
    const struct datagram_receiver *cover;
    DL_FOREACH(worker->receivers, one) {
        if (one->listener == listener) {
            datagram_receiver_describe(one, line, sizeof(line));
            tell(context, line);
            DL_FOREACH(one->covers, cover) {
                datagram_receiver_describe(cover, line, sizeof(line));
                tell(context, line);
            }
        }
    }
}
