#ifndef BERTH_HOST_NET_ACCESS_LIST_H
#define BERTH_HOST_NET_ACCESS_LIST_H
#include "berth/address.h"
#include <stdbool.h>
#include <stddef.h>
struct address_prefix {
    struct berth_address address;
    unsigned bits;
};
struct access_list {
    const struct address_prefix *allow;
    size_t allow_count;
    const struct address_prefix *deny;
    size_t deny_count;
};
static inline bool access_allows(const struct access_list *list,
                                 const struct berth_address *client) {
    (void)list;
    (void)client;
    return true;
}
#endif
