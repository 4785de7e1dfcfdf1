/* engine_iocp_trial.c: whether a socket can be used again, tried at the start on the loopback
 * interface.
 *
 * Documents and return values are not enough: there are systems where DisconnectEx succeeds and the
 * socket's second life is mute, and where TransmitFile ignores the flags (Wine 8 is both). So a
 * socket lives twice: it is accepted with, speaks both ways, is left by its peer, is disconnected,
 * which its peer must see, and is accepted with again; then it must speak both ways again, and its
 * end must reach the new peer. Every wait has a bound. */
#include "engine/engine_iocp.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum {
    WAIT_MS = 250, /* for anything that takes microseconds where it works */
    WORD_BYTES = 4,
};

struct trial {
    const struct winsock_table *winsock;
    struct winsock_extensions extensions;
    SOCKET listening;
    SOCKET socket; /* the one with two lives */
    SOCKET client;
    HANDLE event;
    OVERLAPPED overlapped;
    bool in_flight; /* the system may still write into it */
    char memory[IOCP_ADDRESSES_ROOM];
    struct sockaddr_in address;
};

static SOCKET open_socket(struct trial *trial) {
    SOCKET socket = iocp_socket_open(trial->winsock, AF_INET);
    if (socket != INVALID_SOCKET) {
        iocp_socket_option(trial->winsock, socket, SOL_SOCKET, SO_RCVTIMEO, WAIT_MS);
        iocp_socket_option(trial->winsock, socket, SOL_SOCKET, SO_SNDTIMEO, WAIT_MS);
    }
    return socket;
}

static void close_socket(struct trial *trial, SOCKET *socket) {
    if (*socket != INVALID_SOCKET) {
        trial->winsock->close(*socket);
        *socket = INVALID_SOCKET;
    }
}

/* Waits for the operation in flight; false when it failed or does not end. One that succeeded at
 * once is over, and has nothing in its OVERLAPPED that could be asked for. */
static bool finish(struct trial *trial, SOCKET socket, bool done) {
    DWORD bytes;
    DWORD flags;
    if (done) {
        return true;
    }
    if (trial->winsock->last_error() != WSA_IO_PENDING) {
        return false;
    }
    trial->in_flight = true;
    if (WaitForSingleObject(trial->event, WAIT_MS) != WAIT_OBJECT_0) {
        return false;
    }
    trial->in_flight = false;
    return trial->winsock->overlapped_result(socket, &trial->overlapped, &bytes, FALSE, &flags);
}

static void prepare(struct trial *trial) {
    ResetEvent(trial->event);
    trial->overlapped = (OVERLAPPED){.hEvent = trial->event};
}

static bool listen_here(struct trial *trial) {
    const struct winsock_table *winsock = trial->winsock;
    int size = sizeof(trial->address);
    trial->address.sin_family = AF_INET;
    trial->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    trial->listening = open_socket(trial);
    trial->socket = open_socket(trial);
    trial->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    return trial->event && trial->listening != INVALID_SOCKET && trial->socket != INVALID_SOCKET &&
           winsock->bind(trial->listening, (struct sockaddr *)&trial->address, size) == 0 &&
           winsock->getsockname(trial->listening, (struct sockaddr *)&trial->address, &size) == 0 &&
           winsock->listen(trial->listening, 1) == 0 &&
           winsock_extensions_load(winsock, trial->listening, &trial->extensions);
}

/* One that waits for its next client must not tell of the last one: the sweep would cut it. */
static bool is_unconnected(struct trial *trial) {
    DWORD seconds = 0;
    int size = sizeof(seconds);
    return trial->winsock->getsockopt(trial->socket, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds,
                                      &size) != 0 ||
           seconds == UINT32_MAX;
}

static bool accept_client(struct trial *trial) {
    const struct winsock_table *winsock = trial->winsock;
    DWORD received = 0;
    prepare(trial);
    bool done = trial->extensions.accept_ex(trial->listening, trial->socket, trial->memory, 0,
                                            IOCP_ADDRESS_ROOM, IOCP_ADDRESS_ROOM, &received,
                                            &trial->overlapped);
    if (!done && winsock->last_error() != WSA_IO_PENDING) {
        return false;
    }
    trial->in_flight = !done;
    if (!is_unconnected(trial)) {
        return false;
    }
    trial->client = open_socket(trial);
    if (trial->client == INVALID_SOCKET ||
        winsock->connect(trial->client, (struct sockaddr *)&trial->address,
                         sizeof(trial->address)) != 0) {
        return false;
    }
    WSASetLastError(WSA_IO_PENDING);
    return finish(trial, trial->listening, done) &&
           winsock->setsockopt(trial->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                               (const char *)&trial->listening, sizeof(trial->listening)) == 0;
}

