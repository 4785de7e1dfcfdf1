/* missing.h: plugins that a manifest names but that have no file, and suggestions for them.
 *
 * The folder is read once, however many are missing. Owner: the caller. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_MISSING_H
#define BERTH_HOST_CONTROL_MISSING_H

#include <stdbool.h>
#include <stddef.h>

#include "plugin/module.h"

struct missing {
    char folder[OS_PATH_MAX];
    struct module_list list;
    const char **ids; /* those in `list`; NULL: it has not been read yet */
    bool unreadable;
};

void missing_init(struct missing *missing, const char *folder);
void missing_fini(struct missing *missing);

bool missing_is(const struct missing *missing, const char *id);
/* " (did you mean …)", or "". */
void missing_suggest(struct missing *missing, const char *id, char *text, size_t size);

#endif
