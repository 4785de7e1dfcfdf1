/* check.h: builds a struct manifest from cJSON's tree; everything that is wrong is added to the
 * errors.
 *
 * check.c walks objects, option_kinds.c handles the kinds of values, options.c defines the keys of
 * a manifest. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_CHECK_H
#define BERTH_HOST_MANIFEST_CHECK_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "manifest/json_locations.h"
#include "manifest/manifest.h"

struct checker {
    const struct json_locations *locations;
    struct manifest_errors *errors;
    struct manifest *manifest;
    bool failed; /* no memory */
};

/* A value under examination, and its JSON pointer. */
struct checked {
    const cJSON *item;
    const char *pointer;
};

/* The kind of a value; option_kinds.c reads, lists and frees each kind. */
enum field_kind {
    FIELD_WHOLE,     /* a whole number from least to most, into a uint32_t */
    FIELD_AUTO,      /* the same, or "auto", which is 0 */
    FIELD_BOOL,      /* into a bool */
    FIELD_CHOICE,    /* one of `choices`, into an int-sized enum */
    FIELD_STRING,    /* a string, not empty, into a char * */
    FIELD_HOST_NAME, /* likewise, by the rule of names */
    FIELD_PLUGIN_ID, /* likewise, by the rule of ids */
    FIELD_NETWORKS,  /* into a struct address_prefix * and a size_t */
    FIELD_ADDRESSES, /* into a struct berth_address * and a size_t */
    FIELD_CONFIG,    /* any object, into a char * as compact JSON */
    FIELD_OBJECT,    /* with `fields` of its own, which write into the same struct */
    FIELD_RATE,      /* the same, or a number for the first of them */
    FIELD_OTHER,     /* `read` defines it */
    FIELD_KINDS,
};

/* A table of them ends with one without a key. */
struct field {
    const char *key;
    enum field_kind kind;
    bool required;
    size_t offset;       /* in the struct that the object is read into */
    size_t count_offset; /* of a list: offset of its length */
    uint32_t least;
    uint32_t most;
    uint32_t multiple; /* of what; 0: of one */
    uint32_t number;   /* the default */
    const char *string;
    const char *const *choices;
    size_t choice_count;
    const struct field *fields;
    void (*read)(struct checker *checker, struct checked value, void *target);
};

/* Reads every member of the object at `value` into `target`. */
void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  void *target);

/* Errors at the value, or at the key in front of it. */
void check_error(struct checker *checker, const char *pointer, const char *format, ...)
    BERTH_PRINTF(3, 4);
void check_key_error(struct checker *checker, const char *pointer, const char *format, ...)
    BERTH_PRINTF(3, 4);

/* "a string", "the number 5", …: what was found, for messages. */
const char *check_found(const cJSON *item);

/* A copy of the string, or NULL after checker->failed was set. */
char *check_copy(struct checker *checker, const char *text);

/* pointer + "/" + token, escaped; cut when it does not fit. */
#define CHECK_POINTER_MAX 1024
void check_pointer(char *pointer, const char *parent, const char *token);

#endif
