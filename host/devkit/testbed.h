/* testbed.h: a host in memory, for trying a plugin without sockets.
 *
 * It is the real one, host/module and host/net, on the simulated engine, driven turn by turn on one
 * thread and in virtual time, so that a conversation goes the same way every time. Between the
 * plugin and the host lies a layer (layer.h) that sees every callback and every service: what
 * breaks a rule of plugin-api is kept as a finding.
 *
 * Owner: whoever made it. Threads: that one thread; the layer takes calls of the plugin's own. */
#ifndef BERTH_HOST_DEVKIT_TESTBED_H
#define BERTH_HOST_DEVKIT_TESTBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/plugin.h"

struct testbed;
struct testbed_conn;

/* What the host refuses while it is tried how the plugin takes it. */
#define TESTBED_REFUSES_BUFFERS 1u
#define TESTBED_REFUSES_WORK 2u
#define TESTBED_REFUSES_TIMERS 4u
#define TESTBED_REFUSES_CONNECTS 8u
#define TESTBED_REFUSES_FILES 16u
#define TESTBED_REFUSES_POSTS 32u
#define TESTBED_REFUSES_SENDS 64u /* BERTH_E_NO_MEMORY */
#define TESTBED_HAS_NO_EXTENSIONS 128u

struct testbed_options {
    const char *config_json;   /* NULL: {} */
    const char *config_folder; /* of relative paths in it; NULL: the current one */
    unsigned workers;          /* 0: one */
    uint32_t refuses;          /* TESTBED_*, from `load` on */
    uint32_t taken_at_a_time;  /* the clients take so many bytes and pause; 0: all at once */
    uint32_t queue_bytes;      /* limits.send_queue_bytes; 0: 1 MiB */
    uint32_t idle_timeout_ms;  /* 0: none */
    uint32_t world;            /* the number of an unquiet network; 0: a quiet one */
    uint16_t abi_minor;        /* the host's, in its table */
    uint32_t table_bytes_more; /* a later host's table is longer; what is there is poison */
    bool datagrams;            /* a UDP listener, where the plugin serves both kinds */
    bool first_data;           /* accept.when is "data" */
    bool is_full;              /* there is room for no client, who hear that */
};

/* One broken rule: its name ("buffer-leaked"), and words. */
struct testbed_finding {
    char name[40];
    char callback[32]; /* in which one, or "" */
    char words[256];
};

#define TESTBED_FINDINGS_MAX 32 /* the rest is only counted */

struct testbed *testbed_create(const struct berth_plugin *plugin,
                               const struct testbed_options *options);
void testbed_destroy(struct testbed *bed); /* NULL is legal */

/* `load` and `listener_open`. BERTH_OK, or what the plugin answered, with its words. */
int32_t testbed_load(struct testbed *bed, char *words, size_t size);
int32_t testbed_open(struct testbed *bed, char *words, size_t size);

/* `check_config`, which the config has to fit the schema for; after testbed_load(). False: what it
 * finds wrong, a line each. */
bool testbed_check_config(struct testbed *bed, char *words, size_t size);

/* Ends every connection as a stop does, then `listener_close` and `unload`, as far as they are
 * owed; then looks what was not given back. */
void testbed_stop(struct testbed *bed);

/* What it refuses from now on. */
void testbed_refuse(struct testbed *bed, uint32_t refuses);

/* The host stops, and another one starts that has the findings of this one: all connections are
 * gone. Its listener may be closed, see testbed_is_open(): that the plugin refuses is a finding
 * where nothing is refused to it. NULL: no memory. */
struct testbed *testbed_restart(struct testbed *bed);
bool testbed_is_open(const struct testbed *bed);

/* -- the clients --------------------------------------------------------------------------------
 * Each runs the plugin until it has no more to do at this time of the clock; in a world whose
 * network is slow, for a while. */

/* Until nothing more is on its way there, either. */
void testbed_settle(struct testbed *bed);

/* A client that connects. Lives until the testbed is destroyed. NULL: no memory. */
struct testbed_conn *testbed_connect(struct testbed *bed);
void testbed_client_send(struct testbed_conn *conn, const void *bytes, size_t size);
void testbed_client_finish(struct testbed_conn *conn); /* the client's FIN */
void testbed_client_reset(struct testbed_conn *conn);
void testbed_advance(struct testbed *bed, uint64_t ms);
void testbed_datagram(struct testbed *bed, const void *bytes, size_t size);

/* All that the client has received so far. */
const uint8_t *testbed_output(const struct testbed_conn *conn, size_t *size);
void testbed_output_clear(struct testbed_conn *conn);
/* The datagrams that were answered, one behind the other. */
const uint8_t *testbed_datagrams(const struct testbed *bed, size_t *size);
void testbed_datagrams_clear(struct testbed *bed);

enum testbed_state { TESTBED_OPEN, TESTBED_FINISHED, TESTBED_CLOSED, TESTBED_RESET };
/* As the client sees it: TESTBED_FINISHED after the server's FIN while it still reads. */
enum testbed_state testbed_conn_state(struct testbed_conn *conn);

/* The server asked to connect somewhere: the other end of what it made. NULL: none (yet). An
 * attempt succeeds where the testbed was told to expect it, else it is refused. */
void testbed_upstream_expect(struct testbed *bed, bool expected);
struct testbed_conn *testbed_upstream(struct testbed *bed, unsigned index);

/* Some testbed never ended (a finding): its plugin may run on. */
bool testbed_is_abandoned(void);

/* The plugin of some testbed is between `load` and `unload`. */
bool testbed_has_plugin(void);

/* Whether the listener is one for datagrams. */
bool testbed_is_datagrams(const struct testbed *bed);

/* Callbacks have blocked their workers for so long, in all testbeds together, that no client says
 * anything more. */
bool testbed_has_given_up(void);

/* A connection was cut because the plugin sent on into a full queue. */
bool testbed_was_cut(const struct testbed *bed);

/* -- what was found -------------------------------------------------------- */

size_t testbed_finding_count(const struct testbed *bed); /* all, also those that are not kept */
const struct testbed_finding *testbed_finding_at(const struct testbed *bed, size_t index);

/* The callback that the plugin is in on this thread, "" when it is in none; for last words. */
const char *testbed_callback(void);

#endif
