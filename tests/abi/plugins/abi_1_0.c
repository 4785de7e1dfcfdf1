/* A plugin of ABI 1.0, kept built beside this file (build.sh): the host of every later version must
 * run it as it is. It uses all of the ABI: every service, every extension and every callback, by
 * commands of a line each, and says what it saw. Not to be changed once ABI 1.0 is frozen. */
#include <berth/berth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plugin {
    const struct berth_timer_host *timer;
    const struct berth_work_host *work;
    const struct berth_connect_host *connect;
    const struct berth_file_host *file;
    const struct berth_datagram_host *datagram;
};

struct state {
    uint64_t asker; /* id of the connection that asked for this one; 0: accepted */
    struct berth_timer *timer;
    uint64_t zero; /* was zeroed by the host, and is never touched */
};

static const struct plugin *plugin_of(const struct berth_listener *listener) {
    return listener->plugin_state;
}

static struct state *state_of(const struct berth_conn *conn) {
    return conn->state;
}

static void say(struct berth_conn *conn, const char *text) {
    conn->host->send(conn, text, (uint32_t)strlen(text));
}

static void say_status(struct berth_conn *conn, const char *what, int32_t status) {
    char text[96];
    snprintf(text, sizeof(text), "%s %d\n", what, (int)status);
    say(conn, text);
}

static void note(struct berth_conn *conn, const char *text) {
    conn->host->conn_log(conn, BERTH_LOG_INFO, text, (uint32_t)strlen(text));
}

/* -- what needs no second function ------------------------------------------------------------- */

static void do_host(struct berth_conn *conn, char *rest) {
    const struct berth_host *host = conn->host;
    char text[256];
    (void)rest;
    snprintf(text, sizeof(text), "host %s %u %d %d %d %d\n", host->name, (unsigned)host->abi_major,
             conn->worker < host->workers, host->now_ms(host) <= host->now_ms(host),
             host == conn->listener->host && conn->id != 0, state_of(conn)->zero == 0);
    say(conn, text);
}

static void do_has(struct berth_conn *conn, char *rest) {
    char text[64];
    (void)rest;
    snprintf(text, sizeof(text), "has %d %d %d\n", BERTH_HAS(conn->host, post_worker),
             BERTH_HAS(conn, worker), BERTH_HAS(plugin_of(conn->listener)->file, send_pieces));
    say(conn, text);
}

static void do_query(struct berth_conn *conn, char *rest) {
    const struct berth_host *host = conn->host;
    say(conn, host->query(host, rest[0] ? rest : NULL) ? "query yes\n" : "query no\n");
}

static void do_config(struct berth_conn *conn, char *rest) {
    char text[512];
    (void)rest;
    snprintf(text, sizeof(text), "config %s %s\n", conn->listener->name,
             conn->listener->config_json);
    say(conn, text);
}

static void do_path(struct berth_conn *conn, char *rest) {
    char text[512] = "path ";
    int32_t status = conn->host->path_resolve(conn->host, rest, text + 5, 500);
    if (status == BERTH_OK) {
        say(conn, strcat(text, "\n"));
    } else {
        say_status(conn, "path", status);
    }
}

static void do_info(struct berth_conn *conn, char *rest) {
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    char local[BERTH_ADDRESS_TEXT_MAX];
    char remote[BERTH_ADDRESS_TEXT_MAX];
    char text[BERTH_ADDRESS_TEXT_MAX * 3];
    (void)rest;
    conn->host->conn_info(conn, &info);
    conn->host->address_format(conn->host, &info.local, local, sizeof(local));
    conn->host->address_format(conn->host, &info.remote, remote, sizeof(remote));
    snprintf(text, sizeof(text), "info %s %s %d %d\n", local, remote,
             info.struct_size == sizeof(info), info.bytes_received > 0);
    say(conn, text);
}

/* A buffer of its own, sent twice. */
static void do_buffer(struct berth_conn *conn, char *rest) {
    struct berth_slice slices[2];
    int32_t status = conn->host->buffer_create(conn->host, 64, &slices[0]);
    if (status != BERTH_OK) {
        say_status(conn, "buffer", status);
        return;
    }
    slices[0].size = (uint32_t)snprintf((char *)slices[0].bytes, 64, "buffer %.40s\n", rest);
    slices[1] = slices[0];
    conn->host->buffer_acquire(slices[1].buffer);
    conn->host->buffer_acquire(slices[1].buffer);
    conn->host->send_slices(conn, slices, 2);
    conn->host->buffer_release(slices[0].buffer);
}

