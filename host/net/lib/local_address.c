#include "net/lib/local_address.h"

#include <stddef.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"

enum { LISTED_MAX = 8 };

struct local_address *local_address_create(const struct berth_address *address) {
    struct local_address *one = alloc_zeroed(sizeof(*one));
    if (one) {
        one->address = *address;
        one->users = 1;
    }
    return one;
}

static void local_address_unlist(struct local_address **link) {
    struct local_address *one = *link;
    *link = one->next;
    one->is_listed = false;
    if (one->users == 0) {
        alloc_free(one);
    }
}

static void list_first(struct local_addresses *list, struct local_address *one) {
    one->is_listed = true;
    one->next = list->first;
    list->first = one;
}

/* The link to the address, or to the one that is to be replaced; NULL: neither. */
static struct local_address **local_address_find(struct local_addresses *list,
                                                 const struct berth_address *address) {
    struct local_address **link = &list->first;
    for (unsigned i = 1; *link; i++, link = &(*link)->next) {
        if (i == LISTED_MAX || address_equal(&(*link)->address, address)) {
            return link;
        }
    }
    return NULL;
}

struct local_address *local_address_acquire(struct local_addresses *list,
                                            const struct berth_address *address) {
    struct local_address **link = local_address_find(list, address);
    if (link && address_equal(&(*link)->address, address)) {
        struct local_address *one = *link;
        *link = one->next;
        list_first(list, one);
        one->users++;
        return one;
    }
    struct local_address *one = local_address_create(address);
    if (one) {
        if (link) {
            local_address_unlist(link);
        }
        list_first(list, one);
    }
    return one;
}

void local_address_release(struct local_address *one) {
    if (!one) {
        return;
    }
    ASSERT(one->users > 0);
    one->users--;
    if (one->users == 0 && !one->is_listed) {
        alloc_free(one);
    }
}

void local_addresses_fini(struct local_addresses *list) {
    while (list->first) {
        local_address_unlist(&list->first);
    }
}
