/* append.h: opens a file for appending, on either system.
 *
 * For the plugins of this folder; compiled into each of those that write files. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_APPEND_H
#define BERTH_PLUGINS_COMMON_APPEND_H

#include <stdio.h>

/* Opens or creates the file. Others may read, write, rename and remove it meanwhile. The path is
 * UTF-8. A link, a FIFO, a device or a file with a second name is refused: a user who may write to
 * the folder could redirect the host's writes by one. NULL with errno set on failure. */
FILE *append_open(const char *path);

/* The reason of a failure of append_open(), and the remedy; NULL: use strerror(). */
const char *append_reason(int error);

#endif
