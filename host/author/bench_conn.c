/* The connections of the bench. They keep the order of the real ones: what a callback asks for is
 * only noted, and carried out when it has returned (host/net/connection.c). */
#include <stdio.h>
#include <string.h>

#include "author/bench_internal.h"
#include "base/alloc.h"

enum { CLOSE_MS = 10 * 60 * 1000 };

/* -- life ---------------------------------------------------------------------------------------
 */

struct bench_conn *bench_conn_new(struct bench *bench, bool outbound) {
    struct bench_conn *conn = alloc_zeroed(sizeof(*conn));
    uint32_t state_size = bench->plugin.conn_state_size;
    if (!conn) {
        return NULL;
    }
    if (state_size > 0) {
        conn->state = alloc_zeroed((size_t)state_size + BENCH_GUARD_BYTES);
        if (!conn->state) {
            alloc_free(conn);
            return NULL;
        }
        bench_guard_write(conn->state + state_size);
    }
    conn->bench = bench;
    conn->outbound = outbound;
    conn->want = 1;
    conn->opened_ms = bench->now_ms;
    conn->public = (struct berth_conn){
        .struct_size = sizeof(conn->public),
        .flags = outbound                    ? BERTH_CONN_OUTBOUND
                 : bench->options.first_data ? BERTH_CONN_FIRST_DATA
                                             : 0,
        .host = &bench->table.host,
        .listener = &bench->listener,
        .state = conn->state,
        .id = bench->next_id++,
    };
    conn->shown = conn->public;
    struct bench_conn **last = &bench->conns;
    while (*last) {
        last = &(*last)->next;
    }
    *last = conn;
    return conn;
}

void bench_conn_free(struct bench_conn *conn) {
    bytes_free(&conn->arrived);
    bytes_free(&conn->queue);
    bytes_free(&conn->output);
    alloc_free(conn->state);
    alloc_free(conn);
}

struct bench_conn *bench_conn_by_id(struct bench *bench, uint64_t id) {
    for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
        if (conn->public.id == id && conn->end != BENCH_GONE) {
            return conn;
        }
    }
    return NULL;
}

/* -- what services may be called ----------------------------------------------------------------
 */

static bool may_touch(struct bench *bench, const struct bench_conn *conn, const char *service) {
    static const char *const places[] = {
        [BENCH_OUTSIDE] = "outside of every callback",
        [BENCH_CONTROL] = "where there are no connections",
        [BENCH_ANY] = "where only what is [any] may be called",
        [BENCH_WORK] = "on a thread of the pool",
    };
    if (os_thread_id() != bench->thread) {
        bench_find(bench, "wrong-thread",
                   "%s() is [conn], and was called on a thread of the plugin", service);
        return false;
    }
    if (bench->scope == BENCH_CONN || (bench->scope == BENCH_CONN_CLOSED)) {
        if (conn->end == BENCH_GONE && conn != bench->scope_conn) {
            bench_find(bench, "connection-used-after-closed",
                       "%s() was called for a connection whose `closed` was over", service);
            return false;
        }
        return true;
    }
    bench_find(bench, "wrong-thread", "%s() is [conn], and was called %s", service,
               places[bench->scope]);
    return false;
}

/* In `closed` the connection is over: what is left of it may be looked at and cleaned up. */
static bool is_of_the_closed(const char *service) {
    static const char *const allowed[] = {"conn_info", "conn_log", "timer.stop", "timer.destroy"};
    for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
        if (strcmp(service, allowed[i]) == 0) {
            return true;
        }
    }
    return false;
}

struct bench_conn *bench_conn_used(struct berth_conn *public, const char *service) {
    struct bench_conn *conn = (struct bench_conn *)public;
    struct bench *bench = conn->bench;
    if (!may_touch(bench, conn, service)) {
        return NULL;
    }
    if (bench->scope == BENCH_CONN_CLOSED && conn == bench->scope_conn &&
        !is_of_the_closed(service)) {
        bench_find(bench, "not-allowed-here",
                   "%s() was called in `closed`, for the connection that is closed", service);
        return NULL;
    }
    return conn;
}

/* One that heard of the peer's end must close() some time: it has had ten minutes, and waits for no
 * other connection. */
void bench_conn_check_closed(const struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    bool waits = false;
    for (const struct bench_conn *other = bench->conns; other; other = other->next) {
        waits |= other->outbound && other->end < BENCH_ENDS;
    }
    if (conn->end == BENCH_LIVES && conn->told_peer_closed && !conn->outbound && !waits &&
        bench->now_ms - conn->peer_closed_ms >= CLOSE_MS) {
        bench_find(bench, "never-closed",
                   "`peer_closed` was called, and ten minutes later close() was not: a plugin with "
                   "`peer_closed` has to");
    }
}

