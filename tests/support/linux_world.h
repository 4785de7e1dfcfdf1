/* linux_world.h: what the tests of the Linux engines' faults share. The worlds are those of the
 * conformance suite, on linux_faults; TEST_ENGINE names the engine, as ever. */
#ifndef BERTH_TESTS_ENGINE_LINUX_WORLD_H
#define BERTH_TESTS_ENGINE_LINUX_WORLD_H

#include "conformance.h"
#include "linux_faults.h"

/* Receives, accepts and connects go by the ring; sockets wait in its table. */
bool on_ring(void);
bool on_table(void);

/* cmocka's: a world with a listener, without, and with few buffers; no faults yet. */
int setup_faults(void **state);
int setup_faults_bare(void **state);
/* Checks that no descriptor was left behind, too. */
int teardown_faults(void **state);

/* Descriptors that the process has open, and that the engine counts. */
unsigned descriptors_open(void);
unsigned descriptors_counted(const struct world *world);

/* The next `count` receives, accepts of clients and connects fail, by whichever way they go. */
void fail_receives(unsigned count, int code);
void fail_accepts(unsigned count, int code);
void fail_connects(unsigned count, int code);
unsigned failed_receives(void);

/* A peer says something, and it is received; we send something, and it comes. */
void expect_talking(struct link *link);
/* All of it, however often it takes; of the link's world. 0, or an ENGINE_E_*. */
int64_t send_all(struct link *link, const struct engine_piece *piece);

/* No more turns than that end before their time, which is RUN_MS each, while nothing happens. */
void expect_no_spinning(struct world *world);

#define FAULT_TEST(test) cmocka_unit_test_setup_teardown(test, setup_faults, teardown_faults)
#define FAULT_TEST_BARE(test)                                                                      \
    cmocka_unit_test_setup_teardown(test, setup_faults_bare, teardown_faults)

#endif
