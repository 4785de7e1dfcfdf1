#include "manifest/reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Some releases of cJSON read no more of a number than fits into 64 bytes. */
enum { NUMBER_MAX = 63, WORD_SHOWN_MAX = 24 };

bool reader_fail(struct reader *reader, struct place place, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reader->wrong, sizeof(reader->wrong), format, arguments);
    va_end(arguments);
    reader->wrong_at = place;
    return false;
}

int reader_peek(const struct reader *reader) {
    return reader->at < reader->end ? *reader->at : -1;
}

void reader_step(struct reader *reader, size_t size) {
    if (*reader->at == '\n') {
        reader->here.line++;
        reader->here.column = 1;
    } else {
        reader->here.column++;
    }
    reader->at += size;
}

void reader_skip_space(struct reader *reader) {
    int c = reader_peek(reader);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        reader_step(reader, 1);
        c = reader_peek(reader);
    }
}

/* -- characters ------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character that begins here, 0 when it is malformed (RFC 3629). */
static size_t character_size(const struct reader *reader) {
    const unsigned char *at = reader->at;
    size_t left = (size_t)(reader->end - at);
    size_t size = at[0] < 0x80                     ? 1
                  : at[0] >= 0xc2 && at[0] <= 0xdf ? 2
                  : at[0] >= 0xe0 && at[0] <= 0xef ? 3
                  : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4
                                                   : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] >= 0xa0;
    bool beyond = at[0] == 0xf4 && at[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : size;
}

/* The code point of a character that is well-formed. */
static uint32_t character_code(const unsigned char *at, size_t size) {
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = at[0] & masks[size];
    for (size_t i = 1; i < size; i++) {
        code = code << 6 | (at[i] & 0x3f);
    }
    return code;
}

static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}

/* A word without quotes: NaN, True, a bare key. */
static bool unexpected_word(struct reader *reader, const char *expected) {
    const unsigned char *end = reader->at;
    while (end < reader->end && end - reader->at < WORD_SHOWN_MAX &&
           (is_letter(*end) || (*end >= '0' && *end <= '9'))) {
        end++;
    }
    return reader_fail(reader, reader->here, "expected %s, found the bare word %.*s", expected,
                       (int)(end - reader->at), (const char *)reader->at);
}

static bool unexpected_character(struct reader *reader, const char *expected) {
    size_t size = character_size(reader);
    if (size == 0) {
        return reader_fail(reader, reader->here, "not UTF-8 (the byte 0x%02x)",
                           (unsigned)*reader->at);
    }
    uint32_t code = character_code(reader->at, size);
    bool quote = code == '\'' || (code >= 0x2018 && code <= 0x201f);
    return reader_fail(reader, reader->here, "expected %s, found the character U+%04X%s", expected,
                       (unsigned)code, quote ? "; JSON's quotes are plain double ones" : "");
}

bool reader_unexpected(struct reader *reader, const char *expected) {
    int c = reader_peek(reader);
    if (c < 0) {
        return reader_fail(reader, reader->here, "the file ends where %s is expected", expected);
    }
    if (c == '/' || c == '#') {
        return reader_fail(reader, reader->here, "expected %s; JSON has no comments", expected);
    }
    if (is_letter(c)) {
        return unexpected_word(reader, expected);
    }
    if (c <= ' ' || c > '~' || c == '\'') {
        return unexpected_character(reader, expected);
    }
    return reader_fail(reader, reader->here, "expected %s, found '%c'", expected, c);
}

/* -- literals and numbers --------------------------------------------------------------------- */

bool reader_literal(struct reader *reader, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0) {
        return reader_unexpected(reader, "a value");
    }
    for (size_t i = 0; i < length; i++) {
        reader_step(reader, 1);
    }
    return true;
}

static size_t skip_digits(struct reader *reader) {
    size_t count = 0;
    while (reader_peek(reader) >= '0' && reader_peek(reader) <= '9') {
        reader_step(reader, 1);
        count++;
    }
    return count;
}

static bool skip_fraction(struct reader *reader) {
    if (reader_peek(reader) == '.') {
        reader_step(reader, 1);
        if (skip_digits(reader) == 0) {
            return reader_unexpected(reader, "a digit behind the point");
        }
    }
    if (reader_peek(reader) == 'e' || reader_peek(reader) == 'E') {
        reader_step(reader, 1);
        if (reader_peek(reader) == '+' || reader_peek(reader) == '-') {
            reader_step(reader, 1);
        }
        if (skip_digits(reader) == 0) {
            return reader_unexpected(reader, "a digit in the exponent");
        }
    }
    return true;
}

