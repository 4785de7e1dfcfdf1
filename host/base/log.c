#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "base/text.h"

enum {
    FIELD_BYTES_MAX = 1000,  /* of one value of the subject; the rest is for the message */
    END_BYTES = 80,          /* kept free for the end of the line */
    FIELDS_BYTES_MAX = 2800, /* of all fields of a plugin together; the rest is for the message */
    FIELDS_VALUE_MAX = 512,  /* of one of them */
};

static _Atomic(enum log_level) current_level = LOG_LEVEL_INFO;
static _Atomic(enum log_format) current_format = LOG_FORMAT_TEXT;
static _Atomic(const struct log_sink *) current_sink;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* -- a line under construction --------------------------------------------- */

/* A piece that does not fit is left out as a whole, so that a line is never cut inside a piece. */
struct line {
    size_t length;
    size_t size;
    char *text;
};

static bool line_piece(struct line *line, const char *bytes, size_t size) {
    if (line->length + size > line->size) {
        return false;
    }
    memcpy(line->text + line->length, bytes, size);
    line->length += size;
    return true;
}

static void line_raw(struct line *line, const char *text) {
    line_piece(line, text, strlen(text));
}

/* Writes the text made safe, at most `room` bytes. Returns how many bytes of the text are left out.
 * `quotes`: as the inside of a JSON string. */
static size_t line_safe(struct line *line, const char *text, size_t size, size_t room,
                        bool quotes) {
    size_t end = line->length + room < line->size ? line->length + room : line->size;
    while (size > 0) {
        struct text_piece piece;
        size_t used = text_next(text, size, &piece);
        bool quoted = quotes && (text[0] == '"' || text[0] == '\\');
        if (line->length + piece.size + quoted > end) {
            return size;
        }
        if (quoted) {
            line_piece(line, "\\", 1);
        }
        line_piece(line, piece.bytes, piece.size);
        text += used;
        size -= used;
    }
    return 0;
}

/* A value too long for its field ends in an ellipsis. */
static void line_value(struct line *line, const char *value, bool quotes) {
    if (line_safe(line, value, strlen(value), FIELD_BYTES_MAX, quotes) > 0) {
        line_raw(line, "\xe2\x80\xa6");
    }
}

static void line_number(struct line *line, uint64_t number) {
    char digits[24];
    snprintf(digits, sizeof(digits), "%" PRIu64, number);
    line_raw(line, digits);
}

/* -- time ------------------------------------------------------------------ */

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

enum log_format log_current_format(void) {
    return atomic_load(&current_format);
}

