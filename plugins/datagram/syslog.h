/* syslog.h: a syslog message (RFC 5424), read from a datagram and written as one line of a file.
 *
 * Pure functions of their bytes, for the plugin and its fuzz target. Threads: any.
 *
 * The line: time of receipt and sender, then the message's own fields unchanged,
 *
 *   RECEIVED SENDER FACILITY.SEVERITY TIMESTAMP HOSTNAME APP-NAME PROCID MSGID DATA TEXT
 *
 * with "+truncated" after the severity if the end of the datagram is lost. What is no syslog
 * message has "malformed" for its severity, "-" for all other fields, and all of it as its text. A
 * line never holds anything but well-formed UTF-8 without control characters, line separators and
 * what changes the order in which characters are shown: every byte of those stands there as \xHH,
 * and a backslash of the text as \\. So nothing that is sent can make a line of its own or look
 * like another one, or a terminal do anything but show it. */
#ifndef BERTH_PLUGINS_DATAGRAM_SYSLOG_H
#define BERTH_PLUGINS_DATAGRAM_SYSLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SYSLOG_ELEMENTS_MAX = 256 }; /* of structured data; with more a message is none */

struct syslog_span {
    const uint8_t *bytes; /* within the datagram */
    uint32_t size;
};

struct syslog_message {
    uint32_t facility;            /* 0 to 23 */
    uint32_t severity;            /* 0 to 7 */
    struct syslog_span timestamp; /* these six are "-" if not given */
    struct syslog_span hostname;
    struct syslog_span app_name;
    struct syslog_span procid;
    struct syslog_span msgid;
    struct syslog_span data; /* structured data, escapes and all */
    struct syslog_span text; /* without its byte order mark; may be empty */
    bool is_utf8;            /* its sender says so, by that mark */
};

/* Parses a datagram. Returns an error text; NULL: none. One LF at the end, which some senders
 * add, is no part of the message. `truncated`: the last character of the text may be cut. */
const char *syslog_read(const uint8_t *bytes, uint32_t size, bool truncated,
                        struct syslog_message *message);

/* -- lines ----------------------------------------------------------------- */

/* The text, and its full size: a size above the capacity means that it was truncated. */
struct syslog_line {
    char *bytes;
    size_t capacity;
    size_t size;
};

enum { SYSLOG_TIME_BYTES = 25 }; /* "2003-10-11T22:14:15.003Z" and the terminator */

void syslog_time(uint64_t unix_ms, char text[SYSLOG_TIME_BYTES]);

/* One line with its end. `sender` is written as it is. */
void syslog_write(struct syslog_line *line, const char *received, const char *sender,
                  const struct syslog_message *message, bool truncated);
void syslog_write_malformed(struct syslog_line *line, const char *received, const char *sender,
                            const uint8_t *bytes, uint32_t size, bool truncated);

#endif
