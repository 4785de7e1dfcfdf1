/* test_linux_transfer_faults.c: the Linux engines on calls that fail (linux_faults.h), receiving
 * and sending. */
#include "linux_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/os_private.h"

enum {
    LONG_BYTES = 60000,
    FLOOD_BYTES = 1 << 20,
    FILE_BYTES = 100000,
};

static struct engine_piece text(const char *bytes) {
    return (struct engine_piece){.bytes = (const uint8_t *)bytes, .size = strlen(bytes)};
}

/* However it is told, the outcome of one send. */
static int64_t send_once(struct link *link, const struct engine_piece *pieces, unsigned count) {
    link->sends = 0;
    int64_t sent = engine_send(link->world->port, link->socket, &link->send, pieces, count);
    if (sent != ENGINE_PENDING) {
        run_quietly(link->world);
        assert_int_equal(link->sends, 0);
        return sent;
    }
    RUN_UNTIL(link->world, link->sends > 0);
    assert_int_equal(link->sends, 1);
    return link->sent;
}

/* The next `count` sends of one piece of memory, or of several, fail. */
static void fail_sends(bool several, unsigned count, int code) {
    if (on_table()) {
        faults_complete(several ? IORING_OP_SENDMSG : IORING_OP_SEND, 0, count, code);
    } else {
        faults_fail(several ? FAULT_SENDMSG : FAULT_SEND, 0, count, code);
    }
}

static unsigned failed_sends(bool several) {
    return faults_injected(several ? FAULT_SENDMSG : FAULT_SEND) +
           faults_completed(several ? IORING_OP_SENDMSG : IORING_OP_SEND);
}

/* -- receiving ------------------------------------------------------------- */

static void test_receive_that_there_is_no_memory_for_waits(void **state) {
    static const int codes[] = {ENOMEM, ENOBUFS, EINTR, EAGAIN, ENFILE};
    struct world *world = *state;
    struct link *link = link_open(world);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        for (int early = 0; early < 2; early++) {
            unsigned failed = failed_receives();
            if (early) {
                assert_true(peer_send(link->peer, "early", 5));
            }
            fail_receives(3, codes[i]);
            link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
            if (!early) {
                run_quietly(world);
                assert_true(peer_send(link->peer, "early", 5));
            }
            expect_received(link, "early", 5);
            assert_true(failed_receives() > failed);
            fail_receives(0, 0);
            expect_talking(link);
            link_stop(link);
        }
    }
    link_close(link);
}

static void test_receive_without_memory_can_be_stopped_and_does_not_spin(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    fail_receives(FAULT_ALWAYS, ENOMEM);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    assert_true(peer_send(link->peer, "early", 5));
    expect_no_spinning(world);
    assert_int_equal(link->ends, 0);
    assert_int_equal(link->received_size, 0);
    link_stop(link);
    fail_receives(0, 0);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    expect_received(link, "early", 5);
    link_stop(link);
    link_close(link);
}

static void test_receive_that_fails_tells_why_and_ends(void **state) {
    static const struct {
        int code;
        int64_t result;
    } ends[] = {{ECONNRESET, ENGINE_E_RESET},         {EPIPE, ENGINE_E_RESET},
                {ENOTCONN, ENGINE_E_RESET},           {ETIMEDOUT, ENGINE_E_TIMED_OUT},
                {EHOSTUNREACH, ENGINE_E_UNREACHABLE}, {EIO, ENGINE_E_OTHER}};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(ends); i++) {
        struct link *link = link_open(world);
        fail_receives(1, ends[i].code);
        link_receive(link, ENGINE_RECEIVE_BUFFERED);
        RUN_UNTIL(world, link->ends > 0);
        assert_int_equal(link->end, ends[i].result);
        assert_int_equal(engine_port_pending(world->port), 0);
        link_close(link);
    }
}

/* Every second call is interrupted, and none receives more than some bytes. */
static void test_receive_of_a_flood_in_fragments_is_whole(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    uint8_t *bytes = malloc(LONG_BYTES);
    assert_non_null(bytes);
    pattern_fill(bytes, LONG_BYTES, 0);
    faults_shorten(FAULT_RECEIVE, FAULT_ALWAYS, 333);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    for (size_t done = 0; done < LONG_BYTES; done += LONG_BYTES / 10) {
        fail_receives(2, done % 4 == 0 ? EINTR : EAGAIN);
        assert_true(peer_send(link->peer, bytes + done, LONG_BYTES / 10));
        RUN_UNTIL(world, link->received_size == done + LONG_BYTES / 10);
    }
    assert_memory_equal(link->received, bytes, LONG_BYTES);
    link_stop(link);
    free(bytes);
    link_close(link);
}

