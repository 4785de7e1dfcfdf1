#include "control/channel.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/engine.h"
#include "os/os.h"

enum {
    LINE_MS = 5000,   /* a line that has begun must end within this time */
    WRITE_MS = 10000, /* a client that does not read its answer is disconnected */
    BUSY_MS = 500,    /* how often `busy` is called while the control thread is busy */
};

#define REFUSAL(code, text) "{\"berth\":1,\"ok\":false,\"code\":" code ",\"errors\":[\"" text "\"]}"

static const char no_memory[] = REFUSAL("1", "out of memory");
static const char stopping[] = REFUSAL("1", "the host is stopping");
static const char too_long[] = REFUSAL("2", "the request is longer than 65536 bytes");
static const char too_slow[] = REFUSAL("2", "the request did not end within 5000 ms");

/* One client at a time. */
struct server_thread {
    struct channel *channel;
    struct os_thread thread;
    bool started;
    /* Under the lock: */
    struct os_pipe *pipe; /* the client; NULL: the thread waits for one */
    uint64_t idle_since;  /* channel.changes when `asking` last changed; unique */
    bool reading;
    bool asking;  /* its request has no answer yet */
    bool evicted; /* its client is being disconnected to make room for another */
};

/* Threads are started as clients need them, up to the maximum, and stay. A separate thread
 * accepts, so that a new client never waits for clients that only occupy a thread: when all
 * threads have clients, the client that has been idle longest is disconnected. A client that
 * waits for an answer is not idle. */
struct channel {
    struct os_channel *os;
    struct channel_user user;
    struct os_thread acceptor;
    bool accepting;
    struct os_mutex mutex; /* protects the members below */
    struct os_condition answered;
    struct os_condition changed; /* a thread has got or lost a client, or its request is answered */
    uint64_t changes;            /* counts the changes of `asking` of all threads */
    struct channel_request *waiting; /* utlist */
    bool closing;
    struct server_thread threads[CHANNEL_CLIENTS_MAX];
};

/* -- the clients' threads -------------------------------------------------- */

struct client {
    struct server_thread *server;
    struct os_pipe *pipe;
    size_t filled;
    uint64_t begun_ms; /* when the line at the front began */
    char bytes[CHANNEL_REQUEST_BYTES_MAX + 1];
};

/* Sets `reading`. False: the thread must stop serving this client, because the channel closes or
 * the client is evicted. */
static bool set_reading(struct server_thread *server, bool reading) {
    struct channel *channel = server->channel;
    os_mutex_lock(&channel->mutex);
    bool go_on = !channel->closing && !server->evicted;
    server->reading = go_on && reading;
    os_mutex_unlock(&channel->mutex);
    return go_on;
}

/* How long the next read may take: without limit between lines. */
static int time_left(const struct client *client) {
    uint64_t passed_ms = engine_now_ms() - client->begun_ms;
    return client->filled == 0 ? -1 : passed_ms < LINE_MS ? (int)(LINE_MS - passed_ms) : 0;
}

/* Whether a line is complete at the front: it has its line end, the stream has ended, or it is
 * too long. *size is its length with the line end, SIZE_MAX if it is too long. */
static bool find_line(struct client *client, bool is_end, size_t *size) {
    const char *end = memchr(client->bytes, '\n', client->filled);
    *size = end                                           ? (size_t)(end - client->bytes) + 1
            : client->filled == CHANNEL_REQUEST_BYTES_MAX ? SIZE_MAX
                                                          : client->filled + 1;
    return end || *size == SIZE_MAX || (is_end && client->filled > 0);
}

/* Reads the next line; the last line needs no line end. False: there is none. */
static bool channel_read_line(struct client *client, size_t *size) {
    while (!find_line(client, false, size)) {
        int left_ms = time_left(client);
        if (!set_reading(client->server, true)) {
            return false;
        }
        int64_t got = os_pipe_read(client->pipe, client->bytes + client->filled,
                                   CHANNEL_REQUEST_BYTES_MAX - client->filled, left_ms);
        if (!set_reading(client->server, false)) {
            return false;
        }
        if (got <= 0) {
            *size = 0; /* too slow, or gone */
            return got == 0 && find_line(client, true, size);
        }
        client->begun_ms = client->filled == 0 ? engine_now_ms() : client->begun_ms;
        client->filled += (size_t)got;
    }
    return true;
}

