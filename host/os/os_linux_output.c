/* os_linux_output.c: files that a user has named, to be written. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "os/os.h"

enum { READER_MS = 1000 }; /* for a reader to take something */

static bool is_replaceable(const char *path) {
    struct stat status;
    return lstat(path, &status) != 0 ? errno == ENOENT : S_ISREG(status.st_mode);
}

/* The descriptor of this process's own output, if that is the same file, as with /dev/stdout; or
 * -1. It has its own position in the file, and a second descriptor would overwrite its output. */
static int find_own_output(const struct stat *status) {
    struct stat own;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &own) == 0 && own.st_dev == status->st_dev && own.st_ino == status->st_ino) {
            return fd;
        }
    }
    return -1;
}

static bool set_open_error(const char *path, int code, struct error *error) {
    struct stat status;
    if (code == ENXIO && stat(path, &status) == 0 && S_ISFIFO(status.st_mode)) {
        return error_set_kind(error, ERROR_KIND_NO_READER, "is a named pipe that nobody reads");
    }
    if (code == ENOENT) {
        return error_set_kind(error, ERROR_KIND_NOT_FOUND, "%s", strerror(code));
    }
    if (code == ENXIO) {
        return error_set(error, "is a socket, or a device that is not there");
    }
    return error_set(error, "%s", strerror(code));
}

/* O_NONBLOCK: for a named pipe without a reader, open() fails at once. A link may lead to a file
 * that does not exist yet. */
static int linux_output_open_into(const char *path, int more, struct stat *status,
                                  struct error *error) {
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | more, 0644);
    if (fd < 0) {
        set_open_error(path, errno, error);
    } else if (fstat(fd, status) != 0) {
        error_set(error, "%s", strerror(errno));
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool linux_output_write_all(int fd, const char *text, size_t size, struct error *error) {
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    while (size > 0) {
        ssize_t count = write(fd, text, size);
        if (count > 0) {
            text += count;
            size -= (size_t)count;
        } else if (count < 0 && errno == EAGAIN) {
            if (poll(&wait, 1, READER_MS) == 0) {
                return error_set_kind(error, ERROR_KIND_NO_READER,
                                      "its reader has taken nothing for %d ms", READER_MS);
            }
        } else if (count == 0 || errno != EINTR) {
            return error_set(error, "%s", count == 0 ? "it takes nothing" : strerror(errno));
        }
    }
    return true;
}

static bool linux_output_write_into(const char *path, const char *text, size_t size,
                                    struct error *error) {
    struct stat status;
    int fd = linux_output_open_into(path, O_CREAT, &status, error);
    int own = fd >= 0 && S_ISREG(status.st_mode) ? find_own_output(&status) : -1;
    bool written = fd >= 0;
    if (written && S_ISREG(status.st_mode) && own < 0) {
        written = ftruncate(fd, 0) == 0 || error_set(error, "%s", strerror(errno));
    }
    written = written && linux_output_write_all(own >= 0 ? own : fd, text, size, error);
    if (fd >= 0) {
        close(fd);
    }
    return written;
}

bool os_output_write(const char *path, const char *text, size_t size, struct error *error) {
    return is_replaceable(path) ? os_file_write_atomic(path, text, size, error)
                                : linux_output_write_into(path, text, size, error);
}

/* A replacement is written to a temporary file in the same folder. */
static bool linux_output_try_beside(const char *path, struct error *error) {
    char temporary[OS_PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        return error_set(error, "the path is too long");
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, "%s", strerror(errno));
    }
    close(fd);
    unlink(temporary);
    return true;
}

bool os_output_try(const char *path, struct error *error) {
    struct stat status;
    struct error why = {0};
    if (is_replaceable(path)) {
        return linux_output_try_beside(path, error);
    }
    int fd = linux_output_open_into(path, 0, &status, &why);
    if (fd >= 0) {
        close(fd);
        return true;
    }
    /* A pipe may get its reader later, and the write creates the target of a dangling link. */
    return why.kind == ERROR_KIND_NO_READER || why.kind == ERROR_KIND_NOT_FOUND ||
           error_set_kind(error, why.kind, "%s", why.message);
}

void os_output_clear(const char *path) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        return;
    }
    if (S_ISREG(status.st_mode)) {
        unlink(path);
    } else if (S_ISLNK(status.st_mode) && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
               find_own_output(&status) < 0) {
        int fd = linux_output_open_into(path, 0, &status, NULL);
        if (fd >= 0) {
            int ignored = S_ISREG(status.st_mode) ? ftruncate(fd, 0) : 0;
            (void)ignored; /* it may be a file that cannot be truncated */
            close(fd);
        }
    }
}

bool os_file_same(const char *one, const char *other) {
    struct stat first;
    struct stat second;
    return stat(one, &first) == 0 && stat(other, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}
