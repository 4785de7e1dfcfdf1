#include "net/run/worker.h"

#include <stdio.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/lib/buffer.h"
#include "net/lib/latch.h"
#include "net/listen/accept_pool.h"
#include "net/listen/datagrams.h"
#include "net/run/shortage.h"

enum {
    SEND_NODES_FREE_MAX = 4096, /* nodes of send queues kept for the next sends */
    CONN_IO_FREE_MAX = 1024,    /* conn_io parts kept, likewise */
    RECEIVE_BUFFERS = 64,       /* stays in the cache: about a mebibyte */
    RECEIVE_BUFFERS_MAX = 1024, /* what it may grow to under load */
};

/* -- the thread ------------------------------------------------------------ */

static bool take_buffer(void *context, struct engine_buffer *taken) {
    struct berth_buffer *buffer = buffer_take(context);
    if (!buffer) {
        return false;
    }
    *taken = (struct engine_buffer){buffer, buffer->bytes, buffer->capacity};
    return true;
}

static uint8_t *bytes_of_buffer(void *owner) {
    return ((const struct berth_buffer *)owner)->bytes;
}

static void worker_give_buffer(void *context, void *owner) {
    (void)context;
    buffer_release(owner);
}

/* Connections of a listener without capacity are skipped: another listener may have some. */
static void admit_waiting(struct worker *worker) {
    const struct listener *full = NULL;
    struct connection *connection;
    struct connection *next;
    DL_FOREACH_SAFE2(worker->waiting, connection, next, wait.next) {
        if (connection_listener(connection) != full && !connection_try_again(connection)) {
            full = connection_listener(connection);
        }
    }
}

static void on_wake_waiters(struct engine_op *op, int64_t result) {
    struct worker *worker = CONTAINER_OF(op, struct worker, wake_waiters_op);
    (void)result;
    atomic_store(&worker->wake_posted, false);
    admit_waiting(worker);
    unsigned stalls = atomic_load(&worker->server->stalls);
    if (worker->stalls != stalls) {
        worker->stalls = stalls;
        accept_pools_cover(worker);
        datagrams_cover(worker);
    }
    accept_pools_capacity_freed(worker);
    worker_run_pending(worker);
}

static void on_stop(struct engine_op *op, int64_t result) {
    (void)result;
    CONTAINER_OF(op, struct worker, stop_op)->stopping = true;
}

static bool worker_init(struct worker *worker, struct error *error) {
    const struct server_options *options = &worker->server->options;
    worker->buffers = buffer_pool_create(options->buffer_bytes, options->buffers_retained_max);
    if (!worker->buffers) {
        return error_set(error, "out of memory");
    }
    struct engine_port_options port = {
        .buffers = {worker->buffers, options->buffer_bytes, take_buffer, worker_give_buffer,
                    bytes_of_buffer},
        .receive_buffers = RECEIVE_BUFFERS,
        .receive_buffers_max = RECEIVE_BUFFERS_MAX,
        .burst_buffers = options->turn_receive_bytes / options->buffer_bytes,
    };
    worker->port = engine_port_create(worker->server->engine, &port, error);
    if (!worker->port) {
        buffer_pool_close(worker->buffers);
        return false;
    }
    worker->nodes.free_max = SEND_NODES_FREE_MAX;
    worker->io_pool.free_max = CONN_IO_FREE_MAX;
    worker_table_init(worker);
    worker->wake_waiters_op.complete = on_wake_waiters;
    worker->stop_op.complete = on_stop;
    timers_init(&worker->timers, engine_now_ms());
    shortage_init(worker);
    return true;
}

static void worker_fini(struct worker *worker) {
    ASSERT(worker->connection_count == 0);
    ASSERT(!worker->waiting);
    ASSERT(!worker->pools);
    ASSERT(!worker->receivers);
    ASSERT(!worker->outbounds);
    ASSERT(atomic_load(&worker->load) == 0);
    ASSERT(atomic_load(&worker->posts) == 0);
    shortage_fini(worker);
    engine_port_destroy(worker->port);
    send_nodes_fini(&worker->nodes);
    conn_io_pool_fini(&worker->io_pool);
    local_addresses_fini(&worker->local_addresses);
    buffer_pool_close(worker->buffers);
    alloc_free(worker->slots);
}

