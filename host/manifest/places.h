/* places.h: where in the text each key and value stands.
 *
 * cJSON keeps no positions and forgives what JSON (RFC 8259) does not: duplicate keys, text behind
 * the end, broken escapes. So the text is walked once by a strict reader of our own, which reports
 * the first syntax error and every duplicate key and makes a tree of places. cJSON then builds the
 * tree of values; the two have the same shape, so that who walks one can walk the other beside it.
 *
 * Lines and columns count from 1, columns in Unicode code points; a tab is one column, and a
 * byte-order mark none. The document is at depth 1, what it holds at depth 2.
 *
 * Owner: the caller; the text must outlive the places. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_PLACES_H
#define BERTH_HOST_MANIFEST_PLACES_H

#include <stdbool.h>
#include <stddef.h>

struct place {
    size_t line;
    size_t column;
};

struct place_node {
    struct place key;   /* of the key in front; without one, the value's */
    struct place value; /* where the value begins */
    const char *text;   /* the value as it is written: `size` bytes of the manifest */
    size_t size;
    const char *name;                /* the key without escapes; NULL where there is none */
    bool again;                      /* the same key stood in this object before */
    size_t index;                    /* among its siblings, from 0 */
    const struct place_node *parent; /* NULL: the document */
    struct place_node *first;        /* members or items, in the order of the text */
    struct place_node *last;
    struct place_node *next; /* sibling */
};

struct places_entry;

struct places {
    struct place_node *document;
    struct places_entry *members; /* uthash by object and key */
    bool failed;                  /* no memory */
};

/* What the reader finds wrong, with the innermost value it is in (NULL: none yet). False: no
 * memory to report it, which ends the reading. */
typedef bool places_report(void *context, struct place place, const struct place_node *node,
                           const char *message);

/* False after a syntax error, or without memory (places->failed); places_fini() is owed anyway.
 * `text` is without the byte-order mark. */
bool places_init(struct places *places, const char *text, size_t size, places_report *report,
                 void *context);
void places_fini(struct places *places);

/* The member of an object; of equal keys the last, as the checker has it. NULL: there is none. */
const struct place_node *places_member(const struct place_node *object, const char *name);

/* The value that a JSON pointer (RFC 6901) names, or the nearest one around it; NULL only when
 * there is no document. */
const struct place_node *places_find(const struct places *places, const char *pointer);

/* The JSON pointer of a node. What is longer is cut and ends in "...". */
#define PLACES_POINTER_MAX 1024
void places_pointer(const struct place_node *node, char pointer[PLACES_POINTER_MAX]);

#endif
