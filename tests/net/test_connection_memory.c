/* What a connection costs while nothing happens on it: one block of memory, and its share of the
 * tables it is in. */
#include "connection_world.h"

#include "base/alloc.h"
#include "fake_engine.h"
#include "net/lib/buffer.h"

enum {
    IDLE_BYTES_MAX = 256, /* of the host's own memory, without the plugin's state */
    CONNECTIONS = 40,

    /* Allocators keep eight bytes with a block and round it up to 16: glibc's, and Windows'. */
    BLOCK_HEADER = 8,
    BLOCK_UNIT = 16,
};

static size_t block_bytes(size_t size) {
    return (size + BLOCK_HEADER + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;
}

/* A table that doubles when it is full may be half empty. */
static size_t table_bytes(size_t entry) {
    return 2 * entry;
}

static void test_connection_idle_costs_at_most_256_bytes(void **state) {
    (void)state;
    /* Epoll has a table of its own, a word for each; IOCP has none, but larger operations. */
    bool has_epoll = sizeof(struct engine_op) < sizeof(uint64_t) * 5;
    size_t watched = has_epoll ? sizeof(void *) : 0;
    size_t bytes = block_bytes(sizeof(struct connection)) +
                   table_bytes(sizeof(struct worker_slot)) + table_bytes(watched);
    assert_in_range(bytes, sizeof(struct connection), IDLE_BYTES_MAX);
}

static void steps_echo(struct worker *worker, int number) {
    adopt(worker, number, number % 2 == 0 ? "first" : NULL);
    arrive(worker, number, "hello");
}

static void steps_first(struct worker *worker, void *argument) {
    (void)argument;
    in_received = echo;
    steps_echo(worker, 0); /* what is made once is made */
}

static void steps_many(struct worker *worker, void *argument) {
    long before = alloc_live();
    (void)argument;
    for (int i = 1; i <= CONNECTIONS; i++) {
        steps_echo(worker, i);
    }
    assert_int_equal(alloc_live() - before, CONNECTIONS);
}

static void steps_all_end(struct worker *worker, void *argument) {
    (void)argument;
    for (int i = 0; i <= CONNECTIONS; i++) {
        if (fake_socket(i)->receive) {
            fake_end(i, 0);
        }
    }
    assert_int_equal(worker->connection_count, 0);
}

static void test_connection_idle_after_an_echo_is_one_block(void **state) {
    (void)state;
    on_worker(steps_first);
    on_worker(steps_many);
    on_worker(steps_all_end);
    assert_memory_equal(fake_socket(2)->sent, "firsthello", 10);
}

static void steps_echoes_allocate_nothing(struct worker *worker, void *argument) {
    (void)argument;
    long before = alloc_total();
    for (int i = 0; i < 100; i++) {
        arrive(worker, 0, "again");
    }
    assert_int_equal(alloc_total(), before);
}

static void test_connection_echoes_without_an_allocation(void **state) {
    (void)state;
    on_worker(steps_first);
    on_worker(steps_echoes_allocate_nothing);
    on_worker(steps_all_end);
}

/* -- no memory ------------------------------------------------------------- */

static void steps_no_memory_to_send(struct worker *worker, void *argument) {
    (void)argument;
    adopt(worker, 0, NULL);
    struct connection *connection = nth_connection(worker, 0);
    alloc_fail_after(0, true);
    assert_int_equal(connection_send(connection, "x", 1), BERTH_E_NO_MEMORY);
    alloc_fail_after(-1, false);
    assert_int_equal(connection_send(connection, "y", 1), BERTH_OK);
}

static void test_connection_without_memory_to_send_goes_on(void **state) {
    (void)state;
    on_worker(steps_no_memory_to_send);
    on_worker(steps_all_end);
    assert_memory_equal(fake_socket(0)->sent, "y", 1);
}

static void no_memory_from_now_on(struct berth_conn *conn, const struct berth_slice *data) {
    (void)conn, (void)data;
    alloc_fail_after(0, true);
}

static void steps_no_memory_for_the_rest(struct worker *worker, void *argument) {
    (void)argument;
    adopt(worker, 0, NULL);
    consume_max = 1;
    in_received = no_memory_from_now_on;
    arrive(worker, 0, "rest");
    alloc_fail_after(-1, false);
    fake_run_stopped();
}

static void test_connection_without_memory_for_a_rest_ends(void **state) {
    (void)state;
    on_worker(steps_no_memory_for_the_rest);
    assert_string_equal(diary, "opened received:rest closed:7 ");
    assert_true(fake_socket(0)->reset);
}

static void steps_no_memory_at_first(struct worker *worker, void *argument) {
    (void)argument;
    struct engine_accept accept = {.socket = {.handle = 1}, .remote = any_address};
    steps_first(worker, NULL); /* the table has room */
    for (long countdown = 0; countdown < 2; countdown++) {
        struct berth_buffer *buffer = buffer_take(worker->buffers);
        accept.data = (struct engine_buffer){buffer, buffer->bytes, 1};
        accept.local.port = (uint16_t)(1 + countdown); /* another one than that of the first */
        fake_socket(1)->open = true;
        listener_ref(listener);
        atomic_fetch_add(&worker->load, 1);
        alloc_fail_after(countdown, true);
        connection_adopt(worker, listener, &accept, 1, false);
        alloc_fail_after(-1, false);
        assert_int_equal(worker->connection_count, 1);
        assert_true(fake_socket(1)->reset);
    }
}

static void test_connection_without_memory_at_first_is_reset(void **state) {
    (void)state;
    on_worker(steps_no_memory_at_first);
    on_worker(steps_all_end);
}

/* -- addresses of ours ----------------------------------------------------- */

static struct berth_address local(uint16_t port) {
    return (struct berth_address){.family = BERTH_FAMILY_IPV4, .port = port};
}

static void test_local_address_is_shared(void **state) {
    struct local_addresses list = {0};
    struct berth_address one = local(1);
    struct berth_address other = local(2);
    (void)state;
    struct local_address *first = local_address_acquire(&list, &one);
    struct local_address *second = local_address_acquire(&list, &other);
    assert_ptr_equal(local_address_acquire(&list, &one), first);
    assert_ptr_not_equal(first, second);
    assert_int_equal(second->address.port, 2);
    local_address_release(first);
    local_address_release(first);
    assert_ptr_equal(local_address_acquire(&list, &one), first); /* kept for the next one */
    local_address_release(first);
    local_address_release(second);
    local_addresses_fini(&list);
}

static void test_local_address_pushed_out_of_the_list_lives_on(void **state) {
    struct local_addresses list = {0};
    struct berth_address address = local(1);
    long before = alloc_live();
    (void)state;
    struct local_address *first = local_address_acquire(&list, &address);
    for (uint16_t port = 2; port < 100; port++) {
        address.port = port;
        local_address_release(local_address_acquire(&list, &address));
    }
    assert_int_equal(first->address.port, 1);
    assert_in_range(alloc_live() - before, 2, 20); /* those without users are gone */
    local_address_release(first);
    local_addresses_fini(&list);
    assert_int_equal(alloc_live(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_idle_costs_at_most_256_bytes),
        cmocka_unit_test_setup_teardown(test_connection_idle_after_an_echo_is_one_block, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_connection_echoes_without_an_allocation, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_connection_without_memory_to_send_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_connection_without_memory_for_a_rest_ends, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_connection_without_memory_at_first_is_reset, set_up,
                                        tear_down),
        cmocka_unit_test(test_local_address_is_shared),
        cmocka_unit_test(test_local_address_pushed_out_of_the_list_lives_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
