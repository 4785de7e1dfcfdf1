/* sim_world.c: creates and destroys the world; its generator, faults, lock and trace. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "engine/sim/sim_connection.h"

/* The time does not begin at 0, so that no part of the host confuses the beginning with "never". */
#define BEGINNING_US UINT64_C(3600000000)

#define HASH_PRIME UINT64_C(0x100000001b3)
#define HASH_SEED UINT64_C(0xcbf29ce484222325)

struct sim_world *sim;

const struct sim_traits sim_traits[SIM_PERSONALITIES] = {
    [SIM_IOCP] =
        {
            .name = "iocp",
            .socket_reuse = "DisconnectEx",
            .loses_cancels = true,
            .reuses_sockets = true,
            .accept_owns_memory = true,
            .receive_ahead = true,
            .send_whole = true,
            .connect_sends = true,
            .refuses_full = true,
            .reset_drops = true,
            .datagram_waits = true,
            .backlog_is_fixed = true,
        },
    [SIM_URING] =
        {
            .name = "io_uring",
            .socket_reuse = "off: a new socket costs no more on Linux",
            .accept_on_workers = true,
            .buffer_ring = true,
            .tells_unsent = true,
        },
    [SIM_EPOLL] =
        {
            .name = "epoll",
            .socket_reuse = "off: a new socket costs no more on Linux",
            .accept_on_workers = true,
            .send_again = true,
            .tells_unsent = true,
        },
};

const char *sim_personality_name(enum sim_personality personality) {
    return sim_traits[personality].name;
}

/* -- memory ---------------------------------------------------------------- */

