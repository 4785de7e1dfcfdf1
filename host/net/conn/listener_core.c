#include "net/conn/listener_core.h"

#include "base/address.h"
#include "base/text.h"
#include "net/conn/server_core.h"
#include "net/lib/admission.h"

/* Counts one more if fewer than `max` are counted. */
static bool count_up(atomic_uint *count, uint32_t max) {
    unsigned now = atomic_load_explicit(count, memory_order_relaxed);
    while (now < max) {
        if (atomic_compare_exchange_weak(count, &now, now + 1)) {
            return true;
        }
    }
    return false;
}

/* Counts and logs it. Returns false. */
static bool listener_core_refuse(struct listener *listener, const struct berth_address *remote,
                                 enum listener_refusal *why, enum listener_refusal reason) {
    static const struct {
        const char *word;
        const char *setting;
    } reasons[LISTENER_REFUSALS] = {
        [LISTENER_REFUSED_ACCESS] = {"access", "\"allow\" and \"deny\""},
        [LISTENER_REFUSED_RATE] = {"rate", "limits.accept_rate_per_client"},
        [LISTENER_REFUSED_PER_CLIENT] = {"per_client", "limits.per_client"},
        [LISTENER_REFUSED_LISTENER] = {"listener", "limits.connections"},
        [LISTENER_REFUSED_HOST] = {"host", "host.limits.connections"},
    };
    listener_count(&listener->counters.refused[reason]);
    *why = reason;
    if (log_enabled(LOG_LEVEL_INFO)) {
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = listener->subject;
        address_format(remote, peer, sizeof(peer));
        subject.peer = peer;
        subject.reason = reasons[reason].word;
        log_limited(LOG_KIND_REFUSED, LOG_LEVEL_INFO, &subject, "refused by %s",
                    reasons[reason].setting);
    }
    return false;
}

bool listener_accepts_client(struct listener *listener, const struct berth_address *remote,
                             uint64_t now_ms, enum listener_refusal *why) {
    if (!access_list_allows(&listener->options.access, remote)) {
        return listener_core_refuse(listener, remote, why, LISTENER_REFUSED_ACCESS);
    }
    if (!client_table_arrive(&listener->admission->clients, remote, now_ms)) {
        return listener_core_refuse(listener, remote, why, LISTENER_REFUSED_RATE);
    }
    return true;
}

bool listener_trusts_proxy(const struct listener *listener, const struct berth_address *remote) {
    const struct access_list *proxies = &listener->options.proxies;
    return proxies->allow_count > 0 && access_list_allows(proxies, remote);
}

bool listener_answers_busy(const struct listener *listener) {
    return listener->options.refuse_at_limit && listener->plugin->busy;
}

/* At a limit on all clients: a client waits or is refused, as the manifest says. */
static enum listener_verdict at_limit(struct listener *listener, const struct berth_address *remote,
                                      enum listener_refusal *why, enum listener_refusal reason) {
    if (!listener->options.refuse_at_limit) {
        return LISTENER_WAIT;
    }
    listener_core_refuse(listener, remote, why, reason);
    return LISTENER_REFUSE;
}

enum listener_verdict listener_admit(struct listener *listener, const struct berth_address *remote,
                                     enum listener_refusal *why) {
    struct server *server = listener->server;
    if (atomic_load(&listener->paused)) {
        return LISTENER_WAIT;
    }
    if (!count_up(&server->connections, server->options.connections_max)) {
        return at_limit(listener, remote, why, LISTENER_REFUSED_HOST);
    }
    struct admission *admission = listener->admission;
    if (!count_up(&admission->connections, listener->options.connections_max)) {
        atomic_fetch_sub(&server->connections, 1);
        return at_limit(listener, remote, why, LISTENER_REFUSED_LISTENER);
    }
    if (!client_table_add(&admission->clients, remote)) {
        atomic_fetch_sub(&admission->connections, 1);
        atomic_fetch_sub(&server->connections, 1);
        listener_core_refuse(listener, remote, why, LISTENER_REFUSED_PER_CLIENT);
        return LISTENER_REFUSE;
    }
    atomic_fetch_add(&listener->connections, 1);
    return LISTENER_ADMITTED;
}

void listener_release(struct listener *listener, const struct berth_address *remote,
                      uint64_t now_ms) {
    struct server *server = listener->server;
    client_table_remove(&listener->admission->clients, remote, now_ms);
    atomic_fetch_sub(&listener->admission->connections, 1);
    atomic_fetch_sub(&listener->connections, 1);
    atomic_fetch_sub(&server->connections, 1);
    server_capacity_freed(server);
}

bool listener_has_room(const struct listener *listener) {
    const struct server *server = listener->server;
    if (atomic_load(&listener->paused)) {
        return false;
    }
    return listener->options.refuse_at_limit ||
           (atomic_load(&listener->admission->connections) < listener->options.connections_max &&
            atomic_load(&server->connections) < server->options.connections_max);
}

void listener_ref(struct listener *listener) {
    atomic_fetch_add(&listener->references, 1);
}

void listener_unref(struct listener *listener) {
    struct server *server = listener->server;
    /* The last access: once the count is zero, the control thread may free the listener. A listener
     * that still accepts reaches zero many times a second, and no thread waits for that. */
    if (atomic_fetch_sub(&listener->references, 1) == 1 && atomic_load(&server->ending) > 0) {
        server->options.idle();
    }
}

/* The thread that seals it waits for the threads that are entering; no later thread refers to
 * it. */
int32_t listener_try_refer(struct listener *listener) {
    static const int32_t statuses[] = {
        [LISTENER_IS_OPEN] = BERTH_OK,
        [LISTENER_NOT_OPEN] = BERTH_E_STATE,
        [LISTENER_SEALED] = BERTH_E_GONE,
    };
    atomic_fetch_add(&listener->entering, 1);
    int32_t status = statuses[atomic_load(&listener->phase)];
    if (status == BERTH_OK) {
        listener_ref(listener);
    }
    atomic_fetch_sub(&listener->entering, 1);
    return status;
}

void listener_describe(const struct listener *listener, char *text, size_t size) {
    size_t used = 0;
    text_append(text, size, &used, "listener \"%s\", generation %u: %s", listener->name,
                listener->options.generation,
                listener_draining(listener) != 0 ? "draining"
                : atomic_load(&listener->paused) ? "paused"
                                                 : "serving");
#define GAUGE(name, label, meaning)                                                                \
    text_append(text, size, &used, ", %u " label, atomic_load(&listener->name));
#define COUNTERS_GENERATION
#include "base/counters.def"
}
