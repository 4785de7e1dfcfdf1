/* test_engine_transfer.c: the conformance suite's part on receiving, sending and closing. What is
 * said of receives holds in both modes. */
#include "conformance.h"

#include <stdlib.h>

enum {
    STREAM_BYTES = 8 << 20,
    GATHER_BYTES = 1000,
    CROWD = 40,
    FLOOD_MAX = 64 << 20, /* no socket holds as much */
};

static const enum engine_receive_mode modes[] = {ENGINE_RECEIVE_ZERO_BYTE, ENGINE_RECEIVE_BUFFERED};

/* Runs the body once in each mode, with a fresh link. */
static void in_both_modes(void **state,
                          void (*body)(struct link *link, enum engine_receive_mode mode)) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct link *link = link_open(world);
        body(link, modes[i]);
        run_quietly(world);
        assert_true(link->ends <= 1);
        assert_int_equal(engine_port_pending(world->port), 0);
        link_close(link);
    }
}

/* -- receiving
 * ------------------------------------------------------------------------------------- */

static void arrivals(struct link *link, enum engine_receive_mode mode) {
    link_receive(link, mode);
    assert_int_equal(engine_port_pending(link->world->port), 1);
    run_quietly(link->world);
    assert_int_equal(link->deliveries, 0);
    for (unsigned i = 0; i < 20; i++) {
        assert_true(peer_send(link->peer, "arrival", 7));
        expect_received(link, "arrival", 7);
        assert_int_equal(link->deliveries, i + 1);
    }
    assert_int_equal(engine_port_pending(link->world->port), 1);
    link_stop(link);
}

static void test_receive_stays_armed_over_arrivals(void **state) {
    in_both_modes(state, arrivals);
}

static void early(struct link *link, enum engine_receive_mode mode) {
    assert_true(peer_send(link->peer, "early", 5));
    peer_shutdown_send(link->peer);
    link_receive(link, mode);
    assert_int_equal(link->deliveries, 0); /* never before the port runs */
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, 0);
    expect_received(link, "early", 5);
}

static void test_receive_of_what_came_before_delivers_it(void **state) {
    in_both_modes(state, early);
}

static void fin(struct link *link, enum engine_receive_mode mode) {
    link_receive(link, mode);
    run_quietly(link->world);
    peer_shutdown_send(link->peer);
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, 0);
    assert_int_equal(link->deliveries, 0);
}

static void test_receive_of_a_fin_ends_with_zero(void **state) {
    in_both_modes(state, fin);
}

static void reset(struct link *link, enum engine_receive_mode mode) {
    link_receive(link, mode);
    run_quietly(link->world);
    peer_reset(link->peer);
    link->peer = NO_PEER;
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_RESET);
}

static void test_receive_of_a_reset_ends_with_it(void **state) {
    in_both_modes(state, reset);
}

static void reset_before(struct link *link, enum engine_receive_mode mode) {
    peer_reset(link->peer);
    link->peer = NO_PEER;
    run_quietly(link->world);
    link_receive(link, mode);
    RUN_UNTIL(link->world, link->ends > 0);
    if (link->end != 0 || !peer_resets_look_like_fins()) {
        assert_int_equal(link->end, ENGINE_E_RESET);
    }
}

static void test_receive_after_a_reset_ends_with_it(void **state) {
    in_both_modes(state, reset_before);
}

static void stop(struct link *link, enum engine_receive_mode mode) {
    link_receive(link, mode);
    run_quietly(link->world);
    engine_receive_stop(link->world->port, link->socket, &link->receive);
    engine_receive_stop(link->world->port, link->socket, &link->receive);
    assert_int_equal(link->ends, 0);
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_CANCELLED);
    assert_true(peer_send(link->peer, "later", 5));
    run_quietly(link->world);
    assert_int_equal(link->ends, 1);
    assert_int_equal(link->deliveries, 0);
}

static void test_receive_that_is_stopped_ends_once(void **state) {
    in_both_modes(state, stop);
}

static void stop_at_once(struct link *link, enum engine_receive_mode mode) {
    link_receive(link, mode);
    engine_receive_stop(link->world->port, link->socket, &link->receive);
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_CANCELLED);
}

