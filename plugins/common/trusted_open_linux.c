#include "common/trusted_open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40, FILE_MODE = 0666 };

static int trusted_open_refuse(int descriptor, int error) {
    if (descriptor >= 0) {
        close(descriptor);
    }
    errno = error;
    return -1;
}

int trusted_open_in(int folder, const char *name, int flags) {
    struct stat found;
    int descriptor =
        openat(folder, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, FILE_MODE);
    if (descriptor < 0) {
        return -1;
    }
    if (fstat(descriptor, &found) != 0) {
        return trusted_open_refuse(descriptor, errno);
    }
    if (!S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) {
        return trusted_open_refuse(descriptor, ENXIO);
    }
    return descriptor;
}

/* The state of a path's resolution: the rest of the path, and the folder that it is relative to. */
struct walk {
    int folder;
    int links;
    char rest[PATH_MAX];
};

static bool walk_enter(struct walk *walk, const char *name) {
    int next = openat(walk->folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (next < 0) {
        return false;
    }
    close(walk->folder);
    walk->folder = next;
    return true;
}

static bool walk_begin(struct walk *walk, const char *path) {
    walk->folder = open(path[0] == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (walk->folder >= 0 && strlen(path) >= sizeof(walk->rest)) {
        trusted_open_refuse(walk->folder, ENAMETOOLONG);
        return false;
    }
    snprintf(walk->rest, sizeof(walk->rest), "%s", path);
    return walk->folder >= 0;
}

/* Prepends the link's target to the rest. False with errno: the link is not followed. */
static bool walk_follow(struct walk *walk, const char *name) {
    char path[PATH_MAX];
    struct stat link;
    if (fstatat(walk->folder, name, &link, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    bool is_trusted = link.st_uid == 0 || link.st_uid == geteuid();
    if (!S_ISLNK(link.st_mode) || !is_trusted || ++walk->links > LINKS_MAX) {
        errno = S_ISLNK(link.st_mode) ? ELOOP : ENOTDIR;
        return false;
    }
    ssize_t size = readlinkat(walk->folder, name, path, sizeof(path));
    size_t rest = strlen(walk->rest);
    if (size < 0 || (size_t)size + rest + 2 > sizeof(path)) {
        errno = size < 0 ? errno : ENAMETOOLONG;
        return false;
    }
    path[size] = '/';
    memcpy(path + size + (rest > 0 ? 1 : 0), walk->rest, rest + 1);
    memcpy(walk->rest, path, sizeof(path));
    if (walk->rest[0] != '/') {
        return true;
    }
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root >= 0) {
        close(walk->folder);
        walk->folder = root;
    }
    return root >= 0;
}

/* Removes the next component; "" at the end. */
static void walk_next(struct walk *walk, char name[NAME_MAX + 2]) {
    const char *begin = walk->rest + strspn(walk->rest, "/");
    size_t length = strcspn(begin, "/");
    size_t cut = length < NAME_MAX + 1 ? length : NAME_MAX + 1; /* one too long is refused later */
    memcpy(name, begin, cut);
    name[cut] = '\0';
    begin += length;
    begin += strspn(begin, "/");
    memmove(walk->rest, begin, strlen(begin) + 1);
}

static int walk_finish(const struct walk *walk, int descriptor) {
    int error = errno;
    close(walk->folder);
    errno = error;
    return descriptor;
}

int trusted_open(const char *path, int flags, bool follows_last) {
    struct walk walk = {.folder = -1};
    char name[NAME_MAX + 2];
    if (!walk_begin(&walk, path)) {
        return -1;
    }
    for (;;) {
        walk_next(&walk, name);
        if (walk.rest[0] == '\0') {
            int opened = trusted_open_in(walk.folder, name[0] != '\0' ? name : ".", flags);
            /* With O_DIRECTORY, a link fails with ENOTDIR. */
            bool may_be_link = errno == ELOOP || errno == ENOTDIR;
            if (opened >= 0 || !may_be_link || !follows_last || !walk_follow(&walk, name)) {
                return walk_finish(&walk, opened);
            }
        } else if (!walk_enter(&walk, name) &&
                   ((errno != ELOOP && errno != ENOTDIR) || !walk_follow(&walk, name))) {
            return walk_finish(&walk, -1);
        }
    }
}
