/* os_stream.h: the process's standard streams, written without stdio.
 *
 * os_linux_stream.c and os_windows_stream.c implement it. Other processes share the open files of
 * the streams, so none of their settings are changed. */
#ifndef BERTH_HOST_OS_OS_STREAM_H
#define BERTH_HOST_OS_OS_STREAM_H

#include <stddef.h>
#include <stdint.h>

enum os_stream { OS_STREAM_OUTPUT, OS_STREAM_ERROR };

/* Waits for the reader, without a time limit. Returns how many bytes were written; 0: none for now,
 * as with a full disk; -1: there is no reader any more, or no such stream. [any] */
int64_t os_stream_write(enum os_stream stream, const void *bytes, size_t size);

#endif
