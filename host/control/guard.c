#include "control/guard.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "control/control.h"
#include "control/ready_file.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "net/last_words.h"
#include "net/latch.h"
#include "net/listener.h"
#include "net/plugin_call.h"
#include "os/os_process.h"

enum {
    BUSY_MS = 200,  /* from then on the watching thread takes the requests */
    SLOW_MS = 200,  /* a call that is named as what keeps the control thread */
    AWAIT_MS = 250, /* the longest wait for a wake */
    FLUSH_MS = 500,
    PASSED_MAX_MS = 1000, /* between two looks, if the process was not stopped meanwhile */
    RUNNING_MAX = 16,
};

static atomic_ullong busy_since_ms; /* 0: the control thread waits for requests */
static atomic_ullong end_ms;        /* when the process is ended; 0: no stop is asked for */
static atomic_uint drain_ms;
static atomic_uint stops; /* requests that the control thread has not heard of */
static atomic_bool reload;
static atomic_uint stops_seen;
static atomic_bool asked_now;
static _Atomic(struct ready_file *) ready;
static atomic_uint hang_ms;
static atomic_uintptr_t control_thread;

void guard_configure(uint32_t drain_timeout_ms, uint32_t hang_timeout_ms,
                     struct ready_file *ready_file) {
    atomic_store(&drain_ms, drain_timeout_ms);
    atomic_store(&hang_ms, hang_timeout_ms);
    atomic_store(&control_thread, os_thread_id());
    atomic_store(&ready, ready_file);
    if (atomic_load(&busy_since_ms) == 0) {
        atomic_store(&busy_since_ms, engine_now_ms());
    }
}

static void end_within(uint64_t ms) {
    uint64_t wanted = engine_now_ms() + ms;
    unsigned long long known = atomic_load(&end_ms);
    while ((known == 0 || wanted < known) &&
           !atomic_compare_exchange_weak(&end_ms, &known, wanted)) {
    }
}

void guard_stop(bool now) {
    if (now) {
        atomic_store(&asked_now, true);
    }
    end_within(now ? GUARD_NOW_MS : (uint64_t)atomic_load(&drain_ms) + GUARD_STOP_MS);
}

void guard_clear(void) {
    if (atomic_load(&end_ms) == 0) {
        end_within(GUARD_CLEAR_MS);
    }
}

bool guard_is_asked(void) {
    return atomic_load(&end_ms) != 0;
}

bool guard_is_asked_now(void) {
    return atomic_load(&asked_now);
}

/* A request, on whichever thread it is taken. */
static void note(enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP) {
        guard_stop(atomic_fetch_add(&stops_seen, 1) > 0);
    }
}

static void put_off(enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP) {
        atomic_fetch_add(&stops, 1);
    } else if (signal == OS_SIGNAL_RELOAD) {
        atomic_store(&reload, true);
    }
}

/* -- the control thread's side -------------------------------------------------------------------
 */

enum os_signal guard_wait(int timeout_ms) {
    unsigned count = atomic_load(&stops);
    while (count > 0) {
        if (atomic_compare_exchange_weak(&stops, &count, count - 1)) {
            return OS_SIGNAL_STOP;
        }
    }
    if (atomic_exchange(&reload, false)) {
        return OS_SIGNAL_RELOAD;
    }
    atomic_store(&busy_since_ms, 0);
    enum os_signal signal = os_signals_wait(timeout_ms);
    atomic_store(&busy_since_ms, engine_now_ms());
    note(signal);
    return signal;
}

void guard_await_wake(void) {
    enum os_signal signal = os_signals_wait(AWAIT_MS);
    note(signal);
    put_off(signal);
}

void guard_await_cut(const struct listener *listener) {
    latch_control_begin("connections that were cut to end");
    while (atomic_load(&listener->references) > 0) {
        guard_await_wake();
    }
    latch_control_end();
}

/* -- the watching thread's side ------------------------------------------------------------------
 */

uint64_t guard_busy_ms(char *text, size_t size) {
    struct plugin_running running;
    uint64_t since_ms = atomic_load(&busy_since_ms);
    uint64_t now_ms = engine_now_ms();
    const char *what;
    latch_control_wait(&what);
    if (since_ms == 0 || now_ms <= since_ms) {
        return 0;
    }
    if (plugin_calls_running(SLOW_MS, false, &running, 1) > 0) {
        plugin_running_describe(&running, text, size);
    } else {
        snprintf(text, size, "the control thread waits for %s", what ? what : "the system");
    }
    return now_ms - since_ms;
}

static void tell_who_does_not_return(void) {
    struct plugin_running running[RUNNING_MAX];
    char text[512];
    size_t count = plugin_calls_running(SLOW_MS, true, running, RUNNING_MAX);
    for (size_t i = 0; i < count; i++) {
        struct log_subject subject = {.plugin = running[i].plugin};
        if (running[i].listener[0] != '\0') {
            subject.listener = running[i].listener;
        }
        plugin_running_describe(&running[i], text, sizeof(text));
        log_error(&subject, "stop: %s, and is not waited for any longer", text);
    }
    if (count == 0) {
        guard_busy_ms(text, sizeof(text));
        log_error(NULL, "stop: it is not over in time: %s", text);
    }
}

/* The system takes back what the process has; what plugins had to save is lost. */
static void end_process(void) {
    struct ready_file *file = atomic_load(&ready);
    tell_who_does_not_return();
    log_error(NULL, "stopped by force: the process ends now");
    supervised_ends_by_force();
    if (file) {
        ready_file_fini(file); /* it would say that something is served */
    }
    log_flush(FLUSH_MS);
    os_process_exit_now(EXIT_FAILED);
}

/* Callbacks that take long are looked after by net/plugin_call.h, and what waits behind one waits
 * for it. */
static void look_at_wait(uint64_t now_ms) {
    static unsigned watched;
    static uint64_t looked_ms;
    static uint64_t waited_ms;
    struct plugin_running running;
    const char *what;
    unsigned number = latch_control_wait(&what);
    uint64_t passed_ms = now_ms - looked_ms;
    uint32_t limit_ms = atomic_load(&hang_ms);
    looked_ms = now_ms;
    if (!what || number != watched || atomic_load(&end_ms) != 0 ||
        plugin_calls_running(SLOW_MS, false, &running, 1) > 0) {
        watched = number;
        waited_ms = 0;
        return;
    }
    waited_ms += passed_ms < PASSED_MAX_MS ? passed_ms : PASSED_MAX_MS;
    if (limit_ms > 0 && waited_ms >= limit_ms) {
        last_words_of_hung_host(atomic_load(&control_thread), what, waited_ms);
    }
}

void guard_tick(void) {
    uint64_t since_ms = atomic_load(&busy_since_ms);
    uint64_t now_ms = engine_now_ms();
    look_at_wait(now_ms);
    if (since_ms != 0 && now_ms > since_ms + BUSY_MS) {
        enum os_signal signal = os_signals_look();
        note(signal);
        put_off(signal);
        if (signal != OS_SIGNAL_NONE) {
            os_signals_wake(); /* the control thread may just have begun to wait */
        }
    }
    uint64_t until_ms = atomic_load(&end_ms);
    if (until_ms != 0 && now_ms >= until_ms) {
        end_process();
    }
}
