#include "net/conn/connection_state.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/macros.h"
#include "base/text.h"

enum { VALUES_MAX = CONNECTION_ENTRY_COUNT, LINE_BYTES = 320 };

_Static_assert(sizeof(struct connection_state) == sizeof(uint32_t), "a connection has 4 bytes");

/* Sets of values, a bit each. */
#define LIFE(value) (1u << CONNECTION_##value)
#define ENTRY(value) (1u << CONNECTION_ENTRY_##value)
#define PEER(value) (1u << CONNECTION_PEER_##value)
#define LOCAL(value) (1u << CONNECTION_LOCAL_##value)
#define CLOSING(value) (1u << CONNECTION_CLOSING_##value)
#define RECEIVE(value) (1u << CONNECTION_RECEIVE_##value)
#define SEND(value) (1u << CONNECTION_SEND_##value)
#define NO (1u << 0)
#define YES (1u << 1)

/* -- the moves of each machine --------------------------------------------- */

/* The values, and the values each of them may change to. Flags change freely, within the rules
 * below. */
static const struct machine {
    const char *name;
    unsigned count;
    const char *values[VALUES_MAX];
    uint8_t next[VALUES_MAX];
} machines[CONNECTION_MACHINES] = {
    [CONNECTION_LIFE] = {"life",
                         CONNECTION_LIFE_COUNT,
                         {"accepted", "open", "draining", "cancelling", "closed"},
                         {
                             [CONNECTION_ACCEPTED] = LIFE(OPEN) | LIFE(DRAINING) | LIFE(CANCELLING),
                             [CONNECTION_OPEN] = LIFE(DRAINING) | LIFE(CANCELLING),
                             [CONNECTION_DRAINING] = LIFE(CANCELLING),
                             [CONNECTION_CANCELLING] = LIFE(CLOSED),
                         }},
    [CONNECTION_ENTRY] = {"entry",
                          CONNECTION_ENTRY_COUNT,
                          {"none", "proxy-header", "first-data", "capacity", "admitted", "refused",
                           "outbound"},
                          {
                              [CONNECTION_ENTRY_NONE] = ENTRY(PROXY_HEADER) | ENTRY(FIRST_DATA) |
                                                        ENTRY(CAPACITY) | ENTRY(ADMITTED) |
                                                        ENTRY(REFUSED) | ENTRY(OUTBOUND),
                              [CONNECTION_ENTRY_PROXY_HEADER] = ENTRY(NONE),
                              [CONNECTION_ENTRY_FIRST_DATA] = ENTRY(NONE),
                              [CONNECTION_ENTRY_CAPACITY] = ENTRY(NONE),
                          }},
    [CONNECTION_PEER] = {"peer",
                         CONNECTION_PEER_COUNT,
                         {"sending", "fin-first", "fin-second", "fin-first-notified",
                          "fin-second-notified"},
                         {
                             [CONNECTION_PEER_SENDING] = PEER(FIN_FIRST) | PEER(FIN_SECOND),
                             [CONNECTION_PEER_FIN_FIRST] = PEER(FIN_FIRST_NOTIFIED),
                             [CONNECTION_PEER_FIN_SECOND] = PEER(FIN_SECOND_NOTIFIED),
                         }},
    [CONNECTION_LOCAL] = {"local",
                          CONNECTION_LOCAL_COUNT,
                          {"sending", "shutdown", "fin-sent"},
                          {
                              [CONNECTION_LOCAL_SENDING] = LOCAL(SHUTDOWN) | LOCAL(FIN_SENT),
                              [CONNECTION_LOCAL_SHUTDOWN] = LOCAL(FIN_SENT),
                          }},
    [CONNECTION_CLOSING] = {"closing",
                            CONNECTION_CLOSING_COUNT,
                            {"linger", "skip-linger", "reset"},
                            {
                                [CONNECTION_CLOSING_LINGER] = CLOSING(SKIP_LINGER) | CLOSING(RESET),
                                [CONNECTION_CLOSING_SKIP_LINGER] = CLOSING(RESET),
                            }},
    [CONNECTION_RECEIVE] = {"receive",
                            CONNECTION_RECEIVE_COUNT,
                            {"idle", "armed", "stopping"},
                            {
                                [CONNECTION_RECEIVE_IDLE] = RECEIVE(ARMED),
                                [CONNECTION_RECEIVE_ARMED] = RECEIVE(STOPPING) | RECEIVE(IDLE),
                                [CONNECTION_RECEIVE_STOPPING] = RECEIVE(IDLE),
                            }},
    [CONNECTION_SEND] = {"send",
                         CONNECTION_SEND_COUNT,
                         {"idle", "pending", "cancelling"},
                         {
                             [CONNECTION_SEND_IDLE] = SEND(PENDING),
                             [CONNECTION_SEND_PENDING] = SEND(CANCELLING) | SEND(IDLE),
                             [CONNECTION_SEND_CANCELLING] = SEND(IDLE),
                         }},
    [CONNECTION_HOLD_PLUGIN] = {"hold-plugin", 2, {"no", "yes"}, {YES, NO}},
    [CONNECTION_HOLD_QUEUE] = {"hold-queue", 2, {"no", "yes"}, {YES, NO}},
    [CONNECTION_HOLD_LIMIT] = {"hold-limit", 2, {"no", "yes"}, {YES, NO}},
    [CONNECTION_HOLD_IO_PERMIT] = {"hold-turn", 2, {"no", "yes"}, {YES, NO}},
    [CONNECTION_QUEUE_FULL] = {"queue-full", 2, {"no", "yes"}, {YES, NO}},
    [CONNECTION_REDELIVER] = {"redeliver", 2, {"no", "yes"}, {YES, NO}},
};

