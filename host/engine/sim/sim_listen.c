/* sim_listen.c: addresses, and listeners on them. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/sim/sim_connection.h"

enum { EPHEMERAL_LEAST = 40000, EPHEMERAL_MOST = 60999, KEPT_HANDLE = 1000 };

/* -- addresses ------------------------------------------------------------- */

struct berth_address sim_reachable(const struct berth_address *to) {
    struct berth_address address = *to;
    if (address_is_any(to)) {
        memset(address.bytes, 0, sizeof(address.bytes));
        if (to->family == BERTH_FAMILY_IPV6) {
            address.bytes[15] = 1;
        } else {
            address.bytes[0] = 127;
            address.bytes[3] = 1;
        }
    }
    return address;
}

uint16_t sim_ephemeral_port(void) {
    sim->ephemeral = sim->ephemeral == EPHEMERAL_MOST ? EPHEMERAL_LEAST : sim->ephemeral + 1;
    return (uint16_t)sim->ephemeral;
}

struct berth_address sim_source_of(const struct berth_address *to) {
    struct berth_address address = {.family = to->family};
    address = sim_reachable(&address);
    address.port = sim_ephemeral_port();
    return address;
}

/* This machine has only loopback addresses. */
static bool sim_listen_is_ours(const struct berth_address *address) {
    return address_is_any(address) || address_is_loopback(address) || address_is_group(address);
}

static bool sim_listen_is_taken(const struct sim_bound *bound) {
    const struct sim_bound *other;
    DL_FOREACH(sim->bound, other) {
        if (other->datagrams == bound->datagrams &&
            address_overlaps(&other->address, other->v6_only, &bound->address, bound->v6_only)) {
            return true;
        }
    }
    return false;
}

bool sim_bind(struct sim_bound *bound, struct error *error) {
    if (!sim_listen_is_ours(&bound->address)) {
        return error_set(error, "address not available");
    }
    if (bound->address.port == 0) {
        do {
            bound->address.port = sim_ephemeral_port();
        } while (sim_listen_is_taken(bound));
    } else if (sim_listen_is_taken(bound)) {
        return error_set(error, "address in use");
    }
    DL_APPEND(sim->bound, bound);
    return true;
}

void sim_unbind(struct sim_bound *bound) {
    if (bound->prev) {
        DL_DELETE(sim->bound, bound);
        bound->prev = NULL;
    }
}

struct sim_bound *sim_bound_find(const struct berth_address *to, bool datagrams) {
    struct berth_address address = sim_reachable(to);
    struct sim_bound *bound;
    DL_FOREACH(sim->bound, bound) {
        if (bound->datagrams == datagrams && address.port == bound->address.port &&
            address_overlaps(&bound->address, bound->v6_only, &address, true)) {
            return bound;
        }
    }
    return NULL;
}

/* -- listeners ------------------------------------------------------------- */

/* There is no next process in the simulation, so no socket is kept; inherited_sockets is called all
 * the same. */
static void sim_listen_keep(struct engine_listener *listener) {
    const struct inherited_sockets *inherited_sockets = listener->engine->inherited_sockets;
    for (unsigned i = 0;
         inherited_sockets && listener->options.name && i < listener->options.acceptors; i++) {
        inherited_sockets->keep(inherited_sockets->context, listener->options.name, i,
                                KEPT_HANDLE + (intptr_t)i);
        listener->kept = i + 1;
    }
}

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    ASSERT(options->acceptors > 0);
    struct engine_listener *listener =
        alloc_zeroed(sizeof(*listener) + options->acceptors * sizeof(listener->backlogs[0]));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->engine = engine;
    listener->options = *options;
    listener->bound = (struct sim_bound){.address = options->address,
                                         .datagrams = options->datagrams,
                                         .v6_only = options->v6_only,
                                         .listener = listener};
    sim_enter();
    int64_t fault = sim_fault(SIM_LISTEN);
    bool is_bound = fault == 0 ? sim_bind(&listener->bound, error)
                               : error_set(error, "%s", engine_error_text(fault));
    if (is_bound) {
        if (options->name) {
            snprintf(listener->name, sizeof(listener->name), "%s", options->name);
            listener->options.name = listener->name;
        }
        sim_listen_keep(listener);
    }
    sim_leave();
    if (!is_bound) {
        alloc_free(listener);
        return NULL;
    }
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->bound.address;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    sim_enter();
    int64_t fault = sim_fault(SIM_LISTEN);
    listener->is_started = fault == 0;
    sim_leave();
    return fault == 0 || error_set(error, "%s", engine_error_text(fault));
}

void engine_listener_configure(struct engine_listener *listener,
                               const struct engine_listen_options *options) {
    sim_enter();
    if (!listener->engine->sim->backlog_is_fixed) {
        listener->options.backlog = options->backlog;
    }
    listener->options.reuse_sockets = options->reuse_sockets;
    listener->options.sockets = options->sockets;
    sim_leave();
}

void engine_listener_close(struct engine_listener *listener) {
    if (!listener) {
        return;
    }
    sim_enter();
    if (listener->acceptors || listener->receivers) {
        sim_broken("engine_listener_close: an acceptor or receiver of it is left");
        sim_leave();
        return;
    }
    sim_unbind(&listener->bound);
    sim_backlog_forget(listener);
    sim_datagrams_forget(listener);
    for (struct sim_connection *connection = sim->connections; connection;
         connection = connection->next) {
        for (unsigned i = 0; i < 2; i++) {
            if (connection->ends[i].listener == listener) {
                connection->ends[i].listener = NULL;
            }
        }
    }
    for (unsigned i = 0; i < listener->kept; i++) {
        listener->engine->inherited_sockets->drop(listener->engine->inherited_sockets->context,
                                                  listener->name, i);
    }
    sim_leave();
    alloc_free(listener);
}

bool sim_listens(const struct berth_address *address) {
    sim_enter();
    const struct sim_bound *bound = sim_bound_find(address, false);
    bool listens = bound && bound->listener && bound->listener->is_started;
    sim_leave();
    return listens;
}

void sim_listeners_forget_port(const struct engine_port *port) {
    struct sim_bound *bound;
    DL_FOREACH(sim->bound, bound) {
        struct engine_listener *listener = bound->listener;
        for (unsigned i = 0; listener && i < listener->reuse_count;) {
            if (listener->reuse[i] == port) {
                listener->reuse[i] = listener->reuse[--listener->reuse_count];
            } else {
                i++;
            }
        }
    }
}
