#include "manifest/together.h"

#include "base/address.h"

/* A listener and its place. */
struct one {
    const struct manifest_listener *listener;
    const struct place_node *node;
};

/* -- one listener ----------------------------------------------------------------------------- */

static void check_pool(struct checker *checker, struct one one) {
    const struct place_node *accept = places_member(one.node, "accept");
    const struct place_node *pool = places_member(accept, "pool");
    uint32_t high = one.listener->accept.pool.high;
    const struct {
        const char *key;
        uint32_t value;
    } marks[] = {
        {"initial", one.listener->accept.pool.initial},
        {"low", one.listener->accept.pool.low},
    };
    for (size_t i = 0; i < ARRAY_COUNT(marks); i++) {
        const struct place_node *node = places_member(pool, marks[i].key);
        if (node && marks[i].value > high) {
            check_error(checker, node,
                        "%u is above the pool's \"high\", which is %u: lower it or raise \"high\"",
                        (unsigned)marks[i].value, (unsigned)high);
        }
    }
}

/* An address as the sockets see it; one that is IPv4 in IPv6's clothes is IPv4. */
static struct berth_address plain(const struct berth_address *address) {
    struct berth_address copy = *address;
    address_unmap(&copy);
    return copy;
}

static void check_v6_only(struct checker *checker, struct one one) {
    const struct place_node *node = places_member(one.node, "v6_only");
    if (!node || !one.listener->v6_only || one.listener->address_count == 0) {
        return;
    }
    for (size_t i = 0; i < one.listener->address_count; i++) {
        if (plain(&one.listener->addresses[i]).family != BERTH_FAMILY_IPV4) {
            return; /* IPv6, or wrong and already reported */
        }
    }
    check_error(checker, node, "true, but the listener has no IPv6 address");
}

/* -- listeners and their addresses ------------------------------------------------------------ */

/* Whether the two cannot be bound at the same time. */
static bool clash(const struct berth_address *left_given, bool left_v6_only,
                  const struct berth_address *right_given, bool right_v6_only) {
    if (left_given->port != right_given->port || left_given->port == 0) {
        return false;
    }
    struct berth_address left = plain(left_given);
    struct berth_address right = plain(right_given);
    if (left.family == right.family) {
        return address_equal(&left, &right) || address_is_any(&left) || address_is_any(&right);
    }
    bool left_is_six = left.family == BERTH_FAMILY_IPV6;
    return left_is_six ? address_is_any(&left) && !left_v6_only
                       : address_is_any(&right) && !right_v6_only; /* dual-stack takes IPv4 too */
}

/* The place of an address; a listener that has only one may write it without the array. */
static const struct place_node *address_node(struct one one, size_t index) {
    const struct place_node *node = places_member(one.node, "address");
    const struct place_node *item = node->first;
    for (size_t i = 0; item && i < index; i++) {
        item = item->next;
    }
    return item ? item : node;
}

static void report_clash(struct checker *checker, struct one one, size_t index, struct one other,
                         size_t other_index) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    char other_text[BERTH_ADDRESS_TEXT_MAX];
    address_format(&one.listener->addresses[index], text, sizeof(text));
    address_format(&other.listener->addresses[other_index], other_text, sizeof(other_text));
    check_error(checker, address_node(one, index),
                "%s of listener \"%.63s\" cannot be had beside %s of listener \"%.63s\": choose "
                "another port",
                text, one.listener->name, other_text, other.listener->name);
}

/* Whether an address of `other`, among the first `end`, takes that of `one`. */
static bool check_clash(struct checker *checker, struct one one, size_t index, struct one other,
                        size_t end) {
    const struct berth_address *address = &one.listener->addresses[index];
    for (size_t i = 0; i < end; i++) {
        if (clash(address, one.listener->v6_only, &other.listener->addresses[i],
                  other.listener->v6_only)) {
            report_clash(checker, one, index, other, i);
            return true;
        }
    }
    return false;
}

/* Against all in front. One line an address is enough. */
static void check_clashes(struct checker *checker, struct one one) {
    for (size_t a = 0; a < one.listener->address_count; a++) {
        struct one other = {checker->manifest->listeners, checker->listeners->first};
        bool taken = false;
        while (!taken && other.node != one.node) {
            taken = !other.node->again &&
                    check_clash(checker, one, a, other, other.listener->address_count);
            other.listener++;
            other.node = other.node->next;
        }
        if (!taken) {
            check_clash(checker, one, a, one, a);
        }
    }
}

void together_check(struct checker *checker) {
    if (!checker->listeners || checker->failed) {
        return;
    }
    struct one one = {checker->manifest->listeners, checker->listeners->first};
    for (; one.node; one.node = one.node->next, one.listener++) {
        check_pool(checker, one);
        check_v6_only(checker, one);
        if (!one.node->again) {
            check_clashes(checker, one);
        }
    }
}
