#include "winsock_faults.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "engine/iocp/iocp.h"
#include "winsock_faults_inner.h"

enum {
    HANDLES_MAX = 512,
    OPERATIONS_MAX = 512,
    HELD_MAX = 64,
    AT_ONCE_WAIT_MS = 10000,
};

/* What was asked of one call. */
struct plan {
    unsigned calls;
    unsigned injected;
    unsigned pass; /* then fail `fail` calls */
    unsigned fail;
    int fail_code;
    unsigned complete; /* completions to spoil */
    int complete_code;
    unsigned at_once;
    unsigned later;
    unsigned in_flight; /* operations whose completion the caller has not seen */
    unsigned in_flight_max;
    bool withheld; /* the provider does not have it */
};

/* A handle that was bound to a port. */
struct bound {
    HANDLE handle;
    HANDLE port;
    ULONG_PTR key;
    bool skips; /* no packet when an operation succeeds at once */
};

/* An OVERLAPPED that was seen, by its address; operations are started again with the same one. */
struct operation {
    OVERLAPPED *overlapped;
    enum fault_call call;
    SOCKET closes;    /* whose end is its own, where that is not the handle it was started on */
    unsigned swallow; /* packets that the caller must not see: it was told of success at once */
    int code;         /* what overlapped_result() is to say, 0: the truth */
};

static SRWLOCK lock = SRWLOCK_INIT; /* guards the plans: posts come from the thread pool too */
static struct plan plans[FAULT_CALLS];

static struct bound handles[HANDLES_MAX];
static struct operation operations[OPERATIONS_MAX];
static OVERLAPPED_ENTRY held[HELD_MAX];
static unsigned held_count;
static bool holding;

static LPFN_ACCEPTEX real_accept_ex;
static LPFN_DISCONNECTEX real_disconnect_ex;
static LPFN_TRANSMITFILE real_transmit_file;
static LPFN_CONNECTEX real_connect_ex;

static DWORD connect_data_max;

/* A handle whose socket lives again as another one. */
struct second_life {
    SOCKET handle;
    SOCKET socket;
};
static struct second_life second_lives[HANDLES_MAX];
static bool mends[FAULT_CALLS];
static OVERLAPPED *stalled[HELD_MAX];
static HANDLE stalled_ports[HELD_MAX];
static struct {
    DWORD code;
    unsigned calls;
} ioctls[HELD_MAX]; /* the codes that were seen */
static bool stalling;

void faults_reset(void) {
    AcquireSRWLockExclusive(&lock);
    memset(plans, 0, sizeof(plans));
    ReleaseSRWLockExclusive(&lock);
    memset(handles, 0, sizeof(handles));
    memset(operations, 0, sizeof(operations));
    memset(second_lives, 0, sizeof(second_lives));
    memset(mends, 0, sizeof(mends));
    memset(stalled, 0, sizeof(stalled));
    memset(ioctls, 0, sizeof(ioctls));
    held_count = 0;
    holding = false;
    stalling = false;
    fault_messages_reset();
    fault_cancel_reset();
    connect_data_max = UINT32_MAX;
}

void faults_withhold(enum fault_call call) {
    plans[call].withheld = true;
}

void faults_limit_connect_data(unsigned bytes) {
    connect_data_max = bytes;
}

unsigned faults_in_flight_max(enum fault_call call) {
    return plans[call].in_flight_max;
}

void faults_mend_reuse(enum fault_call call) {
    mends[call] = true;
}

void faults_stall_disconnects(bool stall) {
    stalling = stall;
}

void faults_fail(enum fault_call call, unsigned pass, unsigned count, int code) {
    AcquireSRWLockExclusive(&lock);
    plans[call].pass = pass;
    plans[call].fail = count;
    plans[call].fail_code = code;
    ReleaseSRWLockExclusive(&lock);
}

void faults_complete(enum fault_call call, unsigned count, int code) {
    plans[call].complete = count;
    plans[call].complete_code = code;
}

void faults_at_once(enum fault_call call, unsigned count) {
    plans[call].at_once = count;
}

void faults_later(enum fault_call call, unsigned count) {
    plans[call].later = count;
}

void faults_hold(void) {
    holding = true;
}

