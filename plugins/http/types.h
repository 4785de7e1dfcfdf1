/* types.h: media types by file name extension. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_TYPES_H
#define BERTH_PLUGINS_HTTP_TYPES_H

#include <stdbool.h>

/* "text/html; charset=utf-8" of "a/index.html"; "application/octet-stream" of what is not known. */
const char *type_of(const char *name);

/* Whether the name ends in a dot and that end, in letters of any case: "a/x.TAR.GZ" in "tar.gz". */
bool type_has_end(const char *name, const char *end);

#endif
