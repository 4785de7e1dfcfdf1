#include "plugin/outbound.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/server_core.h"
#include "net/conn/worker_core.h"
#include "net/lib/buffer.h"
#include "net/lib/plugin_slice.h"
#include "net/lib/work_pool.h"
#include "os/os.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_fault.h"
#include "plugin/plugin_work.h"

enum {
    ADDRESSES_MAX = 8,
    NEXT_ATTEMPT_MS = 250,      /* the Connection Attempt Delay that RFC 8305 recommends */
    TIMEOUT_DEFAULT_MS = 30000, /* when the plugin gives none */
    NAME_BYTES_MAX = OUTBOUND_NAME_BYTES_MAX,
};

struct attempt {
    struct engine_connect connect;
    struct outbound *outbound;
    bool runs;
};

struct outbound {
    struct attachment attached; /* to the asker; */
    struct outbound *prev;      /* or else in worker->outbounds */
    struct outbound *next;
    struct connection *asker; /* NULL: there is none, or the plugin has been notified */
    bool is_notified;         /* the plugin has been notified of the result */
    struct worker *worker;
    struct listener *listener;
    bool is_abandoned; /* the system did not end an attempt: the memory is never freed */
    bool has_place;    /* counts in listener->outbound; its connection takes over this count */
    berth_connected_fn connected;
    void *argument;
    struct berth_slice first_data;
    struct berth_address client; /* of the connection that requested it, if any */
    struct timer timeout;
    struct timer next_attempt;
    int64_t last_error; /* ENGINE_E_* of the attempt that failed last */

    struct work resolve;
    struct engine_op resolved; /* brings the addresses back to the worker */
    bool resolving;
    bool found;
    struct error why; /* it was not */
    char name[NAME_BYTES_MAX + 1];
    uint16_t port;

    struct berth_address addresses[ADDRESSES_MAX];
    unsigned address_count;
    unsigned begun; /* attempts */
    unsigned running;
    struct attempt attempts[ADDRESSES_MAX];
};

/* -- the end --------------------------------------------------------------- */

/* Frees it when none of its operations is pending. */
static void free_when_done(struct outbound *one) {
    struct listener *listener = one->listener;
    if (one->resolving || one->running > 0 || !one->is_notified) {
        return;
    }
    if (one->has_place) {
        atomic_fetch_sub(&listener->outbound, 1);
    }
    ASSERT(!timer_is_running(&one->timeout));
    ASSERT(!timer_is_running(&one->next_attempt));
    if (!one->is_abandoned) {
        buffer_release(one->first_data.buffer);
        alloc_free(one);
    }
    listener_unref(listener);
}

static void stop_attempts(struct outbound *one) {
    for (unsigned i = 0; i < one->begun; i++) {
        if (one->attempts[i].runs) {
            engine_connect_cancel(one->worker->port, &one->attempts[i].connect);
        }
    }
}

/* Notifies the plugin of the result, and cancels what still runs. */
static void outbound_notify(struct outbound *one, struct berth_conn *conn, int32_t status) {
    struct timers *timers = &one->worker->timers;
    if (one->asker) {
        connection_detach(one->asker, &one->attached);
    } else {
        DL_DELETE(one->worker->outbounds, one);
    }
    one->asker = NULL;
    one->is_notified = true;
    timers_stop(timers, &one->timeout);
    timers_stop(timers, &one->next_attempt);
    work_call_off(&one->resolve);
    stop_attempts(one);
    struct plugin_thread *call = conn ? connection_call(connection_of(conn), PLUGIN_CONNECTED)
                                      : listener_call(one->listener, PLUGIN_CONNECTED);
    one->connected(conn, status, one->argument);
    callback_guard_end(call);
}

static void outbound_fail(struct outbound *one, int32_t status, const char *why) {
    if (log_enabled(LOG_LEVEL_DEBUG)) {
        log_limited(LOG_KIND_NETWORK, LOG_LEVEL_DEBUG, &one->listener->subject,
                    "connecting to %s port %u: %s", one->name, one->port, why);
    }
    outbound_notify(one, NULL, status);
}

/* The asker ends: its request is cancelled, and the plugin notified. */
static void outbound_on_end(struct attachment *attached, enum attachment_stage stage) {
    struct outbound *one = CONTAINER_OF(attached, struct outbound, attached);
    if (stage != ATTACHMENT_ENDING) {
        outbound_notify(one, NULL, BERTH_E_CANCELLED);
        free_when_done(one);
    }
}