void faults_release_reversed(void) {
    holding = false;
    for (unsigned i = 0; i < held_count / 2; i++) {
        OVERLAPPED_ENTRY entry = held[i];
        held[i] = held[held_count - 1 - i];
        held[held_count - 1 - i] = entry;
    }
}

unsigned faults_held(void) {
    return held_count;
}

unsigned faults_calls(enum fault_call call) {
    return plans[call].calls;
}

unsigned faults_injected(enum fault_call call) {
    return plans[call].injected;
}

/* Counts the call; true when it is to fail, with the code set. */
bool fault_fails(enum fault_call call) {
    AcquireSRWLockExclusive(&lock);
    struct plan *plan = &plans[call];
    plan->calls++;
    bool fail = plan->pass == 0 && plan->fail > 0;
    if (fail) {
        plan->fail--;
        plan->injected++;
    } else if (plan->pass > 0) {
        plan->pass--;
    }
    int code = plan->fail_code;
    ReleaseSRWLockExclusive(&lock);
    if (fail) {
        WSASetLastError(code); /* which is SetLastError() */
    }
    return fail;
}

/* -- second lives ---------------------------------------------------------- */

static struct second_life *second_life_find(SOCKET handle) {
    for (unsigned i = 0; i < HANDLES_MAX; i++) {
        if (second_lives[i].handle == handle) {
            return &second_lives[i];
        }
    }
    return NULL;
}

/* The system's socket behind a handle. */
SOCKET fault_real(SOCKET handle) {
    const struct second_life *life = handle ? second_life_find(handle) : NULL;
    return life ? life->socket : handle;
}

static HANDLE real_handle(HANDLE handle) {
    return (HANDLE)fault_real((SOCKET)handle);
}

/* -- handles and operations ------------------------------------------------ */

static struct bound *bound_find(HANDLE handle) {
    for (unsigned i = 0; i < HANDLES_MAX; i++) {
        if (handles[i].handle == handle) {
            return &handles[i];
        }
    }
    return NULL;
}

static struct operation *operation_find(OVERLAPPED *overlapped) {
    for (unsigned i = 0; i < OPERATIONS_MAX; i++) {
        if (operations[i].overlapped == overlapped) {
            return &operations[i];
        }
    }
    return NULL;
}

struct operation *fault_operation(OVERLAPPED *overlapped, enum fault_call call) {
    struct operation *operation = operation_find(overlapped);
    if (!operation) {
        operation = operation_find(NULL);
        ASSERT(operation != NULL);
        *operation = (struct operation){.overlapped = overlapped};
    }
    operation->call = call;
    operation->closes = INVALID_SOCKET;
    return operation;
}

SOCKET fault_closes(OVERLAPPED *overlapped) {
    const struct operation *operation = operation_find(overlapped);
    return operation ? operation->closes : INVALID_SOCKET;
}

void fault_swallow(OVERLAPPED *overlapped) {
    operation_find(overlapped)->swallow++;
}

unsigned faults_skipping(int type) {
    unsigned found = 0;
    for (unsigned i = 0; i < HANDLES_MAX; i++) {
        int its = 0;
        int size = sizeof(its);
        found +=
            handles[i].skips &&
            getsockopt((SOCKET)handles[i].handle, SOL_SOCKET, SO_TYPE, (char *)&its, &size) == 0 &&
            its == type;
    }
    return found;
}

/* Waits in the system, not in the C library: Wine finishes operations in the thread that started
 * them, and only while it is in such a wait. */
bool fault_completes_soon(OVERLAPPED *overlapped) {
    HANDLE never = CreateEventW(NULL, TRUE, FALSE, NULL);
    for (int ms = 0; ms < AT_ONCE_WAIT_MS && !HasOverlappedIoCompleted(overlapped); ms++) {
        WaitForSingleObject(never, 1);
    }
    CloseHandle(never);
    return HasOverlappedIoCompleted(overlapped);
}

