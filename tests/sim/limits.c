/* What is limited is counted exactly, at every step; what there is room for gets in; and what is
 * refused is refused by a limit that was reached.
 *
 * Two clocks tell for how long a client has really waited. The one runs while a connection more may
 * be opened: the listener is not paused, and its limit and the host's leave room. The other one
 * runs while, beside that, fewer than accept.pending_max clients are awaited: then silent clients,
 * however many, must not keep out one that speaks. */
#include <utlist.h>

#include "base/macros.h"
#include "host_in_world.h"
#include "net/gate.h"
#include "net/listener.h"
#include "net/server.h"
#include "net/worker.h"
#include "rule.h"
#include "world.h"

enum {
    SERVED_US = 5000000, /* of a client that speaks, where there is room */
    PROXY_MS = 5000,     /* how long a header is awaited */
};

/* -- counts ---------------------------------------------------------------- */

void limits_note_opened(struct conversation *conversation) {
    unsigned *of_client = &world.opened_of[conversation->number % ADDRESSES];
    unsigned now = world.opened - world.closed;
    ++*of_client;
    world.opened_most = now > world.opened_most ? now : world.opened_most;
    world.opened_of_most = *of_client > world.opened_of_most ? *of_client : world.opened_of_most;
    RULE(*of_client <= world.per_client_max, "limits.per_client is not exceeded: %u", *of_client);
    RULE(now <= world.connections_max, "limits.connections is not exceeded: %u", now);
    RULE(now <= world.host_connections_max, "host.limits.connections is not exceeded: %u", now);
}

static void check_counts_of(const struct open_listener *open) {
    const struct listener *listener = (const struct listener *)open->public;
    RULE(atomic_load(&listener->connections) == open->accepted,
         "counts are exact: %u connections of a listener, %u are open",
         atomic_load(&listener->connections), open->accepted);
    RULE(atomic_load(&listener->works) == open->works,
         "counts are exact: %u works of a listener, %u are not answered",
         atomic_load(&listener->works), open->works);
    RULE(atomic_load(&listener->outbound) >= open->outbound,
         "counts are exact: %u outbound connections and attempts of a listener, %u are there",
         atomic_load(&listener->outbound), open->outbound);
    RULE(atomic_load(&listener->outbound) == open->outbound || open->outbound_late > 0,
         "counts are exact: %u outbound connections and attempts of a listener, %u are there",
         atomic_load(&listener->outbound), open->outbound);
}

static void check_counts(void) {
    const struct server *server = world.server;
    const struct open_listener *open;
    unsigned count = world.opened - world.closed;
    RULE(atomic_load(&server->connections) == count,
         "counts are exact: %u connections of the host, %u are open",
         atomic_load(&server->connections), count);
    RULE(atomic_load(&world.gate->connections) == count,
         "counts are exact: %u connections of all generations, %u are open",
         atomic_load(&world.gate->connections), count);
    LL_FOREACH(host_open_listeners(), open) {
        if (open->public) {
            check_counts_of(open);
        }
    }
    for (unsigned i = 0; i < server->options.workers; i++) {
        RULE(atomic_load(&server->workers[i].posts) == world.posts[i],
             "counts are exact: %u posts to worker %u, %u are under way",
             atomic_load(&server->workers[i].posts), i, world.posts[i]);
    }
}

/* -- room ------------------------------------------------------------------ */

/* Clients that are refused, and whose answer may wait for its turn (limits.active_io). */
static bool is_refusing(void) {
    const struct open_listener *open;
    LL_FOREACH(host_open_listeners(), open) {
        if (open->public && atomic_load(&((const struct listener *)open->public)->refusing) > 0) {
            return true;
        }
    }
    return false;
}

static void run_clocks(void) {
    static uint64_t last_us;
    static bool had_room;
    static bool had_entry;
    const struct listener *listener = host_main_listener();
    const struct server *server = world.server;
    uint64_t now_us = sim_now_us();
    uint64_t passed_us = now_us > last_us ? now_us - last_us : 0;
    world.room_us += had_room ? passed_us : 0;
    world.entry_us += had_entry ? passed_us : 0;
    last_us = now_us;
    had_room = !world.is_faulty && listener && !is_refusing() && !atomic_load(&listener->paused) &&
               listener->accepting &&
               atomic_load(&listener->gate->connections) < listener->options.connections_max &&
               atomic_load(&server->connections) < server->options.connections_max;
    had_entry = had_room && atomic_load(&listener->pending) < listener->options.pending_max;
}

/* How long silent clients may keep out others, who come in so many at a time, until their time is
 * up; a look at the time comes up to a quarter late. */
