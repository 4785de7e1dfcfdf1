/* Connections per client: exact limits, other ports are the same client, and nothing is kept. */
#include "unit.h"

#include "base/alloc.h"
#include "net/client_table.h"

static struct berth_address client(uint8_t last, uint16_t port) {
    struct berth_address address = {.family = BERTH_FAMILY_IPV4, .port = port};
    address.bytes[0] = 127;
    address.bytes[3] = last;
    return address;
}

static void test_client_table_limit_counts_the_client_and_not_the_port(void **state) {
    struct client_table table;
    (void)state;
    client_table_init(&table, 2);
    struct berth_address one = client(1, 1000);
    struct berth_address two = client(1, 2000);
    struct berth_address three = client(1, 3000);
    struct berth_address other = client(2, 1000);
    assert_true(client_table_add(&table, &one));
    assert_true(client_table_add(&table, &two));
    assert_false(client_table_add(&table, &three));
    assert_true(client_table_add(&table, &other));
    assert_int_equal(client_table_size(&table), 2);
    client_table_remove(&table, &one);
    assert_true(client_table_add(&table, &three));
    client_table_remove(&table, &two);
    client_table_remove(&table, &three);
    client_table_remove(&table, &other);
    assert_int_equal(client_table_size(&table), 0);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

static void test_client_table_families_are_told_apart(void **state) {
    struct client_table table;
    (void)state;
    client_table_init(&table, 1);
    struct berth_address four = client(1, 1);
    struct berth_address six = four;
    six.family = BERTH_FAMILY_IPV6;
    assert_true(client_table_add(&table, &four));
    assert_true(client_table_add(&table, &six));
    client_table_remove(&table, &four);
    client_table_remove(&table, &six);
    client_table_fini(&table);
}

static void test_client_table_without_a_limit_keeps_nothing(void **state) {
    struct client_table table;
    (void)state;
    client_table_init(&table, 0);
    for (int i = 0; i < 1000; i++) {
        struct berth_address address = client((uint8_t)i, 1);
        assert_true(client_table_add(&table, &address));
    }
    assert_int_equal(client_table_size(&table), 0);
    client_table_fini(&table);
}

static void test_client_table_failing_allocation_refuses_and_leaks_nothing(void **state) {
    struct client_table table;
    (void)state;
    client_table_init(&table, 1);
    struct berth_address address = client(1, 1);
    for (long countdown = 0; countdown < 3; countdown++) {
        alloc_fail_after(countdown, true);
        assert_false(client_table_add(&table, &address));
        alloc_fail_after(-1, false);
        assert_int_equal(client_table_size(&table), 0);
    }
    assert_true(client_table_add(&table, &address));
    client_table_remove(&table, &address);
    client_table_fini(&table);
    assert_int_equal(alloc_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_table_limit_counts_the_client_and_not_the_port),
        cmocka_unit_test(test_client_table_families_are_told_apart),
        cmocka_unit_test(test_client_table_without_a_limit_keeps_nothing),
        cmocka_unit_test(test_client_table_failing_allocation_refuses_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
