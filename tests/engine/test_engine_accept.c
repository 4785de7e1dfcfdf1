/* test_engine_accept.c: the conformance suite's part on listening and accepting. */
#include "conformance.h"

#include <stdlib.h>

enum { CROWD = 1000, CROWD_ACCEPTS = 64 };

/* -- what an accept tells
 * -------------------------------------------------------------------------- */

static void test_accept_on_connect_completes_with_addresses(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_post(world, &accepted, false);
    run_quietly(world);
    assert_int_equal(accepted.completions, 0);
    struct peer peer = client(world);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, 0);
    assert_null(accepted.accept.data.owner);
    assert_true(is_client(&accepted, peer));
    assert_true(address_equal(&accepted.accept.local, &world->address));
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_accept_on_data_completes_with_the_first_bytes(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_post(world, &accepted, true);
    struct peer peer = client(world);
    run_quietly(world);
    assert_int_equal(accepted.completions, 0);
    assert_true(peer_send(peer, "first", 5));
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, 5);
    assert_int_equal(accepted.accept.data.size, 5);
    assert_memory_equal(accepted.accept.data.bytes, "first", 5);
    assert_true(is_client(&accepted, peer));
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_accept_on_data_of_a_client_that_spoke_before_completes(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    struct peer peer = client(world);
    assert_true(peer_send(peer, "early", 5));
    accept_post(world, &accepted, true);
    assert_int_equal(accepted.completions, 0); /* never before the port runs */
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, 5);
    assert_memory_equal(accepted.accept.data.bytes, "early", 5);
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_accept_on_data_of_a_fin_completes_with_nothing(void **state) {
    struct world *world = *state;
    for (int before = 0; before < 2; before++) {
        struct accepted accepted;
        struct peer peer = client(world);
        if (before) {
            peer_shutdown_send(peer);
        }
        accept_post(world, &accepted, true);
        run_quietly(world);
        peer_shutdown_send(peer);
        RUN_UNTIL(world, accepted.completions > 0);
        assert_int_equal(accepted.result, 0);
        assert_null(accepted.accept.data.owner);
        accept_finish(world, &accepted, false);
        peer_close(peer);
    }
}

