/* test_linux_life_faults.c: a host's whole life (host_life.h) on a Linux that misbehaves
 * (linux_faults.h): each call and each operation of the ring fails, once or for a while, early and
 * late. BERTH_TEST_FAULT names a single one, by its number. */
#include <errno.h>
#include <stdio.h>

#include "host_life.h"
#include "linux_faults.h"

/* A call of the system, or an operation of the ring. */
struct failing {
    int call; /* enum fault_call; -1: the operation */
    int operation;
    int code;
    bool may_last; /* the host can do without for long */
};

#define CALL(call, code)                                                                           \
    { call, 0, code, false }
#define LASTING_CALL(call, code)                                                                   \
    { call, 0, code, true }
#define OPERATION(operation, code)                                                                 \
    { -1, operation, code, false }
#define LASTING_OPERATION(operation, code)                                                         \
    { -1, operation, code, true }

static const struct failing all[] = {
    LASTING_CALL(FAULT_SOCKET, EMFILE),
    CALL(FAULT_SOCKETPAIR, ENFILE),
    LASTING_CALL(FAULT_BIND, ENOMEM),
    LASTING_CALL(FAULT_LISTEN, ENOBUFS),
    CALL(FAULT_CONNECT, EINTR),
    LASTING_CALL(FAULT_ACCEPT, EMFILE),
    LASTING_CALL(FAULT_ACCEPT, ENOBUFS),
    CALL(FAULT_ACCEPT, ECONNABORTED),
    CALL(FAULT_ACCEPT, EINTR),
    LASTING_CALL(FAULT_SHUTDOWN, ENOTCONN),
    LASTING_CALL(FAULT_GETSOCKNAME, ENOBUFS),
    LASTING_CALL(FAULT_GETSOCKOPT, ENOBUFS),
    LASTING_CALL(FAULT_SETSOCKOPT, ENOBUFS),
    LASTING_CALL(FAULT_IOCTL, ENOTTY),
    LASTING_CALL(FAULT_RECEIVE, ENOMEM),
    CALL(FAULT_RECEIVE, EINTR),
    LASTING_CALL(FAULT_RECEIVE, ECONNRESET),
    CALL(FAULT_SEND, EINTR),
    LASTING_CALL(FAULT_SEND, EPIPE),
    LASTING_CALL(FAULT_SEND, ENOBUFS),
    CALL(FAULT_SENDMSG, EINTR),
    LASTING_CALL(FAULT_SENDMSG, ENOBUFS),
    CALL(FAULT_SENDFILE, EINTR),
    LASTING_CALL(FAULT_SENDFILE, EIO),
    LASTING_CALL(FAULT_SENDFILE, ENOMEM),
    LASTING_CALL(FAULT_RECEIVE_FROM, ENOMEM),
    LASTING_CALL(FAULT_SEND_TO, ENOBUFS),
    CALL(FAULT_PREAD, EAGAIN),
    LASTING_CALL(FAULT_POLL, ENOMEM),
    CALL(FAULT_EVENTFD, EMFILE),
    CALL(FAULT_READ, EINTR),
    CALL(FAULT_WRITE, EINTR),
    CALL(FAULT_WRITE, EIO),
    CALL(FAULT_EPOLL_CREATE, EMFILE),
    LASTING_CALL(FAULT_EPOLL_ADD, ENOSPC),
    LASTING_CALL(FAULT_EPOLL_MOD, ENOMEM),
    CALL(FAULT_EPOLL_WAIT, EINTR),
    CALL(FAULT_EPOLL_WAIT, EPERM),
    CALL(FAULT_MMAP, ENOMEM),
    CALL(FAULT_RING_CREATE, ENOMEM),
    CALL(FAULT_RING_PROBE, EACCES),
    CALL(FAULT_RING_SQE, 0),
    CALL(FAULT_RING_SUBMIT, EINTR),
    CALL(FAULT_RING_SUBMIT, EAGAIN),
    CALL(FAULT_RING_SUBMIT, EBUSY),
    CALL(FAULT_REGISTER_BUFFERS, ENOMEM),
    LASTING_CALL(FAULT_UNREGISTER_BUFFERS, ENOMEM),
    CALL(FAULT_REGISTER_TABLE, ENOMEM),
    LASTING_CALL(FAULT_UPDATE_TABLE, ENOMEM),
    LASTING_OPERATION(IORING_OP_ACCEPT, EMFILE),
    OPERATION(IORING_OP_ACCEPT, ECONNABORTED),
    LASTING_OPERATION(IORING_OP_RECV, ENOMEM),
    LASTING_OPERATION(IORING_OP_RECV, ENOBUFS),
    LASTING_OPERATION(IORING_OP_RECV, ECONNRESET),
    OPERATION(IORING_OP_RECV, EINTR),
    LASTING_OPERATION(IORING_OP_POLL_ADD, ENOMEM),
    LASTING_OPERATION(IORING_OP_READ, ENOMEM),
    OPERATION(IORING_OP_SEND, EINTR),
    LASTING_OPERATION(IORING_OP_SEND, EPIPE),
    LASTING_OPERATION(IORING_OP_SENDMSG, ENOBUFS),
};

static const unsigned passes[] = {0, 3};

static void let_fail(const struct failing *failing, unsigned pass, unsigned count) {
    if (failing->call >= 0) {
        faults_fail((enum fault_call)failing->call, pass, count, failing->code);
    } else {
        faults_complete(failing->operation, pass, count, failing->code);
    }
}

static const struct failing *numbered[ARRAY_COUNT(all)]; /* those that the plan tries */
static const struct failing *failing_now;

static void begin(const struct life_plan *plan, bool at_end) {
    unsigned pass = at_end ? 0 : passes[(size_t)plan->number % ARRAY_COUNT(passes)];
    failing_now = numbered[(size_t)plan->number / ARRAY_COUNT(passes)];
    printf("call %d, operation %d, code %d%s\n", failing_now->call, failing_now->operation,
           failing_now->code, at_end ? " at the end" : "");
    fflush(stdout);
    let_fail(failing_now, pass, plan->lasts ? FAULT_ALWAYS : 1);
}

static void end(void) {
    let_fail(failing_now, 0, 0);
}

static void live_with_each(bool lasts) {
    const struct life_plan plan = {.begin = begin, .end = end, .lasts = lasts};
    long count = 0;
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        if (!lasts || all[i].may_last) {
            numbered[count++] = &all[i];
        }
    }
    host_live(NULL); /* what is made once for all lives takes its time */
    host_live_each(&plan, count * (long)ARRAY_COUNT(passes), "BERTH_TEST_FAULT");
}

static void test_life_in_which_a_call_fails_goes_on_and_loses_nothing(void **state) {
    (void)state;
    live_with_each(false);
}

static void test_life_in_which_a_call_always_fails_goes_on_when_it_does_not(void **state) {
    (void)state;
    live_with_each(true);
}

int main(int argc, char **argv) {
    faults_reset();
    host_life_main(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_in_which_a_call_fails_goes_on_and_loses_nothing),
        cmocka_unit_test(test_life_in_which_a_call_always_fails_goes_on_when_it_does_not),
    };
    return cmocka_run_group_tests_name("linux_life_faults", tests, NULL, NULL);
}
