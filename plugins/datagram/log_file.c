/* Writes lines to a file, off the I/O threads.
 *
 * There are two buffers. One gathers lines; when a work begins it takes that one, and the other
 * gathers from then on. So a line waits for one write at the most before it is in a work of its
 * own, many lines cost one write, and memory is bounded however fast they come: lines without space
 * are dropped, counted, and reported in the file at their position, and in the host's log.
 *
 * The host waits for the works of a listener when it stops, and a work that ends begins another one
 * if something has gathered. What is left even so, when no work could be had, is written at the
 * close itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/append.h"
#include "common/lock.h"
#include "datagram/datagram.h"
#include "datagram/syslog.h"

enum { NOTE_BYTES_MAX = 256 };

struct batch {
    char *bytes;
    size_t size;
    uint64_t lines;
    uint64_t dropped; /* since its first line */
};

struct log_file {
    struct log_file_options options;
    struct lock lock;
    struct batch gathering; /* under the lock */
    bool is_written;        /* a work is under way, or about to be; under the lock */
    struct batch writing;   /* of the work; `bytes` is exchanged under the lock */
    bool is_failing;        /* of the work: the last write failed */
    bool is_torn;           /* of the work: the file may end within a line */
    struct tally dropped;
    struct tally lost;
};

static const char *const dropped_text =
    "messages dropped: they came faster than they could be written (queue_max_bytes)";
static const char *const lost_text = "messages lost: the file cannot be written";

/* -- writing: within the work, or when there is none any more -------------- */

/* A line by the plugin, in the form of the others. */
static void write_dropped(FILE *file, uint64_t dropped) {
    char received[SYSLOG_TIME_BYTES];
    syslog_time(unix_now_ms(), received);
    fprintf(file, "%s - dropped - - - - - - %llu messages\n", received,
            (unsigned long long)dropped);
}

static const char *log_file_why(int error) {
    const char *reason = append_reason(error);
    return reason ? reason : strerror(error);
}

/* False, with errno, when not all of it is known to have been written. */
static bool write_batch(struct log_file *log_file, const struct batch *batch) {
    FILE *file = append_open(log_file->options.path);
    if (!file) {
        return false;
    }
    if (log_file->is_torn) {
        fputc('\n', file);
    }
    bool whole = fwrite(batch->bytes, 1, batch->size, file) == batch->size;
    if (whole && batch->dropped > 0) {
        write_dropped(file, batch->dropped);
    }
    whole = ferror(file) == 0 && whole;
    int error = errno;
    if (fclose(file) != 0 && whole) {
        error = errno;
        whole = false;
    }
    errno = error;
    log_file->is_torn = !whole;
    return whole;
}

static void log_file_tell(const struct log_file *log_file, uint32_t level, const char *what) {
    const struct berth_listener *listener = log_file->options.listener;
    char text[NOTE_BYTES_MAX + 512];
    int length =
        snprintf(text, sizeof(text), "%s: %s %s", listener->name, log_file->options.path, what);
    listener->host->log(listener->host, level, text,
                        length < (int)sizeof(text) ? (uint32_t)length : sizeof(text) - 1);
}

static void write_what_waits(struct log_file *log_file) {
    struct batch *batch = &log_file->writing;
    lock_acquire(&log_file->lock);
    struct batch gathered = log_file->gathering;
    log_file->gathering = (struct batch){.bytes = batch->bytes};
    lock_release(&log_file->lock);
    *batch = gathered;
    bool written = write_batch(log_file, batch);
    if (!written && !log_file->is_failing) {
        char text[NOTE_BYTES_MAX];
        snprintf(text, sizeof(text), "cannot be written: %s", log_file_why(errno));
        log_file_tell(log_file, BERTH_LOG_ERROR, text);
    } else if (written && log_file->is_failing) {
        log_file_tell(log_file, BERTH_LOG_INFO, "is written again");
    }
    log_file->is_failing = !written;
    if (batch->dropped > 0) {
        tally_add(&log_file->dropped, batch->dropped, log_file->options.listener, dropped_text);
    }
    if (!written) {
        tally_add(&log_file->lost, batch->lines, log_file->options.listener, lost_text);
    }
}

/* -- the work -------------------------------------------------------------- */

static void BERTH_CALL work(void *argument) {
    write_what_waits(argument);
}

static bool has_something(const struct batch *batch) {
    return batch->size > 0 || batch->dropped > 0;
}

static void BERTH_CALL done(struct berth_conn *conn, int32_t status, void *argument);

/* If none is available, the next line tries again. */
static void log_file_submit(struct log_file *log_file) {
    const struct berth_work_host *service = log_file->options.work;
    if (service->submit_for_listener(log_file->options.listener, work, done, log_file) !=
        BERTH_OK) {
        lock_acquire(&log_file->lock);
        log_file->is_written = false;
        lock_release(&log_file->lock);
    }
}

static void BERTH_CALL done(struct berth_conn *conn, int32_t status, void *argument) {
    struct log_file *log_file = argument;
    (void)conn;
    lock_acquire(&log_file->lock);
    bool again = status == BERTH_OK && has_something(&log_file->gathering);
    log_file->is_written = again;
    lock_release(&log_file->lock);
    if (again) {
        log_file_submit(log_file);
    }
}

/* -- lines ----------------------------------------------------------------- */

char *log_file_reserve(struct log_file *log_file, size_t *room) {
    lock_acquire(&log_file->lock);
    struct batch *batch = &log_file->gathering;
    /* After a dropped line, all further ones are dropped until the gap is reported. */
    *room = batch->dropped > 0 ? 0 : log_file->options.queue_max_bytes - batch->size;
    return batch->bytes + batch->size;
}

void log_file_commit(struct log_file *log_file, size_t size) {
    struct batch *batch = &log_file->gathering;
    if (batch->dropped > 0 || size > log_file->options.queue_max_bytes - batch->size) {
        batch->dropped++;
    } else {
        batch->size += size;
        batch->lines++;
    }
    bool is_first = !log_file->is_written;
    log_file->is_written = true;
    lock_release(&log_file->lock);
    if (is_first) {
        log_file_submit(log_file);
    }
}

/* -- create and destroy ---------------------------------------------------- */

static void log_file_discard(struct log_file *log_file) {
    free(log_file->gathering.bytes);
    free(log_file->writing.bytes);
    free(log_file);
}

struct log_file *log_file_create(const struct log_file_options *options,
                                 struct berth_error *error) {
    FILE *file = append_open(options->path);
    if (!file || fclose(file) != 0) {
        berth_error_set(error, BERTH_E_FAILED, "/file: %s cannot be written: %s", options->path,
                        log_file_why(errno));
        return NULL;
    }
    struct log_file *log_file = calloc(1, sizeof(*log_file));
    if (log_file) {
        log_file->options = *options;
        log_file->gathering.bytes = malloc(options->queue_max_bytes);
        log_file->writing.bytes = malloc(options->queue_max_bytes);
        if (log_file->gathering.bytes && log_file->writing.bytes && lock_init(&log_file->lock)) {
            return log_file;
        }
        log_file_discard(log_file);
    }
    berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    return NULL;
}

void log_file_destroy(struct log_file *log_file) {
    if (!log_file) {
        return;
    }
    if (has_something(&log_file->gathering)) {
        write_what_waits(log_file);
    }
    tally_finish(&log_file->dropped, log_file->options.listener, dropped_text);
    tally_finish(&log_file->lost, log_file->options.listener, lost_text);
    lock_fini(&log_file->lock);
    log_file_discard(log_file);
}
