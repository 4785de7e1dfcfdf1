/* test_linux_accept_faults.c: the Linux engines on calls that fail (linux_faults.h), listening and
 * accepting. */
#include "linux_world.h"

#include <errno.h>

#include "engine/linux/linux.h"

/* -- listening ------------------------------------------------------------- */

enum { SOCKETS = 3 }; /* a listener's */

static struct engine_listener *listener_open(struct world *world, bool datagrams,
                                             struct error *error) {
    struct engine_listen_options options = {
        .address = loopback_v4,
        .acceptors = SOCKETS,
        .datagrams = datagrams,
        .sockets = {.no_delay = true, .keepalive_idle_s = 10, .receive_bytes = 65536}};
    return engine_listener_open(world->engine, &options, error);
}

/* However late in it the call fails, the error tells, and nothing is left. */
static void check_open_failing(struct world *world, enum fault_call call, int code,
                               const char *text) {
    for (unsigned datagrams = 0; datagrams < 2; datagrams++) {
        unsigned pass = 0;
        for (;; pass++) {
            struct error error = {0};
            unsigned open = descriptors_open();
            unsigned counted = descriptors_counted(world);
            unsigned injected = faults_injected(call);
            faults_fail(call, pass, FAULT_ALWAYS, code);
            struct engine_listener *listener = listener_open(world, datagrams, &error);
            faults_fail(call, 0, 0, 0);
            if (faults_injected(call) == injected) {
                assert_non_null(listener);
                engine_listener_close(listener);
                break;
            }
            assert_null(listener);
            assert_non_null(strstr(error.message, text));
            assert_int_equal(descriptors_open(), open);
            assert_int_equal(descriptors_counted(world), counted);
        }
        assert_true(pass >= 1);
    }
}

static void test_listener_that_gets_no_socket_tells_why(void **state) {
    check_open_failing(*state, FAULT_SOCKET, EMFILE, "ulimit -n");
    check_open_failing(*state, FAULT_SOCKET, ENFILE, "fs.file-max");
    check_open_failing(*state, FAULT_SOCKET, ENOBUFS, "memory is short");
    check_open_failing(*state, FAULT_SOCKET, ENOMEM, "memory is short");
    check_open_failing(*state, FAULT_SOCKET, EAFNOSUPPORT, "address family not supported");
}

static void test_listener_that_cannot_be_bound_tells_why(void **state) {
    check_open_failing(*state, FAULT_BIND, EACCES, "access denied");
    check_open_failing(*state, FAULT_BIND, EADDRNOTAVAIL, "address not available");
    check_open_failing(*state, FAULT_BIND, ENOMEM, "memory is short");
}

static void test_listener_whose_port_is_held_for_a_moment_waits(void **state) {
    struct world *world = *state;
    struct error error = {0};
    faults_fail(FAULT_BIND, 0, 3, EADDRINUSE);
    struct engine_listener *listener = listener_open(world, false, &error);
    assert_non_null(listener);
    assert_int_equal(faults_injected(FAULT_BIND), 3);
    engine_listener_close(listener);
    faults_fail(FAULT_BIND, 0, FAULT_ALWAYS, EADDRINUSE);
    assert_null(listener_open(world, false, &error));
    assert_string_equal(error.message, "address in use");
}

static void test_listener_that_an_option_is_refused_tells_why(void **state) {
    check_open_failing(*state, FAULT_SETSOCKOPT, ENOBUFS, "memory is short");
}

/* Without the port that the system chose there is nothing to tell anybody. */
static void test_listener_that_does_not_learn_its_address_tells_why(void **state) {
    check_open_failing(*state, FAULT_GETSOCKNAME, ENOBUFS, "memory is short");
}

static void test_listener_that_cannot_listen_tells_why_and_can_later(void **state) {
    struct world *world = *state;
    struct error error = {0};
    struct engine_listener *listener = listener_open(world, false, &error);
    assert_non_null(listener);
    for (unsigned pass = 0; pass < SOCKETS; pass++) {
        faults_fail(FAULT_LISTEN, pass, 1, EADDRINUSE);
        assert_false(engine_listener_start(listener, &error));
        assert_string_equal(error.message, "address in use");
    }
    assert_true(engine_listener_start(listener, &error));
    engine_listener_close(listener);
}

/* -- acceptors ------------------------------------------------------------- */

