/* kv.h: the parts of the example plugin kv.
 *
 * kv.c        the callbacks: input is read, run and answered
 * resp.c      the parser of commands; inline.c of inline commands
 * commands.c  which commands there are, and what is wrong with others
 * strings.c   the commands about values; keys.c those about keys; server.c those about neither
 * store.c     what all connections share, and its locks
 * output.c    the answers, gathered */
#ifndef BERTH_EXAMPLES_KV_KV_H
#define BERTH_EXAMPLES_KV_KV_H

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "kv/output.h"
#include "kv/resp.h"
#include "kv/store.h"

enum { CLIENT_NAME_MAX = 64 };

/* Of a listener. The settings are read-only. */
struct kv {
    const struct berth_listener *listener;
    const struct berth_timer_host *timer;
    struct berth_timer *sweep;
    struct resp_limits limits;
    uint32_t memory_bytes;
    uint32_t answer_bytes;
    uint64_t opened_ms;
    struct store store;
    atomic_uint clients;
    atomic_ullong commands;
    struct output *outputs; /* one per worker, used by it alone */
};

/* The state of a connection. */
struct session {
    struct berth_conn *conn;
    struct kv *kv;
    struct output *output; /* its worker's */
    struct resp resp;
    uint64_t now_ms; /* of this turn */
    bool is_ending;
    char name[CLIENT_NAME_MAX + 1]; /* CLIENT SETNAME */
};

/* -- commands.c ------------------------------------------------------------ */

void command_run(struct session *session);

/* Whether the argument is that word, in capitals or not. */
bool argument_is(const struct session *session, uint32_t index, const char *word);
struct key argument_key(const struct session *session, uint32_t index);

/* The argument as a number, or the error is answered. */
bool argument_integer(struct session *session, uint32_t index, int64_t *number);

void answer_syntax(struct session *session);
void answer_status(struct session *session, int32_t status); /* of the store: it failed */
void answer_unknown_subcommand(struct session *session);

/* -- strings.c, keys.c and server.c: one for each command ------------------ */

void command_append(struct session *session);
void command_decr(struct session *session);
void command_decrby(struct session *session);
void command_get(struct session *session);
void command_getset(struct session *session);
void command_incr(struct session *session);
void command_incrby(struct session *session);
void command_mget(struct session *session);
void command_mset(struct session *session);
void command_set(struct session *session);
void command_strlen(struct session *session);

void command_dbsize(struct session *session);
void command_del(struct session *session);
void command_exists(struct session *session);
void command_expire(struct session *session);
void command_flush(struct session *session);
void command_keys(struct session *session);
void command_persist(struct session *session);
void command_pexpire(struct session *session);
void command_pttl(struct session *session);
void command_ttl(struct session *session);
void command_type(struct session *session);

void command_client(struct session *session);
void command_command(struct session *session);
void command_config(struct session *session);
void command_echo(struct session *session);
void command_info(struct session *session);
void command_ping(struct session *session);
void command_quit(struct session *session);
void command_select(struct session *session);

#endif
