#include "linux_world.h"

#include <dirent.h>
#include <liburing.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/linux/linux.h"

enum {
    SPIN_MS = 200,
    SPIN_TURNS_MAX = 60, /* of some 20 when each waits for 10 ms */
};

static unsigned open_before;

bool on_ring(void) {
    const char *name = getenv("TEST_ENGINE");
    return !name || strcmp(name, "epoll") != 0;
}

bool on_table(void) {
    const char *name = getenv("TEST_ENGINE");
    return name && strcmp(name, "io_uring-direct") == 0;
}

unsigned descriptors_open(void) {
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

unsigned descriptors_counted(const struct world *world) {
    return atomic_load(&world->engine->descriptors);
}

int setup_faults(void **state) {
    faults_reset();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    open_before = descriptors_open();
    return setup(state);
}

int setup_faults_bare(void **state) {
    faults_reset();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    open_before = descriptors_open();
    return setup_bare(state);
}

int teardown_faults(void **state) {
    int result = teardown(state);
    assert_int_equal(descriptors_open(), open_before);
    return result;
}

void fail_receives(unsigned count, int code) {
    faults_fail(FAULT_RECEIVE, 0, count, code);
    if (on_ring()) {
        faults_complete(IORING_OP_RECV, 0, count, code);
    }
}

unsigned failed_receives(void) {
    return faults_injected(FAULT_RECEIVE) + faults_completed(IORING_OP_RECV);
}

/* Of the ring's accepts a part is taken by accept4(). */
void fail_accepts(unsigned count, int code) {
    bool plain = !on_ring() || count == FAULT_ALWAYS;
    faults_fail(FAULT_ACCEPT, 0, plain ? count : 0, code);
    faults_complete(IORING_OP_ACCEPT, 0, on_ring() ? count : 0, code);
}

void fail_connects(unsigned count, int code) {
    if (on_ring()) {
        faults_complete(IORING_OP_CONNECT, 0, count, code);
    } else {
        faults_fail(FAULT_CONNECT, 0, count, code);
    }
}

int64_t send_all(struct link *link, const struct engine_piece *piece) {
    struct engine_piece rest = *piece;
    while (rest.size > 0) {
        link->sends = 0;
        int64_t sent = engine_send(link->world->port, link->socket, &link->send, &rest, 1);
        if (sent == ENGINE_PENDING) {
            RUN_UNTIL(link->world, link->sends > 0);
            sent = link->sent;
        }
        if (sent < 0) {
            return sent;
        }
        assert_in_range(sent, 0, rest.size);
        rest.size -= (uint64_t)sent;
        if (rest.bytes) {
            rest.bytes += sent;
        } else {
            rest.offset += (uint64_t)sent;
        }
    }
    return 0;
}

void expect_talking(struct link *link) {
    const struct engine_piece answer = {.bytes = (const uint8_t *)"answer", .size = 6};
    assert_true(peer_send(link->peer, "question", 8));
    expect_received(link, "question", 8);
    assert_int_equal(send_all(link, &answer), 0);
    expect_at_peer(link, "answer", 6);
}

void expect_no_spinning(struct world *world) {
    uint64_t start_ms = os_now_ms();
    unsigned turns = 0;
    for (; os_now_ms() - start_ms < SPIN_MS; turns++) {
        engine_port_run(world->port, RUN_MS);
    }
    assert_in_range(turns, 0, SPIN_TURNS_MAX);
}
