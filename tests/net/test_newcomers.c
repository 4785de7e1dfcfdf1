/* A new client does not wait behind all that hundreds of others have asked for, with everything
 * real but the plugin. That one stops the only worker for as long as the test likes: meanwhile all
 * the others speak, and only then the new client comes. */
#include "unit.h"

#include <stdatomic.h>

#include "net_world.h"
#include "peer.h"

enum { CROWD = 700 };

/* What clients say. */
#define STOP "s"
#define CROWDED "c"
#define NEW "n"

static atomic_bool stopped;
static atomic_bool released;
static atomic_uint crowd_served;
static atomic_uint served_before; /* of the crowd, when the new one was */

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    if (data->bytes[0] == STOP[0]) {
        atomic_store(&stopped, true);
        while (!atomic_load(&released)) {
            peer_pause(1);
        }
    } else if (data->bytes[0] == NEW[0]) {
        atomic_store(&served_before, atomic_load(&crowd_served));
    } else {
        atomic_fetch_add(&crowd_served, 1);
    }
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}

static const struct berth_plugin plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "stopping",
    .name = "Stopping",
    .version = "1",
    .received = on_received,
};

static int set_up(void **state) {
    (void)state;
    atomic_store(&stopped, false);
    atomic_store(&released, false);
    atomic_store(&crowd_served, 0);
    return net_world_start(1);
}

static int tear_down(void **state) {
    (void)state;
    return net_world_end();
}

static void say(struct peer peer, const char *text) {
    assert_true(peer_send(peer, text, 1));
}

static void hear(struct peer peer, const char *text) {
    char answer;
    assert_int_equal(peer_receive(peer, &answer, 1), 1);
    assert_int_equal(answer, text[0]);
}

static void expect_newcomer_is_served_soon(bool on_data) {
    static struct peer crowd[CROWD];
    assert_true(peer_sockets_allow(2 * CROWD + 100));
    net_world_serve(&plugin, on_data, ENGINE_RECEIVE_ZERO_BYTE);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = net_world_client();
        say(crowd[i], CROWDED);
        hear(crowd[i], CROWDED);
    }
    struct peer stopping = net_world_client();
    say(stopping, STOP);
    while (!atomic_load(&stopped)) {
        peer_pause(1);
    }
    atomic_store(&crowd_served, 0);
    for (unsigned i = 0; i < CROWD; i++) {
        say(crowd[i], CROWDED);
    }
    struct peer newcomer = net_world_client();
    say(newcomer, NEW);
    atomic_store(&released, true);
    hear(newcomer, NEW);
    for (unsigned i = 0; i < CROWD; i++) {
        hear(crowd[i], CROWDED);
        peer_close(crowd[i]);
    }
    peer_close(stopping);
    peer_close(newcomer);
    net_world_serve_end();
    assert_in_range(atomic_load(&served_before), 0, CROWD / 2);
}

static void test_newcomer_with_data_is_served_before_the_crowd(void **state) {
    (void)state;
    expect_newcomer_is_served_soon(true);
}

static void test_newcomer_is_served_before_the_crowd(void **state) {
    (void)state;
    if (!net_world_accepts_on_workers()) {
        skip(); /* IOCP: its receive is a packet behind all others' in the port */
    }
    expect_newcomer_is_served_soon(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_newcomer_with_data_is_served_before_the_crowd, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_newcomer_is_served_before_the_crowd, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("newcomers", tests, NULL, NULL);
}
