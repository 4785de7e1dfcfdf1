/* The extensions of the bench: timers on its clock, work that runs at once, connections to nowhere
 * or to the transcript, datagrams. */
#include <string.h>
#include <utlist.h>

#include "author/bench_internal.h"
#include "base/alloc.h"

enum { DATAGRAM_BYTES_MAX = 65507 };

/* -- berth.timer/1 ------------------------------------------------------------------------------
 */

static struct bench_timer *timer_new(struct bench *bench, struct bench_conn *conn,
                                     berth_timer_fn function, void *argument) {
    if ((bench->options.refuses & BENCH_REFUSES_TIMERS) != 0) {
        return NULL;
    }
    struct bench_timer *timer = alloc_zeroed(sizeof(*timer));
    if (timer) {
        timer->bench = bench;
        timer->conn = conn;
        timer->function = function;
        timer->argument = argument;
        DL_APPEND(bench->timers, timer);
    }
    return timer;
}

static struct berth_timer *BERTH_CALL create_for_conn(struct berth_conn *public,
                                                      berth_timer_fn function, void *argument) {
    struct bench_conn *conn = bench_conn_used(public, "timer.create_for_conn");
    if (!conn || conn->end >= BENCH_ENDS) {
        return NULL;
    }
    return (struct berth_timer *)timer_new(conn->bench, conn, function, argument);
}

static struct berth_timer *BERTH_CALL create_for_listener(const struct berth_listener *listener,
                                                          berth_timer_fn function, void *argument) {
    struct bench *bench = bench_of(listener->host);
    if (!bench->in_open) {
        bench_find(bench, "not-allowed-here",
                   "timer.create_for_listener() is for `listener_open` only");
        return NULL;
    }
    return (struct berth_timer *)timer_new(bench, NULL, function, argument);
}

/* Whether the timer may still be used. */
static bool timer_used(struct bench_timer *timer, const char *service) {
    if (timer->dead) {
        bench_find(timer->bench, "timer-used-after-its-end",
                   "%s() was called for a timer that was freed, or whose connection has ended",
                   service);
        return false;
    }
    return !timer->conn || bench_conn_used(&timer->conn->public, service) != NULL;
}

static void BERTH_CALL timer_start(struct berth_timer *handle, uint64_t delay_ms) {
    struct bench_timer *timer = (struct bench_timer *)handle;
    if (timer_used(timer, "timer.start") && !(timer->conn && timer->conn->end >= BENCH_ENDS)) {
        timer->due_ms = timer->bench->now_ms + delay_ms;
        timer->order = timer->bench->next_order++;
        timer->running = true;
    }
}

static void BERTH_CALL timer_stop(struct berth_timer *handle) {
    struct bench_timer *timer = (struct bench_timer *)handle;
    if (timer_used(timer, "timer.stop")) {
        timer->running = false;
    }
}

static void BERTH_CALL timer_destroy(struct berth_timer *handle) {
    struct bench_timer *timer = (struct bench_timer *)handle;
    if (timer && timer_used(timer, "timer.destroy") && timer->conn) {
        timer->running = false;
        timer->dead = true;
    }
}

static const struct berth_timer_host timer_host = {
    .struct_size = sizeof(timer_host),
    .create_for_conn = create_for_conn,
    .create_for_listener = create_for_listener,
    .start = timer_start,
    .stop = timer_stop,
    .destroy = timer_destroy,
};

bool bench_timer_fire(struct bench *bench, uint64_t until_ms) {
    struct bench_timer *first = NULL;
    struct bench_timer *timer;
    DL_FOREACH(bench->timers, timer) {
        if (timer->running && timer->due_ms <= until_ms &&
            (!first || timer->due_ms < first->due_ms ||
             (timer->due_ms == first->due_ms && timer->order < first->order))) {
            first = timer;
        }
    }
    if (!first) {
        return false;
    }
    bench->now_ms = first->due_ms > bench->now_ms ? first->due_ms : bench->now_ms;
    first->running = false;
    bench_enter(bench, "a timer's function", first->conn ? BENCH_CONN : BENCH_ANY, first->conn);
    first->function((struct berth_timer *)first, first->argument);
    bench_leave(bench);
    return true;
}

/* Those of the connection, or with NULL the listener's. They stay known, to be recognized. */
void bench_timers_end(struct bench *bench, const struct bench_conn *conn) {
    struct bench_timer *timer;
    DL_FOREACH(bench->timers, timer) {
        if (timer->conn == conn) {
            timer->running = false;
        }
    }
}

void bench_timers_free(struct bench *bench) {
    struct bench_timer *timer;
    struct bench_timer *next;
    DL_FOREACH_SAFE(bench->timers, timer, next) {
        DL_DELETE(bench->timers, timer);
        alloc_free(timer);
    }
}

/* -- berth.work/1 -------------------------------------------------------------------------------
 */

