/* schema_private.h: a schema, as schema_read.c makes it and schema_check.c uses it.
 *
 * Owner: the struct schema. Threads: one at a time. */
#ifndef BERTH_HOST_MANIFEST_SCHEMA_PRIVATE_H
#define BERTH_HOST_MANIFEST_SCHEMA_PRIVATE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "manifest/digest.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(name) ((name)->is_lost = true)
#include <uthash.h>

struct pattern;

enum schema_type {
    SCHEMA_NULL = 1,
    SCHEMA_BOOLEAN = 2,
    SCHEMA_OBJECT = 4,
    SCHEMA_ARRAY = 8,
    SCHEMA_STRING = 16,
    SCHEMA_NUMBER = 32,
    SCHEMA_INTEGER = 64, /* a number without a fraction */
};

/* Their names, in the order of the bits. */
enum { SCHEMA_TYPES = 7 };
extern const char *const schema_type_names[SCHEMA_TYPES];

/* A member that "properties" or "required" names. */
struct schema_name {
    UT_hash_handle hh;
    const char *key;          /* in the tree */
    struct schema_node *node; /* NULL: only required */
    bool required;
    unsigned long seen; /* the number of the object that had it last */
    bool is_lost;       /* uthash had no memory for it */
};

struct schema_bounds {
    double min; /* -1: none */
    double max;
};

struct schema_node {
    bool refuses_all; /* the schema false */
    unsigned types;   /* bits; 0: all */
    bool has_minimum;
    bool has_maximum;
    bool minimum_is_out; /* exclusive */
    bool maximum_is_out;
    double minimum;
    double maximum;
    double multiple; /* 0: none */
    struct schema_bounds length;
    struct schema_bounds items_count;
    struct schema_bounds members_count;
    bool unique;
    struct pattern *pattern;
    const char *pattern_text;
    const cJSON *values;    /* of "enum" */
    struct digest *digests; /* of them, in order */
    size_t digest_count;
    const cJSON *constant;
    struct digest constant_digest;
    struct schema_name *names; /* uthash */
    size_t required_count;
    struct schema_node *additional;
    struct schema_node *key_names;
    struct schema_node *items;
    struct schema_node **any_of;
    size_t any_of_count;
    const char *title; /* or NULL */
};

struct schema {
    cJSON *tree;
    struct schema_node *root;
    struct digest_keys keys;
    unsigned long objects; /* looked at so far */
};

#endif
