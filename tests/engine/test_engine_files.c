/* test_engine_files.c: the conformance suite's part on sending files, mixed with memory. */
#include "conformance.h"

#include <stdio.h>
#include <stdlib.h>

#include "os/os_private.h"

enum {
    FILE_BYTES = 3000000, /* some calls' worth on any engine */
    LONG_FILE_BYTES = 17 << 20,
    FLOOD_MAX = 256 << 20, /* no socket holds as much */
    MEMORY_BYTES = 70000,
    CROWD = 8,
};
#define BEYOND_4_GIB (UINT64_C(0x100000000) + 12345)

/* -- files ----------------------------------------------------------------- */

/* Byte `at` of a file is pattern(at), from `start` on. */
struct test_file {
    struct os_file file;
    struct os_private *folder;
    char path[600];
};

static void file_make(struct test_file *file, uint64_t start, size_t size) {
    struct error error = {0};
    file->folder = os_private_create(NULL, &error);
    if (!file->folder) {
        fail_msg("%s", error.message);
    }
    assert_true(
        os_path_join(file->path, sizeof(file->path), os_private_path(file->folder), "file"));
    FILE *stream = fopen(file->path, "wb");
    assert_non_null(stream);
    assert_int_equal(fseeko(stream, (off_t)start, SEEK_SET), 0);
    static uint8_t bytes[100000];
    for (size_t done = 0; done < size;) {
        size_t part = size - done < sizeof(bytes) ? size - done : sizeof(bytes);
        pattern_fill(bytes, part, start + done);
        assert_int_equal(fwrite(bytes, 1, part, stream), part);
        done += part;
    }
    assert_int_equal(fclose(stream), 0);
    if (!os_file_open(&file->file, file->path, &error)) {
        fail_msg("%s", error.message);
    }
}

static void file_end(struct test_file *file) {
    os_file_close(&file->file);
    assert_true(os_file_remove(file->path));
    os_private_remove(file->folder);
}

static struct engine_piece run(const struct test_file *file, uint64_t offset, uint64_t size) {
    return (struct engine_piece){.file = file->file.handle, .offset = offset, .size = size};
}

/* Bytes in memory that no run of a file has. */
static struct engine_piece memory(uint32_t from, uint32_t size) {
    static uint8_t bytes[MEMORY_BYTES];
    if (bytes[0] == 0) {
        pattern_fill(bytes, sizeof(bytes), UINT64_C(1) << 50);
        bytes[0] = 1;
    }
    assert_true(from + size <= sizeof(bytes));
    return (struct engine_piece){.bytes = bytes + from, .size = size};
}

/* -- sending --------------------------------------------------------------- */

/* Pieces on their way, as a caller sends them: whatever each call takes, the rest by the next. */
struct sending {
    struct link *link;
    struct engine_piece rest[ENGINE_PIECES_MAX];
    unsigned count;
    unsigned first;
    uint64_t sent;
    int64_t failure;
    bool in_flight;
};

static bool sending_is_over(const struct sending *sending) {
    return !sending->in_flight && (sending->failure != 0 || sending->first == sending->count);
}

static void sending_take(struct sending *sending, int64_t result) {
    if (result < 0) {
        sending->failure = result;
        return;
    }
    uint64_t left = (uint64_t)result;
    sending->sent += left;
    while (sending->first < sending->count && left >= sending->rest[sending->first].size) {
        left -= sending->rest[sending->first++].size;
    }
    if (sending->first < sending->count) {
        struct engine_piece *piece = &sending->rest[sending->first];
        piece->size -= left;
        if (piece->bytes) {
            piece->bytes += left;
        } else {
            piece->offset += left;
        }
    } else {
        assert_int_equal(left, 0); /* no more than was asked for */
    }
}

/* Goes on as far as it can without running the port. */
static void sending_go(struct sending *sending) {
    struct link *link = sending->link;
    if (sending->in_flight && link->sends > 0) {
        assert_int_equal(link->sends, 1);
        sending->in_flight = false;
        sending_take(sending, link->sent);
    }
    while (!sending->in_flight && !sending_is_over(sending)) {
        link->sends = 0;
        int64_t result =
            engine_send(link->world->port, link->socket, &link->send,
                        sending->rest + sending->first, sending->count - sending->first);
        assert_int_equal(link->sends, 0); /* never from within */
        if (result == ENGINE_PENDING) {
            sending->in_flight = true;
        } else {
            sending_take(sending, result);
        }
    }
}