static int32_t submit_to(struct bench *bench, uint64_t conn_id, berth_work_fn work,
                         berth_work_done_fn done, void *argument) {
    if (!work || !done) {
        bench_find(bench, "function-missing", "work.submit() was given no function");
        return BERTH_E_INVALID;
    }
    if ((bench->options.refuses & BENCH_REFUSES_WORK) != 0) {
        return BERTH_E_LIMIT;
    }
    struct bench_task task = {.kind = BENCH_TASK_WORK,
                              .conn_id = conn_id,
                              .work = work,
                              .done = done,
                              .argument = argument};
    return bench_task_add(bench, &task) ? BERTH_OK : BERTH_E_NO_MEMORY;
}

static int32_t BERTH_CALL submit(struct berth_conn *public, berth_work_fn work,
                                 berth_work_done_fn done, void *argument) {
    struct bench_conn *conn = bench_conn_used(public, "work.submit");
    if (!conn || conn->end >= BENCH_ENDS) {
        return BERTH_E_GONE;
    }
    return submit_to(conn->bench, conn->public.id, work, done, argument);
}

static int32_t BERTH_CALL submit_for_listener(const struct berth_listener *listener,
                                              berth_work_fn work, berth_work_done_fn done,
                                              void *argument) {
    struct bench *bench = bench_of(listener->host);
    if (bench->scope == BENCH_CONTROL && os_thread_id() == bench->thread) {
        bench_find(bench, "not-allowed-here", "work.submit_for_listener() was called in `%s`",
                   bench_callback());
        return BERTH_E_STATE;
    }
    return submit_to(bench, 0, work, done, argument);
}

static const struct berth_work_host work_host = {
    .struct_size = sizeof(work_host),
    .submit = submit,
    .submit_for_listener = submit_for_listener,
};

/* -- berth.connect/1 ----------------------------------------------------------------------------
 */

static int32_t BERTH_CALL connect_to(struct berth_conn *public,
                                     const struct berth_connect_request *request,
                                     berth_connected_fn connected, void *argument) {
    struct bench_conn *asker = bench_conn_used(public, "connect");
    struct berth_connect_request whole = {0};
    int32_t status = BERTH_OK;
    size_t size = request->struct_size < sizeof(whole) ? request->struct_size : sizeof(whole);
    memcpy(&whole, request, size);
    struct bench_task task = {
        .kind = BENCH_TASK_CONNECT, .connected = connected, .argument = argument};
    struct bench *bench = ((struct bench_conn *)public)->bench;
    bool good = bench_slice_take(bench, &whole.first_data, "connect");
    if (!connected) {
        bench_find(bench, "function-missing", "connect() was given no function");
    }
    bool names_a_target = whole.host && whole.host[0] != '\0' && whole.port != 0 &&
                          whole.reserved == 0 && whole.reserved2 == 0;
    bool gone = !asker || asker->end >= BENCH_ENDS;
    if (!good || !connected || (!gone && !names_a_target)) {
        status = BERTH_E_INVALID;
    } else if (gone) {
        status = BERTH_E_GONE;
    } else if ((bench->options.refuses & BENCH_REFUSES_CONNECTS) != 0) {
        status = BERTH_E_LIMIT;
    } else {
        task.conn_id = asker->public.id;
        bool copied = bytes_add(&task.first_data, whole.first_data.bytes, whole.first_data.size);
        status = copied && bench_task_add(bench, &task) ? BERTH_OK : BERTH_E_NO_MEMORY;
    }
    if (good) {
        bench_buffer_release(whole.first_data.buffer);
    }
    return status;
}

static const struct berth_connect_host connect_host = {
    .struct_size = sizeof(connect_host),
    .connect = connect_to,
};

/* -- berth.datagram/1 ---------------------------------------------------------------------------
 */

static int32_t BERTH_CALL datagram_send(const struct berth_listener *listener,
                                        const struct berth_address *local,
                                        const struct berth_address *remote,
                                        const struct berth_slice *data) {
    struct bench *bench = bench_of(listener->host);
    int32_t status = BERTH_OK;
    bool good = bench_slice_take(bench, data, "datagram.send");
    if (!good || remote->port == 0 || local->family != remote->family ||
        data->size > DATAGRAM_BYTES_MAX) {
        status = BERTH_E_INVALID;
    } else {
        status =
            bytes_add(&bench->datagrams, data->bytes, data->size) ? BERTH_OK : BERTH_E_NO_MEMORY;
    }
    if (good) {
        bench_buffer_release(data->buffer);
    }
    return status;
}

static const struct berth_datagram_host datagram_host = {
    .struct_size = sizeof(datagram_host),
    .send = datagram_send,
};

const void *bench_extension(const char *id) {
    const struct {
        const char *id;
        const void *extension;
    } extensions[] = {
        {BERTH_TIMER_ID, &timer_host},           {BERTH_WORK_ID, &work_host},
        {BERTH_CONNECT_ID, &connect_host},       {BERTH_DATAGRAM_ID, &datagram_host},
        {BERTH_FILE_ID, bench_file_extension()},
    };
    for (size_t i = 0; i < ARRAY_COUNT(extensions); i++) {
        if (strcmp(extensions[i].id, id) == 0) {
            return extensions[i].extension;
        }
    }
    return NULL;
}