static void test_accept_on_data_larger_than_a_buffer_leaves_the_rest(void **state) {
    struct world *world = *state;
    uint8_t bytes[3 * BUFFER_BYTES];
    pattern_fill(bytes, sizeof(bytes), 0);
    struct peer peer = client(world);
    assert_true(peer_send(peer, bytes, sizeof(bytes)));
    struct accepted accepted;
    accept_post(world, &accepted, true);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_in_range(accepted.result, 1, BUFFER_BYTES);
    size_t first = (size_t)accepted.result;
    assert_memory_equal(accepted.accept.data.bytes, bytes, first);

    struct link *link = link_open(world); /* its receive is lent to the accepted socket */
    struct engine_socket socket = link->socket;
    struct error error;
    assert_true(engine_attach(world->port, &accepted.accept.socket, &error));
    link->socket = accepted.accept.socket;
    link_receive(link, ENGINE_RECEIVE_BUFFERED);
    expect_received(link, bytes + first, sizeof(bytes) - first);
    link_stop(link);
    link->socket = socket;
    link_close(link);
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_accept_of_a_silent_client_tells_how_long(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_post(world, &accepted, true);
    run_quietly(world);
    assert_true(engine_accept_connected_ms(&accepted.accept) < 0);
    struct peer peer = client(world);
    RUN_UNTIL(world, engine_accept_connected_ms(&accepted.accept) >= 0);
    assert_int_equal(accepted.completions, 0);
    assert_true(peer_send(peer, "x", 1));
    RUN_UNTIL(world, accepted.completions > 0);
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

/* -- order and number
 * ------------------------------------------------------------------------------ */

static void test_accepts_take_clients_in_the_order_of_their_posts(void **state) {
    struct world *world = *state;
    struct accepted accepted[3];
    struct peer peers[3];
    for (int i = 0; i < 3; i++) {
        accept_post(world, &accepted[i], false);
    }
    for (int i = 0; i < 3; i++) {
        peers[i] = client(world);
    }
    RUN_UNTIL(world, accepted[2].completions > 0);
    for (int i = 0; i < 3; i++) {
        assert_true(is_client(&accepted[i], peers[i]));
        accept_finish(world, &accepted[i], false);
        peer_close(peers[i]);
    }
}

static void test_silent_clients_do_not_hold_up_one_that_speaks(void **state) {
    struct world *world = *state;
    struct accepted accepted[3];
    struct peer peers[3];
    for (int i = 0; i < 3; i++) {
        accept_post(world, &accepted[i], true);
        peers[i] = client(world);
        run_quietly(world);
    }
    for (int i = 2; i >= 0; i--) {
        assert_true(peer_send(peers[i], "now", 3));
        RUN_UNTIL(world, accepted[i].completions > 0);
        assert_true(is_client(&accepted[i], peers[i]));
    }
    for (int i = 0; i < 3; i++) {
        accept_finish(world, &accepted[i], false);
        peer_close(peers[i]);
    }
}

static void test_clients_without_an_accept_starve_once_and_are_served_later(void **state) {
    struct world *world = *state;
    struct accepted accepted[3];
    struct peer peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = client(world);
    }
    RUN_UNTIL(world, world->starved > 0);
    run_quietly(world);
    assert_int_equal(world->starved, 1);

    accept_post(world, &accepted[0], false);
    RUN_UNTIL(world, accepted[0].completions > 0 && world->starved > 1);
    run_quietly(world);
    assert_int_equal(world->starved, 2);

    accept_post(world, &accepted[1], false);
    accept_post(world, &accepted[2], false);
    RUN_UNTIL(world, accepted[2].completions > 0);
    run_quietly(world);
    assert_true(world->starved <= 3); /* told again only if clients were seen to queue */
    for (int i = 0; i < 3; i++) {
        assert_true(is_client(&accepted[i], peers[i]));
        accept_finish(world, &accepted[i], false);
        peer_close(peers[i]);
    }
}

static void test_silent_clients_on_every_accept_starve(void **state) {
    struct world *world = *state;
    struct accepted silent;
    struct accepted next;
    accept_post(world, &silent, true);
    struct peer first = client(world);
    RUN_UNTIL(world, engine_accept_connected_ms(&silent.accept) >= 0);
    struct peer second = client(world);
    assert_true(peer_send(second, "hello", 5));
    RUN_UNTIL(world, world->starved > 0);
    accept_post(world, &next, true);
    RUN_UNTIL(world, next.completions > 0);
    assert_true(is_client(&next, second));
    assert_int_equal(silent.completions, 0);
    peer_shutdown_send(first);
    RUN_UNTIL(world, silent.completions > 0);
    accept_finish(world, &silent, false);
    accept_finish(world, &next, false);
    peer_close(first);
    peer_close(second);
}

static void test_posted_accepts_do_not_starve(void **state) {
    struct world *world = *state;
    struct accepted accepted[2];
    accept_post(world, &accepted[0], false);
    accept_post(world, &accepted[1], false);
    struct peer peer = client(world);
    RUN_UNTIL(world, accepted[0].completions > 0);
    run_quietly(world);
    assert_int_equal(world->starved, 0);
    engine_accept_cancel(world->acceptor, &accepted[1].accept);
    RUN_UNTIL(world, accepted[1].completions > 0);
    accept_finish(world, &accepted[0], false);
    peer_close(peer);
}

/* Accepts that are posted again from within their completion, for a crowd that comes at once. */
struct crowd {
    struct world *world;
    struct engine_accept accepts[CROWD_ACCEPTS];
    struct engine_socket sockets[CROWD];
    unsigned count;
    unsigned posted;
};

static struct crowd crowd;

static void crowd_accepted(struct engine_op *op, int64_t result) {
    assert_int_equal(result, 0);
    struct engine_accept *accept = CONTAINER_OF(op, struct engine_accept, op);
    crowd.sockets[crowd.count++] = accept->socket;
    if (crowd.posted < CROWD) {
        crowd.posted++;
        engine_accept(crowd.world->acceptor, accept);
    }
}

static void test_thousand_clients_at_once_are_all_accepted(void **state) {
    struct world *world = *state;
    struct peer *peers = calloc(CROWD, sizeof(*peers));
    assert_non_null(peers);
    peer_sockets_allow(2 * CROWD);
    crowd = (struct crowd){.world = world};
    for (unsigned i = 0; i < CROWD; i++) {
        peers[i] = client(world);
    }
    for (unsigned i = 0; i < CROWD_ACCEPTS; i++) {
        crowd.accepts[i].op.complete = crowd_accepted;
        crowd.posted++;
        engine_accept(world->acceptor, &crowd.accepts[i]);
    }
    RUN_UNTIL(world, crowd.count == CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        engine_close(world->engine, crowd.sockets[i], true);
        peer_close(peers[i]);
    }
    free(peers);
    expect_accepting(world);
}

/* -- cancelling
 * ------------------------------------------------------------------------------------ */

static void test_cancel_of_an_accept_without_a_client_completes_it_once(void **state) {
    struct world *world = *state;
    struct accepted accepted[3];
    for (int i = 0; i < 3; i++) {
        accept_post(world, &accepted[i], i == 1);
    }
    engine_accept_cancel(world->acceptor, &accepted[1].accept);
    engine_accept_cancel(world->acceptor, &accepted[1].accept);
    assert_int_equal(accepted[1].completions, 0);
    RUN_UNTIL(world, accepted[1].completions > 0);
    assert_int_equal(accepted[1].result, ENGINE_E_CANCELLED);

    struct peer peer = client(world);
    RUN_UNTIL(world, accepted[0].completions > 0);
    assert_true(is_client(&accepted[0], peer));
    engine_accept_cancel(world->acceptor, &accepted[2].accept);
    RUN_UNTIL(world, accepted[2].completions > 0);
    run_quietly(world);
    assert_int_equal(accepted[1].completions, 1);
    assert_int_equal(accepted[2].result, ENGINE_E_CANCELLED);
    accept_finish(world, &accepted[0], false);
    peer_close(peer);
    expect_accepting(world);
}

static void test_cancel_of_an_accept_with_a_silent_client_resets_it(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    accept_post(world, &accepted, true);
    struct peer peer = client(world);
    RUN_UNTIL(world, engine_accept_connected_ms(&accepted.accept) >= 0);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    engine_accept_cancel(world->acceptor, &accepted.accept);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_int_equal(accepted.result, ENGINE_E_CANCELLED);
    expect_reset_at_peer(peer);
    peer_close(peer);
    expect_accepting(world);
    assert_int_equal(accepted.completions, 1);
}

/* Accepts that are all cancelled from within the first one's completion, while others' clients have
 * come. Those who did not get one of them are taken by the next accepts; nobody is lost. */
enum { LEAVING_ACCEPTS = 16, LEAVING_CLIENTS = 12 };

struct leaving {
    struct world *world;
    struct accepted accepted[LEAVING_ACCEPTS];
    unsigned completions;
};

static struct leaving leaving;

static void leave_all(struct engine_op *op, int64_t result) {
    struct accepted *accepted = CONTAINER_OF(op, struct accepted, accept.op);
    accepted->completions++;
    accepted->result = result;
    if (leaving.completions++ == 0) {
        for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
            if (leaving.accepted[i].completions == 0) {
                engine_accept_cancel(leaving.world->acceptor, &leaving.accepted[i].accept);
            }
        }
    }
}

