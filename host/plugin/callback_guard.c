#include "plugin/callback_guard.h"

#include <stddef.h>
#include <stdio.h>
#include <utlist.h>

#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/engine.h"
#include "os/os.h"

enum {
    LOOKS = 4,          /* checks per limit, at least */
    WAITS_PARTS = 20,   /* a call that uses less than 1/20 of a processor waits */
    PAUSES_COUNTED = 4, /* a longer time without a check counts as this many pauses */
};

_Thread_local struct plugin_thread plugin_thread = {.shard = STATS_SHARD_OTHER};
atomic_ullong plugin_stall_ticks = UINT64_MAX;

static struct {
    struct os_mutex mutex; /* of all that follows */
    struct os_condition changed;
    struct plugin_thread *threads; /* utlist */
    struct stall_watchdog_options options;
    server_stall_fn *stall_hook; /* of the server */
    void *stall_context;
    uint64_t looked_ms; /* when the threads were last checked */
    bool stopping;
    bool running;
    struct os_thread thread;
} watchdog;

static callback_guard_end_fn *call_ended; /* of the devkit; NULL in a host */

static atomic_bool stalled_workers[STATS_SHARDS]; /* by shard; the last is never set */

static atomic_uint mutex_state; /* 0: none, 1: being made, 2: there is one */

/* Threads may join before any setup, also in tests: the first one creates the lock. */
static void callback_guard_lock(void) {
    unsigned state = 0;
    if (atomic_load(&mutex_state) != 2 && atomic_compare_exchange_strong(&mutex_state, &state, 1)) {
        os_mutex_init(&watchdog.mutex);
        os_condition_init(&watchdog.changed);
        ticks_measure();
        atomic_store(&mutex_state, 2);
    }
    while (atomic_load(&mutex_state) != 2) {
    }
    os_mutex_lock(&watchdog.mutex);
}

static void callback_guard_unlock(void) {
    os_mutex_unlock(&watchdog.mutex);
}

/* -- the threads' side ----------------------------------------------------- */

const atomic_uint *plugin_thread_enter(unsigned worker) {
    plugin_thread.shard = worker < STATS_SHARD_OTHER ? worker : STATS_SHARD_OTHER;
    plugin_stats_enter(plugin_thread.shard);
    if (!plugin_thread.record) {
        plugin_thread_join(&plugin_thread);
    }
    return &plugin_thread.record->sequence;
}

void plugin_thread_join(struct plugin_thread *thread) {
    thread->id = os_thread_id();
    callback_guard_lock();
    struct call_record *record = call_page_take();
    thread->record = record ? record : &thread->own;
    DL_APPEND(watchdog.threads, thread);
    callback_guard_unlock();
}

void plugin_thread_leave(void) {
    struct plugin_thread *thread = &plugin_thread;
    if (thread->record) {
        callback_guard_lock();
        DL_DELETE(watchdog.threads, thread);
        call_page_give_back(thread->record == &thread->own ? NULL : thread->record);
        thread->record = NULL;
        callback_guard_unlock();
    }
}

struct plugin_stats *callback_guard_stats(void) {
    struct plugin_thread *thread = &plugin_thread;
    return plugin_thread_calls(thread)
               ? atomic_load_explicit(&thread->record->stats, memory_order_relaxed)
               : NULL;
}

void callback_guard_forget(void) {
    callback_guard_lock();
    callback_guard_unlock();
}

static struct log_subject callback_guard_subject_of(const struct plugin_thread *thread) {
    const struct plugin_stats *stats = atomic_load(&thread->record->stats);
    return (struct log_subject){.plugin = stats ? stats->id : NULL,
                                .listener = atomic_load(&thread->record->listener)};
}

unsigned callback_guard_generation(const struct plugin_thread *thread) {
    const struct plugin_stats *stats = atomic_load(&thread->record->stats);
    const char *listener = atomic_load(&thread->record->listener);
    return listener ? listener_label_of(listener)->generation : stats ? stats->generation : 0;
}

/* Each change is passed on once. */
static void set_stalled(unsigned shard, bool stalled) {
    if (shard == STATS_SHARD_OTHER ||
        atomic_exchange(&stalled_workers[shard], stalled) == stalled) {
        return;
    }
    if (watchdog.stall_hook) {
        watchdog.stall_hook(watchdog.stall_context, shard, stalled);
    }
}

void stall_watchdog_follow(server_stall_fn *hook, void *context) {
    callback_guard_lock();
    watchdog.stall_hook = hook;
    watchdog.stall_context = context;
    callback_guard_unlock();
}

void callback_guard_follow(callback_guard_end_fn *ended) {
    call_ended = ended;
    atomic_store(&plugin_stall_ticks, ended ? 0 : UINT64_MAX);
}

