/* reuse_selftest.c: whether a socket can be reused, tested at the start on the loopback interface.
 *
 * Documentation and return values are not enough: on some systems DisconnectEx succeeds but the
 * reused socket transfers no data, and TransmitFile ignores the flags (Wine 8 does both). So one
 * socket gets two connections. It is accepted with and transfers data in both directions; its peer
 * closes; it is disconnected, which its peer must see; it is accepted with again. Then it must
 * transfer data in both directions again, and its FIN must reach the new peer. Every wait has a
 * time limit. */
#include "engine/iocp/iocp.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum {
    WAIT_MS = 250, /* for operations that take microseconds where they work */
    WORD_BYTES = 4,
};

struct selftest {
    const struct winsock_table *winsock;
    struct winsock_extensions extensions;
    SOCKET listening;
    SOCKET socket; /* the one that is reused */
    SOCKET client;
    HANDLE event;
    OVERLAPPED overlapped;
    bool in_flight; /* the system may still write into it */
    char memory[IOCP_ADDRESSES_ROOM];
    struct sockaddr_in address;
};

static SOCKET reuse_selftest_open_socket(struct selftest *selftest) {
    SOCKET socket = iocp_socket_open(selftest->winsock, AF_INET);
    if (socket != INVALID_SOCKET) {
        iocp_socket_option(selftest->winsock, socket, SOL_SOCKET, SO_RCVTIMEO, WAIT_MS);
        iocp_socket_option(selftest->winsock, socket, SOL_SOCKET, SO_SNDTIMEO, WAIT_MS);
    }
    return socket;
}

static void close_socket(struct selftest *selftest, SOCKET *socket) {
    if (*socket != INVALID_SOCKET) {
        selftest->winsock->close(*socket);
        *socket = INVALID_SOCKET;
    }
}

/* Waits for the operation in flight; false when it failed or does not end. For one that succeeded
 * at once (`done`) there is no wait, as its OVERLAPPED has no result. */
static bool reuse_selftest_finish(struct selftest *selftest, SOCKET socket, bool done) {
    DWORD bytes;
    DWORD flags;
    if (done) {
        return true;
    }
    if (selftest->winsock->last_error() != WSA_IO_PENDING) {
        return false;
    }
    selftest->in_flight = true;
    if (WaitForSingleObject(selftest->event, WAIT_MS) != WAIT_OBJECT_0) {
        return false;
    }
    selftest->in_flight = false;
    return selftest->winsock->overlapped_result(socket, &selftest->overlapped, &bytes, FALSE,
                                                &flags);
}

static void reuse_selftest_prepare(struct selftest *selftest) {
    ResetEvent(selftest->event);
    selftest->overlapped = (OVERLAPPED){.hEvent = selftest->event};
}

static bool listen_here(struct selftest *selftest) {
    const struct winsock_table *winsock = selftest->winsock;
    int size = sizeof(selftest->address);
    selftest->address.sin_family = AF_INET;
    selftest->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    selftest->listening = reuse_selftest_open_socket(selftest);
    selftest->socket = reuse_selftest_open_socket(selftest);
    selftest->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    return selftest->event && selftest->listening != INVALID_SOCKET &&
           selftest->socket != INVALID_SOCKET &&
           winsock->bind(selftest->listening, (struct sockaddr *)&selftest->address, size) == 0 &&
           winsock->getsockname(selftest->listening, (struct sockaddr *)&selftest->address,
                                &size) == 0 &&
           winsock->listen(selftest->listening, 1) == 0 &&
           winsock_extensions_load(winsock, selftest->listening, &selftest->extensions);
}

/* A socket that waits for its next client must not report the connect time of the last one: the
 * host would close it as a silent client. */
static bool is_unconnected(struct selftest *selftest) {
    DWORD seconds = 0;
    int size = sizeof(seconds);
    return selftest->winsock->getsockopt(selftest->socket, SOL_SOCKET, SO_CONNECT_TIME,
                                         (char *)&seconds, &size) != 0 ||
           seconds == UINT32_MAX;
}

