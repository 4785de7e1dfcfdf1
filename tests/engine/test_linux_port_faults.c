/* test_linux_port_faults.c: the Linux engines on calls that fail (linux_faults.h): the choice of an
 * engine, ports, posts and waits. */
#include "linux_world.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/linux/linux.h"

enum { LONG_MS = 20000 }; /* what a wait may take that nothing ends */

/* -- making ports ---------------------------------------------------------- */

static bool take(void *context, struct engine_buffer *buffer) {
    unsigned *out = context;
    uint8_t *bytes = alloc_zeroed(BUFFER_BYTES);
    if (!bytes) {
        return false;
    }
    (*out)++;
    *buffer = (struct engine_buffer){bytes, bytes, BUFFER_BYTES};
    return true;
}

static void give(void *context, void *owner) {
    unsigned *out = context;
    (*out)--;
    alloc_free(owner);
}

static uint8_t *bytes_of(void *owner) {
    return owner;
}

static struct engine_port *port_make(struct world *world, unsigned *out, struct error *error) {
    struct engine_port_options options = {
        .buffers = {out, BUFFER_BYTES, take, give, bytes_of},
        .receive_buffers = BUFFERS_AT_FIRST,
        .receive_buffers_max = BUFFERS_MAX,
    };
    return engine_port_create(world->engine, &options, error);
}

static void expect_port(struct world *world) {
    struct error error = {0};
    unsigned out = 0;
    struct engine_port *port = port_make(world, &out, &error);
    assert_non_null(port);
    engine_port_run(port, 0);
    engine_port_destroy(port);
    assert_int_equal(out, 0);
}

static const struct {
    enum fault_call call;
    int code;
    const char *reason;
    bool for_epoll;
    bool for_ring;
    bool for_table;
} port_faults[] = {
    {FAULT_EVENTFD, EMFILE, "ulimit -n", true, true, true},
    {FAULT_EVENTFD, ENFILE, "fs.file-max", true, true, true},
    {FAULT_EVENTFD, ENOMEM, "memory is short", true, true, true},
    {FAULT_EPOLL_CREATE, EMFILE, "ulimit -n", true, false, false},
    {FAULT_EPOLL_CREATE, ENOMEM, "memory is short", true, false, false},
    {FAULT_EPOLL_ADD, ENOSPC, "fs.epoll.max_user_watches", true, false, false},
    {FAULT_RING_CREATE, EMFILE, "ulimit -n", false, true, true},
    {FAULT_RING_CREATE, ENOMEM, "memory is short", false, true, true},
    {FAULT_MMAP, ENOMEM, "memory is short", false, true, true},
    {FAULT_REGISTER_BUFFERS, ENOMEM, "memory is short", false, true, true},
    {FAULT_REGISTER_TABLE, ENOMEM, "host.direct_descriptors", false, false, true},
};

static void test_port_that_cannot_be_made_tells_why_and_leaves_nothing(void **state) {
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(port_faults); i++) {
        bool applies = !on_ring()   ? port_faults[i].for_epoll
                       : on_table() ? port_faults[i].for_table
                                    : port_faults[i].for_ring;
        if (!applies) {
            continue;
        }
        struct error error = {0};
        unsigned open = descriptors_open();
        unsigned counted = descriptors_counted(world);
        long live = alloc_live();
        unsigned out = 0;
        faults_fail(port_faults[i].call, 0, 1, port_faults[i].code);
        assert_null(port_make(world, &out, &error));
        assert_non_null(strstr(error.message, port_faults[i].reason));
        assert_int_equal(descriptors_open(), open);
        assert_int_equal(descriptors_counted(world), counted);
        assert_int_equal(alloc_live(), live);
        assert_int_equal(out, 0);
    }
    expect_port(world);
}

/* Buffers may be missing at first: the receives wait for them. */
static void test_port_each_of_whose_allocations_fails_is_whole_or_none(void **state) {
    struct world *world = *state;
    bool failed = true;
    for (long i = 0; failed; i++) {
        struct error error = {0};
        unsigned open = descriptors_open();
        long live = alloc_live();
        unsigned out = 0;
        unsigned long failures = alloc_failures();
        alloc_fail_after(i, false);
        struct engine_port *port = port_make(world, &out, &error);
        alloc_fail_after(-1, false);
        failed = alloc_failures() > failures;
        if (port) {
            engine_port_run(port, 0);
        } else {
            assert_non_null(strstr(error.message, "out of memory"));
        }
        engine_port_destroy(port);
        assert_int_equal(out, 0);
        assert_int_equal(descriptors_open(), open);
        assert_int_equal(alloc_live(), live);
    }
}

