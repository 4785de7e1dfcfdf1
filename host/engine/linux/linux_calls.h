/* linux_calls.h: every system call that the engines on Linux make, as a table of functions.
 *
 * The host's table is constant: the compiler calls the functions directly and drops the table. The
 * tests' build of the engines (BERTH_CALL_TABLE) has a table that can be changed while they run, to
 * inject what seldom happens on a healthy machine: failing calls, short transfers, calls that are
 * interrupted (tests/support/linux_faults.h). The calls of the ring are in uring_calls.h.
 *
 * glibc's functions for the calls of the fast paths are points at which a thread may be cancelled,
 * and prepare for that with two atomic operations in each call, which is a notable part of the cost
 * of an echo. The host cancels no threads, so it makes these calls by syscall(); except where a
 * sanitizer has to see them.
 *
 * As the functions they stand for: -1, and the code in errno. Threads: any. */
#ifndef BERTH_HOST_ENGINE_LINUX_LINUX_CALLS_H
#define BERTH_HOST_ENGINE_LINUX_LINUX_CALLS_H

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define linux_accept4 accept4
#define linux_recv recv
#define linux_send send
#define linux_sendmsg sendmsg
#define linux_close close
#else

static inline int linux_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
    return (int)syscall(SYS_accept4, fd, address, size, flags);
}

static inline ssize_t linux_recv(int fd, void *bytes, size_t size, int flags) {
    return syscall(SYS_recvfrom, fd, bytes, size, flags, NULL, NULL);
}

static inline ssize_t linux_send(int fd, const void *bytes, size_t size, int flags) {
    return syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
}

static inline ssize_t linux_sendmsg(int fd, const struct msghdr *message, int flags) {
    return syscall(SYS_sendmsg, fd, message, flags);
}

static inline int linux_close(int fd) {
    return (int)syscall(SYS_close, fd);
}

#endif

struct linux_call_table {
    /* Sockets. */
    int (*socket)(int family, int type, int protocol);
    int (*socketpair)(int family, int type, int protocol, int fds[2]);
    int (*bind)(int fd, const struct sockaddr *address, socklen_t size);
    int (*listen)(int fd, int backlog);
    int (*connect)(int fd, const struct sockaddr *address, socklen_t size);
    int (*accept4)(int fd, struct sockaddr *address, socklen_t *size, int flags);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    int (*getsockname)(int fd, struct sockaddr *address, socklen_t *size);
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *size);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t size);
    int (*fcntl)(int fd, int command, ...);
    int (*ioctl)(int fd, unsigned long request, ...);

    /* Bytes. */
    ssize_t (*recv)(int fd, void *bytes, size_t size, int flags);
    ssize_t (*send)(int fd, const void *bytes, size_t size, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    ssize_t (*sendfile)(int fd, int file, off_t *offset, size_t size);
    int (*recvmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags,
                    struct timespec *timeout);
    int (*sendmmsg)(int fd, struct mmsghdr *messages, unsigned count, int flags);
    ssize_t (*preadv2)(int fd, const struct iovec *vectors, int count, off_t offset, int flags);

    /* Waiting. */
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*eventfd)(unsigned value, int flags);
    ssize_t (*read)(int fd, void *bytes, size_t size);
    ssize_t (*write)(int fd, const void *bytes, size_t size);
    int (*epoll_create1)(int flags);
    int (*epoll_ctl)(int epoll, int command, int fd, struct epoll_event *event);
    int (*epoll_wait)(int epoll, struct epoll_event *events, int count, int timeout_ms);

    /* Memory. */
    void *(*mmap)(void *at, size_t size, int protection, int flags, int fd, off_t offset);
    int (*munmap)(void *memory, size_t size);
};

static const struct linux_call_table linux_system = {
    .socket = socket,
    .socketpair = socketpair,
    .bind = bind,
    .listen = listen,
    .connect = connect,
    .accept4 = linux_accept4,
    .shutdown = shutdown,
    .close = linux_close,
    .getsockname = getsockname,
    .getsockopt = getsockopt,
    .setsockopt = setsockopt,
    .fcntl = fcntl,
    .ioctl = ioctl,
    .recv = linux_recv,
    .send = linux_send,
    .sendmsg = linux_sendmsg,
    .sendfile = sendfile,
    .recvmmsg = recvmmsg,
    .sendmmsg = sendmmsg,
    .preadv2 = preadv2,
    .poll = poll,
    .eventfd = eventfd,
    .read = read,
    .write = write,
    .epoll_create1 = epoll_create1,
    .epoll_ctl = epoll_ctl,
    .epoll_wait = epoll_wait,
    .mmap = mmap,
    .munmap = munmap,
};

#ifdef BERTH_CALL_TABLE
extern struct linux_call_table linux_calls;
#else
#define linux_calls linux_system
#endif

#endif