static void test_receive_that_is_stopped_before_a_run_ends_once(void **state) {
    in_both_modes(state, stop_at_once);
}

static void stop_within(struct link *link, enum engine_receive_mode mode) {
    link->stop_at = 2;
    link_receive(link, mode);
    assert_true(peer_send(link->peer, "one", 3));
    expect_received(link, "one", 3);
    assert_true(peer_send(link->peer, "two", 3));
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_CANCELLED);
    expect_received(link, "two", 3);
}

static void test_receive_that_is_stopped_in_its_completion_ends_once(void **state) {
    in_both_modes(state, stop_within);
}

static void restart(struct link *link, enum engine_receive_mode mode) {
    enum { ROUNDS = 100, CHUNK = 3000 };
    static uint8_t all[ROUNDS * CHUNK];
    pattern_fill(all, sizeof(all), 0);
    for (int i = 0; i < ROUNDS; i++) {
        link_receive(link, mode);
        if (i % 3 == 0) {
            engine_port_run(link->world->port, 0);
        }
        assert_true(peer_send(link->peer, all + (size_t)i * CHUNK, CHUNK));
        if (i % 3 == 1) {
            engine_port_run(link->world->port, 0);
        }
        engine_receive_stop(link->world->port, link->socket, &link->receive);
        RUN_UNTIL(link->world, link->ends > 0);
        assert_int_equal(link->end, ENGINE_E_CANCELLED);
    }
    link_receive(link, mode);
    expect_received(link, all, sizeof(all));
    link_stop(link);
}

static void test_receive_stopped_and_started_again_loses_nothing(void **state) {
    in_both_modes(state, restart);
}

static void receive_stream(struct link *link, enum engine_receive_mode mode);

/* A turn that has much to do, so that an engine may choose another way for what begins after it. */
static void crowd_a_turn(struct link **crowd, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        link_receive(crowd[i], ENGINE_RECEIVE_BUFFERED);
    }
    run_quietly(crowd[0]->world);
    for (unsigned i = 0; i < count; i++) {
        assert_true(peer_send(crowd[i]->peer, "crowd", 5));
    }
    peer_pause(QUIET_RUNS * RUN_MS);
    engine_port_run(crowd[0]->world->port, RUN_MS);
}

static void test_receives_that_begin_in_a_crowd_are_as_others(void **state) {
    struct world *world = *state;
    struct link *crowd[CROWD];
    struct link *links[5];
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = link_open(world);
    }
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        links[i] = link_open(world);
    }
    struct link *spoke = links[0], *silent = links[1], *finished = links[2], *left = links[3];
    assert_true(peer_send(spoke->peer, "early", 5));
    peer_shutdown_send(finished->peer);
    peer_reset(left->peer);
    left->peer = NO_PEER;
    crowd_a_turn(crowd, CROWD);
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        link_receive(links[i], ENGINE_RECEIVE_BUFFERED);
        assert_int_equal(links[i]->deliveries, 0); /* never before the port runs */
    }
    engine_receive_stop(world->port, links[4]->socket, &links[4]->receive);
    assert_int_equal(links[4]->ends, 0);
    RUN_UNTIL(world, finished->ends > 0 && left->ends > 0 && links[4]->ends > 0);
    assert_int_equal(finished->end, 0);
    assert_true(left->end == ENGINE_E_RESET || (left->end == 0 && peer_resets_look_like_fins()));
    assert_int_equal(links[4]->end, ENGINE_E_CANCELLED);
    expect_received(spoke, "early", 5);
    assert_true(peer_send(spoke->peer, "more", 4));
    assert_true(peer_send(silent->peer, "at last", 7));
    expect_received(spoke, "more", 4);
    expect_received(silent, "at last", 7);
    link_stop(spoke);
    link_stop(silent);
    for (unsigned i = 0; i < ARRAY_COUNT(links); i++) {
        assert_int_equal(links[i]->ends, 1);
        link_close(links[i]);
    }
    for (unsigned i = 0; i < CROWD; i++) {
        expect_received(crowd[i], "crowd", 5);
        link_stop(crowd[i]);
        link_close(crowd[i]);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
}

