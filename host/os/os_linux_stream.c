#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include "os/os_stream.h"

enum { POLL_MS = 100 };

/* Errors that may be temporary; all others are permanent. */
static bool linux_stream_passes(int code) {
    return code == EAGAIN || code == EINTR || code == ENOSPC || code == EDQUOT || code == EFBIG ||
           code == ENOBUFS || code == ENOMEM;
}

int64_t os_stream_write(enum os_stream stream, const void *bytes, size_t size) {
    int fd = stream == OS_STREAM_OUTPUT ? STDOUT_FILENO : STDERR_FILENO;
    ssize_t written = write(fd, bytes, size);
    if (written >= 0) {
        return written;
    }
    int code = errno;
    if (code == EAGAIN) { /* non-blocking, as another process has set it */
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        poll(&wait, 1, POLL_MS);
    }
    return linux_stream_passes(code) ? 0 : -1;
}
