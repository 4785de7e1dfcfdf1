/* test_iocp_send_faults.c: the IOCP engine on a Winsock that misbehaves, or has more than Wine's
 * (winsock_faults.h), sending files. */
#include "iocp_world.h"

#include <stdio.h>

#include "os/os_private.h"

enum {
    FILE_BYTES = 3 << 19, /* more than one call sends */
    CALL_BYTES = 1 << 20, /* what one call sends at most */
    SENDS_MAX = 5,
};

/* -- a file ---------------------------------------------------------------- */

static struct os_file file;
static struct os_private *folder;
static char path[600];

static char byte_at(uint64_t at) {
    return (char)('a' + at % 23);
}

static int file_make(void **state) {
    (void)state;
    static char bytes[FILE_BYTES];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = byte_at(i);
    }
    folder = os_private_create(NULL, NULL);
    assert_non_null(folder);
    assert_true(os_path_join(path, sizeof(path), os_private_path(folder), "file"));
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), stream), sizeof(bytes));
    assert_int_equal(fclose(stream), 0);
    assert_true(os_file_open(&file, path, NULL));
    return 0;
}

static int file_end(void **state) {
    (void)state;
    os_file_close(&file);
    os_file_remove(path);
    os_private_remove(folder);
    return 0;
}

static struct engine_piece run(uint64_t offset, uint64_t size) {
    return (struct engine_piece){.file = file.handle, .offset = offset, .size = size};
}

static struct engine_piece text(const char *bytes) {
    return (struct engine_piece){.bytes = (const uint8_t *)bytes, .size = strlen(bytes)};
}

/* -- sends ----------------------------------------------------------------- */

static unsigned turns;

struct sending {
    struct connection *connection;
    struct engine_op op;
    bool done; /* by a completion */
    int64_t result;
    unsigned turn; /* the how manieth to complete */
};

static void sending_complete(struct engine_op *op, int64_t result) {
    struct sending *sending = CONTAINER_OF(op, struct sending, op);
    assert_false(sending->done);
    sending->done = true;
    sending->result = result;
    sending->turn = ++turns;
}

static int64_t send_pieces(struct sending *sending, struct connection *connection,
                           const struct engine_piece *pieces, unsigned count) {
    *sending = (struct sending){.connection = connection, .op.complete = sending_complete};
    int64_t returned =
        engine_send(connection->world->port, connection->socket, &sending->op, pieces, count);
    assert_false(sending->done);
    return returned;
}