/* Turns the outcome of a call round where that was asked for. `done`: it succeeded at once. */
static bool turn_round(HANDLE handle, enum fault_call call, OVERLAPPED *overlapped, bool done,
                       DWORD *bytes) {
    struct plan *plan = &plans[call];
    struct bound *bound = bound_find(handle);
    bool skips = bound && bound->skips;
    if (!done && WSAGetLastError() == WSA_IO_PENDING && plan->at_once > 0) {
        plan->at_once--;
        if (fault_completes_soon(overlapped) && overlapped->Internal == 0) {
            plan->injected++;
            *bytes = (DWORD)overlapped->InternalHigh;
            fault_operation(overlapped, call)->swallow += skips ? 1 : 0;
            return true;
        }
        WSASetLastError(WSA_IO_PENDING);
    } else if (done && plan->at_once > 0) {
        plan->at_once--; /* it needed no help */
        plan->injected++;
    } else if (done && plan->later > 0) {
        plan->later--;
        plan->injected++;
        if (skips) {
            overlapped->Internal = 0;
            PostQueuedCompletionStatus(bound->port, *bytes, bound->key, overlapped);
        }
        WSASetLastError(WSA_IO_PENDING);
        return false;
    }
    return done;
}

bool fault_outcome(HANDLE handle, enum fault_call call, OVERLAPPED *overlapped, bool done,
                   DWORD *bytes) {
    struct plan *plan = &plans[call];
    const struct bound *bound = bound_find(handle);
    done = turn_round(handle, call, overlapped, done, bytes);
    bool packet_comes = done ? bound && !bound->skips : WSAGetLastError() == WSA_IO_PENDING;
    if (done && bound && bound->skips) {
        /* Windows promises nothing of it then: whoever reads it finds nonsense. */
        overlapped->Internal = (ULONG_PTR)0x103; /* STATUS_PENDING */
        overlapped->InternalHigh = 0;
    }
    if (bound && packet_comes) {
        plan->in_flight++;
        if (plan->in_flight > plan->in_flight_max) {
            plan->in_flight_max = plan->in_flight;
        }
    }
    return done;
}

/* -- calls that may only fail ---------------------------------------------- */

static int WSAAPI startup_call(WORD version, WSADATA *data) {
    return fault_fails(FAULT_STARTUP) ? WSAGetLastError() : WSAStartup(version, data);
}

static SOCKET WSAAPI socket_call(int family, int type, int protocol, WSAPROTOCOL_INFOW *information,
                                 GROUP group, DWORD flags) {
    return fault_fails(FAULT_SOCKET)
               ? INVALID_SOCKET
               : WSASocketW(family, type, protocol, information, group, flags);
}

static int WSAAPI close_call(SOCKET socket) {
    plans[FAULT_CLOSE].calls++;
    fault_cancel_of_closed(socket);
    struct bound *bound = bound_find((HANDLE)socket);
    if (bound) {
        *bound = (struct bound){0};
    }
    struct second_life *life = second_life_find(socket);
    if (life) {
        closesocket(life->socket);
        *life = (struct second_life){0};
    }
    return closesocket(socket);
}

static int WSAAPI bind_call(SOCKET socket, const struct sockaddr *address, int size) {
    return fault_fails(FAULT_BIND) ? SOCKET_ERROR : bind(socket, address, size);
}

static int WSAAPI listen_call(SOCKET socket, int backlog) {
    return fault_fails(FAULT_LISTEN) ? SOCKET_ERROR : listen(socket, backlog);
}

static int WSAAPI connect_call(SOCKET socket, const struct sockaddr *address, int size) {
    int type = 0;
    int type_size = sizeof(type);
    if (fault_fails(FAULT_CONNECT)) {
        return SOCKET_ERROR;
    }
    getsockopt(socket, SOL_SOCKET, SO_TYPE, (char *)&type, &type_size);
    if (fault_honours_source() && type == SOCK_DGRAM) {
        return 0; /* it hears everybody, and takes whom it hears for the one it asked for */
    }
    return connect(socket, address, size);
}

static SOCKET WSAAPI accept_call(SOCKET socket, struct sockaddr *address, int *size) {
    return fault_fails(FAULT_PLAIN_ACCEPT) ? INVALID_SOCKET : accept(socket, address, size);
}

static int WSAAPI getsockopt_call(SOCKET socket, int level, int name, char *value, int *size) {
    return getsockopt(fault_real(socket), level, name, value, size);
}

static int WSAAPI getsockname_call(SOCKET socket, struct sockaddr *address, int *size) {
    return getsockname(fault_real(socket), address, size);
}

static int WSAAPI getpeername_call(SOCKET socket, struct sockaddr *address, int *size) {
    return getpeername(fault_real(socket), address, size);
}

