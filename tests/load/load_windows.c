/* The client's sockets on Windows: overlapped, with one completion port. Each connection has at
 * most one receive and one send posted, and its own buffer to receive into. A closed one is told as
 * such when the last of its operations has come back. */
#include "transport.h"

#include <stdio.h>
#include <string.h>

#include <winsock2.h>

#include <mswsock.h>
#include <ws2tcpip.h>

#include "base/alloc.h"
#include "base/error.h"

#define EVENTS_MAX 128
#define RECEIVE_MAX 16384

enum operation_kind { OPERATION_CONNECT, OPERATION_RECEIVE, OPERATION_SEND };

struct operation {
    OVERLAPPED overlapped; /* first, so that one is the other */
    enum operation_kind kind;
};

struct slot {
    SOCKET socket;
    struct operation connect, receive, send;
    uint8_t *buffer;
    size_t allowed;
    int code;
    unsigned posted;                                 /* operations that the system has */
    bool receiving, sending, closing, queued, waits; /* waits: for a send to end */
};

struct transport {
    const struct transport_events *events;
    void *owner;
    struct slot *slots;
    uint32_t *queue; /* a ring of slots to look at in the next wait; each at most once */
    uint32_t queue_first, queue_count;
    uint32_t count;
    HANDLE port;
    LPFN_CONNECTEX connect_ex;
};

/* -- the program ----------------------------------------------------------- */

static volatile LONG stops_asked;

static BOOL WINAPI on_console(DWORD event) {
    bool is_ours = event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
    return is_ours && InterlockedIncrement(&stops_asked) == 1; /* else the system ends it */
}

bool transport_stop_asked(void) {
    return stops_asked > 0;
}

bool transport_start(struct error *error) {
    WSADATA data;
    SetConsoleCtrlHandler(on_console, TRUE);
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    return code == 0 || error_set(error, "WSAStartup: error %d", code);
}

uint64_t transport_now_ns(void) {
    static LARGE_INTEGER frequency;
    LARGE_INTEGER now;
    if (frequency.QuadPart == 0) {
        QueryPerformanceFrequency(&frequency);
    }
    QueryPerformanceCounter(&now);
    uint64_t ticks = (uint64_t)now.QuadPart, each = (uint64_t)frequency.QuadPart;
    return ticks / each * 1000000000u + ticks % each * 1000000000u / each;
}

bool transport_process_ns(uint32_t pid, uint64_t *used_ns) {
    (void)pid; /* a bench of processor time is Linux's */
    *used_ns = 0;
    return true;
}

void *transport_shared_memory(size_t size) {
    return alloc_zeroed(size);
}

bool transport_in_processes(unsigned count, void (*work)(void *argument, unsigned index),
                            void *argument, struct error *error) {
    (void)count;
    (void)work;
    (void)argument;
    return error_set(error, "--processes is for Linux, where a process has few descriptors");
}

/* -- sockets --------------------------------------------------------------- */

/* Any socket tells the function of its provider. */
static bool find_connect_ex(struct transport *transport) {
    GUID id = WSAID_CONNECTEX;
    DWORD size;
    SOCKET any = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    bool found =
        any != INVALID_SOCKET &&
        WSAIoctl(any, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof(id), &transport->connect_ex,
                 sizeof(transport->connect_ex), &size, NULL, NULL) == 0;
    closesocket(any);
    return found;
}

struct transport *transport_create(uint32_t slots, const struct transport_events *events,
                                   void *owner, struct error *error) {
    struct transport *transport = alloc_zeroed(sizeof(*transport));
    if (!transport) {
        error_set(error, "no memory");
        return NULL;
    }
    transport->events = events;
    transport->owner = owner;
    transport->count = slots;
    transport->slots = alloc_array(slots, sizeof(*transport->slots));
    transport->queue = alloc_array(slots, sizeof(*transport->queue));
    transport->port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
    if (!transport->slots || !transport->queue) {
        error_set(error, "no memory for %u connections", (unsigned)slots);
        goto fail;
    }
    for (uint32_t i = 0; i < slots; i++) {
        struct slot *place = &transport->slots[i];
        place->socket = INVALID_SOCKET;
        place->connect.kind = OPERATION_CONNECT;
        place->receive.kind = OPERATION_RECEIVE;
        place->send.kind = OPERATION_SEND;
    }
    if (!transport->port) {
        error_set(error, "CreateIoCompletionPort: error %lu", GetLastError());
        goto fail;
    }
    if (!find_connect_ex(transport)) {
        error_set(error, "ConnectEx: error %d", WSAGetLastError());
        goto fail;
    }
    return transport;
fail:
    transport_destroy(transport);
    return NULL;
}