/* How many clients the accepts got. Those with data that ended without are told apart. */
static unsigned count_served(const struct accepted *accepted, bool with_data) {
    unsigned served = 0;
    for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
        assert_int_equal(accepted[i].completions, 1);
        assert_true(accepted[i].result >= 0 || accepted[i].result == ENGINE_E_CANCELLED);
        assert_true(accepted[i].result < 0 || !with_data || accepted[i].result > 0 ||
                    !accepted[i].accept.with_data);
        served += accepted[i].result >= 0;
    }
    return served;
}

static void cancel_among_clients(struct world *world, bool with_data) {
    struct peer peers[LEAVING_CLIENTS];
    struct accepted next;
    leaving = (struct leaving){.world = world};
    for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
        leaving.accepted[i].accept = (struct engine_accept){.with_data = with_data};
        leaving.accepted[i].accept.op.complete = leave_all;
        engine_accept(world->acceptor, &leaving.accepted[i].accept);
    }
    engine_port_run(world->port, 0);
    for (unsigned i = 0; i < LEAVING_CLIENTS; i++) {
        peers[i] = client(world);
        assert_true(peer_send(peers[i], "hello", 5));
    }
    RUN_UNTIL(world, leaving.completions == LEAVING_ACCEPTS);
    unsigned served = count_served(leaving.accepted, with_data);
    for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
        if (leaving.accepted[i].result >= 0) {
            accept_finish(world, &leaving.accepted[i], false);
        }
    }
    /* Where an accept has its socket from the start, a client who has not spoken goes with it. */
    bool all_stay = !with_data || engine_traits(world->engine)->accept_on_workers;
    for (; all_stay && served < LEAVING_CLIENTS; served++) {
        accept_post(world, &next, with_data);
        RUN_UNTIL(world, next.completions > 0);
        accept_finish(world, &next, false);
    }
    for (unsigned i = 0; i < LEAVING_CLIENTS; i++) {
        peer_close(peers[i]);
    }
    expect_accepting(world);
}

