/* options.h: the keys of a manifest, as tables made of options.def. */
#ifndef BERTH_HOST_MANIFEST_OPTIONS_H
#define BERTH_HOST_MANIFEST_OPTIONS_H

#include "manifest/check.h"

/* The keys of "/", "/host" and "/listeners/NAME"; their offsets are those of struct manifest,
 * struct manifest and struct manifest_listener. */
extern const struct field options_document[];
extern const struct field options_host[];
extern const struct field options_listener[];

/* Gives every option of the table, and of the objects in it, its default. False: no memory. */
bool options_set_defaults(const struct field *fields, void *target);
void options_free(const struct field *fields, void *target);

void options_free_listener(struct manifest_listener *listener);

/* "text" or "json". False: it is neither. */
bool options_log_format(const char *word, size_t size, enum log_format *format);

/* Errors that involve several values (clashing addresses, watermarks in the wrong order);
 * cross_checks.c. */
void options_check_together(struct checker *checker);

/* Addresses that two listeners, or one, cannot both listen at; clashes.c. */
void options_check_clashes(struct checker *checker);

#endif
