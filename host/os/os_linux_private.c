/* os_linux_private.c: private folders, and the copies of libraries in them or in memory.
 *
 * A folder is locked with flock(): the lock belongs to the open descriptor, ends with the process
 * however that ends, and is seen from every PID namespace. Between mkdtemp() and the lock another
 * process may take the folder for one that a killed process has left. So the process that made it
 * checks, when it has the lock, that the folder is still there, and makes another one if not. On a
 * file system without such locks nothing is locked and nothing is cleaned.
 *
 * A copy in memory (memfd_create) is loaded by the path /proc/self/fd/N. The loader and a debugger
 * then know the library by that path; the crash report asks the system for the name of the memory
 * (os_linux_crash.c). The loader takes equal paths for the same library, so the descriptor stays
 * open for as long as the library is mapped. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os_linux_private.h"
#include "os/os_private.h"

#ifndef MFD_EXEC /* Linux 6.3 */
#define MFD_EXEC 0x0010U
#endif

enum { CHUNK_BYTES = 65536, CREATE_TRIES = 100, NOTE_BYTES = 512 };

static const char prefix[] = "berth-";

static const char *temporary_place(void) {
    const char *root = getenv("TMPDIR");
    return root && root[0] == '/' ? root : "/tmp";
}

/* -- folders --------------------------------------------------------------- */

struct os_private {
    int fd; /* holds the lock */
    char path[];
};

/* Whether the path still leads to the open folder. */
static bool is_at(int fd, const char *path) {
    struct stat opened;
    struct stat found;
    return fstat(fd, &opened) == 0 && lstat(path, &found) == 0 && opened.st_dev == found.st_dev &&
           opened.st_ino == found.st_ino;
}

static int open_folder(const char *path) {
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Makes a folder and locks it: 1, or 0 when another process took it for an abandoned one first, or
 * -1 with errno. */
static int linux_private_make_folder(struct os_private *folder, size_t size, const char *place) {
    snprintf(folder->path, size, "%s/%s%ld-XXXXXX", place, prefix, (long)getpid());
    if (!mkdtemp(folder->path)) { /* mode 0700 */
        return -1;
    }
    folder->fd = open_folder(folder->path);
    if (folder->fd < 0) {
        int code = errno;
        rmdir(folder->path);
        errno = code;
        return code == ENOENT ? 0 : -1;
    }
    bool taken = flock(folder->fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!taken && is_at(folder->fd, folder->path)) {
        return 1;
    }
    close(folder->fd);
    return 0;
}

struct os_private *os_private_create(const char *place, struct error *error) {
    place = place ? place : temporary_place();
    size_t size = strlen(place) + sizeof("/berth-4294967295-XXXXXX");
    if (!linux_folder_is_trusted(place, error)) {
        return NULL;
    }
    struct os_private *folder = alloc_zeroed(sizeof(*folder) + size);
    if (!folder) {
        error_set(error, "out of memory");
        return NULL;
    }
    int made = 0;
    errno = EAGAIN;
    for (int i = 0; i < CREATE_TRIES && made == 0; i++) {
        made = linux_private_make_folder(folder, size, place);
    }
    if (made != 1) {
        error_set(error, "%s: %s", place, strerror(errno));
        alloc_free(folder);
        return NULL;
    }
    return folder;
}

const char *os_private_path(const struct os_private *folder) {
    return folder->path;
}

int linux_private_descriptor(const struct os_private *folder) {
    return folder->fd;
}

static void linux_private_remove_files(int fd, bool with_folders);

/* A file, or a folder with the files in it. */
static void linux_private_remove_entry(int fd, const char *name, bool with_folders) {
    if (unlinkat(fd, name, 0) == 0 || !with_folders || name[0] == '.') {
        return; /* "." and ".." are no files */
    }
    int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner >= 0) {
        linux_private_remove_files(inner, false);
        close(inner);
        unlinkat(fd, name, AT_REMOVEDIR);
    }
}

/* Works on the descriptor: it removes this folder's own files, wherever the path leads by now. */
static void linux_private_remove_files(int fd, bool with_folders) {
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries) {
        if (again >= 0) {
            close(again);
        }
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(entries)) != NULL) {
        linux_private_remove_entry(fd, entry->d_name, with_folders);
    }
    closedir(entries);
}

void os_private_remove(struct os_private *folder) {
    if (folder) {
        linux_private_remove_files(folder->fd, true);
        rmdir(folder->path);
        close(folder->fd);
        alloc_free(folder);
    }
}

/* "berth-PROCESS-…" */
static bool linux_private_is_private_name(const char *name) {
    size_t length = sizeof(prefix) - 1;
    if (strncmp(name, prefix, length) != 0) {
        return false;
    }
    size_t digits = strspn(name + length, "0123456789");
    return digits > 0 && name[length + digits] == '-';
}

/* Cleans only a folder that this user owns: no other user can have put it there. */
static bool linux_private_clean_one(void *context, const char *name) {
    char path[OS_PATH_MAX];
    struct stat status;
    if (!linux_private_is_private_name(name) || !os_path_join(path, sizeof(path), context, name)) {
        return true;
    }
    int fd = open_folder(path);
    if (fd < 0) {
        return true;
    }
    if (fstat(fd, &status) == 0 && status.st_uid == geteuid() &&
        flock(fd, LOCK_EX | LOCK_NB) == 0 && is_at(fd, path)) {
        linux_private_remove_files(fd, true);
        rmdir(path);
    }
    close(fd);
    return true;
}