static void outbound_describe_one(const struct attachment *attached, char *text, size_t size) {
    const struct outbound *one = CONTAINER_OF(attached, const struct outbound, attached);
    char safe[NAME_BYTES_MAX + 1];
    size_t used = 0;
    text_append(text, size, &used, "connect to %s port %u",
                text_safe(safe, sizeof(safe), one->name), one->port);
    text_append(text, size, &used, " for connection %llu",
                (unsigned long long)one->asker->public.id);
    if (one->resolving) {
        text_append(text, size, &used, ": the name is resolved");
    } else {
        text_append(text, size, &used, ": %u of %u addresses tried, %u attempts under way",
                    one->begun, one->address_count, one->running);
    }
}

static const struct attachment_kind of_connection = {outbound_on_end, outbound_describe_one};

uint32_t outbound_call_off(struct worker *worker, struct listener *listener) {
    uint32_t count = 0;
    struct outbound *one = worker->outbounds;
    while (one) {
        if (one->listener != listener) {
            one = one->next;
            continue;
        }
        outbound_notify(one, NULL, BERTH_E_CANCELLED);
        free_when_done(one);
        count++;
        one = worker->outbounds; /* the plugin's function may have changed the list */
    }
    return count;
}

/* -- attempts -------------------------------------------------------------- */

static int32_t outbound_status_of(int64_t error) {
    switch (error) {
    case ENGINE_E_REFUSED:
    case ENGINE_E_RESET:
        return BERTH_E_REFUSED;
    case ENGINE_E_UNREACHABLE:
        return BERTH_E_UNREACHABLE;
    case ENGINE_E_TIMED_OUT:
        return BERTH_E_TIMEOUT;
    case ENGINE_E_NO_RESOURCES:
        return BERTH_E_NO_MEMORY;
    default:
        return BERTH_E_FAILED;
    }
}

static void outbound_succeed(struct outbound *one, struct attempt *attempt, uint64_t sent) {
    struct berth_slice rest = one->first_data;
    rest.bytes += sent;
    rest.size -= (uint32_t)sent;
    one->first_data = (struct berth_slice){0};
    struct connection *connection =
        connection_adopt_outbound(one->worker, one->listener, &attempt->connect, &rest);
    if (connection) {
        one->has_place = false;
        connection->bytes_sent = sent;
        connection_count_sent(connection, sent);
        outbound_notify(one, &connection->public, BERTH_OK);
    } else {
        outbound_fail(one, BERTH_E_NO_MEMORY, "out of memory");
    }
}

static void begin_next(struct outbound *one);

/* No socket listens there: the system has given the attempt the very port that it is for, and the
 * connection is its own other end (simultaneous open, RFC 9293 section 3.5). */
static bool refuse_self_connect(struct worker *worker, struct engine_connect *connect) {
    if (!address_equal(&connect->local, &connect->remote)) {
        return false;
    }
    engine_close(worker->server->engine, connect->socket, true);
    return true;
}

static void on_connected(struct engine_op *op, int64_t result) {
    struct attempt *attempt = CONTAINER_OF(op, struct attempt, connect.op);
    struct outbound *one = attempt->outbound;
    struct worker *worker = one->worker;
    attempt->runs = false;
    one->running--;
    one->is_abandoned |= result == ENGINE_E_ABANDONED;
    if (result >= 0 && refuse_self_connect(worker, &attempt->connect)) {
        result = ENGINE_E_REFUSED;
    }
    if (one->is_notified) { /* notified already: this attempt came too late */
        if (result >= 0) {
            engine_close(worker->server->engine, attempt->connect.socket, true);
        }
    } else if (result >= 0) {
        outbound_succeed(one, attempt, (uint64_t)result);
    } else {
        one->last_error = result;
        begin_next(one);
    }
    free_when_done(one);
    worker_run_pending(worker);
}