/* However it is told, the outcome. */
static int64_t outcome_of(struct sending *sending, int64_t returned) {
    struct world *world = sending->connection->world;
    if (returned == ENGINE_PENDING) {
        assert_true(run_until(world, &sending->done));
        returned = sending->result;
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    assert_int_equal(atomic_load(&world->engine->transmits), 0);
    return returned;
}

static int64_t send_whole(struct connection *connection, const struct engine_piece *pieces,
                          unsigned count) {
    struct sending sending;
    return outcome_of(&sending, send_pieces(&sending, connection, pieces, count));
}

static void client_expect_run(SOCKET client, uint64_t offset, uint64_t size) {
    static char bytes[65536];
    while (size > 0) {
        int want = size < sizeof(bytes) ? (int)size : (int)sizeof(bytes);
        int got = recv(client, bytes, want, 0);
        assert_true(got > 0);
        for (int i = 0; i < got; i++) {
            assert_int_equal(bytes[i], byte_at(offset + (uint64_t)i));
        }
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
}

/* A file goes out, whole: whatever was before, the connection is fine. */
static void expect_sending(struct connection *connection) {
    struct engine_piece piece = run(7, 50);
    while (piece.size > 0) {
        int64_t sent = send_whole(connection, &piece, 1);
        assert_true(sent >= 0);
        piece.offset += (uint64_t)sent;
        piece.size -= (uint64_t)sent;
    }
    client_expect_run(connection->client, 7, 50);
}

/* -- TransmitPackets ------------------------------------------------------- */

static int setup_packets(void **state) {
    return setup_after(state, faults_provide_packets);
}

static void provide_packets_without_skipping(void) {
    faults_provide_packets();
    faults_fail(FAULT_SET_MODES, 0, 1, ERROR_INVALID_PARAMETER);
}

static int setup_packets_without_skipping(void **state) {
    return setup_after(state, provide_packets_without_skipping);
}

static void test_packets_take_all_pieces_in_one_call(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    const struct engine_piece pieces[] = {text("one"), text("two"), run(100, 5000), text("three"),
                                          run(0, 10)};
    unsigned sends = faults_calls(FAULT_SEND);
    unsigned transmits = faults_calls(FAULT_TRANSMIT);
    assert_int_equal(send_whole(connection, pieces, ARRAY_COUNT(pieces)), 5021);
    assert_int_equal(faults_calls(FAULT_PACKETS), 1);
    assert_int_equal(faults_calls(FAULT_SEND), sends);
    assert_int_equal(faults_calls(FAULT_TRANSMIT), transmits);
    const struct fault_packets *packets = faults_packets();
    assert_int_equal(packets->count, ARRAY_COUNT(pieces));
    for (unsigned i = 0; i < ARRAY_COUNT(pieces); i++) {
        const TRANSMIT_PACKETS_ELEMENT *element = &packets->elements[i];
        assert_int_equal(element->dwElFlags, pieces[i].bytes ? TP_ELEMENT_MEMORY : TP_ELEMENT_FILE);
        assert_int_equal(element->cLength, pieces[i].size);
        if (pieces[i].bytes) {
            assert_ptr_equal(element->pBuffer, pieces[i].bytes);
        } else {
            assert_int_equal(element->nFileOffset.QuadPart, pieces[i].offset);
            assert_ptr_equal(element->hFile, (HANDLE)file.handle);
        }
    }
    client_expect(connection->client, "onetwo");
    client_expect_run(connection->client, 100, 5000);
    client_expect(connection->client, "three");
    client_expect_run(connection->client, 0, 10);
    connection_close(connection);
}

static void test_packets_leave_out_what_one_call_does_not_send(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct sending sending;
    /* More than one call's worth, and empty pieces. */
    const struct engine_piece longer[] = {text("head"), text(""), run(0, 0), run(0, FILE_BYTES),
                                          text("tail")};
    int64_t returned = send_pieces(&sending, connection, longer, ARRAY_COUNT(longer));
    assert_int_equal(faults_packets()->count, 2);
    assert_int_equal(faults_packets()->elements[1].cLength, CALL_BYTES - 4);
    client_expect(connection->client, "head");
    client_expect_run(connection->client, 0, CALL_BYTES - 4);
    assert_int_equal(outcome_of(&sending, returned), CALL_BYTES);
    /* What there is of a short file, and nothing behind it. */
    const struct engine_piece shorter[] = {run(FILE_BYTES - 10, 20), text("tail")};
    assert_int_equal(send_whole(connection, shorter, ARRAY_COUNT(shorter)), 10);
    client_expect_run(connection->client, FILE_BYTES - 10, 10);
    unsigned calls = faults_calls(FAULT_PACKETS);
    const struct engine_piece nothing[] = {run(FILE_BYTES, 10), text("tail")};
    assert_int_equal(send_whole(connection, nothing, ARRAY_COUNT(nothing)), ENGINE_E_FILE_SHORT);
    /* Memory before it goes like memory. */
    const struct engine_piece before[] = {text("head"), run(FILE_BYTES, 10)};
    assert_int_equal(send_whole(connection, before, ARRAY_COUNT(before)), 4);
    client_expect(connection->client, "head");
    assert_int_equal(faults_calls(FAULT_PACKETS), calls);
    connection_close(connection);
}

/* -- whichever call it is -------------------------------------------------- */

static enum fault_call the_call(const struct world *world) {
    return world->engine->transmit_packets ? FAULT_PACKETS : FAULT_TRANSMIT;
}

static void test_file_sent_at_once_has_no_completion(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    const struct engine_piece pieces[] = {text("head"), run(3, 100), text("tail")};
    for (int i = 0; i < 3; i++) {
        struct sending sending;
        faults_at_once(the_call(world), 1);
        int64_t returned = send_pieces(&sending, connection, pieces, ARRAY_COUNT(pieces));
        assert_int_equal(returned, world->engine->skip_success ? 108 : ENGINE_PENDING);
        assert_int_equal(outcome_of(&sending, returned), 108);
        client_expect(connection->client, "head");
        client_expect_run(connection->client, 3, 100);
        client_expect(connection->client, "tail");
        run_some(world);
        assert_int_equal(sending.done, !world->engine->skip_success);
    }
    assert_int_equal(faults_injected(the_call(world)), 3);
    connection_close(connection);
}

static void test_file_sent_later_tells_the_bytes(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    const struct engine_piece pieces[] = {text("head"), run(3, 100)};
    struct sending sending;
    faults_later(the_call(world), 1);
    int64_t returned = send_pieces(&sending, connection, pieces, ARRAY_COUNT(pieces));
    assert_int_equal(returned, ENGINE_PENDING);
    assert_int_equal(outcome_of(&sending, returned), 104);
    client_expect(connection->client, "head");
    client_expect_run(connection->client, 3, 100);
    connection_close(connection);
}

static const struct {
    int code;
    int64_t result;
} faults[] = {
    {WSAENOBUFS, ENGINE_E_NO_RESOURCES},     {WSAEWOULDBLOCK, ENGINE_E_NO_RESOURCES},
    {ERROR_HANDLE_EOF, ENGINE_E_FILE_SHORT}, {WSAECONNABORTED, ENGINE_E_RESET},
    {ERROR_NETNAME_DELETED, ENGINE_E_RESET},
};

static void test_file_failing_at_once_returns_the_error(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct engine_piece piece = run(0, 100);
        struct sending sending;
        faults_fail(the_call(world), 0, 1, faults[i].code);
        assert_int_equal(send_pieces(&sending, connection, &piece, 1), faults[i].result);
        run_some(world);
        assert_false(sending.done);
        assert_int_equal(engine_port_pending(world->port), 0);
        assert_int_equal(atomic_load(&world->engine->transmits), 0);
    }
    expect_sending(connection);
    connection_close(connection);
}

static void test_file_completing_with_an_error_tells_it(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(faults); i++) {
        struct connection *connection = connection_open(world);
        struct engine_piece piece = run(0, 100);
        faults_later(the_call(world), 1);
        faults_complete(the_call(world), 1, faults[i].code);
        assert_int_equal(send_whole(connection, &piece, 1), faults[i].result);
        connection_close(connection);
    }
}

