/* sim_ops.c: the table of started operations, which checks that each completes once and is not
 * touched before.
 *
 * The engine's part of an operation in flight holds the serial number of its start. The completion,
 * or sim_check(), detects code that writes there, frees the operation or starts it again. */
#include <inttypes.h>

#include "engine/sim/sim_private.h"

#define ABANDONED_MARK UINT64_C(0xabadd0bedabadd0b)

static const char *const kind_names[] = {
    [SIM_OP_POST] = "post", [SIM_OP_ACCEPT] = "accept",   [SIM_OP_RECEIVE] = "receive",
    [SIM_OP_SEND] = "send", [SIM_OP_CONNECT] = "connect", [SIM_OP_STOP] = "engine_receiver_stop",
};

static uint64_t sim_op_canary(const struct sim_op *record) {
    return (record->serial ^ (uintptr_t)record->op) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint32_t sim_op_bucket_of(const struct engine_op *op) {
    return (uint32_t)(((uintptr_t)op >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 32) &
           (sim->ops_room - 1);
}

static void sim_op_insert(struct sim_op *record) {
    struct sim_op **bucket = &sim->ops[sim_op_bucket_of(record->op)];
    record->next = *bucket;
    *bucket = record;
}

static void sim_op_grow(void) {
    struct sim_op **old = sim->ops;
    uint32_t old_room = sim->ops_room;
    sim->ops_room = old_room == 0 ? 64 : old_room * 2;
    sim->ops = sim_memory(sim->ops_room * sizeof(struct sim_op *));
    for (uint32_t i = 0; i < old_room; i++) {
        struct sim_op *next;
        for (struct sim_op *record = old[i]; record; record = next) {
            next = record->next;
            sim_op_insert(record);
        }
    }
    sim_memory_free(old);
}

struct sim_op *sim_op_find(const struct engine_op *op) {
    if (sim->ops_room == 0) {
        return NULL;
    }
    struct sim_op *record = sim->ops[sim_op_bucket_of(op)];
    while (record && record->op != op) {
        record = record->next;
    }
    return record;
}

bool sim_op_start(struct sim_op *record, struct engine_op *op, struct engine_port *port,
                  enum sim_op_kind kind) {
    const struct sim_op *other = sim_op_find(op);
    if (other) {
        sim_broken("a %s starts an operation that is in flight as a %s", kind_names[kind],
                   kind_names[other->kind]);
        return false;
    }
    if (sim->ops_count >= sim->ops_room) {
        sim_op_grow();
    }
    *record = (struct sim_op){
        .op = op, .port = port, .complete = op->complete, .serial = ++sim->op_serial, .kind = kind};
    op->opaque[0] = sim_op_canary(record);
    sim_op_insert(record);
    sim->ops_count++;
    port->pending++;
    sim_note(SIM_NOTE_START, record->serial, (int64_t)kind);
    return true;
}

static bool is_untouched(const struct sim_op *record) {
    const struct engine_op *op = record->op;
    if (op->opaque[0] == sim_op_canary(record) && op->complete == record->complete) {
        return true;
    }
    sim_broken("the memory of a %s in flight was written to or used again (operation %" PRIu64 ")",
               kind_names[record->kind], record->serial);
    return false;
}

static void remove_from_table(struct sim_op *record) {
    struct sim_op **link = &sim->ops[sim_op_bucket_of(record->op)];
    while (*link != record) {
        link = &(*link)->next;
    }
    *link = record->next;
    sim->ops_count--;
}

static void sim_op_finish(struct sim_op *record, int64_t result, uint64_t left_behind) {
    struct engine_op *op = record->op;
    bool untouched = is_untouched(record);
    remove_from_table(record);
    record->op = NULL;
    record->port->pending--;
    record->port->ran++;
    sim_note(SIM_NOTE_COMPLETE, record->serial, result);
    if (untouched) {
        op->opaque[0] = left_behind;
        op->complete(op, result);
    }
}

void sim_op_complete(struct sim_op *record, int64_t result) {
    sim_op_finish(record, result, 0);
}

void sim_op_abandon(struct sim_op *record) {
    struct sim_abandoned *one = sim_memory(sizeof(*one));
    one->op = record->op;
    one->next = sim->abandoned;
    sim->abandoned = one;
    sim_op_finish(record, ENGINE_E_ABANDONED, ABANDONED_MARK);
}

bool sim_cancel_is_lost(const struct engine_port *port) {
    return port->engine->sim->loses_cancels && sim_chance(sim->options.cancel_lost);
}

void sim_op_deliver(struct sim_op *record, int64_t result) {
    if (is_untouched(record)) {
        record->port->ran++;
        sim_note(SIM_NOTE_DELIVER, record->serial, result);
        record->op->complete(record->op, result);
    }
}

void sim_check(void) {
    sim_enter();
    for (uint32_t i = 0; i < sim->ops_room; i++) {
        for (const struct sim_op *record = sim->ops[i]; record; record = record->next) {
            is_untouched(record);
        }
    }
    for (const struct sim_abandoned *one = sim->abandoned; one; one = one->next) {
        if (one->op->opaque[0] != ABANDONED_MARK) {
            sim_broken("the memory of an operation that was abandoned is used again");
        }
    }
    sim_leave();
}
