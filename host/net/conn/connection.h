/* connection.h: one connection, from the accept to `closed`.
 *
 * connection_admit.c takes it from the accept to `opened`, connection.c moves it through its
 * states, connection_receive.c passes bytes to the plugin, connection_send.c sends the plugin's
 * bytes. The functions that plugins call through the services only record the request;
 * connection_run_pending() carries it out (see worker.h).
 *
 * Owner: itself; it ends with its last operation. Threads: its worker's only. */
#ifndef BERTH_HOST_NET_CONN_CONNECTION_H
#define BERTH_HOST_NET_CONN_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "berth/connection.h"
#include "berth/file.h"
#include "engine/engine.h"
#include "net/conn/connection_parts.h"
#include "net/conn/connection_state.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/describe.h"
#include "net/lib/local_address.h"
#include "net/lib/timers.h"

/* An idle connection consists of this struct and an entry in its worker's table, at most 256 bytes
 * on Linux (tests/net/test_connection_memory.c). Keep to that when you add a member. What only some
 * connections have, or only at times, belongs in connection_parts.h. */
struct connection {
    struct berth_conn public; /* what the plugin sees; first, so that the pointers convert */
    struct engine_receive receive;
    struct conn_io *io;               /* what waits to be sent or consumed */
    struct conn_resources *resources; /* timers, works, … of the plugin */
    struct engine_socket socket;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t opened_ms : 40;
    uint64_t reason : 8;
    uint64_t send_timeout_s : 12; /* close_with_timeout() */
    uint64_t dirty : 1;           /* of the worker: it is in a list of dirty connections */
    uint64_t over_cap : 1;        /* its queue was past the hard cap when it last ran */
    uint64_t is_abandoned : 1;    /* the system did not complete an operation: the memory is kept */
    /* When bytes were last received or sent, if an option needs it; draining: when the peer last
     * took bytes. */
    uint32_t active_ms;
    union {
        uint32_t want;    /* the plugin asks for no fewer bytes */
        uint32_t unacked; /* draining: unacknowledged bytes when last checked */
    };
    uint32_t next_dirty; /* a slot of the worker, or WORKER_NO_SLOT */
    struct connection_state state;

    /* Rarely read, so it comes after the rest: an echo touches one cache line less. */
    union {
        struct timer deadline;
        struct { /* while it waits for capacity: no deadline runs then */
            struct connection *prev;
            struct connection *next;
        } wait; /* in worker->waiting */
    };
    struct local_address *local;
    struct berth_address remote;
};

/* Takes over an accepted socket and its first data on this worker. worker->load and the listener's
 * references count it already. Waits for the first data if the listener wants it and it is missing,
 * asks for capacity under the limits, calls the plugin and starts to receive. `refused`: there is
 * no capacity, and the client is to be informed. A failure is counted and logged, and closes the
 * socket. */
void connection_adopt(struct worker *worker, struct listener *listener,
                      struct engine_accept *accept, uint32_t first_data_size, bool refused);

/* Makes an open connection of an outbound attempt that succeeded. It takes over the count of the
 * attempt in listener->outbound. `first` is the part of the first data that is not sent yet; its
 * reference is taken over, too. NULL: no memory; the socket is closed, and the count still belongs
 * to the attempt. */
struct connection *connection_adopt_outbound(struct worker *worker, struct listener *listener,
                                             const struct engine_connect *from,
                                             const struct berth_slice *first);

/* Moves a connection that the plugin has not been called for yet to another generation of its
 * listener. Without memory for that it stays with its generation. */
void connection_change_listener(struct connection *connection, struct listener *listener);

/* Asks for capacity again for a connection that waits. False: there is none. */
bool connection_try_again(struct connection *connection);

/* More of the admission, for the other files: bytes have arrived for a connection that is not open
 * yet; its dirty flags are run; it is neither pending nor waiting any more. */
void connection_admit_data(struct connection *connection);
void connection_run_pending_admission(struct connection *connection);
void connection_leave_entry(struct connection *connection);

/* Carries out what was requested. May end the connection and free it. */
void connection_run_pending(struct connection *connection);

/* Begins the end. `reset`: with a reset, which discards the queue. The first reason counts. */
void connection_end(struct connection *connection, uint32_t reason, bool reset);

/* Closes gracefully, for that reason; see berth_host.close(). */
void connection_finish(struct connection *connection, uint32_t reason);

/* Its listener takes no more connections: the plugin is asked what to do with it. */
void connection_ask_to_close(struct connection *connection);

/* The permit to receive and send, which it asked for by io_permits_ask(), is granted. */
void connection_io_permit_granted(struct connection *connection);

/* BERTH_CLOSED_* for an ENGINE_E_*. */
uint32_t connection_reason_of(int64_t result);

/* For log lines about it. `peer` has room for BERTH_ADDRESS_TEXT_MAX bytes, and is filled. */
struct log_subject connection_subject(const struct connection *connection, char *peer);

/* Asserts what holds after connection_run_pending(): the combination of its state, and its
 * members. */
void connection_check(const struct connection *connection);

/* One line on its state: "connection 17 from 192.0.2.1:4000: open, admitted, …". The other adds a
 * line for each thing that it has asked the host for. */
void connection_describe(const struct connection *connection, char *text, size_t size);
void connection_describe_whole(const struct connection *connection, describe_fn *tell,
                               void *context);

/* Logs at debug level which timeout its client has exceeded: the field of the manifest. */
void connection_log_timeout(const struct connection *connection, const char *field);

static inline struct connection *connection_of(struct berth_conn *conn) {
    return (struct connection *)conn;
}

