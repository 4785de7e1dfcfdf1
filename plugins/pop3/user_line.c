#include "user_line.h"

#include <stdio.h>
#include <string.h>

static bool user_line_is_name(const char *name, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f) {
            return false;
        }
    }
    return size > 0 && size <= USER_NAME_MAX;
}

static bool user_line_wrong(char words[USER_WORDS_MAX], const char *what) {
    snprintf(words, USER_WORDS_MAX, "%s", what);
    return false;
}

bool user_line_is_comment(const char *line, size_t size) {
    return size == 0 || line[0] == '#';
}

/* The last part may have colons of its own, as a path on Windows does. */
bool user_line_read(const char *line, size_t size, struct user_line *found,
                    char words[USER_WORDS_MAX]) {
    const char *end = line + size;
    const char *entry = size > 0 ? memchr(line, ':', size) : NULL;
    const char *maildir = entry ? memchr(entry + 1, ':', (size_t)(end - entry - 1)) : NULL;
    if (size > 0 && memchr(line, '\0', size)) {
        return user_line_wrong(words, "there is a zero byte in it");
    }
    if (!maildir || maildir + 1 == end) {
        return user_line_wrong(words,
                               "expected NAME:ENTRY:MAILDIR (berth-pop3-user writes such lines)");
    }
    found->name = line;
    found->name_size = (size_t)(entry - line);
    found->maildir = maildir + 1;
    found->maildir_size = (size_t)(end - maildir - 1);
    if (!user_line_is_name(found->name, found->name_size)) {
        return user_line_wrong(words, "the name must have 1 to 128 bytes, without spaces");
    }
    const char *fault = password_read(entry + 1, (size_t)(maildir - entry - 1), &found->password);
    if (fault) {
        snprintf(words, USER_WORDS_MAX,
                 "the password's entry is no good: %s (berth-pop3-user makes one)", fault);
    }
    return !fault;
}
