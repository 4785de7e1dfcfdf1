#include "net/lib/admission.h"

#include "base/alloc.h"
#include "base/assert.h"

struct admission *admission_create(const struct client_limits *limits) {
    struct admission *admission = alloc_zeroed(sizeof(*admission));
    if (admission) {
        admission->references = 1;
        client_table_init(&admission->clients, limits);
    }
    return admission;
}

void admission_acquire(struct admission *admission) {
    admission->references++;
}

void admission_release(struct admission *admission) {
    if (admission && --admission->references == 0) {
        ASSERT(atomic_load(&admission->connections) == 0);
        client_table_fini(&admission->clients);
        alloc_free(admission);
    }
}
