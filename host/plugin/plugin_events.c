#include "plugin/plugin_events.h"

#include "base/alloc.h"
#include "base/error.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "plugin/call_page.h"
#include "plugin/callback_guard.h"
#include "plugin/outbound.h"
#include "plugin/plugin_fault.h"
#include "plugin/plugin_listener.h"
#include "plugin/plugin_metric.h"
#include "plugin/plugin_stats.h"
#include "plugin/plugin_timer.h"
#include "plugin/timed_call.h"

/* -- of a listener --------------------------------------------------------- */

/* A call of `listener_open`, which outlives its caller if it is abandoned. */
struct open_call {
    struct listener *listener;
    int32_t status;
    char message[ERROR_MESSAGE_MAX / 2];
};

static void open_call_run(void *argument) {
    struct open_call *open = argument;
    struct listener *listener = open->listener;
    struct berth_error why = {sizeof(why), sizeof(open->message), open->message};
    struct plugin_thread *call = listener_call(listener, PLUGIN_LISTENER_OPEN);
    open->status =
        listener->plugin->listener_open(&listener->public, &listener->public.state, &why);
    callback_guard_end(call);
}

/* False: it has not been called, or has not returned. */
static bool open_call_await(struct open_call *open, bool *abandoned, struct error *error) {
    const struct listener *listener = open->listener;
    const struct timed_call_limit *wait = listener->options.open_limit;
    if (!wait) {
        open_call_run(open);
        return true;
    }
    enum timed_call_result result = timed_call_run(open_call_run, open, wait, error);
    char limit[64];
    *abandoned = result == TIMED_CALL_ABANDONED;
    if (*abandoned) {
        timed_call_describe_limit(wait, limit, sizeof(limit));
        error_set(error,
                  "plugin \"%s\" has not returned from `listener_open` %s: its library stays "
                  "mapped",
                  listener->plugin->id, limit);
    }
    return result == TIMED_CALL_DONE;
}

static bool call_listener_open(struct listener *listener, bool *abandoned, struct error *error) {
    struct open_call *open = alloc_zeroed(sizeof(*open));
    if (!open) {
        return error_set(error, "out of memory");
    }
    open->listener = listener;
    bool opened = open_call_await(open, abandoned, error);
    if (opened && open->status != BERTH_OK) {
        open->message[sizeof(open->message) - 1] = '\0';
        opened =
            error_set(error, "plugin \"%s\" refused to open: %s (status %d)", listener->plugin->id,
                      open->message[0] ? open->message : "it gave no reason", (int)open->status);
    }
    if (!*abandoned) {
        alloc_free(open);
    }
    return opened;
}

static bool on_open(struct listener *listener, bool *abandoned, struct error *error) {
    call_page_name(listener->name, listener->options.generation, listener->name, "");
    if (listener->plugin->listener_open && !call_listener_open(listener, abandoned, error)) {
        return false;
    }
    plugin_listener_begin(listener);
    plugin_timers_release(listener);
    return true;
}

static void on_draining(struct listener *listener, uint32_t why) {
    if (listener->plugin->listener_draining) {
        struct plugin_thread *call = listener_call(listener, PLUGIN_LISTENER_DRAINING);
        listener->plugin->listener_draining(&listener->public, why);
        callback_guard_end(call);
    }
}

static void on_close(struct listener *listener) {
    plugin_listener_seal(listener);
    plugin_timers_stop_listener(listener);
    if (listener->opened) {
        plugin_listener_end(listener);
    }
    if (listener->opened && listener->plugin->listener_close) {
        struct plugin_thread *call = listener_call(listener, PLUGIN_LISTENER_CLOSE);
        listener->plugin->listener_close(&listener->public);
        callback_guard_end(call);
    }
    plugin_timers_free_listener(listener);
    plugin_metrics_free(listener);
    callback_guard_forget();
    if (listener->name) {
        call_page_forget(listener->name);
    }
}

/* -- of a connection ------------------------------------------------------- */

static void on_opened(struct connection *connection) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_OPENED);
    connection_listener(connection)->plugin->opened(&connection->public);
    callback_guard_end(call);
}

static uint32_t plugin_events_on_received(struct connection *connection, struct berth_slice *data) {
    const struct listener *listener = connection_listener(connection);
    struct berth_buffer *buffer = data->buffer;
    struct plugin_thread *call = connection_call(connection, PLUGIN_RECEIVED);
    data->buffer = buffer_given(buffer);
    uint32_t consumed = listener->plugin->received(&connection->public, data);
    data->buffer = buffer;
    callback_guard_end(call);
    buffer_note_if_kept(buffer, plugin_stats_buffers(listener->options.stats));
    return consumed;
}

static void on_peer_closed(struct connection *connection) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_PEER_CLOSED);
    connection_listener(connection)->plugin->peer_closed(&connection->public);
    callback_guard_end(call);
}

static void on_filled(struct connection *connection) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_FILLED);
    connection_listener(connection)->plugin->filled(&connection->public);
    callback_guard_end(call);
}

static void on_drained(struct connection *connection) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_DRAINED);
    connection_listener(connection)->plugin->drained(&connection->public);
    callback_guard_end(call);
}

static uint32_t on_closing(struct connection *connection, uint32_t reason) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_CLOSING);
    uint32_t answer = connection_listener(connection)->plugin->closing(&connection->public, reason);
    callback_guard_end(call);
    return answer;
}

static void on_closed(struct connection *connection) {
    struct plugin_thread *call = connection_call(connection, PLUGIN_CLOSED);
    connection_listener(connection)->plugin->closed(&connection->public, connection->reason);
    callback_guard_end(call);
}

static uint32_t on_busy(struct connection *connection, const struct berth_busy *busy, void *bytes,
                        uint32_t capacity) {
    const struct listener *listener = connection_listener(connection);
    struct plugin_thread *call = connection_call(connection, PLUGIN_BUSY);
    uint32_t size = listener->plugin->busy(&listener->public, busy, bytes, capacity);
    callback_guard_end(call);
    return size;
}

static void plugin_events_on_datagram(struct listener *listener, struct berth_datagram *datagram) {
    struct berth_buffer *buffer = datagram->data.buffer;
    struct plugin_thread *call = listener_call(listener, PLUGIN_DATAGRAM);
    datagram->data.buffer = buffer_given(buffer);
    listener->plugin->datagram(&listener->public, datagram);
    callback_guard_end(call);
    buffer_note_if_kept(buffer, plugin_stats_buffers(listener->options.stats));
}

const struct listener_hooks plugin_listener_hooks = {
    .open = on_open,
    .close = on_close,
    .draining = on_draining,
    .call_off = outbound_call_off,
    .opened = on_opened,
    .received = plugin_events_on_received,
    .peer_closed = on_peer_closed,
    .filled = on_filled,
    .drained = on_drained,
    .closing = on_closing,
    .closed = on_closed,
    .busy = on_busy,
    .datagram = plugin_events_on_datagram,
    .fault = plugin_fault,
};

_Static_assert((int)STATS_SHARD_OTHER == (int)SERVER_WORKERS_MAX &&
                   (int)STATS_SHARDS == SERVER_WORKERS_MAX + 1,
               "a share for each worker, and one for all other threads");

const struct server_hooks plugin_server_hooks = {
    .thread_enter = plugin_thread_enter,
    .thread_leave = plugin_thread_leave,
    .watch_stalls = stall_watchdog_follow,
};