static void test_receive_that_cannot_be_watched_waits(void **state) {
    struct world *world = *state;
    if (on_ring()) {
        skip();
    }
    static const int codes[] = {ENOSPC, ENOMEM};
    struct link *link = link_open(world);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        faults_fail(FAULT_EPOLL_ADD, 0, 3, codes[i]);
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
        run_quietly(world);
        assert_int_equal(link->ends, 0);
        expect_talking(link);
        link_stop(link);
    }
    link_close(link);
}

static void test_end_that_there_is_no_memory_for_is_waited_for(void **state) {
    static const int codes[] = {ENOMEM, EINTR, EAGAIN};
    struct world *world = *state;
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        struct link *link = link_open(world);
        assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
        fail_receives(2, codes[i]);
        if (on_ring()) {
            faults_complete(IORING_OP_POLL_ADD, 0, 1, codes[i]);
        }
        engine_receive_drain(world->port, link->socket, &link->receive);
        assert_true(peer_send(link->peer, "unwanted", 8));
        run_quietly(world);
        peer_shutdown_send(link->peer);
        RUN_UNTIL(world, link->ends > 0);
        assert_int_equal(link->end, 0);
        assert_int_equal(link->told, 8);
        faults_complete(IORING_OP_POLL_ADD, 0, 0, 0);
        fail_receives(0, 0);
        link_close(link);
    }
}

/* -- sending memory -------------------------------------------------------- */

static void test_send_that_is_interrupted_goes_on(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    const struct engine_piece pieces[] = {text("one"), text("two")};
    for (unsigned count = 1; count <= 2; count++) {
        fail_sends(count > 1, 3, EINTR);
        int64_t sent;
        do {
            sent = send_once(link, pieces, count);
        } while (sent == 0);
        assert_int_equal(sent, 3 * count);
        assert_int_equal(failed_sends(count > 1), 3);
        expect_at_peer(link, "onetwo", 3 * count);
    }
    link_close(link);
}

static void test_send_that_finds_no_room_waits(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    const struct engine_piece piece = text("hello");
    fail_sends(false, 1, EAGAIN);
    assert_int_equal(send_once(link, &piece, 1), 0); /* try again */
    assert_int_equal(send_once(link, &piece, 1), 5);
    expect_at_peer(link, "hello", 5);
    link_close(link);
}

static void test_send_that_fails_tells_why_and_nothing_is_in_flight(void **state) {
    static const struct {
        int code;
        int64_t result;
    } ends[] = {
        {EPIPE, ENGINE_E_RESET},
        {ECONNRESET, ENGINE_E_RESET},
        {ENOBUFS, ENGINE_E_NO_RESOURCES},
        {ENOMEM, ENGINE_E_NO_RESOURCES},
        {ETIMEDOUT, ENGINE_E_TIMED_OUT},
        {ENETUNREACH, ENGINE_E_UNREACHABLE},
        {EIO, ENGINE_E_OTHER},
    };
    struct world *world = *state;
    struct link *link = link_open(world);
    const struct engine_piece pieces[] = {text("one"), text("two")};
    for (unsigned i = 0; i < ARRAY_COUNT(ends); i++) {
        for (unsigned count = 1; count <= 2; count++) {
            fail_sends(count > 1, 1, ends[i].code);
            assert_int_equal(send_once(link, pieces, count), ends[i].result);
            assert_int_equal(engine_port_pending(world->port), 0);
        }
    }
    assert_int_equal(send_all(link, &pieces[0]), 0);
    expect_at_peer(link, "one", 3);
    link_close(link);
}

static void test_sends_that_are_cut_short_are_whole(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    const struct engine_piece pieces[] = {text("one"), text("two"), text("three")};
    for (size_t bytes = 1; bytes <= 5; bytes++) {
        faults_shorten(FAULT_SENDMSG, 1, bytes);
        int64_t sent = send_once(link, pieces, 3);
        assert_in_range(sent, 1, 11);
        if (!on_table()) {
            assert_in_range(sent, 1, bytes);
        }
        expect_at_peer(link, "onetwothree", (size_t)sent);
    }
    uint8_t *bytes = malloc(LONG_BYTES);
    assert_non_null(bytes);
    pattern_fill(bytes, LONG_BYTES, 0);
    faults_shorten(FAULT_SEND, FAULT_ALWAYS, 1000);
    const struct engine_piece all = {.bytes = bytes, .size = LONG_BYTES};
    assert_int_equal(send_all(link, &all), 0);
    expect_at_peer(link, bytes, LONG_BYTES);
    free(bytes);
    link_close(link);
}