void callback_guard_was_slow(struct plugin_thread *thread, uint64_t ticks) {
    if (call_ended) {
        call_ended(thread, ticks);
        return;
    }
    const struct call_record *record = thread->record;
    enum plugin_callback callback = atomic_load(&record->callback);
    if (callback == PLUGIN_WORK) {
        return; /* it may block: that is what it is for */
    }
    callback_guard_lock();
    bool warned = atomic_load(&thread->warned) == atomic_load(&record->sequence);
    atomic_store(&thread->warned, atomic_load(&record->sequence));
    set_stalled(thread->shard, false);
    callback_guard_unlock();
    struct log_subject subject = callback_guard_subject_of(thread);
    /* One warning a stall: if one was logged while the callback ran, its duration is logged at
     * debug level only. */
    log_limited(LOG_KIND_STALL, warned ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, &subject,
                "stall: callback %s of generation %u took %.0f ms", plugin_callback_name(callback),
                callback_guard_generation(thread), ticks_as_us(ticks) / 1000);
}

/* -- the watchdog ---------------------------------------------------------- */

/* The limit in ticks, once their rate is known. */
static void set_limit(void) {
    uint64_t limit = UINT64_MAX;
    if (watchdog.options.stall_ms > 0) {
        ticks_of_us((uint64_t)watchdog.options.stall_ms * 1000, &limit);
    }
    atomic_store(&plugin_stall_ticks, limit);
}

/* The thread is in the callback with that `sequence`. What its record points to is not freed while
 * the lock is held. */
static void look_at_stall(struct plugin_thread *thread, unsigned sequence) {
    const struct call_record *record = thread->record;
    uint64_t began = atomic_load(&record->began);
    uint64_t now = ticks_now();
    bool slow = now > began && now - began >= atomic_load(&plugin_stall_ticks);
    struct log_subject subject = callback_guard_subject_of(thread);
    if (!slow || atomic_load(&thread->warned) == sequence ||
        atomic_load(&record->sequence) != sequence) {
        return;
    }
    enum plugin_callback callback = atomic_load(&record->callback);
    atomic_store(&thread->warned, sequence);
    set_stalled(thread->shard, true);
    log_limited(LOG_KIND_STALL, LOG_LEVEL_WARN, &subject,
                "stall: callback %s of generation %u has been running for %.0f ms "
                "(host.stall_warning_ms is %u); its worker does nothing else meanwhile",
                plugin_callback_name(callback), callback_guard_generation(thread),
                ticks_as_us(now - began) / 1000, watchdog.options.stall_ms);
}

/* After the process has ended, the supervisor reports which calls ran and which only waited (for a
 * lock, a disk, an answer), so the record notes it. */
static void look_at_processor(struct plugin_thread *thread, unsigned sequence, uint64_t now_ms) {
    struct call_record *record = thread->record;
    uint64_t passed_ms = now_ms - thread->processor_at_ms;
    if (thread->processor_at_ms != 0 && passed_ms < STALL_WATCHDOG_MS) {
        return;
    }
    uint64_t used_us = os_thread_processor_us(thread->id);
    bool waits = thread->processor_at_ms != 0 &&
                 (used_us - thread->processor_us) * WAITS_PARTS < passed_ms * 1000;
    atomic_store(&record->waits, waits ? sequence : 0);
    thread->processor_us = used_us;
    thread->processor_at_ms = now_ms;
}

static void callback_guard_look_at(struct plugin_thread *thread, uint64_t passed_ms) {
    const struct call_record *record = thread->record;
    unsigned sequence = atomic_load(&record->sequence);
    bool running = (sequence & 1) != 0;
    if (!running || atomic_load(&thread->warned) != sequence) {
        set_stalled(thread->shard, false); /* a stall may end in a call that was not slow itself */
    }
    if (!running || sequence != thread->watched) {
        thread->watched = sequence;
        thread->watched_ms = 0;
        thread->processor_at_ms = 0;
        passed_ms = 0;
    }
    if (running && call_page_is_kept()) {
        look_at_processor(thread, sequence, watchdog.looked_ms);
    }
    if (!running || atomic_load(&record->callback) == PLUGIN_WORK) {
        return;
    }
    thread->watched_ms += passed_ms;
    look_at_stall(thread, sequence);
    if (watchdog.options.hang_ms > 0 && !thread->has_deadline && watchdog.options.hung &&
        thread->watched_ms >= watchdog.options.hang_ms &&
        atomic_load(&record->sequence) == sequence) {
        watchdog.options.hung(thread, thread->watched_ms);
    }
}

