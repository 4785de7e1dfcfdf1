/* line.h: the parser of a client's line.
 *
 * A pure function of its bytes, for the plugin and its fuzz target. Threads: any. */
#ifndef BERTH_PLUGINS_CHAT_LINE_H
#define BERTH_PLUGINS_CHAT_LINE_H

#include <stdbool.h>
#include <stdint.h>

enum { NAME_BYTES_MAX = 32 };

enum line_kind {
    LINE_EMPTY, /* nothing, or spaces only */
    LINE_SAY,   /* text */
    LINE_HELP,
    LINE_JOIN, /* name */
    LINE_LEAVE,
    LINE_MSG,  /* name, text */
    LINE_NICK, /* name */
    LINE_PING,
    LINE_QUIT,
    LINE_ROOMS,
    LINE_WHO, /* name, or none */
    /* What is wrong with it. */
    LINE_NOT_TEXT, /* not UTF-8, or with characters that control its display */
    LINE_UNKNOWN,  /* there is no such command */
    LINE_BAD_NAME, /* of a person or a room */
    LINE_MISSING,  /* a name or a text */
    LINE_SURPLUS,  /* words that the command does not take */
};

struct span {
    const char *bytes; /* within the line, not terminated; NULL: none */
    uint32_t size;
};

struct line {
    enum line_kind kind;
    struct span name;
    struct span text; /* never empty where there is one */
};

/* `size` bytes without the LF; a CR at the end is none of them. A name has at most name_max bytes,
 * which is no more than NAME_BYTES_MAX. */
struct line line_read(const uint8_t *bytes, uint32_t size, uint32_t name_max);

/* 1 to `max` of a-z, 0-9, - and _: no two that look alike are different. */
bool line_is_name(const char *bytes, uint32_t size, uint32_t max);

#endif
