/* The callbacks: the descriptor that the host gets, and the checks after each call. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "devkit/layer.h"
#include "net/conn/connection.h"
#include "net/listen/listener.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"

enum {
    CANARY_BYTES = 8,
    CLOSE_MS = 10 * 60 * 1000,
    WAIT_US_MIN = 1000,  /* a callback that waited and took so long has blocked */
    DOZE_US_MIN = 15000, /* the same if the system does not count waits */
    GUARD = 0xA5,
};

/* -- connections ----------------------------------------------------------- */

static void guard_write(uint8_t *guard) {
    memset(guard, GUARD, LAYER_GUARD_BYTES);
}

static bool guard_is_whole(const uint8_t *guard) {
    for (unsigned i = 0; i < LAYER_GUARD_BYTES; i++) {
        if (guard[i] != GUARD) {
            return false;
        }
    }
    return true;
}

static struct layer_conn *layer_call_find(struct testbed *bed, const struct berth_conn *conn) {
    struct layer_conn *one;
    DL_FOREACH(bed->layer_conns, one) {
        if (one->conn == conn && !one->is_over) {
            return one;
        }
    }
    return NULL;
}

/* Includes a connection that the current callback passes for the first time. */
struct layer_conn *layer_conn_of(struct testbed *bed, const struct berth_conn *conn) {
    struct layer_conn *one = layer_call_find(bed, conn);
    const struct connection *current = atomic_load(&plugin_thread.connection);
    bool is_new = !one && layer_callback() >= 0 && current && &current->public == conn;
    return is_new ? layer_conn_add(bed, conn) : one;
}

struct layer_conn *layer_conn_add(struct testbed *bed, const struct berth_conn *conn) {
    const struct connection *of = (const struct connection *)conn;
    struct layer_conn *one = alloc_zeroed(sizeof(*one));
    if (!one) {
        return NULL;
    }
    bool outbound = (conn->flags & BERTH_CONN_OUTBOUND) != 0;
    one->conn = (struct berth_conn *)(uintptr_t)conn;
    one->shown = *conn;
    one->peer_port = outbound ? of->local->address.port : of->remote.port;
    if (conn->state) {
        guard_write((uint8_t *)conn->state + bed->plugin.conn_state_size);
    }
    DL_APPEND(bed->layer_conns, one);
    return one;
}

/* Restores the fields that only the host may write. */
void layer_restore(struct testbed *bed) {
    struct layer_conn *one;
    uint32_t state_size = bed->plugin.conn_state_size;
    DL_FOREACH(bed->layer_conns, one) {
        if (one->is_over) {
            continue;
        }
        if (memcmp(one->conn, &one->shown, sizeof(one->shown)) != 0) {
            layer_find(bed, "connection-overwritten", "the plugin wrote into struct berth_conn");
            *one->conn = one->shown;
        }
        if (one->shown.state && !guard_is_whole((uint8_t *)one->shown.state + state_size)) {
            layer_find(bed, "state-overrun",
                       "bytes behind the end of the connection's state (%u bytes) were overwritten",
                       (unsigned)state_size);
            guard_write((uint8_t *)one->shown.state + state_size);
        }
    }
    if (bed->is_open && !bed->listener_over &&
        memcmp(&bed->listener->public, &bed->listener_shown, sizeof(bed->listener_shown)) != 0) {
        layer_find(bed, "listener-overwritten", "the plugin wrote into struct berth_listener");
        bed->listener->public = bed->listener_shown;
    }
}

/* The services that are allowed in `closed` for the closed connection. */
static bool is_of_the_closed(const char *service) {
    return strcmp(service, "conn_info") == 0 || strcmp(service, "conn_log") == 0;
}

bool layer_may_touch(struct berth_conn *conn, const char *service) {
    struct testbed *bed = NULL;
    struct layer_conn *one = NULL;
    struct testbed *each;
    int callback = layer_callback();
    DL_FOREACH(testbed_first(), each) {
        bed = bed ? bed : each;
        one = os_thread_id() == each->thread ? layer_conn_of(each, conn)
                                             : layer_call_find(each, conn);
        if (one) {
            bed = each;
            break;
        }
    }
    if (!bed) {
        return false;
    }
    if (os_thread_id() != bed->thread) {
        atomic_store(&bed->has_threads, true);
        layer_find(bed, "wrong-thread", "%s() is [conn], and was called on a thread of the plugin",
                   service);
        return false;
    }
    if (callback == PLUGIN_WORK || !worker_current()) {
        layer_find(bed, "wrong-thread", "%s() is [conn], and was called %s", service,
                   callback == PLUGIN_WORK ? "on a thread of the pool"
                                           : "where there are no connections");
        return false;
    }
    if (!one) {
        layer_find(bed, "connection-used-after-closed",
                   "%s() was called for a connection whose `closed` was over", service);
        return false;
    }
    layer_restore(bed);
    const struct connection *current = atomic_load(&plugin_thread.connection);
    if (callback == PLUGIN_CLOSED && current && &current->public == conn &&
        !is_of_the_closed(service)) {
        layer_find(bed, "not-allowed-here",
                   "%s() was called in `closed`, for the connection that is closed", service);
        return false;
    }
    if (connection_worker(connection_of(conn)) != worker_current()) {
        layer_find(bed, "wrong-thread",
                   "%s() is [conn], and was called on another worker than the connection's",
                   service);
        return false;
    }
    return true;
}

