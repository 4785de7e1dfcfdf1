#include <string.h>

#include "common/utf8.h"
#include "datagram/syslog.h"

/* What is left to read. */
struct rest {
    const uint8_t *at;
    const uint8_t *end;
};

static bool is_digit(uint8_t byte) {
    return byte >= '0' && byte <= '9';
}

/* Takes that byte, if it comes next. */
static bool syslog_read_take(struct rest *rest, char byte) {
    if (rest->at == rest->end || *rest->at != (uint8_t)byte) {
        return false;
    }
    rest->at++;
    return true;
}

/* Takes `least` to `most` digits; `most` is 6 at the most. */
static bool syslog_read_take_number(struct rest *rest, unsigned least, unsigned most,
                                    uint32_t *number) {
    unsigned count = 0;
    *number = 0;
    while (count < most && rest->at < rest->end && is_digit(*rest->at)) {
        *number = *number * 10 + (uint32_t)(*rest->at++ - '0');
        count++;
    }
    return count >= least;
}

/* Takes 1 to `max` bytes of printable ASCII, and the space after them. */
static bool take_field(struct rest *rest, uint32_t max, struct syslog_span *field) {
    field->bytes = rest->at;
    while (rest->at<rest->end && * rest->at> ' ' && *rest->at < 0x7f) {
        rest->at++;
    }
    field->size = (uint32_t)(rest->at - field->bytes);
    return field->size >= 1 && field->size <= max && syslog_read_take(rest, ' ');
}

/* -- the header ------------------------------------------------------------ */

/* "<165>": no leading zeros, 191 at the most */
static bool take_priority(struct rest *rest, struct syslog_message *message) {
    uint32_t value;
    const uint8_t *digits = rest->at + 1;
    if (!syslog_read_take(rest, '<') || !syslog_read_take_number(rest, 1, 3, &value) ||
        value > 191 || (*digits == '0' && rest->at - digits > 1) || !syslog_read_take(rest, '>')) {
        return false;
    }
    message->facility = value / 8;
    message->severity = value % 8;
    return true;
}

static bool take_date(struct rest *rest) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t year;
    uint32_t month;
    uint32_t day;
    if (!syslog_read_take_number(rest, 4, 4, &year) || !syslog_read_take(rest, '-') ||
        !syslog_read_take_number(rest, 2, 2, &month) || !syslog_read_take(rest, '-') ||
        !syslog_read_take_number(rest, 2, 2, &day) || month < 1 || month > 12 || day < 1) {
        return false;
    }
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && is_leap ? 1u : 0u);
}

/* "12:34", as a time of day and as an offset from UTC */
static bool take_hour_and_minute(struct rest *rest) {
    uint32_t hour;
    uint32_t minute;
    return syslog_read_take_number(rest, 2, 2, &hour) && syslog_read_take(rest, ':') &&
           syslog_read_take_number(rest, 2, 2, &minute) && hour <= 23 && minute <= 59;
}

static bool is_timestamp(const struct syslog_span *field) {
    struct rest rest = {field->bytes, field->bytes + field->size};
    uint32_t second;
    uint32_t fraction;
    if (!take_date(&rest) || !syslog_read_take(&rest, 'T') || !take_hour_and_minute(&rest) ||
        !syslog_read_take(&rest, ':') || !syslog_read_take_number(&rest, 2, 2, &second) ||
        second > 59 ||
        (syslog_read_take(&rest, '.') && !syslog_read_take_number(&rest, 1, 6, &fraction))) {
        return false;
    }
    bool has_zone = syslog_read_take(&rest, 'Z') ||
                    ((syslog_read_take(&rest, '+') || syslog_read_take(&rest, '-')) &&
                     take_hour_and_minute(&rest));
    return has_zone && rest.at == rest.end;
}

static const char *take_header(struct rest *rest, struct syslog_message *message) {
    uint32_t version;
    if (!take_priority(rest, message)) {
        return "it does not begin with a priority like <165>";
    }
    if (!syslog_read_take_number(rest, 1, 3, &version) || version != 1 || rest->at[-1] != '1' ||
        rest->at[-2] != '>' || !syslog_read_take(rest, ' ')) {
        return "its version is not 1 (is it RFC 3164?)";
    }
    if (!take_field(rest, 32, &message->timestamp) ||
        !((message->timestamp.size == 1 && message->timestamp.bytes[0] == '-') ||
          is_timestamp(&message->timestamp))) {
        return "its timestamp is none";
    }
    if (!take_field(rest, 255, &message->hostname) || !take_field(rest, 48, &message->app_name) ||
        !take_field(rest, 128, &message->procid) || !take_field(rest, 32, &message->msgid)) {
        return "a field of its header is missing, too long or not ASCII";
    }
    return NULL;
}