static void *or_end(void *memory) {
    if (!memory) {
        fputs("the simulated world is out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *sim_memory(size_t size) {
    return or_end(calloc(1, size));
}

void *sim_memory_resize(void *memory, size_t size) {
    return or_end(realloc(memory, size));
}

void sim_memory_free(void *memory) {
    free(memory);
}

void *sim_pool_take(struct sim_pool *pool, size_t size) {
    void **object = pool->free;
    if (!object) {
        return sim_memory(size);
    }
    pool->free = *object;
    return memset(object, 0, size);
}

void sim_pool_give(struct sim_pool *pool, void *object) {
    *(void **)object = pool->free;
    pool->free = object;
}

void sim_pool_fini(struct sim_pool *pool) {
    while (pool->free) {
        void *object = pool->free;
        pool->free = *(void **)object;
        free(object);
    }
}

/* -- the generator ------------------------------------------------------------
 *
 * SplitMix64 (Steele, Lea, Flood 2014): one word of state, and any seed is as good as another. */

uint64_t sim_next_random(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t sim_random(uint64_t below) {
    if (below == 0) {
        return 0;
    }
    uint64_t drawn = sim_next_random(&sim->random);
    return below <= UINT32_MAX ? (drawn >> 32) * below >> 32 : drawn % below;
}

uint64_t sim_between(uint64_t least, uint64_t most) {
    return most > least ? least + sim_random(most - least + 1) : least;
}

bool sim_chance(uint32_t millionths) {
    if (millionths == 0 || millionths >= SIM_ALWAYS) {
        return millionths > 0;
    }
    return sim_random(SIM_ALWAYS) < millionths;
}

uint64_t sim_latency(void) {
    return sim_between(sim->options.latency_min_us, sim->options.latency_max_us);
}

int64_t sim_fault(enum sim_operation operation) {
    const uint32_t *faults = sim->options.faults[operation];
    uint32_t all = 0;
    for (unsigned i = 0; i < ENGINE_ERRORS; i++) {
        all += faults[i];
    }
    if (all == 0) {
        return 0;
    }
    uint64_t drawn = sim_random(SIM_ALWAYS);
    for (unsigned i = 0; i < ENGINE_ERRORS; i++) {
        if (drawn < faults[i]) {
            return -(int64_t)i;
        }
        drawn -= faults[i];
    }
    return 0;
}

/* -- faults ---------------------------------------------------------------- */

void sim_faults_end(void) {
    struct sim_options *options = &sim->options;
    sim_enter();
    memset(options->faults, 0, sizeof(options->faults));
    options->reset = 0;
    options->half_close = 0;
    options->reset_as_fin = 0;
    options->cancel_lost = 0;
    options->cancel_abandoned = 0;
    options->connect_to_itself = 0;
    options->datagram_lost = 0;
    options->datagram_twice = 0;
    options->sockets_max = UINT32_MAX;
    options->files_max = UINT32_MAX;
    while (sim->failing) {
        struct sim_failing *failing = sim->failing;
        sim->failing = failing->next;
        free(failing);
    }
    sim_leave();
}

/* -- the lock -------------------------------------------------------------- */

void sim_enter(void) {
    if (!sim->options.threads) {
        return;
    }
    uintptr_t self = os_thread_id();
    if (atomic_load_explicit(&sim->owner, memory_order_relaxed) != self) {
        os_mutex_lock(&sim->mutex);
        atomic_store_explicit(&sim->owner, self, memory_order_relaxed);
    }
    sim->depth++;
}

void sim_leave(void) {
    if (!sim->options.threads || --sim->depth > 0) {
        return;
    }
    atomic_store_explicit(&sim->owner, 0, memory_order_relaxed);
    os_condition_signal_all(&sim->condition);
    os_mutex_unlock(&sim->mutex);
}

void sim_wait_really(int timeout_ms) {
    unsigned depth = sim->depth;
    sim->depth = 0;
    atomic_store_explicit(&sim->owner, 0, memory_order_relaxed);
    os_condition_wait(&sim->condition, &sim->mutex, timeout_ms);
    atomic_store_explicit(&sim->owner, os_thread_id(), memory_order_relaxed);
    sim->depth = depth;
}

/* -- the world ------------------------------------------------------------- */

void sim_world_create(const struct sim_options *options) {
    ASSERT(!sim);
    sim = sim_memory(sizeof(*sim));
    sim->options = *options;
    sim->random = options->seed;
    sim->trace_hash = HASH_SEED;
    atomic_store(&sim->now_us, BEGINNING_US);
    sim->ephemeral = 40000;
    if (options->threads) {
        os_mutex_init(&sim->mutex);
        os_condition_init(&sim->condition);
    }
}

static void names_fini(void) {
    while (sim->names) {
        struct sim_name *name = sim->names;
        sim->names = name->next;
        free(name->host);
        free(name);
    }
    while (sim->failing) {
        struct sim_failing *failing = sim->failing;
        sim->failing = failing->next;
        free(failing);
    }
}

/* The owners of abandoned operations keep that memory for good. It is reachable from here, so that
 * a leak detector does not report what is kept on purpose. */
static struct sim_abandoned *kept_for_good;

static void abandoned_keep(struct sim_abandoned *first) {
    struct sim_abandoned *last = first;
    while (last && last->next) {
        last = last->next;
    }
    if (last) {
        last->next = kept_for_good;
        kept_for_good = first;
    }
}

void sim_world_destroy(void) {
    ASSERT(sim && !sim->ports && !sim->engines);
    sim_servers_fini();
    sim_datagrams_fini();
    while (sim->connections) {
        sim_connection_free(sim->connections);
    }
    while (sim->free_connections.free) {
        struct sim_connection *connection = sim->free_connections.free;
        sim->free_connections.free = *(void **)connection;
        for (unsigned i = 0; i < 2; i++) {
            free(connection->ends[i].in.bytes);
            free(connection->ends[i].in.marks);
        }
        free(connection);
    }
    sim_pool_fini(&sim->free_accepts);
    sim_pool_fini(&sim->free_connects);
    sim_pool_fini(&sim->free_posts);
    sim_pool_fini(&sim->free_sends);
    sim_check();
    abandoned_keep(sim->abandoned);
    names_fini();
    if (sim->options.threads) {
        os_mutex_fini(&sim->mutex);
        os_condition_fini(&sim->condition);
    }
    free(sim->heap);
    free(sim->ops);
    free(sim->slots);
    free(sim);
    sim = NULL;
}

void sim_world_abandon(void) {
    sim = NULL;
}

bool sim_world_exists(void) {
    return sim != NULL;
}

struct sim_options *sim_world_options(void) {
    return &sim->options;
}

unsigned sim_operations(void) {
    return sim->ops_count;
}

unsigned sim_sockets(void) {
    return sim->sockets;
}

uint64_t sim_now_us(void) {
    return atomic_load_explicit(&sim->now_us, memory_order_relaxed);
}

/* Without a world the time does not advance. */
uint64_t engine_now_ms(void) {
    return sim ? sim_now_us() / 1000 : BEGINNING_US / 1000;
}

/* -- trace and violations -------------------------------------------------- */

uint64_t sim_trace_hash(void) {
    return sim->trace_hash;
}

void sim_set_trace(sim_trace_fn *trace, void *context) {
    sim->trace = trace;
    sim->trace_context = context;
}

void sim_note(enum sim_note note, uint64_t id, int64_t value) {
    static const char *const names[SIM_NOTES] = {
        "complete", "deliver", "start",   "sent",     "arrive", "fin",  "reset", "connect",
        "accept",   "close",   "starved", "datagram", "lost",   "peer", "timer", "run",
    };
    uint64_t now = sim_now_us();
    uint64_t hash = sim->trace_hash;
    hash = (hash ^ now ^ (uint64_t)note << 56) * HASH_PRIME;
    hash = (hash ^ (hash >> 32) ^ id) * HASH_PRIME;
    hash = (hash ^ (hash >> 32) ^ (uint64_t)value) * HASH_PRIME;
    sim->trace_hash = hash ^ (hash >> 29);
    if (sim->trace) {
        char line[128];
        snprintf(line, sizeof(line), "%10" PRIu64 " %-8s #%" PRIu64 " %" PRId64, now - BEGINNING_US,
                 names[note], id, value);
        sim->trace(line, sim->trace_context);
    }
}

void sim_on_violation(sim_violation_fn *violation, void *context) {
    sim->violation = violation;
    sim->violation_context = context;
}

void sim_broken(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (sim->violation) {
        sim->violation(text, sim->violation_context);
        return;
    }
    fprintf(stderr, "engine.h: %s (seed %" PRIu64 ", %" PRIu64 " us)\n", text, sim->options.seed,
            sim_now_us() - BEGINNING_US);
    abort();
}
