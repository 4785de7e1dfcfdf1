/* log.h: the host's log, one line an event, on standard error.
 *
 * Every failure is logged once, by the code that decides how to handle it, with the plugin, the
 * listener and the client that it concerns. The text format is for people, the JSON format (one
 * object a line) for collectors:
 *
 *     2026-01-31T12:00:00.000Z warn listener=web plugin=http 192.0.2.1:4000: TEXT
 *     {"time":…,"level":…,"plugin":…,"listener":…,"peer":…,"connection":7,"reason":…,"message":…}
 *
 * A message with any contents stays one line: see text.h. A message that does not fit is cut after
 * a whole character, and the line says how many bytes are left out ("cut": true, "left_out": 17).
 *
 * A sink writes the lines. Without one they are written to standard error at once; os/log_writer.h
 * has a sink that never waits. Lines that clients can cause go through log_limited(), and a sink
 * may limit their rate.
 *
 * Threads: any; a line is written with one call and never mixes with another. */
#ifndef BERTH_HOST_BASE_LOG_H
#define BERTH_HOST_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

/* The values are those of BERTH_LOG_* in plugin-api. */
enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN = 1, LOG_LEVEL_INFO = 2, LOG_LEVEL_DEBUG = 3 };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* The longest line, its newline included: as much as a write to a pipe keeps together while others
 * write to it (PIPE_BUF). */
enum { LOG_LINE_MAX = 4096 };

/* A position in a file, for errors of a manifest. */
struct log_place {
    const char *file;
    const char *pointer; /* a JSON pointer, or NULL */
    unsigned line;       /* from 1; 0: the file as a whole */
    unsigned column;
};

/* A field of a line: a key and its value. */
struct log_field {
    const char *key;
    const char *text; /* NULL: the number */
    size_t size;      /* of the text */
    int64_t number;
};

/* The subject of a line. Members that are NULL or 0 are left out. The pointer to the struct may be
 * NULL. */
struct log_subject {
    const char *plugin;
    const char *listener;
    const char *peer;    /* the client's address */
    uint64_t connection; /* its id; in JSON only, as is */
    const char *reason;  /* a fixed word for programs: "deny" */
    const struct log_place *place;
    const struct log_field *fields; /* after the message: key=value; in JSON in "fields" */
    size_t field_count;
};

/* Kinds of lines: the rate of each kind is limited, separately for each listener. */
enum log_kind {
    LOG_KIND_NONE, /* never limited: no client can cause such lines at will */
    LOG_KIND_REFUSED,
    LOG_KIND_PROXY_HEADER,
    LOG_KIND_CUT,     /* a connection was ended because of what its client did */
    LOG_KIND_LOST,    /* an accepted socket did not become a connection */
    LOG_KIND_TIMEOUT, /* a connection was ended because its client did nothing in time */
    LOG_KIND_FAULT,   /* a fault of the plugin */
    LOG_KIND_STALL,
    LOG_KIND_SHORTAGE,
    LOG_KIND_NETWORK,
    LOG_KIND_CONTROL, /* of the control channel */
    LOG_KIND_PLUGIN,  /* the plugin's own lines: also separately by level and by beginning */
};

/* The defaults are info and text. Call it before the threads start, or between runs. */
void log_setup(enum log_level level, enum log_format format);

bool log_enabled(enum log_level level);
enum log_format log_current_format(void);

void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...)
    BERTH_PRINTF(3, 4);

/* The same for lines that clients can cause. */
void log_limited(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                 const char *format, ...) BERTH_PRINTF(4, 5);

/* The same for text of any length, which may contain anything. */
void log_text(enum log_kind kind, enum log_level level, const struct log_subject *subject,
              const char *text, size_t size);

/* Writes a line for people, without time and level, for errors at the start; made safe. */
void log_plain(const char *text);

/* Formats the line that log_write() would write, with its newline, not terminated, cut to fit.
 * Returns its length. It takes no lock and allocates nothing: for crash reports. `size`: at least
 * 1024. */
size_t log_format(char *line, size_t size, enum log_level level, const struct log_subject *subject,
                  const char *message);

/* Waits until all lines are written, but not longer than timeout_ms. For a process that is about to
 * crash: it takes no lock. */
void log_flush(unsigned timeout_ms);

/* A sink of lines. `write` gets whole lines; `flush` does the work of log_flush(). `admit` says
 * whether a line of that kind may be written now: false when there were too many, which the sink
 * then reports. If `admit` is NULL all are written; if `flush` is NULL there is nothing to wait
 * for.
 */
struct log_sink {
    void (*write)(enum log_level level, const char *line, size_t size);
    bool (*admit)(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                  const char *text, size_t size);
    void (*flush)(unsigned timeout_ms);
};
void log_set_sink(const struct log_sink *sink); /* NULL: standard error, at once */

#define log_error(subject, ...) log_write(LOG_LEVEL_ERROR, subject, __VA_ARGS__)
#define log_warn(subject, ...) log_write(LOG_LEVEL_WARN, subject, __VA_ARGS__)
#define log_info(subject, ...) log_write(LOG_LEVEL_INFO, subject, __VA_ARGS__)
#define log_debug(subject, ...)                                                                    \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG)) {                                                        \
            log_write(LOG_LEVEL_DEBUG, subject, __VA_ARGS__);                                      \
        }                                                                                          \
    } while (0)

#endif
