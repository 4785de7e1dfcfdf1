/* layer.h: the checking layer between the plugin under test and the real host.
 *
 * The plugin gets the layer's table of services (layer_services.c, layer_extensions.c), whose
 * functions check a call and forward it to the real table. The host gets the layer's descriptor
 * (layer_calls.c), whose operations check a callback and forward it to the plugin. The layer never
 * changes an answer of the host, except for services that the testbed refuses on purpose and for
 * calls that would end the process.
 *
 * Buffers are the host's. The space after the bytes that a plugin may use is a guard area. A
 * released buffer is poisoned and checked for later writes for a while (layer_buffers.c).
 *
 * Owner: the testbed. Threads: the driver's; services also the plugin's threads. */
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

/* A connection that a callback has passed to the plugin. */
struct layer_conn {
    struct layer_conn *prev;
    struct layer_conn *next;
    struct berth_conn *conn; /* the host's; gone when `is_over` */
    struct berth_conn shown; /* as the host wrote it */
    uint16_t peer_port;      /* of its other end; identifies it in the testbed */
    uint64_t peer_closed_ms; /* 0: not yet */
    bool is_over;            /* `closed` has returned */
};

/* A buffer that the plugin has allocated, or that a callback has passed to it. */
struct layer_buffer {
    struct layer_buffer *prev;
    struct layer_buffer *next;
    struct berth_buffer *given; /* the handle */
    uint8_t *bytes;
    uint32_t size; /* that the plugin may use; a guard area follows */
    bool has_guard;
    bool is_made;      /* allocated by the plugin; else passed to it */
    bool is_shown;     /* in the current callback */
    char callback[32]; /* in which it was passed */
};

/* A slice that is queued and not sent yet: its bytes must not change. */
struct layer_sending {
    struct layer_sending *prev;
    struct layer_sending *next;
    struct berth_buffer *given;
    const uint8_t *bytes;
    uint32_t size;
    uint64_t hash;
    const struct layer_conn *to;
    uint64_t sent_at; /* sent once the connection has sent so many bytes */
};

struct layer_file {
    struct layer_file *prev;
    struct layer_file *next;
    struct berth_file *given;
};

/* A released buffer, until it is freed. */
struct layer_dead {
    struct layer_dead *prev;
    struct layer_dead *next;
    struct berth_buffer *buffer;
};

struct layer_table {
    struct berth_host host; /* first: the table that the plugin gets */
    uint8_t more[64];       /* stands for services of a later host */
};

struct testbed {
    struct layer_table table; /* first: the plugin's host pointer leads to the testbed */
    struct testbed *prev;     /* in the list of all */
    struct testbed *next;
    struct testbed_options options;
    struct berth_plugin plugin; /* the plugin's descriptor */
    struct berth_plugin seen;   /* the descriptor that the host gets */
    struct module *module;
    struct server *server;
    struct listener *listener;
    const struct berth_listener
        *listener_given; /* the plugin's handle; stays valid for comparisons */
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
    struct os_mutex mutex; /* protects what follows, also from threads of the plugin */
    struct layer_buffer *buffers;
    struct layer_sending *sending;
    struct layer_file *files;
    struct layer_dead *dead;
    size_t dead_bytes;
    unsigned findings;
    struct testbed_finding kept[TESTBED_FINDINGS_MAX];

    struct layer_conn *layer_conns;
    unsigned calls;           /* of callbacks, so far */
    unsigned findings_before; /* when the current callback began */
    struct os_thread_usage usage;
    int32_t status; /* result of `load` or `listener_open`; `words` is its message */
    char words[512];
    atomic_bool has_threads; /* the plugin has threads that call services */
    atomic_uint foreign;     /* calls of these threads */
    unsigned patience_ms;    /* real time to wait for the next of these calls */
    unsigned waited_ms;      /* total */
    uint64_t random;         /* the state of random_bytes() */
    bool listener_over;      /* `listener_close` has returned, or need not be called */
    bool ended;              /* `unload` has returned */
};

static inline struct testbed *testbed_of(const struct berth_host *host) {
    return (struct testbed *)(uintptr_t)host;
}

/* testbed.c: the testbed of the listener, also after its end; NULL: none. */
struct testbed *testbed_of_listener(const struct berth_listener *listener);
/* First in the list of all testbeds. */
struct testbed *testbed_first(void);

/* layer.c */
void layer_find(struct testbed *bed, const char *name, const char *format, ...) BERTH_PRINTF(3, 4);
void layer_begin(struct testbed *bed); /* sets up table and descriptor */
void layer_end(struct testbed *bed);   /* checks for leaks */
void layer_free(struct testbed *bed);
/* The kind of the callback that this thread is in; -1: none. */
int layer_callback(void);

/* layer_calls.c */
void layer_descriptor(struct testbed *bed);
uint64_t layer_blocked_us(void); /* of I/O workers, by waiting callbacks */
void layer_call_ended(const struct plugin_thread *thread, uint64_t ticks);
struct layer_conn *layer_conn_of(struct testbed *bed, const struct berth_conn *conn);
struct layer_conn *layer_conn_add(struct testbed *bed, const struct berth_conn *conn);
/* Whether a service of [conn] may be called with this connection here. If not, adds a finding. */
bool layer_may_touch(struct berth_conn *conn, const char *service);
void layer_restore(struct testbed *bed);
void layer_check_never_closed(struct testbed *bed);

/* layer_services.c, layer_extensions.c */
void layer_services(struct testbed *bed);
const void *layer_extension(const char *id);
/* Notes the call of a service of [any]. */
void layer_note_call(struct testbed *bed, const char *service);
/* Whether the current callback is one of `load`, `listener_open`, `listener_close`, … */
bool layer_is_control(void);
/* Adds a finding if the plugin set fields that the host does not know: status is
 * BERTH_E_UNSUPPORTED. */
void layer_check_request(struct testbed *bed, const char *service, int32_t status);

/* layer_buffers.c */
void layer_buffer_made(struct testbed *bed, struct berth_slice *slice);
struct layer_buffer *layer_buffer_show(struct testbed *bed, const struct berth_slice *slice,
                                       const char *callback);
void layer_buffer_shown(struct testbed *bed, struct layer_buffer *lent);
void layer_buffer_acquire(struct testbed *bed, struct berth_buffer *given);
void layer_buffer_release(struct testbed *bed, struct berth_buffer *given);
/* Checks a slice given to a service, or bytes that are copied. */
void layer_slice(struct testbed *bed, const struct berth_slice *slice, const char *service);
/* The slice was queued for the connection, after everything queued before. */
void layer_slice_queued(struct testbed *bed, const struct berth_slice *slice,
                        const struct berth_conn *conn);
void layer_answer(struct testbed *bed, const uint8_t *bytes, size_t size);
void layer_bytes(struct testbed *bed, const void *bytes, uint32_t size, const char *service);
void layer_buffers_look(struct testbed *bed);
void layer_buffers_end(struct testbed *bed);
void layer_buffer_retire(struct berth_buffer *buffer); /* buffer_free_hook_fn */

#endif
