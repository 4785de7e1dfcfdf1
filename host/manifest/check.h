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
    const struct places *places;
    struct manifest_errors *errors;
    struct manifest *manifest;
    bool failed; /* no memory */
};

/* A value under examination, and its JSON pointer. */
struct checked {
    const cJSON *item;
    const char *pointer;
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

/* Reads every member of the object at `value` into `target`. */
void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  size_t field_count, void *target);

/* Reads one value into its place in `target`. */
void check_field(struct checker *checker, struct checked value, const struct field *field,
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