/* The buffers may go only when no operation has them. */
static void close_all(struct transport *transport) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < transport->count; i++) {
        struct slot *place = &transport->slots[i];
        if (place->socket != INVALID_SOCKET) {
            CancelIoEx((HANDLE)place->socket, NULL);
            closesocket(place->socket);
        }
        left += place->posted;
    }
    while (left > 0) {
        DWORD size;
        ULONG_PTR key;
        OVERLAPPED *overlapped = NULL;
        GetQueuedCompletionStatus(transport->port, &size, &key, &overlapped, 5000);
        if (!overlapped) {
            return; /* the process is about to end; its memory stays until then */
        }
        left--;
    }
    for (uint32_t i = 0; i < transport->count; i++) {
        alloc_free(transport->slots[i].buffer);
    }
    alloc_free(transport->slots);
}

void transport_destroy(struct transport *transport) {
    if (!transport) {
        return;
    }
    if (transport->slots && transport->port) {
        close_all(transport);
    }
    if (transport->port) {
        CloseHandle(transport->port);
    }
    alloc_free(transport->queue);
    alloc_free(transport);
}

static void look_at(struct transport *transport, uint32_t slot) {
    struct slot *place = &transport->slots[slot];
    if (!place->queued) {
        place->queued = true;
        transport->queue[(transport->queue_first + transport->queue_count) % transport->count] =
            slot;
        transport->queue_count++;
    }
}

static void note_failure(struct transport *transport, uint32_t slot, int code) {
    if (transport->slots[slot].code == 0) {
        transport->slots[slot].code = code;
        look_at(transport, slot);
    }
}

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int to_system(const struct berth_address *from, union system_address *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->port);
        to->v6.sin6_scope_id = from->scope_id;
        memcpy(&to->v6.sin6_addr, from->bytes, 16);
        return sizeof(to->v6);
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->bytes, 4);
    return sizeof(to->v4);
}

/* Remembers an operation that the system now has; false when it refused. */
static bool posted(struct transport *transport, uint32_t slot, bool done) {
    int code = done ? 0 : WSAGetLastError();
    if (!done && code != WSA_IO_PENDING) {
        note_failure(transport, slot, code);
        return false;
    }
    transport->slots[slot].posted++;
    return true;
}

