#include "chat/line.h"

#include <stddef.h>
#include <string.h>

#include "common/utf8.h"

enum argument { TAKES_NOTHING, TAKES_NAME, MAY_TAKE_NAME, TAKES_NAME_AND_TEXT };

static const struct {
    const char *word;
    enum line_kind kind;
    enum argument argument;
} commands[] = {
    {"help", LINE_HELP, TAKES_NOTHING},   {"join", LINE_JOIN, TAKES_NAME},
    {"leave", LINE_LEAVE, TAKES_NOTHING}, {"msg", LINE_MSG, TAKES_NAME_AND_TEXT},
    {"nick", LINE_NICK, TAKES_NAME},      {"ping", LINE_PING, TAKES_NOTHING},
    {"quit", LINE_QUIT, TAKES_NOTHING},   {"rooms", LINE_ROOMS, TAKES_NOTHING},
    {"who", LINE_WHO, MAY_TAKE_NAME},
};

bool line_is_name(const char *bytes, uint32_t size, uint32_t max) {
    for (uint32_t i = 0; i < size; i++) {
        char c = bytes[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) {
            return false;
        }
    }
    return size > 0 && size <= max;
}

static void skip_spaces(struct span *rest) {
    while (rest->size > 0 && rest->bytes[0] == ' ') {
        rest->bytes++;
        rest->size--;
    }
}

/* Takes the word before the next space, and the spaces after it. */
static struct span line_take_word(struct span *rest) {
    struct span word = {rest->bytes, 0};
    while (word.size < rest->size && word.bytes[word.size] != ' ') {
        word.size++;
    }
    rest->bytes += word.size;
    rest->size -= word.size;
    skip_spaces(rest);
    return word;
}

static enum line_kind line_read_arguments(struct line *line, enum argument argument,
                                          struct span rest, uint32_t name_max) {
    if (argument != TAKES_NOTHING && rest.size > 0) {
        line->name = line_take_word(&rest);
        if (!line_is_name(line->name.bytes, line->name.size, name_max)) {
            return LINE_BAD_NAME;
        }
    } else if (argument == TAKES_NAME || argument == TAKES_NAME_AND_TEXT) {
        return LINE_MISSING;
    }
    if (argument == TAKES_NAME_AND_TEXT) {
        line->text = rest;
        return rest.size > 0 ? line->kind : LINE_MISSING;
    }
    return rest.size > 0 ? LINE_SURPLUS : line->kind;
}

static struct line read_command(struct span rest, uint32_t name_max) {
    struct line line = {.kind = LINE_UNKNOWN};
    struct span word = line_take_word(&rest);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strlen(commands[i].word) == word.size &&
            memcmp(commands[i].word, word.bytes, word.size) == 0) {
            line.kind = commands[i].kind;
            line.kind = line_read_arguments(&line, commands[i].argument, rest, name_max);
            break;
        }
    }
    return line;
}

/* Whether no character can make one line look like two, or like another. */
static bool line_is_text(const uint8_t *bytes, uint32_t size) {
    uint32_t at = 0;
    while (at < size) {
        uint32_t character = 0;
        uint32_t length = utf8_read(bytes + at, size - at, &character);
        if (length == 0 || utf8_is_control(character) || utf8_is_layout(character)) {
            return false;
        }
        at += length;
    }
    return true;
}

struct line line_read(const uint8_t *bytes, uint32_t size, uint32_t name_max) {
    struct span rest = {(const char *)bytes, size};
    if (size > 0 && bytes[size - 1] == '\r') {
        rest.size--;
    }
    if (!line_is_text(bytes, rest.size)) {
        return (struct line){.kind = LINE_NOT_TEXT};
    }
    struct span begin = rest;
    skip_spaces(&begin);
    if (begin.size == 0) {
        return (struct line){.kind = LINE_EMPTY};
    }
    bool is_command = rest.bytes[0] == '/' && !(rest.size > 1 && rest.bytes[1] == '/');
    uint32_t skipped = rest.bytes[0] == '/' ? 1 : 0; /* "//x" says "/x" */
    rest.bytes += skipped;
    rest.size -= skipped;
    return is_command ? read_command(rest, name_max)
                      : (struct line){.kind = LINE_SAY, .text = rest};
}