static void test_file_without_memory_fails_until_there_is_some(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct engine_piece piece = run(0, 100);
    alloc_fail_after(0, false);
    int64_t result = send_whole(connection, &piece, 1);
    alloc_fail_after(-1, false);
    assert_int_equal(result, ENGINE_E_NO_RESOURCES);
    expect_sending(connection);
    connection_close(connection);
}

static void test_file_that_is_none_fails(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct engine_piece piece = {.file = (intptr_t)INVALID_HANDLE_VALUE, .size = 10};
    assert_int_equal(send_whole(connection, &piece, 1), ENGINE_E_OTHER);
    expect_sending(connection);
    connection_close(connection);
}

/* -- TransmitFile ---------------------------------------------------------- */

static void test_transmit_file_takes_one_piece_on_each_side(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    const struct engine_piece pieces[] = {text("one"), text("two"), run(9, 1000), text("three"),
                                          text("four")};
    unsigned transmits = faults_calls(FAULT_TRANSMIT);
    /* More memory than one piece goes ahead. */
    assert_int_equal(send_whole(connection, pieces, 5), 6);
    assert_int_equal(faults_calls(FAULT_TRANSMIT), transmits);
    assert_int_equal(send_whole(connection, pieces + 1, 4), 1008);
    assert_int_equal(faults_calls(FAULT_TRANSMIT), transmits + 1);
    client_expect(connection->client, "onetwotwo");
    client_expect_run(connection->client, 9, 1000);
    client_expect(connection->client, "three");
    /* A second file waits for the next call. */
    const struct engine_piece files[] = {run(9, 1000), run(5, 5), text("tail")};
    assert_int_equal(send_whole(connection, files, 3), 1000);
    assert_int_equal(send_whole(connection, files + 1, 2), 9);
    client_expect_run(connection->client, 9, 1000);
    client_expect_run(connection->client, 5, 5);
    client_expect(connection->client, "tail");
    assert_int_equal(faults_calls(FAULT_TRANSMIT), transmits + 3);
    connection_close(connection);
}

