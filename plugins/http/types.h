/* types.h: media types by the ends of names. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_TYPES_H
#define BERTH_PLUGINS_HTTP_TYPES_H

/* "text/html; charset=utf-8" of "a/index.html"; "application/octet-stream" of what is not known. */
const char *type_of(const char *name);

#endif
