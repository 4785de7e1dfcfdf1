/* connection_world.h: connections on one worker's real thread, over an engine made of nothing, with
 * a plugin that writes down what it hears. For the tests of connections. */
#ifndef BERTH_TESTS_UNIT_CONNECTION_WORLD_H
#define BERTH_TESTS_UNIT_CONNECTION_WORLD_H

#include "unit.h"

#include <stdbool.h>

#include "berth/plugin.h"
#include "net/conn/connection.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "net/run/worker.h"

enum { BUFFER_BYTES = 4096, MESSAGE_BYTES = 1000, QUEUE_BYTES = 8192 };

/* -- the plugin: its diary, and what it does besides writing it ------------ */

extern char diary[4096];
extern uint32_t consume_max; /* what `received` consumes at the most */
extern void (*in_received)(struct berth_conn *conn, const struct berth_slice *data);
extern bool keeps_half_open; /* has a peer_closed that does not close */
extern const struct berth_plugin diarist;

void note(const char *format, ...);

/* -- the server, with one worker and one listener -------------------------- */

extern struct server *server;
extern struct listener *listener;
extern const struct berth_address any_address;

/* For cmocka. */
int set_up(void **state);
int tear_down(void **state);

/* Runs the steps on the worker's thread, with settling behind them. */
void on_worker(void (*steps)(struct worker *worker, void *argument));

/* One of the worker's connections; NULL: there are fewer. */
struct connection *nth_connection(const struct worker *worker, unsigned index);

/* A connection on that socket of the engine's, with its first data or NULL. NULL: it has ended. */
struct connection *adopt(struct worker *worker, int number, const char *first);
void arrive(struct worker *worker, int number, const char *text);

/* For in_received. */
void echo(struct berth_conn *conn, const struct berth_slice *data);

#endif
