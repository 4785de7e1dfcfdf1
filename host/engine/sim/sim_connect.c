/* sim_connect.c: connects of the engine and of peers, and names. */
#include <string.h>

#include "base/address.h"
#include "base/error.h"
#include "engine/sim/sim_connection.h"

enum {
    RETRY_US = 1000000, /* of a SYN without an answer, doubled each time */
    ATTEMPTS_MAX = 6,
};

/* -- one attempt ----------------------------------------------------------- */

static int64_t failure_of(const struct berth_address *address) {
    for (const struct sim_failing *one = sim->failing; one; one = one->next) {
        struct berth_address same = one->address;
        same.port = address->port;
        if (address_equal(&same, address) &&
            (one->address.port == 0 || one->address.port == address->port)) {
            return one->error;
        }
    }
    return 0;
}

enum sim_try sim_try_connect(struct sim_end *end, int64_t *error) {
    int64_t failure = failure_of(&end->remote);
    if (failure == ENGINE_E_TIMED_OUT) {
        return SIM_TRY_SILENT;
    }
    if (failure < 0) {
        *error = failure;
        return SIM_TRY_FAILED;
    }
    const struct sim_bound *bound = sim_bound_find(&end->remote, false);
    struct sim_end *other = sim_other(end);
    other->local = end->remote;
    other->remote = end->local;
    if (!bound && sim_chance(sim->options.connect_to_itself)) {
        end->local = end->remote;
        return SIM_TRY_DONE;
    }
    if (!bound) {
        return SIM_TRY_REFUSED;
    }
    enum sim_arrival arrival = bound->listener ? sim_listener_arrival(bound->listener, other)
                                               : sim_server_admits(bound->server);
    if (arrival == SIM_ARRIVAL_QUEUED && bound->server) {
        sim_server_arrival(bound->server, other);
    }
    return arrival == SIM_ARRIVAL_QUEUED ? SIM_TRY_DONE
           : arrival == SIM_ARRIVAL_FULL ? SIM_TRY_AGAIN
                                         : SIM_TRY_REFUSED;
}

/* -- engine_connect -------------------------------------------------------- */

struct connecting {
    struct sim_op op; /* first */
    struct engine_connect *connect;
    struct sim_end *end;
    unsigned attempts;
    bool is_decided;
    bool is_closed;
    int64_t result;
    struct sim_event attempt;
    struct sim_event late; /* the second way after a lost cancel */
    struct sim_task told;
};

static void sim_connect_decide(struct connecting *one, int64_t result) {
    one->is_decided = true;
    one->result = result;
    sim_event_cancel(&one->attempt);
    sim_event_cancel(&one->late);
    sim_task_ready(&one->told, one->op.port);
}

/* Sends the data that goes with the connect. */
static int64_t send_first(struct connecting *one) {
    const struct engine_piece *first = &one->connect->first_data;
    if (first->size == 0 || !one->op.port->engine->sim->connect_sends) {
        return 0;
    }
    uint64_t room = sim_stream_room(one->end);
    uint64_t size = first->size < room ? first->size : room;
    if (sim_chance(sim->options.short_send)) {
        size = sim_between(0, size);
    }
    sim_stream_write(one->end, first->bytes, (uint32_t)size);
    return (int64_t)size;
}

static void sim_connect_attempt(struct sim_event *event) {
    struct connecting *one = CONTAINER_OF(event, struct connecting, attempt);
    int64_t error = ENGINE_E_REFUSED;
    switch (sim_try_connect(one->end, &error)) {
    case SIM_TRY_DONE:
        sim_connect_decide(one, send_first(one));
        return;
    case SIM_TRY_REFUSED:
    case SIM_TRY_FAILED:
        sim_connect_decide(one, error);
        return;
    case SIM_TRY_AGAIN:
    case SIM_TRY_SILENT:
        if (++one->attempts == ATTEMPTS_MAX) {
            sim_connect_decide(one, ENGINE_E_TIMED_OUT);
        } else {
            sim_event_in(event, (uint64_t)RETRY_US << one->attempts);
        }
        return;
    }
}

static void sim_connect_run_notified(struct sim_task *task) {
    struct connecting *one = CONTAINER_OF(task, struct connecting, told);
    struct engine_connect *connect = one->connect;
    struct sim_end *end = one->end;
    int64_t result = one->result;
    if (result >= 0) {
        end->port = one->op.port;
        sim_socket_go_direct(end, end->port);
        connect->socket = sim_socket_give(end);
        connect->local = end->local;
    } else if (end) {
        sim_stream_close(end, true);
    }
    if (result == ENGINE_E_ABANDONED) {
        sim_op_abandon(&one->op);
    } else {
        sim_op_complete(&one->op, result);
    }
    sim_pool_give(&sim->free_connects, one);
}

static void end_prepare(struct connecting *one) {
    struct engine_connect *connect = one->connect;
    struct sim_end *end = sim_end_create();
    one->end = end;
    end->is_engines = true;
    end->options = connect->options;
    if (connect->options.receive_bytes > 0 && connect->options.receive_bytes < end->in.window) {
        end->in.window = connect->options.receive_bytes;
    }
    end->remote = sim_reachable(&connect->remote);
    end->local = sim_source_of(&end->remote);
}