static void set_asking(struct server_thread *server, bool asking) {
    server->asking = asking;
    server->idle_since = ++server->channel->changes;
}

static bool is_waiting(const struct channel *channel, const struct channel_request *request) {
    const struct channel_request *one;
    DL_FOREACH(channel->waiting, one) {
        if (one == request) {
            return true;
        }
    }
    return false;
}

/* With the lock held: waits for the answer. A request that the control thread has not taken may
 * be answered by `busy` instead. */
static void await_answer(struct channel *channel, struct channel_request *request) {
    uint64_t begun_ms = engine_now_ms();
    while (!request->answered) {
        bool waiting = is_waiting(channel, request);
        if (os_condition_wait(&channel->answered, &channel->mutex, waiting ? BUSY_MS : -1) ||
            request->answered || !is_waiting(channel, request)) {
            continue;
        }
        os_mutex_unlock(&channel->mutex);
        char *answer = channel->user.busy(channel->user.context, request->text, request->size,
                                          engine_now_ms() - begun_ms);
        os_mutex_lock(&channel->mutex);
        if (answer && is_waiting(channel, request)) {
            DL_DELETE(channel->waiting, request);
            request->answer = answer;
            request->answered = 1;
        } else {
            alloc_free(answer);
        }
    }
}

/* Passes the line to the control thread and waits for its answer. The caller frees the answer;
 * NULL: out of memory. */
static char *channel_ask(struct server_thread *server, char *line, size_t size) {
    struct channel *channel = server->channel;
    struct channel_request request = {.text = line, .size = size};
    char *known = channel->user.answer_at_once(channel->user.context, line, size);
    if (known) {
        return known;
    }
    os_mutex_lock(&channel->mutex);
    bool open = !channel->closing;
    if (open) {
        DL_APPEND(channel->waiting, &request);
        set_asking(server, true);
    }
    os_mutex_unlock(&channel->mutex);
    if (!open) {
        return alloc_string(stopping);
    }
    channel->user.wake();
    os_mutex_lock(&channel->mutex);
    await_answer(channel, &request);
    set_asking(server, false);
    os_condition_signal_all(&channel->changed); /* it is idle now and can be evicted */
    os_mutex_unlock(&channel->mutex);
    return request.answer;
}

static bool channel_say(const struct client *client, const char *text) {
    return os_pipe_write(client->pipe, text, strlen(text), WRITE_MS) &&
           os_pipe_write(client->pipe, "\n", 1, WRITE_MS);
}

static void channel_serve(struct client *client) {
    size_t size = 0;
    bool said = true;
    while (said && channel_read_line(client, &size)) {
        if (size == SIZE_MAX) {
            channel_say(client, too_long);
            return;
        }
        client->bytes[size - 1] = '\0';
        char *answer = channel_ask(client->server, client->bytes, size - 1);
        said = channel_say(client, answer ? answer : no_memory);
        alloc_free(answer);
        client->filled -= size <= client->filled ? size : client->filled;
        memmove(client->bytes, client->bytes + size, client->filled);
        client->begun_ms = engine_now_ms();
    }
    if (said && client->filled > 0 && time_left(client) == 0) {
        channel_say(client, too_slow);
    }
}

/* Waits for the next client; NULL: the channel closes. */
static struct os_pipe *channel_next_client(struct server_thread *server) {
    struct channel *channel = server->channel;
    os_mutex_lock(&channel->mutex);
    while (!server->pipe && !channel->closing) {
        os_condition_wait(&channel->changed, &channel->mutex, -1);
    }
    struct os_pipe *pipe = server->pipe;
    os_mutex_unlock(&channel->mutex);
    return pipe;
}

