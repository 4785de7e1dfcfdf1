/* describe.h: descriptions of objects in lines: for the crash report, for the log of what a stop
 * still waits for, and for `status`.
 *
 * Each object has a function …_describe(object, text, size) in its own header, which writes one
 * line, cut to fit; if other objects belong to it, …_describe_whole() describes those, too. */
#ifndef BERTH_HOST_NET_LIB_DESCRIBE_H
#define BERTH_HOST_NET_LIB_DESCRIBE_H

enum { DESCRIBE_BYTES = 512 }; /* room for any line */

/* Is called with one line after the other. */
typedef void describe_fn(void *context, const char *line);

#endif
