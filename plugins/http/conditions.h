/* conditions.h: conditional requests. Source: RFC 9110, 13. Pure.
 * Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_CONDITIONS_H
#define BERTH_PLUGINS_HTTP_CONDITIONS_H

#include "http/request.h"

/* Identifies a state of a file. */
struct validators {
    const char *etag; /* with its quotes, and W/ in front if it is weak */
    int64_t modified_s;
    int64_t changed_s; /* the inode's change time, which cannot be set; 0: unknown */
    int64_t now_s;     /* not before modified_s */
};

/* 200, 304 or 412, in the order of 13.2.2. */
uint32_t conditions_check(const struct request *request, const struct validators *now);

/* Whether Range applies: If-Range, if present, must name the current state of the file. */
bool conditions_want_range(const struct request *request, const struct validators *now);

#endif
