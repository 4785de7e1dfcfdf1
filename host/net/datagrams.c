#include "net/datagrams.h"

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "net/buffer.h"
#include "net/door.h"
#include "net/latch.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "net/plugin_fault.h"
#include "net/plugin_slice.h"
#include "net/server.h"
#include "net/worker.h"
#include "os/os_socket.h"

/* What fits into a datagram of IPv4: 65535 less the headers of IP and UDP (RFC 768). */
enum { DATAGRAM_BYTES_MAX = 65507 };

struct datagram_receiver {
    struct listener *listener;
    struct worker *worker;
    struct engine_receiver *receiver; /* NULL: not started */
    struct engine_op stopped;
    struct latch done;
};

/* The receiver whose datagram the plugin is shown on this thread. */
static _Thread_local struct datagram_receiver *showing;

/* -- receiving -----------------------------------------------------------------------------------
 */

/* Its answer would come back to this host, and perhaps be answered without end: one forged datagram
 * can do that to an echo, or to two. A source port of 0 cannot be answered at all. */
static bool is_own(const struct listener *listener, const struct engine_datagram *datagram) {
    const struct berth_address *remote = &datagram->remote;
    if (remote->port == 0) {
        return true;
    }
    if (atomic_load_explicit(&listener->server->udp_doors[remote->port], memory_order_relaxed) ==
            0 ||
        listener->options.accept_own_datagrams) {
        return false;
    }
    struct berth_address here = datagram->local;
    here.port = remote->port;
    return address_equal(remote, &here) || address_is_loopback(remote) ||
           os_address_is_local(remote);
}

static void on_received(struct engine_receiver *receiver, const struct engine_datagram *from,
                        void *context) {
    struct datagram_receiver *one = context;
    struct listener *listener = one->listener;
    struct listener_counters *counters = &listener->counters;
    (void)receiver;
    listener_count(&counters->datagrams_received);
    listener_traffic_add(&listener->traffic[one->worker->index].received[0], from->data.size);
    if (!access_list_allows(&listener->options.access, &from->remote)) {
        listener_count(&counters->refused[LISTENER_REFUSED_ACCESS]);
    } else if (is_own(listener, from)) {
        listener_count(&counters->datagrams_own);
    } else if (atomic_load(&listener->paused)) {
        listener_count(&counters->datagrams_lost);
    } else {
        struct berth_datagram datagram = {
            .struct_size = sizeof(datagram),
            .flags = from->truncated ? BERTH_DATAGRAM_TRUNCATED : 0,
            .data = {buffer_given(from->data.owner), from->data.bytes, from->data.size, 0},
            .local = from->local,
            .remote = from->remote,
        };
        if (from->truncated) {
            listener_count(&counters->datagrams_truncated);
        }
        showing = one;
        struct plugin_thread *call = listener_call(listener, PLUGIN_DATAGRAM);
        listener->plugin->datagram(&listener->public, &datagram);
        plugin_call_end(call);
        showing = NULL;
        buffer_note_if_kept(from->data.owner, listener->options.account);
    }
    buffer_release(from->data.owner);
    worker_settle(one->worker);
}

static void on_lost(struct engine_receiver *receiver, void *context) {
    struct datagram_receiver *one = context;
    (void)receiver;
    listener_count(&one->listener->counters.datagrams_lost);
}

/* -- starting and stopping -----------------------------------------------------------------------
 */

struct start {
    struct datagram_receiver *one;
    struct engine_listener *socket;
    unsigned index;
    struct error *error;
};

static void start_here(struct worker *worker, void *argument) {
    struct start *start = argument;
    struct datagram_receiver *one = start->one;
    one->receiver = engine_receiver_create(worker->port, start->socket, start->index, on_received,
                                           on_lost, one, start->error);
}

bool datagrams_start(struct door *door, struct listener *listener, struct error *error) {
    struct server *server = listener->server;
    unsigned count = server_acceptor_count(server);
    door->receivers = alloc_array(count, sizeof(*door->receivers));
    if (!door->receivers) {
        return error_set(error, "out of memory");
    }
    for (unsigned i = 0; i < count; i++) {
        struct datagram_receiver *one = &door->receivers[i];
        one->listener = listener;
        one->worker = server->acceptor ? server_least_loaded(server) : server_acceptor(server, i);
        struct start start = {one, door->socket, i, error};
        worker_call(one->worker, start_here, &start);
        if (!one->receiver) {
            return false;
        }
    }
    return true;
}

