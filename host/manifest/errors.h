/* errors.h: the list of what is wrong with a manifest, while it is being made.
 *
 * Owner: whoever owns the struct manifest_errors. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_ERRORS_H
#define BERTH_HOST_MANIFEST_ERRORS_H

#include <stdarg.h>

#include "manifest/json_locations.h"
#include "manifest/manifest.h"

/* The places of a file that errors are added to later: found once. */
struct looked_up {
    char *path;
    struct json_locations locations;
};

/* Adds an error; false without memory. */
bool errors_add(struct manifest_errors *errors, struct json_location location, const char *pointer,
                const char *format, va_list arguments);
bool errors_addf(struct manifest_errors *errors, struct json_location location, const char *pointer,
                 const char *format, ...) BERTH_PRINTF(4, 5);

/* By place; those of one place stay in the order they were found. */
void errors_sort(struct manifest_errors *errors);

#endif
