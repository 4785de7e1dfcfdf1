/* describe.h: what exists, in lines: for the crash report, for the log of what a stop still waits
 * for, and for `status`.
 *
 * Each object has a function …_describe(object, text, size) in its own header, which writes one
 * line, cut to fit; where there are others that belong to it, …_describe_whole() tells of those,
 * too. */
#ifndef BERTH_HOST_NET_LIB_DESCRIBE_H
#define BERTH_HOST_NET_LIB_DESCRIBE_H

enum { DESCRIBE_BYTES = 512 }; /* room for any line */

/* Is given one line after the other. */
typedef void describe_fn(void *context, const char *line);

#endif