static void test_clients_who_come_as_accepts_are_cancelled_are_served(void **state) {
    for (int i = 0; i < 20; i++) {
        cancel_among_clients(*state, false);
    }
}

static void test_clients_who_speak_as_accepts_are_cancelled_are_served(void **state) {
    for (int i = 0; i < 20; i++) {
        cancel_among_clients(*state, true);
    }
}

/* Posted and cancelled with nothing in between, while somebody queues: all complete, and whom none
 * of them got is there for the next one. */
static void test_cancel_of_accepts_just_posted_completes_them(void **state) {
    struct world *world = *state;
    for (unsigned queued = 0; queued < 4; queued++) {
        struct peer peers[4];
        struct accepted accepted[LEAVING_ACCEPTS];
        unsigned completions = 0;
        for (unsigned i = 0; i < queued; i++) {
            peers[i] = client(world);
        }
        run_quietly(world);
        for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
            accept_post(world, &accepted[i], false);
        }
        for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
            engine_accept_cancel(world->acceptor, &accepted[i].accept);
        }
        while (completions < LEAVING_ACCEPTS) {
            RUN_UNTIL(world, accepted[completions].completions > 0);
            completions++;
        }
        unsigned served = count_served(accepted, false);
        for (unsigned i = 0; i < LEAVING_ACCEPTS; i++) {
            accept_finish(world, &accepted[i], false);
        }
        for (; served < queued; served++) {
            accept_post(world, &accepted[0], false);
            RUN_UNTIL(world, accepted[0].completions > 0);
            accept_finish(world, &accepted[0], false);
        }
        for (unsigned i = 0; i < queued; i++) {
            peer_close(peers[i]);
        }
    }
    expect_accepting(world);
}

/* One of two accepts is cancelled again and again as a client comes: he gets the other one. */
static void test_cancel_of_an_accept_leaves_the_client_to_another(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 50; i++) {
        struct accepted accepted[3];
        for (int k = 0; k < 3; k++) {
            accept_post(world, &accepted[k], false);
        }
        engine_port_run(world->port, 0);
        struct peer peer = client(world);
        engine_accept_cancel(world->acceptor, &accepted[0].accept);
        engine_accept_cancel(world->acceptor, &accepted[1].accept);
        RUN_UNTIL(world, accepted[0].completions > 0 && accepted[1].completions > 0);
        for (int k = 0; k < 2; k++) {
            if (accepted[k].result >= 0) { /* he came first */
                assert_true(is_client(&accepted[k], peer));
                accept_finish(world, &accepted[k], false);
                peer_close(peer);
                peer = client(world);
            }
        }
        RUN_UNTIL(world, accepted[2].completions > 0);
        assert_true(is_client(&accepted[2], peer));
        accept_finish(world, &accepted[2], false);
        peer_close(peer);
    }
}