/* Fills the socket until a send waits. */
static void flood(struct link *link) {
    static const uint8_t bytes[FLOOD_BYTES];
    const struct engine_piece piece = {.bytes = bytes, .size = sizeof(bytes)};
    link->sends = 0;
    while (engine_send(link->world->port, link->socket, &link->send, &piece, 1) != ENGINE_PENDING) {
    }
    run_quietly(link->world);
}

static void test_send_that_cannot_wait_tells_and_leaves_nothing(void **state) {
    struct world *world = *state;
    if (on_table()) {
        skip(); /* there the ring sends, and waits by itself */
    }
    struct link *link = link_open_small(world);
    faults_complete(IORING_OP_POLL_ADD, 0, FAULT_ALWAYS, ENOMEM);
    faults_fail(FAULT_EPOLL_ADD, 0, FAULT_ALWAYS, ENOMEM);
    flood(link);
    RUN_UNTIL(world, link->sends > 0);
    assert_int_equal(link->sent, ENGINE_E_NO_RESOURCES);
    assert_int_equal(engine_port_pending(world->port), 0);
    faults_complete(IORING_OP_POLL_ADD, 0, 0, 0);
    faults_fail(FAULT_EPOLL_ADD, 0, 0, 0);
    flood(link);
    assert_int_equal(link->sends, 0);
    engine_send_cancel(world->port, link->socket, &link->send);
    RUN_UNTIL(world, link->sends > 0);
    link_close(link);
}

/* A receive is watched too: that goes on, whatever becomes of the registration. */
static void test_send_that_has_waited_leaves_the_receive_alone(void **state) {
    struct world *world = *state;
    if (on_ring()) {
        skip();
    }
    static uint8_t room[1 << 16];
    struct link *link = link_open_small(world);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    run_quietly(world);
    flood(link);
    assert_int_equal(link->sends, 0);
    faults_fail(FAULT_EPOLL_MOD, 0, 1, ENOMEM); /* as the send has done waiting */
    while (link->sends == 0) {
        assert_true(peer_receive(link->peer, room, sizeof(room)) > 0);
        engine_port_run(world->port, 0);
    }
    assert_int_equal(faults_injected(FAULT_EPOLL_MOD), 1);
    expect_no_spinning(world);
    assert_true(peer_send(link->peer, "hello", 5));
    expect_received(link, "hello", 5);
    link_stop(link);
    link_close(link);
}

static void test_shutdown_that_fails_tells_why(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    if (on_table()) {
        faults_complete(IORING_OP_SHUTDOWN, 0, 1, ENOTCONN); /* the receive tells */
        assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
    } else {
        faults_fail(FAULT_SHUTDOWN, 0, 1, ENOTCONN);
        assert_int_equal(engine_shutdown_send(world->port, link->socket), ENGINE_E_RESET);
    }
    assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
    uint64_t bytes;
    faults_fail(FAULT_IOCTL, 0, 1, ENOTTY);
    assert_false(engine_unacked_bytes(world->port, link->socket, &bytes));
    link_close(link);
}

static void test_close_whose_reset_is_refused_closes(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    char byte;
    faults_fail(FAULT_SETSOCKOPT, 0, 1, ENOBUFS);
    faults_complete(IORING_OP_URING_CMD, 0, 1, ENOMEM);
    engine_close(world->engine, link->socket, true);
    link->socket = ENGINE_NO_SOCKET;
    run_quietly(world);
    assert_true(peer_receive(link->peer, &byte, 1) <= 0);
    link_close(link);
}

/* -- files ----------------------------------------------------------------- */

struct test_file {
    struct os_file file;
    struct os_private *folder;
    char path[600];
    uint8_t *bytes;
};

static void file_make(struct test_file *file) {
    file->folder = os_private_create(NULL, NULL);
    assert_non_null(file->folder);
    assert_true(
        os_path_join(file->path, sizeof(file->path), os_private_path(file->folder), "file"));
    file->bytes = malloc(FILE_BYTES);
    assert_non_null(file->bytes);
    pattern_fill(file->bytes, FILE_BYTES, 0);
    FILE *stream = fopen(file->path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(file->bytes, 1, FILE_BYTES, stream), FILE_BYTES);
    assert_int_equal(fclose(stream), 0);
    assert_true(os_file_open(&file->file, file->path, NULL));
}

static void file_end(struct test_file *file) {
    free(file->bytes);
    os_file_close(&file->file);
    assert_true(os_file_remove(file->path));
    os_private_remove(file->folder);
}

static struct engine_piece run(const struct test_file *file, uint64_t offset, uint64_t size) {
    return (struct engine_piece){.file = file->file.handle, .offset = offset, .size = size};
}

