/* option_kinds.h: how each kind of option is read, given its default, listed and freed.
 *
 * `target` is the struct that the option is a member of. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_OPTION_KINDS_H
#define BERTH_HOST_MANIFEST_OPTION_KINDS_H

#include "manifest/check.h"

struct option_kind {
    void (*read)(struct checker *checker, struct checked value, const struct field *field,
                 void *target);
    /* False: no memory. */
    bool (*set_default)(const struct field *field, void *target);
    /* The value as JSON, which the caller deletes; NULL: none is in force, or there is no memory.
     * If the function is NULL, the manifest's text of the value is listed. */
    cJSON *(*show)(const struct field *field, const void *target);
    void (*free)(const struct field *field, void *target); /* NULL: nothing to free */
};

/* An object itself is not listed, but its members are. */
extern const struct option_kind option_kinds[FIELD_KINDS];

/* The rule of names, in words. */
extern const char option_name_rule[];

#endif
