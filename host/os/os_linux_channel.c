/* os_linux_channel.c: the way to a running host: a Unix socket for its owner alone. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum { BACKLOG = 128, PLACES = 3 };

struct os_channel {
    int socket;
    int interrupted; /* an eventfd that stays readable */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct os_pipe {
    int socket;
};

/* -- where it is ---------------------------------------------------------------------------------
 */

/* The folders it may be in, the first ones first; returns how many. */
static int list_folders(char folders[PLACES][OS_PATH_MAX]) {
    const char *own = getenv("BERTH_RUNTIME_DIR");
    const char *session = getenv("XDG_RUNTIME_DIR");
    int count = 0;
    if (own && own[0] != '\0') {
        snprintf(folders[count++], OS_PATH_MAX, "%s", own);
        return count;
    }
    if (geteuid() == 0) {
        snprintf(folders[count++], OS_PATH_MAX, "/run/berth");
    } else if (session && session[0] == '/') {
        snprintf(folders[count++], OS_PATH_MAX, "%s/berth", session);
    }
    snprintf(folders[count++], OS_PATH_MAX, "/tmp/berth-%u", (unsigned)geteuid());
    return count;
}

/* Makes it where it is missing; it must be ours, and nobody else may enter it. */
static bool make_folder(const char *folder, struct error *error) {
    struct stat status;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return error_set(error, "%s: %s", folder, strerror(errno));
    }
    if (lstat(folder, &status) != 0) {
        return error_set(error, "%s: %s", folder, strerror(errno));
    }
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 022) != 0) {
        return error_set(error, "%s is not a folder that this user alone can write to", folder);
    }
    return true;
}

static bool make_address(struct sockaddr_un *address, const char *folder, const char *name,
                         struct error *error) {
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    int length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.sock", folder, name);
    if (length < 0 || (size_t)length >= sizeof(address->sun_path)) {
        return error_set(error, "the path of a socket may have %zu bytes, %s/%s.sock has more",
                         sizeof(address->sun_path) - 1, folder, name);
    }
    return true;
}

static int open_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int connect_to(const struct sockaddr_un *address) {
    int fd = open_socket();
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

/* -- the host's end ------------------------------------------------------------------------------
 */

/* A socket that a killed host has left is nobody's. */
static bool bind_socket(int fd, const struct sockaddr_un *address, struct error *error) {
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        return true;
    }
    if (errno == EADDRINUSE) {
        int other = connect_to(address);
        if (other >= 0) {
            close(other);
            return error_set(error, "another host of this name is running (%s)", address->sun_path);
        }
        if (errno == ECONNREFUSED && unlink(address->sun_path) == 0 &&
            bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
            return true;
        }
    }
    return error_set(error, "%s: %s", address->sun_path, strerror(errno));
}

static bool open_in(struct os_channel *channel, const char *folder, const char *name,
                    struct error *error) {
    struct sockaddr_un address;
    if (!make_folder(folder, error) || !make_address(&address, folder, name, error) ||
        !bind_socket(channel->socket, &address, error)) {
        return false;
    }
    memcpy(channel->path, address.sun_path, sizeof(channel->path));
    /* Nobody can connect before it listens. */
    if (chmod(channel->path, 0600) != 0 || listen(channel->socket, BACKLOG) != 0) {
        return error_set(error, "%s: %s", channel->path, strerror(errno));
    }
    return true;
}

struct os_channel *os_channel_open(const char *name, struct error *error) {
    char folders[PLACES][OS_PATH_MAX];
    int count = list_folders(folders);
    struct os_channel *channel = alloc_zeroed(sizeof(*channel));
    if (!channel) {
        error_set(error, "out of memory");
        return NULL;
    }
    channel->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    channel->interrupted = eventfd(0, EFD_CLOEXEC);
    if (channel->socket < 0 || channel->interrupted < 0) {
        error_set(error, "%s", strerror(errno));
    } else {
        for (int i = 0; i < count; i++) {
            if (open_in(channel, folders[i], name, error)) {
                return channel;
            }
            if (i + 1 < count && strstr(error->message, "another host")) {
                break;
            }
        }
    }
    os_channel_close(channel);
    return NULL;
}

