/* host.h: the services of the host, one table of functions.
 *
 * The table is owned by the host and valid from `load` until `unload` returns; every plugin gets
 * its own. What is in the table is served by every host of this ABI. Everything else is an
 * extension, asked for by name with query(), which answers NULL where it is not served. */
#ifndef BERTH_HOST_H
#define BERTH_HOST_H

#include "address.h"
#include "buffer.h"
#include "connection.h"
#include "status.h"

BERTH_BEGIN_DECLS

#define BERTH_LOG_ERROR UINT32_C(0) /* something is lost or refused; an operator should act */
#define BERTH_LOG_WARN UINT32_C(1)  /* unexpected; the plugin goes on */
#define BERTH_LOG_INFO UINT32_C(2)  /* start, stop and the like; a few a minute at most */
#define BERTH_LOG_DEBUG UINT32_C(3) /* for the developer */

/* Added to a level: one line of a record that the configuration asks for, such as an access log.
 * Such lines are not limited. Of other lines that begin alike a listener may log
 * "host.log.limit_lines" in a window. */
#define BERTH_LOG_RECORD UINT32_C(0x100)

/* A message that post() delivers. `conn` is NULL and `status` BERTH_E_GONE when the connection had
 * ended, or BERTH_E_CANCELLED when the host stops before it could be delivered. [conn]
 * Runs exactly once for every post() that returned BERTH_OK. */
typedef void(BERTH_CALL *berth_post_fn)(struct berth_conn *conn, int32_t status, void *argument);

/* A message that post_worker() delivers, on the thread of that worker: the connections of the
 * listener whose `worker` is this one may be touched. Runs exactly once for every post_worker()
 * that returned BERTH_OK. [worker] */
typedef void(BERTH_CALL *berth_worker_fn)(const struct berth_listener *listener, uint32_t worker,
                                          void *argument);

/* A field of a line of the log. Never changes its layout. */
struct berth_log_field {
    const char *key;  /* [a-z][a-z0-9_]{0,31} */
    const char *text; /* with BERTH_LOG_TEXT: the value, `size` bytes, which may be anything */
    int64_t number;   /* with BERTH_LOG_NUMBER: the value */
    uint32_t size;
    uint32_t kind; /* BERTH_LOG_TEXT or BERTH_LOG_NUMBER; anything else: BERTH_E_UNSUPPORTED */
};

#define BERTH_LOG_TEXT UINT32_C(0)
#define BERTH_LOG_NUMBER UINT32_C(1)

#define BERTH_LOG_FIELDS_MAX UINT32_C(16) /* of one line */

/* A line with fields, for log_fields(). A request (abi.h). */
struct berth_log_entry {
    uint32_t struct_size;
    uint32_t level;          /* BERTH_LOG_*; anything else: BERTH_E_UNSUPPORTED */
    struct berth_conn *conn; /* whose listener and peer mark the line, [conn] then; or NULL */
    const struct berth_listener *listener; /* which marks it; NULL: none, or that of `conn` */
    const char *text;                      /* what happened, in the same words every time */
    const struct berth_log_field *fields;  /* the details; NULL when there are none */
    uint32_t size;                         /* bytes of text */
    uint32_t field_count;
};

struct berth_host {
    uint32_t struct_size;
    uint16_t abi_major;
    uint16_t abi_minor;  /* of the host: members up to this minor are there */
    const char *name;    /* of this host, "host.name" of the manifest */
    const char *version; /* of the host program */

    /* The extension with that id ("berth.timer/1"). NULL for an id that this host does not serve,
     * and for a NULL id. The pointer is to a const struct with a size of its own and lives as long
     * as this table. [any] */
    const void *(BERTH_CALL *query)(const struct berth_host *host, const char *id);

    /* Writes one line of the log, marked with the plugin. Text need not be terminated. [any] */
    void(BERTH_CALL *log)(const struct berth_host *host, uint32_t level, const char *text,
                          uint32_t size);

    /* Milliseconds on a monotonic clock with an arbitrary zero. [any] */
    uint64_t(BERTH_CALL *now_ms)(const struct berth_host *host);

    /* Writes an address as text ("127.0.0.1:80", "[::1]:80"), at most `capacity` bytes with the
     * terminator; BERTH_ADDRESS_TEXT_MAX is always enough. Returns the length. [any] */
    uint32_t(BERTH_CALL *address_format)(const struct berth_host *host,
                                         const struct berth_address *address, char *text,
                                         uint32_t capacity);

    /* Resolves a path of a "config": an absolute path stays as it is, another one is relative to
     * the manifest's folder. Writes it with its terminator into `capacity` bytes. BERTH_E_LIMIT: it
     * does not fit. [any] */
    int32_t(BERTH_CALL *path_resolve)(const struct berth_host *host, const char *path, char *text,
                                      uint32_t capacity);

