/* pop3: serves Maildirs by RFC 1939, with CAPA and response codes of RFC 2449 and RFC 3206.
 *
 * Users and passwords come from a file (users.h). Everything that may block, or takes long, runs on
 * the host's pool of threads, one thing at a time for each session (session.h). */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/config_check.h"
#include "session.h"

enum {
    TIME_MAX_MS = 86400000,
    CLIENTS_MAX = 1000000,
    COMMANDS_AT_ONCE = 256, /* then the answers are sent, and a full send queue is noticed */
};

struct services {
    const struct berth_timer_host *timer;
    const struct berth_work_host *work;
};

struct place {
    struct session *session;
};

static struct session *session_of(const struct berth_conn *conn) {
    return ((struct place *)conn->state)->session;
}

/* -- connections ----------------------------------------------------------- */

static void BERTH_CALL opened(struct berth_conn *conn) {
    static const char why[] = "no session: out of memory, or limits.timers are less than 2";
    struct session *session = session_create(conn);
    if (!session) {
        conn->host->conn_log(conn, BERTH_LOG_ERROR, why, sizeof(why) - 1);
        conn->host->abort(conn);
        return;
    }
    ((struct place *)conn->state)->session = session;
    talk_greet(session);
}

/* Overwrites a possible password, or the beginning of one, in the buffer after parsing: the buffer
 * returns to the pool uncleared, and any connection may get it. */
static void forget_line(enum session_state state, uint8_t *line, uint32_t size) {
    if (state == SESSION_AUTHORIZATION) {
        password_forget(line, size);
    }
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct session *session = session_of(conn);
    uint32_t consumed = 0;
    uint32_t count = 0;
    while (!session->busy && session->state != SESSION_OVER) {
        struct command command;
        uint8_t *line = data->bytes + consumed;
        enum session_state state = session->state;
        enum command_verdict verdict = command_read(line, data->size - consumed, &command);
        if (verdict == COMMAND_PART) {
            break;
        }
        if (verdict == COMMAND_TOO_LONG) {
            forget_line(state, line, data->size - consumed);
            session_say(session, "-ERR the line is too long\r\n");
            session_close(session);
            break;
        }
        consumed += command.size;
        talk_command(session, line, &command);
        forget_line(state, line, command.size);
        count++;
        if (count == COMMANDS_AT_ONCE && !session->busy && session->state != SESSION_OVER) {
            session_yield(session);
        }
    }
    return consumed;
}

static void BERTH_CALL filled(struct berth_conn *conn) {
    session_of(conn)->is_filled = true;
}

static void BERTH_CALL drained(struct berth_conn *conn) {
    session_of(conn)->is_filled = false;
    answer_go_on(session_of(conn));
}

/* Not called before all previous input is answered: a busy session is paused. */
static void BERTH_CALL peer_closed(struct berth_conn *conn) {
    session_close(session_of(conn));
}

/* Idle: a session that is logged in has a time-out of its own, which RFC 1939 wants to be long.
 * Replaced or removed: every session goes on until its QUIT, or one of its own time-outs.
 * The host stops: sessions that are logged in or logging in may finish; the others get a reason. */
static uint32_t BERTH_CALL closing(struct berth_conn *conn, uint32_t reason) {
    struct session *session = session_of(conn);
    if (!session || session->state == SESSION_OVER) {
        return BERTH_CLOSING_CLOSE;
    }
    bool stopping = reason == BERTH_CLOSED_STOPPING;
    bool host_stops = conn->host->draining(conn->listener) == BERTH_DRAINING_HOST_STOPS;
    if (stopping && (!host_stops || session->user[0] != '\0')) {
        return BERTH_CLOSING_KEEP;
    }
    if (session->state == SESSION_TRANSACTION || session->working || (session->busy && !stopping)) {
        return BERTH_CLOSING_KEEP;
    }
    if (stopping) {
        session_say(session, "-ERR [SYS/TEMP] the server stops, try again later\r\n");
    }
    session->state = SESSION_OVER;
    return BERTH_CLOSING_CLOSE;
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    (void)reason;
    if (session_of(conn)) {
        session_end(session_of(conn));
    }
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener,
                                const struct berth_busy *busy_for, uint8_t *answer,
                                uint32_t capacity) {
    (void)busy_for;
    static const char words[] = "-ERR [SYS/TEMP] too many clients, try again later\r\n";
    (void)listener;
    if (capacity < sizeof(words) - 1) {
        return 0;
    }
    memcpy(answer, words, sizeof(words) - 1);
    return sizeof(words) - 1;
}

/* -- listeners ------------------------------------------------------------- */

static void site_destroy(struct site *site) {
    users_destroy(site->users);
    throttle_destroy(site->throttle);
    free(site);
}

struct settings {
    char *users;
    uint32_t delay_ms;
    uint32_t delay_max_ms;
    uint32_t clients_max;
};

static struct config_member time_member(const char *name, uint32_t *target, uint32_t min) {
    return (struct config_member){
        .name = name, .kind = CONFIG_NUMBER, .target = target, .min = min, .max = TIME_MAX_MS};
}

