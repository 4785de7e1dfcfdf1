/* schema.h: checks a plugin's "config" by the JSON Schema that the plugin provides.
 *
 * A subset of JSON Schema 2020-12, listed in docs/writing-plugins.md. A keyword of the subset means
 * what the standard says; any other is refused, so that no part of a schema is silently ignored.
 * The work of a check is bounded by the size of the value times the size of the schema: there are
 * no references, values are compared by their digests, and patterns match in linear time.
 *
 * Owner: the caller. Threads: one at a time. */
#ifndef BERTH_HOST_MANIFEST_SCHEMA_H
#define BERTH_HOST_MANIFEST_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct manifest_errors;
struct manifest_listener;
struct schema;

#define SCHEMA_BYTES_MAX ((size_t)256 * 1024)
#define SCHEMA_DEPTH_MAX 64

enum { SCHEMA_ERRORS_MAX = 100 }; /* of one config; the rest is counted */

/* NULL: the text is no schema of the subset. The error states the position in it. */
struct schema *schema_create(const char *text, struct error *error);
void schema_destroy(struct schema *schema); /* NULL is legal */

/* What is wrong at the pointer, which begins in the value (""): with the key there, or the value.
 */
typedef void schema_report_fn(void *context, const char *pointer, bool at_key, const char *message);

enum schema_result { SCHEMA_FITS, SCHEMA_MISFITS, SCHEMA_NO_MEMORY };

/* Reports all that is wrong with the value, a JSON text. */
enum schema_result schema_check(struct schema *schema, const char *json, schema_report_fn *report,
                                void *context);

/* The same of a listener's "config"; the errors get their locations in the manifest at `path`.
 * False without memory. */
bool schema_check_listener(struct schema *schema, const char *path,
                           const struct manifest_listener *listener,
                           struct manifest_errors *errors);

/* A line for each thing that is wrong, "/pointer: message", cut to fit. True: nothing is. */
bool schema_check_text(struct schema *schema, const char *json, char *text, size_t size);

/* A plugin and the schema of its "config". */
struct schema_part {
    const char *plugin;
    const char *json;
};

/* The schema of a whole manifest, for editors: the host's, in which the "config" of a listener is
 * as the schema of its plugin says. JSON text, for alloc_free(). NULL: no memory. */
char *schema_of_manifest(const struct schema_part *parts, size_t count);

#endif
