/* json_locations.h: where in the text each key and value stands, by JSON pointer (RFC 6901).
 *
 * cJSON keeps no positions and forgives what JSON (RFC 8259) does not: duplicate keys, text behind
 * the end, broken escapes. So the text is walked once by a strict reader of our own, which finds
 * the places and reports the first syntax error and every duplicate key; cJSON then builds the
 * tree.
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

/* What the reader finds wrong goes to `report`, with the pointer of the value it is in. */
typedef void json_locations_report(void *context, struct json_location location,
                                   const char *pointer, const char *message);

/* False after a syntax error, or without memory (places->failed). `text` is without the mark. */
bool json_locations_init(struct json_locations *locations, const char *text, size_t size,
                         size_t depth_max, json_locations_report *report, void *context);
void json_locations_fini(struct json_locations *locations);

/* The place of a value, and of the key in front of it (for array items and the document: the
 * value's). A pointer that is not there gets the place of the nearest parent. */
struct json_location json_locations_value(const struct json_locations *locations,
                                          const char *pointer);
struct json_location json_locations_key(const struct json_locations *locations,
                                        const char *pointer);

#endif