static int WSAAPI ioctlsocket_call(SOCKET socket, long command, u_long *argument) {
    return ioctlsocket(fault_real(socket), command, argument);
}

static int WSAAPI shutdown_call(SOCKET socket, int how) {
    return fault_fails(FAULT_SHUTDOWN) ? SOCKET_ERROR : shutdown(fault_real(socket), how);
}

static int WSAAPI setsockopt_call(SOCKET socket, int level, int name, const char *value, int size) {
    return fault_fails(FAULT_SETSOCKOPT) ? SOCKET_ERROR
                                         : setsockopt(fault_real(socket), level, name, value, size);
}

static int WSAAPI recv_call(SOCKET socket, char *bytes, int size, int flags) {
    return fault_fails(FAULT_READ) ? SOCKET_ERROR : recv(fault_real(socket), bytes, size, flags);
}

static int WSAAPI event_select_call(SOCKET socket, HANDLE event, long events) {
    return fault_fails(FAULT_EVENT_SELECT) ? SOCKET_ERROR
                                           : WSAEventSelect(fault_real(socket), event, events);
}

static BOOL WINAPI wait_register_call(HANDLE *wait, HANDLE object, WAITORTIMERCALLBACK callback,
                                      void *context, ULONG ms, ULONG flags) {
    return fault_fails(FAULT_WAIT_REGISTER)
               ? FALSE
               : RegisterWaitForSingleObject(wait, object, callback, context, ms, flags);
}

static BOOL WINAPI port_post_call(HANDLE port, DWORD bytes, ULONG_PTR key, OVERLAPPED *overlapped) {
    return fault_fails(FAULT_PORT_POST) ? FALSE
                                        : PostQueuedCompletionStatus(port, bytes, key, overlapped);
}

/* -- operations ------------------------------------------------------------ */

static BOOL PASCAL accept_ex_call(SOCKET listening, SOCKET socket, void *memory, DWORD data_room,
                                  DWORD local_room, DWORD remote_room, DWORD *received,
                                  OVERLAPPED *overlapped) {
    if (fault_fails(FAULT_ACCEPT)) {
        return FALSE;
    }
    fault_operation(overlapped, FAULT_ACCEPT)->closes = socket;
    bool done = real_accept_ex(listening, fault_real(socket), memory, data_room, local_room,
                               remote_room, received, overlapped);
    return fault_outcome((HANDLE)listening, FAULT_ACCEPT, overlapped, done, received);
}

/* -- disconnecting --------------------------------------------------------- */

/* The handle's first life ends, for its peer too, and a new socket takes its place. */
static bool live_again(SOCKET handle) {
    const struct bound *bound = bound_find((HANDLE)handle);
    struct second_life *life = second_life_find(handle);
    SOCKET before = fault_real(handle);
    SOCKET after = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (after == INVALID_SOCKET) {
        return false;
    }
    shutdown(before, SD_BOTH);
    if (life) {
        closesocket(before);
    } else {
        life = second_life_find(0); /* the handle itself stays, so that nothing else gets it */
        ASSERT(life != NULL);
        life->handle = handle;
    }
    life->socket = after;
    if (bound) {
        u_long non_blocking = 1;
        ioctlsocket(after, (long)FIONBIO, &non_blocking);
        CreateIoCompletionPort((HANDLE)after, bound->port, bound->key, 0);
        if (bound->skips) {
            SetFileCompletionNotificationModes((HANDLE)after, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS |
                                                                  FILE_SKIP_SET_EVENT_ON_HANDLE);
        }
    }
    return true;
}

static bool stall(SOCKET handle, OVERLAPPED *overlapped) {
    const struct bound *bound = bound_find((HANDLE)handle);
    for (unsigned i = 0; stalling && bound && i < HELD_MAX; i++) {
        if (!stalled[i]) {
            stalled[i] = overlapped;
            stalled_ports[i] = bound->port;
            overlapped->Internal = (ULONG_PTR)0x103; /* STATUS_PENDING */
            return true;
        }
    }
    return false;
}

/* Succeeds at once, in the system's way: with a packet, unless the handle skips them. */
static bool mended(SOCKET handle, OVERLAPPED *overlapped) {
    const struct bound *bound = bound_find((HANDLE)handle);
    if (!live_again(handle)) {
        return false;
    }
    overlapped->Internal = 0;
    overlapped->InternalHigh = 0;
    if (overlapped->hEvent) {
        SetEvent(overlapped->hEvent);
    }
    if (bound && !bound->skips) {
        PostQueuedCompletionStatus(bound->port, 0, bound->key, overlapped);
    }
    return true;
}

