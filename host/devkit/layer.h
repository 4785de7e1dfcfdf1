/* layer.h: what lies between a plugin that is tried and the real host, as valgrind lies around a
 * program.
 *
 * The plugin is given a table of services of its own (layer_services.c, layer_extensions.c), whose
 * functions look at the call and then make it at the real table; and the host is given a descriptor
 * (layer_calls.c) whose operations look, and call the plugin's. Nothing is answered here that the
 * host would answer otherwise, but for what the testbed refuses on purpose and for calls that would
 * be the end of the process.
 *
 * Buffers are the host's own. The room behind what a plugin may touch is a guard; one that has gone
 * home is poisoned, and looked at for a while (layer_buffers.c).
 *
 * Owner: the testbed. Threads: the driver's; services also the plugin's own. */
#ifndef BERTH_HOST_DEVKIT_LAYER_H
#define BERTH_HOST_DEVKIT_LAYER_H

#include <stdatomic.h>

#include "base/macros.h"
#include "berth/connect.h"
#include "berth/datagram.h"
#include "berth/file.h"
#include "berth/metrics.h"
#include "berth/timer.h"
#include "berth/work.h"
#include "devkit/bytes.h"
#include "devkit/testbed.h"
#include "engine/sim/sim.h"
#include "os/os.h"
#include "plugin/module.h"
#include "plugin/plugin_stats.h"

struct connection;
struct plugin_thread;

enum { LAYER_GUARD_BYTES = 32, LAYER_DEAD_MAX = 512 };

/* A connection that the plugin has been shown. */
struct layer_conn {
    struct layer_conn *prev;
    struct layer_conn *next;
    struct berth_conn *conn; /* the host's; gone when `is_over` */
    struct berth_conn shown; /* as the host wrote it */
    uint16_t peer_port;      /* of its other end, by which the testbed knows it */
    uint64_t peer_closed_ms; /* 0: not yet */
    bool is_over;            /* `closed` has returned */
};

/* A buffer that the plugin has been given or lent. */
struct layer_buffer {
    struct layer_buffer *prev;
    struct layer_buffer *next;
    struct berth_buffer *given; /* the handle */
    uint8_t *bytes;
    uint32_t size; /* that the plugin may touch; a guard follows */
    bool has_guard;
    bool is_made;      /* by the plugin; else it was lent */
    bool is_shown;     /* just now */
    char callback[32]; /* in which one */
};

/* A slice that was handed over and is not sent yet: its bytes must stay. */
struct layer_sending {
    struct layer_sending *prev;
    struct layer_sending *next;
    struct berth_buffer *given;
    const uint8_t *bytes;
    uint32_t size;
    uint64_t hash;
    const struct layer_conn *to;
    uint64_t sent_at; /* the connection has sent so much, then this is sent, too */
};

struct layer_file {
    struct layer_file *prev;
    struct layer_file *next;
    struct berth_file *given;
};

/* A buffer that has gone home, until it is freed. */
struct layer_dead {
    struct layer_dead *prev;
    struct layer_dead *next;
    struct berth_buffer *buffer;
};

struct layer_table {
    struct berth_host host; /* first: what the plugin is given */
    uint8_t more[64];       /* of a later host */
};

struct testbed {
    struct layer_table table; /* first: the plugin's host leads back here */
    struct testbed *prev;     /* in the list of all */
    struct testbed *next;
    struct testbed_options options;
    struct berth_plugin plugin; /* as it is */
    struct berth_plugin seen;   /* as the host sees it */
    struct module *module;
    struct server *server;
    struct listener *listener;
    const struct berth_listener *listener_given; /* what the plugin knows it by, also later */
    struct berth_listener listener_shown;
    uintptr_t thread; /* the driver's */
    uint16_t port;    /* of the listener */

    /* testbed.c */
    struct testbed_conn *conns;
    struct sim_server *upstream;
    struct sim_datagrams *datagrams_peer;
    struct bytes datagrams;
    bool upstream_expected;
    bool is_open;
    bool is_loaded;
    bool was_cut;
    bool never_rests;