static uint64_t bound_us(void) {
    uint64_t time_ms =
        world.first_data_max_ms > PROXY_MS ? world.first_data_max_ms : (uint32_t)PROXY_MS;
    uint64_t rounds = 1 + CONVERSATIONS_MAX / (world.pending_min + 1);
    return rounds * time_ms * 1250 + SERVED_US;
}

/* One that has its busy answer may be slow to read it. */
static bool waits_to_be_served(struct conversation *client) {
    if (!client->began_quiet || client->temper > TEMPER_POLITE || client->speaks_us == 0 ||
        client->is_over || client->has_opened) {
        return false;
    }
    client->is_answered |= client->received > 0 || sim_peer_waiting(client->peer) > 0;
    return !client->is_answered;
}

static void check_served(void) {
    for (unsigned i = 0; i < world.conversation_count; i++) {
        struct conversation *client = &world.conversations[i];
        if (waits_to_be_served(client)) {
            RULE(world.entry_us - client->speaks_entry_us < SERVED_US,
                 "silent clients do not starve speakers: client %u (%s) waits, with room for it", i,
                 temper_name(client->temper));
            RULE(world.room_us - client->speaks_room_us < bound_us(),
                 "silent clients do not starve speakers: client %u (%s) waits for %llu ms", i,
                 temper_name(client->temper),
                 (unsigned long long)(world.room_us - client->speaks_room_us) / 1000);
        }
    }
}

void limits_check(void) {
    check_counts();
    run_clocks();
    check_served();
}

/* -- refusals -------------------------------------------------------------- */

static unsigned denied_clients(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < world.conversation_count; i++) {
        count += client_is_denied(&world.conversations[i]);
    }
    return count;
}

/* The connections of a client within a time are its burst and the rate's. */
static void check_rate(uint64_t refused) {
    unsigned opened[ADDRESSES] = {0};
    unsigned clients[ADDRESSES] = {0};
    uint64_t excess = 0;
    uint64_t most = world.rate_burst + sim_now_us() * world.rate / 1000000;
    for (unsigned i = 0; i < world.conversation_count; i++) {
        opened[i % ADDRESSES] += world.conversations[i].has_opened;
        clients[i % ADDRESSES]++;
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        RULE(world.rate == 0 || opened[i] <= most,
             "limits.accept_rate_per_client is not exceeded: %u connections of %llu", opened[i],
             (unsigned long long)most);
        excess +=
            world.rate > 0 && clients[i] > world.rate_burst ? clients[i] - world.rate_burst : 0;
    }
    RULE(refused <= excess || world.memory_failed,
         "limits.accept_rate_per_client refuses who comes too often: %llu of %llu",
         (unsigned long long)refused, (unsigned long long)excess);
}

void limits_check_refused(void) {
    struct listener_counters total;
    listener_total(host_main_listener(), &total);
    uint64_t of[LISTENER_REFUSALS];
    for (unsigned i = 0; i < LISTENER_REFUSALS; i++) {
        of[i] = atomic_load(&total.refused[i]);
    }
    RULE(of[LISTENER_REFUSED_ACCESS] <= denied_clients(),
         "\"deny\" refuses those whom it names: %llu of %u",
         (unsigned long long)of[LISTENER_REFUSED_ACCESS], denied_clients());
    RULE(of[LISTENER_REFUSED_PER_CLIENT] == 0 || world.opened_of_most >= world.per_client_min ||
             world.memory_failed,
         "limits.per_client is exact: %llu are refused, with %u connections of %u",
         (unsigned long long)of[LISTENER_REFUSED_PER_CLIENT], world.opened_of_most,
         world.per_client_min);
    RULE(of[LISTENER_REFUSED_LISTENER] == 0 || world.opened_most >= world.connections_min,
         "limits.connections is exact: %llu are refused, with %u connections of %u",
         (unsigned long long)of[LISTENER_REFUSED_LISTENER], world.opened_most,
         world.connections_min);
    RULE(of[LISTENER_REFUSED_HOST] == 0 || world.opened_most >= world.host_connections_max,
         "host.limits.connections is exact: %llu are refused, with %u connections of %u",
         (unsigned long long)of[LISTENER_REFUSED_HOST], world.opened_most,
         world.host_connections_max);
    RULE(atomic_load(&total.answered_busy) <= world.busy_calls,
         "counters equal events: answered_busy %llu of %u",
         (unsigned long long)atomic_load(&total.answered_busy), world.busy_calls);
    RULE(atomic_load(&total.answered_busy) == world.busy_calls || world.busy_bytes == 0 ||
             world.memory_failed,
         "every busy answer is given: %llu of %u",
         (unsigned long long)atomic_load(&total.answered_busy), world.busy_calls);
    check_rate(of[LISTENER_REFUSED_RATE]);
}
