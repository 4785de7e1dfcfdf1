#include "plugin/timed_call.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "os/os.h"
#include "plugin/callback_guard.h"

enum { LOOK_MS = 100 };

/* Shared by the thread and the caller; the last of the two frees it. */
struct timed_call {
    void (*function)(void *argument);
    void *argument;
    struct os_mutex mutex; /* of what follows */
    struct os_condition changed;
    bool done;
    bool abandoned;
};

static void timed_call_destroy(struct timed_call *call) {
    os_condition_fini(&call->changed);
    os_mutex_fini(&call->mutex);
    alloc_free(call);
}

static void timed_call_thread(void *pointer) {
    struct timed_call *call = pointer;
    plugin_thread.has_deadline = true;
    call->function(call->argument);
    plugin_thread_leave();
    os_mutex_lock(&call->mutex);
    call->done = true;
    bool abandoned = call->abandoned;
    os_condition_signal_all(&call->changed);
    os_mutex_unlock(&call->mutex);
    if (abandoned) {
        timed_call_destroy(call);
    }
}

static bool is_interrupted(const struct timed_call_limit *limit) {
    return limit->interrupted && limit->interrupted(limit->context);
}

void timed_call_describe_limit(const struct timed_call_limit *limit, char *text, size_t size) {
    if (is_interrupted(limit)) {
        snprintf(text, size, "when the host was asked to stop");
    } else {
        snprintf(text, size, "within %u ms (host.hang_timeout_ms)", (unsigned)limit->timeout_ms);
    }
}

/* True: it has returned. False: it is abandoned. */
static bool timed_call_await(struct timed_call *call, const struct timed_call_limit *limit) {
    uint64_t began_ms = engine_now_ms();
    os_mutex_lock(&call->mutex);
    while (!call->done && !is_interrupted(limit)) {
        uint64_t passed_ms = engine_now_ms() - began_ms;
        if (limit->timeout_ms != TIMED_CALL_NO_LIMIT && passed_ms >= limit->timeout_ms) {
            break;
        }
        uint64_t left_ms = limit->timeout_ms - passed_ms;
        os_condition_wait(&call->changed, &call->mutex, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
    }
    bool done = call->done;
    call->abandoned = !done;
    os_mutex_unlock(&call->mutex);
    return done;
}

enum timed_call_result timed_call_run(void (*function)(void *argument), void *argument,
                                      const struct timed_call_limit *limit, struct error *error) {
    struct os_thread thread;
    struct timed_call *call = alloc_zeroed(sizeof(*call));
    if (!call) {
        error_set(error, "out of memory");
        return TIMED_CALL_NOT_STARTED;
    }
    call->function = function;
    call->argument = argument;
    os_mutex_init(&call->mutex);
    os_condition_init(&call->changed);
    if (!os_thread_start(&thread, "errand", timed_call_thread, call, error)) {
        timed_call_destroy(call);
        return TIMED_CALL_NOT_STARTED;
    }
    if (!timed_call_await(call, limit)) {
        os_thread_abandon(&thread);
        return TIMED_CALL_ABANDONED;
    }
    os_thread_join(&thread);
    timed_call_destroy(call);
    return TIMED_CALL_DONE;
}
