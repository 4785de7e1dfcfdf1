/* The watch over a plugin that crashes or hangs. */
#include <stdatomic.h>
#include <stdio.h>

#include "author/testbed.h"
#include "author/tool.h"
#include "base/error.h"
#include "net/plugin_call.h"
#include "os/os.h"
#include "os/os_process.h"

enum { TICK_MS = 100 };

static struct {
    struct os_thread thread;
    struct os_mutex mutex;
    struct os_condition condition;
    bool ended;
    unsigned limit_ms;
    _Atomic(uint64_t) step_ms;
    uintptr_t thread_id; /* the one that tries the plugin */
    tool_last_words_fn *last_words;
} watch;

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

static void on_crash(const char *how, bool no_code) {
    char what[80];
    snprintf(what, sizeof(what), "crashed with %s", how);
    watch.last_words(what, os_thread_id() == watch.thread_id ? testbed_callback() : NULL, no_code);
    os_process_exit_now(EXIT_FAILED);
}

/* The callback that has not returned in time; NULL: none. What is no callback is the loading of the
 * library, by the steps. */
static const char *overdue(void) {
    struct plugin_running running;
    bool is_late = os_now_ms() - atomic_load(&watch.step_ms) > watch.limit_ms;
    if (plugin_calls_running(watch.limit_ms, true, &running, 1) > 0) {
        return plugin_callback_name(running.callback);
    }
    return is_late && plugin_calls_running(0, true, &running, 1) == 0 ? "" : NULL;
}

static void watch_main(void *argument) {
    (void)argument;
    os_mutex_lock(&watch.mutex);
    while (!watch.ended) {
        os_condition_wait(&watch.condition, &watch.mutex, TICK_MS);
        const char *callback = watch.ended ? NULL : overdue();
        if (callback) {
            char what[80];
            snprintf(what, sizeof(what), "did not return within %u ms", watch.limit_ms);
            watch.last_words(what, callback, false);
            os_process_exit_now(EXIT_FAILED);
        }
    }
    os_mutex_unlock(&watch.mutex);
}

void tool_watch_step(void) {
    atomic_store(&watch.step_ms, os_now_ms());
}

bool tool_watch_start(unsigned limit_ms, tool_last_words_fn *last_words, struct error *error) {
    watch.thread_id = os_thread_id();
    watch.last_words = last_words;
    watch.limit_ms = limit_ms;
    watch.ended = false;
    tool_watch_step();
    os_mutex_init(&watch.mutex);
    os_condition_init(&watch.condition);
    os_process_on_crash(on_crash);
    return os_thread_start(&watch.thread, "watch", watch_main, NULL, error) ||
           error_prefix(error, "starting the watch: ");
}

void tool_watch_stop(void) {
    os_mutex_lock(&watch.mutex);
    watch.ended = true;
    os_condition_signal(&watch.condition);
    os_mutex_unlock(&watch.mutex);
    os_thread_join(&watch.thread);
    os_condition_fini(&watch.condition);
    os_mutex_fini(&watch.mutex);
}
