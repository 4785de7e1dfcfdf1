/* test_iocp_connect_faults.c: the IOCP engine on a Winsock that misbehaves (winsock_faults.h),
 * connecting. Whatever fails, the completion tells it, once and not from within the call, and the
 * socket is closed. */
#include "iocp_world.h"

struct attempt {
    struct engine_connect connect;
    bool done;
    int64_t result;
    unsigned closed_before; /* sockets */
};

static void attempt_complete(struct engine_op *op, int64_t result) {
    struct attempt *attempt = CONTAINER_OF(op, struct attempt, connect.op);
    assert_false(attempt->done);
    attempt->done = true;
    attempt->result = result;
}

/* With these first data, "" for none. */
static void attempt_start(struct world *world, struct attempt *attempt, const char *first) {
    *attempt = (struct attempt){.closed_before = faults_calls(FAULT_CLOSE)};
    attempt->connect.op.complete = attempt_complete;
    attempt->connect.remote = engine_listener_address(world->listener);
    attempt->connect.first_data =
        (struct engine_piece){.bytes = (const uint8_t *)first, .size = strlen(first)};
    attempt->connect.options.no_delay = true;
    engine_connect(world->port, &attempt->connect);
    assert_false(attempt->done);
    assert_int_equal(engine_port_pending(world->port), 1);
}

static void expect_failure(struct world *world, struct attempt *attempt, int64_t result,
                           unsigned closed) {
    assert_true(run_until(world, &attempt->done));
    assert_int_equal(attempt->result, result);
    assert_int_equal(attempt->connect.socket.handle, ENGINE_NO_SOCKET.handle);
    assert_int_equal(faults_calls(FAULT_CLOSE) - attempt->closed_before, closed);
    assert_int_equal(engine_port_pending(world->port), 0);
}