/* ConnectEx wants a socket that is bound. */
static bool begin_connect(struct transport *transport, uint32_t slot,
                          const struct berth_address *from, const struct berth_address *to) {
    struct slot *place = &transport->slots[slot];
    struct berth_address any = {.family = to->family};
    union system_address address;
    BOOL one = TRUE;
    int size = to_system(from ? from : &any, &address);
    place->socket =
        WSASocketW(address.any.sa_family, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (place->socket == INVALID_SOCKET || bind(place->socket, &address.any, size) != 0) {
        return false;
    }
    setsockopt(place->socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof(one));
    if (!CreateIoCompletionPort((HANDLE)place->socket, transport->port, slot, 0)) {
        return false;
    }
    size = to_system(to, &address);
    memset(&place->connect.overlapped, 0, sizeof(place->connect.overlapped));
    posted(transport, slot,
           transport->connect_ex(place->socket, &address.any, size, NULL, 0, NULL,
                                 &place->connect.overlapped));
    return true;
}

void transport_connect(struct transport *transport, uint32_t slot, const struct berth_address *from,
                       const struct berth_address *to) {
    struct slot *place = &transport->slots[slot];
    place->allowed = TRANSPORT_ALL;
    place->code = 0;
    place->closing = place->receiving = place->sending = place->waits = false;
    if (!place->buffer) {
        place->buffer = alloc_zeroed(RECEIVE_MAX);
    }
    if (!place->buffer) {
        note_failure(transport, slot, WSA_NOT_ENOUGH_MEMORY);
    } else if (!begin_connect(transport, slot, from, to)) {
        note_failure(transport, slot, WSAGetLastError());
    }
}

size_t transport_send(struct transport *transport, uint32_t slot, const uint8_t *bytes,
                      size_t size) {
    struct slot *place = &transport->slots[slot];
    WSABUF piece = {.len = (ULONG)size, .buf = (char *)(uintptr_t)bytes};
    if (place->sending) {
        place->waits = true;
        return 0;
    }
    memset(&place->send.overlapped, 0, sizeof(place->send.overlapped));
    if (!posted(transport, slot,
                WSASend(place->socket, &piece, 1, NULL, 0, &place->send.overlapped, NULL) == 0)) {
        return 0;
    }
    place->sending = true;
    return size;
}

static void post_receive(struct transport *transport, uint32_t slot) {
    struct slot *place = &transport->slots[slot];
    size_t room = place->allowed < RECEIVE_MAX ? place->allowed : RECEIVE_MAX;
    WSABUF piece = {.len = (ULONG)room, .buf = (char *)place->buffer};
    DWORD flags = 0;
    if (place->receiving || place->closing || room == 0) {
        return;
    }
    memset(&place->receive.overlapped, 0, sizeof(place->receive.overlapped));
    place->receiving = posted(
        transport, slot,
        WSARecv(place->socket, &piece, 1, NULL, &flags, &place->receive.overlapped, NULL) == 0);
}

/* A receive that is posted may bring a little more than is allowed from now on. */
void transport_allow(struct transport *transport, uint32_t slot, size_t bytes) {
    transport->slots[slot].allowed = bytes;
    look_at(transport, slot);
}

void transport_close(struct transport *transport, uint32_t slot, bool reset) {
    struct slot *place = &transport->slots[slot];
    if (place->socket != INVALID_SOCKET) {
        if (reset) {
            struct linger linger = {.l_onoff = 1, .l_linger = 0};
            setsockopt(place->socket, SOL_SOCKET, SO_LINGER, (const char *)&linger, sizeof(linger));
        }
        if (place->posted > 0) {
            CancelIoEx((HANDLE)place->socket, NULL);
        }
        closesocket(place->socket);
        place->socket = INVALID_SOCKET;
    }
    place->closing = true;
    look_at(transport, slot);
}

void transport_reason(struct transport *transport, uint32_t slot, char *text, size_t size) {
    int code = transport->slots[slot].code;
    switch (code) {
    case WSAECONNREFUSED:
    case ERROR_CONNECTION_REFUSED:
        snprintf(text, size, "Connection refused (%d)", code);
        break;
    case WSAECONNRESET:
    case ERROR_NETNAME_DELETED:
        snprintf(text, size, "Connection reset (%d)", code);
        break;
    default:
        snprintf(text, size, "error %d", code);
    }
}

/* -- what has happened ----------------------------------------------------- */

static int code_of(struct slot *place, struct operation *operation) {
    DWORD size, flags;
    if (WSAGetOverlappedResult(place->socket, &operation->overlapped, &size, FALSE, &flags)) {
        return 0;
    }
    return WSAGetLastError();
}

static void tell_connected(struct transport *transport, uint32_t slot) {
    struct slot *place = &transport->slots[slot];
    setsockopt(place->socket, SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0);
    transport->events->connected(transport->owner, slot);
    post_receive(transport, slot);
}

static void tell_received(struct transport *transport, uint32_t slot, size_t size) {
    struct slot *place = &transport->slots[slot];
    if (size == 0) {
        transport->events->finished(transport->owner, slot);
        return;
    }
    if (place->allowed != TRANSPORT_ALL) {
        place->allowed -= size < place->allowed ? size : place->allowed;
    }
    transport->events->received(transport->owner, slot, place->buffer, size);
    post_receive(transport, slot);
}

static void tell(struct transport *transport, uint32_t slot, const OVERLAPPED_ENTRY *entry) {
    struct slot *place = &transport->slots[slot];
    struct operation *operation = (struct operation *)entry->lpOverlapped;
    place->posted--;
    if (operation->kind == OPERATION_RECEIVE) {
        place->receiving = false;
    } else if (operation->kind == OPERATION_SEND) {
        place->sending = false;
    }
    if (place->closing) {
        look_at(transport, slot);
        return;
    }
    /* The status is an NTSTATUS; zero is success on every system. */
    if (entry->lpOverlapped->Internal != 0) {
        note_failure(transport, slot, code_of(place, operation));
    } else if (operation->kind == OPERATION_CONNECT) {
        tell_connected(transport, slot);
    } else if (operation->kind == OPERATION_RECEIVE) {
        tell_received(transport, slot, entry->dwNumberOfBytesTransferred);
    } else if (place->waits) {
        place->waits = false;
        transport->events->sendable(transport->owner, slot);
    }
}

/* Only those that are there now: what they add is for the next time. */
static void tell_queued(struct transport *transport) {
    for (uint32_t left = transport->queue_count; left > 0; left--) {
        uint32_t slot = transport->queue[transport->queue_first];
        struct slot *place = &transport->slots[slot];
        transport->queue_first = (transport->queue_first + 1) % transport->count;
        transport->queue_count--;
        place->queued = false;
        if (place->closing) {
            if (place->posted == 0) {
                place->closing = false;
                transport->events->closed(transport->owner, slot);
            }
        } else if (place->code != 0) {
            transport->events->failed(transport->owner, slot);
        } else if (place->socket != INVALID_SOCKET) {
            post_receive(transport, slot);
        }
    }
}

void transport_wait(struct transport *transport, uint64_t timeout_ns) {
    OVERLAPPED_ENTRY entries[EVENTS_MAX];
    ULONG count = 0;
    DWORD timeout_ms = transport->queue_count > 0 ? 0 : (DWORD)((timeout_ns + 999999) / 1000000);
    /* A wait that ends in time tells a count that means nothing. */
    if (!GetQueuedCompletionStatusEx(transport->port, entries, EVENTS_MAX, &count, timeout_ms,
                                     FALSE)) {
        count = 0;
    }
    for (ULONG i = 0; i < count; i++) {
        tell(transport, (uint32_t)entries[i].lpCompletionKey, &entries[i]);
    }
    tell_queued(transport);
}
