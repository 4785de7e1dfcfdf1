/* log.h: what the host tells its operator, one line an event, on standard error.
 *
 * Every failure is logged once, by the code that decides what follows from it, with the plugin, the
 * listener and the client it concerns. The text format is for people, the JSON format (one object a
 * line) for collectors:
 *
 *     2026-01-31T12:00:00.000Z warn listener=web plugin=http 192.0.2.1:4000: TEXT
 *     {"time":…,"level":…,"plugin":…,"listener":…,"peer":…,"connection":7,"reason":…,"message":…}
 *
 * Whatever a message contains, the line is whole: see text.h. A message that does not fit is cut
 * after a whole character and says how many bytes are left out ("cut": true, "left_out": 17).
 *
 * Where the line goes is the sink's matter. By itself it is written to standard error at once;
 * os/log_writer.h has a sink that never waits. What clients can cause goes through log_limited(),
 * which a sink may thin out.
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

/* The longest line, its newline included: what a pipe takes in one piece, whoever else writes. */
enum { LOG_LINE_MAX = 4096 };

/* A place in a file, as errors of a manifest have it. */
struct log_place {
    const char *file;
    const char *pointer; /* a JSON pointer, or NULL */
    unsigned line;       /* from 1; 0: the file as a whole */
    unsigned column;
};

/* A particular of a line, under a name of its own. */
struct log_field {
    const char *key;
    const char *text; /* NULL: the number */
    size_t size;      /* of the text */
    int64_t number;
};

/* What a line is about. What is NULL or 0 is left out; so may the pointer to the struct be. */
struct log_subject {
    const char *plugin;
    const char *listener;
    const char *peer;    /* the client's address */
    uint64_t connection; /* its id; in JSON only, as is */
    const char *reason;  /* a fixed word for programs: "deny" */
    const struct log_place *place;
    const struct log_field *fields; /* behind the message: key=value; in JSON in "fields" */
    size_t field_count;
};

/* What is alike: lines of one kind are thinned out together, for each listener by itself. */
enum log_kind {
    LOG_KIND_NONE, /* never thinned out: no client can cause it at will */
    LOG_KIND_REFUSED,
    LOG_KIND_PROXY_HEADER,
    LOG_KIND_CUT,     /* a connection was ended for what its client did */
    LOG_KIND_LOST,    /* an accepted socket did not become a connection */
    LOG_KIND_TIMEOUT, /* a connection was ended for what its client did not do */
    LOG_KIND_FAULT,   /* a fault of the plugin */
    LOG_KIND_STALL,
    LOG_KIND_SHORTAGE,
    LOG_KIND_NETWORK,
    LOG_KIND_CONTROL, /* of the control channel */
    LOG_KIND_PLUGIN,  /* the plugin's own lines: each level, and each beginning, by itself */
};

/* Before log_setup(): info, text. Call it before the threads start, or between runs. */
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

/* A line for people without time and level, as errors at the start are told; made safe. */
void log_plain(const char *text);

/* The line that log_write() writes, its end included, not terminated; cut to fit. Returns its
 * length. It takes no lock and allocates nothing: for crash reports. `size`: at least 1024. */
size_t log_format(char *line, size_t size, enum log_level level, const struct log_subject *subject,
                  const char *message);

/* Waits until what was logged is written, at most so long. For a process that is about to end by a
 * crash: it takes no lock. */
void log_flush(unsigned timeout_ms);

/* Where lines go. `write` gets whole lines; `flush` is log_flush(). `admit` says whether a line of
 * that kind may be written now: false when there were too many, which the sink then tells of.
 * `admit` may be NULL: all are written; `flush` may be: there is nothing to wait for. */
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
