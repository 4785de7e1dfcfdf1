/* test_linux_uring_faults.c: the io_uring engine on a ring that misbehaves (linux_faults.h): small
 * and full queues, late completions, cancels that come too late, older kernels, and the table of
 * sockets. */
#include "linux_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/linux/linux.h"
#include "os/os_private.h"

enum {
    CROWD = 60,
    ENTRIES = 8, /* of a small ring */
    FLOOD_BYTES = 1 << 20,
    FILE_BYTES = 50000,
    PLACES = 512, /* of the world's table */
    BEYOND = 3,
};

static int setup_small(void **state) {
    faults_reset();
    faults_limit_ring(ENTRIES, ENTRIES);
    setup(state);
    return 0;
}

static int setup_linux_6_1(void **state) {
    faults_reset();
    faults_age(FAULT_LINUX_6_1);
    setup(state);
    return 0;
}

static int setup_linux_5_19(void **state) {
    faults_reset();
    faults_age(FAULT_LINUX_5_19);
    setup(state);
    return 0;
}

static void run_until_held(struct world *world, unsigned count) {
    for (int i = 0; i < 500 && faults_held() < count; i++) {
        engine_port_run(world->port, RUN_MS);
    }
    assert_true(faults_held() >= count);
}

/* -- small and full queues ------------------------------------------------- */

/* All of them speak before the ring is looked at: what does not fit, the kernel keeps. */
static void test_completions_that_do_not_fit_are_not_lost(void **state) {
    struct world *world = *state;
    static struct link *links[CROWD];
    for (unsigned i = 0; i < CROWD; i++) {
        links[i] = link_open(world);
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
    run_quietly(world);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < CROWD; i++) {
            assert_true(peer_send(links[i]->peer, "hello", 5));
        }
        for (unsigned i = 0; i < CROWD; i++) {
            expect_received(links[i], "hello", 5);
        }
    }
    assert_true(faults_overflows() > 0);
    for (unsigned i = 0; i < CROWD; i++) {
        peer_shutdown_send(links[i]->peer);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        RUN_UNTIL(world, links[i]->ends > 0);
        assert_int_equal(links[i]->end, 0);
        link_close(links[i]);
    }
    expect_accepting(world);
}

static void test_operations_go_on_when_the_queue_is_full(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_RING_SQE, 0, 3, 0);
    struct link *link = link_open(world);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    for (int i = 0; i < 10; i++) {
        expect_talking(link);
        link_stop(link);
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    }
    link_stop(link);
    link_close(link);
    assert_in_range(faults_injected(FAULT_RING_SQE), 1, 3);
}

/* The port has to be free once the listener is closed, whatever the ring says meanwhile. */
static void test_listener_closed_while_the_ring_is_refused_frees_its_port(void **state) {
    static const int codes[] = {EINTR, EAGAIN, EBUSY};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct berth_address address = world->address;
        run_quietly(world);
        faults_fail(FAULT_RING_SUBMIT, 0, 2, codes[i]);
        world_listen_end(world);
        world_listen(world, &address, false);
        expect_accepting(world);
    }
}

/* -- completions that are late --------------------------------------------- */

static void test_receive_stopped_as_its_bytes_come_delivers_them_and_ends(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    for (unsigned once = 0; once < 2; once++) {
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
        run_quietly(world);
        faults_hold();
        assert_true(peer_send(link->peer, "hello", 5));
        run_until_held(world, 1);
        engine_receive_stop(world->port, link->socket, &link->receive);
        run_quietly(world);
        assert_int_equal(link->ends, 0);
        faults_release();
        RUN_UNTIL(world, link->ends > 0);
        assert_int_equal(link->end, ENGINE_E_CANCELLED);
        assert_int_equal(link->received_size, 5);
        link->received_size = 0;
    }
    link_close(link);
}

/* The order to end it finds nothing, since it looks just then: it is given again. */
static void test_receive_whose_cancel_is_lost_ends_with_the_next_bytes(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    run_quietly(world);
    faults_complete(IORING_OP_ASYNC_CANCEL, 0, 1, ENOENT);
    engine_receive_stop(world->port, link->socket, &link->receive);
    run_quietly(world);
    assert_true(peer_send(link->peer, "hello", 5));
    RUN_UNTIL(world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_CANCELLED);
    assert_int_equal(link->received_size, 5);
    link_close(link);
}