static void test_receive_of_a_long_stream_delivers_it_in_order(void **state) {
    in_both_modes(state, receive_stream);
}

/* -- receiving without buffers
 * ---------------------------------------------------------------------- */

enum { WAITERS = BUFFERS_AT_FIRST + 4 };

/* How many of the first links have their data; no later one has, for they wait in their order. */
static int served(struct link *const *links) {
    int count = 0;
    while (count < WAITERS && links[count]->deliveries > 0) {
        count++;
    }
    for (int i = count; i < WAITERS; i++) {
        assert_int_equal(links[i]->deliveries, 0);
    }
    return count;
}

static void exhaust(struct world *world, enum engine_receive_mode mode) {
    struct link *links[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        links[i] = link_open(world);
        links[i]->keep = true;
    }
    /* As many as the port may have taken already. */
    world->buffers_limit = BUFFERS_AT_FIRST;
    for (int i = 0; i < WAITERS; i++) {
        link_receive(links[i], mode);
        assert_true(peer_send(links[i]->peer, "data", 4));
        run_quietly(world);
    }
    /* How far they last depends on how many are posted ahead; what is given back is for the one
     * that waits longest. */
    int count = served(links);
    assert_in_range(count, 1, BUFFERS_AT_FIRST);
    for (int i = 0; i < count; i++) {
        link_let_go(links[i]);
        run_quietly(world);
        count = served(links);
    }
    world->buffers_limit = UINT32_MAX;
    for (int i = 0; i < WAITERS; i++) {
        RUN_UNTIL(world, links[i]->deliveries == 1);
        link_stop(links[i]);
        assert_int_equal(links[i]->received_size, 4);
        link_close(links[i]);
    }
}

/* A world for each mode: a port that has grown its store of buffers keeps it. */
static void test_zero_byte_receives_without_buffers_go_on_in_their_order(void **state) {
    exhaust(*state, ENGINE_RECEIVE_ZERO_BYTE);
}

static void test_buffered_receives_without_buffers_go_on_in_their_order(void **state) {
    exhaust(*state, ENGINE_RECEIVE_BUFFERED);
}

enum { TRIMMED = 4 * BUFFERS_AT_FIRST };

static void receive_once_each(struct world *world, struct link *const *links, unsigned round) {
    for (int i = 0; i < TRIMMED; i++) {
        assert_true(peer_send(links[i]->peer, "data", 4));
    }
    for (int i = 0; i < TRIMMED; i++) {
        RUN_UNTIL(world, links[i]->received_size == (size_t)4 * round);
        link_let_go(links[i]);
    }
}

static void test_port_that_is_trimmed_gives_buffers_back_and_goes_on(void **state) {
    struct world *world = *state;
    struct link *links[TRIMMED];
    for (int i = 0; i < TRIMMED; i++) {
        links[i] = link_open(world);
        links[i]->keep = true;
        link_receive(links[i], ENGINE_RECEIVE_ZERO_BYTE);
    }
    for (unsigned round = 1; round <= 3; round++) {
        receive_once_each(world, links, round);
        engine_port_trim(world->port);
        RUN_UNTIL(world, world->buffers_out <= BUFFERS_AT_FIRST);
    }
    for (int i = 0; i < TRIMMED; i++) {
        link_stop(links[i]);
        link_close(links[i]);
    }
}

/* A link whose receive has delivered all the buffers there are, and keeps them. */
static struct link *open_hog(struct world *world, enum engine_receive_mode mode) {
    struct link *hog = link_open(world);
    hog->keep = true;
    link_receive(hog, mode);
    world->buffers_limit = BUFFERS_AT_FIRST;
    for (unsigned sent = 1; sent <= BUFFERS_AT_FIRST; sent++) {
        assert_true(peer_send(hog->peer, "hog", 3));
        RUN_UNTIL(world, hog->deliveries == sent);
    }
    return hog;
}

static void close_hog(struct link *hog) {
    hog->world->buffers_limit = UINT32_MAX;
    link_stop(hog);
    link_close(hog);
}