/* It has succeeded: what is not sent of the text is sent, and all of it arrives. */
static void expect_success(struct world *world, struct attempt *attempt, const char *text,
                           int64_t result) {
    struct accepted accepted;
    size_t size = strlen(text);
    assert_true(run_until(world, &attempt->done));
    assert_int_equal(attempt->result, result);
    assert_int_equal(faults_calls(FAULT_CLOSE), attempt->closed_before);
    if ((size_t)result < size) {
        /* Only where sends that succeed at once have no completion. */
        struct engine_op op;
        struct engine_piece rest = {.bytes = (const uint8_t *)text + result,
                                    .size = size - (size_t)result};
        assert_int_equal(engine_send(world->port, attempt->connect.socket, &op, &rest, 1),
                         rest.size);
    }
    accept_start(world, &accepted, size > 0);
    assert_true(run_until(world, &accepted.done));
    assert_int_equal(accepted.result, size);
    assert_memory_equal(accepted.accept.data.bytes, text, size);
    assert_int_equal(accepted.accept.remote.port, attempt->connect.local.port);
    assert_int_equal(attempt->connect.local.family, BERTH_FAMILY_IPV4);
    accept_close(world, &accepted);
    engine_close(world->engine, attempt->connect.socket, true);
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void expect_connecting(struct world *world) {
    struct attempt attempt;
    attempt_start(world, &attempt, "hello");
    expect_success(world, &attempt, "hello", 5);
}

/* -- preparing ------------------------------------------------------------- */

static void test_connect_that_cannot_be_prepared_completes_with_the_reason(void **state) {
    struct world *world = *state;
    static const struct {
        enum fault_call call;
        unsigned pass;
        int code;
        int64_t result;
        unsigned closed;
    } faults[] = {
        {FAULT_SOCKET, 0, WSAEMFILE, ENGINE_E_NO_RESOURCES, 0},
        {FAULT_SOCKET, 0, WSAENOBUFS, ENGINE_E_NO_RESOURCES, 0},
        {FAULT_SOCKET, 0, WSAEPROVIDERFAILEDINIT, ENGINE_E_NO_RESOURCES, 0},
        {FAULT_SOCKET, 0, WSAEPROCLIM, ENGINE_E_NO_RESOURCES, 0},
        {FAULT_SOCKET, 0, WSAEAFNOSUPPORT, ENGINE_E_UNREACHABLE, 0},
        {FAULT_SETSOCKOPT, 0, WSAENOBUFS, ENGINE_E_NO_RESOURCES, 1}, /* TCP_NODELAY */
        {FAULT_BIND, 0, WSAENOBUFS, ENGINE_E_NO_RESOURCES, 1},
        {FAULT_BIND, 0, WSAEADDRINUSE, ENGINE_E_NO_RESOURCES, 1},
        {FAULT_PORT_CREATE, 0, ERROR_NOT_ENOUGH_MEMORY, ENGINE_E_NO_RESOURCES, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct attempt attempt;
        faults_fail(faults[i].call, faults[i].pass, 1, faults[i].code);
        attempt_start(world, &attempt, "hello");
        expect_failure(world, &attempt, faults[i].result, faults[i].closed);
    }
    expect_connecting(world);
}

static void withhold_connect_ex(void) {
    faults_withhold(FAULT_CONNECT_EX);
}

static int setup_without_connect_ex(void **state) {
    return setup_after(state, withhold_connect_ex);
}

static void test_connect_without_connect_ex_fails(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    attempt_start(world, &attempt, "hello");
    expect_failure(world, &attempt, ENGINE_E_OTHER, 1);
}

/* -- ConnectEx ------------------------------------------------------------- */

static const struct {
    int code;
    int64_t result;
} connect_faults[] = {
    {ERROR_CONNECTION_REFUSED, ENGINE_E_REFUSED},
    {WSAECONNREFUSED, ENGINE_E_REFUSED},
    {ERROR_NETWORK_UNREACHABLE, ENGINE_E_UNREACHABLE},
    {ERROR_HOST_UNREACHABLE, ENGINE_E_UNREACHABLE},
    {WSAENETUNREACH, ENGINE_E_UNREACHABLE},
    {WSAEHOSTUNREACH, ENGINE_E_UNREACHABLE},
    {WSAEADDRNOTAVAIL, ENGINE_E_UNREACHABLE},
    {ERROR_SEM_TIMEOUT, ENGINE_E_TIMED_OUT},
    {WSAETIMEDOUT, ENGINE_E_TIMED_OUT},
    {WSAENOBUFS, ENGINE_E_NO_RESOURCES},
    {WSAEWOULDBLOCK, ENGINE_E_NO_RESOURCES},
    {WSAEADDRINUSE, ENGINE_E_NO_RESOURCES},
    {ERROR_OPERATION_ABORTED, ENGINE_E_CANCELLED},
    {ERROR_NETNAME_DELETED, ENGINE_E_RESET},
};

static void test_connect_failing_at_once_completes_with_the_reason(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(connect_faults); i++) {
        struct attempt attempt;
        faults_fail(FAULT_CONNECT_EX, 0, 1, connect_faults[i].code);
        attempt_start(world, &attempt, "hello");
        expect_failure(world, &attempt, connect_faults[i].result, 1);
    }
    expect_connecting(world);
}

static void test_connect_completing_with_an_error_tells_the_reason(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(connect_faults); i++) {
        struct attempt attempt;
        faults_complete(FAULT_CONNECT_EX, 1, connect_faults[i].code);
        attempt_start(world, &attempt, "");
        expect_failure(world, &attempt, connect_faults[i].result, 1);
    }
    assert_int_equal(faults_injected(FAULT_CONNECT_EX), ARRAY_COUNT(connect_faults));
}

static void test_connect_succeeding_at_once_completes_from_the_loop(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_at_once(FAULT_CONNECT_EX, 2);
    attempt_start(world, &attempt, "hello");
    expect_success(world, &attempt, "hello", 5);
    attempt_start(world, &attempt, "");
    expect_success(world, &attempt, "", 0);
    assert_int_equal(faults_injected(FAULT_CONNECT_EX), 2);
}

