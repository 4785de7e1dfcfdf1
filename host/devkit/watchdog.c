/* The watchdog for a plugin that crashes or hangs. */
#include <stdatomic.h>
#include <stdio.h>

#include "base/error.h"
#include "devkit/testbed.h"
#include "devkit/tool.h"
#include "os/os.h"
#include "os/os_process.h"
#include "plugin/callback_guard.h"

enum { TICK_MS = 100 };

static struct {
    struct os_thread thread;
    struct os_mutex mutex;
    struct os_condition condition;
    bool ended;
    unsigned limit_ms;
    _Atomic(uint64_t) step_ms;
    uintptr_t thread_id; /* the one that runs the plugin */
    tool_crash_report_fn *last_words;
} watchdog;

void tool_place(char *text, size_t size, const char *callback, bool no_code) {
    if (callback && callback[0]) {
        snprintf(text, size, "in `%s`", callback);
    } else if (callback) {
        snprintf(text, size, "outside of every callback%s",
                 no_code ? ", where it had been unloaded" : "");
    } else if (no_code) {
        snprintf(text, size, "on a thread of its own: it has outlived `unload`");
    } else {
        snprintf(text, size, "on a thread of its own%s",
                 testbed_has_plugin() ? "" : ": it has probably outlived `unload`");
    }
}

static void watchdog_on_crash(const char *how, bool no_code) {
    char what[80];
    snprintf(what, sizeof(what), "crashed with %s", how);
    watchdog.last_words(what, os_thread_id() == watchdog.thread_id ? testbed_callback() : NULL,
                        no_code);
    os_process_exit_now(EXIT_FAILED);
}

/* The callback that has not returned in time; NULL: none. Outside of callbacks, as while the
 * library is loaded, the time since the last watchdog_step() counts. */
static const char *watchdog_overdue(void) {
    struct callback_running running;
    bool is_late = os_now_ms() - atomic_load(&watchdog.step_ms) > watchdog.limit_ms;
    if (callback_guard_running(watchdog.limit_ms, true, &running, 1) > 0) {
        return plugin_callback_name(running.callback);
    }
    return is_late && callback_guard_running(0, true, &running, 1) == 0 ? "" : NULL;
}

static void watch_main(void *argument) {
    (void)argument;
    os_mutex_lock(&watchdog.mutex);
    while (!watchdog.ended) {
        os_condition_wait(&watchdog.condition, &watchdog.mutex, TICK_MS);
        const char *callback = watchdog.ended ? NULL : watchdog_overdue();
        if (callback) {
            char what[80];
            snprintf(what, sizeof(what), "did not return within %u ms", watchdog.limit_ms);
            watchdog.last_words(what, callback, false);
            os_process_exit_now(EXIT_FAILED);
        }
    }
    os_mutex_unlock(&watchdog.mutex);
}

void watchdog_step(void) {
    atomic_store(&watchdog.step_ms, os_now_ms());
}

bool watchdog_start(unsigned limit_ms, tool_crash_report_fn *last_words, struct error *error) {
    watchdog.thread_id = os_thread_id();
    watchdog.last_words = last_words;
    watchdog.limit_ms = limit_ms;
    watchdog.ended = false;
    watchdog_step();
    os_mutex_init(&watchdog.mutex);
    os_condition_init(&watchdog.condition);
    os_process_on_crash(watchdog_on_crash);
    return os_thread_start(&watchdog.thread, "watch", watch_main, NULL, error) ||
           error_prefix(error, "starting the watch: ");
}

void watchdog_stop(void) {
    os_mutex_lock(&watchdog.mutex);
    watchdog.ended = true;
    os_condition_signal(&watchdog.condition);
    os_mutex_unlock(&watchdog.mutex);
    os_thread_join(&watchdog.thread);
    os_condition_fini(&watchdog.condition);
    os_mutex_fini(&watchdog.mutex);
}
