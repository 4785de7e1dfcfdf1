#include "plugin/plugin_timer.h"

#include <stdatomic.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_fault.h"
#include "plugin/plugin_listener.h"

#define NOT_WANTED UINT64_MAX

#define TIMER_LIVE UINT32_C(0x74696d72) /* a value that other memory is unlikely to contain */

struct berth_timer {
    struct timer timer;
    uint32_t live;              /* TIMER_LIVE until it is destroyed */
    struct attachment attached; /* to its connection; */
    struct berth_timer *prev;   /* or in its listener's list */
    struct berth_timer *next;
    union { /* by the owner */
        berth_timer_fn of_connection;
        berth_listener_timer_fn of_listener;
    } function;
    void *argument;
    struct worker *worker;
    struct connection *connection; /* NULL: a listener's */
    struct listener *listener;

    /* Of a listener's timer: the requested time, or NOT_WANTED; and the post to the worker, which
     * has not been delivered while `telling`. */
    _Atomic uint64_t wanted_ms;
    atomic_bool telling;
    struct engine_op tell;
};

static void plugin_timer_fire(struct timer *timer) {
    struct berth_timer *one = CONTAINER_OF(timer, struct berth_timer, timer);
    struct worker *worker = one->worker;
    if (!one->connection) {
        uint64_t wanted_ms = atomic_load(&one->wanted_ms);
        /* It was moved or stopped meanwhile: the post to the worker is pending, or has been
         * delivered. */
        if (wanted_ms == NOT_WANTED || wanted_ms > worker_now_ms(worker) ||
            !atomic_compare_exchange_strong(&one->wanted_ms, &wanted_ms, NOT_WANTED)) {
            return;
        }
        plugin_listener_start_on(one->listener, worker->index);
    }
    struct plugin_thread *call = one->connection ? connection_call(one->connection, PLUGIN_TIMER)
                                                 : listener_call(one->listener, PLUGIN_TIMER);
    if (one->connection) {
        one->function.of_connection(one, one->argument);
    } else {
        one->function.of_listener(one, &one->listener->public, worker->index, one->argument);
    }
    callback_guard_end(call);
    worker_run_pending(worker);
}

static struct berth_timer *plugin_timer_add(struct worker *worker, struct listener *listener,
                                            void *argument) {
    struct berth_timer *one = alloc_zeroed(sizeof(*one));
    if (one) {
        one->live = TIMER_LIVE;
        one->listener = listener;
        one->timer.fire = plugin_timer_fire;
        one->argument = argument;
        one->worker = worker;
        plugin_stats_hold(listener->options.stats, plugin_thread.shard, PLUGIN_TIMERS, 1);
    }
    return one;
}

static void plugin_timer_free(struct berth_timer *one) {
    ASSERT(!timer_is_running(&one->timer));
    plugin_stats_hold(one->listener->options.stats, plugin_thread.shard, PLUGIN_TIMERS, -1);
    one->live = 0;
    alloc_free_late(one);
}

/* -- of connections -------------------------------------------------------- */

static void destroy_of_connection(struct berth_timer *one) {
    struct connection *connection = one->connection;
    timers_stop(&one->worker->timers, &one->timer);
    connection->resources->timer_count--;
    connection_detach(connection, &one->attached);
    plugin_timer_free(one);
}

/* No function of it runs once its connection begins to end. */
static void plugin_timer_on_end(struct attachment *attached, enum attachment_stage stage) {
    struct berth_timer *one = CONTAINER_OF(attached, struct berth_timer, attached);
    if (stage == ATTACHMENT_ENDING) {
        timers_stop(&one->worker->timers, &one->timer);
    } else if (stage == ATTACHMENT_CLOSED) {
        destroy_of_connection(one);
    }
}

static void plugin_timer_describe_one(const struct attachment *attached, char *text, size_t size) {
    const struct berth_timer *one = CONTAINER_OF(attached, const struct berth_timer, attached);
    size_t used = 0;
    text_append(text, size, &used, "timer of listener \"%s\"", one->listener->name);
    text_append(text, size, &used, " for connection %llu: %s",
                (unsigned long long)one->connection->public.id,
                timer_is_running(&one->timer) ? "runs" : "does not run");
}

static const struct attachment_kind of_connection = {plugin_timer_on_end,
                                                     plugin_timer_describe_one};

struct berth_timer *plugin_timer_create(struct connection *connection, berth_timer_fn function,
                                        void *argument) {
    if (connection_is_ending(connection) ||
        connection->resources->timer_count >= connection_listener(connection)->options.timers_max) {
        return NULL;
    }
    struct listener *listener = connection_listener(connection);
    struct berth_timer *one =
        connection_need_resources(connection)
            ? plugin_timer_add(connection_worker(connection), listener, argument)
            : NULL;
    if (one) {
        one->function.of_connection = function;
        one->connection = connection;
        connection->resources->timer_count++;
        connection_attach(connection, &one->attached, &of_connection);
    }
    return one;
}

/* -- of listeners ---------------------------------------------------------- */

