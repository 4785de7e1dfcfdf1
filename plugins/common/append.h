/* append.h: a file to be written to at its end, on either system.
 *
 * For the plugins of this folder; compiled into each of those that write files. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_APPEND_H
#define BERTH_PLUGINS_COMMON_APPEND_H

#include <stdio.h>

/* Opens the file, or makes it. Others may read, write, rename and remove it meanwhile. The path is
 * UTF-8. A link, a FIFO, a device or a file with a second name is refused: whoever may write to the
 * folder could have the host write anywhere by one. NULL with errno set on failure. */
FILE *append_open(const char *path);

/* What a failure of append_open() is about, and the remedy; NULL: strerror() says it. */
const char *append_reason(int error);

#endif