/* The plugin must close() a connection some time after `peer_closed`: a finding if it did not
 * within ten minutes, and waits for no other connection. shutdown_send() counts as close(). */
void layer_check_never_closed(struct testbed *bed) {
    struct layer_conn *one;
    bool waits = false;
    DL_FOREACH(bed->layer_conns, one) {
        waits |= !one->is_over && (one->shown.flags & BERTH_CONN_OUTBOUND) != 0;
    }
    DL_FOREACH(bed->layer_conns, one) {
        if (!one->is_over && one->peer_closed_ms != 0 && !waits &&
            (one->shown.flags & BERTH_CONN_OUTBOUND) == 0 &&
            connection_of(one->conn)->state.life == CONNECTION_OPEN &&
            engine_now_ms() - one->peer_closed_ms >= CLOSE_MS) {
            layer_find(bed, "never-closed",
                       "`peer_closed` was called, and ten minutes later neither close() nor "
                       "shutdown_send() was: a plugin with `peer_closed` has to");
        }
    }
}

/* -- checks after a call --------------------------------------------------- */

/* Whether the callback runs on an I/O worker and must not block; [control] and work may. */
static bool is_on_worker(enum plugin_callback callback) {
    return callback > PLUGIN_LISTENER_CLOSE && callback != PLUGIN_WORK;
}

static uint64_t blocked_us;

uint64_t layer_blocked_us(void) {
    return blocked_us;
}

/* A callback that yielded the processor has waited for something. Preemption does not count, nor
 * does a page fault that reads. */
static void look_for_waits(struct testbed *bed, enum plugin_callback callback, uint64_t took_us) {
    struct os_thread_usage before = bed->usage;
    os_thread_usage(&bed->usage);
    bool waited = before.waits != UINT64_MAX
                      ? bed->usage.waits != before.waits && bed->usage.faults == before.faults &&
                            took_us >= WAIT_US_MIN
                      : took_us >= DOZE_US_MIN && (bed->usage.cpu_us - before.cpu_us) * 2 < took_us;
    if (!waited || !is_on_worker(callback)) {
        return;
    }
    blocked_us += took_us;
    layer_find(bed, "blocks-a-worker",
               "the callback waited for something, %.1f ms in all, and its worker with it: what "
               "blocks belongs into work (berth/work.h)",
               (double)took_us / 1000);
}

void layer_call_ended(const struct plugin_thread *thread, uint64_t ticks) {
    struct plugin_stats *stats = atomic_load(&thread->record->stats);
    enum plugin_callback callback = atomic_load(&thread->record->callback);
    struct testbed *bed;
    DL_FOREACH(testbed_first(), bed) {
        if (bed->module && bed->module->stats == stats && bed->thread == os_thread_id()) {
            bed->calls++;
            look_for_waits(bed, callback, (uint64_t)ticks_as_us(ticks));
            layer_restore(bed);
            layer_buffers_look(bed);
            bed->findings_before = bed->findings;
        }
    }
}

/* -- the operations -------------------------------------------------------- */

/* A callback that may refuse must give a reason that fits its space, and a status that means
 * failure. */
static void check_answer(struct testbed *bed, const char *callback, int32_t status,
                         const char *message, const char *canary) {
    for (unsigned i = 0; i < CANARY_BYTES; i++) {
        if (canary[i] != 'c') {
            layer_find(bed, "error-overrun", "%s() wrote past error->message_capacity", callback);
            break;
        }
    }
    if (status > 0) {
        layer_find(bed, "status-unknown",
                   "%s() returned %d: BERTH_OK is 0, and a failure is negative", callback,
                   (int)status);
    }
    if (status != BERTH_OK && message[0] == '\0') {
        layer_find(bed, "refusal-without-words",
                   "%s() returned %d and gave no reason: use berth_error_set()", callback,
                   (int)status);
    }
    bed->status = status;
    snprintf(bed->words, sizeof(bed->words), "%.511s", message[0] ? message : "it gave no reason");
}

struct answer {
    char message[512 + CANARY_BYTES];
    struct berth_error error;
};