static void test_receive_stopped_as_its_end_comes_tells_one_of_them(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    run_quietly(world);
    faults_hold();
    peer_shutdown_send(link->peer);
    run_until_held(world, 1);
    engine_receive_stop(world->port, link->socket, &link->receive);
    run_quietly(world);
    faults_release();
    RUN_UNTIL(world, link->ends > 0);
    assert_true(link->end == 0 || link->end == ENGINE_E_CANCELLED);
    run_quietly(world);
    assert_int_equal(link->ends, 1);
    link_close(link);
}

static void test_accept_cancelled_as_its_client_comes_keeps_it(void **state) {
    struct world *world = *state;
    for (int with_data = 0; with_data < 2; with_data++) {
        struct accepted accepted;
        accept_post(world, &accepted, with_data);
        run_quietly(world);
        faults_hold();
        struct peer peer = client(world);
        run_until_held(world, 1);
        engine_accept_cancel(world->acceptor, &accepted.accept);
        run_quietly(world);
        assert_int_equal(accepted.completions, 0);
        faults_release();
        RUN_UNTIL(world, accepted.completions > 0);
        assert_true(is_client(&accepted, peer));
        assert_false(accepted.accept.with_data);
        accept_finish(world, &accepted, false);
        peer_close(peer);
    }
    expect_accepting(world);
}

static void test_accept_cancelled_as_its_first_data_comes_is_over_once(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_post(world, &accepted, true);
    struct peer peer = client(world);
    RUN_UNTIL(world, engine_accept_connected_ms(&accepted.accept) >= 0);
    run_quietly(world);
    faults_hold();
    assert_true(peer_send(peer, "hello", 5));
    run_until_held(world, 1);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    run_quietly(world);
    faults_release();
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(accepted.result == 5 || accepted.result == ENGINE_E_CANCELLED);
    accept_finish(world, &accepted, false);
    run_quietly(world);
    assert_int_equal(accepted.completions, 1);
    peer_close(peer);
    expect_accepting(world);
}

static int64_t flood_until_pending(struct link *link) {
    static const uint8_t bytes[FLOOD_BYTES];
    const struct engine_piece piece = {.bytes = bytes, .size = sizeof(bytes)};
    int64_t sent;
    link->sends = 0;
    do {
        sent = engine_send(link->world->port, link->socket, &link->send, &piece, 1);
    } while (sent >= 0);
    return sent;
}

static void test_send_cancelled_as_it_is_done_is_over_once(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    const struct engine_piece piece = {.bytes = (const uint8_t *)"hello", .size = 5};
    faults_hold();
    assert_int_equal(engine_send(world->port, link->socket, &link->send, &piece, 1),
                     ENGINE_PENDING);
    run_until_held(world, 1);
    engine_send_cancel(world->port, link->socket, &link->send);
    run_quietly(world);
    assert_int_equal(link->sends, 0);
    faults_release();
    RUN_UNTIL(world, link->sends > 0);
    assert_int_equal(link->sent, 5);
    run_quietly(world);
    assert_int_equal(link->sends, 1);
    expect_at_peer(link, "hello", 5);
    link_close(link);
}

static void test_send_cancelled_as_there_is_room_is_over_once(void **state) {
    struct world *world = *state;
    static uint8_t room[1 << 16];
    struct link *link = link_open_small(world);
    assert_int_equal(flood_until_pending(link), ENGINE_PENDING);
    run_quietly(world);
    faults_hold();
    while (faults_held() == 0) {
        assert_true(peer_receive(link->peer, room, sizeof(room)) > 0);
        engine_port_run(world->port, 0);
    }
    engine_send_cancel(world->port, link->socket, &link->send);
    run_quietly(world);
    assert_int_equal(link->sends, 0);
    faults_release();
    RUN_UNTIL(world, link->sends > 0);
    run_quietly(world);
    assert_int_equal(link->sends, 1);
    link_close(link);
}

/* -- buffers --------------------------------------------------------------- */

static void test_receives_that_find_no_buffer_wait_in_their_order(void **state) {
    struct world *world = *state;
    struct link *links[3];
    world->buffers_limit = world->buffers_out;
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        links[i] = link_open(world);
        faults_complete(IORING_OP_RECV, 0, 1, ENOBUFS);
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
        assert_true(peer_send(links[i]->peer, "hello", 5));
    }
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        expect_received(links[i], "hello", 5);
    }
    world->buffers_limit = UINT32_MAX;
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        expect_talking(links[i]);
        link_stop(links[i]);
        link_close(links[i]);
    }
}

