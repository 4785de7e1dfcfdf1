/* test_engine_port.c: the conformance suite's part on ports: posts, waits, batches, failures. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { THREADS = 4, POSTS = 2000 };

/* -- posts
 * ------------------------------------------------------------------------------------------ */

struct poster;

struct post {
    struct engine_op op;
    struct poster *poster;
    unsigned number;
};

struct poster {
    struct engine_port *port;
    struct os_thread thread;
    struct post *posts;
    unsigned completed; /* touched by the port's thread only */
    uintptr_t port_thread;
};

static void on_post(struct engine_op *op, int64_t result) {
    struct post *post = CONTAINER_OF(op, struct post, op);
    assert_int_equal(result, 0);
    assert_int_equal(post->number, post->poster->completed); /* in the order of the posts */
    assert_true(os_thread_id() == post->poster->port_thread);
    post->poster->completed++;
}

static void post_all(void *argument) {
    struct poster *poster = argument;
    for (unsigned i = 0; i < POSTS; i++) {
        engine_port_post(poster->port, &poster->posts[i].op);
    }
}

static void poster_init(struct poster *poster, struct world *world) {
    *poster = (struct poster){.port = world->port, .port_thread = os_thread_id()};
    poster->posts = calloc(POSTS, sizeof(*poster->posts));
    assert_non_null(poster->posts);
    for (unsigned i = 0; i < POSTS; i++) {
        poster->posts[i] = (struct post){{.complete = on_post}, poster, i};
    }
}

