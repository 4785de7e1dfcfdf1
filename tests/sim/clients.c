/* The clients: each connects some time, speaks and listens by its temper, and checks its bytes. */
#include "base/macros.h"
#include "rule.h"
#include "world.h"

enum {
    START_US = 400000,
    CROWD_US = 6000000,
    PACE_US = 20000,
    STAYS_US = 20000000, /* those who only sit there leave within so long */
    PIECE_BYTES = 3000,
    READS_BYTES = 4000,
};

bool client_is_denied(const struct conversation *client) {
    return world.denies && client->number % ADDRESSES == 2;
}

static const char *const names[TEMPERS] = {
    [TEMPER_PATIENT] = "patient",     [TEMPER_DRIBBLES] = "dribbling",
    [TEMPER_SLOW] = "slow",           [TEMPER_GREEDY] = "greedy",
    [TEMPER_FIN_FIRST] = "FIN-first", [TEMPER_WAITS] = "waiting",
    [TEMPER_POLITE] = "polite",       [TEMPER_SILENT] = "silent",
    [TEMPER_DEAF] = "deaf",           [TEMPER_RESETS] = "resetting",
    [TEMPER_LEAVES] = "leaving",      [TEMPER_VANISHES] = "vanishing",
};

const char *temper_name(enum temper temper) {
    return names[temper];
}

/* -- the end of one -------------------------------------------------------- */

static void speaks(struct conversation *client) {
    if (client->speaks_us == 0) {
        client->speaks_us = sim_now_us();
        client->speaks_room_us = world.room_us;
        client->speaks_entry_us = world.entry_us;
    }
}

static void end(struct conversation *client, bool reset) {
    client->is_over = true;
    speaks(client);
    sim_timer_cancel(&client->pace);
    if (reset) {
        sim_peer_reset(client->peer);
    } else {
        sim_peer_close(client->peer);
    }
}

/* A FIN comes after all that the plugin has given, unless something has gone wrong on the way. */
static void on_fin(struct conversation *client) {
    bool file_may_fail = client->has_sent_file && !client->began_quiet;
    uint64_t whole = client->short_at > 0   ? client->short_at
                     : client->has_opened   ? client->given
                     : client->received > 0 ? world.busy_bytes
                                            : 0;
    RULE(client->received == whole || client->was_killed || file_may_fail ||
             (!client->has_opened && !client->began_quiet),
         "bytes are conserved: client %u (%s) has a FIN after %llu of %llu bytes", client->number,
         temper_name(client->temper), (unsigned long long)client->received,
         (unsigned long long)whole);
    client->has_fin = true;
    end(client, false);
}

static void on_reset(struct conversation *client) {
    bool is_polite = client->temper <= TEMPER_POLITE && client->header_size == 0;
    world.unopened_resets += client->began_quiet && is_polite && !client->has_opened;
    RULE(!client->began_quiet || client->temper > TEMPER_POLITE || client->was_killed ||
             !client->has_opened || client->has_called_close || client->short_at > 0 ||
             client->sent < client->size,
         "nobody is reset without a fault: client %u (%s)", client->number,
         temper_name(client->temper));
    end(client, false);
}

/* -- reading and writing --------------------------------------------------- */

static bool reads_now(const struct conversation *client) {
    return client->temper != TEMPER_DEAF &&
           (client->temper != TEMPER_GREEDY || client->sent == client->size);
}

/* False: it is over. */
static bool client_reads(struct conversation *client) {
    uint8_t bytes[READS_BYTES];
    int64_t size;
    while ((size = sim_peer_receive(client->peer, bytes,
                                    client->temper == TEMPER_SLOW ? 1 + sim_random(300)
                                                                  : sizeof(bytes))) > 0) {
        bool is_right =
            client->has_opened
                ? given_has(client, client->received, bytes, (uint64_t)size)
                : stream_has(BUSY, STREAM_OF_PLUGIN, client->received, bytes, (uint64_t)size);
        RULE(is_right, "bytes are in order: client %u received others at %llu", client->number,
             (unsigned long long)client->received);
        client->received += (uint64_t)size;
        world.progress_us = sim_now_us();
        RULE(client->received <= (client->has_opened ? client->given : world.busy_bytes),
             "bytes are conserved: client %u received more than was sent", client->number);
        if (client->temper == TEMPER_SLOW) {
            return true;
        }
    }
    if (size == SIM_PEER_FIN) {
        on_fin(client);
    } else if (size == SIM_PEER_RESET) {
        on_reset(client);
    }
    return !client->is_over;
}

static uint64_t piece_of(const struct conversation *client) {
    uint64_t most = client->size - client->sent;
    uint64_t size = client->temper == TEMPER_DRIBBLES ? 1 : 1 + sim_random(PIECE_BYTES);
    return size < most ? size : most;
}

static bool ends_with_fin(const struct conversation *client) {
    return client->temper != TEMPER_WAITS && client->temper != TEMPER_DEAF;
}

/* False: more of it is left. */
static bool writes_header(struct conversation *client) {
    while (client->header_sent < client->header_size) {
        uint32_t left = client->header_size - client->header_sent;
        uint32_t size = client->temper == TEMPER_DRIBBLES ? 1 : left;
        int64_t sent = sim_peer_send(client->peer, client->header + client->header_sent, size);
        if (sent == SIM_PEER_RESET) {
            on_reset(client);
        }
        if (sent == SIM_PEER_FINISHED) { /* the world has ended its side */
            client->size = client->sent;
        }
        if (sent <= 0) {
            return false;
        }
        client->header_sent += (uint32_t)sent;
    }
    return true;
}

