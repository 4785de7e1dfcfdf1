/* The verb `record`: a relay in front of a live listener that records one connection as a
 * transcript.
 *
 * One thread per direction with blocking sockets: for a single conversation at the pace of its
 * client, the engine is not needed. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "devkit/bytes.h"
#include "devkit/devkit.h"
#include "devkit/tool.h"
#include "os/os.h"
#include "os/os_socket.h"

enum {
    CHUNK_BYTES = 65536,
    TICK_MS = 50,
    READER_MS = 5000,
    PAUSE_MS = 1000, /* shorter pauses are network latency and get no step */
    RECORD_BYTES_MAX = 4 * 1024 * 1024,
};

struct recording {
    struct os_mutex mutex;
    struct bytes text;   /* finished steps */
    struct bytes spoken; /* bytes since the direction changed */
    char direction;      /* of `spoken`: > or < */
    uint64_t last_ms;
    bool client_ended;
    bool server_ended;
    atomic_int running; /* number of running directions */
    struct os_socket client;
    struct os_socket server;
};

/* One direction of the relay. */
struct direction {
    struct recording *recording;
    const struct os_socket *from;
    const struct os_socket *to;
    char mark;
};

/* -- recording ------------------------------------------------------------- */

/* Writes a line of the transcript for each line of the text. */
static void write_spoken(struct recording *recording) {
    const struct bytes *spoken = &recording->spoken;
    size_t at = 0;
    while (at < spoken->size) {
        const uint8_t *end = memchr(spoken->data + at, '\n', spoken->size - at);
        size_t size = end ? (size_t)(end - spoken->data) + 1 - at : spoken->size - at;
        bytes_add_format(&recording->text, "%c ", recording->direction);
        bytes_add_escaped(&recording->text, spoken->data + at, size, true);
        bytes_add_text(&recording->text, "\n");
        at += size;
    }
    recording->spoken.size = 0;
}

static void write_pause(struct recording *recording) {
    uint64_t now = os_now_ms();
    if (recording->last_ms > 0 && now - recording->last_ms >= PAUSE_MS) {
        write_spoken(recording);
        bytes_add_format(&recording->text, "@ +%llums\n",
                         (unsigned long long)(now - recording->last_ms));
    }
    recording->last_ms = now;
}

static void note_bytes(struct recording *recording, char mark, const uint8_t *bytes, size_t size) {
    os_mutex_lock(&recording->mutex);
    write_pause(recording);
    if (recording->direction != mark) {
        write_spoken(recording);
        recording->direction = mark;
    }
    if (recording->text.size + recording->spoken.size < RECORD_BYTES_MAX) {
        bytes_add(&recording->spoken, bytes, size);
    }
    os_mutex_unlock(&recording->mutex);
}

/* The client's end is a step; the server's end is an expected state. */
static void record_note_end(struct recording *recording, char mark, bool reset) {
    os_mutex_lock(&recording->mutex);
    write_pause(recording);
    write_spoken(recording);
    bool of_client = mark == '>';
    if (of_client && !recording->server_ended) {
        bytes_add_text(&recording->text, reset ? "!\n" : "|\n");
    } else if (!of_client && !recording->server_ended) {
        bytes_add_text(&recording->text, reset ? "= reset\n" : "= closed\n");
    }
    recording->client_ended |= of_client;
    recording->server_ended |= !of_client || reset;
    os_mutex_unlock(&recording->mutex);
}

/* -- relaying -------------------------------------------------------------- */

static void record_pass_on(void *argument) {
    struct direction *direction = argument;
    struct recording *recording = direction->recording;
    uint8_t chunk[CHUNK_BYTES];
    int64_t got = 0;
    while ((got = os_socket_receive(direction->from, chunk, sizeof(chunk))) > 0) {
        /* Before relaying: the answer must not be recorded first. */
        note_bytes(recording, direction->mark, chunk, (size_t)got);
        if (!os_socket_send_all(direction->to, chunk, (size_t)got)) {
            got = 0;
            break;
        }
    }
    record_note_end(recording, direction->mark, got < 0);
    if (got < 0) {
        os_socket_shutdown(&recording->client);
        os_socket_shutdown(&recording->server);
    } else {
        os_socket_finish(direction->to);
    }
    atomic_fetch_sub(&recording->running, 1);
    os_signals_wake();
}