static void expect_file_at_peer(struct link *link, const struct test_file *file, uint64_t offset,
                                size_t size) {
    const struct engine_piece piece = run(file, offset, size);
    assert_int_equal(send_all(link, &piece), 0);
    expect_at_peer(link, file->bytes + offset, size);
}

static void test_file_that_is_interrupted_or_cut_short_is_whole(void **state) {
    static const int codes[] = {EINTR, EAGAIN};
    struct world *world = *state;
    struct test_file file;
    struct link *link = link_open(world);
    file_make(&file);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        unsigned injected = faults_injected(FAULT_SENDFILE);
        faults_fail(FAULT_SENDFILE, 1, 3, codes[i]);
        faults_shorten(FAULT_SENDFILE, 20, 999);
        expect_file_at_peer(link, &file, 5, FILE_BYTES - 5);
        assert_int_equal(faults_injected(FAULT_SENDFILE), injected + 23);
    }
    file_end(&file);
    link_close(link);
}

static void test_file_that_cannot_be_sent_tells_why(void **state) {
    static const struct {
        int code;
        int64_t result;
    } ends[] = {{EIO, ENGINE_E_OTHER},    {EINVAL, ENGINE_E_OTHER},
                {EPIPE, ENGINE_E_RESET},  {ENOMEM, ENGINE_E_NO_RESOURCES},
                {ESPIPE, ENGINE_E_OTHER}, {ETIMEDOUT, ENGINE_E_TIMED_OUT}};
    struct world *world = *state;
    struct test_file file;
    struct link *link = link_open(world);
    file_make(&file);
    const struct engine_piece piece = run(&file, 3, 1000);
    for (unsigned i = 0; i < ARRAY_COUNT(ends); i++) {
        faults_fail(FAULT_SENDFILE, 0, 1, ends[i].code);
        int64_t sent;
        do { /* a descriptor of it may have to be waited for */
            sent = send_once(link, &piece, 1);
        } while (sent == 0);
        assert_int_equal(sent, ends[i].result);
        assert_int_equal(engine_port_pending(world->port), 0);
    }
    expect_file_at_peer(link, &file, 3, 1000);
    file_end(&file);
    link_close(link);
}

/* What is not in memory is read by the ring, where there is one; an error of that is none yet. */
static void test_file_whose_reading_ahead_fails_is_sent_all_the_same(void **state) {
    static const int codes[] = {EIO, EINTR, EAGAIN, ENOMEM, EOPNOTSUPP};
    struct world *world = *state;
    struct test_file file;
    struct link *link = link_open(world);
    file_make(&file);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        unsigned completed = faults_completed(IORING_OP_READ);
        faults_fail(FAULT_PREAD, 0, 1, EAGAIN);
        faults_complete(IORING_OP_READ, 0, 1, codes[i]);
        expect_file_at_peer(link, &file, i * 1000, 1000);
        faults_complete(IORING_OP_READ, 0, 0, 0);
        assert_int_equal(faults_completed(IORING_OP_READ), completed + on_ring());
    }
    faults_fail(FAULT_PREAD, 0, 1, EOPNOTSUPP); /* a file system that cannot tell */
    expect_file_at_peer(link, &file, 0, FILE_BYTES);
    file_end(&file);
    link_close(link);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_receive_that_there_is_no_memory_for_waits),
        FAULT_TEST(test_receive_without_memory_can_be_stopped_and_does_not_spin),
        FAULT_TEST(test_receive_that_fails_tells_why_and_ends),
        FAULT_TEST(test_receive_of_a_flood_in_fragments_is_whole),
        FAULT_TEST(test_receive_that_cannot_be_watched_waits),
        FAULT_TEST(test_end_that_there_is_no_memory_for_is_waited_for),
        FAULT_TEST(test_send_that_is_interrupted_goes_on),
        FAULT_TEST(test_send_that_finds_no_room_waits),
        FAULT_TEST(test_send_that_fails_tells_why_and_nothing_is_in_flight),
        FAULT_TEST(test_sends_that_are_cut_short_are_whole),
        FAULT_TEST(test_send_that_cannot_wait_tells_and_leaves_nothing),
        FAULT_TEST(test_send_that_has_waited_leaves_the_receive_alone),
        FAULT_TEST(test_shutdown_that_fails_tells_why),
        FAULT_TEST(test_close_whose_reset_is_refused_closes),
        FAULT_TEST(test_file_that_is_interrupted_or_cut_short_is_whole),
        FAULT_TEST(test_file_that_cannot_be_sent_tells_why),
        FAULT_TEST(test_file_whose_reading_ahead_fails_is_sent_all_the_same),
    };
    return cmocka_run_group_tests_name("linux_transfer_faults", tests, NULL, NULL);
}
