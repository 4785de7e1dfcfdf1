/* bench.h: a host in memory, for trying a plugin without sockets.
 *
 * It offers a plugin everything a host offers, on one thread and a clock of its own, so that a
 * conversation goes the same way every time; and it watches what the plugin does with it. What
 * breaks a rule of plugin-api is kept as a finding and answered with an error, not with a crash.
 *
 * A buffer lies alone in its memory with a guard behind it, and is poisoned when its last reference
 * is given back: a byte written past its end, or after its end, is seen.
 *
 * Owner: whoever made it. Threads: that one thread, but for the services that plugins may call from
 * any. */
#ifndef BERTH_HOST_AUTHOR_BENCH_H
#define BERTH_HOST_AUTHOR_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/plugin.h"

struct bench;
struct bench_conn;

/* What the host refuses while it is tried how the plugin takes it. */
#define BENCH_REFUSES_BUFFERS 1u
#define BENCH_REFUSES_WORK 2u
#define BENCH_REFUSES_TIMERS 4u
#define BENCH_REFUSES_CONNECTS 8u
#define BENCH_REFUSES_FILES 16u
#define BENCH_REFUSES_POSTS 32u
#define BENCH_REFUSES_SENDS 64u /* BERTH_E_NO_MEMORY */
#define BENCH_HAS_NO_EXTENSIONS 128u

struct bench_options {
    const char *config_json;   /* NULL: {} */
    const char *config_folder; /* of relative paths in it; NULL: the current one */
    uint32_t refuses;          /* BENCH_*, from `load` on */
    uint32_t taken_at_a_time;  /* the clients take so many bytes and pause; 0: all at once */
    uint32_t queue_bytes;      /* the high water of `filled`; 0: 1 MiB */
    uint16_t abi_minor;        /* the host's, in its table */
    uint32_t table_bytes_more; /* a later host's table is longer; what is there is poison */
    bool first_data;           /* connections say that the accept brought bytes */
};

/* One broken rule: its name ("buffer-leaked"), and words. */
struct bench_finding {
    char name[40];
    char callback[32]; /* in which one, or "" */
    char words[256];
};

#define BENCH_FINDINGS_MAX 32 /* the rest is only counted */

struct bench *bench_create(const struct berth_plugin *plugin, const struct bench_options *options);
void bench_destroy(struct bench *bench); /* NULL is legal */

/* `load` and `listener_open`. BERTH_OK, or what the plugin answered, with its words. */
int32_t bench_load(struct bench *bench, char *words, size_t size);
int32_t bench_open(struct bench *bench, char *words, size_t size);

/* Ends every connection as a stop does, then `listener_close` and `unload`, as far as they are
 * owed; then looks what was not given back. */
void bench_stop(struct bench *bench);

/* What it refuses from now on. */
void bench_refuse(struct bench *bench, uint32_t refuses);

/* -- the clients --------------------------------------------------------------------------------
 * Each runs the plugin until it has no more to do at this time of the clock. */

/* A new connection, opened. Lives until the bench is destroyed. NULL: no memory. */
struct bench_conn *bench_connect(struct bench *bench);
void bench_client_send(struct bench_conn *conn, const void *bytes, size_t size);
void bench_client_finish(struct bench_conn *conn); /* the client's FIN */
void bench_client_reset(struct bench_conn *conn);
void bench_client_idle(struct bench_conn *conn); /* too long: `closing` with a time-out */
void bench_advance(struct bench *bench, uint64_t ms);
void bench_datagram(struct bench *bench, const void *bytes, size_t size);

/* All that the client has received so far. */
const uint8_t *bench_output(const struct bench_conn *conn, size_t *size);
void bench_output_clear(struct bench_conn *conn);
/* The datagrams that were answered, one behind the other. */
const uint8_t *bench_datagrams(const struct bench *bench, size_t *size);
void bench_datagrams_clear(struct bench *bench);
/* A client for whom there is no room: what `busy` answers is looked at. */
void bench_busy(struct bench *bench);

enum bench_state { BENCH_OPEN, BENCH_FINISHED, BENCH_CLOSED, BENCH_RESET };
/* As the client sees it: BENCH_FINISHED after the server's FIN while it still reads. */
enum bench_state bench_conn_state(const struct bench_conn *conn);

/* The server asked to connect somewhere: the client side of what it made. NULL: none (yet). An
 * attempt succeeds where the bench was told to expect it, else it is refused. */
void bench_upstream_expect(struct bench *bench, bool expected);
struct bench_conn *bench_upstream(struct bench *bench, unsigned index);

/* -- what was found ----------------------------------------------------------------------------
 */

size_t bench_finding_count(const struct bench *bench); /* all, also those that are not kept */
const struct bench_finding *bench_finding_at(const struct bench *bench, size_t index);

/* The callback that the plugin is in, "" when it is in none: for last words. [any] */
const char *bench_callback(void);

#endif