/* -- posts ----------------------------------------------------------------- */

struct post {
    struct engine_op op;
    unsigned completions;
};

static void on_post(struct engine_op *op, int64_t result) {
    struct post *post = CONTAINER_OF(op, struct post, op);
    assert_int_equal(result, 0);
    post->completions++;
}

static void expect_posts(struct world *world) {
    struct post posts[3] = {
        {.op.complete = on_post}, {.op.complete = on_post}, {.op.complete = on_post}};
    for (unsigned i = 0; i < ARRAY_COUNT(posts); i++) {
        engine_port_post(world->port, &posts[i].op);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(posts); i++) {
        RUN_UNTIL(world, posts[i].completions > 0);
        assert_int_equal(posts[i].completions, 1);
    }
}

static void test_post_whose_wake_is_interrupted_arrives(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_WRITE, 0, 3, EINTR);
    expect_posts(world);
    assert_int_equal(faults_injected(FAULT_WRITE), 3);
    faults_fail(FAULT_WRITE, 0, 1, EAGAIN); /* the counter is full: it is awake */
    linux_system.write(world->port->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    expect_posts(world);
}

static void test_post_that_cannot_wake_arrives_with_the_next_turn(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_WRITE, 0, FAULT_ALWAYS, EIO);
    expect_posts(world);
    expect_posts(world);
    faults_fail(FAULT_WRITE, 0, 0, 0);
    expect_posts(world);
}

/* Nothing else is to come for long: it is looked for all the same. */
static void test_post_that_cannot_wake_does_not_wait_for_another_event(void **state) {
    struct world *world = *state;
    struct post post = {.op.complete = on_post};
    uint64_t start_ms = os_now_ms();
    faults_fail(FAULT_WRITE, 0, FAULT_ALWAYS, EIO);
    engine_port_post(world->port, &post.op);
    while (post.completions == 0) {
        engine_port_run(world->port, LONG_MS);
    }
    assert_in_range(os_now_ms() - start_ms, 0, LONG_MS / 2);
}

static void test_post_whose_eventfd_cannot_be_read_arrives(void **state) {
    struct world *world = *state;
    expect_posts(world);
    faults_fail(FAULT_READ, 0, 5, EIO);
    faults_complete(IORING_OP_READ, 0, 5, ENOMEM);
    expect_posts(world);
    expect_posts(world);
    expect_posts(world);
    run_quietly(world);
    faults_fail(FAULT_READ, 0, 0, 0);
    faults_complete(IORING_OP_READ, 0, 0, 0);
    run_quietly(world);
    expect_posts(world);
}

static void test_port_whose_eventfd_cannot_be_read_does_not_spin(void **state) {
    struct world *world = *state;
    if (!on_ring()) {
        skip();
    }
    faults_complete(IORING_OP_READ, 0, FAULT_ALWAYS, ENOMEM);
    expect_posts(world);
    expect_no_spinning(world);
    expect_posts(world);
    faults_complete(IORING_OP_READ, 0, 0, 0);
    run_quietly(world);
    expect_posts(world);
    assert_false(atomic_load(&world->port->unwoken)); /* it hears of them by itself again */
}

/* -- waits ----------------------------------------------------------------- */

static void test_wait_that_fails_for_a_while_goes_on(void **state) {
    static const int codes[] = {EINTR, EAGAIN, EBUSY, ENOMEM, EPERM};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct link *link = link_open(world);
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
        unsigned injected = faults_injected(FAULT_EPOLL_WAIT) + faults_injected(FAULT_RING_SUBMIT);
        faults_fail(FAULT_EPOLL_WAIT, 0, 5, codes[i]);
        faults_fail(FAULT_RING_SUBMIT, 0, 5, codes[i]);
        expect_posts(world);
        expect_talking(link);
        link_stop(link);
        assert_int_equal(faults_injected(FAULT_EPOLL_WAIT) + faults_injected(FAULT_RING_SUBMIT),
                         injected + 5);
        link_close(link);
    }
}

static void test_wait_that_always_fails_does_not_spin(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_EPOLL_WAIT, 0, FAULT_ALWAYS, EPERM);
    faults_fail(FAULT_RING_SUBMIT, 0, FAULT_ALWAYS, EPERM);
    expect_no_spinning(world);
    faults_fail(FAULT_EPOLL_WAIT, 0, 0, 0);
    faults_fail(FAULT_RING_SUBMIT, 0, 0, 0);
    expect_posts(world);
    expect_accepting(world);
}