static BOOL PASCAL disconnect_ex_call(SOCKET socket, OVERLAPPED *overlapped, DWORD flags,
                                      DWORD reserved) {
    if (fault_fails(FAULT_DISCONNECT)) {
        return FALSE;
    }
    fault_operation(overlapped, FAULT_DISCONNECT);
    if (stall(socket, overlapped)) {
        WSASetLastError(WSA_IO_PENDING);
        return FALSE;
    }
    DWORD bytes = 0;
    bool done = mends[FAULT_DISCONNECT]
                    ? mended(socket, overlapped)
                    : real_disconnect_ex(fault_real(socket), overlapped, flags, reserved);
    return fault_outcome((HANDLE)socket, FAULT_DISCONNECT, overlapped, done, &bytes);
}

static BOOL PASCAL transmit_file_call(SOCKET socket, HANDLE file, DWORD size, DWORD piece,
                                      OVERLAPPED *overlapped, TRANSMIT_FILE_BUFFERS *buffers,
                                      DWORD flags) {
    if (fault_fails(FAULT_TRANSMIT)) {
        return FALSE;
    }
    fault_operation(overlapped, FAULT_TRANSMIT);
    bool done =
        mends[FAULT_TRANSMIT] && !file
            ? mended(socket, overlapped)
            : real_transmit_file(fault_real(socket), file, size, piece, overlapped, buffers, flags);
    DWORD bytes = done ? (DWORD)overlapped->InternalHigh : 0;
    return fault_outcome((HANDLE)socket, FAULT_TRANSMIT, overlapped, done, &bytes);
}

/* -- connecting and cancelling --------------------------------------------- */

static BOOL PASCAL connect_ex_call(SOCKET socket, const struct sockaddr *address, int size,
                                   void *first, DWORD first_size, DWORD *sent,
                                   OVERLAPPED *overlapped) {
    if (fault_fails(FAULT_CONNECT_EX)) {
        return FALSE;
    }
    fault_operation(overlapped, FAULT_CONNECT_EX);
    first_size = first_size < connect_data_max ? first_size : connect_data_max;
    bool done = real_connect_ex(socket, address, size, first, first_size, sent, overlapped);
    return fault_outcome((HANDLE)socket, FAULT_CONNECT_EX, overlapped, done, sent);
}

bool fault_cancel_stalled(OVERLAPPED *overlapped) {
    for (unsigned i = 0; i < HELD_MAX; i++) {
        if (overlapped && stalled[i] == overlapped) {
            stalled[i] = NULL;
            overlapped->Internal = (ULONG_PTR)0xC0000120; /* STATUS_CANCELLED */
            PostQueuedCompletionStatus(stalled_ports[i], 0, 1, overlapped);
            return true;
        }
    }
    return false;
}

BOOL fault_cancel(HANDLE handle, OVERLAPPED *overlapped) {
    return fault_cancel_stalled(overlapped) || CancelIoEx(real_handle(handle), overlapped);
}

static BOOL WINAPI cancel_call(HANDLE handle, OVERLAPPED *overlapped) {
    plans[FAULT_CANCEL].calls++;
    return fault_cancel_is_ignored(handle, overlapped) || fault_cancel(handle, overlapped);
}

/* -- extension functions --------------------------------------------------- */

typedef void any_function(void);

/* Every extension function with its wrapper, and where the system's own goes. */
static const struct extension {
    GUID guid;
    enum fault_call call;
    void *real;
    any_function *wrapped;
} extensions[] = {
    {WSAID_ACCEPTEX, FAULT_ACCEPT, &real_accept_ex, (any_function *)accept_ex_call},
    {WSAID_DISCONNECTEX, FAULT_DISCONNECT, &real_disconnect_ex, (any_function *)disconnect_ex_call},
    {WSAID_TRANSMITFILE, FAULT_TRANSMIT, &real_transmit_file, (any_function *)transmit_file_call},
    {WSAID_CONNECTEX, FAULT_CONNECT_EX, &real_connect_ex, (any_function *)connect_ex_call},
    {WSAID_WSARECVMSG, FAULT_RECEIVE_FROM, &fault_real_receive_from,
     (any_function *)fault_receive_from},
    {WSAID_WSASENDMSG, FAULT_SEND_TO, &fault_real_send_to, (any_function *)fault_send_to},
};

