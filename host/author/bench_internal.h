/* bench_internal.h: what the files of the bench share with each other, and nobody else. */
#ifndef BERTH_HOST_AUTHOR_BENCH_INTERNAL_H
#define BERTH_HOST_AUTHOR_BENCH_INTERNAL_H

#include "author/bench.h"
#include "author/bytes.h"
#include "base/macros.h"
#include "berth/connect.h"
#include "berth/datagram.h"
#include "berth/file.h"
#include "berth/timer.h"
#include "berth/work.h"
#include "os/os.h"

#define BENCH_WORKERS 1u

/* Where the plugin is, and with that what it may call. */
enum bench_scope {
    BENCH_OUTSIDE,
    BENCH_CONTROL,     /* load, listener_open, listener_close, unload */
    BENCH_CONN,        /* callbacks of connections, and of their worker */
    BENCH_CONN_CLOSED, /* `closed` */
    BENCH_ANY,         /* datagrams, timers of listeners */
    BENCH_WORK,        /* on a thread of the pool */
};

enum bench_end { BENCH_LIVES, BENCH_DRAINS, BENCH_ENDS, BENCH_GONE };

struct bench_buffer {
    struct bench *bench;
    struct bench_buffer *prev;
    struct bench_buffer *next;
    uint32_t references;          /* 0: given back, and poisoned */
    uint32_t size;                /* of bytes; the guard follows */
    bool by_plugin;               /* it made it, the host did not */
    char callback[32];            /* in which one */
    _Alignas(16) uint8_t bytes[]; /* as buffer.h says */
};

struct bench_file {
    struct bench *bench;
    struct bench_file *prev;
    struct bench_file *next;
    struct os_file file;
    uint32_t references;
};

struct bench_timer {
    struct bench *bench;
    struct bench_timer *prev;
    struct bench_timer *next;
    struct bench_conn *conn; /* NULL: the listener's */
    berth_timer_fn function;
    void *argument;
    uint64_t due_ms;
    uint64_t order; /* of those that are due at the same time */
    bool running;
    bool dead;
};

enum bench_task_kind {
    BENCH_TASK_POST,
    BENCH_TASK_POST_WORKER,
    BENCH_TASK_WORK,
    BENCH_TASK_CONNECT,
};

/* What is to run later, each once. */
struct bench_task {
    struct bench_task *prev;
    struct bench_task *next;
    enum bench_task_kind kind;
    uint64_t conn_id; /* 0: the listener's */
    uint32_t worker;
    berth_post_fn post;
    berth_worker_fn post_worker;
    berth_work_fn work;
    berth_work_done_fn done;
    berth_connected_fn connected;
    struct bytes first_data;
    void *argument;
};

struct bench_conn {
    struct berth_conn public; /* first: one is the other */
    struct berth_conn shown;  /* as the host wrote it */
    struct bench *bench;
    struct bench_conn *next;
    struct bytes arrived; /* and not consumed */
    struct bytes queue;   /* sent, and not taken by the client */
    struct bytes output;  /* taken by the client */
    uint8_t *state;       /* with a guard behind it */
    uint64_t received;
    uint64_t sent;
    uint64_t opened_ms;
    uint64_t peer_closed_ms;
    uint32_t want;
    uint32_t reason;
    enum bench_end end;
    bool outbound;
    bool paused;
    bool full;
    bool redeliver;
    bool peer_finished;
    bool told_peer_closed;
    bool fin_wanted;
    bool fin_sent;
    bool reset;
};

struct bench_table {
    struct berth_host host;
    uint8_t more[64]; /* of a later host */
};

struct bench {
    struct bench_table table; /* first: the plugin's host leads back here */
    struct berth_plugin plugin;
    struct bench_options options;
    struct berth_listener listener;
    struct berth_listener listener_shown;
    struct os_mutex mutex; /* of buffers, tasks, findings */
    struct bench_buffer *buffers;
    struct bench_buffer *released; /* and kept for a while */
    size_t released_bytes;
    struct bench_file *files;
    struct bench_timer *timers;
    struct bench_task *tasks;
    struct bench_conn *conns;
    struct bytes datagrams;
    void *plugin_state;
    uint64_t now_ms;
    uint64_t next_id;
    uint64_t next_order;
    uintptr_t thread;
    enum bench_scope scope;
    struct bench_conn *scope_conn;
    unsigned findings;
    struct bench_finding kept[BENCH_FINDINGS_MAX];
    bool loaded;
    bool open;
    bool ended; /* `unload` has returned */
    bool upstream_expected;
    uint32_t draining; /* BERTH_DRAINING_* */
    bool in_open;      /* within `listener_open` */
};

static inline struct bench *bench_of(const struct berth_host *host) {
    return (struct bench *)(uintptr_t)host;
}

/* bench.c */
void bench_find(struct bench *bench, const char *name, const char *format, ...) BERTH_PRINTF(3, 4);
void bench_enter(struct bench *bench, const char *callback, enum bench_scope scope,
                 struct bench_conn *conn);
void bench_leave(struct bench *bench);
void bench_run(struct bench *bench);
bool bench_task_add(struct bench *bench, const struct bench_task *task);

/* bench_conn.c */
struct bench_conn *bench_conn_new(struct bench *bench, bool outbound);
bool bench_conn_settle(struct bench_conn *conn); /* whether there was anything to do */
bool bench_conn_take(struct bench_conn *conn);   /* a portion of what is queued */
void bench_conn_finish(struct bench_conn *conn, uint32_t reason);
void bench_conn_end(struct bench_conn *conn, uint32_t reason, bool reset);
void bench_conn_check_closed(const struct bench_conn *conn);
void bench_conn_free(struct bench_conn *conn);
struct bench_conn *bench_conn_by_id(struct bench *bench, uint64_t id);
/* The connection that a service is called with, or NULL after a finding. */
struct bench_conn *bench_conn_used(struct berth_conn *conn, const char *service);

/* bench_buffers.c */
/* `lent_in`: the callback that it is for; NULL: the plugin makes it. */
struct bench_buffer *bench_buffer_new(struct bench *bench, uint32_t size, const char *lent_in);
void bench_buffer_acquire(struct berth_buffer *buffer);
void bench_buffer_release(struct berth_buffer *buffer);
/* Whether the slice lies in a living buffer; else a finding. */
bool bench_slice_is_good(struct bench *bench, const struct berth_slice *slice, const char *service);
/* The same, for a service that consumes the reference: where it is not good, it is consumed here.
 */
bool bench_slice_take(struct bench *bench, const struct berth_slice *slice, const char *service);

void bench_buffers_check_left(struct bench *bench);
void bench_buffers_free(struct bench *bench);
void bench_guard_write(uint8_t *guard);
bool bench_guard_is_whole(const uint8_t *guard);
enum { BENCH_GUARD_BYTES = 32 };

/* bench_services.c */
void bench_table_fill(struct bench *bench);
int32_t bench_send_slice(struct bench_conn *conn, const struct berth_slice *slice);
int32_t bench_send_status(const struct bench_conn *conn);

/* bench_extensions.c, bench_files.c */
const void *bench_extension(const char *id);
const void *bench_file_extension(void);
bool bench_timer_fire(struct bench *bench, uint64_t until_ms); /* the next one due, if any */
void bench_timers_end(struct bench *bench, const struct bench_conn *conn);
void bench_timers_free(struct bench *bench);
void bench_files_check_left(struct bench *bench);
void bench_files_free(struct bench *bench);

#endif