static void on_stopped(struct engine_op *op, int64_t result) {
    struct datagram_receiver *one = CONTAINER_OF(op, struct datagram_receiver, stopped);
    (void)result;
    latch_down(&one->done);
}

static void stop_here(struct worker *worker, void *argument) {
    struct datagram_receiver *one = argument;
    (void)worker;
    engine_receiver_stop(one->receiver, &one->stopped);
}

struct turn {
    struct datagram_receiver *one;
    struct listener *listener;
};

static void turn_here(struct worker *worker, void *argument) {
    struct turn *turn = argument;
    (void)worker;
    turn->one->listener = turn->listener;
}

void datagrams_turn(struct door *door, struct listener *listener) {
    unsigned count = door->receivers ? server_acceptor_count(door->server) : 0;
    for (unsigned i = 0; i < count; i++) {
        struct turn turn = {&door->receivers[i], listener};
        worker_call(turn.one->worker, turn_here, &turn);
    }
}

void datagrams_stop(struct door *door) {
    unsigned count = door->receivers ? server_acceptor_count(door->server) : 0;
    for (unsigned i = 0; i < count; i++) {
        struct datagram_receiver *one = &door->receivers[i];
        if (one->receiver) {
            one->stopped.complete = on_stopped;
            latch_init(&one->done, 1);
            worker_call(one->worker, stop_here, one);
            latch_wait_on_control(&one->done, "the end of a receive of datagrams");
        }
    }
    alloc_free(door->receivers);
    door->receivers = NULL;
}

/* -- sending --------------------------------------------------------------------------------------
 */

/* The socket of the listener that a datagram from that address goes out by. */
static struct engine_listener *socket_for(const struct listener *listener,
                                          const struct berth_address *local) {
    for (size_t i = 0; i < listener->door_count; i++) {
        struct berth_address bound = door_address(listener->doors[i]);
        bool same_family = bound.family == local->family ||
                           (bound.family == BERTH_FAMILY_IPV6 && !listener->options.v6_only);
        if (bound.port == local->port &&
            (address_equal(&bound, local) || (same_family && address_is_any(&bound)))) {
            return listener->doors[i]->socket;
        }
    }
    return NULL;
}

int32_t datagrams_send(struct listener *listener, const struct berth_address *from,
                       const struct berth_address *to, const struct berth_slice *given) {
    struct berth_address plain[] = {*from, *to};
    const struct berth_address *local = &plain[0];
    const struct berth_address *remote = &plain[1];
    struct berth_slice data;
    const char *wrong = plugin_slice_take(given, &data);
    if (wrong) {
        plugin_fault_of_listener(listener, "send() of a datagram was given a slice %s", wrong);
        return BERTH_E_INVALID;
    }
    address_unmap(&plain[0]);
    address_unmap(&plain[1]);
    struct engine_listener *socket =
        listener->options.datagrams ? socket_for(listener, local) : NULL;
    if (!socket || remote->port == 0 || remote->family == BERTH_FAMILY_NONE ||
        data.size > DATAGRAM_BYTES_MAX) {
        buffer_release(data.buffer);
        return BERTH_E_INVALID;
    }
    uint32_t size = data.size;
    int64_t result;
    if (showing && showing->listener == listener) {
        struct engine_buffer buffer = {data.buffer, data.bytes, data.size};
        result = engine_receiver_send(showing->receiver, local, remote, &buffer);
    } else {
        result = engine_datagram_send(socket, local, remote, data.bytes, data.size);
        buffer_release(data.buffer);
    }
    if (result < 0) {
        listener_count(&listener->counters.datagrams_unsent);
        return result == ENGINE_E_NO_RESOURCES  ? BERTH_E_LIMIT
               : result == ENGINE_E_UNREACHABLE ? BERTH_E_UNREACHABLE
                                                : BERTH_E_FAILED;
    }
    listener_count(&listener->counters.datagrams_sent);
    atomic_fetch_add_explicit(&listener->counters.bytes_sent, size, memory_order_relaxed);
    return BERTH_OK;
}