/* -- clients that are gone
 * ------------------------------------------------------------------------- */

static void test_reset_in_the_backlog_does_not_stop_the_acceptor(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 8; i++) {
        peer_reset(client(world));
    }
    expect_accepting(world);
}

static void reset_of_client_leaves_health(struct world *world, bool with_data) {
    struct accepted accepted;
    accept_post(world, &accepted, with_data);
    peer_reset(client(world));
    run_quietly(world);
    struct peer peer = client(world);
    assert_true(peer_send(peer, "well", 4));
    /* Either the first client's end is told, or its accept goes to the second. */
    RUN_UNTIL(world, accepted.completions > 0);
    bool served = is_client(&accepted, peer);
    accept_finish(world, &accepted, false);
    if (!served) {
        accept_post(world, &accepted, with_data);
        RUN_UNTIL(world, accepted.completions > 0);
        assert_true(is_client(&accepted, peer));
        accept_finish(world, &accepted, false);
    }
    peer_close(peer);
}

static void test_reset_before_the_first_data_does_not_stop_the_acceptor(void **state) {
    reset_of_client_leaves_health(*state, true);
    expect_accepting(*state);
}

static void test_reset_after_the_connect_does_not_stop_the_acceptor(void **state) {
    reset_of_client_leaves_health(*state, false);
    expect_accepting(*state);
}

