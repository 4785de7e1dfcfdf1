#include <stdio.h>
#include <string.h>

#include "kv/kv.h"

enum { SHOWN_NAME = 128, SHOWN_ARGUMENTS = 128 };

/* `arity` counts the name, too; below 0 it is the least number. */
static const struct {
    const char *name;
    int32_t arity;
    void (*run)(struct session *session);
} commands[] = {
    {"append", 3, command_append},    {"client", -2, command_client},
    {"command", -1, command_command}, {"config", -2, command_config},
    {"dbsize", 1, command_dbsize},    {"decr", 2, command_decr},
    {"decrby", 3, command_decrby},    {"del", -2, command_del},
    {"echo", 2, command_echo},        {"exists", -2, command_exists},
    {"expire", 3, command_expire},    {"flushall", -1, command_flush},
    {"flushdb", -1, command_flush},   {"get", 2, command_get},
    {"getset", 3, command_getset},    {"incr", 2, command_incr},
    {"incrby", 3, command_incrby},    {"info", -1, command_info},
    {"keys", 2, command_keys},        {"mget", -2, command_mget},
    {"mset", -3, command_mset},       {"persist", 2, command_persist},
    {"pexpire", 3, command_pexpire},  {"ping", -1, command_ping},
    {"pttl", 2, command_pttl},        {"quit", -1, command_quit},
    {"select", 2, command_select},    {"set", -3, command_set},
    {"strlen", 2, command_strlen},    {"ttl", 2, command_ttl},
    {"type", 2, command_type},
};

/* -- arguments ------------------------------------------------------------- */

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool argument_is(const struct session *session, uint32_t index, const char *word) {
    const struct argument *argument = &session->resp.arguments[index];
    if (argument->size != strlen(word)) {
        return false;
    }
    for (uint32_t i = 0; i < argument->size; i++) {
        if (lower((char)argument->bytes[i]) != lower(word[i])) {
            return false;
        }
    }
    return true;
}

struct key argument_key(const struct session *session, uint32_t index) {
    const struct argument *argument = &session->resp.arguments[index];
    return store_key(&session->kv->store, argument->bytes, argument->size);
}

bool argument_integer(struct session *session, uint32_t index, int64_t *number) {
    const struct argument *argument = &session->resp.arguments[index];
    if (resp_read_integer(argument->bytes, argument->size, number)) {
        return true;
    }
    output_error(session->output, "ERR value is not an integer or out of range");
    return false;
}

/* -- errors ---------------------------------------------------------------- */

void answer_syntax(struct session *session) {
    output_error(session->output, "ERR syntax error");
}

void answer_status(struct session *session, int32_t status) {
    output_error(session->output, "%s",
                 status == BERTH_E_LIMIT ? "OOM command not allowed when used memory > 'maxmemory'."
                                         : "OOM the system has no memory for it");
}

static void answer_arity(struct session *session, const char *name) {
    output_error(session->output, "ERR wrong number of arguments for '%s' command", name);
}

void answer_unknown_subcommand(struct session *session) {
    const struct argument *arguments = session->resp.arguments;
    output_error(session->output, "ERR unknown subcommand '%.128s'. Try %.32s HELP.",
                 (const char *)arguments[1].bytes, (const char *)arguments[0].bytes);
}

static void answer_unknown(struct session *session) {
    const struct argument *arguments = session->resp.arguments;
    char shown[SHOWN_ARGUMENTS + 8] = "";
    size_t size = 0;
    for (uint32_t i = 1; i < session->resp.count && size < SHOWN_ARGUMENTS; i++) {
        int length = snprintf(shown + size, sizeof(shown) - size, "'%.*s' ",
                              (int)(SHOWN_ARGUMENTS - size), (const char *)arguments[i].bytes);
        size += length > 0 ? (size_t)length : 0;
    }
    output_error(session->output, "ERR unknown command '%.*s', with args beginning with: %s",
                 (int)SHOWN_NAME, (const char *)arguments[0].bytes, shown);
}

/* -- which ----------------------------------------------------------------- */

/* Detects an HTTP request that a web page makes a browser send: what follows must not run. */
static bool is_http(const struct session *session) {
    return argument_is(session, 0, "POST") || argument_is(session, 0, "Host:");
}

void command_run(struct session *session) {
    static const char http[] = "an HTTP request instead of a command: the connection is ended";
    int64_t count = session->resp.count;
    atomic_fetch_add(&session->kv->commands, 1);
    resp_uncharge(&session->resp, &session->kv->store);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!argument_is(session, 0, commands[i].name)) {
            continue;
        }
        if (commands[i].arity > 0 ? count != commands[i].arity : count < -commands[i].arity) {
            answer_arity(session, commands[i].name);
        } else {
            commands[i].run(session);
        }
        return;
    }
    if (is_http(session)) {
        session->conn->host->conn_log(session->conn, BERTH_LOG_WARN, http, sizeof(http) - 1);
        session->is_ending = true;
        return;
    }
    answer_unknown(session);
}
