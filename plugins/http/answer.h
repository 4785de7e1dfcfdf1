/* answer.h: the responses of the server. Threads: [conn]. */
#ifndef BERTH_PLUGINS_HTTP_ANSWER_H
#define BERTH_PLUGINS_HTTP_ANSWER_H

#include "http/site.h"

/* The response, for the log. */
struct answered {
    uint32_t status;
    uint64_t bytes; /* of the body */
};

/* Sends a file, the requested part of it, or an error: 200, 206, 301, 304, 403, 404,
 * 412, 416, 500, 503. `name` is that of the target. */
struct answered answer_entry(struct berth_conn *conn, const struct request *request,
                             struct entry *entry, const char *name);

/* Sends an error. */
struct answered answer_error(struct berth_conn *conn, const struct request *request,
                             uint32_t status);

/* Sends 204 with the allowed methods. */
struct answered answer_options(struct berth_conn *conn, const struct request *request);

/* The whole response of a server at its connection limit; returns its size. */
uint32_t answer_busy(char *text, uint32_t capacity);

#endif
