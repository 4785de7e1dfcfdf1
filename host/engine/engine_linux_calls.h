/* engine_linux_calls.h: the system calls of the fast paths.
 *
 * glibc's functions for them are points at which a thread may be cancelled, and prepare for that
 * with two atomic operations in each call, one of the dearer things in an echo. Nobody here cancels
 * threads, so they are passed by; but not where a sanitizer wants to see the calls.
 *
 * As the functions they stand for: -1, and the code in errno. Threads: any. */
#ifndef BERTH_HOST_ENGINE_ENGINE_LINUX_CALLS_H
#define BERTH_HOST_ENGINE_ENGINE_LINUX_CALLS_H

#include <sys/socket.h>
#include <sys/syscall.h>
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
#endif