    /* -- buffers ----------------------------------------------------------- */

    /* A new buffer with room for at least `size` bytes (at most BERTH_BUFFER_BYTES_MAX), with one
     * reference that is the caller's. slice->size is the whole capacity: set it to the number of
     * bytes that you fill. BERTH_E_NO_MEMORY, BERTH_E_LIMIT; the slice is then all zero. [any] */
    int32_t(BERTH_CALL *buffer_create)(const struct berth_host *host, uint32_t size,
                                       struct berth_slice *slice);

    /* buffer_acquire() adds a reference to a buffer that is lent to the callback that runs, or of
     * which the plugin holds a reference. buffer_release() gives back a reference that the plugin
     * holds. Any other use is a fault (buffer.h) and does nothing. NULL is legal for release. [any]
     */
    void(BERTH_CALL *buffer_acquire)(struct berth_buffer *buffer);
    void(BERTH_CALL *buffer_release)(struct berth_buffer *buffer);

    /* -- connections ------------------------------------------------------- */

    /* All of these are [conn]. On another thread they do nothing and return BERTH_E_INVALID, which
     * is a fault of the callback that calls (buffer.h). */

    /* Queues a copy of the bytes; they are sent after everything that was queued before. The host
     * passes the queue to the system when the callback has returned, in as few calls as possible.
     *
     * A send is queued whole or not at all. The limits count what is left in the queue when the
     * callback has returned and the system has taken what it takes at once. At
     * listener->send_queue_bytes or send_queue_pieces `filled` is called. At four times as much,
     * the hard cap, the next send of a later callback ends the connection with BERTH_CLOSED_LIMIT
     * and returns BERTH_E_LIMIT.
     *
     * What one callback sends is taken whole, in any number of calls and pieces, up to 64 MiB of
     * bytes and 65,536 pieces in the queue, or 64 times the listener's limits, whichever is more. A
     * send that finds so much queued ends the connection in the same way. conn_info() says how much
     * is queued.
     *
     * BERTH_E_STATE after close() or shutdown_send(); BERTH_E_INVALID: no bytes, a fault;
     * BERTH_E_NO_MEMORY; BERTH_E_GONE. */
    int32_t(BERTH_CALL *send)(struct berth_conn *conn, const void *bytes, uint32_t size);

    /* Queues slices without copying them. Consumes one reference of every slice's buffer, also when
     * it fails (for a borrowed slice, buffer_acquire() first). The bytes must not change until they
     * are sent. Errors as send(); BERTH_E_INVALID: one of them is wrong, a fault (buffer.h), and
     * none of this call is sent; BERTH_E_UNSUPPORTED, and none of it is sent: a `reserved` that is
     * not 0. */
    int32_t(BERTH_CALL *send_slices)(struct berth_conn *conn, const struct berth_slice *slices,
                                     uint32_t count);

    /* Sends a FIN after what is queued; receiving goes on. For protocols that use half-close. When
     * `peer_closed` has been called as well, nothing can follow on either side, and the connection
     * ends by itself with BERTH_CLOSED_BY_PEER. So within `peer_closed` and after it this is a
     * close() that does not wait for the peer's FIN. BERTH_E_STATE after close(); BERTH_E_GONE. */
    int32_t(BERTH_CALL *shutdown_send)(struct berth_conn *conn);

    /* Closes gracefully: what is queued is sent, then a FIN. What still arrives is discarded (up to
     * "limits.linger_bytes") until the peer's FIN, or until the peer has taken nothing for
     * "close_timeout_ms"; for twelve times that, while something is left for it. No `received`
     * follows; `closed` comes last. */
    void(BERTH_CALL *close)(struct berth_conn *conn);

    /* Ends the connection now with a reset (linger 0); what is queued is lost. `closed` follows,
     * never from within this call. */
    void(BERTH_CALL *abort)(struct berth_conn *conn);

    /* Stops and restarts the delivery of received bytes. While the connection is paused, the host
     * buffers only what it has already received, TCP's window holds the peer back, and
     * `peer_closed` waits. A second pause has no effect.
     *
     * What `received` leaves unconsumed must be within "limits.message_bytes" unless the
     * connection is paused when `received` returns; else it ends with BERTH_CLOSED_LIMIT.
     *
     * After a resume `received` is called with what was not consumed and what has arrived
     * meanwhile, even if nothing new has arrived. This also holds when both functions are called
     * within one call of `received`; a plugin gets the same bytes again that way. While the send
     * queue is full (`filled`) the call waits for `drained` (not with BERTH_PLUGIN_PACES_ITSELF).
     */
    void(BERTH_CALL *receive_pause)(struct berth_conn *conn);
    void(BERTH_CALL *receive_resume)(struct berth_conn *conn);