static void serve_clients(void *argument) {
    struct server_thread *server = argument;
    struct channel *channel = server->channel;
    struct os_pipe *pipe;
    while ((pipe = channel_next_client(server)) != NULL) {
        struct client *client = alloc_zeroed(sizeof(*client));
        if (client) {
            client->server = server;
            client->pipe = pipe;
            channel_serve(client);
            alloc_free(client);
        }
        os_pipe_finish(pipe);
        os_mutex_lock(&channel->mutex);
        server->pipe = NULL;
        os_condition_signal_all(&channel->changed);
        os_mutex_unlock(&channel->mutex);
        os_pipe_close(pipe);
    }
}

/* -- accepting clients ----------------------------------------------------- */

static bool channel_start_thread(struct channel *channel, struct server_thread *server,
                                 struct error *error) {
    char name[16];
    snprintf(name, sizeof(name), "control-%d", (int)(server - channel->threads));
    server->channel = channel;
    server->started = os_thread_start_small(&server->thread, name, serve_clients, server, error);
    return server->started;
}

/* With the lock held: a thread without a client; starts one if all threads have clients. */
static struct server_thread *find_free(struct channel *channel) {
    for (int i = 0; i < CHANNEL_CLIENTS_MAX; i++) {
        struct server_thread *server = &channel->threads[i];
        if (!server->started) {
            return channel_start_thread(channel, server, NULL) ? server : NULL;
        }
        if (!server->pipe) {
            return server;
        }
    }
    return NULL;
}

/* Disconnects the client that has been idle longest, unless an evicted client is still leaving. */
static void channel_evict(struct channel *channel) {
    struct server_thread *oldest = NULL;
    for (int i = 0; i < CHANNEL_CLIENTS_MAX && channel->threads[i].started; i++) {
        struct server_thread *server = &channel->threads[i];
        if (server->evicted) {
            return;
        }
        if (server->pipe && !server->asking &&
            (!oldest || server->idle_since < oldest->idle_since)) {
            oldest = server;
        }
    }
    if (oldest) {
        oldest->evicted = true;
        os_pipe_cut(oldest->pipe);
    }
}

static void accept_clients(void *argument) {
    struct channel *channel = argument;
    struct os_pipe *pipe;
    while ((pipe = os_channel_accept(channel->os)) != NULL) {
        struct server_thread *server = NULL;
        os_mutex_lock(&channel->mutex);
        while (!channel->closing && !(server = find_free(channel))) {
            channel_evict(channel);
            os_condition_wait(&channel->changed, &channel->mutex, -1);
        }
        if (server) {
            server->pipe = pipe;
            server->evicted = false;
            set_asking(server, false);
            os_condition_signal_all(&channel->changed);
        }
        os_mutex_unlock(&channel->mutex);
        if (!server) {
            os_pipe_cut(pipe);
            os_pipe_close(pipe);
        }
    }
}

/* -- the control thread's side --------------------------------------------- */

struct channel *channel_open(const char *name, const struct channel_user *user,
                             struct error *error) {
    struct channel *channel = alloc_zeroed(sizeof(*channel));
    if (!channel) {
        error_set(error, "out of memory");
        return NULL;
    }
    os_mutex_init(&channel->mutex);
    os_condition_init(&channel->answered);
    os_condition_init(&channel->changed);
    channel->user = *user;
    channel->os = os_channel_open(name, error);
    channel->accepting =
        channel->os && channel_start_thread(channel, &channel->threads[0], error) &&
        os_thread_start_small(&channel->acceptor, "control", accept_clients, channel, error);
    if (!channel->accepting) {
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
    os_condition_signal_all(&channel->changed);
    for (int i = 0; i < CHANNEL_CLIENTS_MAX; i++) {
        if (channel->threads[i].reading) {
            os_pipe_interrupt(channel->threads[i].pipe);
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
    if (channel->accepting) {
        os_thread_join(&channel->acceptor); /* no more threads are started */
    }
    for (int i = 0; i < CHANNEL_CLIENTS_MAX; i++) {
        if (channel->threads[i].started) {
            os_thread_join(&channel->threads[i].thread);
        }
    }
    os_channel_close(channel->os);
    os_condition_fini(&channel->changed);
    os_condition_fini(&channel->answered);
    os_mutex_fini(&channel->mutex);
    alloc_free(channel);
}
