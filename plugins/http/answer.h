/* answer.h: what the server says to a request. Threads: [conn]. */
#ifndef BERTH_PLUGINS_HTTP_ANSWER_H
#define BERTH_PLUGINS_HTTP_ANSWER_H

#include "http/site.h"

/* What was said, for the log. */
struct answered {
    uint32_t status;
    uint64_t bytes; /* of the body */
};

/* A file, or the part of it that is asked for, or the reason why not: 200, 206, 301, 304, 403, 404,
 * 412, 416, 500, 503. `name` is that of the target. */
struct answered answer_entry(struct berth_conn *conn, const struct request *request,
                             struct entry *entry, const char *name);

/* An error in words of its own. */
struct answered answer_error(struct berth_conn *conn, const struct request *request,
                             uint32_t status);

/* 204 with what is allowed. */
struct answered answer_options(struct berth_conn *conn, const struct request *request);

/* The whole answer of a server that has no room for more; its size. */
uint32_t answer_busy(char *text, uint32_t capacity);

#endif
