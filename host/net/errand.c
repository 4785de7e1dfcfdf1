#include "net/errand.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "net/plugin_call.h"
#include "os/os.h"

enum { LOOK_MS = 100 };

/* The thread's and the caller's together; the last of the two frees it. */
struct errand {
    void (*function)(void *argument);
    void *argument;
    struct os_mutex mutex; /* of what follows */
    struct os_condition changed;
    bool done;
    bool abandoned;
};

static void errand_destroy(struct errand *errand) {
    os_condition_fini(&errand->changed);
    os_mutex_fini(&errand->mutex);
    alloc_free(errand);
}

static void errand_thread(void *pointer) {
    struct errand *errand = pointer;
    plugin_thread.has_deadline = true;
    errand->function(errand->argument);
    plugin_thread_leave();
    os_mutex_lock(&errand->mutex);
    errand->done = true;
    bool abandoned = errand->abandoned;
    os_condition_signal_all(&errand->changed);
    os_mutex_unlock(&errand->mutex);
    if (abandoned) {
        errand_destroy(errand);
    }
}

static bool is_interrupted(const struct errand_limit *limit) {
    return limit->interrupted && limit->interrupted(limit->context);
}

void errand_describe_limit(const struct errand_limit *limit, char *text, size_t size) {
    if (is_interrupted(limit)) {
        snprintf(text, size, "when the host was asked to stop");
    } else {
        snprintf(text, size, "within %u ms (host.hang_timeout_ms)", (unsigned)limit->timeout_ms);
    }
}

/* Whether it is done; else it is abandoned. */
static bool errand_await(struct errand *errand, const struct errand_limit *limit) {
    uint64_t began_ms = engine_now_ms();
    os_mutex_lock(&errand->mutex);
    while (!errand->done && !is_interrupted(limit)) {
        uint64_t passed_ms = engine_now_ms() - began_ms;
        if (limit->timeout_ms != ERRAND_NO_LIMIT && passed_ms >= limit->timeout_ms) {
            break;
        }
        uint64_t left_ms = limit->timeout_ms - passed_ms;
        os_condition_wait(&errand->changed, &errand->mutex,
                          left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
    }
    bool done = errand->done;
    errand->abandoned = !done;
    os_mutex_unlock(&errand->mutex);
    return done;
}

enum errand_result errand_run(void (*function)(void *argument), void *argument,
                              const struct errand_limit *limit, struct error *error) {
    struct os_thread thread;
    struct errand *errand = alloc_zeroed(sizeof(*errand));
    if (!errand) {
        error_set(error, "out of memory");
        return ERRAND_NOT_STARTED;
    }
    errand->function = function;
    errand->argument = argument;
    os_mutex_init(&errand->mutex);
    os_condition_init(&errand->changed);
    if (!os_thread_start(&thread, "errand", errand_thread, errand, error)) {
        errand_destroy(errand);
        return ERRAND_NOT_STARTED;
    }
    if (!errand_await(errand, limit)) {
        os_thread_abandon(&thread);
        return ERRAND_ABANDONED;
    }
    os_thread_join(&thread);
    errand_destroy(errand);
    return ERRAND_DONE;
}
