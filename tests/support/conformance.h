/* conformance.h: what the parts of the conformance suite share. The suite is the exact form of
 * host/engine/engine.h; it includes no system header and runs unchanged on every engine.
 *
 * A world is an engine with one port, run by the test's own thread, and a listener on loopback. A
 * link is a connection: the engine's end of it, and the peer. */
#ifndef BERTH_TESTS_ENGINE_CONFORMANCE_H
#define BERTH_TESTS_ENGINE_CONFORMANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "engine/engine.h"
#include "engine_under_test.h"
#include "os/os.h"
#include "peer.h"

enum {
    BUFFER_BYTES = 4096,
    BUFFERS_AT_FIRST = 8,
    BUFFERS_MAX = 64,
    BUFFERS_ROOMY = 1024, /* of a world in which no receive finds none */
    BURST_BUFFERS = 4,    /* one receive delivers in a turn */
    BACKLOG = 1024,
    RUN_MS = 20,         /* one wait of the port */
    PATIENCE_MS = 30000, /* for what must happen; seldom needed */
    QUIET_RUNS = 4,      /* for what must not */
};

struct world {
    struct engine *engine;
    struct engine_port *port;
    struct engine_listener *listener;
    struct engine_acceptor *acceptor;
    struct berth_address address;
    unsigned buffers_limit; /* how many the source lends at once */
    unsigned buffers_out;
    unsigned starved;
};

/* An accept, and what became of it. */
struct accepted {
    struct engine_accept accept;
    unsigned completions;
    int64_t result;
    unsigned turn; /* the how manieth accept of all to complete */
};

struct link {
    struct world *world;
    struct peer peer;
    struct engine_socket socket;
    struct engine_receive receive;
    uint8_t *received;
    size_t received_size;
    size_t told; /* bytes of all deliveries, those without a buffer among them */
    size_t received_room;
    unsigned deliveries;
    unsigned stop_at; /* stops the receive at this delivery; 0: never */
    bool keep;        /* what is delivered is not given back before link_let_go() */
    void *kept[BUFFERS_MAX];
    unsigned kept_count;
    unsigned ends; /* last completions of the receive */
    int64_t end;   /* the result of it */
    struct engine_op send;
    unsigned sends; /* completions */
    int64_t sent;
};

extern const struct berth_address loopback_v4;
extern const struct berth_address loopback_v6;

/* Runs the world's port until the condition holds; the test fails when it never does. */
#define RUN_UNTIL(world, condition)                                                                \
    do {                                                                                           \
        uint64_t run_until_start_ms = os_now_ms();                                                 \
        while (!(condition)) {                                                                     \
            assert_true(os_now_ms() - run_until_start_ms < PATIENCE_MS);                           \
            engine_port_run((world)->port, RUN_MS);                                                \
        }                                                                                          \
    } while (0)

void source_give(void *world, void *owner); /* a delivered buffer goes back */

/* Of a port that receives into the world's memory, with few buffers at first. */
struct engine_port_options port_options(struct world *world);

void run_quietly(struct world *world); /* long enough for what should not happen to happen */

/* cmocka's. setup_bare leaves the listener out, setup_roomy has many buffers, and setup_strict
 * lets each receive have only one of them in a turn. */
int setup(void **state);
int setup_bare(void **state);
int setup_roomy(void **state);
int setup_strict(void **state);

int teardown(void **state);

void world_listen(struct world *world, const struct berth_address *address, bool v6_only);
void world_listen_end(struct world *world);
void count_starved(struct engine_acceptor *acceptor, void *context);

void accept_post(struct world *world, struct accepted *accepted, bool with_data);
/* Closes what it got. */
void accept_finish(struct world *world, struct accepted *accepted, bool reset);
struct peer client(struct world *world);
bool is_client(const struct accepted *accepted, struct peer peer);

/* A new client that speaks is served: the acceptor is in good health. */
void expect_accepting(struct world *world);

struct link *link_open(struct world *world);
struct link *link_open_small(struct world *world); /* a peer with little room for data */
/* A link of a socket that is attached, with no peer of ours. */
struct link *link_adopt(struct world *world, struct engine_socket socket);
void link_close(struct link *link); /* both ends; nothing is in flight */
void link_receive(struct link *link, enum engine_receive_mode mode);
void link_stop(struct link *link); /* and waits for the last completion */
void link_let_go(struct link *link);

/* Waits until exactly these bytes have been received, and forgets them. */
void expect_received(struct link *link, const void *bytes, size_t size);
/* The peer receives exactly these bytes; the port runs meanwhile. */
void expect_at_peer(struct link *link, const void *bytes, size_t size);

/* The peer finds that its connection was reset. */
void expect_reset_at_peer(struct peer peer);

/* Byte `at` of a stream that has no short period. */
uint8_t pattern(uint64_t at);
void pattern_fill(uint8_t *bytes, size_t size, uint64_t at);
bool pattern_matches(const uint8_t *bytes, size_t size, uint64_t at);

#endif
