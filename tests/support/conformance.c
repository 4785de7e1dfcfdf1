#include "conformance.h"

#include <stdlib.h>

const struct berth_address loopback_v4 = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}};
const struct berth_address loopback_v6 = {.family = BERTH_FAMILY_IPV6, .bytes = {[15] = 1}};

/* -- the world ------------------------------------------------------------- */

static bool buffer_take(void *context, struct engine_buffer *buffer) {
    struct world *world = context;
    if (world->buffers_out >= world->buffers_limit) {
        return false;
    }
    uint8_t *bytes = malloc(BUFFER_BYTES);
    assert_non_null(bytes);
    world->buffers_out++;
    *buffer = (struct engine_buffer){bytes, bytes, BUFFER_BYTES};
    return true;
}

void source_give(void *context, void *owner) {
    struct world *world = context;
    assert_true(world->buffers_out > 0);
    world->buffers_out--;
    free(owner);
}

static uint8_t *source_bytes(void *owner) {
    return owner;
}

struct engine_port_options port_options(struct world *world) {
    return (struct engine_port_options){
        .buffers = {world, BUFFER_BYTES, buffer_take, source_give, source_bytes},
        .receive_buffers = BUFFERS_AT_FIRST,
        .receive_buffers_max = BUFFERS_MAX,
        .burst_buffers = BURST_BUFFERS,
    };
}

static void setup_world(void **state, unsigned buffers, unsigned buffers_max, unsigned burst) {
    struct error error = {0};
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    world->buffers_limit = UINT32_MAX;
    struct engine_options wanted = engine_under_test(512);
    world->engine = engine_create(&wanted, &error);
    if (!world->engine) {
        fail_msg("%s", error.message);
    }
    struct engine_port_options options = port_options(world);
    options.receive_buffers = buffers;
    options.receive_buffers_max = buffers_max;
    options.burst_buffers = burst;
    world->port = engine_port_create(world->engine, &options, &error);
    if (!world->port) {
        fail_msg("%s", error.message);
    }
    *state = world;
}

int setup_bare(void **state) {
    setup_world(state, BUFFERS_AT_FIRST, BUFFERS_MAX, BURST_BUFFERS);
    return 0;
}

int setup_roomy(void **state) {
    setup_world(state, BUFFERS_ROOMY, BUFFERS_ROOMY, BURST_BUFFERS);
    world_listen(*state, &loopback_v4, false);
    return 0;
}

int setup_strict(void **state) {
    setup_world(state, BUFFERS_ROOMY, BUFFERS_ROOMY, 1);
    world_listen(*state, &loopback_v4, false);
    return 0;
}

int setup(void **state) {
    setup_bare(state);
    world_listen(*state, &loopback_v4, false);
    return 0;
}

int teardown(void **state) {
    struct world *world = *state;
    world_listen_end(world);
    assert_int_equal(engine_port_pending(world->port), 0);
    engine_port_destroy(world->port);
    assert_int_equal(world->buffers_out, 0);
    engine_destroy(world->engine);
    free(world);
    return 0;
}

void world_listen(struct world *world, const struct berth_address *address, bool v6_only) {
    struct error error = {0};
    struct engine_listen_options options = {
        .address = *address, .backlog = BACKLOG, .acceptors = 1, .v6_only = v6_only};
    world->listener = engine_listener_open(world->engine, &options, &error);
    if (!world->listener || !engine_listener_start(world->listener, &error)) {
        fail_msg("%s", error.message);
    }
    world->address = engine_listener_address(world->listener);
    world->acceptor =
        engine_acceptor_create(world->port, world->listener, 0, count_starved, world, &error);
    if (!world->acceptor) {
        fail_msg("%s", error.message);
    }
}

void world_listen_end(struct world *world) {
    engine_acceptor_destroy(world->acceptor);
    world->acceptor = NULL;
    engine_listener_close(world->listener);
    world->listener = NULL;
}

void run_quietly(struct world *world) {
    for (int i = 0; i < QUIET_RUNS; i++) {
        engine_port_run(world->port, RUN_MS);
    }
}

/* -- accepting ------------------------------------------------------------- */

void count_starved(struct engine_acceptor *acceptor, void *context) {
    struct world *world = context;
    (void)acceptor;
    world->starved++;
}

static void on_accepted(struct engine_op *op, int64_t result) {
    static unsigned turn;
    struct accepted *accepted = CONTAINER_OF(op, struct accepted, accept.op);
    accepted->completions++;
    accepted->result = result;
    accepted->turn = ++turn;
}

void accept_post(struct world *world, struct accepted *accepted, bool with_data) {
    *accepted = (struct accepted){.accept = {.op.complete = on_accepted, .with_data = with_data}};
    engine_accept(world->acceptor, &accepted->accept);
}

void accept_finish(struct world *world, struct accepted *accepted, bool reset) {
    assert_int_equal(accepted->completions, 1);
    if (accepted->result < 0) {
        return;
    }
    if (accepted->accept.data.owner) {
        source_give(world, accepted->accept.data.owner);
    }
    engine_close(world->engine, accepted->accept.socket, reset);
}

struct peer client(struct world *world) {
    struct peer peer;
    assert_true(peer_connect(&peer, &world->address));
    return peer;
}

bool is_client(const struct accepted *accepted, struct peer peer) {
    struct berth_address address = peer_address(peer);
    return accepted->completions == 1 && accepted->result >= 0 &&
           address_equal(&accepted->accept.remote, &address);
}

