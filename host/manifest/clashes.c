/* clashes.c: finds addresses that cannot both be listened at. */
#include <stdio.h>

#include "base/address.h"
#include "base/address_table.h"
#include "manifest/check.h"
#include "manifest/options.h"

static void clash_report(struct checker *checker, const struct manifest_listener *one, size_t index,
                         const struct address_holder *first) {
    const struct manifest_listener *other = first->owner;
    char pointer[CHECK_POINTER_MAX];
    char text[BERTH_ADDRESS_TEXT_MAX];
    address_format(&first->address, text, sizeof(text));
    snprintf(pointer, sizeof(pointer), "/listeners/%s/address/%zu", one->name, index);
    check_error(checker, pointer, "the same address and port are taken by listener \"%s\" (%s)",
                other->name, text);
}

/* TCP and UDP ports do not clash. */
static void check_listener(struct checker *checker, const struct manifest_listener *one,
                           struct address_table *table) {
    for (size_t i = 0; i < one->address_count; i++) {
        const struct berth_address *address = &one->addresses[i];
        const struct address_holder *first =
            address_table_overlapping(table, one->transport, address, one->v6_only);
        if (first) {
            clash_report(checker, one, i, first);
        }
        if (address->port != 0 &&
            !address_table_add(table, one->transport, address, one->v6_only, one)) {
            checker->failed = true;
            return;
        }
    }
}

void options_check_clashes(struct checker *checker) {
    struct address_table table = {0};
    for (size_t i = 0; i < checker->manifest->listener_count; i++) {
        check_listener(checker, &checker->manifest->listeners[i], &table);
    }
    address_table_fini(&table);
}