static void note_ioctl(DWORD code) {
    unsigned at = 0;
    while (at < HELD_MAX - 1 && ioctls[at].calls > 0 && ioctls[at].code != code) {
        at++;
    }
    ioctls[at].code = code;
    ioctls[at].calls++;
}

unsigned faults_ioctls(DWORD code) {
    for (unsigned i = 0; i < HELD_MAX; i++) {
        if (ioctls[i].calls > 0 && ioctls[i].code == code) {
            return ioctls[i].calls;
        }
    }
    return 0;
}

static int WSAAPI ioctl_call(SOCKET socket, DWORD code, void *in, DWORD in_size, void *out,
                             DWORD out_size, DWORD *returned, OVERLAPPED *overlapped,
                             LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    static const GUID transmit_packets = WSAID_TRANSMITPACKETS;
    note_ioctl(code);
    if (fault_fails(FAULT_IOCTL)) {
        return SOCKET_ERROR;
    }
    if (code != SIO_GET_EXTENSION_FUNCTION_POINTER) {
        return WSAIoctl(socket, code, in, in_size, out, out_size, returned, overlapped, routine);
    }
    if (memcmp(in, &transmit_packets, sizeof(transmit_packets)) == 0) {
        LPFN_TRANSMITPACKETS wrapped = fault_transmit_packets;
        memcpy(out, &wrapped, sizeof(wrapped));
        WSASetLastError(WSAEINVAL);
        return fault_packets_provided() ? 0 : SOCKET_ERROR;
    }
    int result = WSAIoctl(socket, code, in, in_size, out, out_size, returned, overlapped, routine);
    for (size_t i = 0; i < ARRAY_COUNT(extensions) && result == 0; i++) {
        const struct extension *extension = &extensions[i];
        if (memcmp(in, &extension->guid, sizeof(extension->guid)) != 0) {
            continue;
        }
        if (plans[extension->call].withheld) {
            WSASetLastError(WSAEINVAL);
            return SOCKET_ERROR;
        }
        memcpy(extension->real, out, sizeof(extension->wrapped));
        memcpy(out, &extension->wrapped, sizeof(extension->wrapped));
    }
    return result;
}

/* -- transfers ------------------------------------------------------------- */

static int WSAAPI wsa_recv_call(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *received,
                                DWORD *flags, OVERLAPPED *overlapped,
                                LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (fault_fails(FAULT_RECEIVE)) {
        return SOCKET_ERROR;
    }
    fault_operation(overlapped, FAULT_RECEIVE);
    bool done =
        WSARecv(fault_real(socket), buffers, count, received, flags, overlapped, routine) == 0;
    return fault_outcome((HANDLE)socket, FAULT_RECEIVE, overlapped, done, received) ? 0
                                                                                    : SOCKET_ERROR;
}

static int WSAAPI wsa_send_call(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent,
                                DWORD flags, OVERLAPPED *overlapped,
                                LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (fault_fails(FAULT_SEND)) {
        return SOCKET_ERROR;
    }
    fault_operation(overlapped, FAULT_SEND);
    bool done = WSASend(fault_real(socket), buffers, count, sent, flags, overlapped, routine) == 0;
    return fault_outcome((HANDLE)socket, FAULT_SEND, overlapped, done, sent) ? 0 : SOCKET_ERROR;
}

static BOOL WSAAPI overlapped_result_call(SOCKET socket, OVERLAPPED *overlapped, DWORD *bytes,
                                          BOOL wait, DWORD *flags) {
    struct operation *operation = operation_find(overlapped);
    if (operation && operation->code != 0) {
        WSASetLastError(operation->code);
        operation->code = 0;
        return FALSE;
    }
    return WSAGetOverlappedResult(fault_real(socket), overlapped, bytes, wait, flags);
}

/* -- ports ----------------------------------------------------------------- */

