/* clashes.c: addresses that cannot be listened at side by side. Each is looked up among those
 * before it, so that many cost no more each than few. */
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "manifest/check.h"
#include "manifest/fields.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

/* An address of a listener. */
struct holder {
    const struct manifest_listener *listener; /* NULL: nobody */
    const struct berth_address *address;
    size_t order;
};

struct key {
    uint32_t transport;
    struct berth_address address; /* all zero but for the port: everything at that port */
};

/* Who came first with an address, or at a port in one of these ways. */
enum { FIRST_EQUAL, FIRST_IPV4, FIRST_IPV6, FIRST_ANY4, FIRST_ANY6, FIRST_DUAL, FIRST_COUNT };

struct taken {
    struct key key;
    struct holder first[FIRST_COUNT];
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
};

static struct taken *get(struct taken **table, const struct key *key) {
    struct taken *taken = NULL;
    HASH_FIND(hh, *table, key, sizeof(*key), taken);
    if (taken) {
        return taken;
    }
    taken = alloc_zeroed(sizeof(*taken));
    if (!taken) {
        return NULL;
    }
    taken->key = *key;
    HASH_ADD(hh, *table, key, sizeof(taken->key), taken);
    if (taken->failed) {
        alloc_free(taken);
        return NULL;
    }
    return taken;
}

static void take_first(struct holder *first, const struct holder *holder) {
    if (!first->listener) {
        *first = *holder;
    }
}

static const struct holder *earlier(const struct holder *one, const struct holder *other) {
    if (!one || !one->listener) {
        return other->listener ? other : NULL;
    }
    return other->listener && other->order < one->order ? other : one;
}

/* The first that cannot be beside it; as address_overlaps() says of each. */
static const struct holder *find(const struct taken *equal, const struct taken *port,
                                 const struct holder *holder) {
    bool is_any = address_is_any(holder->address);
    const struct holder *found = earlier(NULL, &equal->first[FIRST_EQUAL]);
    if (holder->address->family == BERTH_FAMILY_IPV4) {
        found = earlier(found, &port->first[is_any ? FIRST_IPV4 : FIRST_ANY4]);
        return earlier(found, &port->first[FIRST_DUAL]);
    }
    found = earlier(found, &port->first[is_any ? FIRST_IPV6 : FIRST_ANY6]);
    return is_any && !holder->listener->v6_only ? earlier(found, &port->first[FIRST_IPV4]) : found;
}

static void note(struct taken *equal, struct taken *port, const struct holder *holder) {
    bool is_any = address_is_any(holder->address);
    bool is_six = holder->address->family == BERTH_FAMILY_IPV6;
    take_first(&equal->first[FIRST_EQUAL], holder);
    take_first(&port->first[is_six ? FIRST_IPV6 : FIRST_IPV4], holder);
    if (is_any) {
        take_first(&port->first[is_six ? FIRST_ANY6 : FIRST_ANY4], holder);
    }
    if (is_any && is_six && !holder->listener->v6_only) {
        take_first(&port->first[FIRST_DUAL], holder);
    }
}

static void report(struct checker *checker, const struct holder *holder, size_t index,
                   const struct holder *first) {
    char pointer[CHECK_POINTER_MAX];
    char text[BERTH_ADDRESS_TEXT_MAX];
    address_format(first->address, text, sizeof(text));
    snprintf(pointer, sizeof(pointer), "/listeners/%s/address/%zu", holder->listener->name, index);
    check_error(checker, pointer, "the same address and port are taken by listener \"%s\" (%s)",
                first->listener->name, text);
}

static void check_listener(struct checker *checker, const struct manifest_listener *one,
                           struct taken **table, size_t *order) {
    for (size_t i = 0; i < one->address_count; i++) {
        const struct holder holder = {one, &one->addresses[i], ++*order};
        struct key key;
        memset(&key, 0, sizeof(key)); /* it is compared with its padding */
        if (one->addresses[i].port == 0) {
            continue;
        }
        key.transport = one->transport; /* TCP and UDP do not meet */
        key.address.port = one->addresses[i].port;
        struct taken *port = get(table, &key);
        key.address = one->addresses[i];
        struct taken *equal = get(table, &key);
        if (!port || !equal) {
            checker->failed = true;
            return;
        }
        const struct holder *first = find(equal, port, &holder);
        if (first) {
            report(checker, &holder, i, first);
        }
        note(equal, port, &holder);
    }
}

void fields_check_clashes(struct checker *checker) {
    struct taken *table = NULL;
    struct taken *taken;
    struct taken *next;
    size_t order = 0;
    for (size_t i = 0; i < checker->manifest->listener_count; i++) {
        check_listener(checker, &checker->manifest->listeners[i], &table, &order);
    }
    HASH_ITER(hh, table, taken, next) {
        HASH_DEL(table, taken);
        alloc_free(taken);
    }
}
