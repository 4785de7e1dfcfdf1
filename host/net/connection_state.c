#include "net/connection_state.h"

#define TO(state) (1u << (state))

static const unsigned allowed[CONNECTION_STATE_COUNT] = {
    [CONNECTION_ACCEPTED] =
        TO(CONNECTION_OPEN) | TO(CONNECTION_DRAINING) | TO(CONNECTION_CANCELLING),
    [CONNECTION_OPEN] = TO(CONNECTION_DRAINING) | TO(CONNECTION_CANCELLING),
    [CONNECTION_DRAINING] = TO(CONNECTION_CANCELLING),
    [CONNECTION_CANCELLING] = TO(CONNECTION_CLOSED),
    [CONNECTION_CLOSED] = 0,
};

static const char *const names[CONNECTION_STATE_COUNT] = {
    [CONNECTION_ACCEPTED] = "accepted", [CONNECTION_OPEN] = "open",
    [CONNECTION_DRAINING] = "draining", [CONNECTION_CANCELLING] = "cancelling",
    [CONNECTION_CLOSED] = "closed",
};

bool connection_state_may_move(enum connection_state from, enum connection_state to) {
    return from < CONNECTION_STATE_COUNT && to < CONNECTION_STATE_COUNT &&
           (allowed[from] & TO(to)) != 0;
}

const char *connection_state_name(enum connection_state state) {
    return state < CONNECTION_STATE_COUNT ? names[state] : "unknown";
}
