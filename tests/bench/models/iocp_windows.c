/* Echo with overlapped operations and a completion port: one thread takes completions from the
 * port, another blocks in accept(). A client has one operation at a time, a receive or the send
 * that answers it, and there is no limit but memory and sockets. */
#include "model_windows.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 64

struct port_client {
    OVERLAPPED overlapped;
    SOCKET socket;
    bool sending;
    DWORD size, sent; /* bytes in the buffer, and how many of them are sent */
    uint64_t echoed;
    uint8_t buffer[];
};

static struct model_options options;
static HANDLE port;

static bool begin(struct port_client *client) {
    DWORD flags = 0;
    WSABUF piece = {.len =
                        client->sending ? client->size - client->sent : (ULONG)options.buffer_bytes,
                    .buf = (char *)client->buffer + client->sent};
    memset(&client->overlapped, 0, sizeof(client->overlapped));
    int code = client->sending
                   ? WSASend(client->socket, &piece, 1, NULL, 0, &client->overlapped, NULL)
                   : WSARecv(client->socket, &piece, 1, NULL, &flags, &client->overlapped, NULL);
    return code == 0 || WSAGetLastError() == WSA_IO_PENDING;
}

/* The operation has come to its end: what follows it? False when the client is at its own. */
static bool go_on(struct port_client *client, DWORD size) {
    if (client->overlapped.Internal != 0 || size == 0) {
        return false;
    }
    if (!client->sending) {
        client->size = size;
        client->sending = true;
        return begin(client);
    }
    client->sent += size;
    client->echoed += size;
    if (client->sent == client->size) {
        client->sending = false;
        client->sent = 0;
        if (options.close_after > 0 && client->echoed >= options.close_after) {
            return false;
        }
    }
    return begin(client);
}

static void destroy(struct port_client *client) {
    model_close(client->socket);
    free(client);
}

static DWORD WINAPI work(void *argument) {
    OVERLAPPED_ENTRY entries[ENTRIES_MAX];
    ULONG count;
    (void)argument;
    while (GetQueuedCompletionStatusEx(port, entries, ENTRIES_MAX, &count, INFINITE, FALSE)) {
        for (ULONG i = 0; i < count; i++) {
            struct port_client *client = (struct port_client *)entries[i].lpCompletionKey;
            if (!go_on(client, entries[i].dwNumberOfBytesTransferred)) {
                destroy(client);
            }
        }
    }
    model_fail("GetQueuedCompletionStatusEx: error %lu", GetLastError());
}

static void adopt(SOCKET socket) {
    struct port_client *client = calloc(1, sizeof(*client) + options.buffer_bytes);
    if (!client) {
        model_limit("refused: no memory for another client");
        model_close(socket);
        return;
    }
    client->socket = socket;
    if (!CreateIoCompletionPort((HANDLE)socket, port, (ULONG_PTR)client, 0) || !begin(client)) {
        destroy(client);
    }
}

int main(int argc, char **argv) {
    model_options_read(&options, argc, argv);
    port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    HANDLE thread = port ? CreateThread(NULL, 0, work, NULL, 0, NULL) : NULL;
    if (!thread) {
        model_fail("no completion port, or no thread: error %lu", GetLastError());
    }
    SOCKET listener = model_listen(&options);
    for (;;) {
        SOCKET socket = model_accept(listener);
        if (socket != INVALID_SOCKET) {
            adopt(socket);
        }
    }
}
