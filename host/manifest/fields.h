/* fields.h: what a manifest may say, as tables; config/berth.schema.json says the same. */
#ifndef BERTH_HOST_MANIFEST_FIELDS_H
#define BERTH_HOST_MANIFEST_FIELDS_H

#include "manifest/check.h"

extern const struct field fields_document[];
extern const size_t fields_document_count;

/* The defaults of all that is not in "listeners". False: no memory. */
bool fields_set_defaults(struct manifest *manifest);

/* Frees what the fields have allocated, the defaults too. */
void fields_fini(struct manifest *manifest);

#endif