static void stop_hungry(struct world *world, enum engine_receive_mode mode) {
    struct link *link = link_open(world);
    struct link *hog = open_hog(world, mode);
    link_receive(link, mode);
    assert_true(peer_send(link->peer, "data", 4));
    run_quietly(world);
    assert_int_equal(link->deliveries, 0);
    link_stop(link);

    world->buffers_limit = UINT32_MAX;
    link_receive(link, mode);
    expect_received(link, "data", 4);
    link_stop(link);
    link_close(link);
    close_hog(hog);
}

static void test_zero_byte_receive_that_waits_for_a_buffer_can_be_stopped(void **state) {
    stop_hungry(*state, ENGINE_RECEIVE_ZERO_BYTE);
}

static void test_buffered_receive_that_waits_for_a_buffer_can_be_stopped(void **state) {
    stop_hungry(*state, ENGINE_RECEIVE_BUFFERED);
}

static void test_accept_on_data_without_buffers_does_not_stop_the_acceptor(void **state) {
    struct world *world = *state;
    struct link *hog = open_hog(world, ENGINE_RECEIVE_ZERO_BYTE);
    struct accepted accepted;
    struct peer peer = client(world);
    assert_true(peer_send(peer, "hello", 5));
    accept_post(world, &accepted, true);
    run_quietly(world);
    world->buffers_limit = UINT32_MAX;
    if (accepted.completions > 0) { /* it may fail for want of memory, as it may wait for some */
        assert_int_equal(accepted.result, ENGINE_E_NO_RESOURCES);
        accept_post(world, &accepted, true);
    }
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(is_client(&accepted, peer));
    assert_int_equal(accepted.result, 5);
    accept_finish(world, &accepted, false);
    peer_close(peer);
    close_hog(hog);
}

static void test_accept_on_data_that_waits_for_a_buffer_can_be_cancelled(void **state) {
    struct world *world = *state;
    struct link *hog = open_hog(world, ENGINE_RECEIVE_ZERO_BYTE);
    struct accepted accepted;
    struct peer peer = client(world);
    assert_true(peer_send(peer, "hello", 5));
    accept_post(world, &accepted, true);
    run_quietly(world);
    if (accepted.completions == 0) {
        engine_accept_cancel(world->acceptor, &accepted.accept);
        RUN_UNTIL(world, accepted.completions > 0);
        assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    }
    peer_close(peer);
    close_hog(hog);
    expect_accepting(world);
}

/* -- peers in a thread
 * ------------------------------------------------------------------------------ */

struct stream {
    struct peer peer;
    size_t size;
    size_t done;
    bool intact;
};

static void send_pattern(void *argument) {
    struct stream *stream = argument;
    uint8_t bytes[10007];
    while (stream->done < stream->size) {
        size_t size = stream->size - stream->done;
        size = size < sizeof(bytes) ? size : sizeof(bytes);
        pattern_fill(bytes, size, stream->done);
        if (!peer_send(stream->peer, bytes, size)) {
            return;
        }
        stream->done += size;
    }
    stream->intact = true;
    peer_shutdown_send(stream->peer);
}

static void receive_pattern(void *argument) {
    struct stream *stream = argument;
    uint8_t bytes[10007];
    for (;;) {
        ptrdiff_t size = peer_receive(stream->peer, bytes, sizeof(bytes));
        if (size <= 0) {
            stream->intact = stream->intact && size == PEER_FIN;
            return;
        }
        stream->intact = stream->intact && pattern_matches(bytes, (size_t)size, stream->done);
        stream->done += (size_t)size;
    }
}

static void receive_stream(struct link *link, enum engine_receive_mode mode) {
    struct stream stream = {.peer = link->peer, .size = STREAM_BYTES};
    struct os_thread thread;
    assert_true(os_thread_start(&thread, "peer", send_pattern, &stream, NULL));
    link_receive(link, mode);
    RUN_UNTIL(link->world, link->ends > 0);
    os_thread_join(&thread);
    assert_int_equal(link->end, 0);
    assert_true(stream.intact);
    assert_int_equal(link->received_size, STREAM_BYTES);
    assert_true(pattern_matches(link->received, STREAM_BYTES, 0));
}

