/* errors.h: the list of errors in a manifest, while it is built.
 *
 * Owner: the owner of the struct manifest_errors. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_ERRORS_H
#define BERTH_HOST_MANIFEST_ERRORS_H

#include <stdarg.h>

#include "manifest/json_locations.h"
#include "manifest/manifest.h"

/* The locations in a file to which errors are added later: looked up once. */
struct looked_up {
    char *path;
    struct json_locations locations;
};

/* Adds an error; false without memory. */
bool errors_add(struct manifest_errors *errors, struct json_location location, const char *pointer,
                const char *format, va_list arguments);
bool errors_addf(struct manifest_errors *errors, struct json_location location, const char *pointer,
                 const char *format, ...) BERTH_PRINTF(4, 5);

/* Sorts by location; errors at one location keep the order in which they were found. */
void errors_sort(struct manifest_errors *errors);

#endif