bool log_enabled(enum log_level level) {
    return level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* -- JSON ------------------------------------------------------------------ */

static void json_key(struct line *line, const char *key) {
    line_raw(line, ",\"");
    line_raw(line, key);
    line_raw(line, "\":");
}

static void json_text(struct line *line, const char *key, const char *value) {
    if (value) {
        json_key(line, key);
        line_raw(line, "\"");
        line_value(line, value, true);
        line_raw(line, "\"");
    }
}

static void json_number(struct line *line, const char *key, uint64_t number) {
    if (number > 0) {
        json_key(line, key);
        line_number(line, number);
    }
}

static void json_subject(struct line *line, const struct log_subject *subject) {
    json_text(line, "plugin", subject->plugin);
    json_text(line, "listener", subject->listener);
    json_text(line, "peer", subject->peer);
    json_number(line, "connection", subject->connection);
    json_text(line, "reason", subject->reason);
    if (subject->place) {
        json_text(line, "file", subject->place->file);
        json_number(line, "line", subject->place->line);
        json_number(line, "column", subject->place->column);
        json_text(line, "pointer", subject->place->pointer);
    }
}

/* Room for the punctuation of a plugin's own field and the digits of a number. */
enum { FIELD_ROOM = 40 };

static bool field_fits(const struct line *line, const struct log_field *field) {
    return line->length + strlen(field->key) + FIELD_ROOM <= line->size;
}

/* Writes the value of a field, without its quotes. */
static void field_value(struct line *line, const struct log_field *field, bool escaped) {
    char number[32];
    if (field->text) {
        size_t room = line->size - line->length - 4; /* an ellipsis and a quote */
        room = room < FIELDS_VALUE_MAX ? room : FIELDS_VALUE_MAX;
        bool is_cut = line_safe(line, field->text, field->size, room, escaped) > 0;
        line_raw(line, is_cut ? "\xe2\x80\xa6" : "");
    } else {
        snprintf(number, sizeof(number), "%" PRId64, field->number);
        line_raw(line, number);
    }
}

/* A field that does not fit is left out as a whole. */
static void json_field(struct line *line, const struct log_field *field, bool first) {
    if (field_fits(line, field)) {
        line_raw(line, first ? "\"" : ",\"");
        line_raw(line, field->key);
        line_raw(line, field->text ? "\":\"" : "\":");
        field_value(line, field, true);
        line_raw(line, field->text ? "\"" : "");
    }
}

static void json_fields(struct line *line, const struct log_subject *subject) {
    size_t size = line->size;
    if (subject->field_count == 0) {
        return;
    }
    json_key(line, "fields");
    line_raw(line, "{");
    size_t begin = line->length;
    line->size = size < begin + FIELDS_BYTES_MAX ? size : begin + FIELDS_BYTES_MAX;
    for (size_t i = 0; i < subject->field_count; i++) {
        json_field(line, &subject->fields[i], line->length == begin);
    }
    line->size = size;
    line_raw(line, "}");
}

static void json_message(struct line *line, const char *text, size_t size, size_t left_out) {
    json_key(line, "message");
    line_raw(line, "\"");
    left_out += line_safe(line, text, size, SIZE_MAX / 2, true);
    line->size += END_BYTES;
    line_raw(line, left_out > 0 ? "\",\"cut\":true,\"left_out\":" : "\"");
    if (left_out > 0) {
        line_number(line, left_out);
    }
    line_raw(line, "}\n");
}

/* -- text ------------------------------------------------------------------ */

static void text_field(struct line *line, const char *key, const char *value) {
    if (value) {
        line_raw(line, key);
        line_raw(line, "=");
        line_value(line, value, false);
        line_raw(line, " ");
    }
}

/* "FILE:LINE:COLUMN: POINTER: ", which editors understand. */
static void text_place(struct line *line, const struct log_place *place) {
    line_value(line, place->file, false);
    if (place->line > 0) {
        line_raw(line, ":");
        line_number(line, place->line);
        line_raw(line, ":");
        line_number(line, place->column);
    }
    line_raw(line, ": ");
    if (place->pointer) {
        line_value(line, place->pointer[0] ? place->pointer : "/", false);
        line_raw(line, ": ");
    }
}

static void text_subject(struct line *line, const struct log_subject *subject) {
    text_field(line, "listener", subject->listener);
    text_field(line, "plugin", subject->plugin);
    if (subject->peer) {
        line_value(line, subject->peer, false);
        line_raw(line, ": ");
    }
    if (subject->place) {
        text_place(line, subject->place);
    }
}

/* Whether a value needs no quotes: a reader can tell where it ends. */
static bool log_is_plain(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == '"' || text[i] == '\\') {
            return false;
        }
    }
    return size > 0;
}

/* A field that does not fit is left out as a whole. */
static void text_own_field(struct line *line, const struct log_field *field) {
    bool quotes = field->text && !log_is_plain(field->text, field->size);
    if (field_fits(line, field)) {
        line_raw(line, " ");
        line_raw(line, field->key);
        line_raw(line, quotes ? "=\"" : "=");
        field_value(line, field, quotes);
        line_raw(line, quotes ? "\"" : "");
    }
}

static void text_end(struct line *line, size_t left_out) {
    line->size += END_BYTES;
    if (left_out > 0) {
        line_raw(line, "\xe2\x80\xa6 (");
        line_number(line, left_out);
        line_raw(line, " bytes left out)");
    }
    line_raw(line, "\n");
}

