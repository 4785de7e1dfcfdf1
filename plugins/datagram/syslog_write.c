#include <stdio.h>
#include <string.h>

#include "common/utf8.h"
#include "datagram/syslog.h"

static void syslog_write_put(struct syslog_line *line, const void *bytes, size_t size) {
    if (line->size <= line->capacity && size <= line->capacity - line->size) {
        memcpy(line->bytes + line->size, bytes, size);
    }
    line->size += size;
}

static void syslog_write_put_text(struct syslog_line *line, const char *text) {
    syslog_write_put(line, text, strlen(text));
}

static bool is_harmless(uint32_t character) {
    return !utf8_is_control(character) && !utf8_is_layout(character);
}

static void put_escaped(struct syslog_line *line, const uint8_t *bytes, uint32_t size,
                        bool backslash) {
    uint32_t at = 0;
    while (at < size) {
        uint32_t character = 0;
        uint32_t length = utf8_read(bytes + at, size - at, &character);
        if (length > 0 && is_harmless(character)) {
            syslog_write_put(line, bytes + at, length);
            if (character == '\\' && backslash) {
                syslog_write_put(line, "\\", 1);
            }
        } else {
            for (uint32_t i = 0; i < (length > 0 ? length : 1); i++) {
                char code[8];
                snprintf(code, sizeof(code), "\\x%02x", bytes[at + i]);
                syslog_write_put(line, code, 4);
            }
        }
        at += length > 0 ? length : 1;
    }
}

static void put_field(struct syslog_line *line, const struct syslog_span *field) {
    syslog_write_put(line, " ", 1);
    syslog_write_put(line, field->bytes, field->size);
}

/* Days since 1970 as a date: counted in years that begin in March, so that a leap day is the last
 * of its year, and in eras of 400 of them, which are all of the same length. */
static void syslog_write_date_of(uint64_t days, unsigned *year, unsigned *month, unsigned *day) {
    uint64_t since = days + 719468; /* 0000-03-01 */
    uint64_t era = since / 146097;
    uint64_t of_era = since % 146097;
    uint64_t years = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * years + years / 4 - years / 100);
    uint64_t months = (5 * of_year + 2) / 153; /* since March */
    *day = (unsigned)(of_year - (153 * months + 2) / 5 + 1);
    *month = (unsigned)(months < 10 ? months + 3 : months - 9);
    *year = (unsigned)(era * 400 + years + (*month <= 2 ? 1 : 0));
}

void syslog_time(uint64_t unix_ms, char text[SYSLOG_TIME_BYTES]) {
    unsigned year;
    unsigned month;
    unsigned day;
    unsigned of_day = (unsigned)(unix_ms / 1000 % 86400);
    syslog_write_date_of(unix_ms / 86400000, &year, &month, &day);
    snprintf(text, SYSLOG_TIME_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000,
             month % 100, day % 100, of_day / 3600 % 24, of_day / 60 % 60, of_day % 60,
             (unsigned)(unix_ms % 1000));
}

static void put_beginning(struct syslog_line *line, const char *received, const char *sender) {
    syslog_write_put_text(line, received);
    syslog_write_put(line, " ", 1);
    syslog_write_put_text(line, sender);
    syslog_write_put(line, " ", 1);
}

void syslog_write(struct syslog_line *line, const char *received, const char *sender,
                  const struct syslog_message *message, bool truncated) {
    static const char *const facilities[] = {
        "kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
        "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock",
        "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7",
    };
    static const char *const severities[] = {
        "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
    };
    put_beginning(line, received, sender);
    syslog_write_put_text(line, facilities[message->facility]);
    syslog_write_put(line, ".", 1);
    syslog_write_put_text(line, severities[message->severity]);
    syslog_write_put_text(line, truncated ? "+truncated" : "");
    put_field(line, &message->timestamp);
    put_field(line, &message->hostname);
    put_field(line, &message->app_name);
    put_field(line, &message->procid);
    put_field(line, &message->msgid);
    syslog_write_put(line, " ", 1);
    put_escaped(line, message->data.bytes, message->data.size, false); /* has escapes of its own */
    syslog_write_put(line, " ", 1);
    put_escaped(line, message->text.bytes, message->text.size, true);
    syslog_write_put(line, "\n", 1);
}

void syslog_write_malformed(struct syslog_line *line, const char *received, const char *sender,
                            const uint8_t *bytes, uint32_t size, bool truncated) {
    put_beginning(line, received, sender);
    syslog_write_put_text(line, "malformed");
    syslog_write_put_text(line, truncated ? "+truncated" : "");
    syslog_write_put_text(line, " - - - - - - ");
    put_escaped(line, bytes, size, true);
    syslog_write_put(line, "\n", 1);
}