/* What no double can hold would become something else unnoticed. */
static bool check_number(struct reader *reader, const unsigned char *text, struct place place) {
    char copy[NUMBER_MAX + 1] = {0};
    size_t size = (size_t)(reader->at - text);
    if (size > NUMBER_MAX) {
        return reader_fail(reader, place, "a number of %zu characters; at most %d are read", size,
                           NUMBER_MAX);
    }
    memcpy(copy, text, size);
    if (!isfinite(strtod(copy, NULL))) {
        return reader_fail(reader, place, "the number %s is out of range (about 1.8e308)", copy);
    }
    return true;
}

bool reader_number(struct reader *reader) {
    const unsigned char *text = reader->at;
    struct place place = reader->here;
    if (reader_peek(reader) == '-') {
        reader_step(reader, 1);
    }
    bool zero = reader_peek(reader) == '0';
    size_t digits = skip_digits(reader);
    if (digits == 0) {
        return reader_unexpected(reader, "a digit");
    }
    if (zero && digits > 1) {
        return reader_fail(reader, place, "a number must not begin with a zero");
    }
    return skip_fraction(reader) && check_number(reader, text, place);
}

/* -- strings ---------------------------------------------------------------------------------- */

static int hex_value(int c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits behind \u. */
static bool read_unit(struct reader *reader, struct place start, uint32_t *unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int value = hex_value(reader_peek(reader));
        if (value < 0) {
            return reader_fail(reader, start, "\\u needs four hexadecimal digits");
        }
        *unit = *unit << 4 | (uint32_t)value;
        reader_step(reader, 1);
    }
    return true;
}

static bool read_unicode(struct reader *reader, struct place start) {
    uint32_t unit;
    uint32_t low = 0;
    if (!read_unit(reader, start, &unit)) {
        return false;
    }
    if (unit == 0) {
        return reader_fail(reader, start, "a string must not hold the character \\u0000");
    }
    if (unit < 0xd800 || unit > 0xdfff) {
        return true;
    }
    bool pair = unit <= 0xdbff && reader->end - reader->at >= 2 && reader->at[0] == '\\' &&
                reader->at[1] == 'u';
    if (pair) {
        struct place second = reader->here;
        reader_step(reader, 1);
        reader_step(reader, 1);
        if (!read_unit(reader, second, &low)) {
            return false;
        }
    }
    if (low < 0xdc00 || low > 0xdfff) {
        return reader_fail(reader, start, "half of a surrogate pair stands alone");
    }
    return true;
}

static bool read_escape(struct reader *reader) {
    struct place start = reader->here;
    reader_step(reader, 1);
    int c = reader_peek(reader);
    if (c == 'u') {
        reader_step(reader, 1);
        return read_unicode(reader, start);
    }
    if (c <= 0 || !strchr("\"\\/bfnrt", c)) {
        return reader_fail(reader, start,
                           "an unknown escape: after \\ comes one of \" \\ / b f n r t u");
    }
    reader_step(reader, 1);
    return true;
}

bool reader_string(struct reader *reader) {
    struct place start = reader->here;
    reader_step(reader, 1);
    while (reader_peek(reader) != '"') {
        int c = reader_peek(reader);
        if (c < 0) {
            return reader_fail(reader, start, "this string does not end");
        }
        if (c < 0x20) {
            return reader_fail(reader, reader->here,
                               "a control character in a string must be escaped (or the quote "
                               "before it is missing)");
        }
        if (c == '\\') {
            if (!read_escape(reader)) {
                return false;
            }
            continue;
        }
        size_t size = character_size(reader);
        if (size == 0) {
            return unexpected_character(reader, "UTF-8");
        }
        reader_step(reader, size);
    }
    reader_step(reader, 1);
    return true;
}

static uint32_t decode_unit(const char *digits) {
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        unit = unit << 4 | (uint32_t)hex_value(digits[i]);
    }
    return unit;
}

/* A code point as UTF-8. */
static size_t encode(uint32_t code, char *bytes) {
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    bytes[0] = (char)(marks[size] | code);
    return size;
}

size_t reader_decode(const char *text, size_t size, char *decoded) {
    static const char escapes[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *end = text + size - 1;
    size_t count = 0;
    text++;
    while (text < end) {
        if (*text != '\\') {
            decoded[count++] = *text++;
        } else if (text[1] != 'u') {
            decoded[count++] = meanings[strchr(escapes, text[1]) - escapes];
            text += 2;
        } else {
            uint32_t unit = decode_unit(text + 2);
            text += 6;
            if (unit >= 0xd800 && unit <= 0xdbff) {
                unit = 0x10000 + ((unit - 0xd800) << 10) + (decode_unit(text + 2) - 0xdc00);
                text += 6;
            }
            count += encode(unit, decoded + count);
        }
    }
    return count;
}
