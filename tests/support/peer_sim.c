/* peer_sim.c: the peers of the conformance suite in the simulated world. A call that would wait
 * lets the world go on; where that is at rest, another thread may have something to do. */
#include "peer.h"

#include <string.h>

#include "engine/sim/sim.h"
#include "os/os.h"

enum { SMALL_BYTES = 4096, SLICE_MS = 1 };

static struct sim_peer *peer_of(struct peer peer) {
    return (struct sim_peer *)peer.handle;
}

/* What was sent has arrived: loopback takes no time worth mentioning. */
static void let_arrive(void) {
    const struct sim_options *options = sim_world_options();
    sim_advance(sim_now_us() / 1000 + options->latency_max_us / 1000 + 1, NULL, NULL);
}

/* False: it takes too long. */
static bool wait_on(uint64_t start_ms) {
    uint64_t next_us = sim_next_event_us();
    if (next_us != UINT64_MAX) {
        sim_advance(next_us / 1000 + 1, NULL, NULL);
    } else {
        os_sleep_ms(SLICE_MS);
    }
    return os_now_ms() - start_ms < PEER_PATIENCE_MS;
}

static bool connect_with(struct peer *peer, const struct berth_address *to, uint32_t window) {
    struct sim_peer_options options = {.window = window};
    struct sim_peer *one = sim_peer_connect(to, &options);
    uint64_t start_ms = os_now_ms();
    while (sim_peer_state(one) == SIM_PEER_CONNECTING && wait_on(start_ms)) {
    }
    if (sim_peer_state(one) != SIM_PEER_CONNECTED) {
        sim_peer_close(one);
        *peer = NO_PEER;
        return false;
    }
    peer->handle = (intptr_t)one;
    return true;
}

bool peer_connect(struct peer *peer, const struct berth_address *to) {
    return connect_with(peer, to, 0);
}

bool peer_connect_small(struct peer *peer, const struct berth_address *to) {
    return connect_with(peer, to, SMALL_BYTES);
}

/* The suite listens with one peer at a time. */
static struct sim_server *listening;

bool peer_listen(struct peer *peer, struct berth_address *at) {
    struct sim_server_options options = {.address = *at, .backlog = 8};
    listening = sim_server_open(&options);
    *peer = NO_PEER;
    if (!listening) {
        return false;
    }
    peer->handle = (intptr_t)listening;
    at->port = sim_server_address(listening).port;
    return true;
}

struct berth_address peer_address(struct peer peer) {
    return sim_peer_local(peer_of(peer));
}

bool peer_send(struct peer peer, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    uint64_t start_ms = os_now_ms();
    while (size > 0) {
        int64_t sent = sim_peer_send(peer_of(peer), at, size);
        if (sent == SIM_PEER_RESET || sent == SIM_PEER_FINISHED ||
            (sent == SIM_PEER_NOTHING && !wait_on(start_ms))) {
            return false;
        }
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        }
    }
    let_arrive();
    return true;
}

ptrdiff_t peer_receive(struct peer peer, void *bytes, size_t size) {
    uint64_t start_ms = os_now_ms();
    for (;;) {
        int64_t received = sim_peer_receive(peer_of(peer), bytes, size);
        if (received != SIM_PEER_NOTHING) {
            return (ptrdiff_t)received;
        }
        if (!wait_on(start_ms)) {
            return PEER_NOTHING;
        }
    }
}
_Static_assert((int)PEER_FIN == (int)SIM_PEER_FIN && (int)PEER_RESET == (int)SIM_PEER_RESET,
               "the same numbers");

void peer_shutdown_send(struct peer peer) {
    sim_peer_shutdown_send(peer_of(peer));
    let_arrive();
}

void peer_close(struct peer peer) {
    if (!sim_world_exists()) {
        return; /* it went with its world */
    }
    if (listening && peer.handle == (intptr_t)listening) {
        sim_server_close(listening);
        listening = NULL;
    } else {
        sim_peer_close(peer_of(peer));
        let_arrive();
    }
}

void peer_reset(struct peer peer) {
    sim_peer_reset(peer_of(peer));
    let_arrive();
}

void peer_pause(unsigned ms) {
    sim_advance(sim_now_us() / 1000 + ms, NULL, NULL);
}

bool peer_resets_look_like_fins(void) {
    return sim_world_options()->reset_as_fin > 0;
}

bool peer_sockets_allow(unsigned count) {
    (void)count;
    return false;
}

bool peer_sockets_forbid(void) {
    sim_world_options()->sockets_max = sim_sockets();
    return true;
}

void peer_sockets_forbid_end(void) {
    sim_world_options()->sockets_max = UINT32_MAX;
}