static void test_acceptor_that_cannot_be_watched_tells_why_and_can_later(void **state) {
    struct world *world = *state;
    struct error error = {0};
    if (on_ring()) {
        skip(); /* there it is one of the operations, which fail later */
    }
    engine_acceptor_destroy(world->acceptor);
    unsigned acceptors = atomic_load(&world->listener->acceptors);
    faults_fail(FAULT_EPOLL_ADD, 0, 1, ENOSPC);
    world->acceptor =
        engine_acceptor_create(world->port, world->listener, 0, count_starved, world, &error);
    assert_null(world->acceptor);
    assert_non_null(strstr(error.message, "watching for clients"));
    assert_int_equal(atomic_load(&world->listener->acceptors), acceptors);
    world->acceptor =
        engine_acceptor_create(world->port, world->listener, 0, count_starved, world, &error);
    assert_non_null(world->acceptor);
    expect_accepting(world);
}

/* The poll that tells of clients while no accept is posted. */
static void test_acceptor_whose_poll_fails_goes_on_and_does_not_spin(void **state) {
    struct world *world = *state;
    if (!on_ring()) {
        skip();
    }
    faults_complete(IORING_OP_POLL_ADD, 0, FAULT_ALWAYS, ENOMEM);
    struct peer peer = client(world);
    expect_no_spinning(world);
    faults_complete(IORING_OP_POLL_ADD, 0, 0, 0);
    RUN_UNTIL(world, world->starved > 0);
    peer_close(peer);
    expect_accepting(world);
}

/* -- accepting ------------------------------------------------------------- */

static void test_accept_of_a_client_that_is_gone_takes_the_next(void **state) {
    static const int codes[] = {ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN, ETIMEDOUT};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        for (int with_data = 0; with_data < 2; with_data++) {
            struct accepted accepted;
            fail_accepts(3, codes[i]);
            accept_post(world, &accepted, with_data);
            struct peer peer = client(world);
            assert_true(peer_send(peer, "hello", 5));
            RUN_UNTIL(world, accepted.completions > 0);
            assert_true(is_client(&accepted, peer));
            accept_finish(world, &accepted, false);
            peer_close(peer);
        }
    }
    expect_accepting(world);
}

static void test_accept_without_resources_tells_and_the_client_waits(void **state) {
    static const int codes[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct accepted accepted;
        unsigned counted = descriptors_counted(world);
        struct peer peer = client(world);
        fail_accepts(2, codes[i]);
        for (int failure = 0; failure < 2; failure++) {
            accept_post(world, &accepted, false);
            RUN_UNTIL(world, accepted.completions > 0);
            assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
            assert_int_equal(descriptors_counted(world), counted);
        }
        expect_no_spinning(world);
        accept_post(world, &accepted, false);
        RUN_UNTIL(world, accepted.completions > 0);
        assert_true(is_client(&accepted, peer));
        accept_finish(world, &accepted, false);
        peer_close(peer);
    }
}

static void test_accept_that_fails_for_good_tells_each_time(void **state) {
    struct world *world = *state;
    struct accepted accepted[4];
    fail_accepts(FAULT_ALWAYS, EMFILE);
    struct peer peer = client(world);
    for (unsigned i = 0; i < ARRAY_COUNT(accepted); i++) {
        accept_post(world, &accepted[i], false);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(accepted); i++) {
        RUN_UNTIL(world, accepted[i].completions > 0);
        assert_int_equal(accepted[i].result, ENGINE_E_NO_RESOURCES);
    }
    expect_no_spinning(world);
    fail_accepts(0, 0);
    peer_close(peer);
    expect_accepting(world);
}

