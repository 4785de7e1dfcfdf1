#include "os/log_writer.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "os/line_queue.h"
#include "os/log_limit.h"
#include "os/os.h"
#include "os/os_crash.h"

enum {
    QUEUE_BYTES_DEFAULT = 1024 * 1024,
    OUTPUT_BYTES = 1024 * 1024, /* of lines for standard output, of which there are few */
    FLUSH_MS_DEFAULT = 2000,
};

static size_t log_writer_notice(char *line, size_t size, uint64_t dropped);
static int log_writer_tick(void);

static struct line_queue lines = {
    .stream = OS_STREAM_ERROR, .notice = log_writer_notice, .tick = log_writer_tick};
static struct line_queue output = {.stream = OS_STREAM_OUTPUT};
static bool started;
static bool ended_well; /* all that was queued is written */
static atomic_uint flush_ms = FLUSH_MS_DEFAULT;

/* -- the sink -------------------------------------------------------------- */

static size_t log_writer_notice(char *line, size_t size, uint64_t dropped) {
    char text[128];
    static const struct log_subject subject = {.reason = "log_dropped"};
    snprintf(text, sizeof(text),
             "log: %" PRIu64 " lines were dropped, as standard error did not take them in time",
             dropped);
    return log_format(line, size, LOG_LEVEL_WARN, &subject, text);
}

static int log_writer_tick(void) {
    return log_limit_tick(os_now_ms(), false);
}

static void sink_write(enum log_level level, const char *line, size_t size) {
    line_queue_put(&lines, line, size, level <= LOG_LEVEL_WARN);
}

static bool sink_admit(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                       const char *text, size_t size) {
    bool begins;
    bool passes = log_limit_admit(kind, level, subject, text, size, os_now_ms(), &begins);
    if (begins) {
        line_queue_flush_soon(&lines);
    }
    return passes;
}

static void sink_flush(unsigned timeout_ms) {
    line_queue_flush(&lines, timeout_ms);
}

/* -- begin and end --------------------------------------------------------- */

bool log_writer_start(struct error *error) {
    static const struct log_sink sink = {sink_write, sink_admit, sink_flush};
    log_limit_init();
    if (!line_queue_start(&lines, QUEUE_BYTES_DEFAULT, error)) {
        return error_prefix(error, "the log's thread: ");
    }
    if (!line_queue_start(&output, OUTPUT_BYTES, error)) {
        line_queue_stop(&lines, 0);
        return error_prefix(error, "the thread for standard output: ");
    }
    started = true;
    log_set_sink(&sink);
    return true;
}

void log_writer_configure(const struct log_writer_options *options) {
    if (!started) {
        return;
    }
    atomic_store(&flush_ms, options->flush_timeout_ms);
    log_limit_configure(options->limit_lines, options->limit_window_ms);
    if (!line_queue_resize(&lines, options->queue_bytes)) {
        log_warn(NULL,
                 "log: no memory for a queue of %zu bytes (host.log.queue_bytes): it stays "
                 "as it was",
                 options->queue_bytes);
    }
}

void log_writer_print(const char *line, size_t size) {
    if (started) {
        line_queue_put(&output, line, size, true);
    } else {
        fwrite(line, 1, size, stdout);
        fflush(stdout);
    }
}

struct log_writer_counts log_writer_counts(void) {
    struct log_writer_counts counts = {0};
    if (started) {
        counts.dropped = line_queue_dropped(&lines);
        counts.held_back = log_limit_held_back();
    }
    return counts;
}

/* For lines logged after the end. The wait is short, and nothing is written where the log could not
 * be written. */
static void log_writer_write_last(enum log_level level, const char *line, size_t size) {
    (void)level;
    if (ended_well) {
        os_crash_write(line, size);
    }
}

void log_writer_stop(void) {
    static const struct log_sink last = {.write = log_writer_write_last};
    if (!started) {
        return;
    }
    uint64_t end_ms = os_now_ms() + atomic_load(&flush_ms);
    log_limit_tick(os_now_ms(), true);
    ended_well = line_queue_stop(&lines, atomic_load(&flush_ms));
    uint64_t now_ms = os_now_ms();
    line_queue_stop(&output, now_ms < end_ms ? (unsigned)(end_ms - now_ms) : 0);
    log_set_sink(&last);
    log_limit_fini();
    started = false;
}