/* Root may, and whoever the host runs as. */
static bool is_ours(int fd) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static struct os_pipe *make_pipe(int fd) {
    struct os_pipe *pipe = alloc_zeroed(sizeof(*pipe));
    if (!pipe) {
        close(fd);
        return NULL;
    }
    pipe->socket = fd;
    return pipe;
}

struct os_pipe *os_channel_accept(struct os_channel *channel) {
    struct pollfd waits[] = {{.fd = channel->socket, .events = POLLIN},
                             {.fd = channel->interrupted, .events = POLLIN}};
    while (true) {
        if (poll(waits, 2, -1) > 0 && (waits[1].revents & POLLIN) != 0) {
            return NULL;
        }
        int fd = accept4(channel->socket, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && is_ours(fd)) {
            struct os_pipe *pipe = make_pipe(fd);
            if (pipe) {
                return pipe;
            }
        } else if (fd >= 0) {
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            poll(&waits[1], 1, 100); /* it waits in the backlog until there is a descriptor */
        }
    }
}

void os_channel_interrupt(struct os_channel *channel) {
    uint64_t one = 1;
    ssize_t ignored = write(channel->interrupted, &one, sizeof(one));
    (void)ignored; /* a full counter is readable too */
}

void os_channel_close(struct os_channel *channel) {
    if (!channel) {
        return;
    }
    if (channel->path[0] != '\0') {
        unlink(channel->path);
    }
    if (channel->socket >= 0) {
        close(channel->socket);
    }
    if (channel->interrupted >= 0) {
        close(channel->interrupted);
    }
    alloc_free(channel);
}

/* -- connections ---------------------------------------------------------------------------------
 */

struct os_pipe *os_pipe_connect(const char *name, struct error *error) {
    char folders[PLACES][OS_PATH_MAX];
    int count = list_folders(folders);
    struct sockaddr_un address;
    for (int i = 0; i < count; i++) {
        if (!make_address(&address, folders[i], name, error)) {
            return NULL;
        }
        int fd = connect_to(&address);
        if (fd >= 0) {
            return make_pipe(fd);
        }
        error_set(error, "%s: %s", address.sun_path, strerror(errno));
        if (errno == EACCES) {
            return NULL;
        }
    }
    return NULL;
}

static bool wait_for(const struct os_pipe *pipe, short events, int timeout_ms) {
    struct pollfd wait = {.fd = pipe->socket, .events = events};
    int result;
    do {
        result = poll(&wait, 1, timeout_ms);
    } while (result < 0 && errno == EINTR);
    return result > 0;
}

int64_t os_pipe_read(struct os_pipe *pipe, void *bytes, size_t size, int timeout_ms) {
    return wait_for(pipe, POLLIN, timeout_ms) ? recv(pipe->socket, bytes, size, 0) : -1;
}

bool os_pipe_write(struct os_pipe *pipe, const void *bytes, size_t size, int timeout_ms) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = wait_for(pipe, POLLOUT, timeout_ms)
                           ? send(pipe->socket, at, size, MSG_NOSIGNAL | MSG_DONTWAIT)
                           : -1;
        if (sent <= 0) {
            return false;
        }
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

void os_pipe_interrupt(struct os_pipe *pipe) {
    shutdown(pipe->socket, SHUT_RD);
}

void os_pipe_cut(struct os_pipe *pipe) {
    shutdown(pipe->socket, SHUT_RDWR);
}

/* What is in the socket is the client's already. */
void os_pipe_finish(struct os_pipe *pipe) {
    (void)pipe;
}

void os_pipe_close(struct os_pipe *pipe) {
    if (pipe) {
        close(pipe->socket);
        alloc_free(pipe);
    }
}
