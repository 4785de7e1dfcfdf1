/* The steady path, with everything real but the plugin: echoes on connections that stay ask the
 * host's own allocators for nothing and take none of its locks, whatever the system.
 *
 * The linker puts the functions of this file in front of the host's (--wrap), which count what a
 * worker calls. What the system does beneath them, or beneath a call into it, is not seen here. On
 * Linux tests/e2e/test_steady.py looks at the whole process. */
#include "unit.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "net_world.h"
#include "os/os.h"
#include "peer.h"

enum { PEERS = 16, ROUNDS = 200, WARM_ROUNDS = 20, BYTES_MAX = 16384 };

/* -- counting -------------------------------------------------------------- */

static atomic_ullong memory_calls;
static atomic_ullong lock_calls;

/* What the acceptor thread does where there is one, and the test itself, is not the data path. */
static void note(atomic_ullong *calls) {
    const struct worker *worker = worker_current();
    if (worker && worker != worker->server->acceptor) {
        atomic_fetch_add(calls, 1);
    }
}

/* `give` is "return" where there is something to return. */
#define WRAP_AS(give, result, name, calls, parameters, arguments)                                  \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters {                                                              \
        note(&(calls));                                                                            \
        give __real_##name arguments;                                                              \
    }
#define WRAP(...) WRAP_AS(return, __VA_ARGS__)
#define WRAP_VOID(...) WRAP_AS(, void, __VA_ARGS__)

WRAP(void *, alloc_zeroed, memory_calls, (size_t size), (size))
WRAP(void *, alloc_array, memory_calls, (size_t count, size_t size), (count, size))
WRAP(void *, alloc_resize, memory_calls, (void *memory, size_t size), (memory, size))
WRAP(char *, alloc_string, memory_calls, (const char *text), (text))
WRAP_VOID(alloc_free, memory_calls, (void *memory), (memory))
WRAP(void *, os_pages_alloc, memory_calls, (size_t size), (size))
WRAP_VOID(os_pages_free, memory_calls, (void *pages, size_t size), (pages, size))
WRAP_VOID(os_mutex_lock, lock_calls, (struct os_mutex * mutex), (mutex))
WRAP_VOID(os_condition_signal, lock_calls, (struct os_condition * condition), (condition))
WRAP_VOID(os_condition_signal_all, lock_calls, (struct os_condition * condition), (condition))
WRAP(bool, os_condition_wait, lock_calls,
     (struct os_condition * condition, struct os_mutex *mutex, int timeout_ms),
     (condition, mutex, timeout_ms))

/* -- the plugin: an echo, which may be a careless one ---------------------- */

static bool careless;
static struct os_mutex plugin_mutex;

static uint32_t BERTH_CALL on_received(struct berth_conn *conn, const struct berth_slice *data) {
    if (careless) {
        alloc_free(alloc_zeroed(1));
        os_mutex_lock(&plugin_mutex);
        os_mutex_unlock(&plugin_mutex);
    }
    conn->host->send(conn, data->bytes, data->size);
    return data->size;
}

static const struct berth_plugin echo = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .id = "echo",
    .name = "Echo",
    .version = "1",
    .received = on_received,
};

static int set_up(void **state) {
    (void)state;
    os_mutex_init(&plugin_mutex);
    careless = false;
    return net_world_start(2);
}

static int tear_down(void **state) {
    (void)state;
    os_mutex_fini(&plugin_mutex);
    return net_world_end();
}

static struct peer peers[PEERS];

static void start(bool on_data, enum engine_receive_mode mode) {
    net_world_serve(&echo, on_data, mode);
    for (unsigned i = 0; i < PEERS; i++) {
        peers[i] = net_world_client();
    }
}

static void stop(void) {
    for (unsigned i = 0; i < PEERS; i++) {
        peer_close(peers[i]);
    }
    net_world_serve_end();
}

/* -- echoes ---------------------------------------------------------------- */

static void receive_all(struct peer peer, const uint8_t *wanted, size_t size) {
    static uint8_t bytes[BYTES_MAX];
    for (size_t done = 0; done < size;) {
        ptrdiff_t more = peer_receive(peer, bytes + done, size - done);
        assert_true(more > 0);
        done += (size_t)more;
    }
    assert_memory_equal(bytes, wanted, size);
}

static void echo_rounds(unsigned rounds, size_t size) {
    static uint8_t bytes[BYTES_MAX];
    for (unsigned round = 0; round < rounds; round++) {
        memset(bytes, (int)('a' + round % 26), size);
        for (unsigned i = 0; i < PEERS; i++) {
            assert_true(peer_send(peers[i], bytes, size));
        }
        for (unsigned i = 0; i < PEERS; i++) {
            receive_all(peers[i], bytes, size);
        }
    }
}

struct calls {
    unsigned long long memory;
    unsigned long long lock;
};

/* What the workers call while echoes of that size go round. */
static struct calls calls_of(size_t size) {
    echo_rounds(WARM_ROUNDS, size);
    assert_true(atomic_load(&memory_calls) > 0); /* connecting, at the least */
    assert_true(atomic_load(&lock_calls) > 0);
    struct calls before = {atomic_load(&memory_calls), atomic_load(&lock_calls)};
    echo_rounds(ROUNDS, size);
    return (struct calls){atomic_load(&memory_calls) - before.memory,
                          atomic_load(&lock_calls) - before.lock};
}

static void test_echoes_call_no_allocator_and_no_lock(void **state) {
    (void)state;
    for (int on_data = 0; on_data < 2; on_data++) {
        for (int buffered = 0; buffered < 2; buffered++) {
            start(on_data, buffered ? ENGINE_RECEIVE_BUFFERED : ENGINE_RECEIVE_ZERO_BYTE);
            struct calls small = calls_of(64);
            struct calls large = calls_of(BYTES_MAX);
            stop();
            assert_int_equal(small.memory, 0);
            assert_int_equal(small.lock, 0);
            assert_int_equal(large.memory, 0);
            assert_int_equal(large.lock, 0);
        }
    }
}

static void test_calls_of_a_careless_plugin_are_seen(void **state) {
    (void)state;
    careless = true;
    start(false, ENGINE_RECEIVE_BUFFERED);
    struct calls calls = calls_of(64);
    stop();
    assert_int_equal(calls.memory, 2 * PEERS * ROUNDS);
    assert_int_equal(calls.lock, PEERS * ROUNDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_echoes_call_no_allocator_and_no_lock, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_calls_of_a_careless_plugin_are_seen, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
