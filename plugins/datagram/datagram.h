/* datagram.h: the parts of the datagram plugin.
 *
 * datagram.c      the callbacks: echo and syslog receiver
 * syslog_read.c   what a datagram says;  syslog_write.c  as a line (syslog.h)
 * log_file.c      lines on their way to a file, off the I/O threads */
#ifndef BERTH_PLUGINS_DATAGRAM_DATAGRAM_H
#define BERTH_PLUGINS_DATAGRAM_DATAGRAM_H

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* -- log_file.c ------------------------------------------------------------ */

/* Bounded, and written by one work at a time: lines that arrive meanwhile belong to the next work.
 * Each work opens the file again, so a renamed or removed file is created again. */
struct log_file;

struct log_file_options {
    const struct berth_listener *listener;
    const struct berth_work_host *work;
    const char *path; /* outlives it */
    uint32_t queue_max_bytes;
};

/* NULL with the error set when the file cannot be written, or memory ran out. [control] */
struct log_file *log_file_create(const struct log_file_options *options, struct berth_error *error);

/* Writes what is still there. No work of it is under way. NULL is legal. [control] */
void log_file_destroy(struct log_file *log_file);

/* Where one line may be put, and how much there is room for; then its size, or a larger one than
 * that: the line is dropped, and counted. Others wait in between: do nothing but format. [any] */
char *log_file_reserve(struct log_file *log_file, size_t *room);
void log_file_commit(struct log_file *log_file, size_t size);

/* -- rate-limited messages: datagram.c ------------------------------------- */

enum { TELL_AGAIN_MS = 10000 };

/* Counts events whose rate remote senders control. All zero at first. */
struct tally {
    atomic_ullong count;
    atomic_ullong told;
    _Atomic uint64_t next_ms;
};

/* Adds to the count. Logs "NAME: COUNT WHAT" now and then. [any] */
void tally_add(struct tally *tally, uint64_t count, const struct berth_listener *listener,
               const char *what);

/* Logs the rest that was not logged yet. [any] */
void tally_finish(struct tally *tally, const struct berth_listener *listener, const char *what);

/* The time of day, in milliseconds since 1970. */
uint64_t unix_now_ms(void);

#endif