void os_private_clean(const char *place) {
    char folder[OS_PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", place ? place : temporary_place());
    os_folder_visit(folder, linux_private_clean_one, folder, NULL);
}

/* -- copies ---------------------------------------------------------------- */

struct os_copy {
    struct os_private *folder; /* NULL: in memory */
    int memory;                /* -1: in the folder */
    char note[NOTE_BYTES];
    char path[OS_PATH_MAX];
};

static bool linux_private_write_all(int to, const char *bytes, size_t size, struct error *error) {
    while (size > 0) {
        ssize_t count = write(to, bytes, size);
        if (count < 0 && errno != EINTR) {
            return error_set(error, "%s", strerror(errno));
        }
        bytes += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
    return true;
}

/* From the beginning, however much of it has been read before. A file that grows meanwhile is
 * bounded, too. */
static bool linux_private_copy_bytes(const struct os_file *file, int to, uint64_t bytes_max,
                                     struct error *error) {
    static _Thread_local char chunk[CHUNK_BYTES];
    uint64_t offset = 0;
    int64_t count;
    while ((count = os_file_read_at(file, offset, chunk, sizeof(chunk))) > 0) {
        offset += (uint64_t)count;
        if (offset > bytes_max) {
            return error_set(error, "it grows while it is copied; at most %llu bytes are allowed",
                             (unsigned long long)bytes_max);
        }
        if (!linux_private_write_all(to, chunk, (size_t)count, error)) {
            return false;
        }
    }
    return count == 0 || error_set(error, "reading it: %s", strerror(errno));
}

static bool check_executable(int folder, const char *place, struct error *error) {
    struct statvfs mount;
    return fstatvfs(folder, &mount) != 0 || (mount.f_flag & ST_NOEXEC) == 0 ||
           error_set(error, "%s is mounted noexec: no library can be loaded from it", place);
}

static bool write_in_folder(struct os_copy *copy, const struct os_file *file, const char *name,
                            uint64_t bytes_max, struct error *error) {
    int folder = linux_private_descriptor(copy->folder);
    int to = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
    if (to < 0) {
        return error_set(error, "%s/%s: %s", copy->folder->path, name, strerror(errno));
    }
    bool written = linux_private_copy_bytes(file, to, bytes_max, error);
    if (close(to) != 0 && written) {
        written = error_set(error, "%s", strerror(errno));
    }
    return written || error_prefix(error, "%s/%s: ", copy->folder->path, name);
}

static bool copy_to_folder(struct os_copy *copy, const struct os_file *file, const char *name,
                           const struct os_copy_rules *rules, struct error *error) {
    copy->folder = os_private_create(rules->place, error);
    if (!copy->folder) {
        return false;
    }
    const char *place = rules->place ? rules->place : temporary_place();
    if (check_executable(linux_private_descriptor(copy->folder), place, error) &&
        (os_path_join(copy->path, sizeof(copy->path), copy->folder->path, name) ||
         error_set(error, "%s: the path is too long", place)) &&
        write_in_folder(copy, file, name, rules->bytes_max, error)) {
        return true;
    }
    os_private_remove(copy->folder);
    copy->folder = NULL;
    return false;
}

/* Sealed: a plugin that finds the descriptor cannot change the code that other plugins run. */
static bool copy_to_memory(struct os_copy *copy, const struct os_file *file, const char *name,
                           const struct os_copy_rules *rules, struct error *error) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL) { /* before Linux 6.3 all can be executed */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0) {
        return error_set(error, "memfd_create: %s", strerror(errno));
    }
    if (!linux_private_copy_bytes(file, fd, rules->bytes_max, error)) {
        close(fd);
        return false;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    snprintf(copy->path, sizeof(copy->path), "/proc/self/fd/%d", fd);
    copy->memory = fd;
    return true;
}

struct os_copy *os_copy_create(const struct os_file *file, const char *name,
                               const struct os_copy_rules *rules, struct error *error) {
    struct error folder_error = {0};
    struct error memory_error = {0};
    struct os_copy *copy = alloc_zeroed(sizeof(*copy));
    if (!copy) {
        error_set(error, "out of memory");
        return NULL;
    }
    copy->memory = -1;
    if (copy_to_folder(copy, file, name, rules, &folder_error)) {
        return copy;
    }
    if (rules->place) { /* the folder was set explicitly, so there is no fallback */
        error_set(error, "%s", folder_error.message);
    } else if (copy_to_memory(copy, file, name, rules, &memory_error)) {
        snprintf(copy->note, sizeof(copy->note), "%.*s", NOTE_BYTES - 1, folder_error.message);
        return copy;
    } else {
        error_set(error,
                  "%.400s; and not in memory either: %.200s; set TMPDIR to a folder with room in "
                  "which libraries may be loaded",
                  folder_error.message, memory_error.message);
    }
    alloc_free(copy);
    return NULL;
}

bool os_copy_add(struct os_copy *copy, const struct os_file *file, const char *name,
                 uint64_t bytes_max, struct error *error) {
    if (!copy->folder) {
        return error_set(error,
                         "%.400s; a plugin of several files cannot be kept in memory: set TMPDIR "
                         "or host.plugin_files.copies to a folder from which libraries may be "
                         "loaded",
                         copy->note);
    }
    return write_in_folder(copy, file, name, bytes_max, error);
}

const char *os_copy_path(const struct os_copy *copy) {
    return copy->path;
}

const char *os_copy_note(const struct os_copy *copy) {
    return copy->note;
}

int os_copy_descriptor(const struct os_copy *copy) {
    return copy->memory;
}

void os_copy_remove(struct os_copy *copy, bool mapped) {
    if (copy) {
        os_private_remove(copy->folder);
        if (copy->memory >= 0 && !mapped) {
            close(copy->memory);
        }
        alloc_free(copy);
    }
}
