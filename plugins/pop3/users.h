/* users.h: the users, read from the users file:
 *
 *     # comments, and empty lines
 *     NAME:ENTRY:MAILDIR
 *
 * ENTRY as in password.h. A relative MAILDIR is relative to the file's folder. The file may begin
 * with a byte order mark. Read once, when the listener opens, and unchanged from then on: threads
 * any. */
#ifndef BERTH_PLUGINS_POP3_USERS_H
#define BERTH_PLUGINS_POP3_USERS_H

#include <berth/status.h>

#include "password.h"

struct user {
    char *name;
    char *maildir;
    struct password password;
};

struct users {
    struct user *items; /* by name */
    uint32_t count;
    uint32_t rounds_max; /* of all entries */
    uint32_t secrets;    /* how many may use APOP */
};

/* NULL with the error set on failure. May block. */
struct users *users_read(const char *path, struct berth_error *error);
void users_destroy(struct users *users);

/* NULL: no such user. */
const struct user *users_find(const struct users *users, const char *name);

#endif