    /* the layer */
    struct os_mutex mutex; /* of what follows, which threads of the plugin reach */
    struct layer_buffer *buffers;
    struct layer_sending *sending;
    struct layer_file *files;
    struct layer_dead *dead;
    size_t dead_bytes;
    unsigned findings;
    struct testbed_finding kept[TESTBED_FINDINGS_MAX];

    struct layer_conn *layer_conns;
    unsigned calls;           /* of callbacks, so far */
    unsigned findings_before; /* when the present callback began */
    struct os_thread_usage usage;
    int32_t status; /* what `load` or `listener_open` has answered, and its words */
    char words[512];
    atomic_bool has_threads; /* of its own, which call services */
    atomic_uint foreign;     /* calls of them */
    unsigned patience_ms;    /* for the next one, really */
    unsigned waited_ms;      /* in all */
    uint64_t random;         /* the state of random_bytes() */
    bool listener_over;      /* `listener_close` has returned, or was never owed */
    bool ended;              /* `unload` has returned */
};

static inline struct testbed *testbed_of(const struct berth_host *host) {
    return (struct testbed *)(uintptr_t)host;
}

/* testbed.c: whose listener that is, alive or not; NULL: nobody's. */
struct testbed *testbed_of_listener(const struct berth_listener *listener);
/* Those that there are. */
struct testbed *testbed_first(void);

/* layer.c */
void layer_find(struct testbed *bed, const char *name, const char *format, ...) BERTH_PRINTF(3, 4);
void layer_begin(struct testbed *bed); /* sets up table and descriptor */
void layer_end(struct testbed *bed);   /* looks what is left */
void layer_free(struct testbed *bed);
/* The callback that this thread is in: its kind; -1: none. */
int layer_callback(void);

/* layer_calls.c */
void layer_descriptor(struct testbed *bed);
uint64_t layer_blocked_us(void); /* of I/O workers, by callbacks that wait */
void layer_call_ended(const struct plugin_thread *thread, uint64_t ticks);
struct layer_conn *layer_conn_of(struct testbed *bed, const struct berth_conn *conn);
struct layer_conn *layer_conn_add(struct testbed *bed, const struct berth_conn *conn);
/* The connection that a service of [conn] is called with may be used, here. Else a finding. */
bool layer_may_touch(struct berth_conn *conn, const char *service);
void layer_restore(struct testbed *bed);
void layer_check_never_closed(struct testbed *bed);

/* layer_services.c, layer_extensions.c */
void layer_services(struct testbed *bed);
const void *layer_extension(const char *id);
/* A service of [any] is called. */
void layer_note_call(struct testbed *bed, const char *service);
/* In a call in which there is no open listener: `load`, `listener_open`, `listener_close`, … */
bool layer_is_control(void);
/* A plugin has set what the host does not know: status is BERTH_E_UNSUPPORTED then. */
void layer_check_request(struct testbed *bed, const char *service, int32_t status);

/* layer_buffers.c */
void layer_buffer_made(struct testbed *bed, struct berth_slice *slice);
struct layer_buffer *layer_buffer_show(struct testbed *bed, const struct berth_slice *slice,
                                       const char *callback);
void layer_buffer_shown(struct testbed *bed, struct layer_buffer *lent);
void layer_buffer_acquire(struct testbed *bed, struct berth_buffer *given);
void layer_buffer_release(struct testbed *bed, struct berth_buffer *given);
/* A slice is handed over; the bytes that a copy is sent of. */
void layer_slice(struct testbed *bed, const struct berth_slice *slice, const char *service);
/* It was queued for the connection, with all before. */
void layer_slice_queued(struct testbed *bed, const struct berth_slice *slice,
                        const struct berth_conn *conn);
void layer_answer(struct testbed *bed, const uint8_t *bytes, size_t size);
void layer_bytes(struct testbed *bed, const void *bytes, uint32_t size, const char *service);
void layer_buffers_look(struct testbed *bed);
void layer_buffers_end(struct testbed *bed);
void layer_buffer_retire(struct berth_buffer *buffer); /* buffer_free_hook_fn */

#endif