/* -- the choice of an engine ----------------------------------------------- */

static const struct {
    enum fault_call call;
    unsigned pass;
    int code;
    const char *what;
    const char *remedy;
} refusals[] = {
    {FAULT_RING_CREATE, 0, EPERM, "io_uring_setup", "kernel.io_uring_disabled"},
    {FAULT_RING_CREATE, 0, ENOSYS, "io_uring_setup", "container's profile"},
    {FAULT_RING_CREATE, 0, ENOMEM, "io_uring_setup", "ulimit -l"},
    {FAULT_RING_CREATE, 0, EMFILE, "io_uring_setup", "ulimit -n"},
    {FAULT_RING_PROBE, 0, EACCES, "IORING_REGISTER_PROBE", "security module"},
    {FAULT_REGISTER_BUFFERS, 0, EINVAL, "a ring of buffers", "Linux 6.1"},
    {FAULT_SOCKETPAIR, 0, ENFILE, "socketpair", "ulimit -n"},
    {FAULT_WRITE, 0, EPIPE, "socketpair", "Linux 6.1"},
    {FAULT_MMAP, 0, ENOMEM, "mmap", "memory is short"},
    {FAULT_RING_SUBMIT, 0, EPERM, "io_uring_enter", "kernel.io_uring_disabled"},
};

static void test_ring_that_is_refused_gives_epoll_or_an_error_with_the_remedy(void **state) {
    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(refusals); i++) {
        struct error error = {0};
        unsigned open = descriptors_open();
        faults_fail(refusals[i].call, refusals[i].pass, FAULT_ALWAYS, refusals[i].code);
        struct engine *engine =
            engine_create(&(struct engine_options){.engine = "io_uring"}, &error);
        assert_null(engine);
        if (!strstr(error.message, refusals[i].what) ||
            !strstr(error.message, refusals[i].remedy)) {
            fail_msg("%u: %s", i, error.message);
        }
        engine = engine_create(&(struct engine_options){.engine = "auto"}, &error);
        assert_non_null(engine);
        assert_string_equal(engine_traits(engine)->name, "epoll");
        engine_destroy(engine);
        faults_reset();
        assert_int_equal(descriptors_open(), open);
    }
}

static void test_ring_whose_trial_receive_fails_is_refused(void **state) {
    (void)state;
    struct error error = {0};
    faults_complete(IORING_OP_RECV, 0, 1, EINVAL);
    assert_null(engine_create(&(struct engine_options){.engine = "io_uring"}, &error));
    assert_non_null(strstr(error.message, "a multishot receive"));
}

static void test_table_that_an_older_kernel_lacks_is_refused(void **state) {
    (void)state;
    struct error error = {0};
    struct engine_options options = {.engine = "io_uring", .direct_descriptors = 16};
    faults_age(FAULT_LINUX_6_1);
    assert_null(engine_create(&options, &error));
    assert_non_null(strstr(error.message, "FIXED_FD_INSTALL"));
    options.engine = NULL;
    struct engine *engine = engine_create(&options, &error);
    assert_non_null(engine);
    engine_destroy(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAULT_TEST_BARE(test_port_that_cannot_be_made_tells_why_and_leaves_nothing),
        FAULT_TEST_BARE(test_port_each_of_whose_allocations_fails_is_whole_or_none),
        FAULT_TEST_BARE(test_post_whose_wake_is_interrupted_arrives),
        FAULT_TEST_BARE(test_post_that_cannot_wake_arrives_with_the_next_turn),
        FAULT_TEST_BARE(test_post_that_cannot_wake_does_not_wait_for_another_event),
        FAULT_TEST_BARE(test_post_whose_eventfd_cannot_be_read_arrives),
        FAULT_TEST_BARE(test_port_whose_eventfd_cannot_be_read_does_not_spin),
        FAULT_TEST(test_wait_that_fails_for_a_while_goes_on),
        FAULT_TEST(test_wait_that_always_fails_does_not_spin),
        FAULT_TEST_BARE(test_ring_that_is_refused_gives_epoll_or_an_error_with_the_remedy),
        FAULT_TEST_BARE(test_ring_whose_trial_receive_fails_is_refused),
        FAULT_TEST_BARE(test_table_that_an_older_kernel_lacks_is_refused),
    };
    return cmocka_run_group_tests_name("linux_port_faults", tests, NULL, NULL);
}
