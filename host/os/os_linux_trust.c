/* os_linux_trust.c: who can change a file whose code this process is to run.
 *
 * A user that can write the file, or any folder on its path, decides what the process runs. So each
 * entry of the path, symbolic links included, must belong to root or to the process's effective
 * user, and no other user may write it. In a folder with the sticky bit others may add names, but
 * not replace an entry of another user, and each entry's owner is checked. A group counts as others
 * unless it is root's or the process's own; an access list with more entries than the mode is
 * reflected in the group's bits, and counts as others, too.
 *
 * The file itself is checked by its open descriptor, and the copy is made from that descriptor. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "os/os_linux_private.h"
#include "os/os_private.h"

enum { LINKS_MAX = 40 };

static bool linux_trust_is_own(uid_t user) {
    return user == 0 || user == geteuid();
}

static bool check_owner(const char *path, const struct stat *status, struct error *error) {
    if (linux_trust_is_own(status->st_uid)) {
        return true;
    }
    if (geteuid() == 0) {
        return error_set(error, "%s belongs to user %u, who is not root: chown it to root", path,
                         (unsigned)status->st_uid);
    }
    return error_set(error,
                     "%s belongs to user %u, who is neither root nor the user of this host (%u): "
                     "chown it to one of them",
                     path, (unsigned)status->st_uid, (unsigned)geteuid());
}

/* An access list beyond the mode's three entries. */
static bool has_access_list(const char *path, int fd) {
    const char *name = "system.posix_acl_access";
    return (fd < 0 ? getxattr(path, name, NULL, 0) : fgetxattr(fd, name, NULL, 0)) > 0;
}

static bool check_mode(const char *path, const struct stat *status, int fd, struct error *error) {
    unsigned mode = status->st_mode & 07777;
    bool folder = S_ISDIR(status->st_mode);
    if (folder && (mode & S_ISVTX) != 0) {
        return true;
    }
    const char *sticky = folder ? " and is not sticky" : "";
    if ((mode & S_IWOTH) != 0) {
        return error_set(error, "%s can be written by every user%s (mode %04o): chmod o-w it", path,
                         sticky, mode);
    }
    if ((mode & S_IWGRP) == 0) {
        return true;
    }
    if (status->st_gid != 0 && status->st_gid != getegid()) {
        return error_set(error, "%s can be written by group %u%s (mode %04o): chmod g-w it", path,
                         (unsigned)status->st_gid, sticky, mode);
    }
    return !has_access_list(path, fd) ||
           error_set(error, "%s can be written by others%s: its access list says so (getfacl)",
                     path, sticky);
}

static bool check_entry(const char *path, const struct stat *status, int fd, struct error *error) {
    return check_owner(path, status, error) &&
           (S_ISLNK(status->st_mode) || check_mode(path, status, fd, error));
}

/* The path to a file, a name at a time: `done` has been checked, `rest` has not. */
struct path_walk {
    char done[OS_PATH_MAX];
    char rest[2 * OS_PATH_MAX];
    unsigned links;
};

static bool set_text(char *text, size_t size, const char *from, struct error *error) {
    int length = snprintf(text, size, "%s", from);
    return (length >= 0 && (size_t)length < size) || error_set(error, "the path is too long");
}

static bool start_walk(struct path_walk *walk, const char *path, struct error *error) {
    char here[OS_PATH_MAX];
    char all[OS_PATH_MAX];
    walk->links = 0;
    snprintf(walk->done, sizeof(walk->done), "/");
    if (path[0] != '/' && !getcwd(here, sizeof(here))) {
        return error_set(error, "the current folder: %s", strerror(errno));
    }
    bool fits = path[0] == '/' ? set_text(all, sizeof(all), path, error)
                               : os_path_join(all, sizeof(all), here, path);
    return fits ? set_text(walk->rest, sizeof(walk->rest), all, error)
                : error_set(error, "the path is too long");
}

/* Removes the next name from the path; false: there is none. */
static bool next_name(struct path_walk *walk, char *name, size_t size) {
    const char *at = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(at, "/");
    if (length == 0) {
        return false;
    }
    snprintf(name, size, "%.*s", (int)length, at);
    memmove(walk->rest, at + length, strlen(at + length) + 1);
    return true;
}

/* The target of a symbolic link replaces it in the rest of the path. */
static bool follow_link(struct path_walk *walk, const char *link, struct error *error) {
    char target[OS_PATH_MAX];
    char rest[sizeof(walk->rest)];
    ssize_t length = readlink(link, target, sizeof(target) - 1);
    if (length < 0) {
        return error_set(error, "%s: %s", link, strerror(errno));
    }
    target[length] = '\0';
    int written = snprintf(rest, sizeof(rest), "%s%s", target, walk->rest);
    if (written < 0 || (size_t)written >= sizeof(rest) || ++walk->links > LINKS_MAX) {
        return error_set(error, "%s: %s", link, strerror(ELOOP));
    }
    memcpy(walk->rest, rest, (size_t)written + 1);
    if (target[0] == '/') {
        snprintf(walk->done, sizeof(walk->done), "/");
    }
    return true;
}

/* The entry after `done`. `*last` becomes its status. */
static bool take_step(struct path_walk *walk, const char *name, struct stat *last,
                      struct error *error) {
    char next[OS_PATH_MAX];
    if (strcmp(name, ".") == 0) {
        return true;
    }
    if (strcmp(name, "..") == 0) {
        return os_path_folder(next, sizeof(next), walk->done) &&
               set_text(walk->done, sizeof(walk->done), next, error);
    }
    if (!os_path_join(next, sizeof(next), walk->done, name)) {
        return error_set(error, "the path is too long");
    }
    if (lstat(next, last) != 0) {
        return error_set(error, "%s: %s", next, strerror(errno));
    }
    /* The end of the path is the file, which is checked by its open descriptor. */
    if ((S_ISLNK(last->st_mode) || S_ISDIR(last->st_mode)) && !check_entry(next, last, -1, error)) {
        return false;
    }
    return S_ISLNK(last->st_mode) ? follow_link(walk, next, error)
                                  : set_text(walk->done, sizeof(walk->done), next, error);
}

/* `*last` becomes the status of what the path leads to. */
static bool walk_path(const char *path, struct stat *last, struct error *error) {
    struct path_walk walk;
    char name[NAME_MAX + 1];
    if (!start_walk(&walk, path, error)) {
        return false;
    }
    if (lstat("/", last) != 0) {
        return error_set(error, "/: %s", strerror(errno));
    }
    bool good = check_entry("/", last, -1, error);
    while (good && next_name(&walk, name, sizeof(name))) {
        good = take_step(&walk, name, last, error);
    }
    return good;
}

bool linux_folder_is_trusted(const char *path, struct error *error) {
    struct stat last;
    return walk_path(path, &last, error) &&
           (S_ISDIR(last.st_mode) || error_set(error, "%s is not a folder", path));
}

bool os_file_is_trusted(const struct os_file *file, const char *path, struct error *error) {
    int fd = (int)file->handle;
    struct stat opened;
    struct stat found;
    if (fstat(fd, &opened) != 0) {
        return error_set(error, "%s: %s", path, strerror(errno));
    }
    if (!walk_path(path, &found, error)) {
        return false;
    }
    if (found.st_dev != opened.st_dev || found.st_ino != opened.st_ino) {
        return error_set(error, "%s was replaced while it was looked at: try again", path);
    }
    return check_entry(path, &opened, fd, error);
}