static void withhold_transmit_file(void) {
    faults_withhold(FAULT_TRANSMIT);
}

static int setup_without_transmit_file(void **state) {
    return setup_after(state, withhold_transmit_file);
}

static void test_without_transmit_file_the_file_is_read(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    const struct engine_piece pieces[] = {text("head"), run(3, 10 * BUFFER_BYTES), text("tail")};
    assert_int_equal(send_whole(connection, pieces, 3), 4);
    assert_int_equal(send_whole(connection, pieces + 1, 2), BUFFER_BYTES);
    client_expect(connection->client, "head");
    client_expect_run(connection->client, 3, BUFFER_BYTES);
    assert_int_equal(world->buffers_out, 0);
    faults_fail(FAULT_SEND, 0, 1, WSAENOBUFS);
    assert_int_equal(send_whole(connection, pieces + 1, 2), ENGINE_E_NO_RESOURCES);
    assert_int_equal(world->buffers_out, 0);
    const struct engine_piece nothing = run(FILE_BYTES, 1);
    assert_int_equal(send_whole(connection, &nothing, 1), ENGINE_E_FILE_SHORT);
    expect_sending(connection);
    connection_close(connection);
}

static void test_file_to_be_read_waits_for_a_buffer(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct engine_piece piece = run(3, 100);
    struct sending sending;
    unsigned left = world->buffers_left;
    world->buffers_left = 0;
    assert_int_equal(send_pieces(&sending, connection, &piece, 1), ENGINE_PENDING);
    run_some(world);
    assert_false(sending.done);
    engine_send_cancel(world->port, connection->socket, &sending.op);
    assert_false(sending.done);
    assert_int_equal(outcome_of(&sending, ENGINE_PENDING), ENGINE_E_CANCELLED);
    assert_int_equal(send_pieces(&sending, connection, &piece, 1), ENGINE_PENDING);
    run_some(world);
    assert_false(sending.done);
    world->buffers_left = left;
    assert_int_equal(outcome_of(&sending, ENGINE_PENDING), 100);
    client_expect_run(connection->client, 3, 100);
    connection_close(connection);
}

/* -- the limit of the client editions -------------------------------------- */

/* Connections first: accepting them runs the port. */
static void sendings_open(struct world *world, struct sending *sendings) {
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        sendings[i].connection = connection_open(world);
    }
}

/* Starts them in order. Without buffers: however slow the machine is, none is read. */
static void sendings_start(struct world *world, struct sending *sendings) {
    const struct engine_piece pieces[] = {text("head"), run(3, 1000)};
    turns = 0;
    world->buffers_left = 0;
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        assert_int_equal(send_pieces(&sendings[i], sendings[i].connection, pieces, 2),
                         ENGINE_PENDING);
    }
    assert_int_equal(engine_port_pending(world->port), SENDS_MAX);
}

static void sendings_end(struct sending *sendings) {
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        if (sendings[i].result == 1004) {
            client_expect(sendings[i].connection->client, "head");
            client_expect_run(sendings[i].connection->client, 3, 1000);
        }
        connection_close(sendings[i].connection);
    }
}

