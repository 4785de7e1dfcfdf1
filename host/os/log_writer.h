/* log_writer.h: the log of a process that serves, which never waits for its reader.
 *
 * The sink of base/log.h: lines go into a bounded queue, and a thread writes them to standard error
 * (line_queue.h). The rate of lines that clients can cause is limited (log_limit.h). Another queue
 * is in front of standard output. One of each a process. Threads: [control], unless a function says
 * otherwise. */
#ifndef BERTH_HOST_OS_LOG_WRITER_H
#define BERTH_HOST_OS_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

struct log_writer_options {
    size_t queue_bytes;
    unsigned limit_lines; /* of one listener and kind in a window; 0: no limit */
    unsigned limit_window_ms;
    unsigned flush_timeout_ms; /* for what is queued when the process ends */
};

/* With defaults. False: the log is written at once, as before. */
bool log_writer_start(struct error *error);
void log_writer_configure(const struct log_writer_options *options);

/* A line for standard output, its newline included. */
void log_writer_print(const char *line, size_t size);

struct log_writer_counts {
#define COUNTER(name, meaning) uint64_t name;
#define COUNTERS_LOG
#include "base/counters.def"
};
struct log_writer_counts log_writer_counts(void); /* [any] */

/* Writes what is queued, for a bounded time. If that was not enough, nothing is written afterwards.
 * Legal without a start. */
void log_writer_stop(void);

#endif