/* -- the combinations ------------------------------------------------------ */

#define ENTRY_UNDER_WAY (ENTRY(NONE) | ENTRY(PROXY_HEADER) | ENTRY(FIRST_DATA) | ENTRY(CAPACITY))
#define ENTRY_KNOWN (ENTRY(ADMITTED) | ENTRY(OUTBOUND))
#define ENTRY_OVER (ENTRY(NONE) | ENTRY(REFUSED) | ENTRY_KNOWN)

/* If each machine is in its set of `when`, each must be in its set of `must`; an empty set allows
 * any value. What no rule excludes is legal, and can be reached
 * (tests/net/test_connection_state.c). */
static const struct rule {
    const char *text;
    uint8_t when[CONNECTION_MACHINES];
    uint8_t must[CONNECTION_MACHINES];
} rules[] = {
    {.text = "accepted: on its way in, or refused; nothing is sent yet",
     .when = {[CONNECTION_LIFE] = LIFE(ACCEPTED)},
     .must = {[CONNECTION_ENTRY] = ENTRY_UNDER_WAY | ENTRY(REFUSED),
              [CONNECTION_PEER] = PEER(SENDING) | PEER(FIN_FIRST),
              [CONNECTION_LOCAL] = LOCAL(SENDING),
              [CONNECTION_CLOSING] = CLOSING(LINGER),
              [CONNECTION_SEND] = SEND(IDLE)}},
    {.text = "open: known to the plugin, and not closing",
     .when = {[CONNECTION_LIFE] = LIFE(OPEN)},
     .must = {[CONNECTION_ENTRY] = ENTRY_KNOWN,
              [CONNECTION_CLOSING] = CLOSING(LINGER),
              [CONNECTION_SEND] = SEND(IDLE) | SEND(PENDING)}},
    {.text = "draining: known to the plugin, or refused; no reset and nothing cancelled yet",
     .when = {[CONNECTION_LIFE] = LIFE(DRAINING)},
     .must = {[CONNECTION_ENTRY] = ENTRY_KNOWN | ENTRY(REFUSED),
              [CONNECTION_CLOSING] = CLOSING(LINGER) | CLOSING(SKIP_LINGER),
              [CONNECTION_SEND] = SEND(IDLE) | SEND(PENDING)}},
    {.text = "cancelling: waits for nothing on the way in",
     .when = {[CONNECTION_LIFE] = LIFE(CANCELLING)},
     .must = {[CONNECTION_ENTRY] = ENTRY_OVER}},
    {.text = "closed: nothing is in flight",
     .when = {[CONNECTION_LIFE] = LIFE(CLOSED)},
     .must = {[CONNECTION_ENTRY] = ENTRY_OVER,
              [CONNECTION_RECEIVE] = RECEIVE(IDLE),
              [CONNECTION_SEND] = SEND(IDLE)}},
    {.text = "before the plugin knows it nothing is sent, held for the plugin or shown to it",
     .when = {[CONNECTION_ENTRY] = ENTRY_UNDER_WAY},
     .must = {[CONNECTION_PEER] = PEER(SENDING) | PEER(FIN_FIRST),
              [CONNECTION_LOCAL] = LOCAL(SENDING),
              [CONNECTION_CLOSING] = CLOSING(LINGER) | CLOSING(RESET),
              [CONNECTION_SEND] = SEND(IDLE),
              [CONNECTION_HOLD_PLUGIN] = NO,
              [CONNECTION_HOLD_IO_PERMIT] = NO,
              [CONNECTION_QUEUE_FULL] = NO,
              [CONNECTION_REDELIVER] = NO}},
    {.text = "a refused connection is sent its answer, and is none of the plugin's",
     .when = {[CONNECTION_ENTRY] = ENTRY(REFUSED)},
     .must = {[CONNECTION_PEER] = PEER(SENDING) | PEER(FIN_FIRST) | PEER(FIN_SECOND),
              [CONNECTION_LOCAL] = LOCAL(SENDING) | LOCAL(FIN_SENT),
              [CONNECTION_CLOSING] = CLOSING(LINGER) | CLOSING(RESET),
              [CONNECTION_HOLD_PLUGIN] = NO,
              [CONNECTION_HOLD_IO_PERMIT] = NO,
              [CONNECTION_QUEUE_FULL] = NO,
              [CONNECTION_REDELIVER] = NO}},
    {.text = "the limits hold what waits for room",
     .when = {[CONNECTION_ENTRY] = ENTRY(CAPACITY)},
     .must = {[CONNECTION_HOLD_LIMIT] = YES}},
    {.text = "the limits hold nothing else",
     .when = {[CONNECTION_HOLD_LIMIT] = YES},
     .must = {[CONNECTION_ENTRY] = ENTRY(CAPACITY)}},
    {.text = "the send queue holds while it is full",
     .when = {[CONNECTION_HOLD_QUEUE] = YES},
     .must = {[CONNECTION_QUEUE_FULL] = YES}},
    {.text = "a FIN can be the second only after ours",
     .when = {[CONNECTION_PEER] = PEER(FIN_SECOND) | PEER(FIN_SECOND_NOTIFIED)},
     .must = {[CONNECTION_LOCAL] = LOCAL(FIN_SENT)}},
};

