/* sim_peer.c: peers, which are the other ends of connections, and servers that engine_connect()
 * reaches. */
#include <string.h>
#include <utlist.h>

#include "engine/sim/sim_connection.h"

enum {
    RETRY_US = 1000000,
    ATTEMPTS_MAX = 6,
};

struct sim_server {
    struct sim_bound bound;
    struct sim_server_options options;
    unsigned waiting;
    struct sim_server *prev;
    struct sim_server *next;
};

static struct sim_end *end_of(struct sim_peer *peer) {
    return (struct sim_end *)peer;
}

static const struct sim_end *end_in(const struct sim_peer *peer) {
    return (const struct sim_end *)peer;
}

/* -- connecting ------------------------------------------------------------ */

void sim_peer_heard(struct sim_end *end) {
    if (!end->is_closed && end->changed) {
        end->changed((struct sim_peer *)end, end->context);
    }
}

static void sim_peer_settle(struct sim_end *end, enum sim_peer_state state) {
    end->state = state;
    end->error = state == SIM_PEER_REFUSED ? ENGINE_E_REFUSED : end->error;
    sim_note(SIM_NOTE_PEER, sim_end_id(end), (int64_t)state);
    sim_end_heard(end);
}

static void sim_peer_attempt(struct sim_event *event) {
    struct sim_end *end = CONTAINER_OF(event, struct sim_end, attempt);
    int64_t error = 0;
    switch (sim_try_connect(end, &error)) {
    case SIM_TRY_DONE:
        sim_peer_settle(end, SIM_PEER_CONNECTED);
        return;
    case SIM_TRY_REFUSED:
    case SIM_TRY_FAILED:
        sim_peer_settle(end, SIM_PEER_REFUSED);
        return;
    case SIM_TRY_AGAIN:
    case SIM_TRY_SILENT:
        if (++end->attempts == ATTEMPTS_MAX) {
            sim_peer_settle(end, SIM_PEER_REFUSED);
        } else {
            sim_event_in(event, (uint64_t)RETRY_US << end->attempts);
        }
        return;
    }
}

struct sim_peer *sim_peer_connect(const struct berth_address *to,
                                  const struct sim_peer_options *options) {
    sim_enter();
    struct sim_end *end = sim_end_create();
    end->remote = sim_reachable(to);
    end->local = options && options->from.family != 0 ? options->from : sim_source_of(&end->remote);
    if (end->local.port == 0) {
        end->local.port = sim_ephemeral_port();
    }
    if (options) {
        end->in.window = options->window > 0 ? options->window : end->in.window;
        end->changed = options->changed;
        end->context = options->context;
    }
    end->attempt.fire = sim_peer_attempt;
    sim_event_in(&end->attempt, sim_latency());
    sim_leave();
    return (struct sim_peer *)end;
}

enum sim_peer_state sim_peer_state(const struct sim_peer *peer) {
    sim_enter();
    enum sim_peer_state state = end_in(peer)->state;
    sim_leave();
    return state;
}

struct berth_address sim_peer_local(const struct sim_peer *peer) {
    return end_in(peer)->local;
}

struct berth_address sim_peer_remote(const struct sim_peer *peer) {
    return end_in(peer)->remote;
}

void *sim_peer_context(const struct sim_peer *peer) {
    return end_in(peer)->context;
}

void sim_peer_on_change(struct sim_peer *peer, sim_peer_fn *changed, void *context) {
    sim_enter();
    end_of(peer)->changed = changed;
    end_of(peer)->context = context;
    sim_leave();
}

/* -- bytes ----------------------------------------------------------------- */

int64_t sim_peer_send(struct sim_peer *peer, const void *bytes, size_t size) {
    sim_enter();
    struct sim_end *end = end_of(peer);
    int64_t result = SIM_PEER_NOTHING;
    if (end->error != 0) {
        result = SIM_PEER_RESET;
    } else if (end->keeps_fin) {
        result = SIM_PEER_FINISHED;
    } else if (end->state == SIM_PEER_CONNECTED) {
        uint32_t room = sim_stream_room(end);
        uint32_t part = size < room ? (uint32_t)size : room;
        end->is_sending = part < size;
        if (part > 0) {
            sim_stream_write(end, bytes, part);
            result = part;
            if (sim_chance(sim->options.half_close)) {
                sim_stream_fin(end);
            }
        }
    }
    sim_leave();
    return result;
}

int64_t sim_peer_receive(struct sim_peer *peer, void *bytes, size_t size) {
    sim_enter();
    struct sim_end *end = end_of(peer);
    int64_t result = SIM_PEER_NOTHING;
    if (end->in.readable > 0 && size > 0) {
        result = sim_stream_read(end, bytes, size < UINT32_MAX ? (uint32_t)size : UINT32_MAX);
    } else if (end->error != 0) {
        result = SIM_PEER_RESET;
    } else if (end->in.fin_arrived) {
        result = SIM_PEER_FIN;
    }
    sim_leave();
    return result;
}

uint64_t sim_peer_taken(const struct sim_peer *peer) {
    return sim_other(end_in(peer))->in.taken;
}

size_t sim_peer_waiting(const struct sim_peer *peer) {
    return end_in(peer)->in.readable;
}

/* -- ending ---------------------------------------------------------------- */

void sim_peer_shutdown_send(struct sim_peer *peer) {
    sim_enter();
    if (end_of(peer)->state == SIM_PEER_CONNECTED) {
        sim_stream_fin(end_of(peer));
    }
    sim_leave();
}

static void end_peer(struct sim_peer *peer, bool reset) {
    sim_enter();
    struct sim_end *end = end_of(peer);
    sim_event_cancel(&end->attempt);
    sim_stream_close(end, reset);
    sim_leave();
}

void sim_peer_close(struct sim_peer *peer) {
    end_peer(peer, false);
}

void sim_peer_reset(struct sim_peer *peer) {
    end_peer(peer, true);
}

void sim_peer_vanish(struct sim_peer *peer) {
    sim_enter();
    sim_stream_cut(end_of(peer));
    sim_leave();
}

/* -- servers --------------------------------------------------------------- */

struct sim_server *sim_server_open(const struct sim_server_options *options) {
    sim_enter();
    struct sim_server *server = sim_memory(sizeof(*server));
    server->options = *options;
    server->bound = (struct sim_bound){.address = options->address, .server = server};
    if (sim_bind(&server->bound, NULL)) {
        DL_APPEND(sim->servers, server);
    } else {
        sim_memory_free(server);
        server = NULL;
    }
    sim_leave();
    return server;
}

struct berth_address sim_server_address(const struct sim_server *server) {
    return server->bound.address;
}

void sim_server_close(struct sim_server *server) {
    sim_enter();
    sim_unbind(&server->bound);
    DL_DELETE(sim->servers, server);
    sim_memory_free(server);
    sim_leave();
}

void sim_servers_fini(void) {
    while (sim->servers) {
        sim_server_close(sim->servers);
    }
}

enum sim_arrival sim_server_admits(struct sim_server *server) {
    if (sim_chance(server->options.refuse)) {
        return SIM_ARRIVAL_REFUSED;
    }
    bool is_full = !server->options.accepted && server->waiting >= server->options.backlog;
    return server->options.is_silent || is_full ? SIM_ARRIVAL_FULL : SIM_ARRIVAL_QUEUED;
}

void sim_server_arrival(struct sim_server *server, struct sim_end *end) {
    end->state = SIM_PEER_CONNECTED;
    end->is_closed = false;
    if (server->options.accepted) {
        server->options.accepted(server, (struct sim_peer *)end, server->options.context);
    } else {
        server->waiting++;
    }
}
