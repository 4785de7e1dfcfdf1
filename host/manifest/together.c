/* together.c: what is wrong with a manifest that no single value of it shows. */
#include <stdio.h>

#include "base/address.h"
#include "base/alloc.h"
#include "manifest/check.h"
#include "manifest/fields.h"

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

/* What is about connections means nothing without them. */
static void check_transport(struct checker *checker, const struct manifest_listener *one) {
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

static void report_clash(struct checker *checker, const struct manifest_listener *one, size_t index,
                         const struct manifest_listener *other, const struct berth_address *taken) {
    char pointer[CHECK_POINTER_MAX];
    char text[BERTH_ADDRESS_TEXT_MAX];
    address_format(taken, text, sizeof(text));
    snprintf(pointer, sizeof(pointer), "/listeners/%s/address/%zu", one->name, index);
    check_error(checker, pointer, "the same address and port are taken by listener \"%s\" (%s)",
                other->name, text);
}

/* Addresses by their ports, so that each is compared with those it could clash with only. */
struct ported {
    uint32_t listener;
    uint32_t address;
    uint32_t next; /* the number of the next one of that port, from 1; 0: none */
};

struct ports {
    struct ported *items;
    uint32_t count;
    uint32_t *first; /* by port */
    uint32_t *last;
};

enum { PORTS = 65536 };

static bool ports_init(struct ports *ports, const struct manifest *manifest) {
    size_t count = 0;
    for (size_t i = 0; i < manifest->listener_count; i++) {
        count += manifest->listeners[i].address_count;
    }
    ports->items = alloc_array(count + 1, sizeof(*ports->items));
    ports->first = alloc_array(PORTS, sizeof(*ports->first));
    ports->last = alloc_array(PORTS, sizeof(*ports->last));
    return ports->items && ports->first && ports->last;
}

static void ports_fini(struct ports *ports) {
    alloc_free(ports->items);
    alloc_free(ports->first);
    alloc_free(ports->last);
}

static void ports_add(struct ports *ports, uint16_t port, size_t listener, size_t address) {
    uint32_t number = ++ports->count;
    ports->items[number - 1] = (struct ported){(uint32_t)listener, (uint32_t)address, 0};
    if (ports->first[port] == 0) {
        ports->first[port] = number;
    } else {
        ports->items[ports->last[port] - 1].next = number;
    }
    ports->last[port] = number;
}

static void check_clashes(struct checker *checker, struct ports *ports, size_t listener_index) {
    const struct manifest *manifest = checker->manifest;
    const struct manifest_listener *one = &manifest->listeners[listener_index];
    for (size_t a = 0; a < one->address_count; a++) {
        const struct berth_address *address = &one->addresses[a];
        uint32_t at = ports->first[address->port];
        if (address->port == 0) {
            continue; /* each gets a port of its own */
        }
        for (; at != 0; at = ports->items[at - 1].next) {
            const struct ported *item = &ports->items[at - 1];
            const struct manifest_listener *other = &manifest->listeners[item->listener];
            const struct berth_address *taken = &other->addresses[item->address];
            if (one->transport == other->transport && /* TCP and UDP do not meet */
                address_overlaps(address, one->v6_only, taken, other->v6_only)) {
                report_clash(checker, one, a, other, taken);
                break; /* one line an address is enough */
            }
        }
        ports_add(ports, address->port, listener_index, a);
    }
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

void fields_check_together(struct checker *checker) {
    struct ports ports = {0};
    check_work(checker);
    check_engine(checker);
    checker->failed = !ports_init(&ports, checker->manifest) || checker->failed;
    for (size_t i = 0; i < checker->manifest->listener_count; i++) {
        const struct manifest_listener *one = &checker->manifest->listeners[i];
        if (!one->name || checker->failed) {
            break; /* no memory; said elsewhere */
        }
        check_pool(checker, one);
        check_v6_only(checker, one);
        check_transport(checker, one);
        check_clashes(checker, &ports, i);
    }
    ports_fini(&ports);
}
