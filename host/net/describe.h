/* describe.h: what exists, in lines: for the crash report, for the log of what a stop still waits
 * for, and for `status`.
 *
 * Each object has a function …_describe(object, text, size) in its own header, which writes one
 * line, cut to fit. Here are those that walk from one object to the others.
 *
 * Threads: as each function says. */
#ifndef BERTH_HOST_NET_DESCRIBE_H
#define BERTH_HOST_NET_DESCRIBE_H

#include <stddef.h>

struct connection;
struct listener;
struct server;

enum { DESCRIBE_BYTES = 512 }; /* room for any line */

/* Is given one line after the other. */
typedef void describe_fn(void *context, const char *line);

/* The connection, and what it has asked the host for. Its worker's thread. */
void describe_connection(const struct connection *connection, describe_fn *tell, void *context);

/* The server and its workers. [any] */
void describe_server(const struct server *server, describe_fn *tell, void *context);

/* Logs what the listener still has: itself, and some of its connections on every worker, which must
 * answer. [control] */
void describe_left(struct listener *listener);

#endif