/* -- sending
 * ---------------------------------------------------------------------------------------- */

/* Sends pieces to the end, whatever the engine makes of them. */
static void send_all(struct link *link, const struct engine_piece *pieces, unsigned count) {
    struct engine_piece rest[ENGINE_PIECES_MAX];
    memcpy(rest, pieces, count * sizeof(*pieces));
    for (unsigned first = 0; first < count;) {
        link->sends = 0;
        int64_t sent =
            engine_send(link->world->port, link->socket, &link->send, rest + first, count - first);
        if (sent == ENGINE_PENDING) {
            RUN_UNTIL(link->world, link->sends > 0);
            assert_int_equal(link->sends, 1);
            sent = link->sent;
        }
        assert_true(sent >= 0);
        while (first < count && (uint64_t)sent >= rest[first].size) {
            sent -= rest[first++].size;
        }
        if (first < count) {
            rest[first].bytes += sent;
            rest[first].size -= (uint32_t)sent;
        }
    }
}

static void test_send_gathers_any_number_of_pieces(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    static uint8_t bytes[ENGINE_PIECES_MAX * GATHER_BYTES];
    pattern_fill(bytes, sizeof(bytes), 0);
    for (unsigned count = 1; count <= ENGINE_PIECES_MAX; count++) {
        struct engine_piece pieces[ENGINE_PIECES_MAX];
        uint32_t at = 0;
        for (unsigned i = 0; i < count; i++) {
            pieces[i] =
                (struct engine_piece){.bytes = bytes + at, .size = i % 2 ? 1 : GATHER_BYTES - i};
            at += pieces[i].size;
        }
        send_all(link, pieces, count);
        expect_at_peer(link, bytes, at);
    }
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
}

static void test_send_to_a_slow_reader_arrives_whole(void **state) {
    struct world *world = *state;
    struct link *link = link_open_small(world);
    uint8_t *bytes = malloc(STREAM_BYTES);
    assert_non_null(bytes);
    pattern_fill(bytes, STREAM_BYTES, 0);
    struct stream stream = {.peer = link->peer, .intact = true};
    struct os_thread thread;
    bool reading = false;
    enum { PIECE = 100000 };
    size_t done = 0;
    while (done < STREAM_BYTES) {
        size_t size = STREAM_BYTES - done < PIECE ? STREAM_BYTES - done : PIECE;
        struct engine_piece piece = {.bytes = bytes + done, .size = (uint32_t)size};
        link->sends = 0;
        int64_t sent = engine_send(world->port, link->socket, &link->send, &piece, 1);
        if (sent == ENGINE_PENDING) {
            if (!reading) { /* nobody reads: it stays so */
                run_quietly(world);
                reading = true;
                assert_true(os_thread_start(&thread, "peer", receive_pattern, &stream, NULL));
            }
            RUN_UNTIL(world, link->sends > 0);
            sent = link->sent;
        }
        assert_in_range(sent, 0, size);
        done += (size_t)sent;
    }
    assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
    assert_true(reading);
    os_thread_join(&thread);
    assert_true(stream.intact);
    assert_int_equal(stream.done, STREAM_BYTES);
    assert_int_equal(engine_port_pending(world->port), 0);
    free(bytes);
    link_close(link);
}

/* Sends until the engine has no room left. The bytes outlive the link. */
static void send_until_pending(struct link *link) {
    static uint8_t bytes[1 << 20];
    struct engine_piece piece = {.bytes = bytes, .size = sizeof(bytes)};
    for (size_t total = 0; total < FLOOD_MAX;) {
        link->sends = 0;
        int64_t sent = engine_send(link->world->port, link->socket, &link->send, &piece, 1);
        if (sent == ENGINE_PENDING) {
            run_quietly(link->world);
            if (link->sends == 0) {
                return;
            }
            sent = link->sent;
        }
        assert_true(sent >= 0);
        total += (size_t)sent;
    }
    fail_msg("everything is sent to a peer that reads nothing");
}