static void on_tell(struct engine_op *op, int64_t result) {
    struct berth_timer *one = CONTAINER_OF(op, struct berth_timer, tell);
    struct timers *timers = &one->worker->timers;
    (void)result;
    atomic_store(&one->telling, false); /* before the load: a change from now on posts again */
    uint64_t wanted_ms = atomic_load(&one->wanted_ms);
    uint64_t now_ms = worker_now_ms(one->worker);
    if (wanted_ms == NOT_WANTED) {
        timers_stop(timers, &one->timer);
    } else {
        timers_start(timers, &one->timer, now_ms, wanted_ms > now_ms ? wanted_ms - now_ms : 0);
    }
}

static void tell_worker(struct berth_timer *one) {
    if (!atomic_exchange(&one->telling, true)) {
        engine_port_post(one->worker->port, &one->tell);
    }
}

static void plugin_timer_want(struct berth_timer *one, uint64_t wanted_ms) {
    if (atomic_load(&one->listener->timers_closed)) {
        return;
    }
    atomic_store(&one->wanted_ms, wanted_ms);
    if (atomic_load(&one->listener->phase) != LISTENER_NOT_OPEN) {
        tell_worker(one);
    }
}

/* Those that were started in `listener_open` have waited for its return. */
void plugin_timers_release(struct listener *listener) {
    struct berth_timer *one;
    DL_FOREACH(listener->plugin_timers, one) {
        if (atomic_load(&one->wanted_ms) != NOT_WANTED) {
            tell_worker(one);
        }
    }
}

struct berth_timer *plugin_timer_create_listener(struct listener *listener,
                                                 berth_listener_timer_fn function, void *argument) {
    struct server *server = listener->server;
    if (listener->timer_count >= listener->options.timers_max) {
        return NULL;
    }
    struct worker *worker = &server->workers[listener->timer_count % server->options.workers];
    struct berth_timer *one = plugin_timer_add(worker, listener, argument);
    if (one) {
        one->function.of_listener = function;
        one->tell.complete = on_tell;
        atomic_init(&one->wanted_ms, NOT_WANTED);
        listener->timer_count++;
        DL_APPEND(listener->plugin_timers, one);
    }
    return one;
}

static void plugin_timer_stop_here(struct worker *worker, void *argument) {
    const struct listener *listener = argument;
    struct berth_timer *one;
    DL_FOREACH(listener->plugin_timers, one) {
        if (one->worker == worker) {
            atomic_store(&one->wanted_ms, NOT_WANTED);
            timers_stop(&worker->timers, &one->timer);
        }
    }
}

/* A pending post has been delivered when all workers have been called. */
void plugin_timers_stop_listener(struct listener *listener) {
    if (!listener->plugin_timers) {
        return;
    }
    atomic_store(&listener->timers_closed, true);
    for (unsigned i = 0; i < listener->server->options.workers; i++) {
        worker_call(&listener->server->workers[i], plugin_timer_stop_here, listener);
    }
}

void plugin_timers_free_listener(struct listener *listener) {
    plugin_timers_stop_listener(listener);
    while (listener->plugin_timers) {
        struct berth_timer *one = listener->plugin_timers;
        ASSERT(!timer_is_running(&one->timer));
        DL_DELETE(listener->plugin_timers, one);
        plugin_timer_free(one);
    }
}

/* -- of both --------------------------------------------------------------- */

/* Whether the plugin may use the timer so on this thread; if not, that is a fault. The memory of a
 * destroyed timer is kept for a while, so that its use can be detected. */
static bool check_use(const struct berth_timer *timer, const char *service) {
    const char *wrong = "no timer";
    if (timer && timer->live != TIMER_LIVE) {
        wrong = "a timer that has been destroyed";
    } else if (timer && timer->connection && timer->worker != worker_current()) {
        wrong = "a timer of a connection, on a thread that is not the connection's";
    } else if (timer) {
        return true;
    }
    plugin_fault(NULL, "%s() of %s", service, wrong);
    return false;
}

void plugin_timer_start(struct berth_timer *timer, uint64_t delay_ms) {
    if (!check_use(timer, "start")) {
        return;
    }
    uint64_t now_ms = engine_now_ms();
    if (!timer->connection) {
        uint64_t delay = delay_ms < TIMERS_DELAY_MAX_MS ? delay_ms : TIMERS_DELAY_MAX_MS;
        plugin_timer_want(timer, now_ms + delay);
    } else if (!connection_is_ending(timer->connection)) {
        timers_start(&timer->worker->timers, &timer->timer, now_ms, delay_ms);
    }
}

void plugin_timer_stop(struct berth_timer *timer) {
    if (!check_use(timer, "stop")) {
        return;
    }
    if (timer->connection) {
        timers_stop(&timer->worker->timers, &timer->timer);
    } else {
        plugin_timer_want(timer, NOT_WANTED);
    }
}

void plugin_timer_destroy(struct berth_timer *timer) {
    if (timer && check_use(timer, "destroy") && timer->connection) {
        destroy_of_connection(timer);
    }
}
