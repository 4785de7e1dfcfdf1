/* os_linux_channel.c: the channel to a running host: a Unix socket that only its owner can use. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum {
    BACKLOG = 128,
    PLACES = 3,
    LOCK_TRIES = 100, /* of LOCK_WAIT_MS: two seconds */
    LOCK_WAIT_MS = 20,
    CONNECT_TRIES = 100, /* of CONNECT_WAIT_MS: two seconds, too */
    CONNECT_WAIT_MS = 20,
};

struct os_channel {
    int socket;
    int interrupted; /* an eventfd that stays readable */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    ino_t inode; /* of the socket that this channel has created */
};

struct os_pipe {
    int socket;
};

/* -- its path -------------------------------------------------------------- */

/* The folders it may be in, in the order of preference; returns how many. */
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

static bool is_writable_by_others(const struct stat *status) {
    return (status->st_mode & 022) != 0;
}

/* Creates the folder if it is missing. It must belong to this user, and no other user may write to
 * it. */
static bool linux_channel_make_folder(const char *folder, struct error *error) {
    struct stat status;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return error_set(error, "%s: %s", folder, strerror(errno));
    }
    if (lstat(folder, &status) != 0) {
        return error_set(error, "%s: %s", folder, strerror(errno));
    }
    if (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || is_writable_by_others(&status)) {
        return error_set(error, "%s is not a folder that this user alone can write to", folder);
    }
    return true;
}

static bool linux_channel_make_address(struct sockaddr_un *address, const char *folder,
                                       const char *name, struct error *error) {
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    int length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.sock", folder, name);
    if (length < 0 || (size_t)length >= sizeof(address->sun_path)) {
        return error_set(error, "the path of a socket may have %zu bytes, %s/%s.sock has more",
                         sizeof(address->sun_path) - 1, folder, name);
    }
    return true;
}

/* Non-blocking: when a host no longer accepts, its backlog fills, and connect() would block for
 * ever. Then it returns EAGAIN. */
static int linux_channel_connect_to(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

/* -- trust ----------------------------------------------------------------- */

/* A folder that another user may have made is trusted when its name contains its owner; root trusts
 * it when other users could not have put it there. */
static bool is_named_after(const char *folder, uid_t owner) {
    char name[64];
    snprintf(name, sizeof(name), "/tmp/berth-%u", (unsigned)owner);
    if (strcmp(folder, name) == 0) {
        return true;
    }
    snprintf(name, sizeof(name), "/run/user/%u/berth", (unsigned)owner);
    return strcmp(folder, name) == 0;
}

static bool is_guarded(const char *folder) {
    char parent[OS_PATH_MAX];
    struct stat status;
    return os_path_folder(parent, sizeof(parent), folder) && stat(parent, &status) == 0 &&
           !is_writable_by_others(&status);
}

/* The owner of the channels in that folder, if they can be trusted. */
static bool linux_channel_check_folder(const char *folder, uid_t *owner, struct error *error) {
    struct stat status;
    if (lstat(folder, &status) != 0) {
        return error_set_kind(error, ERROR_KIND_NOT_FOUND, "%s: %s", folder, strerror(errno));
    }
    *owner = status.st_uid;
    if (!S_ISDIR(status.st_mode) || is_writable_by_others(&status)) {
        return error_set_kind(
            error, ERROR_KIND_DENIED,
            "%s is not trusted: it is not a folder that its owner alone can write "
            "to",
            folder);
    }
    bool trusted = *owner == geteuid() || *owner == 0 ||
                   (geteuid() == 0 && (is_named_after(folder, *owner) || is_guarded(folder)));
    return trusted ||
           error_set_kind(error, ERROR_KIND_DENIED, "%s is not trusted: it belongs to user %u",
                          folder, (unsigned)*owner);
}

static bool is_trusted_user(uid_t user, uid_t owner) {
    return user == owner || user == 0 || user == geteuid();
}

/* Checks the socket itself, before anything is sent to it. */
static bool check_socket(const char *path, uid_t owner, struct error *error) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        return error_set_kind(error, ERROR_KIND_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(status.st_mode)) {
        return error_set_kind(error, ERROR_KIND_DENIED, "%s is not a socket", path);
    }
    if (!is_trusted_user(status.st_uid, owner) || is_writable_by_others(&status)) {
        return error_set_kind(error, ERROR_KIND_DENIED,
                              "%s is not trusted: it belongs to user %u and has mode %04o", path,
                              (unsigned)status.st_uid, (unsigned)status.st_mode & 07777);
    }
    return true;
}