static HANDLE WINAPI port_create_call(HANDLE handle, HANDLE port, ULONG_PTR key,
                                      DWORD concurrency) {
    if (fault_fails(FAULT_PORT_CREATE)) {
        return NULL;
    }
    HANDLE created = CreateIoCompletionPort(real_handle(handle), port, key, concurrency);
    if (created && handle != INVALID_HANDLE_VALUE) {
        struct bound *bound = bound_find(NULL);
        ASSERT(bound != NULL);
        *bound = (struct bound){.handle = handle, .port = created, .key = key};
    }
    return created;
}

static BOOL WINAPI set_modes_call(HANDLE handle, UCHAR modes) {
    if (fault_fails(FAULT_SET_MODES) ||
        !SetFileCompletionNotificationModes(real_handle(handle), modes)) {
        return FALSE;
    }
    struct bound *bound = bound_find(handle);
    if (bound) {
        bound->skips = (modes & FILE_SKIP_COMPLETION_PORT_ON_SUCCESS) != 0;
    }
    return TRUE;
}

/* The caller sees the packet. */
static void packet_seen(const OVERLAPPED_ENTRY *entry) {
    struct operation *operation = entry->lpOverlapped ? operation_find(entry->lpOverlapped) : NULL;
    if (operation && plans[operation->call].in_flight > 0) {
        plans[operation->call].in_flight--;
    }
}

/* Whether the caller is to see the packet now; spoils it where that was asked for. */
static bool packet_passes(const OVERLAPPED_ENTRY *entry) {
    struct operation *operation = entry->lpOverlapped ? operation_find(entry->lpOverlapped) : NULL;
    if (!operation || entry->lpCompletionKey != IOCP_KEY_SOCKET) {
        return true; /* of the engine's own */
    }
    if (operation->swallow > 0) {
        operation->swallow--;
        return false;
    }
    struct plan *plan = &plans[operation->call];
    if (plan->complete > 0) {
        plan->complete--;
        plan->injected++;
        operation->code = plan->complete_code;
        entry->lpOverlapped->Internal = (ULONG_PTR)0xC0000001; /* STATUS_UNSUCCESSFUL */
    }
    if (holding) {
        ASSERT(held_count < HELD_MAX);
        held[held_count++] = *entry;
        return false;
    }
    return true;
}

static BOOL WINAPI port_wait_call(HANDLE port, OVERLAPPED_ENTRY *entries, ULONG max, ULONG *count,
                                  DWORD ms, BOOL alertable) {
    if (fault_fails(FAULT_PORT_WAIT)) {
        return FALSE;
    }
    if (!holding && held_count > 0) {
        ASSERT(held_count <= max);
        memcpy(entries, held, held_count * sizeof(held[0]));
        *count = held_count;
        for (unsigned i = 0; i < held_count; i++) {
            packet_seen(&entries[i]);
        }
        held_count = 0;
        return TRUE;
    }
    ULONG got = 0;
    if (!GetQueuedCompletionStatusEx(port, entries, max, &got, ms, alertable)) {
        return FALSE;
    }
    *count = 0;
    for (ULONG i = 0; i < got; i++) {
        if (packet_passes(&entries[i])) {
            packet_seen(&entries[i]);
            entries[(*count)++] = entries[i];
        }
    }
    if (*count == 0) {
        SetLastError(WAIT_TIMEOUT);
        return FALSE;
    }
    return TRUE;
}

const struct winsock_table winsock_faults = {
    .startup = startup_call,
    .cleanup = WSACleanup,
    .last_error = WSAGetLastError,
    .socket = socket_call,
    .close = close_call,
    .bind = bind_call,
    .listen = listen_call,
    .connect = connect_call,
    .accept = accept_call,
    .shutdown = shutdown_call,
    .getsockname = getsockname_call,
    .getpeername = getpeername_call,
    .getsockopt = getsockopt_call,
    .setsockopt = setsockopt_call,
    .ioctl = ioctl_call,
    .ioctlsocket = ioctlsocket_call,
    .recv = recv_call,
    .wsa_recv = wsa_recv_call,
    .wsa_send = wsa_send_call,
    .overlapped_result = overlapped_result_call,
    .event_select = event_select_call,
    .enum_events = WSAEnumNetworkEvents,
    .port_create = port_create_call,
    .port_wait = port_wait_call,
    .port_post = port_post_call,
    .set_modes = set_modes_call,
    .cancel = cancel_call,
    .wait_register = wait_register_call,
    .wait_unregister = UnregisterWaitEx,
};