static void answer_begin(struct answer *answer) {
    memset(answer, 0, sizeof(*answer));
    answer->error = (struct berth_error){sizeof(answer->error),
                                         sizeof(answer->message) - CANARY_BYTES, answer->message};
    memset(answer->message + answer->error.message_capacity, 'c', CANARY_BYTES);
}

static void answer_end(struct testbed *bed, struct answer *answer, const char *callback,
                       int32_t status, struct berth_error *error) {
    answer->message[sizeof(answer->message) - CANARY_BYTES - 1] = '\0';
    check_answer(bed, callback, status, answer->message,
                 answer->message + sizeof(answer->message) - CANARY_BYTES);
    if (error && error->message && error->message_capacity > 0) {
        snprintf(error->message, error->message_capacity, "%s", answer->message);
    }
}

static int32_t BERTH_CALL load(const struct berth_host *host, void **state,
                               struct berth_error *error) {
    struct answer answer;
    struct testbed *bed;
    DL_FOREACH(testbed_first(), bed) {
        if (bed->module && &bed->module->host == host) {
            answer_begin(&answer);
            int32_t status = bed->plugin.load(&bed->table.host, state, &answer.error);
            answer_end(bed, &answer, "load", status, error);
            return status;
        }
    }
    return BERTH_E_FAILED;
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener, void **state,
                                        struct berth_error *error) {
    struct testbed *bed = testbed_of(listener->host);
    struct answer answer;
    bed->listener_given = listener;
    answer_begin(&answer);
    int32_t status = bed->plugin.listener_open(listener, state, &answer.error);
    answer_end(bed, &answer, "listener_open", status, error);
    return status;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    struct testbed *bed = testbed_of(listener->host);
    if (bed->plugin.listener_close) {
        bed->plugin.listener_close(listener);
    }
    bed->listener_over = true;
}

static void BERTH_CALL opened(struct berth_conn *conn) {
    struct testbed *bed = testbed_of(conn->host);
    layer_conn_of(bed, conn);
    if (bed->plugin.opened) {
        bed->plugin.opened(conn);
    }
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct testbed *bed = testbed_of(conn->host);
    layer_conn_of(bed, conn);
    uint32_t size = data->size;
    struct layer_buffer *lent = layer_buffer_show(bed, data, "received");
    uint32_t consumed = bed->plugin.received(conn, data);
    if (consumed > size) {
        layer_find(bed, "consumed-too-much", "received() consumed %u of %u bytes",
                   (unsigned)consumed, (unsigned)size);
    }
    layer_buffer_shown(bed, lent);
    return consumed;
}

static void BERTH_CALL peer_closed(struct berth_conn *conn) {
    struct testbed *bed = testbed_of(conn->host);
    struct layer_conn *one = layer_conn_of(bed, conn);
    if (one) {
        one->peer_closed_ms = engine_now_ms();
    }
    bed->plugin.peer_closed(conn);
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    struct testbed *bed = testbed_of(conn->host);
    struct layer_conn *one = layer_conn_of(bed, conn);
    if (bed->plugin.closed) {
        bed->plugin.closed(conn, reason);
    }
    layer_restore(bed);
    if (conn->state) {
        memset(conn->state, 0xDD,
               bed->plugin.conn_state_size); /* the ABI frees it after `closed` */
    }
    if (one) {
        one->is_over = true;
    }
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener, const struct berth_busy *why,
                                uint8_t *answer, uint32_t capacity) {
    struct testbed *bed = testbed_of(listener->host);
    uint32_t size = bed->plugin.busy(listener, why, answer, capacity);
    if (size > capacity) {
        layer_find(bed, "busy-too-long", "busy() returned %u of a room of %u bytes", (unsigned)size,
                   (unsigned)capacity);
    }
    return size;
}

static void BERTH_CALL datagram(const struct berth_listener *listener,
                                const struct berth_datagram *given) {
    struct testbed *bed = testbed_of(listener->host);
    struct layer_buffer *lent = layer_buffer_show(bed, &given->data, "datagram");
    bed->plugin.datagram(listener, given);
    layer_buffer_shown(bed, lent);
}

void layer_descriptor(struct testbed *bed) {
    struct berth_plugin *seen = &bed->seen;
    *seen = bed->plugin;
    seen->conn_state_size += seen->conn_state_size > 0 ? LAYER_GUARD_BYTES : 0;
    seen->load = seen->load ? load : NULL;
    seen->listener_open = seen->listener_open ? listener_open : NULL;
    seen->listener_close = listener_close;
    seen->opened = opened;
    seen->received = seen->received ? received : NULL;
    seen->peer_closed = seen->peer_closed ? peer_closed : NULL;
    seen->closed = closed;
    seen->busy = seen->busy ? busy : NULL;
    seen->datagram = seen->datagram ? datagram : NULL;
}
