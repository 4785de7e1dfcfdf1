#include "net/lib/access_list.h"

static bool any_contains(const struct address_prefix *prefixes, size_t count,
                         const struct berth_address *client) {
    for (size_t i = 0; i < count; i++) {
        if (address_prefix_contains(&prefixes[i], client)) {
            return true;
        }
    }
    return false;
}

bool access_list_allows(const struct access_list *list, const struct berth_address *client) {
    if (any_contains(list->deny, list->deny_count, client)) {
        return false;
    }
    return list->allow_count == 0 || any_contains(list->allow, list->allow_count, client);
}
