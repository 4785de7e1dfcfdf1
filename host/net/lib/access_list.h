/* access_list.h: which client addresses may connect.
 *
 * Owner: the listener's options, whose arrays the manifest owns. Threads: any. */
#ifndef BERTH_HOST_NET_LIB_ACCESS_LIST_H
#define BERTH_HOST_NET_LIB_ACCESS_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/address_prefix.h"

struct access_list {
    const struct address_prefix *allow; /* empty: every address */
    size_t allow_count;
    const struct address_prefix *deny; /* takes precedence over `allow` */
    size_t deny_count;
};

bool access_list_allows(const struct access_list *list, const struct berth_address *client);

#endif