void expect_accepting(struct world *world) {
    struct accepted accepted;
    struct peer peer = client(world);
    assert_true(peer_send(peer, "hello", 5));
    do { /* clients that are gone may come before it */
        accept_post(world, &accepted, true);
        RUN_UNTIL(world, accepted.completions > 0);
        accept_finish(world, &accepted, false);
    } while (!is_client(&accepted, peer));
    assert_int_equal(accepted.result, 5);
    peer_close(peer);
}

/* -- links ----------------------------------------------------------------- */

static void on_received(struct engine_op *op, int64_t result) {
    struct link *link = CONTAINER_OF(op, struct link, receive.op);
    assert_int_equal(link->ends, 0); /* nothing comes after the last one */
    if (result <= 0) {
        link->ends++;
        link->end = result;
        return;
    }
    const struct engine_buffer *data = engine_received(link->world->port);
    assert_int_equal(data->size, result);
    link->told += (size_t)result;
    if (!data->owner) {
        return; /* read and thrown away, as engine_receive_drain() may do */
    }
    assert_true(result <= BUFFER_BYTES);
    if (link->received_size + data->size > link->received_room) {
        link->received_room = 2 * (link->received_size + data->size);
        link->received = realloc(link->received, link->received_room);
        assert_non_null(link->received);
    }
    memcpy(link->received + link->received_size, data->bytes, data->size);
    link->received_size += data->size;
    if (link->keep) {
        assert_true(link->kept_count < BUFFERS_MAX);
        link->kept[link->kept_count++] = data->owner;
    } else {
        source_give(link->world, data->owner);
    }
    if (++link->deliveries == link->stop_at) {
        engine_receive_stop(link->world->port, link->socket, &link->receive);
    }
}

static void on_sent(struct engine_op *op, int64_t result) {
    struct link *link = CONTAINER_OF(op, struct link, send);
    link->sends++;
    link->sent = result;
}

struct link *link_adopt(struct world *world, struct engine_socket socket) {
    struct link *link = calloc(1, sizeof(*link));
    assert_non_null(link);
    link->world = world;
    link->socket = socket;
    link->peer = NO_PEER;
    link->receive.op.complete = on_received;
    link->send.complete = on_sent;
    return link;
}

static struct link *open_with(struct world *world,
                              bool (*connect)(struct peer *peer, const struct berth_address *to)) {
    struct error error = {0};
    struct accepted accepted;
    struct peer peer;
    accept_post(world, &accepted, false);
    assert_true(connect(&peer, &world->address));
    RUN_UNTIL(world, accepted.completions > 0);
    assert_true(is_client(&accepted, peer));
    struct link *link = link_adopt(world, accepted.accept.socket);
    link->peer = peer;
    if (!engine_attach(world->port, &link->socket, &error)) {
        fail_msg("%s", error.message);
    }
    return link;
}

struct link *link_open(struct world *world) {
    return open_with(world, peer_connect);
}

struct link *link_open_small(struct world *world) {
    return open_with(world, peer_connect_small);
}

void link_close(struct link *link) {
    link_let_go(link);
    if (link->socket.handle != ENGINE_NO_SOCKET.handle) {
        engine_close(link->world->engine, link->socket, false);
    }
    if (link->peer.handle != NO_PEER.handle) {
        peer_close(link->peer);
    }
    free(link->received);
    free(link);
}

void link_receive(struct link *link, enum engine_receive_mode mode) {
    link->ends = 0;
    engine_receive_start(link->world->port, link->socket, &link->receive, mode, true);
}

void link_stop(struct link *link) {
    engine_receive_stop(link->world->port, link->socket, &link->receive);
    RUN_UNTIL(link->world, link->ends > 0);
    assert_int_equal(link->end, ENGINE_E_CANCELLED);
}

void link_let_go(struct link *link) {
    while (link->kept_count > 0) {
        source_give(link->world, link->kept[--link->kept_count]);
    }
}

void expect_received(struct link *link, const void *bytes, size_t size) {
    RUN_UNTIL(link->world, link->received_size >= size || link->ends > 0);
    assert_int_equal(link->received_size, size);
    assert_memory_equal(link->received, bytes, size);
    link->received_size = 0;
}

void expect_at_peer(struct link *link, const void *bytes, size_t size) {
    uint8_t *room = malloc(size);
    assert_non_null(room);
    for (size_t done = 0; done < size;) {
        engine_port_run(link->world->port, 0);
        ptrdiff_t received = peer_receive(link->peer, room + done, size - done);
        assert_true(received > 0);
        done += (size_t)received;
    }
    assert_memory_equal(room, bytes, size);
    free(room);
}

void expect_reset_at_peer(struct peer peer) {
    char byte;
    ptrdiff_t received = peer_receive(peer, &byte, 1);
    if (received != PEER_FIN || !peer_resets_look_like_fins()) {
        assert_int_equal(received, PEER_RESET);
    }
}

/* -- bytes ----------------------------------------------------------------- */

uint8_t pattern(uint64_t at) {
    return (uint8_t)((at * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

void pattern_fill(uint8_t *bytes, size_t size, uint64_t at) {
    for (size_t i = 0; i < size; i++) {
        bytes[i] = pattern(at + i);
    }
}

bool pattern_matches(const uint8_t *bytes, size_t size, uint64_t at) {
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != pattern(at + i)) {
            return false;
        }
    }
    return true;
}
