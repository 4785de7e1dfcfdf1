/* linux_faults.h: a Linux for tests that does what a healthy machine seldom does.
 *
 * The engines of the library `engine_faults` make their calls through tables
 * (host/engine/linux/linux_calls.h, uring_calls.h). They are the system's own, over real
 * sockets and a real ring, until they are told otherwise: to let calls fail, to cut transfers
 * short, to have operations of the ring end with an error that the kernel has not met, and to hold
 * completions back. Peers and the tests themselves call the system directly.
 *
 * The words are those of winsock_faults.h. Threads: the test's, which runs the port; but for
 * FAULT_WRITE, which the posts of any thread meet. */
#ifndef BERTH_TESTS_ENGINE_LINUX_FAULTS_H
#define BERTH_TESTS_ENGINE_LINUX_FAULTS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/linux/linux_calls.h"
#include "engine/uring/uring_calls.h"

enum fault_call {
    FAULT_SOCKET,
    FAULT_SOCKETPAIR,
    FAULT_BIND,
    FAULT_LISTEN,
    FAULT_CONNECT,
    FAULT_ACCEPT, /* accept4 */
    FAULT_SHUTDOWN,
    FAULT_CLOSE, /* counted only */
    FAULT_GETSOCKNAME,
    FAULT_GETSOCKOPT,
    FAULT_SETSOCKOPT,
    FAULT_IOCTL,
    FAULT_RECEIVE, /* recv */
    FAULT_SEND,
    FAULT_SENDMSG,
    FAULT_SENDFILE,
    FAULT_RECEIVE_FROM, /* recvmmsg */
    FAULT_SEND_TO,      /* sendmmsg */
    FAULT_PREAD,        /* preadv2 */
    FAULT_POLL,
    FAULT_EVENTFD,
    FAULT_READ,
    FAULT_WRITE,
    FAULT_EPOLL_CREATE,
    FAULT_EPOLL_ADD, /* epoll_ctl, by its command */
    FAULT_EPOLL_MOD,
    FAULT_EPOLL_DEL,
    FAULT_EPOLL_WAIT,
    FAULT_MMAP,
    FAULT_RING_CREATE,
    FAULT_RING_PROBE,
    FAULT_RING_SQE,    /* a full queue, whatever the code */
    FAULT_RING_SUBMIT, /* with or without a wait */
    FAULT_REGISTER_BUFFERS,
    FAULT_UNREGISTER_BUFFERS,
    FAULT_REGISTER_TABLE, /* of files, empty */
    FAULT_UPDATE_TABLE,
    FAULT_CALLS
};

#define FAULT_ALWAYS UINT_MAX /* as a count: until told otherwise */

/* The tables of the system's own calls are put in place again, counts are at zero. */
void faults_reset(void);

/* Lets `pass` more calls go by, then fails `count` of them with the code. Count 0 ends that. */
void faults_fail(enum fault_call call, unsigned pass, unsigned count, int code);

/* The next `count` calls of that kind (recv, send, sendmsg, sendfile) transfer no more than so many
 * bytes. */
void faults_shorten(enum fault_call call, unsigned count, size_t bytes);

/* How many calls were made, and how many of the things asked for above have come to pass. */
unsigned faults_calls(enum fault_call call);
unsigned faults_injected(enum fault_call call);

/* -- the ring -------------------------------------------------------------- */

/* Lets `pass` more operations of that kind (IORING_OP_…) go to the kernel, then ends `count` of
 * them with the code, as if the kernel had: it does not see them. */
void faults_complete(int operation, unsigned pass, unsigned count, int code);
unsigned faults_completed(int operation);

/* Holds back the completions of operations from now on; lets them go, in their order. An order to
 * cancel one of them does not find it, as it is over. */
void faults_hold(void);
void faults_release(void);
unsigned faults_held(void);

/* Rings that are created from now on have no more entries than that: 0 for the usual. Completions
 * beyond that are kept by the kernel: the overflow. */
void faults_limit_ring(unsigned submissions, unsigned completions);
unsigned faults_overflows(void); /* how often a ring was found with one */

/* The kernel is an older one, until the reset. */
enum fault_age {
    FAULT_LINUX_6_1,  /* no receives that are limited, no accepts that wait first, no installing */
    FAULT_LINUX_5_19, /* nor DEFER_TASKRUN, SINGLE_ISSUER */
};
void faults_age(enum fault_age age);

#endif
