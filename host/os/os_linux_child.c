#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os_child.h"
#include "os/os_linux.h"

enum {
    ARGUMENTS_MAX = 32,
    EXIT_NO_PROGRAM = 1,
    CODE_OF_MANIFEST = 78,
    CODES_OF_VERBS = 3,
    SEND_S = 10, /* bounds a send to a child that does not read because SIGSTOP has stopped it */
};

struct os_link {
    int fd;
    int shared; /* the child's descriptor of the shared memory; -1: none */
};

struct os_child {
    pid_t pid; /* 0: it has ended */
    int status;
    bool silent; /* its end of the link is closed, and all its messages are read */
    int shared;  /* the memory; -1: none */
    struct os_link link;
};

static int signals_fd = -1;

/* -- the link -------------------------------------------------------------- */

struct os_link *os_link_open(const char *text, struct error *error) {
    struct os_link *link = alloc_zeroed(sizeof(*link));
    if (!link) {
        error_set(error, "out of memory");
        return NULL;
    }
    struct ucred parent;
    socklen_t size = sizeof(parent);
    char *end;
    link->fd = (int)strtol(text, &end, 10);
    link->shared = *end == ',' ? (int)strtol(end + 1, NULL, 10) : -1;
    if (fcntl(link->fd, F_SETFD, FD_CLOEXEC) != 0) {
        error_set(error, "the parent's link: %s", strerror(errno));
        alloc_free(link);
        return NULL;
    }
    if (getsockopt(link->fd, SOL_SOCKET, SO_PEERCRED, &parent, &size) == 0) {
        linux_signals_watch_parent(parent.pid);
    }
    return link;
}

void *os_link_shared(struct os_link *link, size_t size) {
    struct stat status;
    void *memory = MAP_FAILED;
    if (link->shared < 0) {
        return NULL;
    }
    if (fstat(link->shared, &status) == 0 && (size_t)status.st_size == size) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, link->shared, 0);
    }
    close(link->shared); /* the mapping stays */
    link->shared = -1;
    return memory == MAP_FAILED ? NULL : memory;
}

bool os_link_send(struct os_link *link, const void *bytes, size_t size, intptr_t socket) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (socket != OS_NO_SOCKET) {
        int fd = (int)socket;
        message.msg_control = control.room;
        message.msg_controllen = sizeof(control.room);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    }
    ssize_t sent;
    do {
        sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size;
}

void os_link_last_send(struct os_link *link, const void *bytes, size_t size) {
    ssize_t ignored = send(link->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

bool os_link_receive(struct os_link *link, void *bytes, size_t size, intptr_t *socket,
                     int timeout_ms) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {bytes, size};
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof(control.room),
    };
    struct pollfd wait = {.fd = link->fd, .events = POLLIN};
    *socket = OS_NO_SOCKET;
    int ready;
    do {
        ready = poll(&wait, 1, timeout_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        return false;
    }
    ssize_t got = recvmsg(link->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS) {
        int fd;
        memcpy(&fd, CMSG_DATA(header), sizeof(fd));
        *socket = fd;
    }
    return got == (ssize_t)size;
}

void os_link_close(struct os_link *link) {
    if (link) {
        close(link->fd);
        if (link->shared >= 0) {
            close(link->shared);
        }
        alloc_free(link);
    }
}

void os_child_socket_close(intptr_t socket) {
    if (socket != OS_NO_SOCKET) {
        close((int)socket);
    }
}

/* -- the child ------------------------------------------------------------- */

bool os_child_init(struct error *error) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return signals_fd >= 0 || error_set(error, "signalfd: %s", strerror(errno));
}

/* In the child. It gets its own process group: Ctrl-C reaches the parent alone, which passes it on.
 * When the parent ends, the child is to stop in good order, though SIGSTOP may have stopped it. So
 * it gets SIGCONT, which wakes it even where it is blocked, and on which it checks whether its
 * parent still runs. */
static void become_program(const char *const *arguments, int link, int shared, pid_t parent) {
    char numbers[32];
    const char *all[ARGUMENTS_MAX] = {"berth"};
    size_t count = 1;
    sigset_t set;
    for (; arguments[count - 1] && count < ARGUMENTS_MAX - 2; count++) {
        all[count] = arguments[count - 1];
    }
    snprintf(numbers, sizeof(numbers), "%d,%d", link, shared);
    all[count++] = numbers;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGCONT);
    if (getppid() != parent) {
        _exit(EXIT_NO_PROGRAM); /* the parent ended before it could be watched */
    }
    fcntl(link, F_SETFD, 0);
    if (shared >= 0) {
        fcntl(shared, F_SETFD, 0);
    }
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    execv("/proc/self/exe", (char *const *)(uintptr_t)all);
    _exit(EXIT_NO_PROGRAM);
}