static void test_posts_of_several_threads_all_arrive_in_order(void **state) {
    struct world *world = *state;
    struct poster posters[THREADS];
    for (int i = 0; i < THREADS; i++) {
        poster_init(&posters[i], world);
        assert_true(os_thread_start(&posters[i].thread, "poster", post_all, &posters[i], NULL));
    }
    for (int i = 0; i < THREADS; i++) {
        RUN_UNTIL(world, posters[i].completed == POSTS);
        os_thread_join(&posters[i].thread);
        free(posters[i].posts);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void test_posts_of_the_ports_own_thread_complete_later_in_order(void **state) {
    struct world *world = *state;
    struct poster poster;
    poster_init(&poster, world);
    post_all(&poster);
    assert_int_equal(poster.completed, 0);
    assert_int_equal(engine_port_pending(world->port), POSTS);
    RUN_UNTIL(world, poster.completed == POSTS);
    assert_int_equal(engine_port_pending(world->port), 0);
    free(poster.posts);
}

static void post_one_later(void *argument) {
    struct poster *poster = argument;
    struct engine_op *op = &poster->posts[0].op;
    struct os_mutex mutex; /* only to let the port fall asleep */
    struct os_condition condition;
    os_mutex_init(&mutex);
    os_condition_init(&condition);
    os_mutex_lock(&mutex);
    os_condition_wait(&condition, &mutex, 50);
    os_mutex_unlock(&mutex);
    os_condition_fini(&condition);
    os_mutex_fini(&mutex);
    engine_port_post(poster->port, op);
}

static void test_post_wakes_a_port_that_waits_without_end(void **state) {
    struct world *world = *state;
    struct poster poster;
    for (int i = 0; i < 5; i++) {
        poster_init(&poster, world);
        assert_true(os_thread_start(&poster.thread, "poster", post_one_later, &poster, NULL));
        while (poster.completed == 0) {
            engine_port_run(world->port, -1);
        }
        os_thread_join(&poster.thread);
        free(poster.posts);
    }
}

struct again {
    struct engine_op op;
    struct engine_port *port;
    unsigned left;
    unsigned in_turn; /* since the test looked last */
};

static void on_again(struct engine_op *op, int64_t result) {
    struct again *again = CONTAINER_OF(op, struct again, op);
    assert_int_equal(result, 0);
    again->in_turn++;
    if (--again->left > 0) {
        engine_port_post(again->port, op);
    }
}

static void test_post_that_posts_itself_lets_the_port_return(void **state) {
    struct world *world = *state;
    struct again again = {{.complete = on_again}, world->port, 1000, 0};
    engine_port_post(world->port, &again.op);
    while (again.left > 0) {
        again.in_turn = 0;
        engine_port_run(world->port, RUN_MS);
        assert_true(again.in_turn < 1000);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
}

/* -- waits and batches
 * ------------------------------------------------------------------------------- */

static void test_run_without_work_runs_nothing(void **state) {
    struct world *world = *state;
    run_quietly(world); /* what the engine does for itself is no completion of ours */
    assert_int_equal(engine_port_run(world->port, 0), 0);
    assert_int_equal(engine_port_run(world->port, 10), 0);
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void test_run_counts_what_it_ran(void **state) {
    struct world *world = *state;
    struct poster poster;
    poster_init(&poster, world);
    post_all(&poster);
    unsigned ran = 0;
    while (poster.completed < POSTS) {
        ran += engine_port_run(world->port, RUN_MS);
    }
    assert_int_equal(ran, POSTS);
    free(poster.posts);
}

/* Many connections that always have data must not keep a post from its turn. */
static void test_busy_connections_do_not_starve_posts(void **state) {
    struct world *world = *state;
    enum { BUSY = 16 };
    static uint8_t bytes[64 * 1024];
    struct link *links[BUSY];
    struct again again = {{.complete = on_again}, world->port, 50, 0};
    for (int i = 0; i < BUSY; i++) {
        links[i] = link_open(world);
        link_receive(links[i], ENGINE_RECEIVE_BUFFERED);
    }
    engine_port_post(world->port, &again.op);
    for (unsigned turn = 0; again.left > 0; turn++) {
        assert_true(turn < 10000);
        for (int i = 0; i < BUSY; i++) {
            if (links[i]->received_size >= turn / 8 * sizeof(bytes)) {
                links[i]->received_size = 0;
                assert_true(peer_send(links[i]->peer, bytes, 4096));
            }
        }
        engine_port_run(world->port, RUN_MS);
    }
    for (int i = 0; i < BUSY; i++) {
        link_stop(links[i]);
        link_close(links[i]);
    }
}

static void test_new_clients_are_accepted_beside_busy_connections(void **state) {
    struct world *world = *state;
    enum { BUSY = 16, ROUNDS = 20 };
    static uint8_t bytes[4096];
    struct link *links[BUSY];
    for (int i = 0; i < BUSY; i++) {
        links[i] = link_open(world);
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BUSY; i++) {
            links[i]->received_size = 0;
            assert_true(peer_send(links[i]->peer, bytes, sizeof(bytes)));
        }
        expect_accepting(world);
    }
    for (int i = 0; i < BUSY; i++) {
        link_stop(links[i]);
        link_close(links[i]);
    }
}

/* -- many ports
 * -------------------------------------------------------------------------------------- */

struct other_port {
    struct world *world;
    atomic_bool stop;
    struct engine_op stop_op;
    struct engine_port *port;
    struct os_mutex mutex;
    struct os_condition condition;
};

static void on_stop(struct engine_op *op, int64_t result) {
    struct other_port *other = CONTAINER_OF(op, struct other_port, stop_op);
    (void)result;
    atomic_store(&other->stop, true);
}

static bool no_buffer(void *context, struct engine_buffer *buffer) {
    (void)context;
    (void)buffer;
    return false;
}

static void no_give(void *context, void *owner) {
    (void)context;
    (void)owner;
}

static void run_other_port(void *argument) {
    struct other_port *other = argument;
    struct engine_port_options options = {.buffers = {NULL, BUFFER_BYTES, no_buffer, no_give},
                                          .receive_buffers = BUFFERS_AT_FIRST,
                                          .receive_buffers_max = BUFFERS_MAX};
    struct engine_port *port = engine_port_create(other->world->engine, &options, NULL);
    os_mutex_lock(&other->mutex);
    other->port = port;
    os_condition_signal_all(&other->condition);
    os_mutex_unlock(&other->mutex);
    while (!atomic_load(&other->stop)) {
        engine_port_run(port, -1);
    }
    engine_port_destroy(port);
}

static void test_post_to_the_port_of_another_thread_runs_there(void **state) {
    struct other_port other = {.world = *state, .stop_op = {.complete = on_stop}};
    struct os_thread thread;
    os_mutex_init(&other.mutex);
    os_condition_init(&other.condition);
    assert_true(os_thread_start(&thread, "port", run_other_port, &other, NULL));
    os_mutex_lock(&other.mutex);
    while (!other.port) {
        os_condition_wait(&other.condition, &other.mutex, -1);
    }
    os_mutex_unlock(&other.mutex);
    engine_port_post(other.port, &other.stop_op);
    os_thread_join(&thread);
    os_condition_fini(&other.condition);
    os_mutex_fini(&other.mutex);
}

/* -- failures
 * ---------------------------------------------------------------------------------------- */

static void test_engine_without_memory_is_not_created(void **state) {
    struct error error = {0};
    (void)state;
    const struct engine_options wanted = engine_under_test(512);
    alloc_fail_after(0, false);
    struct engine *engine = engine_create(&wanted, &error);
    alloc_fail_after(-1, false);
    assert_null(engine);
    assert_string_equal(error.message, "out of memory");
}

static void test_port_without_memory_is_not_created(void **state) {
    struct world *world = *state;
    struct engine_port_options options = {.buffers = {NULL, BUFFER_BYTES, no_buffer, no_give},
                                          .receive_buffers = BUFFERS_AT_FIRST,
                                          .receive_buffers_max = BUFFERS_MAX};
    struct engine_port *port = NULL;
    for (long allocations = 0; !port; allocations++) {
        struct error error = {0};
        long live = alloc_live();
        alloc_fail_after(allocations, false);
        port = engine_port_create(world->engine, &options, &error);
        alloc_fail_after(-1, false);
        if (!port) {
            assert_string_equal(error.message, "out of memory");
            assert_int_equal(alloc_live(), live);
        }
    }
    engine_port_destroy(port);
}

static void test_nothing_is_a_legal_thing_to_destroy(void **state) {
    (void)state;
    engine_acceptor_destroy(NULL);
    engine_listener_close(NULL);
    engine_port_destroy(NULL);
    engine_destroy(NULL);
}

static void test_every_result_has_words(void **state) {
    (void)state;
    for (int64_t result = 0; result >= -(ENGINE_ERRORS - 1); result--) {
        assert_string_not_equal(engine_error_text(result), "unknown error");
    }
    assert_string_equal(engine_error_text(1), engine_error_text(0));
    assert_string_equal(engine_error_text(-ENGINE_ERRORS), "unknown error");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_posts_of_several_threads_all_arrive_in_order),
        TEST(test_posts_of_the_ports_own_thread_complete_later_in_order),
        TEST(test_post_wakes_a_port_that_waits_without_end),
        TEST(test_post_that_posts_itself_lets_the_port_return),
        TEST(test_run_without_work_runs_nothing),
        TEST(test_run_counts_what_it_ran),
        TEST(test_busy_connections_do_not_starve_posts),
        TEST(test_new_clients_are_accepted_beside_busy_connections),
        TEST(test_post_to_the_port_of_another_thread_runs_there),
        cmocka_unit_test(test_engine_without_memory_is_not_created),
        TEST(test_port_without_memory_is_not_created),
        cmocka_unit_test(test_nothing_is_a_legal_thing_to_destroy),
        cmocka_unit_test(test_every_result_has_words),
    };
    return cmocka_run_group_tests_name("engine: port", tests, NULL, NULL);
}
