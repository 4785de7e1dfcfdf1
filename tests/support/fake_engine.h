/* fake_engine.h: an engine without a system: tests decide what arrives, and what a send does.
 *
 * Linked in place of a real engine. Ports run their posts on real threads; sockets are numbers, and
 * everything that happens on one happens because the test says so, on the worker's thread. */
#ifndef BERTH_TESTS_UNIT_FAKE_ENGINE_H
#define BERTH_TESTS_UNIT_FAKE_ENGINE_H

#include "engine/engine.h"

#define FAKE_SOCKETS_MAX 64
#define FAKE_OUTPUT_MAX (1024 * 1024)

struct fake_socket {
    bool open;
    bool reset; /* how it was closed */
    bool recycled;
    bool fin_sent;
    struct engine_receive *receive; /* armed */
    bool receive_stopping;
    struct engine_op *send; /* pending */
    uint32_t send_room;     /* bytes that engine_send() takes at once; then it is pending */
    int64_t send_error;     /* what engine_send() returns instead, when not 0 */
    int64_t attach_error;
    uint64_t untaken;          /* of what was sent, with the FIN for one; 0: it does not tell */
    unsigned closed_in_flight; /* tries to do so, and how many of them find no memory */
    unsigned refuse_close;
    uint32_t sent_size;
    uint8_t sent[FAKE_OUTPUT_MAX];
};

struct fake_socket *fake_socket(int number);
void fake_reset(void); /* all sockets are open, with endless room */

/* On the worker's thread: */
void fake_arrive(struct engine_port *port, int number, const void *bytes, uint32_t size);
void fake_end(int number, int64_t result); /* the receive's last completion */
void fake_send_end(int number, int64_t result);
void fake_sendable(int number, uint32_t room); /* a pending send may be tried again */
void fake_run_stopped(void); /* completes what was asked to stop; the engine does it in its loop */

/* The one acceptor there is: what is posted on it, oldest first. */
#define FAKE_ACCEPTS_MAX 512

struct fake_acceptor {
    struct engine_port *port; /* NULL: destroyed */
    engine_starved_fn *starved;
    void *context;
    struct engine_accept *posted[FAKE_ACCEPTS_MAX];
    unsigned count;
    unsigned most;  /* that were ever posted at a time */
    unsigned posts; /* in all */
    unsigned late;  /* clients, numbers below that, who come as the next accepts are cancelled */
    bool fell_back;
};

struct fake_acceptor *fake_acceptor(void);
unsigned fake_accepts_with_data(void);

/* On the worker's thread: a posted accept gets a client (with its first words, where it wants
 * them), or fails; has a client that says nothing; clients queue without one. */
void fake_accept(unsigned index, int number, const char *first);
void fake_accept_fail(unsigned index, int64_t result);
void fake_silence(unsigned index, uint64_t connected_ms);
void fake_starve(void);

#endif
