/* Memory is short for one worker: what the others keep for later goes back to the system, with
 * everything real. */
#include "unit.h"

#include "base/alloc.h"
#include "net/lib/buffer.h"
#include "net/run/server.h"
#include "net/run/worker.h"
#include "net_world.h"
#include "peer.h"

enum { KEPT = 300, LEFT_MAX = 16 };

static int set_up(void **state) {
    (void)state;
    return net_world_start(2);
}

static int tear_down(void **state) {
    (void)state;
    return net_world_end();
}

/* As after a crowd of clients. */
static void keep_buffers(struct worker *worker, void *argument) {
    struct berth_buffer *buffers[KEPT];
    (void)argument;
    for (unsigned i = 0; i < KEPT; i++) {
        buffers[i] = buffer_take(worker->buffers);
    }
    for (unsigned i = 0; i < KEPT; i++) {
        buffer_release(buffers[i]);
    }
}

static void fail_once(struct worker *worker, void *argument) {
    (void)worker;
    (void)argument;
    alloc_fail_after(0, false);
    void *memory = alloc_zeroed(1);
    assert_null(memory);
}

static void count_free(struct worker *worker, void *count) {
    *(uint32_t *)count = buffer_pool_free(worker->buffers);
}

static uint32_t free_of(struct worker *worker) {
    uint32_t count = 0;
    worker_call(worker, count_free, &count);
    return count;
}

static void test_shortage_of_one_worker_empties_the_pools_of_all(void **state) {
    struct worker *workers = net_world_server()->workers;
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        worker_call(&workers[i], keep_buffers, NULL);
        assert_in_range(free_of(&workers[i]), KEPT, UINT32_MAX);
    }
    worker_call(&workers[0], fail_once, NULL);
    for (unsigned i = 0; i < 2; i++) {
        while (free_of(&workers[i]) > LEFT_MAX) { /* the test's time limit ends it else */
            peer_pause(2);
        }
    }
    /* While it lasts little is kept. */
    worker_call(&workers[1], keep_buffers, NULL);
    assert_in_range(free_of(&workers[1]), 0, LEFT_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shortage_of_one_worker_empties_the_pools_of_all,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests_name("shortage", tests, NULL, NULL);
}
