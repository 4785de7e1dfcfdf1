#include "control/channel.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum {
    IDLE_MS = 60000,  /* a client that asks nothing makes room for others */
    WRITE_MS = 10000, /* one that does not read its answer is left */
};

static const char no_memory[] =
    "{\"berth\":1,\"ok\":false,\"code\":1,\"errors\":[\"out of memory\"]}";
static const char stopping[] =
    "{\"berth\":1,\"ok\":false,\"code\":1,\"errors\":[\"the host is stopping\"]}";
static const char too_long[] =
    "{\"berth\":1,\"ok\":false,\"code\":1,\"errors\":[\"the request is longer than 65536 bytes\"]}";

/* One client at a time. */
struct server_thread {
    struct channel *channel;
    struct os_thread thread;
    struct os_pipe *reading; /* under the lock: what may be interrupted */
    bool started;
};

struct channel {
    struct os_channel *os;
    void (*wake)(void);
    struct os_mutex mutex; /* of all that follows */
    struct os_condition answered;
    struct channel_request *waiting; /* utlist */
    bool closing;
    struct server_thread threads[CHANNEL_CLIENTS_MAX];
};

/* -- the clients' threads ------------------------------------------------------------------------
 */

struct client {
    struct server_thread *server;
    struct os_pipe *pipe;
    size_t filled;
    char bytes[CHANNEL_REQUEST_BYTES_MAX + 1];
};

static bool set_reading(struct server_thread *server, struct os_pipe *pipe) {
    struct channel *channel = server->channel;
    os_mutex_lock(&channel->mutex);
    bool go_on = !channel->closing;
    server->reading = go_on ? pipe : NULL;
    os_mutex_unlock(&channel->mutex);
    return go_on;
}

/* The size of the line at the front, its end included; 0: none comes. */
static size_t read_line(struct client *client) {
    while (true) {
        char *end = memchr(client->bytes, '\n', client->filled);
        if (end || client->filled == CHANNEL_REQUEST_BYTES_MAX) {
            return end ? (size_t)(end - client->bytes) + 1 : CHANNEL_REQUEST_BYTES_MAX + 1;
        }
        if (!set_reading(client->server, client->pipe)) {
            return 0;
        }
        int64_t got = os_pipe_read(client->pipe, client->bytes + client->filled,
                                   CHANNEL_REQUEST_BYTES_MAX - client->filled, IDLE_MS);
        set_reading(client->server, NULL);
        if (got <= 0) {
            return 0;
        }
        client->filled += (size_t)got;
    }
}

/* Has the control thread answer it. The text is the caller's to free, unless it is constant. */
static char *ask(struct channel *channel, char *line) {
    struct channel_request request = {.text = line};
    os_mutex_lock(&channel->mutex);
    bool open = !channel->closing;
    if (open) {
        DL_APPEND(channel->waiting, &request);
    }
    os_mutex_unlock(&channel->mutex);
    if (!open) {
        return alloc_string(stopping);
    }
    channel->wake();
    os_mutex_lock(&channel->mutex);
    while (!request.answered) {
        os_condition_wait(&channel->answered, &channel->mutex, -1);
    }
    os_mutex_unlock(&channel->mutex);
    return request.answer;
}

static bool say(const struct client *client, const char *text) {
    return os_pipe_write(client->pipe, text, strlen(text), WRITE_MS) &&
           os_pipe_write(client->pipe, "\n", 1, WRITE_MS);
}

static void serve(struct client *client) {
    size_t size;
    bool said = true;
    while (said && (size = read_line(client)) > 0) {
        if (size > CHANNEL_REQUEST_BYTES_MAX) {
            say(client, too_long);
            return;
        }
        client->bytes[size - 1] = '\0';
        char *answer = ask(client->server->channel, client->bytes);
        said = say(client, answer ? answer : no_memory);
        alloc_free(answer);
        client->filled -= size;
        memmove(client->bytes, client->bytes + size, client->filled);
    }
}

static void serve_clients(void *argument) {
    struct server_thread *server = argument;
    struct os_pipe *pipe;
    while ((pipe = os_channel_accept(server->channel->os)) != NULL) {
        struct client *client = alloc_zeroed(sizeof(*client));
        if (client) {
            client->server = server;
            client->pipe = pipe;
            serve(client);
            alloc_free(client);
        }
        os_pipe_close(pipe);
    }
}

/* -- the control thread's side -------------------------------------------------------------------
 */

struct channel *channel_open(const char *name, void (*wake)(void), struct error *error) {
    struct channel *channel = alloc_zeroed(sizeof(*channel));
    if (!channel) {
        error_set(error, "out of memory");
        return NULL;
    }
    os_mutex_init(&channel->mutex);
    os_condition_init(&channel->answered);
    channel->wake = wake;
    channel->os = os_channel_open(name, error);
    for (int i = 0; channel->os && i < CHANNEL_CLIENTS_MAX; i++) {
        struct server_thread *server = &channel->threads[i];
        char thread_name[16];
        snprintf(thread_name, sizeof(thread_name), "control-%d", i);
        server->channel = channel;
        server->started =
            os_thread_start(&server->thread, thread_name, serve_clients, server, error);
        if (!server->started) {
            channel_close(channel);
            return NULL;
        }
    }
    if (!channel->os) {
        channel_close(channel);
        return NULL;
    }
    return channel;
}

struct channel_request *channel_take(struct channel *channel) {
    os_mutex_lock(&channel->mutex);
    struct channel_request *request = channel->waiting;
    if (request) {
        DL_DELETE(channel->waiting, request);
    }
    os_mutex_unlock(&channel->mutex);
    return request;
}

void channel_answer(struct channel *channel, struct channel_request *request, char *answer) {
    os_mutex_lock(&channel->mutex);
    request->answer = answer;
    request->answered = 1;
    os_condition_signal_all(&channel->answered);
    os_mutex_unlock(&channel->mutex);
}

static void begin_closing(struct channel *channel) {
    struct channel_request *request;
    os_mutex_lock(&channel->mutex);
    channel->closing = true;
    while ((request = channel->waiting) != NULL) {
        DL_DELETE(channel->waiting, request);
        request->answer = alloc_string(stopping);
        request->answered = 1;
    }
    os_condition_signal_all(&channel->answered);
    for (int i = 0; i < CHANNEL_CLIENTS_MAX; i++) {
        if (channel->threads[i].reading) {
            os_pipe_interrupt(channel->threads[i].reading);
        }
    }
    os_mutex_unlock(&channel->mutex);
}

void channel_close(struct channel *channel) {
    if (!channel) {
        return;
    }
    begin_closing(channel);
    if (channel->os) {
        os_channel_interrupt(channel->os);
    }
    for (int i = 0; i < CHANNEL_CLIENTS_MAX; i++) {
        if (channel->threads[i].started) {
            os_thread_join(&channel->threads[i].thread);
        }
    }
    os_channel_close(channel->os);
    os_condition_fini(&channel->answered);
    os_mutex_fini(&channel->mutex);
    alloc_free(channel);
}
