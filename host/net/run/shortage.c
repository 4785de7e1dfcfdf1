#include "net/run/shortage.h"

#include "base/log.h"
#include "base/macros.h"
#include "engine/engine.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "os/os.h"

enum {
    TICK_MS = 250,         /* between two attempts to give memory back */
    QUIET_MS = 5000,       /* a shortage is over when nothing has failed for this long */
    BUFFERS_RETAINED = 16, /* while it lasts */
    BUFFERS_RESERVED = 2,  /* always; see shortage_reclaim() */
};

/* Gives back what may be given back in the middle of a callback: the free lists. True: there was
 * something. */
static bool give_back_free(struct worker *worker, uint32_t buffers) {
    bool any = buffer_pool_trim(worker->buffers, buffers);
    any |= worker->nodes.free_count > 0 || worker->io_pool.free_count > 0;
    send_nodes_fini(&worker->nodes);
    conn_io_pool_fini(&worker->io_pool);
    return any;
}

/* alloc_reclaim_fn: one of this thread's allocations has failed, and is retried if this helps.
 *
 * Connections may use all the memory, and each may wait for a buffer; each needs one even to detect
 * that its peer has closed. So a few buffers are reserved, with which one connection after the
 * other detects that. */
static bool shortage_reclaim(void *context) {
    return give_back_free(context, BUFFERS_RESERVED);
}

static void reserve_buffers(struct worker *worker) {
    struct berth_buffer *buffers[BUFFERS_RESERVED];
    for (int i = 0; i < BUFFERS_RESERVED; i++) {
        buffers[i] = buffer_take(worker->buffers);
    }
    for (int i = 0; i < BUFFERS_RESERVED; i++) {
        buffer_release(buffers[i]);
    }
}

static void shortage_give_back(struct worker *worker) {
    worker->shortage.due = false;
    engine_port_trim(worker->port);
    give_back_free(worker, BUFFERS_RETAINED);
    if (worker->shortage.failures > 0) {
        os_heap_trim();
    }
}

static void note_own_failures(struct worker *worker, uint64_t now_ms) {
    struct shortage *shortage = &worker->shortage;
    unsigned long failures = alloc_thread_failures() - shortage->thread_failures;
    shortage->thread_failures += failures;
    if (failures == 0) {
        return;
    }
    if (shortage->failures == 0) {
        shortage->since_ms = now_ms;
        log_warn(NULL,
                 "worker %u: memory is short: until there is some, connections wait for buffers "
                 "and new clients may be reset",
                 worker->index);
    }
    shortage->failures += failures;
}

static void shortage_end_episode(struct worker *worker) {
    struct shortage *shortage = &worker->shortage;
    if (shortage->failures > 0) {
        log_info(NULL,
                 "worker %u: there is memory again: %lu allocations failed in %llu ms, %lu new "
                 "clients were reset",
                 worker->index, shortage->failures,
                 (unsigned long long)(shortage->last_ms - shortage->since_ms), shortage->lost);
    }
    shortage->failures = 0;
    shortage->lost = 0;
    shortage->active = false;
    buffer_pool_retain(worker->buffers, worker->server->options.buffers_retained_max);
}

static void shortage_on_tick(struct timer *timer) {
    struct shortage *shortage = CONTAINER_OF(timer, struct shortage, tick);
    struct worker *worker = CONTAINER_OF(shortage, struct worker, shortage);
    uint64_t now_ms = worker_now_ms(worker);
    bool over = now_ms - shortage->last_ms >= QUIET_MS;
    if (shortage->due || over) {
        shortage_give_back(worker);
    }
    if (over) {
        shortage_end_episode(worker);
    } else {
        timers_start(&worker->timers, &shortage->tick, now_ms, TICK_MS);
    }
}

void shortage_begin(struct worker *worker) {
    struct shortage *shortage = &worker->shortage;
    uint64_t now_ms = worker_now_ms(worker);
    shortage->process_failures = alloc_failures();
    shortage->last_ms = now_ms;
    shortage->due = true;
    note_own_failures(worker, now_ms);
    if (!shortage->active) {
        shortage->active = true;
        buffer_pool_retain(worker->buffers, BUFFERS_RETAINED);
        timers_start(&worker->timers, &shortage->tick, now_ms, TICK_MS);
        shortage_give_back(worker);
        if (shortage->failures > 0) {
            server_wake_waiters(worker->server); /* others hold free memory, and may sleep */
        }
    }
}

void shortage_init(struct worker *worker) {
    worker->shortage = (struct shortage){
        .process_failures = alloc_failures(),
        .thread_failures = alloc_thread_failures(),
        .tick.fire = shortage_on_tick,
    };
    reserve_buffers(worker);
    alloc_set_reclaim(shortage_reclaim, worker);
}

void shortage_enter(struct worker *worker) {
    worker->shortage.thread_failures = alloc_thread_failures();
    alloc_set_reclaim(shortage_reclaim, worker);
}

void shortage_leave(void) {
    alloc_set_reclaim(NULL, NULL);
}

void shortage_fini(struct worker *worker) {
    shortage_leave();
    timers_stop(&worker->timers, &worker->shortage.tick);
}