static void test_connect_that_sends_a_part_tells_how_much(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_limit_connect_data(2);
    attempt_start(world, &attempt, "hello");
    expect_success(world, &attempt, "hello", 2);
    faults_at_once(FAULT_CONNECT_EX, 1);
    attempt_start(world, &attempt, "again");
    expect_success(world, &attempt, "again", 2);
    faults_limit_connect_data(0);
    attempt_start(world, &attempt, "third");
    expect_success(world, &attempt, "third", 0);
}

static void test_connect_that_cannot_be_settled_fails(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    /* TCP_NODELAY and SO_REUSE_UNICASTPORT go before SO_UPDATE_CONNECT_CONTEXT. */
    faults_fail(FAULT_SETSOCKOPT, 2, 1, WSAENOTCONN);
    attempt_start(world, &attempt, "hello");
    expect_failure(world, &attempt, ENGINE_E_RESET, 1);
    assert_int_equal(faults_injected(FAULT_SETSOCKOPT), 1);
}

/* Else Windows repeats its SYN for two seconds, whatever the answer is. */
static void test_connect_to_this_machine_is_refused_at_once(void **state) {
    static const DWORD initial_rto = 0x98000011; /* SIO_TCP_INITIAL_RTO */
    struct world *world = *state;
    struct attempt attempt;
    attempt_start(world, &attempt, "");
    expect_success(world, &attempt, "", 0);
    assert_int_equal(faults_ioctls(initial_rto), 1);
    attempt = (struct attempt){.connect.op.complete = attempt_complete};
    attempt.connect.remote = (struct berth_address){BERTH_FAMILY_IPV4, 9, 0, {192, 0, 2, 1}};
    faults_fail(FAULT_CONNECT_EX, 0, 1, WSAENETUNREACH);
    engine_connect(world->port, &attempt.connect);
    assert_true(run_until(world, &attempt.done));
    assert_int_equal(faults_ioctls(initial_rto), 1); /* others are far: SYNs get lost */
}

/* -- cancelling ------------------------------------------------------------ */

static void test_connect_cancelled_after_its_completion_succeeds(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_hold();
    attempt_start(world, &attempt, "late");
    for (int i = 0; i < RUNS_MAX && faults_held() == 0; i++) {
        engine_port_run(world->port, 20);
    }
    engine_connect_cancel(world->port, &attempt.connect);
    faults_release_reversed();
    expect_success(world, &attempt, "late", 4);
}

static void test_connect_cancelled_after_succeeding_at_once_succeeds(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_at_once(FAULT_CONNECT_EX, 1);
    attempt_start(world, &attempt, "hello");
    engine_connect_cancel(world->port, &attempt.connect);
    expect_success(world, &attempt, "hello", 5);
}

static void test_connect_cancelled_after_failing_at_once_fails(void **state) {
    struct world *world = *state;
    struct attempt attempt;
    faults_fail(FAULT_CONNECT_EX, 0, 1, WSAECONNREFUSED);
    attempt_start(world, &attempt, "hello");
    engine_connect_cancel(world->port, &attempt.connect);
    expect_failure(world, &attempt, ENGINE_E_REFUSED, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH_WAYS(test_connect_that_cannot_be_prepared_completes_with_the_reason),
        cmocka_unit_test_setup_teardown(test_connect_without_connect_ex_fails,
                                        setup_without_connect_ex, teardown),
        BOTH_WAYS(test_connect_failing_at_once_completes_with_the_reason),
        BOTH_WAYS(test_connect_completing_with_an_error_tells_the_reason),
        BOTH_WAYS(test_connect_succeeding_at_once_completes_from_the_loop),
        ONE_WAY(test_connect_that_sends_a_part_tells_how_much),
        ONE_WAY(test_connect_to_this_machine_is_refused_at_once),
        BOTH_WAYS(test_connect_that_cannot_be_settled_fails),
        BOTH_WAYS(test_connect_cancelled_after_its_completion_succeeds),
        BOTH_WAYS(test_connect_cancelled_after_succeeding_at_once_succeeds),
        BOTH_WAYS(test_connect_cancelled_after_failing_at_once_fails),
    };
    return cmocka_run_group_tests_name("iocp_connect_faults", tests, NULL, NULL);
}