unsigned connection_state_get(struct connection_state state, enum connection_machine machine) {
    switch (machine) {
    case CONNECTION_LIFE:
        return state.life;
    case CONNECTION_ENTRY:
        return state.entry;
    case CONNECTION_PEER:
        return state.peer;
    case CONNECTION_LOCAL:
        return state.local;
    case CONNECTION_CLOSING:
        return state.closing;
    case CONNECTION_RECEIVE:
        return state.receive;
    case CONNECTION_SEND:
        return state.send;
    case CONNECTION_HOLD_PLUGIN:
        return (state.held & CONNECTION_HELD_BY_PLUGIN) != 0;
    case CONNECTION_HOLD_QUEUE:
        return (state.held & CONNECTION_HELD_BY_QUEUE) != 0;
    case CONNECTION_HOLD_LIMIT:
        return (state.held & CONNECTION_HELD_BY_LIMIT) != 0;
    case CONNECTION_HOLD_IO_PERMIT:
        return (state.held & CONNECTION_HELD_BY_IO_PERMIT) != 0;
    case CONNECTION_QUEUE_FULL:
        return state.queue_full;
    case CONNECTION_REDELIVER:
        return state.redeliver;
    default:
        return 0;
    }
}

/* Whether each machine is in its set, or any of them where the set is empty. */
static bool connection_state_is_within(const unsigned *values, const uint8_t *sets) {
    for (unsigned i = 0; i < CONNECTION_MACHINES; i++) {
        if (sets[i] != 0 && (sets[i] >> values[i] & 1u) == 0) {
            return false;
        }
    }
    return true;
}