/* Begins the next attempt, if there is one; fails when there is none and none runs. */
static void begin_next(struct outbound *one) {
    if (one->begun == one->address_count) {
        if (one->running == 0) {
            outbound_fail(one, outbound_status_of(one->last_error),
                          engine_error_text(one->last_error));
        }
        return;
    }
    struct attempt *attempt = &one->attempts[one->begun];
    attempt->outbound = one;
    attempt->runs = true;
    attempt->connect = (struct engine_connect){
        .op.complete = on_connected,
        .remote = one->addresses[one->begun],
        .options = one->listener->options.sockets,
    };
    /* With several attempts the bytes might reach two servers: then they are sent after one has
     * succeeded. */
    if (one->address_count == 1 && one->first_data.size > 0) {
        attempt->connect.first_data.bytes = one->first_data.bytes;
        attempt->connect.first_data.size = one->first_data.size;
    }
    one->begun++;
    one->running++;
    if (one->begun < one->address_count) {
        timers_start(&one->worker->timers, &one->next_attempt, worker_now_ms(one->worker),
                     NEXT_ATTEMPT_MS);
    }
    engine_connect(one->worker->port, &attempt->connect);
}

static void on_next_attempt(struct timer *timer) {
    begin_next(CONTAINER_OF(timer, struct outbound, next_attempt));
}

static void on_timeout(struct timer *timer) {
    struct outbound *one = CONTAINER_OF(timer, struct outbound, timeout);
    struct worker *worker = one->worker;
    outbound_fail(one, BERTH_E_TIMEOUT, "timed out");
    free_when_done(one);
    worker_run_pending(worker);
}

/* -- names ----------------------------------------------------------------- */

/* The families alternate, beginning with the one that the system prefers (RFC 8305, section 4). */
static void outbound_interleave(struct outbound *one) {
    struct berth_address ordered[ADDRESSES_MAX];
    bool used[ADDRESSES_MAX] = {false};
    uint16_t wanted = one->addresses[0].family;
    for (unsigned n = 0; n < one->address_count; n++) {
        unsigned pick = ADDRESSES_MAX;
        for (unsigned i = 0; i < one->address_count; i++) {
            bool fits = one->addresses[i].family == wanted;
            if (!used[i] && (fits || pick == ADDRESSES_MAX)) {
                pick = i;
                if (fits) {
                    break;
                }
            }
        }
        used[pick] = true;
        ordered[n] = one->addresses[pick];
        wanted = ordered[n].family == BERTH_FAMILY_IPV6 ? BERTH_FAMILY_IPV4 : BERTH_FAMILY_IPV6;
    }
    memcpy(one->addresses, ordered, one->address_count * sizeof(ordered[0]));
}

static void outbound_resolve(struct work *work) {
    struct outbound *one = CONTAINER_OF(work, struct outbound, resolve);
    one->found = engine_resolve(one->name, one->port, one->addresses, ADDRESSES_MAX,
                                &one->address_count, &one->why);
    engine_port_post(one->worker->port, &one->resolved);
}

static void skip_resolving(struct work *work) {
    struct outbound *one = CONTAINER_OF(work, struct outbound, resolve);
    error_set(&one->why, "the host stops");
    engine_port_post(one->worker->port, &one->resolved);
}

static void on_resolved(struct engine_op *op, int64_t result) {
    struct outbound *one = CONTAINER_OF(op, struct outbound, resolved);
    struct worker *worker = one->worker;
    (void)result;
    one->resolving = false;
    if (!one->is_notified && one->found) {
        outbound_interleave(one);
        begin_next(one);
    } else if (!one->is_notified) {
        outbound_fail(one, BERTH_E_UNREACHABLE, one->why.message);
    }
    free_when_done(one);
    worker_run_pending(worker);
}

/* A literal address needs no resolver. Brackets around an IPv6 address are optional. The interface
 * of a zone may come and go, so its name is looked up at every connection. */
static bool is_literal(struct outbound *one) {
    char text[NAME_BYTES_MAX + 16];
    bool is_v6 = strchr(one->name, ':') && one->name[0] != '[';
    snprintf(text, sizeof(text), is_v6 ? "[%s]:%u" : "%s:%u", one->name, one->port);
    one->found = address_parse_zone(&one->addresses[0], text, os_interface_find, &one->why);
    address_unmap(&one->addresses[0]);
    one->address_count = one->found ? 1 : 0;
    return one->found || strchr(text, ':') != strrchr(text, ':'); /* no name has a colon */
}

/* -- requests -------------------------------------------------------------- */

/* The requester: a connection, or a listener on one of its workers. */
struct asking {
    struct connection *asker; /* NULL: the listener itself */
    struct listener *listener;
    struct worker *worker;
};