static bool worker_has_more(const struct worker *worker) {
    return worker->dirty_first != WORKER_NO_SLOT || worker->postponed_first != WORKER_NO_SLOT;
}

int worker_next_ms(struct worker *worker) {
    if (worker->server->options.driver) {
        worker->now_ms = 0; /* other workers had their turns since its own */
    }
    return worker_has_more(worker) ? 0 : timers_next_ms(&worker->timers, worker_read_ms(worker));
}

/* Runs what has completed, the timers that are due, and what both left dirty. Returns whether
 * anything ran. */
static inline bool worker_turn(struct worker *worker, int timeout_ms) {
    worker->now_ms = 0; /* the wait takes time */
    bool ran = engine_port_run(worker->port, timeout_ms) > 0;
    ran |= timers_run(&worker->timers, worker_read_ms(worker));
    ran |= worker_has_more(worker);
    worker_take_postponed(worker);
    worker_run_pending(worker);
    shortage_check(worker, &worker->shortage);
    if (CHECKS) {
        accept_pools_check(worker);
    }
    return ran;
}

static bool worker_has_ended(const struct worker *worker) {
    return worker->stopping && engine_port_pending(worker->port) == 0;
}

static void worker_run(struct worker *worker) {
    while (!worker_has_ended(worker)) {
        worker_turn(worker, worker_next_ms(worker));
    }
}

/* This thread is the worker's, permanently or for one turn. */
static void worker_enter(struct worker *worker) {
    ASSERT(!worker_current());
    worker_set_current(worker);
    worker->calls = worker->server->options.hooks->thread_enter(worker->index);
}

static void worker_leave(const struct worker *worker) {
    shortage_leave();
    worker->server->options.hooks->thread_enter(SERVER_NO_WORKER);
    worker_set_current(NULL);
}

bool worker_drive(struct worker *worker) {
    worker_enter(worker);
    shortage_enter(worker);
    bool ran = worker_turn(worker, 0);
    worker->now_ms = 0; /* the turns of other workers take time */
    worker_leave(worker);
    return ran;
}

static bool worker_start_driven(struct worker *worker, struct error *error) {
    worker_enter(worker);
    bool started = worker_init(worker, error);
    worker_leave(worker);
    return started;
}

static void worker_stop_driven(struct worker *worker) {
    const struct server_driver *driver = worker->server->options.driver;
    while (!worker_has_ended(worker)) {
        driver->step(driver->context, "the end of a worker");
    }
    worker_enter(worker);
    worker_fini(worker);
    worker_leave(worker);
}

struct start {
    struct worker *worker;
    struct error *error;
    struct latch done;
    bool started;
};

static void worker_main(void *argument) {
    struct start *start = argument;
    struct worker *worker = start->worker;
    worker_enter(worker);
    os_thread_spread(worker->index);
    bool started = worker_init(worker, start->error);
    start->started = started;
    latch_down(&start->done);
    if (started) {
        worker_run(worker);
        worker_fini(worker);
    }
    worker->server->options.hooks->thread_leave();
}

bool worker_start(struct worker *worker, struct server *server, unsigned index,
                  struct error *error) {
    worker->server = server;
    worker->index = index;
    worker->driver = server->options.driver;
    worker->waits = server->options.waits;
    if (server->options.driver) {
        return worker_start_driven(worker, error) || error_prefix(error, "worker %u: ", index);
    }
    char name[16];
    snprintf(name, sizeof(name), "%s-%u", worker == server->acceptor ? "acceptor" : "worker",
             index % 1000);
    struct start start = {.worker = worker, .error = error};
    latch_init(&start.done, 1);
    if (!os_thread_start(&worker->thread, name, worker_main, &start, error)) {
        latch_down(&start.done);
        latch_wait_noted(&start.done, worker->waits, "the start of a worker");
        return error_prefix(error, "thread %s: ", name);
    }
    latch_wait_noted(&start.done, worker->waits, "the start of a worker");
    if (!start.started) {
        os_thread_join(&worker->thread);
        return error_prefix(error, "thread %s: ", name);
    }
    return true;
}

void worker_stop(struct worker *worker) {
    engine_port_post(worker->port, &worker->stop_op);
    if (worker->server->options.driver) {
        worker_stop_driven(worker);
    } else {
        os_thread_join(&worker->thread);
    }
}