static bool check_peer(int fd, const char *path, uid_t owner, struct error *error) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        return error_set_kind(error, ERROR_KIND_DENIED, "%s: %s", path, strerror(errno));
    }
    return is_trusted_user(peer.uid, owner) ||
           error_set_kind(error, ERROR_KIND_DENIED,
                          "%s is not trusted: user %u (process %ld) listens there", path,
                          (unsigned)peer.uid, (long)peer.pid);
}

/* -- the host's end -------------------------------------------------------- */

/* A host that takes a name, or gives one up, locks the folder meanwhile. Otherwise two hosts that
 * start at once would each take the socket of the other for one that a killed host has left. The
 * lock is held briefly. */
static int lock_folder(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
        if (tries == LOCK_TRIES || (errno != EWOULDBLOCK && errno != EINTR)) {
            close(fd);
            return -1;
        }
        poll(NULL, 0, LOCK_WAIT_MS);
    }
    return fd;
}

static bool linux_channel_is_taken(const struct sockaddr_un *address, struct error *error) {
    int other = linux_channel_connect_to(address);
    if (other < 0 && errno != EAGAIN) {
        return false;
    }
    if (other >= 0) {
        close(other);
    }
    error_set_kind(error, ERROR_KIND_TAKEN, "another host of this name is running (%s)",
                   address->sun_path);
    return true;
}

/* A socket that a killed host has left has no owner and is replaced. */
static bool linux_channel_bind_socket(int fd, const struct sockaddr_un *address,
                                      struct error *error) {
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
        return true;
    }
    if (errno == EADDRINUSE) {
        if (linux_channel_is_taken(address, error)) {
            return false;
        }
        if (errno == ECONNREFUSED && unlink(address->sun_path) == 0 &&
            bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
            return true;
        }
    }
    return error_set(error, "%s: %s", address->sun_path, strerror(errno));
}

static bool listen_at(struct os_channel *channel, const struct sockaddr_un *address,
                      struct error *error) {
    struct stat status;
    if (!linux_channel_bind_socket(channel->socket, address, error)) {
        return false;
    }
    memcpy(channel->path, address->sun_path, sizeof(channel->path));
    /* No client can connect before it listens. */
    if (chmod(channel->path, 0600) != 0 || lstat(channel->path, &status) != 0 ||
        listen(channel->socket, BACKLOG) != 0) {
        return error_set(error, "%s: %s", channel->path, strerror(errno));
    }
    channel->inode = status.st_ino;
    return true;
}

static bool linux_channel_open_in(struct os_channel *channel, const char *folder, const char *name,
                                  struct error *error) {
    struct sockaddr_un address;
    if (!linux_channel_make_folder(folder, error) ||
        !linux_channel_make_address(&address, folder, name, error)) {
        return false;
    }
    int lock = lock_folder(folder);
    if (lock < 0) {
        return error_set(error, "%s: another host does not let go of it", folder);
    }
    bool listens = listen_at(channel, &address, error);
    close(lock);
    return listens;
}

/* Checks all of the folders: a host that started earlier may have found another one of them. */
static bool is_taken_anywhere(char folders[PLACES][OS_PATH_MAX], int count, const char *name,
                              struct error *error) {
    struct sockaddr_un address;
    for (int i = 0; i < count; i++) {
        uid_t owner;
        if (linux_channel_check_folder(folders[i], &owner, NULL) &&
            linux_channel_make_address(&address, folders[i], name, NULL) &&
            check_socket(address.sun_path, owner, NULL) &&
            linux_channel_is_taken(&address, error)) {
            return true;
        }
    }
    return false;
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
    } else if (!is_taken_anywhere(folders, count, name, error)) {
        for (int i = 0; i < count; i++) {
            if (linux_channel_open_in(channel, folders[i], name, error)) {
                return channel;
            }
        }
    }
    os_channel_close(channel);
    return NULL;
}