static void test_workstation_has_two_in_flight_and_the_others_in_order(void **state) {
    struct world *world = *state;
    struct sending sendings[SENDS_MAX];
    sendings_open(world, sendings);
    unsigned calls = faults_calls(the_call(world));
    world->engine->transmits_max = 2;
    faults_later(the_call(world), 1000);
    sendings_start(world, sendings);
    assert_int_equal(faults_calls(the_call(world)) - calls, 2);
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        assert_true(run_until(world, &sendings[i].done));
        assert_int_equal(sendings[i].result, 1004);
        assert_int_equal(sendings[i].turn, i + 1);
    }
    assert_int_equal(faults_in_flight_max(the_call(world)), 2);
    assert_int_equal(atomic_load(&world->engine->transmits), 0);
    assert_int_equal(engine_port_pending(world->port), 0);
    sendings_end(sendings);
}

static void test_server_has_all_in_flight(void **state) {
    struct world *world = *state;
    struct sending sendings[SENDS_MAX];
    sendings_open(world, sendings);
    unsigned calls = faults_calls(the_call(world));
    world->engine->transmits_max = 0;
    faults_later(the_call(world), 1000);
    sendings_start(world, sendings);
    assert_int_equal(faults_calls(the_call(world)) - calls, SENDS_MAX);
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        assert_true(run_until(world, &sendings[i].done));
        assert_int_equal(sendings[i].result, 1004);
    }
    assert_int_equal(faults_in_flight_max(the_call(world)), SENDS_MAX);
    sendings_end(sendings);
}

static void test_file_that_waits_for_its_turn_can_be_cancelled(void **state) {
    struct world *world = *state;
    struct sending sendings[SENDS_MAX];
    sendings_open(world, sendings);
    world->engine->transmits_max = 2;
    faults_later(the_call(world), 1000);
    faults_hold();
    sendings_start(world, sendings);
    for (int i = 0; i < RUNS_MAX && faults_held() < 2; i++) {
        engine_port_run(world->port, 20);
    }
    engine_send_cancel(world->port, sendings[3].connection->socket, &sendings[3].op);
    engine_send_cancel(world->port, sendings[3].connection->socket, &sendings[3].op);
    assert_false(sendings[3].done);
    assert_true(run_until(world, &sendings[3].done));
    assert_int_equal(sendings[3].result, ENGINE_E_CANCELLED);
    assert_int_equal(turns, 1);
    faults_release_reversed();
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        assert_true(run_until(world, &sendings[i].done));
        assert_int_equal(sendings[i].result, i == 3 ? ENGINE_E_CANCELLED : 1004);
    }
    assert_true(sendings[2].turn < sendings[4].turn);
    assert_int_equal(atomic_load(&world->engine->transmits), 0);
    sendings_end(sendings);
}

static void test_file_that_fails_at_its_turn_tells_and_lets_the_next_go(void **state) {
    struct world *world = *state;
    struct sending sendings[SENDS_MAX];
    sendings_open(world, sendings);
    world->engine->transmits_max = 1;
    faults_later(the_call(world), 1000);
    faults_fail(the_call(world), 1, 2, WSAENOBUFS);
    sendings_start(world, sendings);
    for (unsigned i = 0; i < SENDS_MAX; i++) {
        assert_true(run_until(world, &sendings[i].done));
        assert_int_equal(sendings[i].result, i == 1 || i == 2 ? ENGINE_E_NO_RESOURCES : 1004);
        assert_int_equal(sendings[i].turn, i + 1);
    }
    assert_int_equal(faults_in_flight_max(the_call(world)), 1);
    sendings_end(sendings);
}

