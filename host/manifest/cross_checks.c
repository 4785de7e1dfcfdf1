/* cross_checks.c: finds errors that involve several values of a manifest. */
#include <stdio.h>

#include "manifest/check.h"
#include "manifest/options.h"

static void check_pool(struct checker *checker, const struct manifest_listener *one) {
    char pointer[CHECK_POINTER_MAX];
    static const char *const names[] = {"initial", "low"};
    const uint32_t values[] = {one->accept.pool.initial, one->accept.pool.low};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        if (values[i] > one->accept.pool.high) {
            snprintf(pointer, sizeof(pointer), "/listeners/%s/accept/pool/%s", one->name, names[i]);
            check_error(checker, pointer, "%u is above the pool's \"high\", which is %u",
                        (unsigned)values[i], (unsigned)one->accept.pool.high);
        }
    }
}

/* Options about connections are errors in a listener without connections. */
static void cross_checks_check_transport(struct checker *checker,
                                         const struct manifest_listener *one) {
    char pointer[CHECK_POINTER_MAX];
    if (one->transport == MANIFEST_TRANSPORT_TCP) {
        return;
    }
    const char *key = one->accept.when == MANIFEST_ACCEPT_DATA ? "accept/when"
                      : one->proxy_protocol.from_count > 0     ? "proxy_protocol"
                      : one->limits.active_io > 0              ? "limits/active_io"
                      : one->idle_timeout_ms > 0               ? "idle_timeout_ms"
                                                               : NULL;
    if (key) {
        snprintf(pointer, sizeof(pointer), "/listeners/%s/%s", one->name, key);
        check_error(checker, pointer, "this is about connections, and \"transport\" is \"udp\"");
    }
}

static void check_v6_only(struct checker *checker, const struct manifest_listener *one) {
    char pointer[CHECK_POINTER_MAX];
    if (!one->v6_only || one->address_count == 0) {
        return;
    }
    for (size_t i = 0; i < one->address_count; i++) {
        if (one->addresses[i].family == BERTH_FAMILY_IPV6) {
            return;
        }
    }
    snprintf(pointer, sizeof(pointer), "/listeners/%s/v6_only", one->name);
    check_error(checker, pointer, "true, but the listener has no IPv6 address");
}

static void check_work(struct checker *checker) {
    const struct manifest *manifest = checker->manifest;
    if (manifest->host.work.threads_min > manifest->host.work.threads_max) {
        check_error(checker, "/host/work/threads_min", "%u is above \"threads_max\", which is %u",
                    (unsigned)manifest->host.work.threads_min,
                    (unsigned)manifest->host.work.threads_max);
    }
}

static void check_engine(struct checker *checker) {
    const struct manifest *manifest = checker->manifest;
    if (manifest->host.engine == MANIFEST_ENGINE_EPOLL && manifest->host.direct_descriptors > 0) {
        check_error(checker, "/host/direct_descriptors",
                    "only the engine \"io_uring\" has them, and \"engine\" is \"epoll\"");
    }
}

void options_check_together(struct checker *checker) {
    check_work(checker);
    check_engine(checker);
    for (size_t i = 0; i < checker->manifest->listener_count; i++) {
        const struct manifest_listener *one = &checker->manifest->listeners[i];
        if (!one->name) {
            return; /* no memory; reported elsewhere */
        }
        check_pool(checker, one);
        check_v6_only(checker, one);
        cross_checks_check_transport(checker, one);
    }
    options_check_clashes(checker);
}