/* Whether clients queue is asked of the kernel, which may not say. */
static void test_accept_goes_on_when_the_kernel_does_not_say_who_queues(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    struct peer peer = client(world);
    faults_fail(FAULT_POLL, 0, 20, ENOMEM);
    run_quietly(world);
    fail_accepts(1, EMFILE);
    accept_post(world, &accepted, false);
    RUN_UNTIL(world, accepted.completions > 0);
    run_quietly(world);
    accept_post(world, &accepted, false);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(is_client(&accepted, peer));
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_accept_whose_local_address_is_not_told_has_the_listeners(void **state) {
    struct world *world = *state;
    const struct berth_address any = {.family = BERTH_FAMILY_IPV4};
    struct accepted accepted;
    world_listen(world, &any, false);
    accept_post(world, &accepted, false);
    faults_fail(FAULT_GETSOCKNAME, 0, 1, ENOBUFS);
    struct peer peer = client(world);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(faults_injected(FAULT_GETSOCKNAME), 1);
    assert_int_equal(accepted.accept.local.port, world->address.port);
    assert_int_equal(accepted.accept.local.family, BERTH_FAMILY_IPV4);
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

/* -- the first data -------------------------------------------------------- */

static void test_first_data_that_there_is_no_memory_for_waits(void **state) {
    static const int codes[] = {ENOMEM, ENOBUFS, EINTR, EAGAIN};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct accepted accepted;
        unsigned failed = failed_receives();
        struct peer peer = client(world);
        assert_true(peer_send(peer, "hello", 5));
        fail_receives(3, codes[i]);
        accept_post(world, &accepted, true);
        RUN_UNTIL(world, accepted.completions > 0);
        assert_int_equal(accepted.result, 5);
        assert_memory_equal(accepted.accept.data.bytes, "hello", 5);
        assert_true(is_client(&accepted, peer));
        assert_true(failed_receives() > failed);
        fail_receives(0, 0);
        accept_finish(world, &accepted, false);
        peer_close(peer);
    }
}

static void test_first_data_that_finds_no_memory_can_be_cancelled(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    struct peer peer = client(world);
    assert_true(peer_send(peer, "hello", 5));
    fail_receives(FAULT_ALWAYS, ENOMEM);
    accept_post(world, &accepted, true);
    RUN_UNTIL(world, engine_accept_connected_ms(&accepted.accept) >= 0);
    expect_no_spinning(world);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    expect_reset_at_peer(peer);
    fail_receives(0, 0);
    peer_close(peer);
    expect_accepting(world);
}

static void test_first_data_of_a_client_that_is_gone_gives_the_accept_back(void **state) {
    static const int codes[] = {ECONNRESET, ETIMEDOUT, EHOSTUNREACH};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct accepted accepted;
        unsigned counted = descriptors_counted(world);
        struct peer lost = client(world);
        assert_true(peer_send(lost, "lost", 4));
        fail_receives(1, codes[i]);
        accept_post(world, &accepted, true);
        run_quietly(world);
        assert_int_equal(accepted.completions, 0);
        fail_receives(0, 0);
        struct peer peer = client(world);
        assert_true(peer_send(peer, "hello", 5));
        RUN_UNTIL(world, accepted.completions > 0);
        assert_true(is_client(&accepted, peer));
        accept_finish(world, &accepted, false);
        assert_in_range(descriptors_counted(world), 0, counted + 1); /* a place may have one */
        peer_close(lost);
        peer_close(peer);
    }
}

/* The table of what is watched cannot be added to: it is looked again soon. */
static void test_first_data_that_cannot_be_watched_comes_all_the_same(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    if (on_ring()) {
        skip();
    }
    faults_fail(FAULT_EPOLL_ADD, 0, 5, ENOSPC);
    accept_post(world, &accepted, true);
    struct peer peer = client(world);
    run_quietly(world);
    assert_true(faults_injected(FAULT_EPOLL_ADD) > 0);
    assert_true(peer_send(peer, "hello", 5));
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, 5);
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAULT_TEST_BARE(test_listener_that_gets_no_socket_tells_why),
        FAULT_TEST_BARE(test_listener_that_cannot_be_bound_tells_why),
        FAULT_TEST_BARE(test_listener_whose_port_is_held_for_a_moment_waits),
        FAULT_TEST_BARE(test_listener_that_an_option_is_refused_tells_why),
        FAULT_TEST_BARE(test_listener_that_does_not_learn_its_address_tells_why),
        FAULT_TEST_BARE(test_listener_that_cannot_listen_tells_why_and_can_later),
        FAULT_TEST(test_acceptor_that_cannot_be_watched_tells_why_and_can_later),
        FAULT_TEST(test_acceptor_whose_poll_fails_goes_on_and_does_not_spin),
        FAULT_TEST(test_accept_of_a_client_that_is_gone_takes_the_next),
        FAULT_TEST(test_accept_without_resources_tells_and_the_client_waits),
        FAULT_TEST(test_accept_that_fails_for_good_tells_each_time),
        FAULT_TEST(test_accept_goes_on_when_the_kernel_does_not_say_who_queues),
        FAULT_TEST_BARE(test_accept_whose_local_address_is_not_told_has_the_listeners),
        FAULT_TEST(test_first_data_that_there_is_no_memory_for_waits),
        FAULT_TEST(test_first_data_that_finds_no_memory_can_be_cancelled),
        FAULT_TEST(test_first_data_of_a_client_that_is_gone_gives_the_accept_back),
        FAULT_TEST(test_first_data_that_cannot_be_watched_comes_all_the_same),
    };
    return cmocka_run_group_tests_name("linux_accept_faults", tests, NULL, NULL);
}
