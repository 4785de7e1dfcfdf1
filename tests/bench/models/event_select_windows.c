/* Echo with WSAEventSelect: every socket has an event, and a thread can wait for 64 events. So the
 * first thread accepts, and hands each client to a thread that has room; of its 64 events one is
 * its own, by which it hears of new clients. */
#include "model_windows.h"

#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 512
#define CLIENTS_MAX (WSA_MAXIMUM_WAIT_EVENTS - 1)

struct worker {
    const struct model_options *options;
    uint8_t *buffer;
    CRITICAL_SECTION lock;                    /* for the three below */
    SOCKET arrived[CLIENTS_MAX];              /* handed over and not yet taken */
    unsigned arrived_count, promised;         /* promised: clients and arrived ones together */
    WSAEVENT events[WSA_MAXIMUM_WAIT_EVENTS]; /* the first is its own */
    struct client clients[CLIENTS_MAX];       /* of events[i + 1] */
    unsigned count;
};

static void remove_client(struct worker *worker, unsigned index) {
    unsigned last = --worker->count;
    client_close(&worker->clients[index]);
    WSACloseEvent(worker->events[index + 1]);
    worker->clients[index] = worker->clients[last];
    worker->events[index + 1] = worker->events[last + 1];
    EnterCriticalSection(&worker->lock);
    worker->promised--;
    LeaveCriticalSection(&worker->lock);
}

static void take_arrived(struct worker *worker) {
    WSAResetEvent(worker->events[0]);
    EnterCriticalSection(&worker->lock);
    while (worker->arrived_count > 0) {
        SOCKET socket = worker->arrived[--worker->arrived_count];
        WSAEVENT event = WSACreateEvent();
        if (event == WSA_INVALID_EVENT ||
            WSAEventSelect(socket, event, FD_READ | FD_WRITE | FD_CLOSE) != 0) {
            model_limit("refused: WSAEventSelect takes no more, error %d", WSAGetLastError());
            model_close(socket);
            worker->promised--;
            continue;
        }
        worker->events[worker->count + 1] = event;
        worker->clients[worker->count++] = (struct client){.socket = socket};
    }
    LeaveCriticalSection(&worker->lock);
}

/* One event of a socket stands for all of its kinds: each is looked at. */
static void serve(struct worker *worker, unsigned index) {
    struct client *client = &worker->clients[index];
    WSANETWORKEVENTS happened;
    enum client_wants wants = CLIENT_RECEIVES;
    if (WSAEnumNetworkEvents(client->socket, worker->events[index + 1], &happened) != 0) {
        remove_client(worker, index);
        return;
    }
    client->finished = client->finished || (happened.lNetworkEvents & FD_CLOSE);
    if (client->rest && (happened.lNetworkEvents & FD_WRITE)) {
        wants = client_send_rest(client, worker->options);
    }
    if (wants == CLIENT_RECEIVES && !client->rest) {
        /* Also behind an FD_WRITE: its FD_READ may have come and gone. */
        wants = client->finished ? client_echo_all(client, worker->options, worker->buffer)
                                 : client_echo(client, worker->options, worker->buffer);
    }
    if (wants == CLIENT_ENDS) {
        remove_client(worker, index);
    }
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
            if (WaitForSingleObject(worker->events[i], 0) == WAIT_OBJECT_0) {
                serve(worker, i - 1);
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
    worker->buffer = malloc(options->buffer_bytes);
    worker->events[0] = WSACreateEvent();
    InitializeCriticalSection(&worker->lock);
    HANDLE thread = worker->buffer ? CreateThread(NULL, 65536, work, worker, 0, NULL) : NULL;
    if (!thread) {
        WSACloseEvent(worker->events[0]);
        DeleteCriticalSection(&worker->lock);
        free(worker->buffer);
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