static void do_log(struct berth_conn *conn, char *rest) {
    conn->host->log(conn->host, BERTH_LOG_WARN, rest, (uint32_t)strlen(rest));
    note(conn, rest);
    say(conn, "logged\n");
}

static void do_half(struct berth_conn *conn, char *rest) {
    (void)rest;
    say(conn, "half\n");
    conn->host->shutdown_send(conn);
}

static void do_close(struct berth_conn *conn, char *rest) {
    (void)rest;
    say(conn, "bye\n");
    conn->host->close(conn);
    note(conn, conn->host->send(conn, "x", 1) == BERTH_E_STATE ? "no send after close"
                                                               : "a send after close");
}

static void do_abort(struct berth_conn *conn, char *rest) {
    (void)rest;
    conn->host->abort(conn);
}

static void do_want(struct berth_conn *conn, char *rest) {
    say_status(conn, "want", conn->host->want_at_least(conn, (uint32_t)strtoul(rest, NULL, 10)));
}

/* -- timers ------------------------------------------------------------------------------------ */

static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    struct berth_conn *conn = argument;
    const struct berth_timer_host *timers = plugin_of(conn->listener)->timer;
    if (timer == state_of(conn)->timer) {
        timers->destroy(timer);
        state_of(conn)->timer = NULL;
    }
    conn->host->receive_resume(conn);
    say(conn, "timer\n");
}

/* Nothing is received until it fires. */
static void do_timer(struct berth_conn *conn, char *rest) {
    const struct berth_timer_host *timers = plugin_of(conn->listener)->timer;
    state_of(conn)->timer = timers->create_for_conn(conn, on_timer, conn);
    if (!state_of(conn)->timer) {
        say(conn, "no timer\n");
        return;
    }
    timers->start(state_of(conn)->timer, 3600000);
    timers->stop(state_of(conn)->timer);
    timers->start(state_of(conn)->timer, strtoul(rest, NULL, 10));
    conn->host->receive_pause(conn);
    say(conn, "waiting\n");
}

static void BERTH_CALL on_listener_timer(struct berth_timer *timer,
                                         const struct berth_listener *listener, uint32_t worker,
                                         void *argument) {
    (void)listener;
    (void)worker;
    const struct berth_host *host = argument;
    (void)timer;
    host->log(host, BERTH_LOG_INFO, "a listener's timer", 18);
}

/* -- posts ------------------------------------------------------------------------------------- */

static void BERTH_CALL on_post(struct berth_conn *conn, int32_t status, void *argument) {
    if (conn) {
        say_status(conn, argument, status);
    }
}

static void do_post(struct berth_conn *conn, char *rest) {
    static char word[] = "posted";
    (void)rest;
    say_status(conn, "post", conn->host->post(conn->host, conn->id, on_post, word));
    say_status(conn, "stranger", conn->host->post(conn->host, UINT64_MAX, on_post, word));
}

static void BERTH_CALL on_worker(const struct berth_listener *listener, uint32_t worker,
                                 void *argument) {
    struct berth_conn *conn = argument; /* its worker is this one, and it waits for this */
    say_status(conn, conn->listener == listener && conn->worker == worker ? "worker" : "stray", 0);
}

static void do_worker(struct berth_conn *conn, char *rest) {
    (void)rest;
    say_status(conn, "post_worker",
               conn->host->post_worker(conn->listener, conn->worker, on_worker, conn));
    say_status(conn, "nobody",
               conn->host->post_worker(conn->listener, conn->host->workers, on_worker, conn));
}

/* -- blocking work ----------------------------------------------------------------------------- */

struct job {
    const struct plugin *plugin;
    const struct berth_host *host;
    uint64_t id; /* of who asked */
    struct berth_file *file;
    int32_t status;
    char text[512]; /* the path, then the words */
};

static void BERTH_CALL work(void *argument) {
    struct job *job = argument;
    char words[256] = "";
    struct berth_error error = {sizeof(error), sizeof(words), words};
    struct berth_file_info info = {.struct_size = sizeof(info)};
    uint8_t bytes[8];
    uint32_t got = 0;
    job->status = job->plugin->file->open(job->host, job->text, &job->file, &error);
    if (job->status != BERTH_OK) {
        snprintf(job->text, sizeof(job->text), "file %d %d\n", (int)job->status, words[0] != '\0');
        return;
    }
    if (job->plugin->file->stat(job->file, &info) != BERTH_OK ||
        job->plugin->file->read(job->file, 0, bytes, sizeof(bytes), &got) != BERTH_OK) {
        job->status = BERTH_E_FAILED;
    }
    snprintf(job->text, sizeof(job->text), "file %llu %u %d\n", (unsigned long long)info.size,
             (unsigned)got, info.modified_unix_ms > 0);
}