/* -- bytes to the plugin ------------------------------------------------------------------------
 */

static void consume(struct bench_conn *conn, struct bench_buffer *buffer, uint32_t consumed) {
    if (consumed > buffer->size) {
        bench_find(conn->bench, "consumed-too-much", "received() consumed %u of %u bytes",
                   (unsigned)consumed, (unsigned)buffer->size);
        bench_conn_end(conn, BERTH_CLOSED_FAULT, true);
        return;
    }
    conn->arrived.size = 0;
    if (conn->end == BENCH_LIVES) {
        /* In the buffer and not as they came: a plugin may work on them in place. */
        bytes_add(&conn->arrived, buffer->bytes + consumed, buffer->size - consumed);
    }
}

static bool show(struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    bool enough = conn->arrived.size >= conn->want || conn->peer_finished;
    if (conn->arrived.size == 0 || !enough || !bench->plugin.received) {
        return false;
    }
    struct bench_buffer *buffer = bench_buffer_new(bench, (uint32_t)conn->arrived.size, "received");
    if (!buffer) {
        return false;
    }
    memcpy(buffer->bytes, conn->arrived.data, conn->arrived.size);
    struct berth_slice slice = {(struct berth_buffer *)buffer, buffer->bytes, buffer->size, 0};
    bench_enter(bench, "received", BENCH_CONN, conn);
    uint32_t consumed = bench->plugin.received(&conn->public, &slice);
    if (buffer->references == 0) {
        bench_find(bench, "borrowed-buffer-released",
                   "received() gave back a buffer that was only lent to it");
        bench_conn_end(conn, BERTH_CLOSED_FAULT, true);
    } else {
        consume(conn, buffer, consumed);
        bench_buffer_release((struct berth_buffer *)buffer);
    }
    bench_leave(bench);
    return true;
}

static bool is_held(const struct bench_conn *conn) {
    bool paces_itself = (conn->bench->plugin.flags & BERTH_PLUGIN_PACES_ITSELF) != 0;
    return conn->paused || (conn->full && !paces_itself);
}

static bool tell_peer_closed(struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    if (!conn->peer_finished || conn->told_peer_closed) {
        return false;
    }
    conn->told_peer_closed = true;
    conn->peer_closed_ms = bench->now_ms;
    conn->arrived.size = 0;
    if (bench->plugin.peer_closed) {
        bench_enter(bench, "peer_closed", BENCH_CONN, conn);
        bench->plugin.peer_closed(&conn->public);
        bench_leave(bench);
    } else {
        bench_conn_finish(conn, BERTH_CLOSED_BY_PEER);
    }
    return true;
}

/* -- bytes to the client ------------------------------------------------------------------------
 */

bool bench_conn_take(struct bench_conn *conn) {
    size_t size = conn->queue.size;
    size_t most = conn->bench->options.taken_at_a_time;
    if (size == 0 || conn->end >= BENCH_ENDS) {
        return false;
    }
    size = most > 0 && most < size ? most : size;
    bytes_add(&conn->output, conn->queue.data, size);
    bytes_drop_front(&conn->queue, size);
    conn->sent += size;
    return true;
}

static bool tell_queue(struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    void(BERTH_CALL * tell)(struct berth_conn *) = NULL;
    const char *name = "";
    if (!conn->full && conn->queue.size >= bench->options.queue_bytes) {
        conn->full = true;
        tell = bench->plugin.filled;
        name = "filled";
    } else if (conn->full && conn->queue.size <= bench->options.queue_bytes / 2) {
        conn->full = false;
        conn->redeliver = true;
        tell = bench->plugin.drained;
        name = "drained";
    } else {
        return false;
    }
    if (tell) {
        bench_enter(bench, name, BENCH_CONN, conn);
        tell(&conn->public);
        bench_leave(bench);
    }
    return true;
}

/* -- its states ---------------------------------------------------------------------------------
 */

void bench_conn_finish(struct bench_conn *conn, uint32_t reason) {
    if (conn->end == BENCH_LIVES) {
        conn->end = BENCH_DRAINS;
        conn->arrived.size = 0;
        conn->reason = conn->reason ? conn->reason : reason;
    }
}

void bench_conn_end(struct bench_conn *conn, uint32_t reason, bool reset) {
    if (conn->end < BENCH_ENDS) {
        conn->end = BENCH_ENDS;
        conn->reset = reset;
        conn->reason = conn->reason ? conn->reason : reason;
        bench_timers_end(conn->bench, conn);
    }
}

