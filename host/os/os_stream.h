/* os_stream.h: the process's standard streams, written without stdio.
 *
 * os_linux_stream.c and os_windows_stream.c implement it. What the streams lead to is shared with
 * other processes and belongs to whoever started this one: nothing of it is changed. */
#ifndef BERTH_HOST_OS_OS_STREAM_H
#define BERTH_HOST_OS_OS_STREAM_H

#include <stddef.h>
#include <stdint.h>

enum os_stream { OS_STREAM_OUTPUT, OS_STREAM_ERROR };

/* Waits for whoever reads, for ever if need be. How many bytes were written; 0: none for now, as of
 * a disk that is full; -1: nobody reads any more, or there is no such stream. [any] */
int64_t os_stream_write(enum os_stream stream, const void *bytes, size_t size);

#endif
