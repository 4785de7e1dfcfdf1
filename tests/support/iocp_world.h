/* iocp_world.h: what the tests of the IOCP engine's faults share: an engine on winsock_faults with
 * a port, a listener and an acceptor, clients for it, and the server's side of connections. */
#ifndef BERTH_TESTS_ENGINE_IOCP_WORLD_H
#define BERTH_TESTS_ENGINE_IOCP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "winsock_faults.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "engine/iocp/iocp.h"

enum {
    BUFFER_BYTES = 512, /* small, so that a flood is many of them */
    RUNS_MAX = 200,     /* of 50 ms: how long anything may take that does happen */
    RECEIVED_MAX = 1 << 16,
};

struct world {
    struct engine *engine;
    struct engine_port *port;
    struct engine_listener *listener;
    struct engine_acceptor *acceptor;
    unsigned buffers_left; /* how many more the source lends */
    unsigned buffers_out;
    unsigned starved;
};

struct accepted {
    struct engine_accept accept;
    bool done;
    int64_t result;
};

struct connection {
    struct world *world;
    SOCKET client;
    struct engine_socket socket;
    struct engine_receive receive;
    struct engine_op send;
    char received[RECEIVED_MAX];
    size_t size;
    unsigned deliveries;
    unsigned stop_at; /* stop the receive at this delivery; 0: never */
    bool ended;
    int64_t result;
    bool sent;
    int64_t send_result;
};

extern const struct berth_address loopback;

/* The buffer source, which lends 512 bytes at a time. */
bool buffer_take(void *context, struct engine_buffer *buffer);
void buffer_give(void *context, void *owner);
uint8_t *buffer_bytes(void *owner);

/* For acceptors: counts. */
void starved(struct engine_acceptor *acceptor, void *context);

/* cmocka's. The second is a machine whose provider does not allow skipping packets. */
int setup(void **state);
int setup_without_skipping(void **state);
int setup_after(void **state, void (*prepare)(void)); /* prepare() sets faults for the start */
/* Where DisconnectEx, or only TransmitFile, makes sockets ready to be used again. */
int setup_disconnecting(void **state);
int setup_disconnecting_without_skipping(void **state);
int setup_transmitting(void **state);
int teardown(void **state);

/* Runs the port until it is done, or for so long that it never will be; and for a moment. */
bool run_until(struct world *world, const bool *done);
void run_some(struct world *world);

/* Clients are blocking sockets of the system. */
SOCKET client_connect(struct world *world);
void client_send(SOCKET client, const char *text);
void client_expect(SOCKET client, const char *text);

/* An accept, and what becomes of it. */
void accept_start(struct world *world, struct accepted *accepted, bool with_data);
void accept_start_at(struct world *world, struct accepted *accepted, bool with_data,
                     struct engine_port *home);
void accept_close(struct world *world, struct accepted *accepted);

/* A client comes, says something and is accepted: the listener is in good health. */
void expect_accepting(struct world *world);

/* An accepted connection attached to the port, and its client. */
struct connection *connection_open(struct world *world);
void connection_close(struct connection *connection);

/* What is received is gathered; text is compared with all of it, and then forgotten. */
void receive_start(struct connection *connection, enum engine_receive_mode mode);
void expect_received(struct connection *connection, const char *text);
void expect_stopped(struct connection *connection);

#define BOTH_WAYS(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, setup, teardown), {                                      \
#test "_without_skipping", test, setup_without_skipping, teardown, NULL                    \
    }
#define DISCONNECTING(test)                                                                        \
    cmocka_unit_test_setup_teardown(test, setup_disconnecting, teardown), {                        \
#test "_without_skipping", test, setup_disconnecting_without_skipping, teardown, NULL      \
    }
#define ONE_WAY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
