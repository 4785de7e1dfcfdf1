#include "control/exclusive.h"

#include "base/error.h"
#include "base/log.h"
#include "control/guard.h"
#include "control/instance.h"
#include "control/options.h"
#include "engine/engine.h"
#include "module/module.h"
#include "net/listener.h"
#include "net/server.h"

static void hold(struct listener *listener, bool held) {
    atomic_store(&listener->paused, held);
}

/* All its connections are gone: by themselves, or cut when the time is over or the host stops. */
static void await_quiet(struct guard *guard, struct listener *listener, uint32_t timeout_ms) {
    uint64_t until_ms = engine_now_ms() + timeout_ms;
    while (atomic_load(&listener->references) > 0 && engine_now_ms() < until_ms &&
           !guard_is_asked(guard)) {
        guard_await_wake(guard);
    }
    if (atomic_load(&listener->references) > 0) {
        uint32_t count = listener_cut(listener);
        log_warn(&listener->subject,
                 "%u connections of generation %u were closed, as it must close before another one "
                 "opens (BERTH_PLUGIN_EXCLUSIVE)",
                 (unsigned)count, listener->options.generation);
        guard_await_cut(guard, listener);
    }
}

/* Who comes waits for `to`; `from` closes. */
static void move(const struct exclusive *exclusive, struct listener *from, struct listener *to) {
    struct instance *instance = exclusive->instance;
    uint32_t timeout_ms = instance_drain_limit(instance, exclusive->old->from);
    hold(from, true);
    hold(to, true);
    listener_take_over(to, from);
    listener_drain(from, BERTH_DRAINING_REPLACED);
    await_quiet(&exclusive->instance->guard, from,
                timeout_ms > 0 ? timeout_ms : instance->edition->manifest->host.drain_timeout_ms);
    listener_destroy(from);
}

static void go_on(struct listener *listener, bool was_paused) {
    hold(listener, was_paused);
    server_kick(listener->server);
}

/* The old generation once more, from its own options, in the place of `from`. */
static void reopen(const struct exclusive *exclusive, struct listener *from, bool was_paused) {
    struct unit *old = exclusive->old;
    struct error error = {0};
    bool abandoned = false;
    struct listener_options options = options_of_listener(old->from, old->module);
    options.generation = old->generation;
    options.open_limit = exclusive->limit;
    struct listener *again = listener_make(exclusive->instance->server, &options, from, &error);
    old->listener = NULL;
    if (!again || !listener_start(again, &error)) {
        log_error(&from->subject, "generation %u cannot be opened again: %s", old->generation,
                  error.message);
        listener_destroy(again);
        listener_stop_accepting(from);
        listener_cut(from);
        guard_await_cut(&exclusive->instance->guard, from);
        listener_destroy(from);
        return;
    }
    move(exclusive, from, again);
    if (!listener_open_plugin(again, &abandoned, &error)) {
        log_error(&again->subject, "generation %u cannot be opened again: %s", old->generation,
                  error.message);
        old->module->abandoned = old->module->abandoned || abandoned;
        listener_stop_accepting(again);
        listener_cut(again);
        guard_await_cut(&exclusive->instance->guard, again);
        listener_drop(again, abandoned);
        return;
    }
    old->listener = again;
    go_on(again, was_paused);
    log_info(&again->subject, "generation %u is open again, as the new one is not",
             old->generation);
}

struct listener *exclusive_replace(const struct exclusive *exclusive,
                                   const struct listener_options *options, struct error *error) {
    struct unit *old = exclusive->old;
    bool was_paused = atomic_load(&old->listener->paused);
    struct listener *made =
        listener_make(exclusive->instance->server, options, old->listener, error);
    if (!made || !listener_start(made, error)) {
        listener_destroy(made);
        return NULL;
    }
    move(exclusive, old->listener, made);
    old->listener = NULL;
    if (listener_open_plugin(made, exclusive->abandoned, error)) {
        go_on(made, was_paused);
        return made;
    }
    if (*exclusive->abandoned) { /* code of the new one may still be at what there is only one of */
        log_error(&made->subject,
                  "generation %u is not opened again, as the new one may still be "
                  "open: start the host anew",
                  old->generation);
        listener_stop_accepting(made);
        listener_cut(made);
        guard_await_cut(&exclusive->instance->guard, made);
        listener_drop(made, true);
        return NULL;
    }
    reopen(exclusive, made, was_paused);
    return NULL;
}

void exclusive_restore(const struct exclusive *exclusive, struct listener *made) {
    reopen(exclusive, made, atomic_load(&made->paused));
}
