/* log.h: what the host tells its operator, one line an event, on standard error.
 *
 * Every failure is logged once, by the code that decides what follows from it, with the plugin and
 * the listener it concerns. The text format is for people, the JSON format (one object a line, with
 * the keys time, level, plugin, listener, message) for collectors.
 *
 * Threads: any; a line is written with one call and never mixes with another. */
#ifndef BERTH_HOST_BASE_LOG_H
#define BERTH_HOST_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/macros.h"

/* The values are those of BERTH_LOG_* in plugin-api. */
enum log_level { LOG_LEVEL_ERROR = 0, LOG_LEVEL_WARN = 1, LOG_LEVEL_INFO = 2, LOG_LEVEL_DEBUG = 3 };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* What a line is about. Either member may be NULL; so may the pointer to the struct. */
struct log_subject {
    const char *plugin;
    const char *listener;
};

/* Before log_setup(): info, text. Call it before the threads start, or between runs. */
void log_setup(enum log_level level, enum log_format format);

bool log_enabled(enum log_level level);

/* Control characters in the message are escaped, so that no peer can forge a line. */
void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...)
    BERTH_PRINTF(3, 4);

/* The line that log_write() writes, its end included, not terminated; cut to fit. Returns its
 * length. It takes no lock and allocates nothing: for last words. */
size_t log_format(char *text, size_t size, enum log_level level, const struct log_subject *subject,
                  const char *message);

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
