/* berth-pop3-user: reads a password and prints the corresponding line of the users file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../password.h"
#include "../user_line.h"
#include "console.h"

enum { EXIT_USAGE = 2, PASSWORD_MAX = 248 /* what fits into a command of 255 bytes */ };

static int user_usage(const char *words) {
    fprintf(stderr,
            "berth-pop3-user: %s\n"
            "usage: berth-pop3-user [--apop | --rounds N] NAME MAILDIR\n"
            "Reads a password from standard input and prints the line for the users file:\n"
            "a hash of N rounds (%d), or with --apop the password itself.\n",
            words, PASSWORD_ROUNDS_DEFAULT);
    return EXIT_USAGE;
}

static int user_fail(const char *words) {
    fprintf(stderr, "berth-pop3-user: %s\n", words);
    return EXIT_FAILURE;
}

static bool user_read_rounds(const char *text, uint32_t *rounds) {
    char *end = NULL;
    unsigned long found = text ? strtoul(text, &end, 10) : 0;
    *rounds = (uint32_t)found;
    return found >= PASSWORD_ROUNDS_MIN && found <= PASSWORD_ROUNDS_MAX && *end == '\0';
}

static bool user_is_name(const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == ':') {
            return false;
        }
    }
    return size > 0 && size <= USER_NAME_MAX && name[0] != '#';
}

/* A client's command cannot contain any other password. */
static const char *fault_of(const char *password, bool apop) {
    for (const char *at = password; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            return "a password has no control characters";
        }
        if (apop && *at == ':') {
            return "the secret of APOP has no colon";
        }
    }
    if (password[0] == '\0' || strlen(password) > PASSWORD_MAX) {
        return "a password has 1 to 248 bytes";
    }
    return apop && strlen(password) > PASSWORD_SECRET_MAX
               ? "the secret of APOP has 128 bytes at most"
               : NULL;
}

static int print_line(const char *name, const char *maildir, bool apop, uint32_t rounds) {
    char password[PASSWORD_MAX + 4];
    char entry[PASSWORD_ENTRY_MAX];
    if (!console_read_secret("password: ", password, sizeof(password))) {
        return user_fail("there is no password on standard input");
    }
    const char *fault = fault_of(password, apop);
    if (fault) {
        return user_fail(fault);
    }
    if (apop) {
        printf("%s:{apop}%s:%s\n", name, password, maildir);
    } else if (password_write(password, strlen(password), rounds, entry)) {
        printf("%s:%s:%s\n", name, entry, maildir);
    } else {
        return user_fail("the system's cryptography does not work");
    }
    password_forget(password, sizeof(password));
    return fflush(stdout) == 0 ? EXIT_SUCCESS : user_fail("the line cannot be written");
}

int main(int count, char **given) {
    char **arguments = console_arguments(&count, given);
    bool apop = false;
    uint32_t rounds = PASSWORD_ROUNDS_DEFAULT;
    int at = 1;
    if (at < count && strcmp(arguments[at], "--apop") == 0) {
        apop = true;
        at++;
    } else if (at < count && strcmp(arguments[at], "--rounds") == 0) {
        if (!user_read_rounds(at + 1 < count ? arguments[at + 1] : NULL, &rounds)) {
            return user_usage("--rounds wants a number from 1000 to 10000000");
        }
        at += 2;
    }
    if (count - at != 2) {
        return user_usage("expected a name and a Maildir");
    }
    if (!user_is_name(arguments[at])) {
        return user_usage(
            "a name has 1 to 128 bytes, no spaces and no colon, and does not begin with #");
    }
    if (arguments[at + 1][0] == '\0' || strpbrk(arguments[at + 1], "\r\n")) {
        return user_usage("the Maildir must be a path");
    }
    return print_line(arguments[at], arguments[at + 1], apop, rounds);
}
