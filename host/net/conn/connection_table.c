/* The connections of a worker: their table by ids, and the lists of dirty connections. */
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/conn/connection.h"
#include "net/conn/worker_core.h"

enum {
    RUN_PENDING_ROUNDS_MAX = 16, /* callbacks that trigger each other yield to the rest */
    SLOT_BITS = 24,              /* connections of a worker, as a power of two */
    GENERATION_BITS = 32,
};

/* An id, from the top: the worker, the generation (never 0), the slot. */
#define SLOT_MASK ((UINT64_C(1) << SLOT_BITS) - 1)

#define SLOT_IS_FREE UINT64_C(1)

/* The end of a list of free slots: no table is that long. */
#define SLOT_NONE ((uint32_t)SLOT_MASK)

unsigned worker_of_id(uint64_t id) {
    return (unsigned)(id >> (SLOT_BITS + GENERATION_BITS));
}

void worker_table_init(struct worker *worker) {
    worker->slot_free = SLOT_NONE;
    worker->dirty_first = WORKER_NO_SLOT;
    worker->dirty_last = WORKER_NO_SLOT;
    worker->postponed_first = WORKER_NO_SLOT;
    worker->postponed_last = WORKER_NO_SLOT;
    worker->run_pending = worker_run_pending;
}

static struct worker_slot slot_free(uint32_t generation, uint32_t next) {
    return (struct worker_slot){(uint64_t)generation << 32 | (uint64_t)next << 1 | SLOT_IS_FREE};
}

static bool table_grow(struct worker *worker) {
    uint32_t count = worker->slot_count == 0 ? 64 : worker->slot_count * 2;
    if (count > SLOT_MASK) {
        return false;
    }
    struct worker_slot *slots = alloc_resize(worker->slots, count * sizeof(*slots));
    if (!slots) {
        return false;
    }
    worker->slots = slots;
    worker->slot_count = count;
    return true;
}

/* A slot that has been used, or else the first unused one: memory of unused slots is not touched
 * before, and so costs nothing. SLOT_NONE: no memory. */
static uint32_t connection_table_slot_take(struct worker *worker) {
    uint32_t index = worker->slot_free;
    if (index != SLOT_NONE) {
        worker->slot_free = (uint32_t)worker->slots[index].word >> 1;
        return index;
    }
    if (worker->slot_used == worker->slot_count && !table_grow(worker)) {
        return SLOT_NONE;
    }
    index = worker->slot_used++;
    worker->slots[index] = slot_free(1, SLOT_NONE);
    return index;
}

bool worker_register(struct worker *worker, struct connection *connection) {
    uint32_t index = connection_table_slot_take(worker);
    if (index == SLOT_NONE) {
        return false;
    }
    struct worker_slot *slot = &worker->slots[index];
    connection->public.id = (uint64_t)worker->index << (SLOT_BITS + GENERATION_BITS) |
                            (slot->word >> 32) << SLOT_BITS | index;
    slot->word = (uintptr_t)connection;
    worker->connection_count++;
    return true;
}

static struct connection *connection_in(const struct worker *worker, uint32_t index) {
    uint64_t word = worker->slots[index].word;
    return (word & SLOT_IS_FREE) == 0 ? (struct connection *)(uintptr_t)word : NULL;
}

static uint32_t connection_table_slot_of(const struct connection *connection) {
    return (uint32_t)(connection->public.id & SLOT_MASK);
}

void worker_unregister(struct worker *worker, struct connection *connection) {
    uint32_t index = connection_table_slot_of(connection);
    uint32_t generation = (uint32_t)(connection->public.id >> SLOT_BITS);
    ASSERT(connection_in(worker, index) == connection);
    worker->slots[index] =
        slot_free(generation == UINT32_MAX ? 1 : generation + 1, worker->slot_free);
    worker->slot_free = index;
    worker->connection_count--;
}

struct connection *worker_next(const struct worker *worker, uint32_t *slot) {
    while (*slot < worker->slot_used) {
        struct connection *connection = connection_in(worker, (*slot)++);
        if (connection) {
            return connection;
        }
    }
    return NULL;
}

struct connection *worker_find(const struct worker *worker, uint64_t id) {
    uint32_t index = (uint32_t)(id & SLOT_MASK);
    struct connection *connection = index < worker->slot_used ? connection_in(worker, index) : NULL;
    return connection && connection->public.id == id ? connection : NULL;
}

/* -- run pending ----------------------------------------------------------- */

static void list_settling(struct worker *worker, struct connection *connection, uint32_t *first,
                          uint32_t *last) {
    if (connection->dirty) {
        return;
    }
    connection->dirty = true;
    connection->next_dirty = WORKER_NO_SLOT;
    if (*last != WORKER_NO_SLOT) {
        connection_in(worker, *last)->next_dirty = connection_table_slot_of(connection);
    } else {
        *first = connection_table_slot_of(connection);
    }
    *last = connection_table_slot_of(connection);
}

void worker_mark_dirty(struct worker *worker, struct connection *connection) {
    list_settling(worker, connection, &worker->dirty_first, &worker->dirty_last);
}

void worker_postpone(struct worker *worker, struct connection *connection) {
    list_settling(worker, connection, &worker->postponed_first, &worker->postponed_last);
}

void worker_clear_dirty(struct connection *connection) {
    connection->dirty = true;
}

/* The next turn: the postponed connections follow the others. */
void worker_take_postponed(struct worker *worker) {
    if (worker->postponed_first == WORKER_NO_SLOT) {
        return;
    }
    if (worker->dirty_last != WORKER_NO_SLOT) {
        connection_in(worker, worker->dirty_last)->next_dirty = worker->postponed_first;
    } else {
        worker->dirty_first = worker->postponed_first;
    }
    worker->dirty_last = worker->postponed_last;
    worker->postponed_first = WORKER_NO_SLOT;
    worker->postponed_last = WORKER_NO_SLOT;
}

void worker_run_pending(struct worker *worker) {
    for (int round = 0; worker->dirty_first != WORKER_NO_SLOT && round < RUN_PENDING_ROUNDS_MAX;
         round++) {
        uint32_t slot = worker->dirty_first;
        worker->dirty_first = WORKER_NO_SLOT;
        worker->dirty_last = WORKER_NO_SLOT;
        while (slot != WORKER_NO_SLOT) {
            struct connection *connection = connection_in(worker, slot);
            slot = connection->next_dirty;
            connection->dirty = false;
            connection_run_pending(connection);
        }
    }
}