/* -- structured data ------------------------------------------------------- */

/* 1 to 32 bytes of printable ASCII, without those that end it */
static bool syslog_read_take_name(struct rest *rest) {
    const uint8_t *begin = rest->at;
    while (rest->at<rest->end && * rest->at> ' ' && *rest->at < 0x7f && *rest->at != '=' &&
           *rest->at != ']' && *rest->at != '"') {
        rest->at++;
    }
    return rest->at > begin && rest->at - begin <= 32;
}

/* "value", with \" \\ and \] in place of what would end it */
static bool syslog_read_take_value(struct rest *rest) {
    if (!syslog_read_take(rest, '"')) {
        return false;
    }
    while (rest->at < rest->end && *rest->at != '"') {
        uint32_t character = 0;
        uint32_t length = utf8_read(rest->at, (size_t)(rest->end - rest->at), &character);
        if (length == 0 || character == ']') {
            return false;
        }
        rest->at += length;
        if (character == '\\' && rest->at < rest->end &&
            (*rest->at == '"' || *rest->at == '\\' || *rest->at == ']')) {
            rest->at++;
        }
    }
    return syslog_read_take(rest, '"');
}

/* RFC 5424, 6.3.2: a name must not be repeated. Each is compared with all others, so
 * there may not be many. */
struct names {
    struct syslog_span items[SYSLOG_ELEMENTS_MAX];
    uint32_t count;
};

static bool is_new(struct names *names, const uint8_t *begin, const uint8_t *end) {
    const struct syslog_span name = {begin, (uint32_t)(end - begin)};
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->items[i].size == name.size &&
            memcmp(names->items[i].bytes, begin, name.size) == 0) {
            return false;
        }
    }
    if (names->count == SYSLOG_ELEMENTS_MAX) {
        return false;
    }
    names->items[names->count++] = name;
    return true;
}

static bool take_data(struct rest *rest, struct syslog_span *data) {
    data->bytes = rest->at;
    bool is_nil = syslog_read_take(rest, '-');
    struct names names;
    names.count = 0; /* the rest needs no value */
    while (!is_nil && syslog_read_take(rest, '[')) {
        const uint8_t *name = rest->at;
        if (!syslog_read_take_name(rest) || !is_new(&names, name, rest->at)) {
            return false;
        }
        while (syslog_read_take(rest, ' ')) {
            if (!syslog_read_take_name(rest) || !syslog_read_take(rest, '=') ||
                !syslog_read_take_value(rest)) {
                return false;
            }
        }
        if (!syslog_read_take(rest, ']')) {
            return false;
        }
    }
    data->size = (uint32_t)(rest->at - data->bytes);
    return is_nil || names.count > 0;
}

/* -- the text -------------------------------------------------------------- */

/* Removes an incomplete character at the end. */
static const uint8_t *cut_end(const uint8_t *begin, const uint8_t *end) {
    const uint8_t *at = end;
    while (at > begin && end - at < 3 && (at[-1] & 0xc0) == 0x80) {
        at--;
    }
    uint32_t character;
    bool is_cut =
        at > begin && at[-1] >= 0xc0 && utf8_read(at - 1, (size_t)(end - at) + 1, &character) == 0;
    return is_cut ? at - 1 : end;
}

static bool is_utf8(const struct syslog_span *text) {
    uint32_t at = 0;
    while (at < text->size) {
        uint32_t character;
        uint32_t length = utf8_read(text->bytes + at, text->size - at, &character);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

const char *syslog_read(const uint8_t *bytes, uint32_t size, bool truncated,
                        struct syslog_message *message) {
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    struct rest rest = {bytes, bytes + size};
    *message = (struct syslog_message){0};
    const char *fault = take_header(&rest, message);
    if (fault) {
        return fault;
    }
    if (!take_data(&rest, &message->data)) {
        return "its structured data is not well formed";
    }
    if (rest.at < rest.end && rest.end[-1] == '\n') {
        rest.end--;
    }
    if (rest.at < rest.end && !syslog_read_take(&rest, ' ')) {
        return "something follows its structured data";
    }
    if (truncated) {
        rest.end = cut_end(rest.at, rest.end);
    }
    if ((size_t)(rest.end - rest.at) >= sizeof(mark) && memcmp(rest.at, mark, sizeof(mark)) == 0) {
        message->is_utf8 = true;
        rest.at += sizeof(mark);
    }
    message->text = (struct syslog_span){rest.at, (uint32_t)(rest.end - rest.at)};
    if (message->is_utf8 && !is_utf8(&message->text)) {
        return "it says that it is UTF-8, and is not";
    }
    return NULL;
}
