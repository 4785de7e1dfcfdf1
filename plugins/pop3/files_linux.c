/* Names are opened one at a time, relative to an open folder and with O_NOFOLLOW: what
 * openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) does, on every kernel and under every seccomp
 * filter. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/trusted_open.h"

enum { FOLDER_FLAGS = O_RDONLY | O_DIRECTORY };

char files_info_separator(void) {
    return ':';
}

bool files_is_separator(char c) {
    return c == '/';
}

bool files_is_absolute(const char *path) {
    return path[0] == '/';
}

static enum files_status files_status_of(int error) {
    switch (error) {
    case ENOENT:
        return FILES_MISSING;
    case ELOOP:   /* a link */
    case ENXIO:   /* a FIFO, a device, a socket */
    case ENOTDIR: /* a link, or a file, where a folder should be */
    case EISDIR:
        return FILES_FOREIGN;
    default:
        return FILES_FAILED;
    }
}

static FILE *files_reading(int descriptor, enum files_status *status) {
    struct stat found;
    FILE *file = NULL;
    if (fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode)) {
        file = fdopen(descriptor, "rb");
        *status = file ? FILES_OK : FILES_FAILED;
    } else {
        *status = FILES_FOREIGN;
    }
    if (!file) {
        close(descriptor);
    }
    return file;
}

FILE *files_open(const char *path, enum files_status *status) {
    int descriptor = trusted_open(path, O_RDONLY, true);
    *status = descriptor < 0 ? files_status_of(errno) : FILES_OK;
    return descriptor < 0 ? NULL : files_reading(descriptor, status);
}

/* -- folders --------------------------------------------------------------- */

enum files_status files_folder_open(const char *path, struct files_folder *folder) {
    struct stat found;
    int descriptor = trusted_open(path, FOLDER_FLAGS, false);
    if (descriptor < 0) {
        return files_status_of(errno);
    }
    if (fstat(descriptor, &found) != 0) {
        close(descriptor);
        return FILES_FAILED;
    }
    *folder = (struct files_folder){descriptor, found.st_uid, found.st_gid};
    return FILES_OK;
}

/* Gives a created file to the mailbox's owner, if the host may change the owner. */
static void give_away(int descriptor, const struct files_folder *folder) {
    if (geteuid() == 0 && folder->owner != 0 &&
        fchown(descriptor, (uid_t)folder->owner, (gid_t)folder->group) != 0) {
        return; /* then the host's user is its owner, which is accepted, too */
    }
}

enum files_status files_folder_enter(const struct files_folder *parent, const char *name,
                                     struct files_folder *folder) {
    struct stat found;
    bool made = mkdirat((int)parent->handle, name, 0700) == 0;
    if (!made && errno != EEXIST) {
        return files_status_of(errno);
    }
    int descriptor = trusted_open_in((int)parent->handle, name, FOLDER_FLAGS);
    if (descriptor < 0) {
        return files_status_of(errno);
    }
    if (fstat(descriptor, &found) != 0 ||
        (found.st_uid != parent->owner && found.st_uid != geteuid())) {
        close(descriptor);
        return FILES_FOREIGN;
    }
    if (made) {
        give_away(descriptor, parent);
    }
    *folder = *parent;
    folder->handle = descriptor;
    return FILES_OK;
}

void files_folder_close(struct files_folder *folder) {
    close((int)folder->handle);
}

/* -- what is in them ------------------------------------------------------- */

static bool is_ordinary(DIR *folder, const struct dirent *entry) {
    struct stat found;
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_REG;
    }
    return fstatat(dirfd(folder), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(found.st_mode);
}

enum files_status files_list(const struct files_folder *folder,
                             bool (*each)(void *argument, const char *name), void *argument) {
    int descriptor = trusted_open_in((int)folder->handle, ".", FOLDER_FLAGS);
    DIR *open_folder = descriptor >= 0 ? fdopendir(descriptor) : NULL;
    if (!open_folder) {
        enum files_status status = files_status_of(errno);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return status;
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

FILE *files_read(const struct files_folder *folder, const char *name, enum files_status *status) {
    struct stat found;
    int descriptor = trusted_open_in((int)folder->handle, name, O_RDONLY);
    if (descriptor < 0) {
        *status = files_status_of(errno);
        return NULL;
    }
    /* A hard link to another user's file has that user as owner. */
    if (fstat(descriptor, &found) != 0 || found.st_uid != folder->owner) {
        close(descriptor);
        *status = FILES_FOREIGN;
        return NULL;
    }
    return files_reading(descriptor, status);
}

enum files_status files_remove(const struct files_folder *folder, const char *name) {
    return unlinkat((int)folder->handle, name, 0) == 0 ? FILES_OK : files_status_of(errno);
}

/* Whether the file is a lock file: not a hard link to a file that others lock. */
static bool is_lock(int descriptor, const struct files_folder *folder) {
    struct stat found;
    return fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) && found.st_nlink == 1 &&
           (found.st_uid == folder->owner || found.st_uid == geteuid());
}

enum files_status files_lock(const struct files_folder *folder, const char *name, intptr_t *lock) {
    int descriptor = trusted_open_in((int)folder->handle, name, O_RDWR | O_CREAT);
    if (descriptor < 0) {
        return files_status_of(errno);
    }
    enum files_status status = FILES_OK;
    if (!is_lock(descriptor, folder)) {
        status = FILES_FOREIGN;
    } else if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        status = errno == EWOULDBLOCK ? FILES_IN_USE : FILES_FAILED;
    }
    if (status != FILES_OK) {
        close(descriptor);
        return status;
    }
    give_away(descriptor, folder);
    *lock = descriptor;
    return FILES_OK;
}

void files_unlock(intptr_t lock) {
    close((int)lock); /* the file stays: removing it would admit two holders */
}
