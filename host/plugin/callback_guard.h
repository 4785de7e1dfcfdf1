/* callback_guard.h: every call into a plugin, noted while it lasts.
 *
 * What is noted answers two questions from outside the call: whose code a thread is in when the
 * process crashes, and whether a callback stalls. A call costs two looks at the processor's counter
 * and a dozen stores, and takes no lock. Callbacks never nest: what plugins call only notes what is
 * wanted (see worker.h).
 *
 * Under a supervisor the notes lie where they outlive the process: see call_page.h.
 *
 * A thread of its own watches the others' notes. Each has a sequence, odd while it is in a
 * callback; who finds the same odd number before and after reading the rest has read notes of one
 * call. What the notes point to is not freed before the watching thread has looked away:
 * callback_guard_forget() waits for that.
 *
 * A callback that runs longer than host.stall_warning_ms stalls: it is logged once, and its worker
 * counts as stalled until the callback returns. One that runs longer than host.hang_timeout_ms
 * hangs: the watching thread reports it, and the report does not return. Time during which this
 * process did not run (SIGSTOP, a debugger, a suspended machine) does not count. PLUGIN_WORK may
 * block, and neither stalls nor hangs; nor does a call that its caller waits for with a deadline
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
    struct call_record *record; /* its notes, in the page or here; NULL: it has not joined */
    _Atomic(const struct connection *) connection; /* of the call, or NULL; for this thread alone */
    atomic_uint warned;                            /* the sequence that was told of */
    unsigned shard;                                /* of accounts */
    uintptr_t id;                                  /* os_thread_id() */
    bool has_deadline;                             /* its caller waits with one: it cannot hang */
    unsigned watched;           /* the sequence that the watching thread saw last */
    uint64_t watched_ms;        /* how long it has seen that one */
    uint64_t processor_us;      /* what the thread had used of a processor, */
    uint64_t processor_at_ms;   /* and when that was looked at; 0: not in this call */
    struct plugin_thread *prev; /* utlist: of those that are watched */
    struct plugin_thread *next;
    struct call_record own; /* where there is no room for it in the page, or no page */
};

extern _Thread_local struct plugin_thread plugin_thread;

/* Callbacks that took so long stall: in ticks, UINT64_MAX where nobody wants to know. */
extern atomic_ullong plugin_stall_ticks;

/* The thread is that worker, from now until it leaves. Others need not tell, but must leave, too,
 * if they end before the process. */
const atomic_uint *plugin_thread_enter(unsigned worker); /* returns what counts its calls */
void plugin_thread_leave(void);

void plugin_thread_join(struct plugin_thread *thread);
void callback_guard_was_slow(struct plugin_thread *thread, uint64_t ticks);

/* For the tools of plugin authors: runs at the end of every call, on its thread, in place of the
 * watch for stalls. NULL: nothing does. [control], while no call runs */
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

/* How many calls the thread has begun and ended, together. For the thread itself, or for one that
 * watches it. */
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

/* The generation that a call is noted for: the listener's, or without one the plugin's. */
unsigned callback_guard_generation(const struct plugin_thread *thread);

/* The account of the plugin that this thread is in; NULL: none. */
struct plugin_stats *callback_guard_stats(void);

/* Nobody looks any more at what the notes of a call that is over pointed to. */
void callback_guard_forget(void);

/* A call that goes on, as it is shown to others. */
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

/* The calls that have been running for at least so long, at most `max` of them, and not the work
 * that may block unless `with_work`; returns how many. [any] */
size_t callback_guard_running(uint64_t at_least_ms, bool with_work,
                              struct callback_running *running, size_t max);

struct stall_watchdog_options {
    uint32_t stall_ms; /* 0: stalls are not told of */
    uint32_t hang_ms;  /* 0: no callback hangs */

    /* Each may be NULL; all run on the watching thread but where it says otherwise, and must not
     * wait for another thread. */
    /* That thread hangs in the callback of its notes. Does not return. */
    void (*hung)(const struct plugin_thread *thread, uint64_t for_ms);
    /* Every STALL_WATCHDOG_MS at the latest. */
    void (*tick)(void *context);
    void *context;
};

enum { STALL_WATCHDOG_MS = 250 };

/* A worker stalls, from the warning on until its callback returns. For the one server there is; it
 * runs on the watching thread, or, at the end of the stall, on that worker, and must not wait for
 * another thread. NULL: nobody is told. [control] */
void stall_watchdog_follow(server_stall_fn *hook, void *context);

/* Begins to watch. [control] */
bool stall_watchdog_start(const struct stall_watchdog_options *options, struct error *error);
void stall_watchdog_configure(uint32_t stall_ms, uint32_t hang_ms);
void stall_watchdog_stop(void); /* legal when it was not started */

#endif
