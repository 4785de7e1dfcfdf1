/* testbed.h: a host in memory, for testing a plugin without sockets.
 *
 * It is the real host (host/plugin, host/net) on the simulated engine, driven step by step on one
 * thread in virtual time: a conversation is reproducible. A layer between plugin and host (layer.h)
 * checks every callback and every service call. A broken rule of plugin-api is recorded as a
 * finding.
 *
 * Owner: the creator. Threads: the creator's; the layer also accepts calls from the plugin's
 * threads. */
#ifndef BERTH_HOST_DEVKIT_TESTBED_H
#define BERTH_HOST_DEVKIT_TESTBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/plugin.h"

struct testbed;
struct testbed_conn;

/* Services that the host refuses, to test how the plugin handles it. */
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
    const char *config_folder; /* of relative paths in it; NULL: current folder */
    unsigned workers;          /* 0: one */
    uint32_t refuses;          /* TESTBED_*, from `load` on */
    uint32_t taken_at_a_time;  /* the clients read so many bytes and pause; 0: all at once */
    uint32_t queue_bytes;      /* limits.send_queue_bytes; 0: 1 MiB */
    uint32_t idle_timeout_ms;  /* 0: none */
    uint32_t world;            /* the number of a disturbed network; 0: undisturbed */
    uint16_t abi_minor;        /* the host's, in its table */
    uint32_t table_bytes_more; /* size of a later host's additions; filled with poison */
    bool datagrams;            /* a UDP listener, if the plugin serves both kinds */
    bool first_data;           /* accept.when is "data" */
    bool is_full;              /* no connection is admitted; clients are told so */
};

/* One broken rule: its name ("buffer-leaked") and a text. */
struct testbed_finding {
    char name[40];
    char callback[32]; /* the callback, or "" */
    char words[256];
};

#define TESTBED_FINDINGS_MAX 32 /* further ones are only counted */

struct testbed *testbed_create(const struct berth_plugin *plugin,
                               const struct testbed_options *options);
void testbed_destroy(struct testbed *bed); /* NULL is legal */

/* `load` and `listener_open`. Returns BERTH_OK, or the plugin's status with its message. */
int32_t testbed_load(struct testbed *bed, char *words, size_t size);
int32_t testbed_open(struct testbed *bed, char *words, size_t size);

/* Runs `check_config`, after testbed_load(); the config must conform to the schema. False: `words`
 * lists the errors, a line each. */
bool testbed_check_config(struct testbed *bed, char *words, size_t size);

/* Ends every connection like a stop of the host, calls `listener_close` and `unload` if they are
 * due, then checks for leaks. */
void testbed_stop(struct testbed *bed);

/* Sets the services that are refused from now on. */
void testbed_refuse(struct testbed *bed, uint32_t refuses);

/* Stops the host and starts another one, which keeps the findings; all connections are gone. Its
 * listener may be closed, see testbed_is_open(): a refusal by the plugin is a finding if the host
 * refuses no services. NULL: no memory. */
struct testbed *testbed_restart(struct testbed *bed);
bool testbed_is_open(const struct testbed *bed);

/* -- the clients --------------------------------------------------------------------------------
 * Each function runs the plugin until nothing more happens at the current virtual time; on a slow
 * network, for a while. */

/* Runs until nothing is in transit, also on a slow network. */
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
/* The datagrams sent as answers, concatenated. */
const uint8_t *testbed_datagrams(const struct testbed *bed, size_t *size);
void testbed_datagrams_clear(struct testbed *bed);

enum testbed_state { TESTBED_OPEN, TESTBED_FINISHED, TESTBED_CLOSED, TESTBED_RESET };
/* The state seen by the client: TESTBED_FINISHED after the server's FIN while the server still
 * reads. */
enum testbed_state testbed_conn_state(struct testbed_conn *conn);

/* The other end of a connection that the plugin has opened. NULL: none (yet). A connect succeeds if
 * the testbed expects it, else it is refused. */
void testbed_upstream_expect(struct testbed *bed, bool expected);
struct testbed_conn *testbed_upstream(struct testbed *bed, unsigned index);

/* Whether some testbed never ended (a finding): its plugin may still run. */
bool testbed_is_abandoned(void);

/* Whether the plugin of some testbed is between `load` and `unload`. */
bool testbed_has_plugin(void);

/* Whether the listener is one for datagrams. */
bool testbed_is_datagrams(const struct testbed *bed);

/* Whether callbacks have blocked workers for so long, in all testbeds together, that clients send
 * nothing more. */
bool testbed_has_given_up(void);

/* Whether a connection was aborted because the plugin continued to send into a full queue. */
bool testbed_was_cut(const struct testbed *bed);

/* -- findings -------------------------------------------------------------- */

size_t
testbed_finding_count(const struct testbed *bed); /* all, including those that are only counted */
const struct testbed_finding *testbed_finding_at(const struct testbed *bed, size_t index);

/* The current callback of this thread, "" for none; for the crash report. */
const char *testbed_callback(void);

#endif
