/* user_line.h: parser of a line of the users file: NAME:ENTRY:MAILDIR. Pure; does not allocate. */
#ifndef BERTH_PLUGINS_POP3_USER_LINE_H
#define BERTH_PLUGINS_POP3_USER_LINE_H

#include "password.h"

enum { USER_NAME_MAX = 128, USER_WORDS_MAX = 256 };

struct user_line {
    const char *name; /* within the line, as the other */
    size_t name_size;
    const char *maildir;
    size_t maildir_size;
    struct password password;
};

/* `size` bytes without the line's end. False: `words` describes the error. */
bool user_line_read(const char *line, size_t size, struct user_line *found,
                    char words[USER_WORDS_MAX]);

/* Whether the line is a comment or empty. */
bool user_line_is_comment(const char *line, size_t size);

#endif