/* Root may connect, and the user that the host runs as. */
static bool linux_channel_is_ours(int fd) {
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static struct os_pipe *linux_channel_make_pipe(int fd) {
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
        if (fd >= 0 && linux_channel_is_ours(fd)) {
            struct os_pipe *pipe = linux_channel_make_pipe(fd);
            if (pipe) {
                return pipe;
            }
        } else if (fd >= 0) {
            close(fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
            poll(&waits[1], 1, 100); /* it waits in the backlog for a free descriptor */
        }
    }
}

void os_channel_interrupt(struct os_channel *channel) {
    uint64_t one = 1;
    ssize_t ignored = write(channel->interrupted, &one, sizeof(one));
    (void)ignored; /* a full counter is readable too */
}

/* A host that found this socket gone may have put its own there: that one is left alone. */
static void remove_own_socket(const struct os_channel *channel) {
    char folder[OS_PATH_MAX];
    struct stat status;
    if (channel->inode == 0 || !os_path_folder(folder, sizeof(folder), channel->path)) {
        return;
    }
    int lock = lock_folder(folder);
    if (lstat(channel->path, &status) == 0 && status.st_ino == channel->inode) {
        unlink(channel->path);
    }
    if (lock >= 0) {
        close(lock);
    }
}

void os_channel_close(struct os_channel *channel) {
    if (!channel) {
        return;
    }
    remove_own_socket(channel);
    if (channel->socket >= 0) {
        close(channel->socket);
    }
    if (channel->interrupted >= 0) {
        close(channel->interrupted);
    }
    alloc_free(channel);
}

/* -- connections ----------------------------------------------------------- */

static struct os_pipe *connect_in(const char *folder, const char *name, struct error *error) {
    struct sockaddr_un address;
    uid_t owner;
    if (!linux_channel_check_folder(folder, &owner, error) ||
        !linux_channel_make_address(&address, folder, name, error) ||
        !check_socket(address.sun_path, owner, error)) {
        return NULL;
    }
    int fd = linux_channel_connect_to(&address);
    for (int tries = 0; fd < 0 && errno == EAGAIN && tries < CONNECT_TRIES; tries++) {
        poll(NULL, 0, CONNECT_WAIT_MS);
        fd = linux_channel_connect_to(&address);
    }
    if (fd < 0) {
        error_set_kind(error, ERROR_KIND_NOT_FOUND, "%s: %s", address.sun_path, strerror(errno));
        return NULL;
    }
    if (!check_peer(fd, address.sun_path, owner, error)) {
        close(fd);
        return NULL;
    }
    struct os_pipe *pipe = linux_channel_make_pipe(fd);
    if (!pipe) {
        error_set(error, "out of memory");
    }
    return pipe;
}

/* Calls visit for the folders of other users, whose hosts root may connect to. */
static void visit_folders_of_others(bool (*visit)(void *context, const char *folder),
                                    void *context) {
    static const char *const patterns[] = {"/tmp/berth-[0-9]*", "/run/user/[0-9]*/berth"};
    const char *own = getenv("BERTH_RUNTIME_DIR");
    bool go_on = geteuid() == 0 && !(own && own[0] != '\0');
    for (size_t i = 0; go_on && i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        glob_t found;
        if (glob(patterns[i], GLOB_NOSORT, NULL, &found) == 0) {
            for (size_t k = 0; go_on && k < found.gl_pathc; k++) {
                go_on = strcmp(found.gl_pathv[k], "/tmp/berth-0") == 0 ||
                        visit(context, found.gl_pathv[k]);
            }
            globfree(&found);
        }
    }
}

struct search {
    const char *name;
    struct os_pipe *pipe;
    char folder[OS_PATH_MAX]; /* where it was found */
    bool twice;
    struct error *error;
};

static bool search_folder(void *context, const char *folder) {
    struct search *search = context;
    struct error why = {0};
    struct os_pipe *pipe = connect_in(folder, search->name, &why);
    if (pipe && search->pipe) {
        error_set(search->error,
                  "hosts of several users have that name, in %s and %s: set "
                  "BERTH_RUNTIME_DIR to the one that is meant",
                  search->folder, folder);
        os_pipe_close(pipe);
        search->twice = true;
        return false;
    }
    if (pipe) {
        search->pipe = pipe;
        snprintf(search->folder, sizeof(search->folder), "%s", folder);
    }
    return true;
}

static struct os_pipe *connect_among_others(const char *name, struct error *error) {
    struct search search = {.name = name, .error = error};
    visit_folders_of_others(search_folder, &search);
    if (search.twice) {
        os_pipe_close(search.pipe);
        search.pipe = NULL;
    } else if (!search.pipe && geteuid() == 0 && !getenv("BERTH_RUNTIME_DIR")) {
        char before[ERROR_MESSAGE_MAX];
        snprintf(before, sizeof(before), "%s", error ? error->message : "");
        error_set(error, "%.900s, /tmp/berth-UID and /run/user/UID/berth of all users", before);
    }
    return search.pipe;
}

/* A channel that cannot be trusted is an error; if one is missing, the next folder is tried. */
struct os_pipe *os_pipe_connect(const char *name, struct error *error) {
    char folders[PLACES][OS_PATH_MAX];
    int count = list_folders(folders);
    char looked_in[ERROR_MESSAGE_MAX / 2] = "";
    for (int i = 0; i < count; i++) {
        struct error why = {0};
        struct os_pipe *pipe = connect_in(folders[i], name, &why);
        if (pipe) {
            return pipe;
        }
        if (why.kind != ERROR_KIND_NOT_FOUND) {
            error_set_kind(error, why.kind, "%s", why.message);
            return NULL;
        }
        size_t used = strlen(looked_in);
        snprintf(looked_in + used, sizeof(looked_in) - used, "%s%.200s", i > 0 ? ", " : "",
                 why.message);
    }
    error_set_kind(error, ERROR_KIND_NOT_FOUND, "looked in %s", looked_in);
    return connect_among_others(name, error);
}

struct visitor {
    bool (*visit)(void *context, struct os_pipe *pipe);
    void *context;
    const char *folder;
    bool ended;
};

static bool visit_socket(void *context, const char *file) {
    struct visitor *visitor = context;
    size_t length = strlen(file);
    char name[NAME_MAX + 1];
    if (length <= 5 || length > NAME_MAX || strcmp(file + length - 5, ".sock") != 0) {
        return true;
    }
    snprintf(name, sizeof(name), "%.*s", (int)(length - 5), file);
    struct os_pipe *pipe = connect_in(visitor->folder, name, NULL);
    visitor->ended = pipe && !visitor->visit(visitor->context, pipe);
    return !visitor->ended;
}

static bool visit_folder(void *context, const char *folder) {
    struct visitor *visitor = context;
    uid_t owner;
    visitor->folder = folder;
    if (linux_channel_check_folder(folder, &owner, NULL)) {
        os_folder_visit(folder, visit_socket, visitor, NULL);
    }
    return !visitor->ended;
}

void os_pipe_visit(bool (*visit)(void *context, struct os_pipe *pipe), void *context) {
    char folders[PLACES][OS_PATH_MAX];
    int count = list_folders(folders);
    struct visitor visitor = {.visit = visit, .context = context};
    for (int i = 0; i < count && !visitor.ended; i++) {
        visit_folder(&visitor, folders[i]);
    }
    if (!visitor.ended) {
        visit_folders_of_others(visit_folder, &visitor);
    }
}

static bool linux_channel_wait_for(const struct os_pipe *pipe, short events, int timeout_ms) {
    struct pollfd wait = {.fd = pipe->socket, .events = events};
    int result;
    do {
        result = poll(&wait, 1, timeout_ms);
    } while (result < 0 && errno == EINTR);
    return result > 0;
}

int64_t os_pipe_read(struct os_pipe *pipe, void *bytes, size_t size, int timeout_ms) {
    return linux_channel_wait_for(pipe, POLLIN, timeout_ms) ? recv(pipe->socket, bytes, size, 0)
                                                            : -1;
}

bool os_pipe_write(struct os_pipe *pipe, const void *bytes, size_t size, int timeout_ms) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = linux_channel_wait_for(pipe, POLLOUT, timeout_ms)
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

/* Bytes that are in the socket reach the client even after a close. */
void os_pipe_finish(struct os_pipe *pipe) {
    (void)pipe;
}

void os_pipe_close(struct os_pipe *pipe) {
    if (pipe) {
        close(pipe->socket);
        alloc_free(pipe);
    }
}
