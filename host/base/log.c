#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/time.h>

enum { LINE_MAX_BYTES = 4096, MESSAGE_MAX_BYTES = 2048 };

static _Atomic(enum log_level) current_level = LOG_LEVEL_INFO;
static _Atomic(enum log_format) current_format = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* A line under construction: what does not fit is cut, but the line always ends in a newline. */
struct line {
    size_t length;
    size_t size;
    char *text;
};

static void line_char(struct line *line, char c) {
    if (line->length + 1 < line->size) {
        line->text[line->length++] = c;
    }
}

static void line_text(struct line *line, const char *text) {
    while (*text) {
        line_char(line, *text++);
    }
}

/* Escapes as JSON does; in the text format quotes and backslashes are left as they are. */
static void line_escaped(struct line *line, const char *text, bool quotes) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f) {
            char code[8];
            snprintf(code, sizeof(code), "\\u%04x", c);
            line_text(line, code);
        } else {
            if (quotes && (c == '"' || c == '\\')) {
                line_char(line, '\\');
            }
            line_char(line, (char)c);
        }
    }
}

static void line_member(struct line *line, const char *key, const char *value) {
    line_text(line, ",\"");
    line_text(line, key);
    line_text(line, "\":\"");
    line_escaped(line, value, true);
    line_char(line, '"');
}

static void time_text(char *text, size_t size) {
    struct timeval now;
    gettimeofday(&now, NULL);
    /* gmtime's static result would be shared by threads; the civil date is computed instead
     * (days from the epoch to year, month and day, Gregorian calendar). */
    long long seconds = (long long)now.tv_sec;
    long long days = seconds / 86400;
    int rest = (int)(seconds % 86400);
    long long z = days + 719468;
    long long era = z / 146097;
    int day_of_era = (int)(z - era * 146097);
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (5 * day_of_year + 2) / 153;
    int day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int year = (int)(year_of_era + era * 400) + (month <= 2 ? 1 : 0);
    snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", year, month, day, rest / 3600,
             rest / 60 % 60, rest % 60, (int)(now.tv_usec / 1000));
}

void log_setup(enum log_level level, enum log_format format) {
    atomic_store(&current_level, level);
    atomic_store(&current_format, format);
}

bool log_enabled(enum log_level level) {
    return level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

size_t log_format(char *text, size_t size, enum log_level level, const struct log_subject *subject,
                  const char *message) {
    char now[80];
    time_text(now, sizeof(now));
    const char *plugin = subject ? subject->plugin : NULL;
    const char *listener = subject ? subject->listener : NULL;
    struct line line = {.text = text, .size = size};
    if (atomic_load(&current_format) == LOG_FORMAT_JSON) {
        line_text(&line, "{\"time\":\"");
        line_text(&line, now);
        line_char(&line, '"');
        line_member(&line, "level", level_names[level]);
        if (plugin) {
            line_member(&line, "plugin", plugin);
        }
        if (listener) {
            line_member(&line, "listener", listener);
        }
        line_member(&line, "message", message);
        line_char(&line, '}');
    } else {
        line_text(&line, now);
        line_char(&line, ' ');
        line_text(&line, level_names[level]);
        line_char(&line, ' ');
        if (listener) {
            line_text(&line, "listener=");
            line_escaped(&line, listener, false);
            line_char(&line, ' ');
        }
        if (plugin) {
            line_text(&line, "plugin=");
            line_escaped(&line, plugin, false);
            line_char(&line, ' ');
        }
        line_escaped(&line, message, false);
    }
    line.text[line.length++] = '\n';
    return line.length;
}

void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...) {
    if (!log_enabled(level)) {
        return;
    }
    char message[MESSAGE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);

    char line[LINE_MAX_BYTES];
    size_t length = log_format(line, sizeof(line), level, subject, message);
    fwrite(line, 1, length, stderr);
    fflush(stderr);
}
