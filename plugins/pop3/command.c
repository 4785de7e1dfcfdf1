#include "command.h"

#include <stdbool.h>
#include <string.h>

enum arguments {
    NONE,
    TEXT,            /* all of the rest, spaces too */
    NAME,            /* a word */
    NAME_AND_DIGEST, /* two words */
    NUMBER,
    PERHAPS_NUMBER,
    TWO_NUMBERS,
};

static const struct {
    char name[5];
    enum command_kind kind;
    enum arguments arguments;
} commands[] = {
    {"APOP", COMMAND_APOP, NAME_AND_DIGEST},
    {"CAPA", COMMAND_CAPA, NONE},
    {"DELE", COMMAND_DELE, NUMBER},
    {"LIST", COMMAND_LIST, PERHAPS_NUMBER},
    {"NOOP", COMMAND_NOOP, NONE},
    {"PASS", COMMAND_PASS, TEXT},
    {"QUIT", COMMAND_QUIT, NONE},
    {"RETR", COMMAND_RETR, NUMBER},
    {"RSET", COMMAND_RSET, NONE},
    {"STAT", COMMAND_STAT, NONE},
    {"TOP", COMMAND_TOP, TWO_NUMBERS},
    {"UIDL", COMMAND_UIDL, PERHAPS_NUMBER},
    {"USER", COMMAND_USER, NAME},
};

static uint32_t word_size(const uint8_t *bytes, uint32_t size) {
    const uint8_t *space = memchr(bytes, ' ', size);
    return space ? (uint32_t)(space - bytes) : size;
}

static bool command_is_named(const uint8_t *word, uint32_t size, const char *name) {
    for (uint32_t i = 0; i < size; i++) {
        uint8_t c = word[i] >= 'a' && word[i] <= 'z' ? (uint8_t)(word[i] - 'a' + 'A') : word[i];
        if (name[i] == '\0' || c != (uint8_t)name[i]) {
            return false;
        }
    }
    return name[size] == '\0';
}

static bool command_read_number(const uint8_t *word, uint32_t size, uint32_t *number) {
    uint64_t found = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (word[i] < '0' || word[i] > '9') {
            return false;
        }
        found = found * 10 + (uint64_t)(word[i] - '0');
        found = found < UINT32_MAX ? found : UINT32_MAX;
    }
    *number = (uint32_t)found;
    return size > 0;
}

static bool read_numbers(const uint8_t *rest, uint32_t size, struct command *command) {
    uint32_t first = word_size(rest, size);
    if (!command_read_number(rest, first, &command->number)) {
        return false;
    }
    command->count = 1;
    if (first < size) {
        command->count = 2;
        return command_read_number(rest + first + 1, size - first - 1, &command->lines);
    }
    return true;
}

/* What follows the command's name and one space, at line + at. */
static bool command_read_arguments(enum arguments wanted, const uint8_t *line, uint32_t at,
                                   uint32_t size, struct command *command) {
    uint32_t first = word_size(line + at, size);
    command->text_at = at;
    command->text_size = wanted == NAME_AND_DIGEST ? first : size;
    switch (wanted) {
    case NONE:
        return size == 0;
    case TEXT:
        return true;
    case NAME:
        return size > 0 && first == size;
    case NAME_AND_DIGEST:
        if (first < size) {
            command->digest_at = at + first + 1;
            command->digest_size = size - first - 1;
        }
        return first > 0 && command->digest_size > 0;
    case NUMBER:
        return read_numbers(line + at, size, command) && command->count == 1;
    case PERHAPS_NUMBER:
        return size == 0 || (read_numbers(line + at, size, command) && command->count == 1);
    case TWO_NUMBERS:
        break;
    }
    return read_numbers(line + at, size, command) && command->count == 2;
}

static void command_read_line(const uint8_t *line, uint32_t size, struct command *command) {
    command->kind = COMMAND_UNKNOWN;
    for (uint32_t i = 0; i < size; i++) {
        if (line[i] < 0x20 || line[i] == 0x7f) {
            return;
        }
    }
    uint32_t name = word_size(line, size);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (command_is_named(line, name, commands[i].name)) {
            uint32_t at = name < size ? name + 1 : size;
            while (commands[i].arguments != TEXT && size > at && line[size - 1] == ' ') {
                size--; /* some clients end a line with a space */
            }
            command->kind =
                command_read_arguments(commands[i].arguments, line, at, size - at, command)
                    ? commands[i].kind
                    : COMMAND_ARGUMENTS;
            return;
        }
    }
}

enum command_verdict command_read(const uint8_t *bytes, uint32_t size, struct command *command) {
    uint32_t end = size < COMMAND_BYTES_MAX ? size : COMMAND_BYTES_MAX;
    const uint8_t *newline = end > 0 ? memchr(bytes, '\n', end) : NULL;
    memset(command, 0, sizeof(*command));
    if (!newline) {
        return size < COMMAND_BYTES_MAX ? COMMAND_PART : COMMAND_TOO_LONG;
    }
    uint32_t length = (uint32_t)(newline - bytes);
    command->size = length + 1;
    if (length > 0 && bytes[length - 1] == '\r') {
        length--;
    }
    command_read_line(bytes, length, command);
    return COMMAND_WHOLE;
}
