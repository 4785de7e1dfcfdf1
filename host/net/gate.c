#include "net/gate.h"

#include "base/alloc.h"
#include "base/assert.h"

struct gate *gate_create(const struct client_limits *limits) {
    struct gate *gate = alloc_zeroed(sizeof(*gate));
    if (gate) {
        gate->references = 1;
        client_table_init(&gate->clients, limits);
    }
    return gate;
}

void gate_acquire(struct gate *gate) {
    gate->references++;
}

void gate_release(struct gate *gate) {
    if (gate && --gate->references == 0) {
        ASSERT(atomic_load(&gate->connections) == 0);
        client_table_fini(&gate->clients);
        alloc_free(gate);
    }
}