static int32_t pop3_read_config(const struct berth_listener *listener, struct settings *settings,
                                struct site *site, struct berth_error *error) {
    static const char *const apop_words[] = {"auto", "always", "never", NULL};
    const struct config_member members[] = {
        {.name = "users",
         .kind = CONFIG_PATH,
         .required = true,
         .target = &settings->users,
         .max = 1024,
         .expected = "the path of a file with a line NAME:ENTRY:MAILDIR for each user"},
        {.name = "apop", .kind = CONFIG_WORD, .target = &site->apop, .words = apop_words},
        time_member("autologout_ms", &site->autologout_ms, 1),
        time_member("login_timeout_ms", &site->login_timeout_ms, 1),
        time_member("login_delay_ms", &settings->delay_ms, 0),
        time_member("login_delay_max_ms", &settings->delay_max_ms, 0),
        {.name = "login_clients_max",
         .kind = CONFIG_NUMBER,
         .target = &settings->clients_max,
         .min = 1,
         .max = CLIENTS_MAX},
        {.name = "login_failures_max",
         .kind = CONFIG_NUMBER,
         .target = &site->login_failures_max,
         .min = 1,
         .max = 1000},
    };
    return config_read(listener, members, sizeof(members) / sizeof(members[0]), error);
}

/* Clients assume that a server that offers APOP supports it for every user. */
static void decide_apop(const struct berth_listener *listener, struct site *site) {
    char text[256];
    uint32_t secrets = site->users->secrets;
    uint32_t hashed = site->users->count - secrets;
    site->offers_apop =
        secrets > 0 && (site->apop == APOP_ALWAYS || (site->apop == APOP_AUTO && hashed == 0));
    if (secrets == 0 || hashed == 0 || site->apop == APOP_NEVER) {
        return;
    }
    int size = snprintf(
        text, sizeof(text),
        site->offers_apop
            ? "%s: APOP is offered, and clients that prefer it cannot log in as %u of %u users"
            : "%s: APOP is not offered, as %u of %u users have hashed passwords and clients would "
              "prefer it (\"apop\": \"always\" offers it all the same)",
        listener->name, (unsigned)hashed, (unsigned)site->users->count);
    listener->host->log(listener->host, BERTH_LOG_WARN, text,
                        size < (int)sizeof(text) ? (uint32_t)size : sizeof(text) - 1);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener,
                                        void **listener_state, struct berth_error *error) {
    const struct services *services = listener->plugin_state;
    struct settings settings = {.delay_ms = 1000, .delay_max_ms = 30000, .clients_max = 10000};
    struct site *site = calloc(1, sizeof(*site));
    if (!site) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    site->timer = services->timer;
    site->work = services->work;
    site->autologout_ms = 600000;
    site->login_timeout_ms = 120000;
    site->login_failures_max = 3;
    int32_t status = pop3_read_config(listener, &settings, site, error);
    if (status == BERTH_OK) {
        site->users = users_read(settings.users, error);
        status = site->users ? BERTH_OK : BERTH_E_INVALID;
    }
    if (status == BERTH_OK) {
        decide_apop(listener, site);
        site->throttle =
            throttle_create(settings.delay_ms, settings.delay_max_ms, settings.clients_max);
        status =
            site->throttle ? BERTH_OK : berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    free(settings.users);
    if (status != BERTH_OK) {
        site_destroy(site);
        return status;
    }
    *listener_state = site;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    site_destroy(listener->state);
}

/* -- the plugin ------------------------------------------------------------ */

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    struct services *services = calloc(1, sizeof(*services));
    if (!services) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    services->timer = host->query(host, BERTH_TIMER_ID);
    services->work = host->query(host, BERTH_WORK_ID);
    if (!services->timer || !services->work) {
        free(services);
        return berth_error_set(error, BERTH_E_UNSUPPORTED,
                               "this host lacks " BERTH_TIMER_ID " or " BERTH_WORK_ID);
    }
    *plugin_state = services;
    return BERTH_OK;
}

static void BERTH_CALL unload(void *plugin_state) {
    free(plugin_state);
}

static int32_t BERTH_CALL check_config(const struct berth_config_request *request,
                                       struct berth_config_errors *errors) {
    cJSON *config = config_parse(request);
    if (!config) {
        return BERTH_E_NO_MEMORY;
    }
    config_check_path(request, config, "users", PATH_FILE, errors);
    cJSON_Delete(config);
    return BERTH_OK;
}

static const struct berth_plugin pop3 = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .flags = BERTH_PLUGIN_SPEAKS_FIRST,
    .conn_state_size = sizeof(struct place),
    .id = "pop3",
    .name = "POP3",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"users\"], "
        "\"properties\": {"
        "\"users\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1024, "
        "\"description\": \"The users file, absolute or relative to the manifest's folder.\"},"
        "\"apop\": {\"enum\": [\"auto\", \"always\", \"never\"], \"default\": \"auto\", "
        "\"description\": \"Whether APOP is offered.\"},"
        "\"autologout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 86400000, "
        "\"default\": 600000, \"description\": \"Without a command, in a session that is "
        "logged in.\"},"
        "\"login_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 86400000, "
        "\"default\": 120000, \"description\": \"From the greeting to the log-in.\"},"
        "\"login_delay_ms\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 86400000, "
        "\"default\": 1000, \"description\": \"For a client's next attempt after a wrong one, "
        "doubled each time.\"},"
        "\"login_delay_max_ms\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": "
        "86400000, \"default\": 30000, \"description\": \"Up to so much.\"},"
        "\"login_clients_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000, "
        "\"default\": 10000, \"description\": \"Clients that are remembered for it.\"},"
        "\"login_failures_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, "
        "\"default\": 3, \"description\": \"Wrong attempts until the session is closed.\"}}"
        "}",
    .load = load,
    .unload = unload,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .opened = opened,
    .received = received,
    .filled = filled,
    .drained = drained,
    .peer_closed = peer_closed,
    .closed = closed,
    .busy = busy,
    .closing = closing,
    .check_config = check_config,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &pop3;
}
