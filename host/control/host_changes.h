/* host_changes.h: settings of the host that a reload would change, but cannot.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_HOST_CHANGES_H
#define BERTH_HOST_CONTROL_HOST_CHANGES_H

#include <stdbool.h>

struct manifest;
struct manifest_errors;

/* False: settings differ that cannot change while the host runs; `errors` has each such member. */
bool host_changes_check(const struct manifest *from, const struct manifest *to,
                        struct manifest_errors *errors);

#endif
