/* test_linux_connect_faults.c: the Linux engines on calls that fail (linux_faults.h), connecting.
 */
#include "linux_world.h"

#include <errno.h>

struct attempt {
    struct engine_connect connect;
    unsigned completions;
    int64_t result;
};

static void on_connected(struct engine_op *op, int64_t result) {
    struct attempt *attempt = CONTAINER_OF(op, struct attempt, connect.op);
    attempt->completions++;
    attempt->result = result;
}

static void attempt_start(struct world *world, struct attempt *attempt) {
    *attempt = (struct attempt){.connect = {.op.complete = on_connected,
                                            .remote = world->address,
                                            .options = {.no_delay = true, .send_bytes = 65536}}};
    engine_connect(world->port, &attempt->connect);
    assert_int_equal(attempt->completions, 0);
}

/* It fails in that way, and leaves nothing. */
static void expect_failure(struct world *world, int64_t result) {
    struct attempt attempt;
    unsigned counted = descriptors_counted(world);
    unsigned open = descriptors_open();
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    assert_int_equal(attempt.result, result);
    assert_int_equal(attempt.connect.socket.handle, ENGINE_NO_SOCKET.handle);
    assert_int_equal(descriptors_counted(world), counted);
    assert_int_equal(descriptors_open(), open);
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void expect_connecting(struct world *world) {
    struct attempt attempt;
    struct accepted accepted;
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    assert_true(attempt.result >= 0);
    do { /* those that were given up may have come before it */
        accept_post(world, &accepted, false);
        RUN_UNTIL(world, accepted.completions > 0);
        accept_finish(world, &accepted, false);
    } while (!address_equal(&accepted.accept.remote, &attempt.connect.local));
    engine_close(world->engine, attempt.connect.socket, false);
}

static const struct {
    int code;
    int64_t result;
} outcomes[] = {
    {ECONNREFUSED, ENGINE_E_REFUSED},     {ETIMEDOUT, ENGINE_E_TIMED_OUT},
    {EHOSTUNREACH, ENGINE_E_UNREACHABLE}, {ENETUNREACH, ENGINE_E_UNREACHABLE},
    {ECONNRESET, ENGINE_E_RESET},         {EADDRNOTAVAIL, ENGINE_E_NO_RESOURCES},
    {EAGAIN, ENGINE_E_NO_RESOURCES},      {ENOBUFS, ENGINE_E_NO_RESOURCES},
    {ENOMEM, ENGINE_E_NO_RESOURCES},      {EACCES, ENGINE_E_OTHER},
};

static void test_connect_that_fails_tells_why(void **state) {
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(outcomes); i++) {
        fail_connects(1, outcomes[i].code);
        expect_failure(world, outcomes[i].result);
    }
    expect_connecting(world);
}

static void test_connect_without_a_socket_tells_why(void **state) {
    static const int codes[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        faults_fail(FAULT_SOCKET, 0, 1, codes[i]);
        expect_failure(world, ENGINE_E_NO_RESOURCES);
        for (unsigned pass = 0; pass < 2; pass++) {
            faults_fail(FAULT_SETSOCKOPT, pass, 1, codes[i]);
            expect_failure(world, ENGINE_E_NO_RESOURCES);
        }
    }
    faults_fail(FAULT_SOCKET, 0, 1, EAFNOSUPPORT);
    expect_failure(world, ENGINE_E_OTHER);
    expect_connecting(world);
}

static int connect_and_be_interrupted(int fd, const struct sockaddr *address, socklen_t size) {
    linux_system.connect(fd, address, size);
    errno = EINTR;
    return -1;
}

/* It goes on by itself. */
static void test_connect_that_is_interrupted_goes_on(void **state) {
    struct world *world = *state;
    if (on_ring()) {
        skip();
    }
    struct attempt attempt;
    linux_calls.connect = connect_and_be_interrupted;
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    assert_true(attempt.result >= 0);
    engine_close(world->engine, attempt.connect.socket, false);
    expect_connecting(world);
}

static void test_connect_that_cannot_be_watched_tells_why(void **state) {
    struct world *world = *state;
    if (on_ring()) {
        skip();
    }
    faults_fail(FAULT_EPOLL_ADD, 0, 1, ENOSPC);
    expect_failure(world, ENGINE_E_NO_RESOURCES);
    expect_connecting(world);
}

/* Nobody can say then that it stands. */
static void test_connect_whose_outcome_is_not_told_has_failed(void **state) {
    struct world *world = *state;
    if (on_ring()) {
        skip();
    }
    faults_fail(FAULT_GETSOCKOPT, 0, 1, ENOBUFS);
    expect_failure(world, ENGINE_E_NO_RESOURCES);
    expect_connecting(world);
}

static void test_connect_whose_local_address_is_not_told_stands(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_fail(FAULT_GETSOCKNAME, 0, 1, ENOBUFS);
    attempt_start(world, &attempt);
    RUN_UNTIL(world, attempt.completions > 0);
    assert_true(attempt.result >= 0);
    assert_int_equal(attempt.connect.local.family, BERTH_FAMILY_NONE);
    engine_close(world->engine, attempt.connect.socket, false);
}

/* It stands already, which is not told yet: the order to end it comes too late. */
static void test_connect_cancelled_too_late_stands(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    if (!on_ring()) {
        skip();
    }
    attempt_start(world, &attempt);
    faults_hold();
    run_quietly(world);
    assert_in_range(faults_held(), 1, 2); /* and that a client is there */
    engine_connect_cancel(world->port, &attempt.connect);
    run_quietly(world);
    assert_int_equal(attempt.completions, 0);
    faults_release();
    RUN_UNTIL(world, attempt.completions > 0);
    assert_true(attempt.result >= 0);
    engine_close(world->engine, attempt.connect.socket, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_connect_that_fails_tells_why),
        FAULT_TEST(test_connect_without_a_socket_tells_why),
        FAULT_TEST(test_connect_that_is_interrupted_goes_on),
        FAULT_TEST(test_connect_that_cannot_be_watched_tells_why),
        FAULT_TEST(test_connect_whose_outcome_is_not_told_has_failed),
        FAULT_TEST(test_connect_whose_local_address_is_not_told_stands),
        FAULT_TEST(test_connect_cancelled_too_late_stands),
    };
    return cmocka_run_group_tests_name("linux_connect_faults", tests, NULL, NULL);
}
