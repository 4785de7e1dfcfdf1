#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

/* -- reading and writing --------------------------------------------------- */

static bool linux_files_read_all(int fd, char *text, size_t size, size_t *length,
                                 struct error *error) {
    size_t filled = 0;
    while (filled < size) {
        ssize_t count = read(fd, text + filled, size - filled);
        if (count < 0 && errno != EINTR) {
            return error_set(error, "%s", strerror(errno));
        }
        if (count == 0) {
            break;
        }
        filled += count > 0 ? (size_t)count : 0;
    }
    *length = filled;
    return true;
}

static bool linux_files_write_all(int fd, const char *text, size_t size, struct error *error) {
    while (size > 0) {
        ssize_t count = write(fd, text, size);
        if (count < 0 && errno != EINTR) {
            return error_set(error, "%s", strerror(errno));
        }
        if (count > 0) {
            text += count;
            size -= (size_t)count;
        }
    }
    return true;
}

static bool linux_files_set_errno(struct error *error) {
    int code = errno;
    enum error_kind kind = ERROR_KIND_OTHER;
    switch (code) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
        kind = ERROR_KIND_NOT_FOUND;
        break;
    case EACCES:
    case EPERM:
        kind = ERROR_KIND_DENIED;
        break;
    case ENXIO: /* a socket, or a device that is not there */
    case ENODEV:
        kind = ERROR_KIND_NOT_REGULAR;
        break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        kind = ERROR_KIND_EXHAUSTED;
        break;
    default:
        break;
    }
    return error_set_kind(error, kind, "%s", strerror(code));
}

/* O_NONBLOCK: opening a pipe must not wait for its other end. It means nothing to a regular file.
 */
static int open_regular(const char *path, struct stat *status, struct error *error) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, status) != 0) {
        linux_files_set_errno(error);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    if (!S_ISREG(status->st_mode)) {
        error_set_kind(error, ERROR_KIND_NOT_REGULAR,
                       S_ISDIR(status->st_mode) ? "is a folder" : "is not a regular file");
        close(fd);
        return -1;
    }
    return fd;
}

bool os_file_read(const char *path, size_t max_bytes, char **text, size_t *size,
                  struct error *error) {
    struct stat status;
    int fd = open_regular(path, &status, error);
    if (fd < 0) {
        return false;
    }
    /* A file that shrinks meanwhile ends early; one that grows is taken at the size it had. */
    char *buffer = NULL;
    size_t length = (size_t)status.st_size;
    if ((uint64_t)status.st_size > max_bytes) {
        error_set(error, "has %lld bytes; at most %zu are read", (long long)status.st_size,
                  max_bytes);
    } else if (!(buffer = alloc_zeroed(length + 1))) {
        error_set(error, "out of memory");
    }
    bool done = buffer && linux_files_read_all(fd, buffer, length, size, error);
    close(fd);
    if (!done) {
        alloc_free(buffer);
        return false;
    }
    buffer[*size] = '\0';
    *text = buffer;
    return true;
}

bool os_file_write_atomic(const char *path, const char *text, size_t size, struct error *error) {
    char temporary[OS_PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        return error_set(error, "the path is too long");
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return error_set(error, "%s", strerror(errno));
    }
    struct stat before; /* its mode is kept: the new file must not be readable by more users */
    bool replaces = lstat(path, &before) == 0 && S_ISREG(before.st_mode);
    mode_t mode = replaces ? before.st_mode & 0777 : 0644;
    bool written = linux_files_write_all(fd, text, size, error);
    if (written && (fchmod(fd, mode) != 0 || fsync(fd) != 0)) {
        written = error_set(error, "%s", strerror(errno));
    }
    if (close(fd) != 0 && written) {
        written = error_set(error, "%s", strerror(errno));
    }
    if (written && rename(temporary, path) != 0) {
        written = error_set(error, "%s", strerror(errno));
    }
    if (!written) {
        unlink(temporary);
    }
    return written;
}

bool os_file_write_new(const char *path, const char *text, size_t size, struct error *error) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = fd >= 0 ? linux_files_write_all(fd, text, size, error)
                           : error_set(error, "%s", strerror(errno));
    if (fd >= 0 && close(fd) != 0 && written) {
        written = error_set(error, "%s", strerror(errno));
    }
    return written;
}

bool os_file_open(struct os_file *file, const char *path, struct error *error) {
    struct stat status;
    file->handle = open_regular(path, &status, error);
    return file->handle >= 0;
}

