/* engine_under_test.h: the engine that TEST_ENGINE names; NULL, and so the best one, when it is not
 * set. "io_uring-direct" is io_uring with its sockets in the tables of the rings. */
#ifndef BERTH_TESTS_ENGINE_ENGINE_UNDER_TEST_H
#define BERTH_TESTS_ENGINE_ENGINE_UNDER_TEST_H

#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

/* `places`: of each table, where there are tables. */
static inline struct engine_options engine_under_test(unsigned places) {
    const char *name = getenv("TEST_ENGINE");
    if (name && strcmp(name, "io_uring-direct") == 0) {
        return (struct engine_options){.engine = "io_uring", .direct_descriptors = places};
    }
    return (struct engine_options){.engine = name};
}

#endif
