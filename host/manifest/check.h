/* check.h: from cJSON's tree to a struct manifest; everything that is wrong goes to the errors.
 *
 * check.c knows the kinds of values, fields.c what a manifest may say. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_CHECK_H
#define BERTH_HOST_MANIFEST_CHECK_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "manifest/manifest.h"
#include "manifest/places.h"

struct checker {
    struct manifest_errors *errors;
    struct manifest *manifest;
    const struct place_node *listeners; /* what manifest->listeners was read from */
    bool failed;                        /* no memory */
};

/* A value under examination, and its place. */
struct checked {
    const cJSON *item;
    const struct place_node *node;
};

enum field_kind {
    FIELD_WHOLE,  /* a whole number from min to max, into a uint32_t */
    FIELD_BOOL,   /* into a bool */
    FIELD_CHOICE, /* one of `choices`, into an int-sized enum */
    FIELD_TEXT,   /* a string, not empty, into a char * */
    FIELD_OBJECT, /* with `fields` of its own, which write into the same struct */
    FIELD_OTHER,  /* `read` knows */
};

struct field {
    const char *key;
    enum field_kind kind;
    bool required;
    size_t offset; /* in the struct that the object is read into */
    uint32_t min;
    uint32_t max;
    uint32_t multiple; /* of what; 0: of one */
    const char *const *choices;
    size_t choice_count;
    const struct field *fields;
    size_t field_count;
    void (*read)(struct checker *checker, struct checked value, void *target);
};

/* Reads every member of the object at `value` into `target`. Of equal keys, which are an error
 * already, each is checked and the last is kept. */
void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  size_t field_count, void *target);

/* Errors at the value, or at the key in front of it. */
void check_error(struct checker *checker, const struct place_node *node, const char *format, ...)
    BERTH_PRINTF(3, 4);
void check_key_error(struct checker *checker, const struct place_node *node, const char *format,
                     ...) BERTH_PRINTF(3, 4);

/* What was found, for messages: its kind ("a string"), or the very text of it. */
struct shown {
    char text[96];
};
const char *check_kind(const cJSON *item);
const char *check_shown(struct shown *shown, struct checked value);

/* A copy of the string, or NULL after checker->failed was set. */
char *check_copy(struct checker *checker, const char *text);

#endif