static void sending_start(struct sending *sending, struct link *link,
                          const struct engine_piece *pieces, unsigned count) {
    *sending = (struct sending){.link = link, .count = count};
    memcpy(sending->rest, pieces, count * sizeof(*pieces));
    sending_go(sending);
}

/* All of them to their ends. */
static void sendings_finish(struct world *world, struct sending *sendings, unsigned count) {
    uint64_t start_ms = os_now_ms();
    for (unsigned over = 0; over < count;) {
        assert_true(os_now_ms() - start_ms < PATIENCE_MS);
        engine_port_run(world->port, RUN_MS);
        over = 0;
        for (unsigned i = 0; i < count; i++) {
            sending_go(&sendings[i]);
            over += sending_is_over(&sendings[i]);
        }
    }
}

/* -- readers --------------------------------------------------------------- */

/* A peer in a thread that knows what is to come, to the FIN. */
struct reader {
    struct peer peer;
    const struct engine_piece *pieces;
    unsigned count;
    uint64_t done;
    bool intact;
    struct os_thread thread;
};

/* Whether these are the bytes of the pieces from `at` on. */
static bool is_part_of(const struct reader *reader, uint64_t at, const uint8_t *bytes,
                       size_t size) {
    for (unsigned i = 0; i < reader->count && size > 0; i++) {
        const struct engine_piece *piece = &reader->pieces[i];
        if (at >= piece->size) {
            at -= piece->size;
            continue;
        }
        size_t part = piece->size - at < size ? (size_t)(piece->size - at) : size;
        bool same = piece->bytes ? memcmp(bytes, piece->bytes + at, part) == 0
                                 : pattern_matches(bytes, part, piece->offset + at);
        if (!same) {
            return false;
        }
        bytes += part;
        size -= part;
        at = 0;
    }
    return size == 0;
}

static void reader_run(void *argument) {
    struct reader *reader = argument;
    static _Thread_local uint8_t bytes[65536];
    for (;;) {
        ptrdiff_t size = peer_receive(reader->peer, bytes, sizeof(bytes));
        if (size <= 0) {
            reader->intact = reader->intact && size == PEER_FIN;
            return;
        }
        reader->intact = reader->intact && is_part_of(reader, reader->done, bytes, (size_t)size);
        reader->done += (uint64_t)size;
    }
}

static void reader_start(struct reader *reader, struct link *link,
                         const struct engine_piece *pieces, unsigned count) {
    *reader = (struct reader){.peer = link->peer, .pieces = pieces, .count = count, .intact = true};
    assert_true(os_thread_start(&reader->thread, "reader", reader_run, reader, NULL));
}

/* Nothing more is sent: it has read so many bytes, all of them the right ones. */
static void reader_finish(struct reader *reader, struct link *link, uint64_t size) {
    assert_int_equal(engine_shutdown_send(link->world->port, link->socket), 0);
    os_thread_join(&reader->thread);
    assert_int_equal(reader->done, size);
    assert_true(reader->intact);
}

static uint64_t size_of(const struct engine_piece *pieces, unsigned count) {
    uint64_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        size += pieces[i].size;
    }
    return size;
}

/* Sends them over a new link, and all of them arrive. */
static void expect_sent(struct world *world, const struct engine_piece *pieces, unsigned count) {
    struct link *link = link_open(world);
    struct reader reader;
    struct sending sending;
    reader_start(&reader, link, pieces, count);
    sending_start(&sending, link, pieces, count);
    sendings_finish(world, &sending, 1);
    assert_int_equal(sending.failure, 0);
    assert_int_equal(sending.sent, size_of(pieces, count));
    reader_finish(&reader, link, sending.sent);
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
}

/* -- what is sent ---------------------------------------------------------- */

static void test_file_arrives_whole(void **state) {
    struct test_file file;
    file_make(&file, 0, FILE_BYTES);
    struct engine_piece piece = run(&file, 0, FILE_BYTES);
    expect_sent(*state, &piece, 1);
    file_end(&file);
}

static void test_runs_of_a_file_arrive(void **state) {
    struct test_file file;
    file_make(&file, 0, FILE_BYTES);
    const struct engine_piece pieces[] = {
        run(&file, FILE_BYTES - 1, 1),
        run(&file, 1, 1),
        run(&file, 1000000, 1500001),
        run(&file, 0, 77777),
    };
    for (unsigned i = 0; i < ARRAY_COUNT(pieces); i++) {
        expect_sent(*state, &pieces[i], 1);
    }
    expect_sent(*state, pieces, ARRAY_COUNT(pieces));
    file_end(&file);
}