/* Sealed in size: code in the child cannot shrink it and make accesses of the parent fail. */
static int create_shared(size_t size) {
    int fd = memfd_create("berth-calls", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (ftruncate(fd, (off_t)size) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

struct os_child *os_child_start(const char *const *arguments, size_t shared_bytes,
                                struct error *error) {
    const struct timeval limit = {.tv_sec = SEND_S};
    int ends[2];
    struct os_child *child = alloc_zeroed(sizeof(*child));
    pid_t parent = getpid();
    if (!child) {
        error_set(error, "out of memory");
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        error_set(error, "socketpair: %s", strerror(errno));
        alloc_free(child);
        return NULL;
    }
    setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    child->shared = create_shared(shared_bytes);
    child->pid = fork();
    if (child->pid == 0) {
        become_program(arguments, ends[1], child->shared, parent);
    }
    close(ends[1]);
    if (child->pid < 0) {
        error_set(error, "fork: %s", strerror(errno));
        child->link.fd = ends[0];
        os_child_destroy(child);
        return NULL;
    }
    child->link.fd = ends[0];
    return child;
}

static enum os_child_event take_signal(struct os_child *child) {
    struct signalfd_siginfo info;
    if (read(signals_fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return OS_CHILD_NOTHING;
    }
    if (info.ssi_signo != SIGCHLD) {
        return info.ssi_signo == SIGHUP ? OS_CHILD_RELOAD : OS_CHILD_STOP;
    }
    /* Reaps all that have ended: process 1 of a namespace, or a subreaper, gets orphans, too.
     * Several pending SIGCHLD are merged into one. */
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (child && pid == child->pid) {
            child->status = status;
            child->pid = 0;
        }
    }
    return OS_CHILD_NOTHING;
}

/* At its end the link stays readable, without a message. */
static bool has_said(struct os_child *child) {
    char byte;
    ssize_t got = recv(child->link.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    child->silent = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    return got > 0;
}

enum os_child_event os_child_wait(struct os_child *child, int timeout_ms) {
    struct pollfd waits[] = {
        {.fd = signals_fd, .events = POLLIN},
        {.fd = child && !child->silent ? child->link.fd : -1, .events = POLLIN}};
    bool ended = child && child->pid == 0;
    if (poll(waits, 2, ended ? 0 : timeout_ms) > 0) {
        if (child && waits[1].revents != 0 && has_said(child)) {
            return OS_CHILD_SAYS;
        }
        enum os_child_event event = take_signal(child);
        if (event != OS_CHILD_NOTHING) {
            return event;
        }
    }
    /* Messages sent before its end are reported first, in the next turn. */
    return ended ? OS_CHILD_ENDED : OS_CHILD_NOTHING;
}

struct os_link *os_child_link(struct os_child *child) {
    return &child->link;
}

struct os_child_end os_child_end(const struct os_child *child) {
    struct os_child_end end = {.code = WEXITSTATUS(child->status)};
    if (WIFSIGNALED(child->status)) {
        end.crashed = true;
        end.by = WTERMSIG(child->status) == SIGKILL ? OS_END_BY_KILL : OS_END_BY_ITSELF;
        snprintf(end.text, sizeof(end.text), "signal %d", WTERMSIG(child->status));
    } else {
        end.crashed = end.code >= CODES_OF_VERBS && end.code != CODE_OF_MANIFEST;
        snprintf(end.text, sizeof(end.text), "exit code %d", end.code);
    }
    return end;
}

bool os_child_shared_copy(const struct os_child *child, void *copy, size_t size) {
    size_t done = 0;
    while (child->shared >= 0 && done < size) {
        ssize_t got = pread(child->shared, (char *)copy + done, size - done, (off_t)done);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return false;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return child->shared >= 0;
}

void os_child_ask(struct os_child *child, enum os_signal signal) {
    if (child->pid > 0) {
        kill(child->pid, signal == OS_SIGNAL_RELOAD ? SIGHUP : SIGTERM);
    }
}

void os_child_kill(struct os_child *child) {
    if (child->pid > 0) {
        kill(child->pid, SIGKILL);
    }
}

void os_child_destroy(struct os_child *child) {
    close(child->link.fd);
    if (child->shared >= 0) {
        close(child->shared);
    }
    alloc_free(child);
}
