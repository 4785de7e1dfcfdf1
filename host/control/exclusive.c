#include "control/exclusive.h"

#include "base/error.h"
#include "base/log.h"
#include "control/guard.h"
#include "control/options.h"
#include "control/runtime.h"
#include "engine/engine.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/module.h"

static void exclusive_hold(struct listener *listener, bool held) {
    atomic_store(&listener->paused, held);
}

/* Waits until all connections are gone: closed by themselves, or aborted when the time is over
 * or the host stops. */
static void await_quiet(struct guard *guard, struct listener *listener, uint32_t timeout_ms) {
    uint64_t until_ms = engine_now_ms() + timeout_ms;
    while (atomic_load(&listener->references) > 0 && engine_now_ms() < until_ms &&
           !guard_is_asked(guard)) {
        guard_await_wake(guard);
    }
    if (atomic_load(&listener->references) > 0) {
        uint32_t count = listener_abort_all(listener);
        log_warn(&listener->subject,
                 "%u connections of generation %u were closed, as it must close before another one "
                 "opens (BERTH_PLUGIN_EXCLUSIVE)",
                 (unsigned)count, listener->options.generation);
        guard_await_aborted(guard, listener);
    }
}

/* New connections wait for `to`; `from` closes. */
static void exclusive_move(const struct exclusive *exclusive, struct listener *from,
                           struct listener *to) {
    struct runtime *runtime = exclusive->runtime;
    uint32_t timeout_ms = instance_drain_limit(runtime, exclusive->old->from);
    exclusive_hold(from, true);
    exclusive_hold(to, true);
    listener_take_over(to, from);
    listener_drain(from, BERTH_DRAINING_REPLACED);
    await_quiet(&exclusive->runtime->guard, from,
                timeout_ms > 0 ? timeout_ms
                               : runtime->config_snapshot->manifest->host.drain_timeout_ms);
    listener_destroy(from);
}

static void exclusive_go_on(struct listener *listener, bool was_paused) {
    exclusive_hold(listener, was_paused);
    server_wake_waiters(listener->server);
}

/* Opens the old generation again, from its own options, and replaces `from` with it. */
static void exclusive_reopen(const struct exclusive *exclusive, struct listener *from,
                             bool was_paused) {
    struct listener_generation *old = exclusive->old;
    struct error error = {0};
    bool abandoned = false;
    struct listener_options options = options_of_listener(old->from, old->module);
    options.generation = old->number;
    options.open_limit = exclusive->limit;
    struct listener *again = listener_make(exclusive->runtime->server, &options, from, &error);
    old->listener = NULL;
    if (!again || !listener_start(again, &error)) {
        log_error(&from->subject, "generation %u cannot be opened again: %s", old->number,
                  error.message);
        listener_destroy(again);
        listener_stop_accepting(from);
        listener_abort_all(from);
        guard_await_aborted(&exclusive->runtime->guard, from);
        listener_destroy(from);
        return;
    }
    exclusive_move(exclusive, from, again);
    if (!listener_open_plugin(again, &abandoned, &error)) {
        log_error(&again->subject, "generation %u cannot be opened again: %s", old->number,
                  error.message);
        old->module->abandoned = old->module->abandoned || abandoned;
        listener_stop_accepting(again);
        listener_abort_all(again);
        guard_await_aborted(&exclusive->runtime->guard, again);
        listener_drop(again, abandoned);
        return;
    }
    old->listener = again;
    exclusive_go_on(again, was_paused);
    log_info(&again->subject, "generation %u is open again, as the new one is not", old->number);
}

struct listener *exclusive_replace(const struct exclusive *exclusive,
                                   const struct listener_options *options, struct error *error) {
    struct listener_generation *old = exclusive->old;
    bool was_paused = atomic_load(&old->listener->paused);
    struct listener *made =
        listener_make(exclusive->runtime->server, options, old->listener, error);
    if (!made || !listener_start(made, error)) {
        listener_destroy(made);
        return NULL;
    }
    exclusive_move(exclusive, old->listener, made);
    old->listener = NULL;
    if (listener_open_plugin(made, exclusive->abandoned, error)) {
        exclusive_go_on(made, was_paused);
        return made;
    }
    if (*exclusive->abandoned) { /* its code may still use the exclusive resource */
        log_error(&made->subject,
                  "generation %u is not opened again, as the new one may still be "
                  "open: start the host anew",
                  old->number);
        listener_stop_accepting(made);
        listener_abort_all(made);
        guard_await_aborted(&exclusive->runtime->guard, made);
        listener_drop(made, true);
        return NULL;
    }
    exclusive_reopen(exclusive, made, was_paused);
    return NULL;
}

void exclusive_restore(const struct exclusive *exclusive, struct listener *made) {
    exclusive_reopen(exclusive, made, atomic_load(&made->paused));
}
