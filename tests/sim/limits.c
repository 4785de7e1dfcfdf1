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
#include "net/lib/admission.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "rule.h"
#include "world.h"

enum {
    SERVED_US = 5000000, /* of a client that speaks, where there is room */
    SHOWN_US = 2000000,  /* of bytes that the plugin waits for */
    PROXY_MS = 5000,     /* how long a header is awaited */
};

/* -- counts ---------------------------------------------------------------- */

void limits_note_opened(struct conversation *conversation) {
    unsigned *of_client = &world.opened_of[conversation->number % ADDRESSES];
    unsigned now = world.opened - world.closed;
    ++*of_client;
    conversation->opened_us = sim_now_us();
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

/* limits.active_io: no turn more than there may be, and none is free while somebody waits. */
static void check_turns_of(const struct listener *listener) {
    const struct io_permits *turns = &listener->io_permits;
    RULE(turns->taken <= world.active_io_max, "limits.active_io is not exceeded: %u", turns->taken);
    RULE(!turns->waiting || turns->max == 0 || turns->taken >= turns->max,
         "limits.active_io: %u of %u are active, and others wait", turns->taken, turns->max);
}

static void check_counts(void) {
    const struct server *server = world.server;
    const struct open_listener *open;
    unsigned count = world.opened - world.closed;
    RULE(atomic_load(&server->connections) == count,
         "counts are exact: %u connections of the host, %u are open",
         atomic_load(&server->connections), count);
    RULE(atomic_load(&world.admission->connections) == count,
         "counts are exact: %u connections of all generations, %u are open",
         atomic_load(&world.admission->connections), count);
    LL_FOREACH(host_open_listeners(), open) {
        if (open->public) {
            check_counts_of(open);
            check_turns_of((const struct listener *)open->public);
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
               atomic_load(&listener->admission->connections) < listener->options.connections_max &&
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

/* -- what comes is shown --------------------------------------------------- */

/* Whether the plugin is to be shown something soon: more than it has seen, or what it left when it
 * paused, and as much as it wants. */
static bool is_due(const struct conversation *one) {
    const struct listener *listener =
        one->conn ? (const struct listener *)one->conn->listener : NULL;
    uint64_t there = one->sent - one->consumed;
    bool is_open = listener && !one->is_ending && !one->has_called_close && one->short_at == 0 &&
                   !one->peer_has_closed && !one->is_over;
    bool is_held = one->is_paused || one->is_filled || !one->began_quiet || world.is_faulty ||
                   (listener && listener->options.active_io_max < CONVERSATIONS_MAX);
    return is_open && !is_held && there > 0 && there >= one->wanted &&
           (one->sent > one->offered || one->is_resumed);
}

static void check_shown(void) {
    for (unsigned i = 0; i < world.conversation_count; i++) {
        struct conversation *one = &world.conversations[i];
        if (!is_due(one)) {
            one->due_us = 0;
        } else if (one->due_us == 0) {
            one->due_us = sim_now_us();
        } else {
            RULE(sim_now_us() < one->due_us + SHOWN_US,
                 "what comes is shown: %llu bytes of client %u wait for %llu ms",
                 (unsigned long long)(one->sent - one->consumed), i,
                 (unsigned long long)(sim_now_us() - one->due_us) / 1000);
        }
    }
}

void limits_check(void) {
    check_counts();
    run_clocks();
    check_served();
    check_shown();
}

/* -- refusals -------------------------------------------------------------- */

static unsigned denied_clients(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < world.conversation_count; i++) {
        count += client_is_denied(&world.conversations[i]);
    }
    return count;
}

/* How many of the client came and were opened between the two moments. */
static unsigned opened_between(unsigned address, uint64_t from_us, uint64_t to_us) {
    unsigned count = 0;
    for (unsigned i = address; i < world.conversation_count; i += ADDRESSES) {
        const struct conversation *one = &world.conversations[i];
        count += one->has_opened && one->connects_us >= from_us && one->opened_us <= to_us;
    }
    return count;
}

/* Of one client, within whatever time, come its burst and what the rate allows. */
static void check_rate_of(unsigned address) {
    for (unsigned i = address; i < world.conversation_count; i += ADDRESSES) {
        for (unsigned k = address; k < world.conversation_count; k += ADDRESSES) {
            uint64_t from_us = world.conversations[i].connects_us;
            uint64_t to_us = world.conversations[k].opened_us;
            uint64_t time_us = to_us > from_us ? to_us - from_us : 0;
            uint64_t most = world.rate_burst + 1 + time_us * world.rate / 1000000;
            RULE(opened_between(address, from_us, to_us) <= most,
                 "limits.accept_rate_per_client is not exceeded: %u connections within %llu ms",
                 opened_between(address, from_us, to_us), (unsigned long long)time_us / 1000);
        }
    }
}

static void check_rate(uint64_t refused) {
    unsigned clients[ADDRESSES] = {0};
    uint64_t excess = 0;
    for (unsigned i = 0; i < world.conversation_count; i++) {
        clients[i % ADDRESSES]++;
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        if (world.rate > 0) {
            check_rate_of(i);
        }
        excess +=
            world.rate > 0 && clients[i] > world.rate_burst ? clients[i] - world.rate_burst : 0;
    }
    RULE(refused <= excess || world.memory_failed,
         "limits.accept_rate_per_client refuses who comes too often: %llu of %llu",
         (unsigned long long)refused, (unsigned long long)excess);
}

/* Clients that are reset for a reason, before the plugin is told of them. */
static uint64_t sent_away(const struct listener_counters *total) {
    uint64_t count = atomic_load(&total->first_data_timeouts);
    for (unsigned i = 0; i < LISTENER_REFUSALS; i++) {
        count += atomic_load(&total->refused[i]);
    }
    return count;
}

void limits_begin_quiet(void) {
    struct listener_counters total;
    listener_total(host_main_listener(), &total);
    world.sent_away_before = sent_away(&total);
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
    uint64_t away = sent_away(&total) - world.sent_away_before;
    RULE(world.unopened_resets <= away,
         "nobody is reset without a reason: %u are, with reasons for %llu", world.unopened_resets,
         (unsigned long long)away);
}