const char *connection_state_fault(struct connection_state state) {
    unsigned values[CONNECTION_MACHINES];
    for (unsigned i = 0; i < CONNECTION_MACHINES; i++) {
        values[i] = connection_state_get(state, (enum connection_machine)i);
        if (values[i] >= machines[i].count) {
            return "each machine has one of its values";
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
        if (connection_state_is_within(values, rules[i].when) &&
            !connection_state_is_within(values, rules[i].must)) {
            return rules[i].text;
        }
    }
    return NULL;
}

/* -- the setters ----------------------------------------------------------- */

static inline bool is_allowed(enum connection_machine machine, unsigned from, unsigned to) {
    return to < VALUES_MAX && (machines[machine].next[from] >> to & 1u) != 0;
}

static void set_held(struct connection_state *state, unsigned held, bool is_held) {
    state->held = (is_held ? state->held | held : state->held & ~held) & 0xffu;
}

/* What a move writes. */
static inline void connection_state_write(struct connection_state *state,
                                          enum connection_machine machine, unsigned to) {
    switch (machine) {
    case CONNECTION_LIFE:
        state->life = to & 7u;
        if (to == CONNECTION_DRAINING) {
            state->redeliver = 0; /* nothing is delivered after a close */
        }
        break;
    case CONNECTION_ENTRY:
        state->entry = to & 7u;
        set_held(state, CONNECTION_HELD_BY_LIMIT, to == CONNECTION_ENTRY_CAPACITY);
        if (to == CONNECTION_ENTRY_ADMITTED || to == CONNECTION_ENTRY_OUTBOUND) {
            state->life = CONNECTION_OPEN;
        }
        break;
    case CONNECTION_PEER:
        state->peer = to & 7u;
        break;
    case CONNECTION_LOCAL:
        state->local = to & 3u;
        break;
    case CONNECTION_CLOSING:
        state->closing = to & 3u;
        break;
    case CONNECTION_RECEIVE:
        state->receive = to & 3u;
        break;
    case CONNECTION_SEND:
        state->send = to & 3u;
        break;
    case CONNECTION_HOLD_PLUGIN:
        set_held(state, CONNECTION_HELD_BY_PLUGIN, to != 0);
        break;
    case CONNECTION_HOLD_QUEUE:
        set_held(state, CONNECTION_HELD_BY_QUEUE, to != 0);
        break;
    case CONNECTION_HOLD_LIMIT:
        set_held(state, CONNECTION_HELD_BY_LIMIT, to != 0);
        break;
    case CONNECTION_HOLD_IO_PERMIT:
        set_held(state, CONNECTION_HELD_BY_IO_PERMIT, to != 0);
        break;
    case CONNECTION_QUEUE_FULL:
        state->queue_full = to & 1u;
        break;
    case CONNECTION_REDELIVER:
        state->redeliver = to & 1u;
        break;
    default:
        break;
    }
}

/* A defect of the host: logs which move or combination it is. */
static _Noreturn void connection_state_fail(struct connection_state state, const char *rule,
                                            enum connection_machine machine, unsigned to) {
    char before[LINE_BYTES];
    char text[LINE_BYTES * 2];
    connection_state_describe(state, before, sizeof(before));
    snprintf(text, sizeof(text), "%s, for a connection that is %s and whose %s becomes %s", rule,
             before, connection_machine_name(machine), connection_state_name(machine, to));
    assert_failed(text, __FILE__, __LINE__);
}

static inline void connection_state_change(struct connection_state *state,
                                           enum connection_machine machine, unsigned to) {
    if (!is_allowed(machine, connection_state_get(*state, machine), to)) {
        connection_state_fail(*state, "a move of the table", machine, to);
    }
    if (CHECKS) {
        struct connection_state next = *state;
        connection_state_write(&next, machine, to);
        const char *fault = connection_state_fault(next);
        if (fault) {
            connection_state_fail(*state, fault, machine, to);
        }
    }
    connection_state_write(state, machine, to);
}

/* Setting a flag to the value it has is legal. */
static inline void set_flag(struct connection_state *state, enum connection_machine machine,
                            bool to) {
    if (connection_state_get(*state, machine) != to) {
        connection_state_change(state, machine, to);
    }
}

void connection_state_drain(struct connection_state *state) {
    connection_state_change(state, CONNECTION_LIFE, CONNECTION_DRAINING);
}

void connection_state_cancel(struct connection_state *state) {
    connection_state_change(state, CONNECTION_LIFE, CONNECTION_CANCELLING);
}

void connection_state_close(struct connection_state *state) {
    connection_state_change(state, CONNECTION_LIFE, CONNECTION_CLOSED);
}

void connection_state_enter(struct connection_state *state, enum connection_entry entry) {
    connection_state_change(state, CONNECTION_ENTRY, entry);
}

void connection_state_open(struct connection_state *state, enum connection_entry entry) {
    ASSERT(state->life == CONNECTION_ACCEPTED);
    connection_state_change(state, CONNECTION_ENTRY, entry);
    ASSERT(state->life == CONNECTION_OPEN);
}

void connection_state_peer_fin(struct connection_state *state) {
    connection_state_change(state, CONNECTION_PEER,
                            state->local == CONNECTION_LOCAL_FIN_SENT ? CONNECTION_PEER_FIN_SECOND
                                                                      : CONNECTION_PEER_FIN_FIRST);
}

void connection_state_notify_peer_fin(struct connection_state *state) {
    connection_state_change(state, CONNECTION_PEER,
                            state->peer == CONNECTION_PEER_FIN_SECOND
                                ? CONNECTION_PEER_FIN_SECOND_NOTIFIED
                                : CONNECTION_PEER_FIN_FIRST_NOTIFIED);
}

void connection_state_set_local(struct connection_state *state, enum connection_local local) {
    connection_state_change(state, CONNECTION_LOCAL, local);
}

void connection_state_set_closing(struct connection_state *state, enum connection_closing closing) {
    connection_state_change(state, CONNECTION_CLOSING, closing);
}

void connection_state_set_receive(struct connection_state *state, enum connection_receive receive) {
    connection_state_change(state, CONNECTION_RECEIVE, receive);
}

void connection_state_set_send(struct connection_state *state, enum connection_send send) {
    connection_state_change(state, CONNECTION_SEND, send);
}

static enum connection_machine machine_of_hold(unsigned held) {
    return held == CONNECTION_HELD_BY_PLUGIN      ? CONNECTION_HOLD_PLUGIN
           : held == CONNECTION_HELD_BY_QUEUE     ? CONNECTION_HOLD_QUEUE
           : held == CONNECTION_HELD_BY_IO_PERMIT ? CONNECTION_HOLD_IO_PERMIT
                                                  : CONNECTION_HOLD_LIMIT;
}

void connection_state_hold(struct connection_state *state, unsigned held) {
    set_flag(state, machine_of_hold(held), true);
}

void connection_state_release(struct connection_state *state, unsigned held) {
    set_flag(state, machine_of_hold(held), false);
}

void connection_state_set_queue_full(struct connection_state *state, bool queue_full) {
    set_flag(state, CONNECTION_QUEUE_FULL, queue_full);
}

void connection_state_set_redeliver(struct connection_state *state, bool redeliver) {
    set_flag(state, CONNECTION_REDELIVER, redeliver);
}

/* -- for checks and tests -------------------------------------------------- */

unsigned connection_state_count(enum connection_machine machine) {
    return machine < CONNECTION_MACHINES ? machines[machine].count : 0;
}

bool connection_state_may_move(struct connection_state state, enum connection_machine machine,
                               unsigned to) {
    if (!is_allowed(machine, connection_state_get(state, machine), to)) {
        return false;
    }
    connection_state_write(&state, machine, to);
    return connection_state_fault(state) == NULL;
}

void connection_state_move(struct connection_state *state, enum connection_machine machine,
                           unsigned to) {
    connection_state_change(state, machine, to);
}

const char *connection_machine_name(enum connection_machine machine) {
    return machine < CONNECTION_MACHINES ? machines[machine].name : "unknown";
}

const char *connection_state_name(enum connection_machine machine, unsigned value) {
    return value < connection_state_count(machine) ? machines[machine].values[value] : "unknown";
}

void connection_state_describe(struct connection_state state, char *text, size_t size) {
    size_t used = 0;
    text_append(text, size, &used, "%s, %s", connection_state_name(CONNECTION_LIFE, state.life),
                connection_state_name(CONNECTION_ENTRY, state.entry));
    for (int i = CONNECTION_PEER; i < CONNECTION_MACHINES; i++) {
        enum connection_machine machine = (enum connection_machine)i;
        unsigned value = connection_state_get(state, machine);
        if (value != 0 && connection_state_count(machine) == 2) {
            text_append(text, size, &used, ", %s", connection_machine_name(machine));
        } else if (value != 0) {
            text_append(text, size, &used, ", %s %s", connection_machine_name(machine),
                        connection_state_name(machine, value));
        }
    }
}