static void test_file_between_memory_arrives_in_order(void **state) {
    struct test_file file;
    file_make(&file, 0, FILE_BYTES);
    const struct engine_piece pieces[] = {
        memory(0, 100), run(&file, 10, 50000),      memory(100, MEMORY_BYTES - 100),
        memory(7, 7),   run(&file, 5, 2 * 1000000), memory(1, 1),
    };
    expect_sent(*state, pieces, 2);
    expect_sent(*state, pieces, 3);
    expect_sent(*state, pieces + 1, 2);
    expect_sent(*state, pieces, 6);
    expect_sent(*state, pieces + 2, 4);
    file_end(&file);
}

/* Every order of memory and file over so many pieces, the sizes anything. */
static void test_pieces_in_any_order_arrive_in_it(void **state) {
    enum { PIECES = 4 };
    struct test_file file;
    file_make(&file, 0, FILE_BYTES);
    for (unsigned kinds = 0; kinds < 1u << PIECES; kinds++) {
        struct engine_piece pieces[PIECES];
        for (unsigned i = 0; i < PIECES; i++) {
            uint32_t size = 1 + pattern(kinds * PIECES + i) * 77;
            pieces[i] =
                kinds >> i & 1 ? run(&file, UINT64_C(1000) * i, size) : memory(1000 * i, size);
        }
        expect_sent(*state, pieces, PIECES);
    }
    file_end(&file);
}

static void test_as_many_pieces_as_there_may_be_arrive(void **state) {
    struct test_file files[2];
    file_make(&files[0], 0, FILE_BYTES);
    file_make(&files[1], 0, FILE_BYTES);
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < ENGINE_PIECES_MAX; i++) {
        pieces[i] =
            i % 3 == 0 ? memory(i, 100 + i) : run(&files[i % 2], UINT64_C(10000) * i, 100000 + i);
    }
    expect_sent(*state, pieces, ENGINE_PIECES_MAX);
    file_end(&files[0]);
    file_end(&files[1]);
}

static void test_file_beyond_4_gib_arrives(void **state) {
    struct test_file file;
    file_make(&file, BEYOND_4_GIB, 100000);
    const struct engine_piece pieces[] = {
        memory(0, 10),
        run(&file, BEYOND_4_GIB, 60000),
        memory(10, 10),
        run(&file, BEYOND_4_GIB + 60000, 40000),
    };
    expect_sent(*state, pieces + 1, 1);
    expect_sent(*state, pieces, ARRAY_COUNT(pieces));
    file_end(&file);
}

static void test_long_file_to_a_slow_reader_arrives_whole(void **state) {
    struct world *world = *state;
    struct test_file file;
    file_make(&file, 0, LONG_FILE_BYTES);
    const struct engine_piece pieces[] = {memory(0, 1000), run(&file, 0, LONG_FILE_BYTES),
                                          memory(1000, 1000)};
    struct link *link = link_open_small(world);
    struct sending sending;
    sending_start(&sending, link, pieces, ARRAY_COUNT(pieces));
    for (int i = 0; i < 10; i++) { /* nobody reads */
        engine_port_run(world->port, RUN_MS);
        sending_go(&sending);
    }
    assert_true(sending.in_flight);
    struct reader reader;
    reader_start(&reader, link, pieces, ARRAY_COUNT(pieces));
    sendings_finish(world, &sending, 1);
    assert_int_equal(sending.failure, 0);
    reader_finish(&reader, link, size_of(pieces, ARRAY_COUNT(pieces)));
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
    file_end(&file);
}

/* -- files that end early -------------------------------------------------- */

/* Sends them: so many bytes arrive, then the file is too short. */
static void expect_short(struct world *world, const struct engine_piece *pieces, unsigned count,
                         uint64_t size) {
    struct link *link = link_open(world);
    struct reader reader;
    struct sending sending;
    reader_start(&reader, link, pieces, count);
    sending_start(&sending, link, pieces, count);
    sendings_finish(world, &sending, 1);
    assert_int_equal(sending.failure, ENGINE_E_FILE_SHORT);
    assert_int_equal(sending.sent, size);
    reader_finish(&reader, link, size);
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
}