/* The ring of buffers is taken back to be smaller, and the kernel has no memory for the new one. */
static void test_ring_of_buffers_that_is_lost_is_registered_again(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    faults_complete(IORING_OP_RECV, 0, 1, ENOBUFS); /* it grows */
    expect_talking(link);
    link_stop(link);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    faults_complete(IORING_OP_RECV, 0, 0, 0);
    expect_talking(link);
    unsigned out = world->buffers_out;
    faults_fail(FAULT_UNREGISTER_BUFFERS, 0, 1, ENOMEM);
    engine_port_trim(world->port); /* as buffers are used there will be fewer */
    expect_talking(link);
    faults_complete(IORING_OP_RECV, 0, 1, ENOBUFS);
    link_stop(link);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    expect_talking(link);
    faults_fail(FAULT_REGISTER_BUFFERS, 0, 5, ENOMEM);
    engine_port_trim(world->port);
    expect_talking(link);
    expect_talking(link);
    assert_in_range(world->buffers_out, 0, out);
    link_stop(link);
    link_close(link);
}

/* -- older kernels --------------------------------------------------------- */

static void test_older_kernel_serves_a_crowd(void **state) {
    struct world *world = *state;
    static struct link *links[CROWD];
    assert_string_equal(engine_traits(world->engine)->name, "io_uring");
    assert_false(world->engine->uring_accepts);
    assert_false(world->engine->uring_limits_bursts);
    for (unsigned i = 0; i < CROWD; i++) {
        links[i] = link_open(world);
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        expect_talking(links[i]);
        link_stop(links[i]);
        link_close(links[i]);
    }
    expect_accepting(world);
}

static void test_older_kernel_receives_a_flood_whole_and_can_be_stopped(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    uint8_t *bytes = malloc(FLOOD_BYTES);
    assert_non_null(bytes);
    pattern_fill(bytes, FLOOD_BYTES, 0);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    size_t step = 100000;
    for (size_t done = 0; done < FLOOD_BYTES; done += step) {
        step = FLOOD_BYTES - done < step ? FLOOD_BYTES - done : step;
        assert_true(peer_send(link->peer, bytes + done, step));
        RUN_UNTIL(world, link->received_size == done + step);
    }
    assert_memory_equal(link->received, bytes, FLOOD_BYTES);
    assert_true(peer_send(link->peer, bytes, 100000));
    link_stop(link);
    free(bytes);
    link_close(link);
}

/* -- the table of sockets -------------------------------------------------- */

static void test_socket_that_finds_no_place_in_the_table_keeps_its_descriptor(void **state) {
    struct world *world = *state;
    faults_fail(FAULT_UPDATE_TABLE, 0, 1, ENOMEM);
    struct link *link = link_open(world);
    assert_int_equal(faults_injected(FAULT_UPDATE_TABLE), 1);
    assert_false(!linux_has_descriptor(link->socket));
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    expect_talking(link);
    link_stop(link);
    link_close(link);
    link = link_open(world);
    assert_true(!linux_has_descriptor(link->socket));
    link_close(link);
}

static void test_sockets_beyond_the_places_of_the_table_have_descriptors(void **state) {
    struct world *world = *state;
    static struct link *links[PLACES + BEYOND];
    unsigned counted = descriptors_counted(world);
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        links[i] = link_open(world);
        assert_int_equal(!linux_has_descriptor(links[i]->socket), i < PLACES);
    }
    assert_in_range(descriptors_counted(world), counted + BEYOND, counted + BEYOND + 1);
    for (unsigned i = PLACES - 1; i < ARRAY_COUNT(links); i++) {
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
        expect_talking(links[i]);
        link_stop(links[i]);
    }
    link_close(links[0]);
    links[0] = link_open(world);
    assert_true(!linux_has_descriptor(links[0]->socket));
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        link_close(links[i]);
    }
}

static void test_socket_whose_place_cannot_be_emptied_is_ended_and_emptied_later(void **state) {
    struct world *world = *state;
    char byte;
    for (int reset = 0; reset < 2; reset++) {
        struct link *link = link_open(world);
        assert_true(!linux_has_descriptor(link->socket));
        faults_fail(FAULT_UPDATE_TABLE, 0, 1, ENOMEM);
        engine_close(world->engine, link->socket, reset);
        link->socket = ENGINE_NO_SOCKET;
        run_quietly(world);
        assert_true(peer_receive(link->peer, &byte, 1) <= 0);
        link_close(link);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct link *link = link_open(world);
        assert_true(!linux_has_descriptor(link->socket));
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
        expect_talking(link);
        link_stop(link);
        link_close(link);
    }
}