static void test_send_that_is_cancelled_completes(void **state) {
    struct world *world = *state;
    struct link *link = link_open_small(world);
    send_until_pending(link);
    assert_int_equal(engine_port_pending(world->port), 1);
    engine_send_cancel(world->port, link->socket, &link->send);
    engine_send_cancel(world->port, link->socket, &link->send);
    assert_int_equal(link->sends, 0);
    RUN_UNTIL(world, link->sends > 0);
    assert_true(link->sent >= 0 || link->sent == ENGINE_E_CANCELLED);
    run_quietly(world);
    assert_int_equal(link->sends, 1);
    assert_int_equal(engine_port_pending(world->port), 0);
    engine_send_cancel(world->port, link->socket, &link->send); /* too late: nothing happens */
    link_close(link);
}

/* The next sends must fail with the reset, at once or by their completion. */
static void expect_send_fails(struct link *link) {
    struct engine_piece piece = {.bytes = (const uint8_t *)"x", .size = 1};
    uint64_t start_ms = os_now_ms();
    int64_t sent = 0;
    while (sent >= 0) {
        assert_true(os_now_ms() - start_ms < PATIENCE_MS);
        link->sends = 0;
        sent = engine_send(link->world->port, link->socket, &link->send, &piece, 1);
        if (sent == ENGINE_PENDING) {
            RUN_UNTIL(link->world, link->sends > 0);
            sent = link->sent;
        }
    }
    assert_int_equal(sent, ENGINE_E_RESET);
}

static void test_send_to_a_peer_that_reset_fails(void **state) {
    struct link *link = link_open(*state);
    peer_reset(link->peer);
    link->peer = NO_PEER;
    expect_send_fails(link);
    link_close(link);
}

static void test_pending_send_to_a_peer_that_resets_completes(void **state) {
    struct world *world = *state;
    struct link *link = link_open_small(world);
    send_until_pending(link);
    peer_reset(link->peer);
    link->peer = NO_PEER;
    RUN_UNTIL(world, link->sends > 0);
    expect_send_fails(link);
    assert_int_equal(engine_port_pending(world->port), 0);
    link_close(link);
}

static void test_send_and_receive_at_once_do_not_mix(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct link *link = link_open_small(world);
        link_receive(link, modes[i]);
        send_until_pending(link);
        assert_int_equal(engine_port_pending(world->port), 2);
        assert_true(peer_send(link->peer, "data", 4));
        expect_received(link, "data", 4);
        assert_int_equal(link->sends, 0);
        engine_send_cancel(world->port, link->socket, &link->send);
        RUN_UNTIL(world, link->sends > 0);
        assert_int_equal(link->ends, 0);
        assert_true(peer_send(link->peer, "more", 4));
        expect_received(link, "more", 4);
        link_stop(link);
        link_close(link);
    }
}

/* -- ending
 * ----------------------------------------------------------------------------------------- */

static void test_shutdown_sends_a_fin_after_the_data_and_still_receives(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    struct engine_piece piece = {.bytes = (const uint8_t *)"bye", .size = 3};
    char byte;
    send_all(link, &piece, 1);
    assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
    expect_at_peer(link, "bye", 3);
    assert_int_equal(peer_receive(link->peer, &byte, 1), PEER_FIN);
    link_receive(link, ENGINE_RECEIVE_ZERO_BYTE);
    assert_true(peer_send(link->peer, "answer", 6));
    expect_received(link, "answer", 6);
    peer_shutdown_send(link->peer);
    RUN_UNTIL(world, link->ends > 0);
    assert_int_equal(link->end, 0);
    engine_recycle(world->port, link->socket);
    link->socket = ENGINE_NO_SOCKET;
    link_close(link);
    expect_accepting(world);
}

