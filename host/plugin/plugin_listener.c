#include "plugin/plugin_listener.h"

#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "os/os.h"
#include "plugin/callback_guard.h"

void plugin_listener_start(struct listener *listener, unsigned worker) {
    listener->traffic[worker].is_started = true;
    if (listener->plugin->worker_start) {
        struct plugin_thread *call = listener_call(listener, PLUGIN_WORKER_START);
        listener->plugin->worker_start(&listener->public, worker);
        callback_guard_end(call);
    }
}

/* A post from a thread of the plugin's own may have started it already. */
static void start_here(struct worker *worker, void *argument) {
    plugin_listener_start_on(argument, worker->index);
    worker_run_pending(worker);
}

static void end_here(struct worker *worker, void *argument) {
    struct listener *listener = argument;
    struct listener_traffic *here = &listener->traffic[worker->index];
    if (here->is_started && listener->plugin->worker_end) {
        struct plugin_thread *call = listener_call(listener, PLUGIN_WORKER_END);
        listener->plugin->worker_end(&listener->public, worker->index);
        callback_guard_end(call);
    }
    here->is_started = false;
    worker_run_pending(worker);
}

static void call_workers(struct listener *listener,
                         void (*function)(struct worker *worker, void *argument)) {
    struct server *server = listener->server;
    bool is_wanted = listener->plugin->worker_start || listener->plugin->worker_end;
    for (unsigned i = 0; is_wanted && i < server->options.workers; i++) {
        worker_call(&server->workers[i], function, listener);
    }
}

void plugin_listener_begin(struct listener *listener) {
    atomic_store(&listener->phase, LISTENER_IS_OPEN);
    call_workers(listener, start_here);
}

static void do_nothing(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
}

/* Posts are run by the workers, works by the pool. */
void plugin_listener_seal(struct listener *listener) {
    struct server *server = listener->server;
    const struct server_driver *driver = server->options.driver;
    atomic_store(&listener->phase, LISTENER_SEALED);
    while (atomic_load(&listener->entering) > 0 || atomic_load(&listener->references) > 0) {
        if (driver) {
            driver->step(driver->context, "what a plugin has asked for");
            continue;
        }
        for (unsigned i = 0; i < server->options.workers; i++) {
            worker_call(&server->workers[i], do_nothing, NULL);
        }
        os_sleep_ms(1);
    }
}

void plugin_listener_end(struct listener *listener) {
    call_workers(listener, end_here);
}
