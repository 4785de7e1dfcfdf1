/* callback_guard.h: a record of every call into a plugin, while the call runs.
 *
 * The record answers two questions from outside the call: which plugin's code a thread is in when
 * the process crashes, and whether a callback stalls. A call costs two reads of the processor's
 * counter and a dozen stores, and takes no lock. Callbacks never nest: the functions that plugins
 * call only record the request (see worker.h).
 *
 * Under a supervisor the records are in memory that outlives the process: see call_page.h.
 *
 * A separate thread, the watchdog, reads the records of the other threads. Each record has a
 * sequence, which is odd while the thread is in a callback. A reader that finds the same odd number
 * before and after it reads the rest has read a record of one call. What a record points to is not
 * freed while the watchdog reads it: callback_guard_forget() waits for that.
 *
 * A callback that runs longer than host.stall_warning_ms stalls: it is logged once, and its worker
 * counts as stalled until the callback returns. One that runs longer than host.hang_timeout_ms
 * hangs: the watchdog reports it, and the report does not return. Time during which this process
 * did not run (SIGSTOP, a debugger, a suspended machine) does not count. PLUGIN_WORK may block, and
 * neither stalls nor hangs; nor does a call that its caller waits for with a deadline
 * (timed_call.h).
 *
 * Threads: any, where nothing else is said. */
#ifndef BERTH_HOST_PLUGIN_CALLBACK_GUARD_H
#define BERTH_HOST_PLUGIN_CALLBACK_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "os/ticks.h"
#include "plugin/call_page.h"
#include "plugin/plugin_stats.h"

struct error;

/* A thread that calls plugins. */
struct plugin_thread {
    struct call_record *record; /* in the page or `own`; NULL: it has not joined */
    _Atomic(const struct connection *) connection; /* of the call, or NULL; for this thread alone */
    atomic_uint warned;                            /* the sequence that was warned about */
    unsigned shard;                                /* of plugin_stats */
    uintptr_t id;                                  /* os_thread_id() */
    bool has_deadline;                             /* its caller waits with one: it cannot hang */
    unsigned watched;                              /* the sequence that the watchdog saw last */
    uint64_t watched_ms;                           /* how long it has seen that sequence */
    uint64_t processor_us;                         /* processor time that the thread had used, */
    uint64_t processor_at_ms;                      /* and when that was read; 0: not in this call */
    struct plugin_thread *prev;                    /* utlist: of all watched threads */
    struct plugin_thread *next;
    struct call_record own; /* used if the page has no free record, or there is no page */
};

extern _Thread_local struct plugin_thread plugin_thread;

/* A callback that takes at least this long stalls: in ticks; UINT64_MAX: stalls are not
 * detected. */
extern atomic_ullong plugin_stall_ticks;

/* The calling thread is that worker, from now until it leaves. Other threads need not enter, but
 * must leave, too, if they end before the process. */
const atomic_uint *plugin_thread_enter(unsigned worker); /* returns its sequence */
void plugin_thread_leave(void);

void plugin_thread_join(struct plugin_thread *thread);
void callback_guard_was_slow(struct plugin_thread *thread, uint64_t ticks);

/* For the devkit: runs at the end of every call, on the thread of the call, instead of the check
 * for stalls. NULL: the check for stalls runs. [control], while no call runs */
typedef void callback_guard_end_fn(const struct plugin_thread *thread, uint64_t ticks);
void callback_guard_follow(callback_guard_end_fn *ended);

static inline struct plugin_thread *callback_guard_begin(struct plugin_stats *stats,
                                                         const char *listener,
                                                         const struct connection *connection,
                                                         enum plugin_callback callback) {
    struct plugin_thread *thread = &plugin_thread;
    if (!thread->record) {
        plugin_thread_join(thread);
    }
    struct call_record *record = thread->record;
    unsigned sequence = atomic_load_explicit(&record->sequence, memory_order_relaxed);
    /* Each after the one before, and all after the end of the last call. */
    atomic_store_explicit(&record->stats, stats, memory_order_release);
    atomic_store_explicit(&record->listener, listener, memory_order_release);
    atomic_store_explicit(&record->connection, connection ? connection->public.id : 0,
                          memory_order_release);
    atomic_store_explicit(&thread->connection, connection, memory_order_release);
    atomic_store_explicit(&record->callback, callback, memory_order_release);
    atomic_store_explicit(&record->began, ticks_now(), memory_order_release);
    atomic_store_explicit(&record->sequence, sequence + 1, memory_order_release);
    return thread;
}

