#include "kv/inline.h"

#include <stdbool.h>

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0';
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint8_t escaped(uint8_t c) {
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* The character after a "\" within quotes; *at moves past it. */
static uint8_t read_escape(const uint8_t *line, uint32_t size, uint32_t *at) {
    uint8_t c = line[(*at)++];
    if (c == 'x' && size - *at >= 2 && hex_digit(line[*at]) >= 0 && hex_digit(line[*at + 1]) >= 0) {
        c = (uint8_t)(hex_digit(line[*at]) * 16 + hex_digit(line[*at + 1]));
        *at += 2;
        return c;
    }
    return escaped(c);
}

/* Reads from after the opening quote to after the closing one. False: there is none, or the word
 * continues after it. */
static bool read_quoted(const uint8_t *line, uint32_t size, uint32_t *at, uint8_t *word,
                        uint32_t *length) {
    uint8_t quote = line[(*at)++];
    while (*at < size) {
        uint8_t c = line[(*at)++];
        if (c == quote) {
            return *at == size || is_space(line[*at]);
        }
        if (c == '\\' && *at < size && (quote == '"' || line[*at] == '\'')) {
            c = quote == '"' ? read_escape(line, size, at) : line[(*at)++];
        }
        word[(*length)++] = c;
    }
    return false;
}

enum inline_state inline_next(const uint8_t *line, uint32_t size, uint32_t *at, uint8_t *word,
                              uint32_t *length) {
    *length = 0;
    while (*at < size && is_space(line[*at])) {
        (*at)++;
    }
    if (*at == size) {
        return INLINE_END;
    }
    while (*at < size && !is_space(line[*at])) {
        if (line[*at] == '"' || line[*at] == '\'') {
            return read_quoted(line, size, at, word, length) ? INLINE_WORD : INLINE_UNBALANCED;
        }
        word[(*length)++] = line[(*at)++];
    }
    return INLINE_WORD;
}