static int64_t linux_files_nanoseconds(const struct timespec *time) {
    return (int64_t)((uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_nsec);
}

bool os_file_status(const struct os_file *file, struct os_file_status *status,
                    struct error *error) {
    struct stat now;
    if (fstat((int)file->handle, &now) != 0) {
        return error_set(error, "%s", strerror(errno));
    }
    *status = (struct os_file_status){
        .size = (uint64_t)now.st_size,
        .modified_unix_ms =
            (int64_t)now.st_mtim.tv_sec * 1000 + (int64_t)now.st_mtim.tv_nsec / 1000000,
        .modified_unix_ns = linux_files_nanoseconds(&now.st_mtim),
        .changed_unix_ns = linux_files_nanoseconds(&now.st_ctim),
        .volume = (uint64_t)now.st_dev,
        .id = {(uint64_t)now.st_ino},
    };
    return true;
}

int64_t os_file_read_at(const struct os_file *file, uint64_t offset, void *bytes, size_t size) {
    ssize_t got;
    do {
        got = pread((int)file->handle, bytes, size, (off_t)offset);
    } while (got < 0 && errno == EINTR);
    return got;
}

void os_file_close(struct os_file *file) {
    close((int)file->handle);
    file->handle = -1;
}

bool os_file_exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

bool os_file_remove(const char *path) {
    return unlink(path) == 0;
}

/* -- folders --------------------------------------------------------------- */

static int no_dots(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* By bytes and not by the locale, unlike alphasort(). */
static int by_bytes(const struct dirent **left, const struct dirent **right) {
    return strcmp((*left)->d_name, (*right)->d_name);
}

bool os_folder_visit(const char *path, bool (*visit)(void *context, const char *name),
                     void *context, struct error *error) {
    struct dirent **entries;
    int count = scandir(path, &entries, no_dots, by_bytes);
    if (count < 0) {
        return error_set(error, "%s", strerror(errno));
    }
    bool go_on = true;
    for (int i = 0; i < count; i++) {
        go_on = go_on && visit(context, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return true;
}

bool os_folder_create(const char *path, struct error *error) {
    return mkdir(path, 0777) == 0 || error_set(error, "%s", strerror(errno));
}

bool os_folder_remove(const char *path) {
    return rmdir(path) == 0;
}

/* -- paths ----------------------------------------------------------------- */

bool os_path_is_absolute(const char *path) {
    return path[0] == '/';
}

bool os_path_join(char *path, size_t size, const char *folder, const char *name) {
    bool alone = os_path_is_absolute(name) || folder[0] == '\0';
    bool slash = !alone && folder[strlen(folder) - 1] != '/';
    int length = snprintf(path, size, "%s%s%s", alone ? "" : folder, slash ? "/" : "", name);
    return length >= 0 && (size_t)length < size;
}

bool os_path_folder(char *folder, size_t size, const char *path) {
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 1;
    const char *from = slash ? path : ".";
    if (slash == path) {
        length = 1; /* "/name": the root */
    }
    if (length >= size) {
        return false;
    }
    memcpy(folder, from, length);
    folder[length] = '\0';
    return true;
}

bool os_path_real(char *real, size_t size, const char *path) {
    char folder[OS_PATH_MAX];
    const char *slash = strrchr(path, '/');
    char *found = os_path_folder(folder, sizeof(folder), path) ? realpath(folder, NULL) : NULL;
    bool fits = found && os_path_join(real, size, found, slash ? slash + 1 : path);
    free(found);
    return fits;
}

bool os_path_same(const char *one, const char *other) {
    return strcmp(one, other) == 0;
}

/* -- libraries ------------------------------------------------------------- */

struct os_library {
    void *handle;
    char path[];
};

const char *os_library_suffix(void) {
    return ".so";
}

struct os_library *os_library_open(const char *path, struct error *error) {
    size_t size = strlen(path) + 1;
    struct os_library *library = alloc_zeroed(sizeof(*library) + size);
    if (!library) {
        error_set(error, "out of memory");
        return NULL;
    }
    memcpy(library->path, path, size);
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library->handle) {
        const char *why = dlerror();
        bool missing = strstr(why, "cannot open shared object file") != NULL;
        error_set(error, "%.800s%s", why,
                  missing ? ": put it beside the plugin, into a folder plugins/NAME/, or where the "
                            "system finds it"
                          : "");
        alloc_free(library);
        return NULL;
    }
    return library;
}

bool os_library_same(const struct os_library *one, const struct os_library *other) {
    return one->handle == other->handle;
}

void *os_library_symbol(struct os_library *library, const char *name) {
    return dlsym(library->handle, name);
}

/* dlclose() may leave a library mapped (STB_GNU_UNIQUE symbols, a destructor of a thread_local that
 * is still to run): the loader is asked again. */
bool os_library_close(struct os_library *library) {
    dlclose(library->handle);
    void *still = dlopen(library->path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (still) {
        dlclose(still);
    }
    alloc_free(library);
    return still == NULL;
}
