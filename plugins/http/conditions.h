/* conditions.h: whether a client wants the file as it is now. Source: RFC 9110, 13. Pure.
 * Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_CONDITIONS_H
#define BERTH_PLUGINS_HTTP_CONDITIONS_H

#include "http/request.h"

/* What tells this state of a file from others. */
struct validators {
    const char *etag; /* with its quotes, and W/ in front if it is weak */
    int64_t modified_s;
    int64_t changed_s; /* of the file itself, whatever date it bears; 0: not known */
    int64_t now_s;     /* not before modified_s */
};

/* 200, 304 or 412, in the order of 13.2.2. */
uint32_t conditions_check(const struct request *request, const struct validators *now);

/* Whether a Range counts: If-Range, when there is one, must name the file as it is now. */
bool conditions_want_range(const struct request *request, const struct validators *now);

#endif
