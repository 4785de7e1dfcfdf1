#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char files_info_separator(void) {
    return ':';
}

bool files_is_separator(char c) {
    return c == '/';
}

bool files_is_absolute(const char *path) {
    return path[0] == '/';
}

static enum files_status status_of(int error) {
    return error == ENOENT ? FILES_MISSING : FILES_FAILED;
}

FILE *files_open(const char *path, enum files_status *status) {
    FILE *file = fopen(path, "rbe");
    *status = file ? FILES_OK : status_of(errno);
    return file;
}

enum files_status files_remove(const char *path) {
    return unlink(path) == 0 ? FILES_OK : status_of(errno);
}

enum files_status files_make_folder(const char *path) {
    return mkdir(path, 0700) == 0 || errno == EEXIST ? FILES_OK : status_of(errno);
}

/* A link may lead anywhere, and opening a pipe may block for ever: neither is a message. */
static bool is_ordinary(DIR *folder, const struct dirent *entry) {
    struct stat found;
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_REG;
    }
    return fstatat(dirfd(folder), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(found.st_mode);
}

enum files_status files_list(const char *folder, bool (*each)(void *argument, const char *name),
                             void *argument) {
    DIR *open_folder = opendir(folder);
    if (!open_folder) {
        return status_of(errno);
    }
    const struct dirent *entry = NULL;
    for (;;) {
        errno = 0;
        entry = readdir(open_folder);
        if (!entry || (is_ordinary(open_folder, entry) && !each(argument, entry->d_name))) {
            break;
        }
    }
    enum files_status status = !entry && errno != 0 ? FILES_FAILED : FILES_OK;
    closedir(open_folder);
    return status;
}

enum files_status files_lock(const char *path, intptr_t *lock) {
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) {
        return status_of(errno);
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        enum files_status status = errno == EWOULDBLOCK ? FILES_IN_USE : FILES_FAILED;
        close(descriptor);
        return status;
    }
    *lock = descriptor;
    return FILES_OK;
}

void files_unlock(intptr_t lock) {
    close((int)lock); /* the file stays: whoever removed it would let two in */
}
