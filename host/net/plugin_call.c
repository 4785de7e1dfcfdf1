#include "net/plugin_call.h"

#include <stddef.h>
#include <utlist.h>

#include "base/error.h"
#include "base/log.h"
#include "os/os.h"

enum {
    LOOKS = 4, /* at the least, while a callback reaches the limit */
    LOOK_MS_MAX = 250,
    RATE_US_MIN = 20000, /* before that the rate of the ticks is not known well enough */
};

_Thread_local struct plugin_thread plugin_thread = {.share = PLUGIN_SHARE_OTHER};
atomic_ullong plugin_stall_ticks = UINT64_MAX;

static struct {
    struct os_mutex mutex; /* of all that follows */
    struct os_condition changed;
    struct plugin_thread *threads; /* utlist */
    uint32_t stall_ms;
    bool stopping;
    bool running;
    struct os_thread thread;
} watch;

static atomic_uint mutex_state; /* 0: none, 1: being made, 2: there is one */
static atomic_ullong first_ticks;
static atomic_ullong first_us;

/* Threads may come before anything is set up, in tests too: the first one makes the lock. */
static void lock(void) {
    unsigned state = 0;
    if (atomic_load(&mutex_state) != 2 && atomic_compare_exchange_strong(&mutex_state, &state, 1)) {
        os_mutex_init(&watch.mutex);
        os_condition_init(&watch.changed);
        atomic_store(&first_ticks, ticks_now());
        atomic_store(&first_us, os_now_us());
        atomic_store(&mutex_state, 2);
    }
    while (atomic_load(&mutex_state) != 2) {
    }
    os_mutex_lock(&watch.mutex);
}

static void unlock(void) {
    os_mutex_unlock(&watch.mutex);
}

/* -- the threads' side ---------------------------------------------------------------------------
 */

void plugin_thread_enter(unsigned worker) {
    plugin_thread.share = worker < PLUGIN_SHARE_OTHER ? worker : PLUGIN_SHARE_OTHER;
}

void plugin_thread_join(struct plugin_thread *thread) {
    lock();
    DL_APPEND(watch.threads, thread);
    thread->joined = true;
    unlock();
}

void plugin_thread_leave(void) {
    struct plugin_thread *thread = &plugin_thread;
    if (thread->joined) {
        lock();
        DL_DELETE(watch.threads, thread);
        thread->joined = false;
        unlock();
    }
}

struct plugin_account *plugin_call_account(void) {
    struct plugin_thread *thread = &plugin_thread;
    return (atomic_load_explicit(&thread->sequence, memory_order_relaxed) & 1) != 0
               ? atomic_load_explicit(&thread->account, memory_order_relaxed)
               : NULL;
}

void plugin_call_forget(void) {
    lock();
    unlock();
}

static struct log_subject subject_of(const struct plugin_thread *thread) {
    const struct plugin_account *account = atomic_load(&thread->account);
    return (struct log_subject){.plugin = account ? account->id : NULL,
                                .listener = atomic_load(&thread->listener)};
}

unsigned plugin_call_generation(const struct plugin_thread *thread) {
    const struct plugin_account *account = atomic_load(&thread->account);
    const char *listener = atomic_load(&thread->listener);
    return listener ? listener_label_of(listener)->generation : account ? account->generation : 0;
}

void plugin_call_was_slow(struct plugin_thread *thread, uint64_t ticks) {
    enum plugin_callback callback = atomic_load(&thread->callback);
    if (callback == PLUGIN_WORK) {
        return; /* it may block: that is what it is for */
    }
    lock();
    bool warned = atomic_load(&thread->warned) == atomic_load(&thread->sequence);
    atomic_store(&thread->warned, atomic_load(&thread->sequence));
    unlock();
    struct log_subject subject = subject_of(thread);
    /* Once an episode: who was told while it went on, and wants to know how long, asks for more. */
    log_limited(LOG_KIND_STALL, warned ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, &subject,
                "stall: callback %s of generation %u took %.0f ms", plugin_callback_name(callback),
                plugin_call_generation(thread), plugin_call_us(ticks) / 1000);
}

/* -- the watching thread -------------------------------------------------------------------------
 */

double plugin_call_us(uint64_t ticks) {
    if (atomic_load(&mutex_state) != 2) {
        return 0;
    }
    double counted = (double)(ticks_now() - atomic_load(&first_ticks));
    double us = (double)(os_now_us() - atomic_load(&first_us));
    return counted > 0 ? (double)ticks * us / counted : 0;
}

/* The limit in ticks, once their rate is known. */
static void set_limit(void) {
    uint64_t us = os_now_us() - atomic_load(&first_us);
    uint64_t counted = ticks_now() - atomic_load(&first_ticks);
    if (watch.stall_ms == 0 || us < RATE_US_MIN) {
        atomic_store(&plugin_stall_ticks, UINT64_MAX);
        return;
    }
    double limit = (double)watch.stall_ms * 1000 * (double)counted / (double)us;
    atomic_store(&plugin_stall_ticks, (uint64_t)limit);
}

static void look_at(struct plugin_thread *thread) {
    unsigned sequence = atomic_load(&thread->sequence);
    uint64_t began = atomic_load(&thread->began);
    uint64_t now = ticks_now();
    enum plugin_callback callback = atomic_load(&thread->callback);
    bool slow = now > began && now - began >= atomic_load(&plugin_stall_ticks);
    struct log_subject subject = subject_of(thread);
    unsigned generation = 0;
    if ((sequence & 1) == 0 || !slow || callback == PLUGIN_WORK ||
        atomic_load(&thread->warned) == sequence || atomic_load(&thread->sequence) != sequence) {
        return;
    }
    /* It is still in the same call: what its notes point to stays until the lock is free again. */
    generation = plugin_call_generation(thread);
    atomic_store(&thread->warned, sequence);
    log_limited(LOG_KIND_STALL, LOG_LEVEL_WARN, &subject,
                "stall: callback %s of generation %u has been running for %.0f ms "
                "(host.stall_warning_ms is %u); its worker does nothing else meanwhile",
                plugin_callback_name(callback), generation, plugin_call_us(now - began) / 1000,
                watch.stall_ms);
}

static void watch_threads(void *argument) {
    (void)argument;
    lock();
    while (!watch.stopping) {
        struct plugin_thread *thread;
        int pause_ms = (int)(watch.stall_ms / LOOKS);
        pause_ms = pause_ms < 1 ? 1 : pause_ms > LOOK_MS_MAX ? LOOK_MS_MAX : pause_ms;
        os_condition_wait(&watch.changed, &watch.mutex, watch.stall_ms > 0 ? pause_ms : -1);
        set_limit();
        DL_FOREACH(watch.threads, thread) {
            look_at(thread);
        }
    }
    unlock();
}

bool plugin_watch_start(uint32_t stall_ms, struct error *error) {
    lock();
    watch.stall_ms = stall_ms;
    watch.stopping = false;
    unlock();
    watch.running = os_thread_start(&watch.thread, "watch", watch_threads, NULL, error);
    return watch.running || error_prefix(error, "thread watch: ");
}

void plugin_watch_configure(uint32_t stall_ms) {
    lock();
    watch.stall_ms = stall_ms;
    os_condition_signal_all(&watch.changed);
    unlock();
}

void plugin_watch_stop(void) {
    if (!watch.running) {
        return;
    }
    lock();
    watch.stopping = true;
    os_condition_signal_all(&watch.changed);
    unlock();
    os_thread_join(&watch.thread);
    watch.running = false;
    atomic_store(&plugin_stall_ticks, UINT64_MAX);
}
