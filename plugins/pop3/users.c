#include "users.h"

#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "user_line.h"

enum { LINE_MAX_BYTES = 4096, USERS_MAX = 100000 };

struct reading {
    struct users *users;
    const char *path;
    size_t folder_size; /* of the path, with its separator */
    unsigned line;
    struct berth_error *error;
};

static int32_t users_wrong(const struct reading *reading, const char *words) {
    return berth_error_set(reading->error, BERTH_E_INVALID, "/users: %s:%u: %s", reading->path,
                           reading->line, words);
}

static int32_t users_no_memory(const struct reading *reading) {
    return berth_error_set(reading->error, BERTH_E_NO_MEMORY, "out of memory");
}

static char *users_copy_of(const char *folder, size_t folder_size, const char *text, size_t size) {
    char *copy = malloc(folder_size + size + 1);
    if (copy) {
        memcpy(copy, folder, folder_size);
        memcpy(copy + folder_size, text, size);
        copy[folder_size + size] = '\0';
    }
    return copy;
}

static struct user *users_append(const struct reading *reading) {
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

static int32_t add_user(const struct reading *reading, const char *line, size_t size) {
    struct user_line found;
    char words[USER_WORDS_MAX];
    if (!user_line_read(line, size, &found, words)) {
        return users_wrong(reading, words);
    }
    struct user *user = reading->users->count < USERS_MAX ? users_append(reading) : NULL;
    if (!user) {
        return reading->users->count < USERS_MAX ? users_no_memory(reading)
                                                 : users_wrong(reading, "more than 100000 users");
    }
    user->password = found.password;
    password_forget(&found.password, sizeof(found.password));
    user->name = users_copy_of("", 0, found.name, found.name_size);
    user->maildir =
        users_copy_of(reading->path, files_is_absolute(found.maildir) ? 0 : reading->folder_size,
                      found.maildir, found.maildir_size);
    return user->name && user->maildir ? BERTH_OK : users_no_memory(reading);
}

/* Its bytes up to LF, CR LF or the end of the file; -1: it has more than LINE_MAX_BYTES. */
static long users_read_line(FILE *file, char line[LINE_MAX_BYTES]) {
    long size = 0;
    int c;
    while ((c = getc(file)) != EOF && c != '\n') {
        if (size == LINE_MAX_BYTES) {
            return -1;
        }
        line[size++] = (char)c;
    }
    return size > 0 && line[size - 1] == '\r' ? size - 1 : size;
}

/* Skips the byte order mark that Windows editors write before UTF-8. */
static void skip_mark(FILE *file) {
    static const char mark[] = "\xef\xbb\xbf";
    char bytes[sizeof(mark)] = "";
    if (fread(bytes, 1, 3, file) != 3 || memcmp(bytes, mark, 3) != 0) {
        rewind(file);
    }
}

static int32_t users_read_lines(struct reading *reading, FILE *file) {
    char line[LINE_MAX_BYTES + 1];
    int32_t status = BERTH_OK;
    skip_mark(file);
    while (status == BERTH_OK && !feof(file) && !ferror(file)) {
        long size = users_read_line(file, line);
        reading->line++;
        if (size < 0) {
            status = users_wrong(reading, "a line is longer than 4096 bytes");
        } else if (!user_line_is_comment(line, (size_t)size)) {
            line[size] = '\0';
            status = add_user(reading, line, (size_t)size);
        }
        password_forget(line, sizeof(line));
    }
    if (status == BERTH_OK && ferror(file)) {
        return users_wrong(reading, "the file cannot be read");
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
        users->secrets += user->password.secret_size > 0 ? 1 : 0;
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
                        path,
                        status == FILES_MISSING   ? "does not exist"
                        : status == FILES_FOREIGN ? "cannot be read: it is no regular file, or "
                                                    "reached by a link of another user"
                                                  : "cannot be read");
        return NULL;
    }
    char buffer[BUFSIZ]; /* own buffer: the library's would keep the file's secrets in memory */
    setvbuf(file, buffer, _IOFBF, sizeof(buffer));
    struct users *users = calloc(1, sizeof(*users));
    struct reading reading = {.users = users, .path = path, .error = error};
    for (size_t i = 0; path[i] != '\0'; i++) {
        reading.folder_size = files_is_separator(path[i]) ? i + 1 : reading.folder_size;
    }
    int32_t read = users ? users_read_lines(&reading, file) : users_no_memory(&reading);
    fclose(file);
    password_forget(buffer, sizeof(buffer));
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
