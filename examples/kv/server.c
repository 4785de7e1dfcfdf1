#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kv/kv.h"
#include "kv/pattern.h"

enum { INFO_BYTES_MAX = 1024 };

/* -- the connection -------------------------------------------------------- */

static void answer_argument(struct session *session, uint32_t index) {
    const struct argument *argument = &session->resp.arguments[index];
    output_bulk(session->output, argument->bytes, argument->size);
}

void command_ping(struct session *session) {
    if (session->resp.count > 2) {
        output_error(session->output, "ERR wrong number of arguments for 'ping' command");
    } else if (session->resp.count == 2) {
        answer_argument(session, 1);
    } else {
        output_text(session->output, "+PONG\r\n");
    }
}

void command_echo(struct session *session) {
    answer_argument(session, 1);
}

void command_quit(struct session *session) {
    output_text(session->output, "+OK\r\n");
    session->is_ending = true;
}

void command_select(struct session *session) {
    int64_t index;
    if (!argument_integer(session, 1, &index)) {
        return;
    }
    if (index != 0) {
        output_error(session->output, "ERR DB index is out of range");
        return;
    }
    output_text(session->output, "+OK\r\n");
}

/* -- CLIENT ---------------------------------------------------------------- */

static void client_set_name(struct session *session) {
    const struct argument *name = &session->resp.arguments[2];
    for (uint32_t i = 0; i < name->size; i++) {
        if (name->bytes[i] < '!' || name->bytes[i] > '~') {
            output_error(session->output, "ERR Client names cannot contain spaces, newlines or "
                                          "special characters.");
            return;
        }
    }
    if (name->size > CLIENT_NAME_MAX) {
        output_error(session->output, "ERR Client names have at most %d characters",
                     (int)CLIENT_NAME_MAX);
        return;
    }
    snprintf(session->name, sizeof(session->name), "%s",
             name->bytes ? (const char *)name->bytes : "");
    output_text(session->output, "+OK\r\n");
}

void command_client(struct session *session) {
    uint32_t count = session->resp.count;
    if (count == 2 && argument_is(session, 1, "ID")) {
        output_integer(session->output, (int64_t)session->conn->id);
    } else if (count == 2 && argument_is(session, 1, "GETNAME")) {
        if (session->name[0] != '\0') {
            output_bulk(session->output, session->name, strlen(session->name));
        } else {
            output_null(session->output);
        }
    } else if (count == 3 && argument_is(session, 1, "SETNAME")) {
        client_set_name(session);
    } else if (count == 4 && argument_is(session, 1, "SETINFO")) {
        output_text(session->output, "+OK\r\n"); /* the client's library: not stored */
    } else {
        answer_unknown_subcommand(session);
    }
}

/* -- the server ------------------------------------------------------------ */

void command_command(struct session *session) {
    if (session->resp.count > 1 && argument_is(session, 1, "COUNT")) {
        output_integer(session->output, 0);
    } else {
        output_array(session->output, 0); /* an empty list: clients do not need it */
    }
}

/* What redis-benchmark and others ask for. */
void command_config(struct session *session) {
    char memory[16];
    const char *const settings[][2] = {
        {"appendonly", "no"},  {"databases", "1"},
        {"maxmemory", memory}, {"maxmemory-policy", "noeviction"},
        {"save", ""},
    };
    enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };
    bool is_asked[SETTINGS] = {false};
    size_t found = 0;
    if (!argument_is(session, 1, "GET") || session->resp.count < 3) {
        answer_unknown_subcommand(session);
        return;
    }
    snprintf(memory, sizeof(memory), "%" PRIu32, session->kv->memory_bytes);
    for (size_t i = 0; i < SETTINGS; i++) {
        for (uint32_t k = 2; k < session->resp.count && !is_asked[i]; k++) {
            const struct argument *pattern = &session->resp.arguments[k];
            is_asked[i] = pattern_matches(pattern->bytes, pattern->size,
                                          (const uint8_t *)settings[i][0], strlen(settings[i][0]));
        }
        found += is_asked[i] ? 1 : 0;
    }
    output_array(session->output, found * 2);
    for (size_t i = 0; i < SETTINGS; i++) {
        if (is_asked[i]) {
            output_bulk(session->output, settings[i][0], strlen(settings[i][0]));
            output_bulk(session->output, settings[i][1], strlen(settings[i][1]));
        }
    }
}

void command_info(struct session *session) {
    struct kv *kv = session->kv;
    const struct berth_host *host = kv->listener->host;
    uint64_t count = store_count(&kv->store);
    char keyspace[64] = "";
    char text[INFO_BYTES_MAX];
    if (count > 0) {
        snprintf(keyspace, sizeof(keyspace), "db0:keys=%" PRIu64 "\r\n", count);
    }
    int length = snprintf(
        text, sizeof(text),
        "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nberth_version:%.64s\r\n"
        "io_threads:%u\r\nuptime_in_seconds:%" PRIu64 "\r\n\r\n"
        "# Clients\r\nconnected_clients:%u\r\n\r\n"
        "# Memory\r\nused_memory:%llu\r\nmaxmemory:%" PRIu32 "\r\n"
        "maxmemory_policy:noeviction\r\n\r\n"
        "# Stats\r\ntotal_commands_processed:%llu\r\nexpired_keys:%llu\r\n\r\n"
        "# Keyspace\r\n%s",
        host->version, (unsigned)host->workers, (session->now_ms - kv->opened_ms) / 1000,
        atomic_load(&kv->clients), atomic_load(&kv->store.memory_used), kv->memory_bytes,
        atomic_load(&kv->commands), atomic_load(&kv->store.expired), keyspace);
    output_bulk(session->output, text, (size_t)length);
}