void engine_connect(struct engine_port *port, struct engine_connect *connect) {
    sim_enter();
    struct connecting *one = sim_pool_take(&sim->free_connects, sizeof(*one));
    if (!sim_op_start(&one->op, &connect->op, port, SIM_OP_CONNECT)) {
        sim_pool_give(&sim->free_connects, one);
        sim_leave();
        return;
    }
    connect->socket = ENGINE_NO_SOCKET;
    one->connect = connect;
    one->attempt.fire = sim_connect_attempt;
    one->told.run = sim_connect_run_notified;
    int64_t fault = sim_sockets_full() ? ENGINE_E_NO_RESOURCES : sim_fault(SIM_CONNECT);
    if (fault < 0) {
        sim_connect_decide(one, fault);
    } else {
        end_prepare(one);
        sim_event_in(&one->attempt, sim_latency());
    }
    sim_leave();
}

static void sim_connect_cancel_late(struct sim_event *event) {
    struct connecting *one = CONTAINER_OF(event, struct connecting, late);
    if (!one->is_decided && !one->is_closed && sim_chance(sim->options.cancel_abandoned)) {
        one->is_closed = true; /* closing its socket does not end it either */
        sim_event_in(event, SIM_CANCEL_US);
    } else if (!one->is_decided) {
        sim_connect_decide(one, one->is_closed ? ENGINE_E_ABANDONED : ENGINE_E_CANCELLED);
    }
}

static void sim_connect_cancel(struct connecting *one) {
    if (sim_chance(sim->options.cancel_late)) {
        sim_event_cancel(&one->attempt);
        sim_connect_attempt(&one->attempt); /* it succeeds or fails just then, if it can */
    }
    if (!one->is_decided) {
        sim_connect_decide(one, ENGINE_E_CANCELLED);
    }
}

void engine_connect_cancel(struct engine_port *port, struct engine_connect *connect) {
    sim_enter();
    struct connecting *one = (struct connecting *)sim_op_find(&connect->op);
    if (one && one->op.kind == SIM_OP_CONNECT && !one->is_decided && one->late.place == 0) {
        if (sim_cancel_is_lost(port)) {
            one->late.fire = sim_connect_cancel_late;
            sim_event_in(&one->late, SIM_CANCEL_US);
        } else {
            sim_connect_cancel(one);
        }
    }
    sim_leave();
}

/* -- names ----------------------------------------------------------------- */

void sim_name_add(const char *host, const struct berth_address *address) {
    sim_enter();
    struct sim_name *name = sim_memory(sizeof(*name));
    struct sim_name **last = &sim->names;
    while (*last) {
        last = &(*last)->next;
    }
    name->host = sim_memory(strlen(host) + 1);
    memcpy(name->host, host, strlen(host));
    name->address = *address;
    *last = name;
    sim_leave();
}

void sim_address_fails(const struct berth_address *address, int64_t error) {
    sim_enter();
    struct sim_failing *one = sim->failing;
    while (one && !address_equal(&one->address, address)) {
        one = one->next;
    }
    if (!one) {
        one = sim_memory(sizeof(*one));
        one->address = *address;
        one->next = sim->failing;
        sim->failing = one;
    }
    one->error = error;
    sim_leave();
}

/* Parses an address without a port: address_parse() needs a port, so one is appended. */
static bool parse_literal(const char *host, struct berth_address *address) {
    char text[BERTH_ADDRESS_TEXT_MAX + 8];
    size_t size = strlen(host);
    bool is_v6 = strchr(host, ':') && host[0] != '[';
    if (size + 5 > sizeof(text)) {
        return false;
    }
    char *at = text;
    if (is_v6) {
        *at++ = '[';
    }
    memcpy(at, host, size);
    at += size;
    memcpy(at, is_v6 ? "]:1" : ":1", is_v6 ? 4 : 3);
    return address_parse(address, text, NULL);
}

static unsigned sim_connect_resolve(const char *host, struct berth_address *addresses,
                                    unsigned capacity) {
    unsigned count = 0;
    if (capacity == 0) {
        return 0;
    }
    if (parse_literal(host, &addresses[0])) {
        return 1;
    }
    for (const struct sim_name *name = sim->names; name && count < capacity; name = name->next) {
        if (strcmp(name->host, host) == 0) {
            addresses[count++] = name->address;
        }
    }
    if (count == 0 && strcmp(host, "localhost") == 0) {
        addresses[count++] =
            (struct berth_address){.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}};
    }
    return count;
}

bool engine_resolve(const char *host, uint16_t port, struct berth_address *addresses,
                    unsigned capacity, unsigned *count, struct error *error) {
    sim_enter();
    int64_t fault = sim_fault(SIM_RESOLVE);
    *count = fault == 0 ? sim_connect_resolve(host, addresses, capacity) : 0;
    for (unsigned i = 0; i < *count; i++) {
        addresses[i].port = port;
    }
    sim_leave();
    return *count > 0 || error_set(error, "%s",
                                   fault == 0 ? "Name or service not known"
                                              : "Temporary failure in name resolution");
}