static bool say(struct trial *trial, SOCKET from, SOCKET to, const char *word) {
    const struct winsock_table *winsock = trial->winsock;
    char text[WORD_BYTES];
    memcpy(text, word, sizeof(text));
    WSABUF buffer = {sizeof(text), text};
    DWORD sent = 0;
    if (winsock->wsa_send(from, &buffer, 1, &sent, 0, NULL, NULL) != 0 || sent != sizeof(text)) {
        return false;
    }
    char heard[WORD_BYTES] = "";
    return winsock->recv(to, heard, sizeof(heard), 0) == (int)sizeof(heard) &&
           memcmp(heard, word, sizeof(heard)) == 0;
}

static bool hears_the_end(struct trial *trial, SOCKET from, SOCKET to) {
    char byte;
    return trial->winsock->shutdown(from, SD_SEND) == 0 &&
           trial->winsock->recv(to, &byte, 1, 0) == 0;
}

static bool disconnect(struct trial *trial, enum iocp_reuse how) {
    const struct winsock_extensions *extensions = &trial->extensions;
    prepare(trial);
    if (how == IOCP_REUSE_DISCONNECT) {
        return extensions->disconnect_ex &&
               finish(trial, trial->socket,
                      extensions->disconnect_ex(trial->socket, &trial->overlapped, TF_REUSE_SOCKET,
                                                0));
    }
    return extensions->transmit_file &&
           finish(trial, trial->socket,
                  extensions->transmit_file(trial->socket, NULL, 0, 0, &trial->overlapped, NULL,
                                            TF_DISCONNECT | TF_REUSE_SOCKET));
}

/* NULL when it works; else what does not. */
static const char *live_twice(struct trial *trial, enum iocp_reuse how) {
    if (!listen_here(trial) || !accept_client(trial) ||
        !say(trial, trial->client, trial->socket, "ping") ||
        !say(trial, trial->socket, trial->client, "pong") ||
        !hears_the_end(trial, trial->client, trial->socket)) {
        return "the loopback interface cannot be tried on";
    }
    if (!disconnect(trial, how)) {
        return "it fails";
    }
    char byte;
    if (trial->winsock->recv(trial->client, &byte, 1, 0) != 0) {
        return "the peer does not see the end";
    }
    close_socket(trial, &trial->client);
    if (!accept_client(trial)) {
        return "the socket cannot be accepted with again";
    }
    if (!say(trial, trial->client, trial->socket, "ring")) {
        return "the socket used again does not receive";
    }
    if (!say(trial, trial->socket, trial->client, "rang")) {
        return "the socket used again does not send";
    }
    if (!hears_the_end(trial, trial->socket, trial->client)) {
        return "the end of the socket used again does not reach its peer";
    }
    return NULL;
}

static const char *try_one(const struct winsock_table *winsock, enum iocp_reuse how) {
    struct trial *trial = alloc_zeroed(sizeof(*trial));
    if (!trial) {
        return "out of memory";
    }
    trial->winsock = winsock;
    trial->listening = INVALID_SOCKET;
    trial->socket = INVALID_SOCKET;
    trial->client = INVALID_SOCKET;
    const char *failure = live_twice(trial, how);
    if (trial->in_flight) {
        winsock->cancel((HANDLE)trial->listening, &trial->overlapped);
        winsock->cancel((HANDLE)trial->socket, &trial->overlapped);
    }
    close_socket(trial, &trial->client);
    close_socket(trial, &trial->socket);
    close_socket(trial, &trial->listening);
    if (trial->in_flight && WaitForSingleObject(trial->event, WAIT_MS) != WAIT_OBJECT_0) {
        return failure; /* the system may still write into it: it is never freed */
    }
    if (trial->event) {
        CloseHandle(trial->event);
    }
    alloc_free(trial);
    return failure;
}

enum iocp_reuse iocp_trial(const struct winsock_table *winsock, char *text, size_t size) {
    const char *by_disconnect = try_one(winsock, IOCP_REUSE_DISCONNECT);
    if (!by_disconnect) {
        snprintf(text, size, "DisconnectEx");
        return IOCP_REUSE_DISCONNECT;
    }
    const char *by_transmit = try_one(winsock, IOCP_REUSE_TRANSMIT);
    if (!by_transmit) {
        snprintf(text, size, "TransmitFile");
        return IOCP_REUSE_TRANSMIT;
    }
    snprintf(text, size, "off: DisconnectEx: %s; TransmitFile: %s", by_disconnect, by_transmit);
    return IOCP_REUSE_OFF;
}