static inline void callback_guard_end(struct plugin_thread *thread) {
    struct call_record *record = thread->record;
    uint64_t ticks = ticks_now() - atomic_load_explicit(&record->began, memory_order_relaxed);
    struct plugin_stats *stats = atomic_load_explicit(&record->stats, memory_order_relaxed);
    if (ticks >= atomic_load_explicit(&plugin_stall_ticks, memory_order_relaxed)) {
        callback_guard_was_slow(thread, ticks);
    }
    if (stats) {
        plugin_stats_count(stats, thread->shard,
                           atomic_load_explicit(&record->callback, memory_order_relaxed), ticks);
    }
    unsigned sequence = atomic_load_explicit(&record->sequence, memory_order_relaxed);
    atomic_store_explicit(&record->sequence, sequence + 1, memory_order_release);
}

/* How many calls the thread has begun and ended, together. Called by the thread itself or by the
 * watchdog. */
static inline unsigned plugin_thread_sequence(const struct plugin_thread *thread) {
    const struct call_record *record = thread->record;
    return record ? atomic_load_explicit(&record->sequence, memory_order_relaxed) : 0;
}

/* Whether it is in a call of a plugin. */
static inline bool plugin_thread_calls(const struct plugin_thread *thread) {
    return (plugin_thread_sequence(thread) & 1) != 0;
}

/* The call of a listener's plugin, or one for a connection. */
static inline struct plugin_thread *listener_call(const struct listener *listener,
                                                  enum plugin_callback callback) {
    return callback_guard_begin(listener->options.stats, listener->name, NULL, callback);
}

static inline struct plugin_thread *connection_call(const struct connection *connection,
                                                    enum plugin_callback callback) {
    const struct listener *listener = connection_listener(connection);
    return callback_guard_begin(listener->options.stats, listener->name, connection, callback);
}

/* The generation in a call's record: the listener's, or the plugin's if there is no listener. */
unsigned callback_guard_generation(const struct plugin_thread *thread);

/* The stats of the plugin that this thread is in; NULL: none. */
struct plugin_stats *callback_guard_stats(void);

/* Waits until no thread reads what the record of a call that has returned pointed to. */
void callback_guard_forget(void);

/* A call that has not returned, as a copy for display. */
struct callback_running {
    enum plugin_callback callback;
    char plugin[64];
    char version[32];
    unsigned generation;
    char listener[64]; /* or "" */
    uint64_t for_ms;
};

/* "callback received of plugin "x", generation 1 (1.0), listener "l", has been running for 1500 ms"
 */
void callback_running_describe(const struct callback_running *running, char *text, size_t size);

/* The calls that have been running for at least `at_least_ms`, at most `max` of them. PLUGIN_WORK,
 * which may block, is included only if `with_work`. Returns how many. [any] */
size_t callback_guard_running(uint64_t at_least_ms, bool with_work,
                              struct callback_running *running, size_t max);

struct stall_watchdog_options {
    uint32_t stall_ms; /* 0: stalls are not reported */
    uint32_t hang_ms;  /* 0: no callback hangs */

    /* Each may be NULL. All run on the watchdog thread unless stated otherwise, and must not wait
     * for another thread. */
    /* That thread hangs in the callback of its record. Does not return. */
    void (*hung)(const struct plugin_thread *thread, uint64_t for_ms);
    /* Every STALL_WATCHDOG_MS at the latest. */
    void (*tick)(void *context);
    void *context;
};

enum { STALL_WATCHDOG_MS = 250 };

/* The hook is called when a worker stalls (at the warning) and when its callback returns. There is
 * one server, and so one hook. It runs on the watchdog thread or, at the end of the stall, on that
 * worker, and must not wait for another thread. NULL: no hook. [control] */
void stall_watchdog_follow(server_stall_fn *hook, void *context);

/* Begins to watch. [control] */
bool stall_watchdog_start(const struct stall_watchdog_options *options, struct error *error);
void stall_watchdog_configure(uint32_t stall_ms, uint32_t hang_ms);
void stall_watchdog_stop(void); /* legal when it was not started */

#endif