static bool accept_client(struct selftest *selftest) {
    const struct winsock_table *winsock = selftest->winsock;
    DWORD received = 0;
    reuse_selftest_prepare(selftest);
    bool done = selftest->extensions.accept_ex(selftest->listening, selftest->socket,
                                               selftest->memory, 0, IOCP_ADDRESS_ROOM,
                                               IOCP_ADDRESS_ROOM, &received, &selftest->overlapped);
    if (!done && winsock->last_error() != WSA_IO_PENDING) {
        return false;
    }
    selftest->in_flight = !done;
    if (!is_unconnected(selftest)) {
        return false;
    }
    selftest->client = reuse_selftest_open_socket(selftest);
    if (selftest->client == INVALID_SOCKET ||
        winsock->connect(selftest->client, (struct sockaddr *)&selftest->address,
                         sizeof(selftest->address)) != 0) {
        return false;
    }
    WSASetLastError(WSA_IO_PENDING);
    return reuse_selftest_finish(selftest, selftest->listening, done) &&
           winsock->setsockopt(selftest->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT,
                               (const char *)&selftest->listening,
                               sizeof(selftest->listening)) == 0;
}

static bool reuse_selftest_send(struct selftest *selftest, SOCKET from, SOCKET to,
                                const char *word) {
    const struct winsock_table *winsock = selftest->winsock;
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

static bool reuse_selftest_receives_fin(struct selftest *selftest, SOCKET from, SOCKET to) {
    char byte;
    return selftest->winsock->shutdown(from, SD_SEND) == 0 &&
           selftest->winsock->recv(to, &byte, 1, 0) == 0;
}

static bool reuse_selftest_disconnect(struct selftest *selftest, enum iocp_reuse how) {
    const struct winsock_extensions *extensions = &selftest->extensions;
    reuse_selftest_prepare(selftest);
    if (how == IOCP_REUSE_DISCONNECT) {
        return extensions->disconnect_ex &&
               reuse_selftest_finish(selftest, selftest->socket,
                                     extensions->disconnect_ex(selftest->socket,
                                                               &selftest->overlapped,
                                                               TF_REUSE_SOCKET, 0));
    }
    return extensions->transmit_file &&
           reuse_selftest_finish(selftest, selftest->socket,
                                 extensions->transmit_file(selftest->socket, NULL, 0, 0,
                                                           &selftest->overlapped, NULL,
                                                           TF_DISCONNECT | TF_REUSE_SOCKET));
}

/* NULL when it works; else a text that says what does not. */
static const char *reuse_selftest_connect_twice(struct selftest *selftest, enum iocp_reuse how) {
    if (!listen_here(selftest) || !accept_client(selftest) ||
        !reuse_selftest_send(selftest, selftest->client, selftest->socket, "ping") ||
        !reuse_selftest_send(selftest, selftest->socket, selftest->client, "pong") ||
        !reuse_selftest_receives_fin(selftest, selftest->client, selftest->socket)) {
        return "the loopback interface cannot be tried on";
    }
    if (!reuse_selftest_disconnect(selftest, how)) {
        return "it fails";
    }
    char byte;
    if (selftest->winsock->recv(selftest->client, &byte, 1, 0) != 0) {
        return "the peer does not see the end";
    }
    close_socket(selftest, &selftest->client);
    if (!accept_client(selftest)) {
        return "the socket cannot be accepted with again";
    }
    if (!reuse_selftest_send(selftest, selftest->client, selftest->socket, "ring")) {
        return "the socket used again does not receive";
    }
    if (!reuse_selftest_send(selftest, selftest->socket, selftest->client, "rang")) {
        return "the socket used again does not send";
    }
    if (!reuse_selftest_receives_fin(selftest, selftest->socket, selftest->client)) {
        return "the end of the socket used again does not reach its peer";
    }
    return NULL;
}

static const char *try_one(const struct winsock_table *winsock, enum iocp_reuse how) {
    struct selftest *selftest = alloc_zeroed(sizeof(*selftest));
    if (!selftest) {
        return "out of memory";
    }
    selftest->winsock = winsock;
    selftest->listening = INVALID_SOCKET;
    selftest->socket = INVALID_SOCKET;
    selftest->client = INVALID_SOCKET;
    const char *failure = reuse_selftest_connect_twice(selftest, how);
    if (selftest->in_flight) {
        winsock->cancel((HANDLE)selftest->listening, &selftest->overlapped);
        winsock->cancel((HANDLE)selftest->socket, &selftest->overlapped);
    }
    close_socket(selftest, &selftest->client);
    close_socket(selftest, &selftest->socket);
    close_socket(selftest, &selftest->listening);
    if (selftest->in_flight && WaitForSingleObject(selftest->event, WAIT_MS) != WAIT_OBJECT_0) {
        return failure; /* the system may still write into it: it is never freed */
    }
    if (selftest->event) {
        CloseHandle(selftest->event);
    }
    alloc_free(selftest);
    return failure;
}

enum iocp_reuse reuse_selftest(const struct winsock_table *winsock, char *text, size_t size) {
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