static void test_file_goes_when_another_port_has_done(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct engine_piece piece = run(3, 100);
    struct sending sending;
    unsigned calls = faults_calls(the_call(world));
    world->engine->transmits_max = 2;
    world->buffers_left = 0; /* however slow the machine is, it is not read */
    atomic_store(&world->engine->transmits, 2);
    assert_int_equal(send_pieces(&sending, connection, &piece, 1), ENGINE_PENDING);
    run_some(world);
    assert_false(sending.done);
    atomic_store(&world->engine->transmits, 0);
    assert_int_equal(outcome_of(&sending, ENGINE_PENDING), 100);
    assert_int_equal(faults_calls(the_call(world)), calls + 1);
    client_expect_run(connection->client, 3, 100);
    connection_close(connection);
}

static void test_files_are_read_while_those_in_flight_stand_still(void **state) {
    struct world *world = *state;
    struct connection *connection = connection_open(world);
    struct engine_piece piece = run(3, 10000);
    struct sending sending;
    unsigned calls = faults_calls(the_call(world));
    world->engine->transmits_max = 2;
    atomic_store(&world->engine->transmits, 2);
    /* The first waits, the next does not. */
    assert_int_equal(send_pieces(&sending, connection, &piece, 1), ENGINE_PENDING);
    assert_true(run_until(world, &sending.done));
    assert_int_equal(sending.result, BUFFER_BYTES);
    assert_true(world->port->transmits_stalled);
    int64_t returned = send_pieces(&sending, connection, &piece, 1);
    assert_null(world->port->transmits_waiting);
    if (returned == ENGINE_PENDING) {
        assert_true(run_until(world, &sending.done));
        returned = sending.result;
    }
    assert_int_equal(returned, BUFFER_BYTES);
    client_expect_run(connection->client, 3, BUFFER_BYTES);
    client_expect_run(connection->client, 3, BUFFER_BYTES);
    assert_int_equal(world->buffers_out, 0);
    assert_int_equal(faults_calls(the_call(world)), calls);
    /* And they move again. */
    atomic_store(&world->engine->transmits, 0);
    assert_int_equal(send_whole(connection, &piece, 1), 10000);
    assert_int_equal(faults_calls(the_call(world)), calls + 1);
    assert_false(world->port->transmits_stalled);
    client_expect_run(connection->client, 3, 10000);
    connection_close(connection);
}

#define BY_PACKETS(test)                                                                           \
    {#test "_by_packets", test, setup_packets, teardown, NULL}, {                                  \
#test "_by_packets_without_skipping", test, setup_packets_without_skipping, teardown, NULL \
    }
#define EVERY_WAY(test) BOTH_WAYS(test), BY_PACKETS(test)

int main(void) {
    const struct CMUnitTest tests[] = {
        BY_PACKETS(test_packets_take_all_pieces_in_one_call),
        BY_PACKETS(test_packets_leave_out_what_one_call_does_not_send),
        EVERY_WAY(test_file_sent_at_once_has_no_completion),
        EVERY_WAY(test_file_sent_later_tells_the_bytes),
        EVERY_WAY(test_file_failing_at_once_returns_the_error),
        EVERY_WAY(test_file_completing_with_an_error_tells_it),
        ONE_WAY(test_file_without_memory_fails_until_there_is_some),
        ONE_WAY(test_file_that_is_none_fails),
        BOTH_WAYS(test_transmit_file_takes_one_piece_on_each_side),
        cmocka_unit_test_setup_teardown(test_without_transmit_file_the_file_is_read,
                                        setup_without_transmit_file, teardown),
        cmocka_unit_test_setup_teardown(test_file_to_be_read_waits_for_a_buffer,
                                        setup_without_transmit_file, teardown),
        EVERY_WAY(test_workstation_has_two_in_flight_and_the_others_in_order),
        ONE_WAY(test_server_has_all_in_flight),
        EVERY_WAY(test_file_that_waits_for_its_turn_can_be_cancelled),
        EVERY_WAY(test_file_that_fails_at_its_turn_tells_and_lets_the_next_go),
        ONE_WAY(test_file_goes_when_another_port_has_done),
        ONE_WAY(test_files_are_read_while_those_in_flight_stand_still),
    };
    return cmocka_run_group_tests_name("iocp_send_faults", tests, file_make, file_end);
}