/* Its listener and its worker, from the part that the plugin sees. */
static inline struct listener *connection_listener(const struct connection *connection) {
    return (struct listener *)(uintptr_t)connection->public.listener;
}

static inline struct worker *connection_worker(const struct connection *connection) {
    return &connection_listener(connection)->server->workers[connection->public.worker];
}

/* Whether it may receive and send now, which few listeners limit. False:
 * connection_io_permit_granted() is called later. */
bool connection_ask_for_turn(struct connection *connection);

static inline bool connection_may_go_on(struct connection *connection) {
    return connection_listener(connection)->io_permits.max == 0 ||
           connection_ask_for_turn(connection);
}

static inline bool connection_is_ending(const struct connection *connection) {
    return connection_state_is_ending(connection->state);
}

/* Bytes that its worker counts for its listener. */
static inline void connection_count_received(const struct connection *connection, uint64_t bytes) {
    struct listener_traffic *traffic =
        &connection_listener(connection)->traffic[connection->public.worker];
    listener_traffic_add(&traffic->received[connection->state.entry == CONNECTION_ENTRY_OUTBOUND],
                         bytes);
}

static inline void connection_count_sent(const struct connection *connection, uint64_t bytes) {
    struct listener_traffic *traffic =
        &connection_listener(connection)->traffic[connection->public.worker];
    listener_traffic_add(&traffic->sent[connection->state.entry == CONNECTION_ENTRY_OUTBOUND],
                         bytes);
}

/* -- the connections of a worker ----------------------------------------------
 *
 * What a callback does to connections (send, close, pause, …) only marks them; worker_run_pending()
 * then carries it out, after the callback's frame is gone and still in the same turn of the
 * worker. */

void worker_table_init(struct worker *worker);

/* Marks the connection dirty; runs what is pending of all dirty connections. */
void worker_mark_dirty(struct worker *worker, struct connection *connection);
void worker_run_pending(struct worker *worker);

/* The connection is closed: removes it from the lists. */
void worker_clear_dirty(struct connection *connection);

/* The same in the next turn, after the other connections, unless the connection becomes dirty for
 * another reason before. That turn begins with worker_take_postponed(). */
void worker_postpone(struct worker *worker, struct connection *connection);
void worker_take_postponed(struct worker *worker);

/* Gives the connection an id and a slot of the table. False: no memory. */
bool worker_register(struct worker *worker, struct connection *connection);
void worker_unregister(struct worker *worker, struct connection *connection);

/* The connection of that id; NULL: it no longer exists. And the number of the worker it belongs
 * to. */
struct connection *worker_find(const struct worker *worker, uint64_t id);
unsigned worker_of_id(uint64_t id);

/* The connection in slot *slot or in the next used slot; *slot is then the slot after that. NULL:
 * there are no more. Connections may be added and removed meanwhile. */
struct connection *worker_next(const struct worker *worker, uint32_t *slot);

/* -- what the services do; statuses and ownership as in berth/host.h ------- */

int32_t connection_send(struct connection *connection, const void *bytes, uint32_t size);
int32_t connection_send_slices(struct connection *connection, const struct berth_slice *slices,
                               uint32_t count);
int32_t connection_send_pieces(struct connection *connection, const struct berth_piece *pieces,
                               uint32_t count);
int32_t connection_shutdown_send(struct connection *connection);
void connection_close(struct connection *connection);
void connection_close_at_once(struct connection *connection);
void connection_close_with_timeout(struct connection *connection, uint32_t send_timeout_ms);
void connection_pause(struct connection *connection);
void connection_resume(struct connection *connection);
int32_t connection_want_at_least(struct connection *connection, uint32_t size);
void connection_info(const struct connection *connection, struct berth_conn_info *info);

/* -- its parts ----------------------------------------------------------------
 *
 * Make sure that the connection has a part of its own. False: no memory. */
bool connection_need_io(struct connection *connection);
bool connection_need_resources(struct connection *connection);

/* Gives the part back if there is nothing in it. */
void connection_drop_io(struct connection *connection);
void connection_drop_resources(struct connection *connection);

/* The connection has resources of its own. Detaching frees them if they are empty. */
void connection_attach(struct connection *connection, struct attachment *one,
                       const struct attachment_kind *kind);
void connection_detach(struct connection *connection, struct attachment *one);
void connection_tell_attached(struct connection *connection, enum attachment_stage stage);

/* -- between the files ----------------------------------------------------- */

/* connection.c */
bool connection_is_in_flight(const struct connection *connection);
void connection_deadline(struct timer *timer);
void connection_drain(struct connection *connection);          /* sends the rest, then a FIN */
void connection_defer_deadline(struct connection *connection); /* the end of a draining one */
void connection_linger(struct connection *connection, uint32_t bytes); /* arrived while draining */
void connection_watch_idle(struct connection *connection);             /* from now on */
void connection_note_activity(struct connection *connection); /* something was received or sent */

/* connection_admit.c */
void connection_free_state(struct connection *connection);
void connection_entry_timed_out(struct connection *connection);

/* connection_receive.c */
void connection_received(struct engine_op *op, int64_t result);
void connection_deliver(struct connection *connection, struct berth_slice *arrived);
void connection_redeliver(struct connection *connection);
void connection_drop_pending(struct connection *connection);
void connection_notify_peer_closed(struct connection *connection);
void connection_update_receive(struct connection *connection);
void connection_stop_receive(struct connection *connection); /* a receive that is armed */

/* connection_send.c */
void connection_sent(struct engine_op *op, int64_t result);
void connection_flush(struct connection *connection);
void connection_update_queue_hold(struct connection *connection);
/* Queues a slice; takes over its reference, also on failure. False: no memory. */
bool connection_queue(struct connection *connection, const struct berth_slice *slice);

#endif
