#include "net/conn/worker_core.h"

#include "base/macros.h"
#include "net/lib/latch.h"

static _Thread_local struct worker *current;

struct worker *worker_current(void) {
    return current;
}

void worker_set_current(struct worker *worker) {
    current = worker;
}

uint64_t worker_now_ms(struct worker *worker) {
    return worker_read_ms(worker);
}

void worker_await(const struct server_driver *driver, struct latch_note *waits, struct latch *latch,
                  const char *what) {
    while (driver && !latch_is_down(latch)) {
        driver->step(driver->context, what);
    }
    latch_wait_noted(latch, waits, what);
}

struct call {
    struct engine_op op;
    struct worker *worker;
    void (*function)(struct worker *worker, void *argument);
    void *argument;
    struct latch done;
};

static void on_call(struct engine_op *op, int64_t result) {
    struct call *call = CONTAINER_OF(op, struct call, op);
    struct worker *worker = call->worker;
    (void)result;
    call->function(worker, call->argument);
    worker->run_pending(worker);
    latch_down(&call->done);
}

void worker_call(struct worker *worker, void (*function)(struct worker *worker, void *argument),
                 void *argument) {
    struct call call = {.worker = worker, .function = function, .argument = argument};
    call.op.complete = on_call;
    latch_init(&call.done, 1);
    engine_port_post(worker->port, &call.op);
    worker_await(worker->driver, worker->waits, &call.done, "a worker");
}

void worker_wake_waiters(struct worker *worker) {
    if (!atomic_exchange(&worker->wake_posted, true)) {
        engine_port_post(worker->port, &worker->wake_waiters_op);
    }
}
