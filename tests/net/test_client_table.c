/* Clients: exact limits and rates, other ports (and addresses of one /64) are the same client, and
 * nothing is kept for longer than it is of use. */
#include "unit.h"

#include "base/alloc.h"
#include "net/lib/client_table.h"

static struct berth_address client(uint8_t last, uint16_t port) {
    struct berth_address address = {.family = BERTH_FAMILY_IPV4, .port = port};
    address.bytes[0] = 127;
    address.bytes[3] = last;
    return address;
}

static struct berth_address client6(uint8_t network, uint8_t last) {
    struct berth_address address = {.family = BERTH_FAMILY_IPV6};
    address.bytes[0] = 0x20;
    address.bytes[7] = network;
    address.bytes[15] = last;
    return address;
}

static void init(struct client_table *table, uint32_t connections_max) {
    struct client_limits limits = {.connections_max = connections_max};
    client_table_init(table, &limits);
}

static void init_rate(struct client_table *table, uint32_t rate, uint32_t burst,
                      uint32_t idle_max) {
    struct client_limits limits = {
        .rate_per_second = rate, .rate_burst = burst, .idle_max = idle_max};
    client_table_init(table, &limits);
}

static void test_client_table_limit_counts_the_client_and_not_the_port(void **state) {
    struct client_table table;
    (void)state;
    init(&table, 2);
    struct berth_address one = client(1, 1000);
    struct berth_address two = client(1, 2000);
    struct berth_address three = client(1, 3000);
    struct berth_address other = client(2, 1000);
    assert_true(client_table_add(&table, &one));
    assert_true(client_table_add(&table, &two));
    assert_false(client_table_add(&table, &three));
    assert_true(client_table_add(&table, &other));
    assert_int_equal(client_table_counts(&table).clients, 2);
    client_table_remove(&table, &one, 0);
    assert_true(client_table_add(&table, &three));
    client_table_remove(&table, &two, 0);
    client_table_remove(&table, &three, 0);
    client_table_remove(&table, &other, 0);
    assert_int_equal(client_table_counts(&table).clients, 0);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_families_are_told_apart(void **state) {
    struct client_table table;
    (void)state;
    init(&table, 1);
    struct berth_address four = client(1, 1);
    struct berth_address six = four;
    six.family = BERTH_FAMILY_IPV6;
    assert_true(client_table_add(&table, &four));
    assert_true(client_table_add(&table, &six));
    client_table_remove(&table, &four, 0);
    client_table_remove(&table, &six, 0);
    client_table_fini(&table);
}

static void test_client_table_without_a_limit_keeps_nothing(void **state) {
    struct client_table table;
    (void)state;
    init(&table, 0);
    for (int i = 0; i < 1000; i++) {
        struct berth_address address = client((uint8_t)i, 1);
        assert_true(client_table_add(&table, &address));
    }
    assert_int_equal(client_table_counts(&table).clients, 0);
    client_table_fini(&table);
}

static void test_client_table_failing_allocation_refuses_and_leaks_nothing(void **state) {
    struct client_table table;
    (void)state;
    init(&table, 1);
    struct berth_address address = client(1, 1);
    for (long countdown = 0; countdown < 3; countdown++) {
        alloc_fail_after(countdown, true);
        assert_false(client_table_add(&table, &address));
        alloc_fail_after(-1, false);
        assert_int_equal(client_table_counts(&table).clients, 0);
    }
    assert_true(client_table_add(&table, &address));
    client_table_remove(&table, &address, 0);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_addresses_of_one_network_are_one_client_in_ipv6(void **state) {
    struct client_table table;
    (void)state;
    init(&table, 2);
    struct berth_address one = client6(1, 1);
    struct berth_address two = client6(1, 2);
    struct berth_address three = client6(1, 3);
    struct berth_address other = client6(2, 1);
    assert_true(client_table_add(&table, &one));
    assert_true(client_table_add(&table, &two));
    assert_false(client_table_add(&table, &three));
    assert_true(client_table_add(&table, &other));
    assert_int_equal(client_table_counts(&table).clients, 2);
    client_table_remove(&table, &one, 0);
    client_table_remove(&table, &two, 0);
    client_table_remove(&table, &other, 0);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_rate_gives_the_burst_and_then_the_rate(void **state) {
    struct client_table table;
    (void)state;
    init_rate(&table, 10, 3, 100);
    struct berth_address one = client(1, 1);
    struct berth_address other = client(2, 1);
    uint64_t now = 1000000;
    for (int i = 0; i < 3; i++) {
        assert_true(client_table_arrive(&table, &one, now));
    }
    assert_false(client_table_arrive(&table, &one, now));
    assert_true(client_table_arrive(&table, &other, now));
    assert_false(client_table_arrive(&table, &one, now + 99));
    assert_true(client_table_arrive(&table, &one, now + 100));
    assert_false(client_table_arrive(&table, &one, now + 199));
    assert_true(client_table_arrive(&table, &one, now + 200));
    /* A clock that stands still, or goes back, gives nothing and takes nothing. */
    assert_false(client_table_arrive(&table, &one, now));
    /* After a long rest there is the burst again, and not more. */
    now += 1000000000;
    for (int i = 0; i < 3; i++) {
        assert_true(client_table_arrive(&table, &one, now));
    }
    assert_false(client_table_arrive(&table, &one, now));
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_of_many_clients_stays_within_its_bound(void **state) {
    struct client_table table;
    (void)state;
    init_rate(&table, 1, 2, 50);
    for (int i = 0; i < 10000; i++) {
        struct berth_address address = client6((uint8_t)(i % 256), (uint8_t)(i % 7));
        address.bytes[6] = (uint8_t)(i / 256);
        assert_true(client_table_arrive(&table, &address, 5000));
        assert_true(client_table_counts(&table).clients <= 50);
    }
    struct client_table_counts counts = client_table_counts(&table);
    assert_int_equal(counts.clients, 50);
    assert_int_equal(counts.idle, 50);
    assert_int_equal(counts.forgotten, 9950);
    /* Once their buckets are full nothing is worth keeping: arrivals clear it up. */
    struct berth_address late = client(1, 1);
    for (int i = 0; i < 30; i++) {
        client_table_arrive(&table, &late, 5000 + 2000 + (uint64_t)i);
    }
    assert_int_equal(client_table_counts(&table).clients, 1);
    assert_int_equal(client_table_counts(&table).forgotten, 9950);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_rate_is_remembered_past_the_last_connection(void **state) {
    struct client_table table;
    struct client_limits limits = {
        .connections_max = 5, .rate_per_second = 1, .rate_burst = 2, .idle_max = 10};
    (void)state;
    client_table_init(&table, &limits);
    struct berth_address one = client(1, 1);
    for (int i = 0; i < 2; i++) {
        assert_true(client_table_arrive(&table, &one, 1000));
        assert_true(client_table_add(&table, &one));
        client_table_remove(&table, &one, 1000);
    }
    assert_false(client_table_arrive(&table, &one, 1000));
    assert_int_equal(client_table_counts(&table).idle, 1);
    /* While it has connections it is not idle, whatever its bucket holds. */
    assert_true(client_table_add(&table, &one));
    assert_int_equal(client_table_counts(&table).idle, 0);
    client_table_remove(&table, &one, 100000);
    assert_int_equal(client_table_counts(&table).clients, 0);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_rate_without_memory_refuses(void **state) {
    struct client_table table;
    (void)state;
    init_rate(&table, 10, 10, 10);
    struct berth_address one = client(1, 1);
    alloc_fail_after(0, true);
    assert_false(client_table_arrive(&table, &one, 1));
    alloc_fail_after(-1, false);
    assert_true(client_table_arrive(&table, &one, 1));
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_table_limit_counts_the_client_and_not_the_port),
        cmocka_unit_test(test_client_table_families_are_told_apart),
        cmocka_unit_test(test_client_table_without_a_limit_keeps_nothing),
        cmocka_unit_test(test_client_table_failing_allocation_refuses_and_leaks_nothing),
        cmocka_unit_test(test_client_table_addresses_of_one_network_are_one_client_in_ipv6),
        cmocka_unit_test(test_client_table_rate_gives_the_burst_and_then_the_rate),
        cmocka_unit_test(test_client_table_of_many_clients_stays_within_its_bound),
        cmocka_unit_test(test_client_table_rate_is_remembered_past_the_last_connection),
        cmocka_unit_test(test_client_table_rate_without_memory_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
