#include "sim_clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/macros.h"
#include "engine/sim/sim.h"

enum { SENT_MAX = 6000, START_US = 50000, PACE_US = 20000 };

/* -- the clients ----------------------------------------------------------- */

enum temper { PATIENT, SLOW, LEAVES, RESETS, VANISHES, TEMPERS };

struct client {
    struct sim_peer *peer;
    struct sim_clients *all;
    struct sim_timer timer;
    enum temper temper;
    unsigned number;
    uint32_t size; /* that it sends */
    uint32_t sent;
    uint32_t received;
    bool is_over;
};

struct sim_clients {
    struct berth_address to;
    struct sim_clients_result result;
    unsigned count;
    struct client clients[];
};

static uint8_t byte_of(const struct client *client, uint32_t at) {
    return (uint8_t)((at + client->number * 7919u) * 2654435761u >> 24);
}

static void client_end(struct client *client, bool reset) {
    client->is_over = true;
    sim_timer_cancel(&client->timer);
    if (reset) {
        sim_peer_reset(client->peer);
    } else {
        sim_peer_close(client->peer);
    }
}

/* It receives; false: it is over. */
static bool client_receive(struct client *client) {
    uint8_t bytes[700];
    int64_t size;
    while ((size = sim_peer_receive(client->peer, bytes, sizeof(bytes))) > 0) {
        for (int64_t i = 0; i < size; i++) {
            assert_int_equal(bytes[i], byte_of(client, client->received + (uint32_t)i));
        }
        client->received += (uint32_t)size;
        client->all->result.bytes += (uint64_t)size;
        assert_true(client->received <= client->sent);
        if (client->temper == SLOW) {
            break;
        }
    }
    if (size == SIM_PEER_FIN || size == SIM_PEER_RESET) {
        client->all->result.completed += size == SIM_PEER_FIN && client->received == client->size;
        client->all->result.failed += size == SIM_PEER_RESET;
        client_end(client, false);
        return false;
    }
    return true;
}

static void client_go_on(struct client *client) {
    uint8_t bytes[1000];
    if (sim_peer_state(client->peer) == SIM_PEER_CONNECTING || !client_receive(client)) {
        return;
    }
    if (client->temper >= LEAVES && client->sent >= client->size / 2) {
        if (client->temper == VANISHES) {
            sim_peer_vanish(client->peer);
        }
        client_end(client, client->temper == RESETS);
        return;
    }
    while (client->sent < client->size) {
        uint32_t size = (uint32_t)(1 + sim_random(sizeof(bytes)));
        size = size < client->size - client->sent ? size : client->size - client->sent;
        for (uint32_t i = 0; i < size; i++) {
            bytes[i] = byte_of(client, client->sent + i);
        }
        int64_t sent = sim_peer_send(client->peer, bytes, size);
        if (sent <= 0) {
            return;
        }
        client->sent += (uint32_t)sent;
        if (client->sent == client->size) {
            sim_peer_shutdown_send(client->peer);
        } else if (sim_random(3) == 0) {
            return; /* more, later */
        }
    }
}

static void client_changed(struct sim_peer *peer, void *context) {
    struct client *client = context;
    if (client->peer == peer && client->temper != SLOW) {
        client_go_on(client);
    }
}

static void client_again(struct sim_timer *timer) {
    struct client *client = CONTAINER_OF(timer, struct client, timer);
    client_go_on(client);
    if (!client->is_over) {
        sim_timer_set(timer, sim_now_us() + sim_random(PACE_US));
    }
}

static void client_start(struct sim_timer *timer) {
    struct client *client = CONTAINER_OF(timer, struct client, timer);
    struct sim_peer_options options = {.changed = client_changed, .context = client};
    client->peer = sim_peer_connect(&client->all->to, &options);
    client->timer.fire = client_again;
    sim_timer_set(timer, sim_now_us() + sim_random(PACE_US));
}

struct sim_clients *sim_clients_start(const struct berth_address *to, unsigned count,
                                      bool tempers) {
    struct sim_clients *all = calloc(1, sizeof(*all) + count * sizeof(all->clients[0]));
    assert_non_null(all);
    all->to = *to;
    all->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct client *client = &all->clients[i];
        client->all = all;
        client->number = i;
        client->size = (uint32_t)(1 + sim_random(SENT_MAX));
        client->temper = (enum temper)sim_random(tempers ? TEMPERS : LEAVES);
        client->timer.fire = client_start;
        sim_timer_set(&client->timer, sim_now_us() + sim_random(START_US));
    }
    return all;
}

bool sim_clients_over(const struct sim_clients *all) {
    for (unsigned i = 0; i < all->count; i++) {
        if (!all->clients[i].is_over) {
            return false;
        }
    }
    return true;
}

struct sim_clients_result sim_clients_end(struct sim_clients *all) {
    struct sim_clients_result result = all->result;
    assert_true(sim_clients_over(all));
    free(all);
    return result;
}