/* The time to the next check: short compared to both limits. */
static int pause_ms(void) {
    uint32_t ms = STALL_WATCHDOG_MS;
    const uint32_t limits[] = {watchdog.options.stall_ms, watchdog.options.hang_ms};
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        if (limits[i] > 0 && limits[i] / LOOKS < ms) {
            ms = limits[i] / LOOKS;
        }
    }
    return ms < 1 ? 1 : (int)ms;
}

/* The time since the last check. It is capped, as a long time means that this thread did not run
 * either. */
static uint64_t passed_ms(void) {
    uint64_t now_ms = engine_now_ms();
    uint64_t passed = now_ms - watchdog.looked_ms;
    uint64_t most = (uint64_t)pause_ms() * PAUSES_COUNTED;
    watchdog.looked_ms = now_ms;
    return passed < most ? passed : most;
}

static void stall_watchdog_main(void *argument) {
    (void)argument;
    callback_guard_lock();
    watchdog.looked_ms = engine_now_ms();
    while (!watchdog.stopping) {
        struct plugin_thread *thread;
        os_condition_wait(&watchdog.changed, &watchdog.mutex, pause_ms());
        set_limit();
        uint64_t passed = passed_ms();
        DL_FOREACH(watchdog.threads, thread) {
            callback_guard_look_at(thread, passed);
        }
        if (watchdog.options.tick && !watchdog.stopping) {
            callback_guard_unlock();
            watchdog.options.tick(watchdog.options.context);
            callback_guard_lock();
        }
    }
    callback_guard_unlock();
}

bool stall_watchdog_start(const struct stall_watchdog_options *options, struct error *error) {
    callback_guard_lock();
    watchdog.options = *options;
    watchdog.stopping = false;
    callback_guard_unlock();
    watchdog.running =
        os_thread_start_small(&watchdog.thread, "watch", stall_watchdog_main, NULL, error);
    return watchdog.running || error_prefix(error, "thread watch: ");
}

void stall_watchdog_configure(uint32_t stall_ms, uint32_t hang_ms) {
    callback_guard_lock();
    watchdog.options.stall_ms = stall_ms;
    watchdog.options.hang_ms = hang_ms;
    os_condition_signal_all(&watchdog.changed);
    callback_guard_unlock();
}

void stall_watchdog_stop(void) {
    if (!watchdog.running) {
        return;
    }
    callback_guard_lock();
    watchdog.stopping = true;
    os_condition_signal_all(&watchdog.changed);
    callback_guard_unlock();
    os_thread_join(&watchdog.thread);
    watchdog.running = false;
    watchdog.options = (struct stall_watchdog_options){0};
    atomic_store(&plugin_stall_ticks, UINT64_MAX);
}

/* -- running calls --------------------------------------------------------- */

/* The caller holds the lock: it keeps alive what the record points to, except the connection.
 * False: the thread is not in a call any more. */
static bool note_running(const struct plugin_thread *thread, struct callback_running *running) {
    const struct call_record *record = thread->record;
    unsigned sequence = atomic_load(&record->sequence);
    uint64_t began = atomic_load(&record->began);
    uint64_t now = ticks_now();
    const struct plugin_stats *stats = atomic_load(&record->stats);
    const char *listener = atomic_load(&record->listener);
    *running = (struct callback_running){.callback = atomic_load(&record->callback)};
    if ((sequence & 1) == 0 || atomic_load(&record->sequence) != sequence) {
        return false;
    }
    snprintf(running->plugin, sizeof(running->plugin), "%s", stats ? stats->id : "");
    snprintf(running->version, sizeof(running->version), "%s", stats ? stats->version : "");
    snprintf(running->listener, sizeof(running->listener), "%.63s", listener ? listener : "");
    running->generation = callback_guard_generation(thread);
    running->for_ms = now > began ? (uint64_t)(ticks_as_us(now - began) / 1000) : 0;
    return atomic_load(&record->sequence) == sequence;
}

size_t callback_guard_running(uint64_t at_least_ms, bool with_work,
                              struct callback_running *running, size_t max) {
    size_t count = 0;
    const struct plugin_thread *thread;
    callback_guard_lock();
    DL_FOREACH(watchdog.threads, thread) {
        if (count < max && note_running(thread, &running[count]) &&
            running[count].for_ms >= at_least_ms &&
            (with_work || running[count].callback != PLUGIN_WORK)) {
            count++;
        }
    }
    callback_guard_unlock();
    return count;
}

void callback_running_describe(const struct callback_running *running, char *text, size_t size) {
    char listener[96] = "";
    if (running->listener[0] != '\0') {
        snprintf(listener, sizeof(listener), ", listener \"%s\"", running->listener);
    }
    snprintf(text, size,
             "callback %s of plugin \"%s\", generation %u (%s)%s, has been running for %llu ms",
             plugin_callback_name(running->callback), running->plugin, running->generation,
             running->version, listener, (unsigned long long)running->for_ms);
}