/* The words, then the file, twice: once from its second byte on. */
static void BERTH_CALL done(struct berth_conn *conn, int32_t status, void *argument) {
    struct job *job = argument;
    const struct berth_file_host *files = job->plugin->file;
    if (conn && status == BERTH_OK) {
        say(conn, job->text);
    }
    if (conn && job->file) {
        const struct berth_piece pieces[2] = {
            {.file = job->file, .offset = 1, .size = UINT64_MAX},
            {.file = job->file, .offset = 0, .size = 2},
        };
        files->acquire(job->file);
        files->acquire(job->file);
        files->send_pieces(conn, pieces, 2);
    }
    if (job->file) {
        files->release(job->file);
    }
    free(job);
}

static void do_file(struct berth_conn *conn, char *rest) {
    struct job *job = calloc(1, sizeof(*job));
    if (!job) {
        return;
    }
    job->plugin = plugin_of(conn->listener);
    job->host = conn->host;
    snprintf(job->text, sizeof(job->text), "%s", rest);
    int32_t status = job->plugin->work->submit(conn, work, done, job);
    if (status != BERTH_OK) {
        say_status(conn, "work", status);
        free(job);
    }
}

static void BERTH_CALL listener_work(void *argument) {
    struct job *job = argument;
    job->status = 1;
}

static void BERTH_CALL listener_done(struct berth_conn *conn, int32_t status, void *argument) {
    struct job *job = argument;
    static char word[] = "worked";
    if (!conn && status == BERTH_OK && job->status == 1) {
        job->host->post(job->host, job->id, on_post, word);
    }
    free(job);
}

static void do_work(struct berth_conn *conn, char *rest) {
    struct job *job = calloc(1, sizeof(*job));
    (void)rest;
    if (!job) {
        return;
    }
    job->host = conn->host;
    job->id = conn->id;
    const struct berth_work_host *works = plugin_of(conn->listener)->work;
    if (works->submit_for_listener(conn->listener, listener_work, listener_done, job) != BERTH_OK) {
        say(conn, "no work\n");
        free(job);
    }
}

/* -- outbound ---------------------------------------------------------------------------------- */

static void BERTH_CALL connected(struct berth_conn *conn, int32_t status, void *argument) {
    struct berth_conn *asker = argument;
    if (status == BERTH_E_CANCELLED) {
        return; /* the asker has ended */
    }
    say_status(asker, "connected", status);
    if (conn) {
        state_of(conn)->asker = asker->id;
        conn->host->send(conn, "host\n", 5);
    }
}

/* To an address of this host: the other end answers the first command, and closes at the second. */
static void do_connect(struct berth_conn *conn, char *rest) {
    const struct plugin *plugin = plugin_of(conn->listener);
    struct berth_connect_request request = {
        .struct_size = sizeof(request),
        .timeout_ms = 20000,
        .host = "127.0.0.1",
        .port = (uint16_t)strtoul(rest, NULL, 10),
    };
    if (conn->host->buffer_create(conn->host, 16, &request.first_data) == BERTH_OK) {
        memcpy(request.first_data.bytes, "has\n", 4);
        request.first_data.size = 4;
    }
    int32_t status = plugin->connect->connect(conn, &request, connected, conn);
    if (status != BERTH_OK) {
        say_status(conn, "connect", status);
    }
}

struct relayed {
    uint32_t size;
    char text[256];
};

static void BERTH_CALL on_relayed(struct berth_conn *conn, int32_t status, void *argument) {
    struct relayed *relayed = argument;
    if (conn && status == BERTH_OK) {
        conn->host->send(conn, relayed->text, relayed->size);
    }
    free(relayed);
}

/* What comes on an outbound connection goes to whoever asked for it. */
static uint32_t relay(struct berth_conn *conn, const struct berth_slice *data) {
    struct relayed *relayed = calloc(1, sizeof(*relayed));
    if (relayed) {
        relayed->size = data->size < sizeof(relayed->text) ? data->size : sizeof(relayed->text);
        memcpy(relayed->text, data->bytes, relayed->size);
        if (conn->host->post(conn->host, state_of(conn)->asker, on_relayed, relayed) != BERTH_OK) {
            free(relayed);
        }
    }
    return data->size;
}

