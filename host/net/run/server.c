#include "net/run/server.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/engine.h"
#include "net/run/worker.h"

static void server_set_running(struct server *server, bool is_running) {
    os_mutex_lock(&server->running_mutex);
    server->is_running = is_running;
    os_mutex_unlock(&server->running_mutex);
}

/* The port of a worker ends with it, so from here on no worker wakes another one. */
static void server_stop_workers(struct server *server) {
    server_set_running(server, false);
    while (server->started > 0) {
        worker_stop(&server->workers[server->started - 1]);
        server->started--;
    }
    alloc_free(server->workers);
    server->workers = NULL;
    server->acceptor = NULL;
}

static bool server_start_workers(struct server *server, struct error *error) {
    bool with_acceptor = !engine_traits(server->engine)->accept_on_workers;
    unsigned workers = server->options.workers;
    unsigned count = workers + (with_acceptor ? 1 : 0);
    server->workers = alloc_array(count, sizeof(*server->workers));
    if (!server->workers) {
        return error_set(error, "out of memory");
    }
    server->acceptor = with_acceptor ? &server->workers[workers] : NULL;
    while (server->started < count) {
        unsigned index = server->started;
        if (!worker_start(&server->workers[index], server, index, error)) {
            return false;
        }
        server->started++;
    }
    server_set_running(server, true);
    return true;
}

/* The engine and its ports, all of the same engine: if one port of the chosen engine cannot be
 * opened, none is used, and the fallback is tried. */
static bool server_start_engine(struct server *server, struct error *error) {
    struct engine_options engine = {
        .engine = server->options.engine,
        .descriptors_reserved = server->options.descriptors_reserved,
        .direct_descriptors = server->options.direct_descriptors,
        .inherited_sockets = server->options.inherited_sockets,
    };
    for (;;) {
        struct error why = {0};
        server->engine = engine_create(&engine, error);
        if (!server->engine) {
            return false;
        }
        if (server_start_workers(server, &why)) {
            return true;
        }
        engine.engine = engine_traits(server->engine)->fallback;
        if (!engine.engine) {
            *error = why;
            return false;
        }
        log_info(NULL, "engine %s: %s: %s", engine.engine, engine_traits(server->engine)->name,
                 why.message);
        engine.direct_descriptors = 0;
        server_stop_workers(server);
        engine_destroy(server->engine);
        server->engine = NULL;
    }
}

/* On the watchdog's thread. */
static void server_on_stall(void *context, unsigned index, bool stalled) {
    struct server *server = context;
    if (index < server->options.workers) {
        atomic_store(&server->workers[index].stalled, stalled);
        atomic_fetch_add(&server->stalls, 1);
        server_wake_waiters(server); /* they check which workers cover which */
    }
}

_Static_assert((int)ENGINE_PORTS_MAX == SERVER_WORKERS_MAX + 1,
               "a port for each worker, and one for the acceptor");

struct server *server_create(const struct server_options *options, struct error *error) {
    ASSERT(options->workers >= 1 && options->workers <= SERVER_WORKERS_MAX);
    struct server *server = alloc_zeroed(sizeof(*server));
    if (!server) {
        error_set(error, "out of memory");
        return NULL;
    }
    server->options = *options;
    os_mutex_init(&server->running_mutex);
    os_mutex_init(&server->asked_mutex);
    os_condition_init(&server->answered);
    server->options.work.thread_ended = options->hooks->thread_leave;
    server->work = work_pool_create(&server->options.work, options->driver != NULL, error);
    if (!server->work || !server_start_engine(server, error)) {
        server_destroy(server);
        return NULL;
    }
    options->hooks->watch_stalls(server_on_stall, server);
    return server;
}

void server_destroy(struct server *server) {
    if (!server) {
        return;
    }
    ASSERT(atomic_load(&server->connections) == 0);
    server->options.hooks->watch_stalls(NULL, NULL);
    work_pool_destroy(server->work); /* it posts to the workers until its end */
    server->work = NULL;
    server_stop_workers(server);
    ASSERT(atomic_load(&server->waiting) == 0);
    ASSERT(atomic_load(&server->ending) == 0);
    engine_destroy(server->engine);
    os_condition_fini(&server->answered);
    os_mutex_fini(&server->asked_mutex);
    os_mutex_fini(&server->running_mutex);
    alloc_free(server);
}

bool server_turn(struct server *server, unsigned index) {
    ASSERT(server->options.driver);
    return index < server->started && worker_drive(&server->workers[index]);
}

bool server_work(struct server *server) {
    ASSERT(server->options.driver && !worker_current());
    return server->work && work_pool_run_one(server->work);
}

int server_next_ms(struct server *server) {
    int next_ms = -1;
    for (unsigned i = 0; i < server->started; i++) {
        int one_ms = worker_next_ms(&server->workers[i]);
        next_ms = next_ms < 0 || (one_ms >= 0 && one_ms < next_ms) ? one_ms : next_ms;
    }
    return next_ms;
}

static void answer_here(struct engine_op *op, int64_t result) {
    struct worker *worker = CONTAINER_OF(op, struct worker, ask_op);
    struct server *server = worker->server;
    (void)result;
    os_mutex_lock(&server->asked_mutex);
    worker->is_asked = false;
    os_condition_signal_all(&server->answered);
    os_mutex_unlock(&server->asked_mutex);
}

static bool have_answered(const struct server *server) {
    unsigned i = 0;
    while (i < server->started && !server->workers[i].is_asked) {
        i++;
    }
    return i == server->started;
}

bool server_answers(struct server *server, uint32_t timeout_ms) {
    const struct server_driver *driver = server->options.driver;
    uint64_t until_ms = engine_now_ms() + timeout_ms;
    /* A worker that has not answered yet is not asked again. */
    for (unsigned i = 0; i < server->started; i++) {
        struct worker *worker = &server->workers[i];
        os_mutex_lock(&server->asked_mutex);
        bool post = !worker->is_asked;
        worker->is_asked = true;
        os_mutex_unlock(&server->asked_mutex);
        if (post) {
            worker->ask_op.complete = answer_here;
            engine_port_post(worker->port, &worker->ask_op);
        }
    }
    while (driver && !have_answered(server) && engine_now_ms() < until_ms) {
        driver->step(driver->context, "an answer of all workers");
    }
    os_mutex_lock(&server->asked_mutex);
    for (uint64_t now_ms = engine_now_ms(); !have_answered(server) && now_ms < until_ms;
         now_ms = engine_now_ms()) {
        os_condition_wait(&server->answered, &server->asked_mutex, (int)(until_ms - now_ms));
    }
    bool answered = have_answered(server);
    os_mutex_unlock(&server->asked_mutex);
    return answered;
}