/* Whether they share a packet is the system's affair; that nothing is held back is ours. */
static void expect_last_bytes(struct world *world, bool by_closing) {
    struct link *link = link_open(world);
    struct engine_piece pieces[] = {{.bytes = (const uint8_t *)"good", .size = 4},
                                    {.bytes = (const uint8_t *)"bye", .size = 3}};
    char byte;
    int64_t sent = engine_send_and_fin(world->port, link->socket, &link->send, pieces, 2);
    if (sent == ENGINE_PENDING) {
        RUN_UNTIL(world, link->sends > 0);
        sent = link->sent;
    }
    assert_int_equal(sent, 7);
    if (by_closing) {
        engine_close(world->engine, link->socket, false);
        link->socket = ENGINE_NO_SOCKET;
    } else {
        assert_int_equal(engine_shutdown_send(world->port, link->socket), 0);
    }
    expect_at_peer(link, "goodbye", 7);
    assert_int_equal(peer_receive(link->peer, &byte, 1), PEER_FIN);
    link_close(link);
}

static void test_last_send_arrives_with_the_fin_behind_it(void **state) {
    expect_last_bytes(*state, false);
    expect_last_bytes(*state, true);
}

static void test_shutdown_of_a_reset_connection_fails(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    peer_reset(link->peer);
    link->peer = NO_PEER;
    expect_send_fails(link);
    int64_t result = engine_shutdown_send(world->port, link->socket);
    assert_true(result == 0 || result == ENGINE_E_RESET);
    link_close(link);
}

static void test_close_sends_a_fin(void **state) {
    struct world *world = *state;
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        struct link *link = link_open(world);
        char byte;
        link_receive(link, modes[i]);
        run_quietly(world);
        link_stop(link);
        engine_close(world->engine, link->socket, false);
        link->socket = ENGINE_NO_SOCKET;
        assert_int_equal(peer_receive(link->peer, &byte, 1), PEER_FIN);
        link_close(link);
    }
}

static void test_close_with_reset_resets(void **state) {
    struct world *world = *state;
    struct link *link = link_open(world);
    engine_close(world->engine, link->socket, true);
    link->socket = ENGINE_NO_SOCKET;
    expect_reset_at_peer(link->peer);
    link_close(link);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_receive_stays_armed_over_arrivals),
        TEST(test_receive_of_what_came_before_delivers_it),
        TEST(test_receive_of_a_fin_ends_with_zero),
        TEST(test_receive_of_a_reset_ends_with_it),
        TEST(test_receive_after_a_reset_ends_with_it),
        TEST(test_receive_that_is_stopped_ends_once),
        TEST(test_receive_that_is_stopped_before_a_run_ends_once),
        TEST(test_receive_that_is_stopped_in_its_completion_ends_once),
        TEST(test_receive_stopped_and_started_again_loses_nothing),
        TEST(test_receives_that_begin_in_a_crowd_are_as_others),
        TEST(test_receive_of_a_long_stream_delivers_it_in_order),
        TEST(test_zero_byte_receives_without_buffers_go_on_in_their_order),
        TEST(test_buffered_receives_without_buffers_go_on_in_their_order),
        TEST(test_port_that_is_trimmed_gives_buffers_back_and_goes_on),
        TEST(test_zero_byte_receive_that_waits_for_a_buffer_can_be_stopped),
        TEST(test_buffered_receive_that_waits_for_a_buffer_can_be_stopped),
        TEST(test_accept_on_data_without_buffers_does_not_stop_the_acceptor),
        TEST(test_accept_on_data_that_waits_for_a_buffer_can_be_cancelled),
        TEST(test_send_gathers_any_number_of_pieces),
        TEST(test_send_to_a_slow_reader_arrives_whole),
        TEST(test_send_that_is_cancelled_completes),
        TEST(test_send_to_a_peer_that_reset_fails),
        TEST(test_pending_send_to_a_peer_that_resets_completes),
        TEST(test_send_and_receive_at_once_do_not_mix),
        TEST(test_shutdown_sends_a_fin_after_the_data_and_still_receives),
        TEST(test_last_send_arrives_with_the_fin_behind_it),
        TEST(test_shutdown_of_a_reset_connection_fails),
        TEST(test_close_sends_a_fin),
        TEST(test_close_with_reset_resets),
    };
    return cmocka_run_group_tests_name("engine: transfer", tests, NULL, NULL);
}
