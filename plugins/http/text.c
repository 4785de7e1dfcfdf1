#include "http/text.h"

#include <string.h>

static char text_small(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool text_is(struct text text, const char *word) {
    uint32_t i = 0;
    while (i < text.size && word[i] != '\0' && text_small(text.bytes[i]) == word[i]) {
        i++;
    }
    return i == text.size && word[i] == '\0' && text.bytes;
}

struct text text_trim(struct text text) {
    while (text.size > 0 && char_is_blank((uint8_t)text.bytes[0])) {
        text.bytes++;
        text.size--;
    }
    while (text.size > 0 && char_is_blank((uint8_t)text.bytes[text.size - 1])) {
        text.size--;
    }
    return text;
}

bool text_until(struct text *rest, char delimiter, struct text *part) {
    const char *found = rest->size > 0 ? memchr(rest->bytes, delimiter, rest->size) : NULL;
    if (!found) {
        return false;
    }
    *part = (struct text){rest->bytes, (uint32_t)(found - rest->bytes)};
    rest->size -= part->size + 1;
    rest->bytes = found + 1;
    return true;
}

bool text_next(struct text *list, struct text *member) {
    while (list->size > 0) {
        struct text part = *list;
        if (!text_until(list, ',', &part)) {
            list->bytes += list->size;
            list->size = 0;
        }
        *member = text_trim(part);
        if (member->size > 0) {
            return true;
        }
    }
    return false;
}

bool text_is_token(struct text text) {
    for (uint32_t i = 0; i < text.size; i++) {
        if (!char_is_token((uint8_t)text.bytes[i])) {
            return false;
        }
    }
    return text.size > 0;
}

bool char_is_token(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool char_is_blank(uint8_t c) {
    return c == ' ' || c == '\t';
}

int char_to_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
