/* fields.h: what a manifest may say, as tables; config/berth.schema.json says the same. */
#ifndef BERTH_HOST_MANIFEST_FIELDS_H
#define BERTH_HOST_MANIFEST_FIELDS_H

#include "manifest/check.h"

extern const struct field fields_document[];
extern const size_t fields_document_count;

/* The defaults of all that is not in "listeners". False: no memory. */
bool fields_set_defaults(struct manifest *manifest);

/* What no single value shows: clashing addresses, watermarks in the wrong order. */
void fields_check_together(struct checker *checker);

/* Addresses that two listeners, or one, cannot listen at side by side; clashes.c. */
void fields_check_clashes(struct checker *checker);

void fields_free_listener(struct manifest_listener *listener);

#endif