static void test_accept_without_resources_fails_and_a_later_one_succeeds(void **state) {
    struct world *world = *state;
    struct accepted accepted;
    struct peer peer = client(world);
    if (!peer_sockets_forbid()) {
        peer_close(peer);
        skip();
    }
    accept_post(world, &accepted, false);
    RUN_UNTIL(world, accepted.completions > 0);
    int64_t result = accepted.result;
    run_quietly(world);
    peer_sockets_forbid_end();
    assert_int_equal(result, ENGINE_E_NO_RESOURCES);
    accept_post(world, &accepted, false);
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(is_client(&accepted, peer));
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

/* -- addresses
 * ------------------------------------------------------------------------------------- */

static bool system_has_v6(void) {
    struct peer peer;
    struct berth_address at = loopback_v6;
    if (!peer_listen(&peer, &at)) {
        return false;
    }
    peer_close(peer);
    return true;
}

static void expect_client_of(struct world *world, const struct berth_address *to, uint16_t family) {
    struct accepted accepted;
    struct peer peer;
    accept_post(world, &accepted, false);
    assert_true(peer_connect(&peer, to));
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(is_client(&accepted, peer));
    assert_int_equal(accepted.accept.remote.family, family);
    assert_true(address_equal(&accepted.accept.local, to));
    accept_finish(world, &accepted, false);
    peer_close(peer);
}

static void test_listener_on_ipv6_shows_ipv6(void **state) {
    struct world *world = *state;
    if (!system_has_v6()) {
        skip();
    }
    world_listen(world, &loopback_v6, false);
    expect_client_of(world, &world->address, BERTH_FAMILY_IPV6);
}

static void test_listener_on_both_shows_ipv4_clients_as_ipv4(void **state) {
    struct world *world = *state;
    struct berth_address any = {.family = BERTH_FAMILY_IPV6};
    if (!system_has_v6()) {
        skip();
    }
    world_listen(world, &any, false);
    struct berth_address v4 = loopback_v4;
    struct berth_address v6 = loopback_v6;
    v4.port = v6.port = world->address.port;
    expect_client_of(world, &v4, BERTH_FAMILY_IPV4);
    expect_client_of(world, &v6, BERTH_FAMILY_IPV6);
}

static void test_listener_on_any_ipv4_shows_the_local_address(void **state) {
    struct world *world = *state;
    struct berth_address any = {.family = BERTH_FAMILY_IPV4};
    world_listen(world, &any, false);
    struct berth_address v4 = loopback_v4;
    v4.port = world->address.port;
    expect_client_of(world, &v4, BERTH_FAMILY_IPV4);
}

static void test_listener_on_ipv6_only_refuses_ipv4(void **state) {
    struct world *world = *state;
    struct berth_address any = {.family = BERTH_FAMILY_IPV6};
    struct peer peer;
    if (!system_has_v6()) {
        skip();
    }
    world_listen(world, &any, true);
    struct berth_address v4 = loopback_v4;
    v4.port = world->address.port;
    assert_false(peer_connect(&peer, &v4));
}

static void expect_open_fails(struct world *world, const struct berth_address *address,
                              unsigned acceptors, const char *why) {
    struct error error = {0};
    struct engine_listen_options options = {
        .address = *address, .backlog = BACKLOG, .acceptors = acceptors};
    assert_null(engine_listener_open(world->engine, &options, &error));
    assert_string_equal(error.message, why);
}

static unsigned acceptors_max(const struct world *world) {
    return engine_traits(world->engine)->accept_on_workers ? 2 : 1;
}

static void test_listener_on_a_port_in_use_fails(void **state) {
    struct world *world = *state;
    struct peer peer;
    struct berth_address at = loopback_v4;
    assert_true(peer_listen(&peer, &at));
    expect_open_fails(world, &at, 1, "address in use");
    expect_open_fails(world, &at, acceptors_max(world), "address in use");
    peer_close(peer);
}

static void test_listener_on_a_port_of_another_listener_fails(void **state) {
    struct world *world = *state;
    world_listen(world, &loopback_v4, false);
    expect_open_fails(world, &world->address, 1, "address in use");
    expect_open_fails(world, &world->address, acceptors_max(world), "address in use");
}

static void test_listener_on_a_foreign_address_fails(void **state) {
    struct world *world = *state;
    struct berth_address foreign = {.family = BERTH_FAMILY_IPV4, .bytes = {192, 0, 2, 1}};
    expect_open_fails(world, &foreign, 1, "address not available");
}

static void test_listener_without_memory_fails(void **state) {
    struct world *world = *state;
    alloc_fail_after(0, false);
    expect_open_fails(world, &loopback_v4, 1, "out of memory");
    alloc_fail_after(-1, false);
}

static void test_acceptor_without_memory_fails(void **state) {
    struct world *world = *state;
    struct error error = {0};
    struct engine_listen_options options = {.address = loopback_v4, .backlog = 8, .acceptors = 1};
    struct engine_listener *listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(listener);
    alloc_fail_after(0, false);
    assert_null(engine_acceptor_create(world->port, listener, 0, count_starved, world, &error));
    alloc_fail_after(-1, false);
    assert_string_equal(error.message, "out of memory");
    engine_listener_close(listener);
}

static void test_listener_that_is_closed_frees_its_port(void **state) {
    struct world *world = *state;
    world_listen(world, &loopback_v4, false);
    expect_accepting(world);
    struct berth_address address = world->address;
    world_listen_end(world);
    world_listen(world, &address, false);
    expect_accepting(world);
}

static void test_listener_that_is_closed_resets_those_who_wait(void **state) {
    struct world *world = *state;
    char byte;
    world_listen(world, &loopback_v4, false);
    struct peer peer = client(world);
    run_quietly(world);
    world_listen_end(world);
    run_quietly(world);
    assert_true(peer_receive(peer, &byte, 1) <= 0);
    peer_close(peer);
}

static void test_listener_of_several_acceptors_spreads_the_clients(void **state) {
    struct world *world = *state;
    enum { CLIENTS = 64, ACCEPTORS = 3 };
    struct engine_listen_options options = {
        .address = loopback_v4, .backlog = BACKLOG, .acceptors = ACCEPTORS};
    if (!engine_traits(world->engine)->accept_on_workers) {
        skip();
    }
    struct error error = {0};
    world->listener = engine_listener_open(world->engine, &options, &error);
    assert_non_null(world->listener);
    assert_true(engine_listener_start(world->listener, &error));
    world->address = engine_listener_address(world->listener);
    struct engine_acceptor *acceptors[ACCEPTORS];
    static struct accepted accepted[ACCEPTORS][CLIENTS];
    struct peer peers[CLIENTS];
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        acceptors[i] =
            engine_acceptor_create(world->port, world->listener, i, count_starved, world, &error);
        assert_non_null(acceptors[i]);
        world->acceptor = acceptors[i];
        for (unsigned j = 0; j < CLIENTS; j++) {
            accept_post(world, &accepted[i][j], false);
        }
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        peers[i] = client(world);
    }
    RUN_UNTIL(world, engine_port_pending(world->port) <= (ACCEPTORS - 1) * CLIENTS);
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        assert_int_equal(accepted[i][0].completions, 1); /* it had clients */
        for (unsigned j = 0; j < CLIENTS; j++) {
            if (accepted[i][j].completions == 0) {
                engine_accept_cancel(acceptors[i], &accepted[i][j].accept);
            }
        }
    }
    RUN_UNTIL(world, engine_port_pending(world->port) == 0);
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        for (unsigned j = 0; j < CLIENTS; j++) {
            accept_finish(world, &accepted[i][j], true);
        }
        engine_acceptor_destroy(acceptors[i]);
    }
    world->acceptor = NULL;
    for (unsigned i = 0; i < CLIENTS; i++) {
        peer_close(peers[i]);
    }
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define BARE(test) cmocka_unit_test_setup_teardown(test, setup_bare, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_accept_on_connect_completes_with_addresses),
        TEST(test_accept_on_data_completes_with_the_first_bytes),
        TEST(test_accept_on_data_of_a_client_that_spoke_before_completes),
        TEST(test_accept_on_data_of_a_fin_completes_with_nothing),
        TEST(test_accept_on_data_larger_than_a_buffer_leaves_the_rest),
        TEST(test_accept_of_a_silent_client_tells_how_long),
        TEST(test_accepts_take_clients_in_the_order_of_their_posts),
        TEST(test_silent_clients_do_not_hold_up_one_that_speaks),
        TEST(test_clients_without_an_accept_starve_once_and_are_served_later),
        TEST(test_silent_clients_on_every_accept_starve),
        TEST(test_posted_accepts_do_not_starve),
        TEST(test_thousand_clients_at_once_are_all_accepted),
        TEST(test_cancel_of_an_accept_without_a_client_completes_it_once),
        TEST(test_cancel_of_an_accept_with_a_silent_client_resets_it),
        TEST(test_clients_who_come_as_accepts_are_cancelled_are_served),
        TEST(test_clients_who_speak_as_accepts_are_cancelled_are_served),
        TEST(test_cancel_of_accepts_just_posted_completes_them),
        TEST(test_cancel_of_an_accept_leaves_the_client_to_another),
        TEST(test_reset_in_the_backlog_does_not_stop_the_acceptor),
        TEST(test_reset_before_the_first_data_does_not_stop_the_acceptor),
        TEST(test_reset_after_the_connect_does_not_stop_the_acceptor),
        TEST(test_accept_without_resources_fails_and_a_later_one_succeeds),
        BARE(test_listener_on_ipv6_shows_ipv6),
        BARE(test_listener_on_both_shows_ipv4_clients_as_ipv4),
        BARE(test_listener_on_any_ipv4_shows_the_local_address),
        BARE(test_listener_on_ipv6_only_refuses_ipv4),
        BARE(test_listener_on_a_port_in_use_fails),
        BARE(test_listener_on_a_port_of_another_listener_fails),
        BARE(test_listener_on_a_foreign_address_fails),
        BARE(test_listener_without_memory_fails),
        BARE(test_acceptor_without_memory_fails),
        BARE(test_listener_that_is_closed_frees_its_port),
        BARE(test_listener_that_is_closed_resets_those_who_wait),
        BARE(test_listener_of_several_acceptors_spreads_the_clients),
    };
    return cmocka_run_group_tests_name("engine: accept", tests, NULL, NULL);
}
