/* guard.h: the end of the host is bounded, whatever plugins do.
 *
 * The control thread may be kept by code of a plugin, or by a worker that is kept by one. While it
 * does not come back to guard_wait(), the watching thread (net/plugin_call.h) takes the requests to
 * stop in its place. A stop that is not over in time ends the process: host.drain_timeout_ms and
 * GUARD_STOP_MS after the first request, GUARD_NOW_MS after a second one or `stop --now`. The log
 * then says who has not returned. A start that fails is bounded likewise.
 *
 * The control thread waits for workers, too, at a reload or the end of a generation. A callback
 * that keeps one is ended by host.hang_timeout_ms; where none runs, a wait that is longer is a
 * fault of the host itself, and ends the process as a crash.
 *
 * Threads: [control], where nothing else is said. */
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
    GUARD_STOP_MS = 5000, /* what lies beyond the time for connections to finish */
    GUARD_NOW_MS = 3000,
    GUARD_CLEAR_MS = 30000, /* for a start that has failed: plugins may have much to close */
};

/* Zero at first. Owner: what runs, runtime.h. */
struct guard {
    /* Runs when a stop is not over in time, before the process ends; or NULL. [any] */
    void (*by_force)(void *context);
    void *context;
    struct latch_note waits;     /* what the control thread waits for */
    atomic_ullong busy_since_ms; /* 0: the control thread waits for requests */
    atomic_ullong end_ms;        /* when the process is ended; 0: no stop is asked for */
    atomic_uint drain_ms;
    atomic_uint stops; /* requests that the control thread has not heard of */
    atomic_bool reload;
    atomic_uint stops_seen;
    atomic_bool asked_now;
    atomic_uint hang_ms;
    atomic_uintptr_t control_thread;

    /* The watching thread's: the wait that it has seen last, and for how long. */
    unsigned watched;
    uint64_t looked_ms;
    uint64_t waited_ms;
};

/* How long connections may finish, and when a wait is a hang. */
void guard_configure(struct guard *guard, uint32_t drain_timeout_ms, uint32_t hang_timeout_ms);

/* os_signals_wait(), with the requests that came while the control thread was busy. */
enum os_signal guard_wait(struct guard *guard, int timeout_ms);

/* Waits for os_signals_wake(), or a moment; requests stay for guard_wait(). */
void guard_await_wake(struct guard *guard);

/* Waits so until the listener has no connections, which were cut. */
void guard_await_aborted(struct guard *guard, const struct listener *listener);

/* A stop is asked for, by whatever way; `now`: without waiting for connections. [any] */
void guard_stop(struct guard *guard, bool now);
/* The process ends, in whatever way, within GUARD_CLEAR_MS. */
void guard_clear(struct guard *guard);
bool guard_is_asked(const void *guard);             /* [any]; timed_call_limit.interrupted, too */
bool guard_is_asked_now(const struct guard *guard); /* [any] */

/* On the watching thread: stall_watchdog_options.tick. */
void guard_tick(void *context); /* the guard */

/* How long the control thread has been busy; 0: it waits for requests. `text`: with what. [any] */
uint64_t guard_busy_ms(const struct guard *guard, char *text, size_t size);

#endif
