/* guard.h: bounds the time that the host takes to stop, whatever plugins do.
 *
 * The control thread may be blocked by code of a plugin, or by a worker that is blocked by one.
 * While it does not return to guard_wait(), the watchdog thread (plugin/callback_guard.h) takes the
 * stop requests instead. A stop that is not complete in time ends the process:
 * host.drain_timeout_ms and GUARD_STOP_MS after the first request, GUARD_NOW_MS after a second
 * one or `stop --now`. The log then says which calls have not returned. A start that fails is
 * bounded likewise.
 *
 * The control thread waits for workers, too, at a reload or the end of a generation. A callback
 * that blocks a worker is ended by host.hang_timeout_ms; if none runs, a longer wait is a bug of
 * the host itself, and ends the process as a crash.
 *
 * Threads: [control], unless stated otherwise. */
#ifndef BERTH_HOST_CONTROL_GUARD_H
#define BERTH_HOST_CONTROL_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/lib/latch.h"
#include "os/os.h"

struct listener;

enum {
    GUARD_STOP_MS = 5000, /* added to the time that connections have to finish */
    GUARD_NOW_MS = 3000,
    GUARD_CLEAR_MS = 30000, /* for a start that has failed: plugins may have much to close */
};

/* Zero-initialized. Owner: struct runtime (runtime.h). */
struct guard {
    /* Called before the process ends because a stop took too long; or NULL. [any] */
    void (*by_force)(void *context);
    void *context;
    struct latch_note waits;     /* what the control thread waits for */
    atomic_ullong busy_since_ms; /* 0: the control thread waits for requests */
    atomic_ullong end_ms;        /* when the process is ended; 0: no stop is requested */
    atomic_uint drain_ms;
    atomic_uint stops; /* requests that the control thread has not taken */
    atomic_bool reload;
    atomic_uint stops_seen;
    atomic_bool asked_now;
    atomic_uint hang_ms;
    atomic_uintptr_t control_thread;

    /* Of the watchdog thread: the wait it saw last, and how long it has lasted. */
    unsigned watched;
    uint64_t looked_ms;
    uint64_t waited_ms;
};

/* How long connections may take to finish, and how long a wait may take before it is a hang. */
void guard_configure(struct guard *guard, uint32_t drain_timeout_ms, uint32_t hang_timeout_ms);

/* os_signals_wait(), plus the requests that arrived while the control thread was busy. */
enum os_signal guard_wait(struct guard *guard, int timeout_ms);

/* Waits for os_signals_wake(), at most AWAIT_MS; requests stay for guard_wait(). */
void guard_await_wake(struct guard *guard);

/* Waits in the same way until the listener, whose connections were aborted, has none left. */
void guard_await_aborted(struct guard *guard, const struct listener *listener);

/* Requests a stop, from any source; `now`: without waiting for connections. [any] */
void guard_stop(struct guard *guard, bool now);
/* Ensures that the process ends within GUARD_CLEAR_MS. */
void guard_clear(struct guard *guard);
bool guard_is_asked(const void *guard);             /* [any]; timed_call_limit.interrupted, too */
bool guard_is_asked_now(const struct guard *guard); /* [any] */

/* Runs on the watchdog thread: stall_watchdog_options.tick. */
void guard_tick(void *context); /* the guard */

/* How long the control thread has been busy; 0: it waits for requests. `text`: with what. [any] */
uint64_t guard_busy_ms(const struct guard *guard, char *text, size_t size);

#endif