static void tell_closed(struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    conn->end = BENCH_GONE;
    conn->queue.size = 0;
    if (bench->plugin.closed) {
        bench_enter(bench, "closed", BENCH_CONN_CLOSED, conn);
        bench->plugin.closed(&conn->public, conn->reason);
        bench_leave(bench);
    }
    if (conn->state) {
        memset(conn->state, 0xDD, bench->plugin.conn_state_size); /* freed after it, says the ABI */
    }
}

bool bench_conn_settle(struct bench_conn *conn) {
    if (conn->end == BENCH_GONE) {
        return false;
    }
    if (conn->end == BENCH_ENDS) {
        tell_closed(conn);
        return true;
    }
    if (conn->queue.size > 0 && conn->bench->options.taken_at_a_time == 0) {
        bench_conn_take(conn);
    }
    if (conn->queue.size == 0 && conn->end == BENCH_DRAINS) {
        /* Its FIN; the client answers with its own at once. */
        conn->fin_sent = true;
        bench_conn_end(conn, BERTH_CLOSED_BY_PLUGIN, false);
        return true;
    }
    if (conn->end != BENCH_LIVES) {
        return false;
    }
    if (conn->queue.size == 0 && conn->fin_wanted) {
        conn->fin_sent = true;
    }
    if (tell_queue(conn)) {
        return true;
    }
    if (!is_held(conn) && conn->redeliver) {
        conn->redeliver = false;
        if (show(conn)) {
            return true;
        }
    }
    return !is_held(conn) && tell_peer_closed(conn);
}

/* -- the client ---------------------------------------------------------------------------------
 */

struct bench_conn *bench_connect(struct bench *bench) {
    struct bench_conn *conn = bench_conn_new(bench, false);
    if (conn && bench->plugin.opened) {
        bench_enter(bench, "opened", BENCH_CONN, conn);
        bench->plugin.opened(&conn->public);
        bench_leave(bench);
    }
    if (conn && !bench->options.first_data) {
        bench_run(bench);
    }
    return conn;
}

void bench_client_send(struct bench_conn *conn, const void *bytes, size_t size) {
    if (conn->end == BENCH_LIVES && !conn->peer_finished && size > 0) {
        conn->received += size;
        conn->redeliver = bytes_add(&conn->arrived, bytes, size);
    }
    bench_run(conn->bench);
}

void bench_client_finish(struct bench_conn *conn) {
    if (conn->end == BENCH_LIVES && !conn->peer_finished) {
        conn->peer_finished = true;
        if (conn->arrived.size < conn->want) {
            conn->redeliver = true; /* a last look at a rest shorter than it wants */
        }
    }
    bench_run(conn->bench);
}

void bench_client_reset(struct bench_conn *conn) {
    bench_conn_end(conn, BERTH_CLOSED_RESET, true);
    bench_run(conn->bench);
}

void bench_client_idle(struct bench_conn *conn) {
    struct bench *bench = conn->bench;
    uint32_t answer = BERTH_CLOSING_CLOSE;
    if (conn->end != BENCH_LIVES) {
        return;
    }
    if (bench->plugin.closing) {
        bench_enter(bench, "closing", BENCH_CONN, conn);
        answer = bench->plugin.closing(&conn->public, BERTH_CLOSED_TIMEOUT);
        bench_leave(bench);
    }
    if (answer == BERTH_CLOSING_ABORT) {
        bench_conn_end(conn, BERTH_CLOSED_TIMEOUT, true);
    } else if (answer != BERTH_CLOSING_KEEP) {
        bench_conn_finish(conn, BERTH_CLOSED_TIMEOUT);
    }
    bench_run(bench);
}

const uint8_t *bench_output(const struct bench_conn *conn, size_t *size) {
    *size = conn->output.size;
    return conn->output.data;
}

void bench_output_clear(struct bench_conn *conn) {
    conn->output.size = 0;
}

enum bench_state bench_conn_state(const struct bench_conn *conn) {
    if (conn->end >= BENCH_ENDS) {
        return conn->reset ? BENCH_RESET : BENCH_CLOSED;
    }
    return conn->fin_sent ? BENCH_FINISHED : BENCH_OPEN;
}

struct bench_conn *bench_upstream(struct bench *bench, unsigned index) {
    for (struct bench_conn *conn = bench->conns; conn; conn = conn->next) {
        if (conn->outbound && index-- == 0) {
            return conn;
        }
    }
    return NULL;
}
