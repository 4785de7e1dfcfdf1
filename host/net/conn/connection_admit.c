/* Admission: from the accept to `opened`.
 *
 *     accept ─► (proxy's header) ─► (first data awaited) ─► capacity under the limits? ─► opened
 *                      │                     │                     │        │
 *              time out, malformed        time out               waits   refused
 *
 * A proxy that the listener trusts sends a header first, which names its client. From then on the
 * connection counts as that client's, and the lists and limits use its address.
 *
 * A listener that accepts on first data gets that data with most accepts. Connections from the
 * other accepts of its pool (see accept_pool.h) arrive without data, and are *pending* until the
 * client sends or the timeout expires. A connection without capacity *waits*, unseen by the plugin
 * and with its receive stopped, or is refused: with the plugin's busy answer and a graceful close,
 * else with a reset. */
#include <stddef.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/admission.h"
#include "net/lib/buffer.h"
#include "net/lib/client_table.h"
#include "net/lib/proxy_header.h"

/* The plugin's state follows the connection in memory, aligned for any type. */
enum { STATE_ALIGNMENT = 16 };
static const size_t state_offset =
    (sizeof(struct connection) + STATE_ALIGNMENT - 1) / STATE_ALIGNMENT * STATE_ALIGNMENT;

_Static_assert(offsetof(struct connection, public) == 0, "connection_of() is a cast");
_Static_assert(offsetof(struct listener, public) == 0, "connection_listener() is a cast");

