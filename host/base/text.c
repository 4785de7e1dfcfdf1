#include "base/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* The bytes of well-formed sequences (The Unicode Standard, table 3-7): the length that the first
 * byte determines, and the range of the second. */
struct sequence {
    unsigned size; /* 0: no character begins with this byte */
    unsigned char second_min;
    unsigned char second_max;
};

static struct sequence sequence_of(unsigned char first) {
    if (first < 0x80) {
        return (struct sequence){1, 0, 0};
    }
    if (first < 0xc2 || first > 0xf4) {
        return (struct sequence){0, 0, 0};
    }
    unsigned size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    unsigned char min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return (struct sequence){size, min, max};
}

/* How many of the first bytes form one sequence; *whole: it is a whole character. */
static size_t sequence_read(const char *text, size_t size, bool *whole) {
    struct sequence sequence = sequence_of((unsigned char)text[0]);
    unsigned char min = sequence.second_min;
    unsigned char max = sequence.second_max;
    size_t used = 1;
    while (used < sequence.size && used < size && (unsigned char)text[used] >= min &&
           (unsigned char)text[used] <= max) {
        used++;
        min = 0x80;
        max = 0xbf;
    }
    *whole = sequence.size == used;
    return used;
}

static uint32_t code_point(const char *text, size_t size) {
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (unsigned char)text[0] & masks[size];
    for (size_t i = 1; i < size; i++) {
        code = code << 6 | ((unsigned char)text[i] & 0x3f);
    }
    return code;
}

/* Controls; LRM, RLM and ALM; line and paragraph separators; embeddings, overrides, isolates. */
static bool is_unsafe(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
           code == 0x61c || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

size_t text_next(const char *text, size_t size, struct text_piece *piece) {
    bool whole;
    size_t used = sequence_read(text, size, &whole);
    if (!whole) {
        piece->size = sizeof(replacement) - 1;
        memcpy(piece->bytes, replacement, sizeof(replacement) - 1);
        return used;
    }
    uint32_t code = code_point(text, used);
    if (is_unsafe(code)) {
        snprintf(piece->bytes, sizeof(piece->bytes), "\\u%04x", (unsigned)code & 0xffff);
        piece->size = 6;
    } else {
        memcpy(piece->bytes, text, used);
        piece->size = (unsigned)used;
    }
    return used;
}

size_t text_whole(const char *text, size_t size) {
    size_t begin = size;
    bool whole;
    while (begin > 0 && size - begin < 3 && ((unsigned char)text[begin - 1] & 0xc0) == 0x80) {
        begin--; /* continuation bytes */
    }
    if (begin == 0) {
        return size;
    }
    begin--;
    size_t used = sequence_read(text + begin, size - begin, &whole);
    bool cut = !whole && begin + used == size && sequence_of((unsigned char)text[begin]).size > 0;
    return cut ? begin : size;
}

const char *text_safe(char *out, size_t room, const char *text) {
    size_t left = strlen(text);
    size_t length = 0;
    while (left > 0) {
        struct text_piece piece;
        size_t used = text_next(text, left, &piece);
        if (length + piece.size >= room) {
            break;
        }
        memcpy(out + length, piece.bytes, piece.size);
        length += piece.size;
        text += used;
        left -= used;
    }
    out[length] = '\0';
    return out;
}

static void text_write(FILE *stream, const char *text, bool lines) {
    size_t left = strlen(text);
    while (left > 0) {
        struct text_piece piece;
        size_t used = text_next(text, left, &piece);
        if (lines && text[0] == '\n') {
            fputc('\n', stream);
        } else {
            fwrite(piece.bytes, 1, piece.size, stream);
        }
        text += used;
        left -= used;
    }
}

void text_print(FILE *stream, const char *text) {
    text_write(stream, text, false);
}

void text_print_lines(FILE *stream, const char *text) {
    text_write(stream, text, true);
}

void text_print_error(const char *text) {
    fputs("berth: ", stderr);
    text_print(stderr, text);
    fputs("\n", stderr);
}

void text_append(char *text, size_t size, size_t *used, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int count = vsnprintf(text + *used, size - *used, format, arguments);
    va_end(arguments);
    size_t room = size - 1 - *used;
    *used += count <= 0 ? 0 : (size_t)count < room ? (size_t)count : room;
}