static void test_file_that_ends_early_is_told_after_what_there_is(void **state) {
    struct test_file file;
    file_make(&file, 0, FILE_BYTES);
    const struct engine_piece at_the_end[] = {run(&file, 0, FILE_BYTES + 1), memory(0, 10)};
    const struct engine_piece behind_memory[] = {memory(0, 100), run(&file, FILE_BYTES - 10, 1000),
                                                 run(&file, 0, 10)};
    const struct engine_piece nothing[] = {run(&file, FILE_BYTES, 1), memory(0, 10)};
    const struct engine_piece far_off[] = {memory(0, 100), memory(0, 100),
                                           run(&file, BEYOND_4_GIB, UINT64_MAX / 2)};
    expect_short(*state, at_the_end, ARRAY_COUNT(at_the_end), FILE_BYTES);
    expect_short(*state, behind_memory, ARRAY_COUNT(behind_memory), 110);
    expect_short(*state, nothing, ARRAY_COUNT(nothing), 0);
    expect_short(*state, far_off, ARRAY_COUNT(far_off), 200);
    file_end(&file);
}

static void test_empty_file_is_short(void **state) {
    struct test_file file;
    file_make(&file, 0, 0);
    const struct engine_piece pieces[] = {memory(0, 100), run(&file, 0, 1), memory(0, 1)};
    expect_short(*state, pieces, ARRAY_COUNT(pieces), 100);
    expect_short(*state, pieces + 1, 1, 0);
    file_end(&file);
}

/* -- several at once, and cancelling --------------------------------------- */

static void send_at_once(struct world *world, unsigned count) {
    struct test_file file;
    struct link *links[CROWD];
    struct sending sendings[CROWD];
    struct reader readers[CROWD];
    file_make(&file, 0, FILE_BYTES);
    const struct engine_piece pieces[] = {memory(0, 1000), run(&file, 1000, FILE_BYTES - 1000),
                                          memory(1000, 10)};
    for (unsigned i = 0; i < count; i++) {
        links[i] = link_open(world);
    }
    for (unsigned i = 0; i < count; i++) {
        sending_start(&sendings[i], links[i], pieces, ARRAY_COUNT(pieces));
    }
    for (unsigned i = 0; i < count; i++) {
        reader_start(&readers[i], links[i], pieces, ARRAY_COUNT(pieces));
    }
    sendings_finish(world, sendings, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(sendings[i].failure, 0);
        reader_finish(&readers[i], links[i], size_of(pieces, ARRAY_COUNT(pieces)));
        link_close(links[i]);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    file_end(&file);
}

static void test_two_files_at_once_arrive(void **state) {
    send_at_once(*state, 2);
}

static void test_many_files_at_once_arrive(void **state) {
    send_at_once(*state, CROWD);
}

/* Nobody reads: sends until the link has no room left. */
static void flood(struct sending *sending, struct link *link, const struct engine_piece *piece) {
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < ENGINE_PIECES_MAX; i++) {
        pieces[i] = *piece;
    }
    assert_true(size_of(pieces, ENGINE_PIECES_MAX) >= FLOOD_MAX);
    sending_start(sending, link, pieces, ENGINE_PIECES_MAX);
    for (int i = 0; i < 10; i++) {
        engine_port_run(link->world->port, RUN_MS);
        sending_go(sending);
    }
    assert_true(sending->in_flight);
}

static void test_files_whose_peers_do_not_read_can_be_cancelled(void **state) {
    struct world *world = *state;
    struct test_file file;
    struct link *links[CROWD];
    struct sending sendings[CROWD];
    file_make(&file, 0, LONG_FILE_BYTES);
    struct engine_piece piece = run(&file, 0, LONG_FILE_BYTES);
    for (unsigned i = 0; i < CROWD; i++) {
        links[i] = link_open_small(world);
        flood(&sendings[i], links[i], &piece);
    }
    /* The last one first, which may not have been begun. One that still found some room completes
     * before its turn. */
    unsigned cancelled = 0;
    for (unsigned i = CROWD; i-- > 0;) {
        if (links[i]->sends == 0) {
            engine_send_cancel(world->port, links[i]->socket, &links[i]->send);
            engine_send_cancel(world->port, links[i]->socket, &links[i]->send);
            assert_int_equal(links[i]->sends, 0); /* not from within */
            cancelled++;
        }
        RUN_UNTIL(world, links[i]->sends > 0);
        assert_true(links[i]->sent >= 0 || links[i]->sent == ENGINE_E_CANCELLED);
    }
    assert_true(cancelled > 0);
    run_quietly(world);
    assert_int_equal(engine_port_pending(world->port), 0);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(links[i]->sends, 1);
        link_close(links[i]);
    }
    expect_sent(world, &piece, 1);
    file_end(&file);
}

