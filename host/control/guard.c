#include "control/guard.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "control/control.h"
#include "engine/engine.h"
#include "net/lib/latch.h"
#include "net/listen/listener.h"
#include "os/os_process.h"
#include "plugin/callback_guard.h"
#include "plugin/crash_report.h"

enum {
    BUSY_MS = 200,  /* after that, the watchdog thread takes the requests */
    SLOW_MS = 200,  /* a call that takes longer is named as what blocks the control thread */
    AWAIT_MS = 250, /* the longest wait for a wake */
    FLUSH_MS = 500,
    PASSED_MAX_MS = 1000, /* the most that counts between two ticks: the process may be stopped */
    RUNNING_MAX = 16,
};

void guard_configure(struct guard *guard, uint32_t drain_timeout_ms, uint32_t hang_timeout_ms) {
    atomic_store(&guard->drain_ms, drain_timeout_ms);
    atomic_store(&guard->hang_ms, hang_timeout_ms);
    atomic_store(&guard->control_thread, os_thread_id());
    if (atomic_load(&guard->busy_since_ms) == 0) {
        atomic_store(&guard->busy_since_ms, engine_now_ms());
    }
}

static void guard_end_within(struct guard *guard, uint64_t ms) {
    uint64_t wanted = engine_now_ms() + ms;
    unsigned long long known = atomic_load(&guard->end_ms);
    while ((known == 0 || wanted < known) &&
           !atomic_compare_exchange_weak(&guard->end_ms, &known, wanted)) {
    }
}

void guard_stop(struct guard *guard, bool now) {
    if (now) {
        atomic_store(&guard->asked_now, true);
    }
    guard_end_within(guard,
                     now ? GUARD_NOW_MS : (uint64_t)atomic_load(&guard->drain_ms) + GUARD_STOP_MS);
}

void guard_clear(struct guard *guard) {
    if (atomic_load(&guard->end_ms) == 0) {
        guard_end_within(guard, GUARD_CLEAR_MS);
    }
}

bool guard_is_asked(const void *guard_of_host) {
    const struct guard *guard = guard_of_host;
    return atomic_load(&guard->end_ms) != 0;
}

bool guard_is_asked_now(const struct guard *guard) {
    return atomic_load(&guard->asked_now);
}

/* Notes a request, on the thread that takes it. */
static void guard_note(struct guard *guard, enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP) {
        guard_stop(guard, atomic_fetch_add(&guard->stops_seen, 1) > 0);
    }
}

static void put_off(struct guard *guard, enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP) {
        atomic_fetch_add(&guard->stops, 1);
    } else if (signal == OS_SIGNAL_RELOAD) {
        atomic_store(&guard->reload, true);
    }
}

/* -- the control thread's side --------------------------------------------- */

enum os_signal guard_wait(struct guard *guard, int timeout_ms) {
    unsigned count = atomic_load(&guard->stops);
    while (count > 0) {
        if (atomic_compare_exchange_weak(&guard->stops, &count, count - 1)) {
            return OS_SIGNAL_STOP;
        }
    }
    if (atomic_exchange(&guard->reload, false)) {
        return OS_SIGNAL_RELOAD;
    }
    atomic_store(&guard->busy_since_ms, 0);
    enum os_signal signal = os_signals_wait(timeout_ms);
    atomic_store(&guard->busy_since_ms, engine_now_ms());
    guard_note(guard, signal);
    return signal;
}

void guard_await_wake(struct guard *guard) {
    enum os_signal signal = os_signals_wait(AWAIT_MS);
    guard_note(guard, signal);
    put_off(guard, signal);
}

void guard_await_aborted(struct guard *guard, const struct listener *listener) {
    latch_note_begin(&guard->waits, "connections that were cut to end");
    while (atomic_load(&listener->references) > 0) {
        guard_await_wake(guard);
    }
    latch_note_end(&guard->waits);
}

/* -- the watchdog thread's side -------------------------------------------- */

uint64_t guard_busy_ms(const struct guard *guard, char *text, size_t size) {
    struct callback_running running;
    uint64_t since_ms = atomic_load(&guard->busy_since_ms);
    uint64_t now_ms = engine_now_ms();
    const char *what;
    latch_note_read(&guard->waits, &what);
    if (since_ms == 0 || now_ms <= since_ms) {
        return 0;
    }
    if (callback_guard_running(SLOW_MS, false, &running, 1) > 0) {
        callback_running_describe(&running, text, size);
    } else {
        snprintf(text, size, "the control thread waits for %s", what ? what : "the system");
    }
    return now_ms - since_ms;
}

static void tell_who_does_not_return(const struct guard *guard) {
    struct callback_running running[RUNNING_MAX];
    char text[512];
    size_t count = callback_guard_running(SLOW_MS, true, running, RUNNING_MAX);
    for (size_t i = 0; i < count; i++) {
        struct log_subject subject = {.plugin = running[i].plugin};
        if (running[i].listener[0] != '\0') {
            subject.listener = running[i].listener;
        }
        callback_running_describe(&running[i], text, sizeof(text));
        log_error(&subject, "stop: %s, and is not waited for any longer", text);
    }
    if (count == 0) {
        guard_busy_ms(guard, text, sizeof(text));
        log_error(NULL, "stop: it is not over in time: %s", text);
    }
}

/* The system frees the resources of the process; what plugins had to save is lost. */
static void end_process(struct guard *guard) {
    tell_who_does_not_return(guard);
    log_error(NULL, "stopped by force: the process ends now");
    if (guard->by_force) {
        guard->by_force(guard->context);
    }
    log_flush(FLUSH_MS);
    os_process_exit_now(EXIT_FAILED);
}

/* Ends the process if the control thread waits too long for workers while no callback runs.
 * plugin/callback_guard.h handles callbacks that take long, and a wait for a worker lasts as
 * long as they do. */
static void look_at_wait(struct guard *guard, uint64_t now_ms) {
    struct callback_running running;
    const char *what;
    unsigned number = latch_note_read(&guard->waits, &what);
    uint64_t passed_ms = now_ms - guard->looked_ms;
    uint32_t limit_ms = atomic_load(&guard->hang_ms);
    guard->looked_ms = now_ms;
    if (!what || number != guard->watched || atomic_load(&guard->end_ms) != 0 ||
        callback_guard_running(SLOW_MS, false, &running, 1) > 0) {
        guard->watched = number;
        guard->waited_ms = 0;
        return;
    }
    guard->waited_ms += passed_ms < PASSED_MAX_MS ? passed_ms : PASSED_MAX_MS;
    if (limit_ms > 0 && guard->waited_ms >= limit_ms) {
        crash_report_hung_host(atomic_load(&guard->control_thread), what, guard->waited_ms);
    }
}

void guard_tick(void *context) {
    struct guard *guard = context;
    uint64_t since_ms = atomic_load(&guard->busy_since_ms);
    uint64_t now_ms = engine_now_ms();
    look_at_wait(guard, now_ms);
    if (since_ms != 0 && now_ms > since_ms + BUSY_MS) {
        enum os_signal signal = os_signals_look();
        guard_note(guard, signal);
        put_off(guard, signal);
        if (signal != OS_SIGNAL_NONE) {
            os_signals_wake(); /* the control thread may have just begun to wait */
        }
    }
    uint64_t until_ms = atomic_load(&guard->end_ms);
    if (until_ms != 0 && now_ms >= until_ms) {
        end_process(guard);
    }
}