static void test_file_whose_descriptor_is_refused_for_a_while_is_sent(void **state) {
    enum { FIXED_FD_INSTALL = 54 };
    static const struct {
        int operation;
        int code;
    } faults[] = {
        {FIXED_FD_INSTALL, EMFILE},
        {FIXED_FD_INSTALL, ENFILE},
        {IORING_OP_POLL_ADD, ENOMEM}, /* the wait for room that is linked before it */
    };
    struct world *world = *state;
    static uint8_t bytes[FILE_BYTES];
    char path[600];
    struct os_file file;
    struct os_private *folder = os_private_create(NULL, NULL);
    assert_non_null(folder);
    assert_true(os_path_join(path, sizeof(path), os_private_path(folder), "file"));
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    pattern_fill(bytes, sizeof(bytes), 0);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), stream), sizeof(bytes));
    assert_int_equal(fclose(stream), 0);
    assert_true(os_file_open(&file, path, NULL));
    struct link *link = link_open(world);
    const struct engine_piece piece = {.file = file.handle, .size = sizeof(bytes)};
    faults_complete(IORING_OP_TIMEOUT, 1, 1, ENOMEM); /* a pause between two tries */
    for (unsigned i = 0; i < ARRAY_COUNT(faults); i++) {
        faults_complete(faults[i].operation, 0, 3, faults[i].code);
        assert_int_equal(send_all(link, &piece), 0);
        expect_at_peer(link, bytes, sizeof(bytes));
        assert_int_equal(faults_completed(faults[i].operation), i == 1 ? 6 : 3);
    }
    assert_int_equal(faults_completed(IORING_OP_TIMEOUT), 1);
    link_close(link);
    os_file_close(&file);
    assert_true(os_file_remove(path));
    os_private_remove(folder);
}

#define SMALL_TEST(test) cmocka_unit_test_setup_teardown(test, setup_small, teardown)
#define OLD_TESTS(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, setup_linux_6_1, teardown), {                            \
#test "_5_19", test, setup_linux_5_19, teardown, NULL                                      \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        SMALL_TEST(test_completions_that_do_not_fit_are_not_lost),
        SMALL_TEST(test_operations_go_on_when_the_queue_is_full),
        FAULT_TEST(test_operations_go_on_when_the_queue_is_full),
        FAULT_TEST(test_listener_closed_while_the_ring_is_refused_frees_its_port),
        FAULT_TEST(test_receive_stopped_as_its_bytes_come_delivers_them_and_ends),
        FAULT_TEST(test_receive_whose_cancel_is_lost_ends_with_the_next_bytes),
        FAULT_TEST(test_receive_stopped_as_its_end_comes_tells_one_of_them),
        FAULT_TEST(test_accept_cancelled_as_its_client_comes_keeps_it),
        FAULT_TEST(test_accept_cancelled_as_its_first_data_comes_is_over_once),
        FAULT_TEST(test_send_cancelled_as_there_is_room_is_over_once),
        FAULT_TEST(test_receives_that_find_no_buffer_wait_in_their_order),
        FAULT_TEST(test_ring_of_buffers_that_is_lost_is_registered_again),
        OLD_TESTS(test_older_kernel_serves_a_crowd),
        OLD_TESTS(test_older_kernel_receives_a_flood_whole_and_can_be_stopped),
    };
    const struct CMUnitTest table_tests[] = {
        FAULT_TEST(test_socket_that_finds_no_place_in_the_table_keeps_its_descriptor),
        FAULT_TEST(test_sockets_beyond_the_places_of_the_table_have_descriptors),
        FAULT_TEST(test_socket_whose_place_cannot_be_emptied_is_ended_and_emptied_later),
        FAULT_TEST(test_file_whose_descriptor_is_refused_for_a_while_is_sent),
        FAULT_TEST(test_send_cancelled_as_it_is_done_is_over_once),
        FAULT_TEST(test_receive_stopped_as_its_bytes_come_delivers_them_and_ends),
        FAULT_TEST(test_accept_cancelled_as_its_first_data_comes_is_over_once),
        FAULT_TEST(test_receives_that_find_no_buffer_wait_in_their_order),
    };
    setenv("TEST_ENGINE", "io_uring", 1);
    int failed = cmocka_run_group_tests_name("linux_uring_faults", tests, NULL, NULL);
    setenv("TEST_ENGINE", "io_uring-direct", 1);
    return failed + cmocka_run_group_tests_name("linux_table_faults", table_tests, NULL, NULL);
}