static void test_file_goes_on_beside_peers_that_do_not_read(void **state) {
    struct world *world = *state;
    struct test_file file;
    struct link *links[3];
    struct sending sendings[ARRAY_COUNT(links)];
    file_make(&file, 0, LONG_FILE_BYTES);
    struct engine_piece piece = run(&file, 0, LONG_FILE_BYTES);
    struct engine_piece other = run(&file, 0, 100000);
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        links[i] = link_open_small(world);
        flood(&sendings[i], links[i], &piece);
    }
    struct link *link = link_open(world);
    struct reader reader;
    struct sending sending;
    reader_start(&reader, link, &other, 1);
    sending_start(&sending, link, &other, 1);
    sendings_finish(world, &sending, 1);
    assert_int_equal(sending.failure, 0);
    reader_finish(&reader, link, other.size);
    link_close(link);
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        engine_send_cancel(world->port, links[i]->socket, &links[i]->send);
        RUN_UNTIL(world, links[i]->sends > 0);
        link_close(links[i]);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    file_end(&file);
}

static void test_file_to_a_peer_that_resets_fails(void **state) {
    struct world *world = *state;
    struct test_file file;
    struct sending sending;
    file_make(&file, 0, LONG_FILE_BYTES);
    struct engine_piece piece = run(&file, 0, LONG_FILE_BYTES);
    struct link *link = link_open_small(world);
    flood(&sending, link, &piece);
    peer_reset(link->peer);
    link->peer = NO_PEER;
    sendings_finish(world, &sending, 1);
    assert_int_equal(sending.failure, ENGINE_E_RESET);
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
    file_end(&file);
}

/* A receive that begins when a file has been sent waits as any other, whatever the sending has made
 * of the socket; and one more after the next file. */
static void test_link_receives_after_a_file(void **state) {
    enum { SHORT_BYTES = 1000 };
    struct world *world = *state;
    struct test_file file;
    struct sending sending;
    uint8_t bytes[SHORT_BYTES];
    file_make(&file, 0, SHORT_BYTES);
    pattern_fill(bytes, SHORT_BYTES, 0);
    struct engine_piece piece = run(&file, 0, SHORT_BYTES);
    struct link *link = link_open(world);
    for (unsigned i = 0; i < 2; i++) {
        sending_start(&sending, link, &piece, 1);
        sendings_finish(world, &sending, 1);
        assert_int_equal(sending.failure, 0);
        expect_at_peer(link, bytes, SHORT_BYTES);
        link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
        engine_port_run(world->port, 0);
        engine_port_run(world->port, 0);
        assert_true(peer_send(link->peer, bytes, SHORT_BYTES));
        expect_received(link, bytes, SHORT_BYTES);
        link_stop(link);
    }
    link_close(link);
    file_end(&file);
}

int main(void) {
#define WITH_LISTENER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_LISTENER(test_file_arrives_whole),
        WITH_LISTENER(test_runs_of_a_file_arrive),
        WITH_LISTENER(test_file_between_memory_arrives_in_order),
        WITH_LISTENER(test_pieces_in_any_order_arrive_in_it),
        WITH_LISTENER(test_as_many_pieces_as_there_may_be_arrive),
        WITH_LISTENER(test_file_beyond_4_gib_arrives),
        WITH_LISTENER(test_long_file_to_a_slow_reader_arrives_whole),
        WITH_LISTENER(test_file_that_ends_early_is_told_after_what_there_is),
        WITH_LISTENER(test_empty_file_is_short),
        WITH_LISTENER(test_two_files_at_once_arrive),
        WITH_LISTENER(test_many_files_at_once_arrive),
        WITH_LISTENER(test_files_whose_peers_do_not_read_can_be_cancelled),
        WITH_LISTENER(test_file_goes_on_beside_peers_that_do_not_read),
        WITH_LISTENER(test_file_to_a_peer_that_resets_fails),
        WITH_LISTENER(test_link_receives_after_a_file),
    };
    return cmocka_run_group_tests_name("engine_files", tests, NULL, NULL);
}