/* Relays until both sides have ended, or the recording is stopped. */
static bool record_relay(struct recording *recording, struct error *error) {
    struct direction ways[] = {{recording, &recording->client, &recording->server, '>'},
                               {recording, &recording->server, &recording->client, '<'}};
    struct os_thread threads[2];
    size_t started = 0;
    atomic_store(&recording->running, 2);
    while (started < ARRAY_COUNT(ways) &&
           os_thread_start(&threads[started], "record", record_pass_on, &ways[started], error)) {
        started++;
    }
    while (started == ARRAY_COUNT(ways) && atomic_load(&recording->running) > 0 &&
           os_signals_wait(TICK_MS) != OS_SIGNAL_STOP) {
    }
    if (atomic_load(&recording->running) > 0) {
        os_socket_shutdown(&recording->client);
        os_socket_shutdown(&recording->server);
    }
    for (size_t i = 0; i < started; i++) {
        os_thread_join(&threads[i]);
    }
    return started == ARRAY_COUNT(ways);
}

/* -- the verb -------------------------------------------------------------- */

/* False: stopped before a client connected, or failed (the error is set). */
static bool wait_client(const struct os_socket *listener, struct os_socket *client,
                        struct error *error) {
    for (;;) {
        int got = os_socket_accept(listener, TICK_MS, client);
        if (got != 0) {
            return got > 0 || error_set(error, "accepting a client failed");
        }
        if (os_signals_wait(0) == OS_SIGNAL_STOP) {
            return error_set(error, "stopped before a client came: nothing was recorded");
        }
    }
}

/* A named pipe may wait for its reader for some time. */
static bool record_write_file(const char *out, const struct bytes *text, struct error *error) {
    for (int waited_ms = 0;; waited_ms += TICK_MS) {
        *error = (struct error){0};
        if (os_output_write(out, (const char *)text->data, text->size, error)) {
            return true;
        }
        if (error->kind != ERROR_KIND_NO_READER || waited_ms >= READER_MS ||
            os_signals_wait(TICK_MS) == OS_SIGNAL_STOP) {
            return false;
        }
    }
}

static bool record_conversation(const struct os_socket *listener,
                                const struct berth_address *server, const char *out,
                                struct error *error) {
    struct recording recording = {.direction = '>'};
    if (!wait_client(listener, &recording.client, error)) {
        return false;
    }
    if (!os_socket_connect(&recording.server, server, error)) {
        os_socket_close(&recording.client, true);
        return error_prefix(error, "connecting to the listener: ");
    }
    os_mutex_init(&recording.mutex);
    bytes_add_text(
        &recording.text,
        "# Recorded. What differs from day to day becomes {*} or {**}; a config that the "
        "plugin\n# needs belongs at the top: config {…}\n");
    bool good = record_relay(&recording, error);
    os_socket_close(&recording.client, false);
    os_socket_close(&recording.server, false);
    good = good && (record_write_file(out, &recording.text, error) ||
                    error_prefix(error, "writing %s: ", out));
    bytes_free(&recording.text);
    bytes_free(&recording.spoken);
    os_mutex_fini(&recording.mutex);
    return good;
}

/* Reports before the conversation that the file is not writable. An existing recording stays until
 * the new one is complete. */
static bool try_file(const char *out, struct error *error) {
    return os_output_try(out, error) || error_prefix(error, "writing %s: ", out);
}

/* Whether the server accepts connections. */
static bool try_server(const struct berth_address *server, struct error *error) {
    struct os_socket trial;
    if (!os_socket_connect(&trial, server, error)) {
        return error_prefix(error, "connecting to the listener: ");
    }
    os_socket_close(&trial, false);
    return true;
}

static bool record_read_address(struct berth_address *address, const char *text,
                                struct error *error) {
    if (!address_parse_zone(address, text, os_interface_find, error)) {
        return error_prefix(error, "%s: ", text);
    }
    address_unmap(address);
    return true;
}

static bool record_start(const struct command *command, struct berth_address *server,
                         struct os_socket *listener, struct error *error) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    struct berth_address address;
    struct berth_address actual;
    const char *listen = command->listen ? command->listen : "127.0.0.1:0";
    if (!record_read_address(server, command->words[0], error) ||
        !record_read_address(&address, listen, error)) {
        return false;
    }
    if (!os_sockets_start(error) || !os_signals_start(error) || !try_file(command->out, error) ||
        !try_server(server, error)) {
        return false;
    }
    if (!os_socket_listen(listener, &address, &actual, error)) {
        return error_prefix(error, "%s: ", listen);
    }
    address_format(&actual, text, sizeof(text));
    printf("recording one connection to %s for %s\n", text, command->words[0]);
    fflush(stdout);
    return true;
}

int devkit_record(const struct command *command) {
    struct error error = {0};
    struct berth_address server;
    struct os_socket listener;
    if (!command->out) {
        return command_refuse(COMMAND_RECORD, "record needs --out FILE");
    }
    if (record_start(command, &server, &listener, &error)) {
        bool good = record_conversation(&listener, &server, command->out, &error);
        os_socket_close(&listener, false);
        if (good) {
            return EXIT_FINE;
        }
    }
    text_print_error(error.message);
    return EXIT_FAILED;
}