static void client_writes(struct conversation *client) {
    uint8_t bytes[PIECE_BYTES];
    if (!writes_header(client)) {
        return;
    }
    while (client->sent < client->size) {
        uint64_t size = piece_of(client);
        stream_fill(client->number, STREAM_OF_CLIENT, client->sent, bytes, size);
        int64_t sent = sim_peer_send(client->peer, bytes, size);
        if (sent == SIM_PEER_RESET) {
            on_reset(client);
        }
        if (sent == SIM_PEER_FINISHED) { /* the world has ended its side */
            client->size = client->sent;
        }
        if (sent <= 0) {
            return;
        }
        client->sent += (uint64_t)sent;
        speaks(client);
        world.progress_us = sim_now_us();
        if (client->sent == client->size && ends_with_fin(client)) {
            sim_peer_shutdown_send(client->peer);
        } else if (client->temper == TEMPER_SLOW || client->temper == TEMPER_DRIBBLES ||
                   sim_random(3) == 0) {
            return; /* more, later */
        }
    }
}

/* Whether it leaves now, which ends it. */
static bool leaves(struct conversation *client) {
    bool is_half_way = client->sent >= client->size / 2;
    bool sits = client->temper == TEMPER_SILENT || client->temper == TEMPER_DEAF;
    if (sits && sim_now_us() >= client->leaves_us) {
        end(client, sim_random(2) == 0);
    } else if (client->temper >= TEMPER_RESETS && is_half_way) {
        if (client->temper == TEMPER_VANISHES) {
            sim_peer_vanish(client->peer);
        }
        end(client, client->temper == TEMPER_RESETS);
    }
    return client->is_over;
}

/* What is in the window may come in one turn, and again in one that stops late. */
static void check_linger(const struct conversation *client) {
    uint64_t piece = sim_world_options()->window_max * UINT64_C(2) + world.buffer_bytes;
    RULE(!client->has_called_close || client->taken_at_close == UINT64_MAX ||
             sim_peer_taken(client->peer) <= client->taken_at_close + world.linger_max + piece,
         "limits.linger_bytes is not exceeded: client %u, %llu bytes after its close",
         client->number,
         (unsigned long long)(sim_peer_taken(client->peer) - client->taken_at_close));
}

static void go_on(struct conversation *client) {
    switch (sim_peer_state(client->peer)) {
    case SIM_PEER_CONNECTING:
        return;
    case SIM_PEER_REFUSED:
        end(client, false);
        return;
    case SIM_PEER_CONNECTED:
        break;
    }
    if (client->temper == TEMPER_FIN_FIRST) {
        sim_peer_shutdown_send(client->peer);
        speaks(client);
    }
    check_linger(client);
    if (reads_now(client) && !client_reads(client)) {
        return;
    }
    if (!leaves(client) && client->temper != TEMPER_SILENT) {
        client_writes(client);
    }
}

static void changed(struct sim_peer *peer, void *context) {
    struct conversation *client = context;
    bool is_slow = client->temper == TEMPER_SLOW || client->temper == TEMPER_DRIBBLES;
    if (client->peer == peer && !is_slow) {
        go_on(client);
    }
}

static void again(struct sim_timer *timer) {
    struct conversation *client = CONTAINER_OF(timer, struct conversation, pace);
    go_on(client);
    if (!client->is_over) {
        sim_timer_set(timer, sim_now_us() + sim_random(PACE_US));
    }
}

static void connect_now(struct sim_timer *timer) {
    struct conversation *client = CONTAINER_OF(timer, struct conversation, pace);
    struct sim_peer_options options = {.changed = changed, .context = client};
    options.from =
        (struct berth_address){.family = BERTH_FAMILY_IPV4,
                               .bytes = {127, 0, 0, (uint8_t)(1 + client->number % ADDRESSES)},
                               .port = (uint16_t)(FIRST_PORT + client->number)};
    client->peer = sim_peer_connect(&world.address, &options);
    client->connects_us = sim_now_us();
    client->leaves_us = sim_now_us() + sim_random(STAYS_US);
    client->began_quiet = !world.is_faulty;
    if (client->temper == TEMPER_FIN_FIRST) {
        client->size = 0;
    }
    client->pace.fire = again;
    sim_timer_set(timer, sim_now_us() + sim_random(PACE_US));
}

/* -- all of them ----------------------------------------------------------- */

static uint64_t size_by_chance(void) {
    static const uint64_t most[] = {1, 10, 400, 3000, 20000, 100000};
    return 1 + sim_random(most[sim_random(ARRAY_COUNT(most))]);
}

void clients_begin(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) {
        struct conversation *client = &world.conversations[i];
        client->number = i;
        client->temper = world.is_crowded && sim_random(2) == 0 ? TEMPER_SILENT
                                                                : (enum temper)sim_random(TEMPERS);
        client->size = size_by_chance();
        if (client->temper == TEMPER_DRIBBLES) {
            client->size = client->size % 200 + 1;
        }
        client->budget = size_by_chance();
        proxy_header_by_chance(client);
        client->pace.fire = connect_now;
        /* Others come when silent clients are there, and after a change or two. */
        uint64_t within_us =
            world.is_crowded && client->temper != TEMPER_SILENT ? CROWD_US : (uint64_t)START_US;
        sim_timer_set(&client->pace, sim_now_us() + sim_random(within_us));
    }
    world.conversation_count = to;
}

bool clients_are_over(void) {
    for (unsigned i = 0; i < world.conversation_count; i++) {
        if (!world.conversations[i].is_over) {
            return false;
        }
    }
    return true;
}

unsigned clients_silent(uint64_t time_us) {
    unsigned count = 0;
    for (unsigned i = 0; i < world.conversation_count; i++) {
        const struct conversation *one = &world.conversations[i];
        count += one->header_size > 0 || one->temper == TEMPER_VANISHES ||
                 one->speaks_us - one->connects_us >= time_us;
    }
    return count;
}