static struct outbound *outbound_create(const struct asking *asking,
                                        const struct berth_connect_request *request) {
    struct outbound *one = alloc_zeroed(sizeof(*one));
    if (!one) {
        return NULL;
    }
    one->worker = asking->worker;
    one->listener = asking->listener;
    if (asking->asker) {
        one->client = asking->asker->remote;
    }
    one->resolve.run = outbound_resolve;
    one->resolve.skip = skip_resolving;
    one->resolved.complete = on_resolved;
    one->timeout.fire = on_timeout;
    one->next_attempt.fire = on_next_attempt;
    one->port = request->port;
    memcpy(one->name, request->host, strlen(request->host));
    return one;
}

/* Begins. False: the queue of the work pool is full. */
static bool outbound_begin(struct outbound *one) {
    if (is_literal(one)) {
        /* Completes as if it had been resolved, in the next turn of the worker's loop: the plugin
         * must not be called from within its own call. */
        one->resolving = true;
        engine_port_post(one->worker->port, &one->resolved);
        return true;
    }
    bool has_client = one->client.family != BERTH_FAMILY_NONE;
    struct work_source source = plugin_work_source(one->listener, has_client ? &one->client : NULL);
    one->resolving = work_pool_submit(one->worker->server->work, &source, &one->resolve);
    return one->resolving;
}

static int32_t outbound_check(const struct asking *asking,
                              const struct berth_connect_request *request) {
    if (asking->asker ? connection_is_ending(asking->asker)
                      : listener_draining(asking->listener) != BERTH_DRAINING_NO) {
        return BERTH_E_GONE;
    }
    if (request->reserved != 0 || request->reserved2 != 0) {
        return BERTH_E_UNSUPPORTED;
    }
    size_t length = request->host ? strlen(request->host) : 0;
    if (length == 0 || length > NAME_BYTES_MAX || request->port == 0) {
        return BERTH_E_INVALID;
    }
    return BERTH_OK;
}

/* Acquires the memory and a slot under the limit, and begins. */
static int32_t create_and_begin(const struct asking *asking,
                                const struct berth_connect_request *request,
                                struct outbound **created) {
    struct listener *listener = asking->listener;
    bool has_part = !asking->asker || connection_need_resources(asking->asker);
    struct outbound *one = has_part ? outbound_create(asking, request) : NULL;
    if (!one) {
        return BERTH_E_NO_MEMORY;
    }
    bool room = atomic_fetch_add(&listener->outbound, 1) < listener->options.outbound_max;
    if (room && outbound_begin(one)) {
        one->has_place = true;
        *created = one;
        return BERTH_OK;
    }
    atomic_fetch_sub(&listener->outbound, 1);
    alloc_free(one);
    return BERTH_E_LIMIT;
}

static int32_t outbound_request(const struct asking *asking,
                                const struct berth_connect_request *request,
                                berth_connected_fn connected, void *argument) {
    struct outbound *one = NULL;
    struct berth_slice first_data;
    const char *wrong = plugin_slice_take(&request->first_data, &first_data);
    if (wrong == plugin_slice_unknown) {
        return BERTH_E_UNSUPPORTED;
    }
    if (wrong || !connected) {
        buffer_release(first_data.buffer);
        plugin_fault(asking->asker, "connect() was given %s%s",
                     wrong ? "first data " : "no function", wrong ? wrong : "");
        return BERTH_E_INVALID;
    }
    int32_t status = outbound_check(asking, request);
    if (status == BERTH_OK) {
        status = create_and_begin(asking, request, &one);
    }
    if (status != BERTH_OK) {
        buffer_release(first_data.buffer);
        return status;
    }
    listener_ref(asking->listener);
    one->asker = asking->asker;
    one->connected = connected;
    one->argument = argument;
    one->first_data = first_data;
    if (one->asker) {
        connection_attach(one->asker, &one->attached, &of_connection);
    } else {
        DL_APPEND(one->worker->outbounds, one);
    }
    timers_start(&one->worker->timers, &one->timeout, worker_now_ms(one->worker),
                 request->timeout_ms > 0 ? request->timeout_ms : TIMEOUT_DEFAULT_MS);
    return BERTH_OK;
}

int32_t outbound_connect(struct connection *asker, const struct berth_connect_request *request,
                         berth_connected_fn connected, void *argument) {
    const struct asking asking = {asker, connection_listener(asker), connection_worker(asker)};
    return outbound_request(&asking, request, connected, argument);
}

int32_t outbound_connect_for_listener(struct listener *listener, struct worker *worker,
                                      const struct berth_connect_request *request,
                                      berth_connected_fn connected, void *argument) {
    const struct asking asking = {NULL, listener, worker};
    return outbound_request(&asking, request, connected, argument);
}
