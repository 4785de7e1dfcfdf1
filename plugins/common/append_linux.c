#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/append.h"
#include "common/trusted_open.h"

/* Rejects a file with a second hard link: it is also in another folder, and the owner of this
 * folder may have created the link. */
static bool append_is_one_file(int descriptor) {
    struct stat found;
    if (fstat(descriptor, &found) != 0) {
        return false;
    }
    errno = S_ISREG(found.st_mode) ? EMLINK : EISDIR;
    return S_ISREG(found.st_mode) && found.st_nlink <= 1;
}

FILE *append_open(const char *path) {
    int descriptor = trusted_open(path, O_WRONLY | O_APPEND | O_CREAT, false);
    FILE *file =
        descriptor >= 0 && append_is_one_file(descriptor) ? fdopen(descriptor, "ab") : NULL;
    if (!file && descriptor >= 0) {
        int error = errno;
        close(descriptor);
        errno = error;
    }
    return file;
}

const char *append_reason(int error) {
    switch (error) {
    case ELOOP:
        return "it is a symbolic link, or a folder of its path is one that belongs to neither root "
               "nor the host's user; write the path that it leads to";
    case ENXIO:
        return "it is a FIFO, a device or a socket, and no file";
    case EMLINK:
        return "it has a second name (a hard link); remove one of them";
    default:
        return NULL;
    }
}
