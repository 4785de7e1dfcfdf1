/* Echo with overlapped operations that set events: a client has one operation at a time, a receive
 * or the send that answers it, and an event for it. A thread can wait for 64 events, so the first
 * thread accepts, and hands each client to a thread that has room; of its 64 events one is its own.
 */
#include "model_windows.h"

#include <stdlib.h>

#define WORKERS_MAX 512
#define CLIENTS_MAX (WSA_MAXIMUM_WAIT_EVENTS - 1)

struct overlapped_client {
    OVERLAPPED overlapped;
    SOCKET socket;
    bool sending;
    DWORD size, sent; /* bytes in the buffer, and how many of them are sent */
    uint64_t echoed;
    uint8_t buffer[];
};

struct worker {
    const struct model_options *options;
    CRITICAL_SECTION lock;                    /* for the three below */
    SOCKET arrived[CLIENTS_MAX];              /* handed over and not yet taken */
    unsigned arrived_count, promised;         /* promised: clients and arrived ones together */
    WSAEVENT events[WSA_MAXIMUM_WAIT_EVENTS]; /* the first is its own */
    struct overlapped_client *clients[CLIENTS_MAX]; /* of events[i + 1] */
    unsigned count;
};

/* False when the system refuses; then no operation is under way. */
static bool begin(struct overlapped_client *client, size_t room) {
    DWORD flags = 0;
    WSABUF piece = {.len = client->sending ? client->size - client->sent : (ULONG)room,
                    .buf = (char *)client->buffer + client->sent};
    WSAResetEvent(client->overlapped.hEvent);
    int code = client->sending
                   ? WSASend(client->socket, &piece, 1, NULL, 0, &client->overlapped, NULL)
                   : WSARecv(client->socket, &piece, 1, NULL, &flags, &client->overlapped, NULL);
    return code == 0 || WSAGetLastError() == WSA_IO_PENDING;
}

static void destroy(struct overlapped_client *client) {
    WSACloseEvent(client->overlapped.hEvent);
    model_close(client->socket);
    free(client);
}

static void remove_client(struct worker *worker, unsigned index) {
    unsigned last = --worker->count;
    destroy(worker->clients[index]);
    worker->clients[index] = worker->clients[last];
    worker->events[index + 1] = worker->events[last + 1];
    EnterCriticalSection(&worker->lock);
    worker->promised--;
    LeaveCriticalSection(&worker->lock);
}

static bool add_client(struct worker *worker, SOCKET socket) {
    size_t room = worker->options->buffer_bytes;
    struct overlapped_client *client = calloc(1, sizeof(*client) + room);
    if (!client) {
        return false;
    }
    client->socket = socket;
    client->overlapped.hEvent = WSACreateEvent();
    if (client->overlapped.hEvent == WSA_INVALID_EVENT || !begin(client, room)) {
        destroy(client);
        return true; /* gone, but taken care of */
    }
    worker->events[worker->count + 1] = client->overlapped.hEvent;
    worker->clients[worker->count++] = client;
    return true;
}

static void take_arrived(struct worker *worker) {
    WSAResetEvent(worker->events[0]);
    EnterCriticalSection(&worker->lock);
    while (worker->arrived_count > 0) {
        unsigned before = worker->count;
        SOCKET socket = worker->arrived[--worker->arrived_count];
        if (!add_client(worker, socket)) {
            model_limit("refused: no memory for another client");
            model_close(socket);
        }
        worker->promised -= worker->count > before ? 0 : 1;
    }
    LeaveCriticalSection(&worker->lock);
}

/* The operation has come to its end: what follows it? False when the client is at its own. */
static bool go_on(struct overlapped_client *client, const struct model_options *options) {
    DWORD size, flags;
    if (!WSAGetOverlappedResult(client->socket, &client->overlapped, &size, FALSE, &flags)) {
        return false;
    }
    if (!client->sending) {
        client->size = size;
        client->sent = 0;
        client->sending = true;
        return size > 0 && begin(client, options->buffer_bytes);
    }
    client->sent += size;
    client->echoed += size;
    if (client->sent == client->size) {
        client->sending = false;
        client->sent = 0;
        if (options->close_after > 0 && client->echoed >= options->close_after) {
            return false;
        }
    }
    return begin(client, options->buffer_bytes);
}

static DWORD WINAPI work(void *argument) {
    struct worker *worker = argument;
    for (;;) {
        DWORD first =
            WSAWaitForMultipleEvents(worker->count + 1, worker->events, FALSE, WSA_INFINITE, FALSE);
        if (first == WSA_WAIT_FAILED) {
            model_fail("WSAWaitForMultipleEvents: error %d", WSAGetLastError());
        }
        /* From the back, so that whoever takes a free place has had its turn; all that are ready,
         * since a wait tells only the first. */
        for (unsigned i = worker->count; i > 0 && i >= first - WSA_WAIT_EVENT_0; i--) {
            if (WaitForSingleObject(worker->events[i], 0) == WAIT_OBJECT_0 &&
                !go_on(worker->clients[i - 1], worker->options)) {
                remove_client(worker, i - 1);
            }
        }
        if (first == WSA_WAIT_EVENT_0) {
            take_arrived(worker);
        }
    }
}

static struct worker *start_worker(const struct model_options *options) {
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker) {
        return NULL;
    }
    worker->options = options;
    worker->events[0] = WSACreateEvent();
    InitializeCriticalSection(&worker->lock);
    HANDLE thread = CreateThread(NULL, 65536, work, worker, 0, NULL);
    if (!thread) {
        WSACloseEvent(worker->events[0]);
        DeleteCriticalSection(&worker->lock);
        free(worker);
        return NULL;
    }
    CloseHandle(thread);
    return worker;
}

static bool hand_over(struct worker *worker, SOCKET socket) {
    EnterCriticalSection(&worker->lock);
    bool has_room = worker->promised < CLIENTS_MAX;
    if (has_room) {
        worker->promised++;
        worker->arrived[worker->arrived_count++] = socket;
        WSASetEvent(worker->events[0]);
    }
    LeaveCriticalSection(&worker->lock);
    return has_room;
}

int main(int argc, char **argv) {
    static struct worker *workers[WORKERS_MAX];
    struct model_options options;
    unsigned count = 0;
    model_options_read(&options, argc, argv);
    SOCKET listener = model_listen(&options);
    for (;;) {
        SOCKET socket = model_accept(listener);
        bool taken = socket == INVALID_SOCKET;
        for (unsigned i = 0; i < count && !taken; i++) {
            taken = hand_over(workers[i], socket);
        }
        if (!taken && count < WORKERS_MAX && (workers[count] = start_worker(&options)) != NULL) {
            taken = hand_over(workers[count++], socket);
        }
        if (!taken) {
            model_limit("refused: %u threads with %d clients each are all there are", count,
                        CLIENTS_MAX);
            model_close(socket);
        }
    }
}