/* -- callbacks --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(struct berth_conn *conn, char *rest);
} commands[] = {
    {"host", do_host},       {"has", do_has},     {"query", do_query}, {"config", do_config},
    {"path", do_path},       {"info", do_info},   {"log", do_log},     {"buffer", do_buffer},
    {"half", do_half},       {"close", do_close}, {"abort", do_abort}, {"want", do_want},
    {"timer", do_timer},     {"post", do_post},   {"file", do_file},   {"worker", do_worker},
    {"connect", do_connect}, {"work", do_work},
};

/* Without a command of that name the line is echoed, in the buffer it came in. */
static void run_line(struct berth_conn *conn, const struct berth_slice *line) {
    char text[512];
    uint32_t size = line->size - 1 < sizeof(text) - 1 ? line->size - 1 : sizeof(text) - 1;
    memcpy(text, line->bytes, size);
    text[size] = '\0';
    char *rest = strchr(text, ' ');
    if (rest) {
        *rest++ = '\0';
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, text) == 0) {
            commands[i].run(conn, rest ? rest : text + size);
            return;
        }
    }
    conn->host->buffer_acquire(line->buffer);
    conn->host->send_slices(conn, line, 1);
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    struct berth_slice line = *data;
    const uint8_t *end = NULL;
    if ((conn->flags & BERTH_CONN_OUTBOUND) != 0) {
        return relay(conn, data);
    }
    conn->host->want_at_least(conn, 1);
    uint32_t left = data->size;
    while ((end = memchr(line.bytes, '\n', left)) != NULL) {
        line.size = (uint32_t)(end + 1 - line.bytes);
        run_line(conn, &line);
        line.bytes += line.size;
        left -= line.size;
    }
    return data->size - left;
}

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    struct plugin *plugin = calloc(1, sizeof(*plugin));
    if (!plugin) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "no memory");
    }
    plugin->timer = host->query(host, BERTH_TIMER_ID);
    plugin->work = host->query(host, BERTH_WORK_ID);
    plugin->connect = host->query(host, BERTH_CONNECT_ID);
    plugin->file = host->query(host, BERTH_FILE_ID);
    plugin->datagram = host->query(host, BERTH_DATAGRAM_ID);
    if (!plugin->timer || !plugin->work || !plugin->connect || !plugin->file || !plugin->datagram) {
        free(plugin);
        return berth_error_set(error, BERTH_E_UNSUPPORTED, "an extension of ABI 1.0 is missing");
    }
    *plugin_state = plugin;
    host->log(host, BERTH_LOG_INFO, "load", 4);
    return BERTH_OK;
}

static void BERTH_CALL unload(void *plugin_state) {
    free(plugin_state);
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener,
                                        void **listener_state, struct berth_error *error) {
    const struct berth_timer_host *timers = plugin_of(listener)->timer;
    const struct berth_host *host = listener->host;
    if (strstr(listener->config_json, "refuse")) {
        return berth_error_set(error, BERTH_E_INVALID, "/refuse: as it was told");
    }
    struct berth_timer *timer =
        timers->create_for_listener(listener, on_listener_timer, (void *)(uintptr_t)host);
    if (!timer) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "no timer for the listener");
    }
    timers->start(timer, 1);
    *listener_state = timer;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    listener->host->log(listener->host, BERTH_LOG_INFO, listener->state ? "listener_close" : "lost",
                        listener->state ? 14 : 4);
}

static void BERTH_CALL opened(struct berth_conn *conn) {
    note(conn, "opened");
}

static void BERTH_CALL filled(struct berth_conn *conn) {
    note(conn, "filled");
}

static void BERTH_CALL drained(struct berth_conn *conn) {
    note(conn, "drained");
}

static void BERTH_CALL peer_closed(struct berth_conn *conn) {
    say(conn, "peer closed\n");
    conn->host->close(conn);
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    char text[32];
    snprintf(text, sizeof(text), "closed %u", (unsigned)reason);
    note(conn, text);
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener,
                                const struct berth_busy *busy_for, uint8_t *answer,
                                uint32_t capacity) {
    (void)busy_for;
    (void)listener;
    if (capacity < 5) {
        return 0;
    }
    memcpy(answer, "busy\n", 5);
    return 5;
}

static uint32_t BERTH_CALL closing(struct berth_conn *conn, uint32_t reason) {
    say_status(conn, "closing", (int32_t)reason);
    return BERTH_CLOSING_CLOSE;
}

static void BERTH_CALL datagram(const struct berth_listener *listener,
                                const struct berth_datagram *datagram) {
    listener->host->buffer_acquire(datagram->data.buffer);
    plugin_of(listener)->datagram->send(listener, &datagram->local, &datagram->remote,
                                        &datagram->data);
}

static const struct berth_plugin abi_1_0 = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .conn_state_size = sizeof(struct state),
    .id = "abi-1-0",
    .name = "ABI 1.0",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json = "{}",
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
    .datagram = datagram,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &abi_1_0;
}
