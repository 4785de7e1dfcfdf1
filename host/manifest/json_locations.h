/* json_locations.h: the position of each key and value in the text, by JSON pointer (RFC 6901).
 *
 * cJSON keeps no positions and accepts what JSON (RFC 8259) does not: duplicate keys, text after
 * the end, malformed escapes. So a strict reader of the host walks the text once, records the
 * positions and reports the first syntax error and every duplicate key; cJSON then builds the tree.
 *
 * Lines and columns count from 1, columns in Unicode code points; a byte-order mark has no column.
 * Owner: the caller. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_JSON_LOCATIONS_H
#define BERTH_HOST_MANIFEST_JSON_LOCATIONS_H

#include <stdbool.h>
#include <stddef.h>

struct json_location {
    size_t line;
    size_t column;
};

struct json_locations_entry;

struct json_locations {
    struct json_locations_entry *entries; /* uthash by pointer */
    bool failed;                          /* no memory */
};

/* Called for each error that the reader finds, with the pointer of the value that contains it. */
typedef void json_locations_report(void *context, struct json_location location,
                                   const char *pointer, const char *message);

/* False after a syntax error, or without memory (locations->failed). `text` is without the
 * byte-order mark. */
bool json_locations_init(struct json_locations *locations, const char *text, size_t size,
                         size_t depth_max, json_locations_report *report, void *context);
void json_locations_fini(struct json_locations *locations);

/* The location of a value, and of its key (for array items and the document: the value's). A
 * pointer that does not exist gets the location of the nearest parent. */
struct json_location json_locations_value(const struct json_locations *locations,
                                          const char *pointer);
struct json_location json_locations_key(const struct json_locations *locations,
                                        const char *pointer);

#endif