static void proxy_failed(struct connection *connection, const char *fault) {
    char proxy[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = connection_subject(connection, proxy);
    subject.reason = "proxy_header";
    listener_count(&connection_listener(connection)->counters.proxy_failed);
    log_limited(LOG_KIND_PROXY_HEADER, LOG_LEVEL_INFO, &subject,
                "proxy closed, as its PROXY protocol header is wrong: %s", fault);
}

void connection_entry_timed_out(struct connection *connection) {
    if (connection->state.entry == CONNECTION_ENTRY_PROXY_HEADER) {
        proxy_failed(connection, "none came in time");
    } else if (connection_state_is_pending(connection->state)) {
        listener_count(&connection_listener(connection)->counters.first_data_timeouts);
        connection_log_timeout(connection, "first_data_timeout_ms");
    }
}

/* -- an accepted socket becomes a connection ------------------------------- */

/* Takes over the reference to `local`, also on failure. `busy`: with a conn_io. */
static struct connection *connection_admit_create(struct worker *worker, struct listener *listener,
                                                  struct engine_socket socket,
                                                  struct local_address *local,
                                                  const struct berth_address *remote, bool busy) {
    const struct berth_plugin *plugin = listener->plugin;
    size_t size = plugin->conn_state_size ? state_offset + plugin->conn_state_size
                                          : sizeof(struct connection);
    struct connection *connection = local ? alloc_zeroed(size) : NULL;
    if (!connection) {
        local_address_release(local);
        return NULL;
    }
    connection->public = (struct berth_conn){
        .struct_size = sizeof(connection->public),
        .host = listener->public.host,
        .listener = &listener->public,
        .state = plugin->conn_state_size ? (char *)connection + state_offset : NULL,
        .worker = worker->index,
    };
    connection->io = conn_io_none();
    connection->resources = conn_resources_none();
    connection->socket = socket;
    connection->local = local;
    connection->remote = *remote;
    connection->receive.op.complete = connection_received;
    connection->deadline.fire = connection_deadline;
    if ((busy && !connection_need_io(connection)) || !worker_register(worker, connection)) {
        connection_drop_io(connection);
        local_address_release(local);
        alloc_free(connection);
        return NULL;
    }
    return connection;
}

/* Whether the plugin's state has memory of its own instead of following the connection: that of a
 * generation that needs more than the first one. */
static bool has_own_state(const struct connection *connection) {
    const char *state = connection->public.state;
    return state && state != (const char *)connection + state_offset;
}

void connection_free_state(struct connection *connection) {
    if (has_own_state(connection)) {
        alloc_free(connection->public.state);
    }
}

/* The socket never becomes a connection. */
static void connection_admit_lose(struct worker *worker, struct listener *listener,
                                  struct engine_accept *accept, enum log_level level,
                                  const char *why) {
    char remote[BERTH_ADDRESS_TEXT_MAX];
    struct log_subject subject = listener->subject;
    address_format(&accept->remote, remote, sizeof(remote));
    subject.peer = remote;
    subject.reason = "resources";
    log_limited(LOG_KIND_LOST, level, &subject, "connection reset: %s", why);
    buffer_release(accept->data.owner);
    engine_close(worker->server->engine, accept->socket, true);
    atomic_fetch_sub(&worker->load, 1);
    listener_unref(listener);
}

/* -- pending, waiting ------------------------------------------------------ */

static void await_data(struct connection *connection, enum connection_entry entry,
                       uint32_t timeout_ms) {
    connection_state_enter(&connection->state, entry);
    atomic_fetch_add(&connection_listener(connection)->pending, 1);
    timers_start(&connection_worker(connection)->timers, &connection->deadline,
                 worker_now_ms(connection_worker(connection)), timeout_ms);
}

static void await_first_data(struct connection *connection) {
    await_data(connection, CONNECTION_ENTRY_FIRST_DATA,
               connection_listener(connection)->options.first_data_timeout_ms);
}

static void worker_wait(struct worker *worker, struct connection *connection) {
    if (!worker->waiting) {
        atomic_fetch_add(&worker->server->waiting, 1);
    }
    ASSERT(!timer_is_running(&connection->deadline)); /* both share the memory of a union */
    DL_APPEND2(worker->waiting, connection, wait.prev, wait.next);
}

static void worker_unwait(struct worker *worker, struct connection *connection) {
    DL_DELETE2(worker->waiting, connection, wait.prev, wait.next);
    connection->wait.prev = NULL; /* the deadline, which shares the memory, needs that */
    connection->wait.next = NULL;
    if (!worker->waiting) {
        atomic_fetch_sub(&worker->server->waiting, 1);
    }
}

static void wait_for_room(struct connection *connection) {
    struct worker *worker = connection_worker(connection);
    struct listener *listener = connection_listener(connection);
    if (connection->state.entry == CONNECTION_ENTRY_CAPACITY) {
        return;
    }
    connection_leave_entry(connection);
    connection_state_enter(&connection->state, CONNECTION_ENTRY_CAPACITY);
    atomic_fetch_add(&listener->waiting, 1);
    worker_wait(worker, connection);
    if (log_enabled(LOG_LEVEL_DEBUG)) {
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = connection_subject(connection, peer);
        log_limited(LOG_KIND_REFUSED, LOG_LEVEL_DEBUG, &subject, "waits until a limit leaves room");
    }
    if (listener_has_room(listener)) {
        worker_wake_waiters(worker); /* freed before others could see that it waits */
    }
}

void connection_leave_entry(struct connection *connection) {
    struct listener *listener = connection_listener(connection);
    struct worker *worker = connection_worker(connection);
    bool room_made = false;
    if (connection_state_is_pending(connection->state)) {
        connection_state_enter(&connection->state, CONNECTION_ENTRY_NONE);
        timers_stop(&worker->timers, &connection->deadline);
        room_made = atomic_fetch_sub(&listener->pending, 1) == listener->options.pending_max;
    }
    if (connection->state.entry == CONNECTION_ENTRY_CAPACITY) {
        connection_state_enter(&connection->state, CONNECTION_ENTRY_NONE);
        worker_unwait(worker, connection);
        room_made |= atomic_fetch_sub(&listener->waiting, 1) == 1;
    }
    if (room_made) { /* for the pools, which post no accepts meanwhile */
        server_capacity_freed(worker->server);
    }
}

/* -- refused --------------------------------------------------------------- */

static uint32_t busy_limit(enum listener_refusal why) {
    switch (why) {
    case LISTENER_REFUSED_HOST:
        return BERTH_BUSY_HOST;
    case LISTENER_REFUSED_PER_CLIENT:
        return BERTH_BUSY_PER_CLIENT;
    case LISTENER_REFUSED_RATE:
        return BERTH_BUSY_RATE;
    default:
        return BERTH_BUSY_LISTENER;
    }
}

/* Asks the plugin to write its answer. */
static uint32_t ask_for_answer(struct connection *connection, enum listener_refusal why,
                               struct berth_buffer *buffer) {
    struct listener *listener = connection_listener(connection);
    struct worker *worker = connection_worker(connection);
    const struct berth_busy busy = {
        .struct_size = sizeof(busy),
        .limit = busy_limit(why),
        .remote = connection->remote,
        .local = connection->local->address,
        .worker = worker->index,
        .retry_after_ms = why == LISTENER_REFUSED_RATE
                              ? client_table_wait_ms(&listener->admission->clients,
                                                     &connection->remote, worker_now_ms(worker))
                              : 0,
    };
    return listener->options.hooks->busy(connection, &busy, buffer->bytes, buffer->capacity);
}

/* Queues the plugin's busy answer. False: there is none, or no memory for it. */
static bool queue_busy_answer(struct connection *connection, enum listener_refusal why) {
    struct listener *listener = connection_listener(connection);
    struct worker *worker = connection_worker(connection);
    struct berth_buffer *buffer = buffer_take(worker->buffers);
    if (!buffer) {
        return false;
    }
    uint32_t size = ask_for_answer(connection, why, buffer);
    if (size > buffer->capacity) {
        listener_count(&listener->counters.plugin_faults);
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = connection_subject(connection, peer);
        log_limited(LOG_KIND_FAULT, LOG_LEVEL_ERROR, &subject,
                    "fault of the plugin: busy() wrote %u bytes where %u fit", size,
                    buffer->capacity);
        size = 0;
    }
    struct berth_slice answer = {buffer, buffer->bytes, size, 0};
    return connection_queue(connection, &answer) && size > 0;
}

static bool connection_admit_answer_busy(struct connection *connection, enum listener_refusal why) {
    struct listener *listener = connection_listener(connection);
    if (!listener_answers_busy(listener)) {
        return false;
    }
    connection_state_enter(&connection->state, CONNECTION_ENTRY_REFUSED);
    if (atomic_fetch_add(&listener->refusing, 1) >= listener->options.refusing_max) {
        return false;
    }
    return queue_busy_answer(connection, why);
}

static void connection_admit_refuse(struct connection *connection, enum listener_refusal why) {
    struct listener *listener = connection_listener(connection);
    connection_leave_entry(connection);
    if (!connection_admit_answer_busy(connection, why)) {
        connection_end(connection, BERTH_CLOSED_LIMIT, true);
        return;
    }
    listener_count(&listener->counters.answered_busy);
    connection->reason = BERTH_CLOSED_LIMIT;
    connection_drain(connection);
}

/* -- opened ---------------------------------------------------------------- */

static void connection_admit_open(struct connection *connection) {
    struct listener *listener = connection_listener(connection);
    connection_leave_entry(connection);
    connection_state_open(&connection->state, CONNECTION_ENTRY_ADMITTED);
    if (connection->io->pending.size > 0) {
        connection->public.flags |= BERTH_CONN_FIRST_DATA;
        connection_state_set_redeliver(&connection->state, true);
    }
    connection->opened_ms = worker_now_ms(connection_worker(connection));
    connection_watch_idle(connection);
    listener_count(&listener->counters.opened);
    worker_mark_dirty(connection_worker(connection), connection);
    if (listener->plugin->opened) {
        listener->options.hooks->opened(connection);
    }
}

bool connection_try_again(struct connection *connection) {
    enum listener_refusal why;
    switch (listener_admit(connection_listener(connection), &connection->remote, &why)) {
    case LISTENER_ADMITTED:
        connection_admit_open(connection);
        return true;
    case LISTENER_REFUSE:
        connection_admit_refuse(connection, why);
        return true;
    case LISTENER_WAIT:
        break;
    }
    return false;
}

/* Connections that wait already come first. */
static void ask_for_room(struct connection *connection) {
    if (atomic_load(&connection_listener(connection)->waiting) > 0 ||
        !connection_try_again(connection)) {
        wait_for_room(connection);
    }
}

/* -- PROXY header ---------------------------------------------------------- */

static void connection_admit_begin(struct connection *connection) {
    if (connection_listener(connection)->options.accept_on_data &&
        connection->io->pending.size == 0) {
        await_first_data(connection);
    } else {
        ask_for_room(connection);
    }
}

static bool become_named(struct connection *connection, const struct proxy_header *header) {
    struct local_address *local =
        local_address_acquire(&connection_worker(connection)->local_addresses, &header->to);
    if (!local) {
        return false;
    }
    local_address_release(connection->local);
    connection->local = local;
    connection->remote = header->from;
    return true;
}

/* From now on the connection is that of the client, which the access list must allow. */
static void become_client(struct connection *connection, const struct proxy_header *header) {
    struct listener *listener = connection_listener(connection);
    enum listener_refusal why;
    if (header->names_client && !become_named(connection, header)) {
        connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
        return;
    }
    if (listener_accepts_client(listener, &connection->remote,
                                worker_now_ms(connection_worker(connection)), &why)) {
        connection_admit_begin(connection);
    } else if (why != LISTENER_REFUSED_ACCESS && listener_answers_busy(listener)) {
        connection_admit_refuse(connection, why);
    } else {
        connection_end(connection, BERTH_CLOSED_LIMIT, true);
    }
}

static void read_proxy_header(struct connection *connection) {
    struct berth_slice *pending = &connection->io->pending;
    struct proxy_header header;
    switch (proxy_header_read(pending->bytes, pending->size, &header)) {
    case PROXY_HEADER_PART:
        return;
    case PROXY_HEADER_MALFORMED:
        proxy_failed(connection, header.fault);
        connection_end(connection, BERTH_CLOSED_ERROR, true);
        return;
    case PROXY_HEADER_WHOLE:
        break;
    }
    connection_leave_entry(connection);
    connection->bytes_received -= header.size; /* the plugin does not see it */
    pending->bytes += header.size;
    pending->size -= header.size;
    if (pending->size == 0) {
        connection_drop_pending(connection);
    }
    become_client(connection, &header);
}

/* -- another generation ---------------------------------------------------- */

/* Memory for the state of that plugin. The state is untouched so far, so it is still zero. */
static bool change_state(struct connection *connection, const struct berth_plugin *from,
                         const struct berth_plugin *to) {
    void *state = NULL;
    if (to->conn_state_size > from->conn_state_size) {
        state = alloc_zeroed(to->conn_state_size);
        if (!state) {
            return false;
        }
    } else if (to->conn_state_size > 0) {
        return true;
    }
    connection_free_state(connection);
    connection->public.state = state;
    return true;
}

void connection_change_listener(struct connection *connection, struct listener *listener) {
    struct listener *old = connection_listener(connection);
    if (!change_state(connection, old->plugin, listener->plugin)) {
        return;
    }
    listener_ref(listener);
    connection->public.host = listener->public.host;
    connection->public.listener = &listener->public;
    if (connection_state_is_pending(connection->state)) {
        atomic_fetch_add(&listener->pending, 1);
        atomic_fetch_sub(&old->pending, 1);
    }
    if (connection->state.entry == CONNECTION_ENTRY_CAPACITY) {
        atomic_fetch_add(&listener->waiting, 1);
        atomic_fetch_sub(&old->waiting, 1);
    }
    listener_unref(old);
    if (connection->state.entry == CONNECTION_ENTRY_FIRST_DATA &&
        !listener->options.accept_on_data) {
        ask_for_room(connection); /* its entry step is over */
    }
}

void connection_admit_data(struct connection *connection) {
    if (connection->state.entry == CONNECTION_ENTRY_PROXY_HEADER) {
        read_proxy_header(connection);
    } else if (connection->state.entry != CONNECTION_ENTRY_CAPACITY) {
        ask_for_room(connection);
    }
}

void connection_run_pending_admission(struct connection *connection) {
    if (connection_state_is_pending(connection->state) &&
        connection->state.peer != CONNECTION_PEER_SENDING) {
        listener_count(&connection_listener(connection)->counters.ended_silent);
        connection_end(connection, BERTH_CLOSED_BY_PEER, false);
    }
}

void connection_adopt(struct worker *worker, struct listener *listener,
                      struct engine_accept *accept, uint32_t first_data_size, bool refused) {
    struct error error;
    if (!accept->home && !engine_attach(worker->port, &accept->socket, &error)) {
        connection_admit_lose(worker, listener, accept, LOG_LEVEL_ERROR, error.message);
        return;
    }
    struct local_address *local = local_address_acquire(&worker->local_addresses, &accept->local);
    struct connection *connection = connection_admit_create(
        worker, listener, accept->socket, local, &accept->remote, accept->data.owner != NULL);
    if (!connection) {
        worker->shortage.lost++; /* one line reports all of them */
        connection_admit_lose(worker, listener, accept, LOG_LEVEL_DEBUG, "out of memory");
        return;
    }
    if (accept->data.owner) {
        connection->io->pending =
            (struct berth_slice){accept->data.owner, accept->data.bytes, first_data_size, 0};
        connection->bytes_received = first_data_size;
        connection_count_received(connection, first_data_size);
    }
    if (refused) { /* a client that `allow` or `deny` refuses does not get here */
        connection_admit_refuse(connection, LISTENER_REFUSED_RATE);
    } else if (listener_trusts_proxy(listener, &accept->remote)) {
        await_data(connection, CONNECTION_ENTRY_PROXY_HEADER, listener->options.proxy_timeout_ms);
        if (first_data_size > 0) {
            read_proxy_header(connection);
        }
    } else {
        connection_admit_begin(connection);
    }
    worker_mark_dirty(worker, connection);
    worker_run_pending(worker);
}

struct connection *connection_adopt_outbound(struct worker *worker, struct listener *listener,
                                             const struct engine_connect *from,
                                             const struct berth_slice *first) {
    struct local_address *local = local_address_create(&from->local);
    struct connection *connection = connection_admit_create(worker, listener, from->socket, local,
                                                            &from->remote, first->size > 0);
    if (!connection) {
        buffer_release(first->buffer);
        engine_close(worker->server->engine, from->socket, true);
        return NULL;
    }
    atomic_fetch_add(&worker->load, 1);
    listener_ref(listener);
    connection_state_open(&connection->state, CONNECTION_ENTRY_OUTBOUND);
    connection->public.flags = BERTH_CONN_OUTBOUND;
    connection->opened_ms = worker_now_ms(worker);
    connection_watch_idle(connection);
    listener_count(&listener->counters.connected);
    if (!connection_queue(connection, first)) {
        connection_end(connection, BERTH_CLOSED_OUT_OF_MEMORY, true);
    }
    worker_mark_dirty(worker, connection);
    return connection;
}