/* The fields follow the message, but get their room first. */
static void text_message(struct line *line, const struct log_subject *subject, const char *text,
                         size_t size, size_t left_out) {
    char bytes[FIELDS_BYTES_MAX];
    struct line fields = {.text = bytes, .size = sizeof(bytes)};
    for (size_t i = 0; i < subject->field_count; i++) {
        text_own_field(&fields, &subject->fields[i]);
    }
    line->size -= fields.length;
    left_out += line_safe(line, text, size, SIZE_MAX / 2, false);
    line->size += fields.length;
    line_piece(line, fields.text, fields.length);
    text_end(line, left_out);
}

/* -- lines ----------------------------------------------------------------- */

/* `left_out`: how many bytes of the message are missing already. */
static size_t format_line(char *text, size_t size, enum log_level level,
                          const struct log_subject *subject, const char *message,
                          size_t message_size, size_t left_out) {
    static const struct log_subject nothing;
    char now[80];
    struct line line = {.text = text, .size = size - END_BYTES};
    time_text(now, sizeof(now));
    subject = subject ? subject : &nothing;
    if (atomic_load(&current_format) == LOG_FORMAT_JSON) {
        line_raw(&line, "{\"time\":\"");
        line_raw(&line, now);
        line_raw(&line, "\"");
        json_text(&line, "level", level_names[level]);
        json_subject(&line, subject);
        json_fields(&line, subject);
        json_message(&line, message, message_size, left_out);
    } else {
        line_raw(&line, now);
        line_raw(&line, " ");
        line_raw(&line, level_names[level]);
        line_raw(&line, " ");
        text_subject(&line, subject);
        text_message(&line, subject, message, message_size, left_out);
    }
    return line.length;
}

size_t log_format(char *line, size_t size, enum log_level level, const struct log_subject *subject,
                  const char *message) {
    return format_line(line, size, level, subject, message, strlen(message), 0);
}

static void line_out(enum log_level level, const char *line, size_t size) {
    const struct log_sink *sink = atomic_load(&current_sink);
    if (sink) {
        sink->write(level, line, size);
    } else {
        fwrite(line, 1, size, stderr);
        fflush(stderr);
    }
}

static void log_put(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                    const char *text, size_t size, size_t left_out) {
    const struct log_sink *sink = atomic_load(&current_sink);
    char line[LOG_LINE_MAX];
    if (kind != LOG_KIND_NONE && sink && sink->admit &&
        !sink->admit(kind, level, subject, text, size)) {
        return;
    }
    size_t length = format_line(line, sizeof(line), level, subject, text, size, left_out);
    line_out(level, line, length);
}

void log_plain(const char *text) {
    char bytes[LOG_LINE_MAX];
    struct line line = {.text = bytes, .size = sizeof(bytes) - END_BYTES};
    text_end(&line, line_safe(&line, text, strlen(text), SIZE_MAX / 2, false));
    line_out(LOG_LEVEL_ERROR, bytes, line.length);
}

void log_text(enum log_kind kind, enum log_level level, const struct log_subject *subject,
              const char *text, size_t size) {
    if (log_enabled(level)) {
        log_put(kind, level, subject, text, size, 0);
    }
}

static void put_formatted(enum log_kind kind, enum log_level level,
                          const struct log_subject *subject, const char *format,
                          va_list arguments) {
    char message[LOG_LINE_MAX];
    int length = vsnprintf(message, sizeof(message), format, arguments);
    size_t whole = length < 0 ? 0 : (size_t)length;
    size_t there = whole < sizeof(message) ? whole : text_whole(message, sizeof(message) - 1);
    log_put(kind, level, subject, message, there, whole - there);
}

void log_write(enum log_level level, const struct log_subject *subject, const char *format, ...) {
    if (log_enabled(level)) {
        va_list arguments;
        va_start(arguments, format);
        put_formatted(LOG_KIND_NONE, level, subject, format, arguments);
        va_end(arguments);
    }
}

void log_limited(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                 const char *format, ...) {
    if (log_enabled(level)) {
        va_list arguments;
        va_start(arguments, format);
        put_formatted(kind, level, subject, format, arguments);
        va_end(arguments);
    }
}

void log_flush(unsigned timeout_ms) {
    const struct log_sink *sink = atomic_load(&current_sink);
    if (sink && sink->flush) {
        sink->flush(timeout_ms);
    }
}

void log_set_sink(const struct log_sink *sink) {
    atomic_store(&current_sink, sink);
}