    /* The next call of `received` gets at least `size` bytes (1 when it is 0), unless the peer has
     * closed its side. This holds for one call: each call of `received` resets it to 1.
     * BERTH_E_LIMIT above "limits.message_bytes". */
    int32_t(BERTH_CALL *want_at_least)(struct berth_conn *conn, uint32_t size);

    /* Fills *info up to info->struct_size, and sets struct_size to the size that is filled. */
    void(BERTH_CALL *conn_info)(struct berth_conn *conn, struct berth_conn_info *info);

    /* As log(), marked with listener and peer too. */
    void(BERTH_CALL *conn_log)(struct berth_conn *conn, uint32_t level, const char *text,
                               uint32_t size);

    /* -- from other threads ------------------------------------------------ */

    /* Runs function(conn, BERTH_OK, argument) on the worker of the connection with that id, never
     * from within this call. BERTH_E_GONE, BERTH_E_LIMIT (too many posts are waiting, see
     * "host.limits.posts"), BERTH_E_NO_MEMORY, BERTH_E_INVALID (no function, a fault): then it does
     * not run. [any] */
    int32_t(BERTH_CALL *post)(const struct berth_host *host, uint64_t conn_id,
                              berth_post_fn function, void *argument);

    /* The number of I/O workers. A plugin that keeps what its connections share once for each
     * worker (conn->worker) needs no lock for it. */
    uint32_t workers;
    uint32_t reserved;

    /* Runs function(listener, worker, argument) on that worker, never from within this call: one
     * message for all connections of that worker. What one thread posts to a worker, by post() too,
     * runs there in that order. BERTH_E_LIMIT and BERTH_E_NO_MEMORY as post(); BERTH_E_INVALID:
     * there is no such worker, or no function.
     * May be called from any thread, also from one of the plugin's own, from the return of
     * `listener_open` until `listener_close` begins: what was accepted runs before that, and a stop
     * waits for it. Before that time it returns BERTH_E_STATE, and from then on BERTH_E_GONE until
     * `listener_close` has returned. Afterwards the listener does not exist, and the plugin must
     * have ended its threads. [any] */
    int32_t(BERTH_CALL *post_worker)(const struct berth_listener *listener, uint32_t worker,
                                     berth_worker_fn function, void *argument);

    /* close() without waiting for the peer: when the system has taken all that is queued, the
     * socket is closed, and the system delivers the rest and the FIN. For protocols in which the
     * peer sends nothing more. The host then does not wait for the peer's FIN. Data that still
     * arrives is answered with a reset, which can destroy bytes that the peer has not read yet (RFC
     * 9112 section 9.6). [conn] */
    void(BERTH_CALL *close_at_once)(struct berth_conn *conn);

    /* Why the listener takes no more connections: BERTH_DRAINING_*. The value changes before
     * `closing` is called with BERTH_CLOSED_STOPPING, and at most twice: a generation that is
     * replaced or removed may still drain when the host stops. [any] */
    uint32_t(BERTH_CALL *draining)(const struct berth_listener *listener);

    /* close() with its own time-out for a peer that stops taking what is queued: the peer may take
     * nothing for `send_timeout_ms` (in whole seconds, at most 4095000) while something is left for
     * it, if that is longer than close() would wait. For large answers, and clients that pause.
     * [conn] */
    void(BERTH_CALL *close_with_timeout)(struct berth_conn *conn, uint32_t send_timeout_ms);

    /* As log() and conn_log(), with fields: `key=value` after the text, or members of the object
     * "fields" in a log of JSON lines. A line holds some kibibytes; the rest is cut off.
     * BERTH_E_LIMIT: more than BERTH_LOG_FIELDS_MAX; BERTH_E_INVALID: a malformed key, or no text;
     * BERTH_E_UNSUPPORTED: an unknown level, kind, or part of the entry. Then nothing is written.
     * [any], with a connection [conn] */
    int32_t(BERTH_CALL *log_fields)(const struct berth_host *host,
                                    const struct berth_log_entry *entry);

    /* The time of day: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds. It may jump,
     * also backwards; use now_ms() for durations. In "berth plugin test" it is the clock of the
     * transcript. [any] */
    int64_t(BERTH_CALL *unix_time_ns)(const struct berth_host *host);

    /* Fills `bytes` with cryptographically secure random bytes of the system's generator: for keys,
     * nonces, session ids. In "berth plugin test" they are the same at every run. BERTH_E_FAILED:
     * the system has none, and nothing was filled; BERTH_E_INVALID: no bytes. [any] */
    int32_t(BERTH_CALL *random_bytes)(const struct berth_host *host, void *bytes, uint32_t size);
};

BERTH_END_DECLS

#endif
