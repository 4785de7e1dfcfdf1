#include "users.h"

#include <stdlib.h>
#include <string.h>

#include "files.h"

enum { LINE_MAX_BYTES = 4096, USERS_MAX = 100000 };

struct reading {
    struct users *users;
    const char *path;
    size_t folder_size; /* of the path, with its separator */
    unsigned line;
    struct berth_error *error;
};

static int32_t wrong(const struct reading *reading, const char *words) {
    return berth_error_set(reading->error, BERTH_E_INVALID, "/users: %s:%u: %s", reading->path,
                           reading->line, words);
}

static int32_t no_memory(const struct reading *reading) {
    return berth_error_set(reading->error, BERTH_E_NO_MEMORY, "out of memory");
}

static bool is_name(const char *name, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f) {
            return false;
        }
    }
    return size > 0 && size <= USER_NAME_MAX;
}

static char *copy_of(const char *folder, size_t folder_size, const char *text, size_t size) {
    char *copy = malloc(folder_size + size + 1);
    if (copy) {
        memcpy(copy, folder, folder_size);
        memcpy(copy + folder_size, text, size);
        copy[folder_size + size] = '\0';
    }
    return copy;
}

static struct user *append(const struct reading *reading) {
    struct users *users = reading->users;
    if ((users->count & (users->count - 1)) == 0) { /* full: 0, 1, 2, 4, … */
        size_t room = users->count > 0 ? (size_t)users->count * 2 : 1;
        struct user *items = realloc(users->items, room * sizeof(*items));
        if (!items) {
            return NULL;
        }
        users->items = items;
    }
    struct user *user = &users->items[users->count++];
    memset(user, 0, sizeof(*user));
    return user;
}

/* name:entry:maildir; the last may have colons of its own, as a path on Windows does. */
static int32_t add_user(const struct reading *reading, const char *line) {
    const char *entry = strchr(line, ':');
    const char *maildir = entry ? strchr(entry + 1, ':') : NULL;
    if (!maildir || maildir[1] == '\0') {
        return wrong(reading, "expected NAME:ENTRY:MAILDIR (berth-pop3-user writes such lines)");
    }
    if (!is_name(line, (size_t)(entry - line))) {
        return wrong(reading, "the name must have 1 to 128 bytes, without spaces");
    }
    struct user *user = reading->users->count < USERS_MAX ? append(reading) : NULL;
    if (!user) {
        return reading->users->count < USERS_MAX ? no_memory(reading)
                                                 : wrong(reading, "more than 100000 users");
    }
    const char *fault = password_read(entry + 1, (size_t)(maildir - entry - 1), &user->password);
    if (fault) {
        char words[256];
        snprintf(words, sizeof(words),
                 "the password's entry is no good: %s (berth-pop3-user makes one)", fault);
        return wrong(reading, words);
    }
    user->name = copy_of(line, 0, line, (size_t)(entry - line));
    user->maildir =
        copy_of(reading->path, files_is_absolute(maildir + 1) ? 0 : reading->folder_size,
                maildir + 1, strlen(maildir + 1));
    return user->name && user->maildir ? BERTH_OK : no_memory(reading);
}

static int32_t read_lines(struct reading *reading, FILE *file) {
    char line[LINE_MAX_BYTES];
    int32_t status = BERTH_OK;
    while (status == BERTH_OK && fgets(line, sizeof(line), file)) {
        reading->line++;
        size_t size = strcspn(line, "\r\n");
        if (line[size] == '\0' && !feof(file)) {
            return wrong(reading, "a line is longer than 4094 bytes, or has a zero byte in it");
        }
        line[size] = '\0';
        if (size > 0 && line[0] != '#') {
            status = add_user(reading, line);
        }
        password_forget(line, sizeof(line));
    }
    if (status == BERTH_OK && ferror(file)) {
        return wrong(reading, "the file cannot be read");
    }
    return status;
}

static int by_name(const void *one, const void *other) {
    return strcmp(((const struct user *)one)->name, ((const struct user *)other)->name);
}

static int32_t put_in_order(const struct reading *reading) {
    struct users *users = reading->users;
    users->rounds_max = 0;
    if (users->count > 1) {
        qsort(users->items, users->count, sizeof(*users->items), by_name);
    }
    for (uint32_t i = 0; i < users->count; i++) {
        const struct user *user = &users->items[i];
        if (i > 0 && strcmp(user->name, user[-1].name) == 0) {
            return berth_error_set(reading->error, BERTH_E_INVALID,
                                   "/users: %s: \"%s\" is there twice; remove one of the lines",
                                   reading->path, user->name);
        }
        users->has_secrets |= user->password.secret_size > 0;
        if (user->password.rounds > users->rounds_max) {
            users->rounds_max = user->password.rounds;
        }
    }
    if (users->rounds_max == 0) {
        users->rounds_max = PASSWORD_ROUNDS_DEFAULT;
    }
    return BERTH_OK;
}

struct users *users_read(const char *path, struct berth_error *error) {
    enum files_status status;
    FILE *file = files_open(path, &status);
    if (!file) {
        berth_error_set(error, BERTH_E_INVALID,
                        "/users: %s %s; a path that is not absolute begins in the folder that the "
                        "host was started in",
                        path, status == FILES_MISSING ? "does not exist" : "cannot be read");
        return NULL;
    }
    struct users *users = calloc(1, sizeof(*users));
    struct reading reading = {.users = users, .path = path, .error = error};
    for (size_t i = 0; path[i] != '\0'; i++) {
        reading.folder_size = files_is_separator(path[i]) ? i + 1 : reading.folder_size;
    }
    int32_t read = users ? read_lines(&reading, file) : no_memory(&reading);
    fclose(file);
    if (users && read == BERTH_OK && put_in_order(&reading) == BERTH_OK) {
        return users;
    }
    users_destroy(users);
    return NULL;
}

void users_destroy(struct users *users) {
    if (!users) {
        return;
    }
    for (uint32_t i = 0; i < users->count; i++) {
        free(users->items[i].name);
        free(users->items[i].maildir);
    }
    if (users->items) {
        password_forget(users->items, users->count * sizeof(*users->items));
    }
    free(users->items);
    free(users);
}

static int compare_name(const void *name, const void *user) {
    return strcmp(name, ((const struct user *)user)->name);
}

const struct user *users_find(const struct users *users, const char *name) {
    if (users->count == 0) {
        return NULL;
    }
    return bsearch(name, users->items, users->count, sizeof(*users->items), compare_name);
}
